"""Describe in words which conclusions a table of strategies supports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imbtorch.compare import _numbers
from imbtorch.compare._metrics import METRICS, Metric
from imbtorch.tables._words import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["best_of", "columns_of", "finished", "heading_of", "metric_of", "recommend"]

_LEVEL = 0.05


def metric_of(name: str) -> Metric:
    """Return the description of a metric; for any other scorer, greater is better."""
    return METRICS.get(name, Metric(name))


def heading_of(name: str) -> str:
    """Return the title of a metric as a sentence begins; the name of any other scorer stays."""
    title = metric_of(name).title
    return f"{title[0].upper()}{title[1:]}" if name in METRICS else title


def finished(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the strategies that are finished."""
    return table[table["status"] == "ok"]


def columns_of(table: pd.DataFrame, scoring: str) -> list[str]:
    """Return the names of the metrics, with the one that decides first."""
    others = [name for name in table.columns if f"{name}_se" in table.columns]
    return [scoring, *(name for name in others if name not in {scoring, "difference"})]


def best_of(table: pd.DataFrame, scoring: str) -> str:
    """Return the finished strategy with the best mean of the metric that decides."""
    return str((metric_of(scoring).sign * finished(table)[scoring]).idxmax())


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
    """Say which strategies are better than the reference, or how far that is open."""
    metric = metric_of(scoring)
    others = done.drop(index=reference).sort_values("difference", ascending=False)
    tested = others["p_value"] < _LEVEL
    better, worse = (
        others[tested & (others["difference"] > 0)],
        others[tested & (others["difference"] < 0)],
    )
    less = (
        f" Worse than {reference}, with an adjusted p below 0.05: {', '.join(worse.index)}."
        if len(worse)
        else ""
    )
    if round(others["difference"].iloc[0], metric.decimals) <= 0:
        return f"No strategy has a better mean than {reference} in {metric.title}.{less}"
    if not len(better):
        return f"{_open(others, metric, reference)}{less}"
    best = better.index[0]
    text = (
        f"{best[0].upper()}{best[1:]} is better than {reference} in {metric.title}: "
        f"{_gain(others, best, metric)}."
    )
    if len(better) > 1:
        text += f" So {'are' if len(better) > 2 else 'is'} {', '.join(better.index[1:])}."
    if (first := others.index[0]) != best:
        text += f" The largest mean difference is that of {first}, {_gain(others, first, metric)}."
    return f"{text}{less}"


def _gain(others: pd.DataFrame, name: str, metric: Metric) -> str:
    """Write a difference with its interval and its p."""
    row = others.loc[name]
    gain = _numbers.difference(row["difference"], metric.decimals)
    if row.isna()["difference_low"]:
        return gain
    ends = _numbers.interval(row["difference_low"], row["difference_high"], metric.decimals)
    n_tests = int(others["p_value"].notna().sum())
    p = _numbers.p_value(row["p_value"], equals=True)
    after = f" after adjustment for {counted(n_tests, 'comparison')}" if n_tests > 1 else ""
    return f"{gain} (95% interval {ends}; p {p}{after})"


def _open(others: pd.DataFrame, metric: Metric, reference: str) -> str:
    """Say that the folds leave it open which strategy is better."""
    best = others.index[0]
    low = others.loc[best, "difference_low"]
    text = (
        f"It remains open whether a strategy is better than {reference} in {metric.title}. The "
        f"largest mean difference is that of {best}: {_gain(others, best, metric)}."
    )
    if np.isnan(low):
        return f"{text} These folds cannot say how much such a difference varies."
    if low <= 0:
        return f"{text} The interval includes 0, and differences in both directions."
    return (
        f"{text} The interval does not include 0, but the largest of several differences is often "
        "that far from 0 by chance, as the adjusted p says."
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
