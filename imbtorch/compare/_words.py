"""Format a table of strategies as text, and describe in words which conclusions it supports."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from imbtorch.compare._metrics import METRICS, Metric

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "NOTES",
    "cell",
    "columns_of",
    "epochs_cell",
    "finished",
    "format_table",
    "metric_of",
    "recommend",
]

_LEVEL = 0.05
NOTES = (
    "Mean over the folds ± standard error; * marks the best mean of a column. The difference to "
    "the reference on the same folds is positive if the strategy is better; its standard error "
    "is corrected for training rows that folds share, and p is adjusted for the number of "
    "strategies (Holm). Precision at recall 0.8 is the best precision of decisions that catch 80% "
    "of the rarest class or more; alarms are the rows, of 1,000, that must be flagged to catch 90% "
    "of it, those with the highest scores first. Fewer alarms and smaller Brier scores and ECEs "
    'are better; the latter two are computed as trained and with target_prior="train", which '
    "restates probabilities for the class frequencies of the data without refitting. ECE has bins "
    "of equal mass and is averaged over the classes. Epochs are those of the fit on one fold "
    "(trees of gradient boosting; a dash if they are not known). Seconds are the time of this fit, "
    "with the search for its length."
)


def metric_of(name: str) -> Metric:
    """Return the description of a metric; for any other scorer, greater is better."""
    return METRICS.get(name, Metric(name))


def finished(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the strategies that are finished."""
    return table[table["status"] == "ok"]


def columns_of(table: pd.DataFrame, scoring: str) -> list[str]:
    """Return the names of the metrics, with the one that decides first."""
    others = [name for name in table.columns if f"{name}_se" in table.columns]
    return [scoring, *(name for name in others if name not in {scoring, "difference"})]


def cell(table: pd.DataFrame, strategy: str, name: str, decimals: int) -> str:
    """Format a mean and its standard error; a dash stands for a missing mean."""
    value, error = table.loc[strategy, name], table.loc[strategy, f"{name}_se"]
    if np.isnan(value):
        return "–"
    return f"{_number(value, decimals)} ±{_number(error, decimals)}"


def _number(value: float, decimals: int) -> str:
    if abs(value) < 1:
        return f"{value:.{decimals}f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def epochs_cell(value: float) -> str:
    """Format a mean number of epochs; a dash stands for a number that is not known."""
    return "–" if np.isnan(value) else f"{value:.0f}"


def format_table(table: pd.DataFrame, scoring: str) -> str:
    """Format strategies and metrics as a table in text.

    Parameters
    ----------
    table : DataFrame
        Table of :class:`imbtorch.compare.StrategyComparison`.
    scoring : str
        The metric that decides.
    """
    done = finished(table)
    columns: dict[str, Callable[[str], str]] = {}
    for name in columns_of(table, scoring):
        columns[metric_of(name).title] = _marked(done, name)
        if name == scoring:
            decimals = metric_of(name).decimals
            columns["difference"] = partial(cell, done, name="difference", decimals=decimals)
            columns["p"] = lambda s: _p_value(done.loc[s, "p_value"])
    columns["epochs"] = lambda s: epochs_cell(done.loc[s, "epochs"])
    columns["seconds"] = lambda s: f"{done.loc[s, 'seconds']:.2f}"
    titles = {title: textwrap.wrap(title, 12) for title in columns}
    height = max(map(len, titles.values()))
    width = max(map(len, table.index))
    lines = [" " * width for _ in range(height)] + [f"{name:<{width}}" for name in table.index]
    for title, show in columns.items():
        words = [""] * (height - len(titles[title])) + titles[title]
        cells = [show(name) if name in done.index else "" for name in table.index]
        broad = max(map(len, [*words, *cells])) + 2
        lines = [
            line + text.rjust(broad) for line, text in zip(lines, [*words, *cells], strict=True)
        ]
    for row, name in enumerate(table.index):
        if name not in done.index:
            lines[height + row] = f"{name:<{width}}  {table.loc[name, 'status']}"
    return "\n".join(line.rstrip() for line in lines) + "\n\n" + textwrap.fill(NOTES, 100)


def _p_value(p: float) -> str:
    return "–" if np.isnan(p) else f"{p:.3f}" if p < 1 else "1"


def _marked(done: pd.DataFrame, name: str) -> Callable[[str], str]:
    metric = metric_of(name)
    best = (metric.sign * done[name]).round(metric.decimals).max() if len(done) else np.nan

    def show(strategy: str) -> str:
        own = round(metric.sign * done.loc[strategy, name], metric.decimals)
        return cell(done, strategy, name, metric.decimals) + ("*" if own == best else " ")

    return show


def recommend(table: pd.DataFrame, scoring: str, reference: str) -> str:
    """Describe the conclusions that the differences support.

    Parameters
    ----------
    table : DataFrame
        Table of :class:`imbtorch.compare.StrategyComparison`.
    scoring : str
        The metric that decides.
    reference : str
        The strategy that the others are compared with.
    """
    done = finished(table)
    if reference not in done.index:
        return f"No recommendation: the reference, {reference}, has no result to compare with."
    if len(done) == 1:
        return f"No recommendation: {reference} is the only finished strategy."
    sentences = [_winner(done, scoring, reference)]
    for say in (_decisions, _probabilities):
        sentence = say(done, scoring)
        if sentence:
            sentences.append(sentence)
    return " ".join(sentences)


def _winner(done: pd.DataFrame, scoring: str, reference: str) -> str:
    metric = metric_of(scoring)
    others = done.drop(index=reference)
    clear = others[(others["p_value"] < _LEVEL) & (others["difference"] > 0)]
    ranked = (clear if len(clear) else others).sort_values("difference", ascending=False)
    best = ranked.index[0]
    mean, error = ranked.loc[best, ["difference", "difference_se"]]
    gain = f"{mean:+.{metric.decimals}f} ± {error:.{metric.decimals}f}"
    if round(mean, metric.decimals) <= 0:
        return f"No strategy has a higher mean than {reference} in {metric.title}."
    if not len(clear):
        return (
            f"No strategy is clearly better than {reference} in {metric.title}: the largest "
            f"difference is that of {best}, {gain}, which is within the noise of the folds."
        )
    more = f" So {'are' if len(clear) > 2 else 'is'} {', '.join(ranked.index[1:])}."
    p = ranked["p_value"].iloc[0]
    return (
        f"{best[0].upper()}{best[1:]} is clearly better than {reference} in {metric.title}: "
        f"{gain} (p = {p:.2g}).{more if len(clear) > 1 else ''}"
    )


def _decisions(done: pd.DataFrame, scoring: str) -> str:
    if scoring == "balanced_accuracy":
        return ""
    best = done["balanced_accuracy"].idxmax()
    return (
        f"Decisions at the default threshold have the highest balanced accuracy with {best}, "
        f"{done.loc[best, 'balanced_accuracy']:.3f}; another threshold gives other decisions."
    )


def _probabilities(done: pd.DataFrame, scoring: str) -> str:
    restated, as_trained = done["brier_train_prior"].dropna(), done["brier"].dropna()
    if not len(restated) or not len(as_trained):
        return ""
    name, other = restated.idxmin(), as_trained.idxmin()
    if restated[name] <= as_trained[other]:
        return (
            f"Probabilities have the lowest Brier score with {name} and "
            f'target_prior="train", {restated[name]:.4f}.'
        )
    return f"Probabilities have the lowest Brier score with {other}, {as_trained[other]:.4f}."
