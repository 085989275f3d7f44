"""The numbers of a comparison as tables of text, which the terminal and the report show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imbtorch.compare import _numbers
from imbtorch.compare._alarms import alarms_for
from imbtorch.compare._findings import Findings, has_intervals
from imbtorch.compare._metrics import ALARMS_RECALL, PRECISION_RECALL
from imbtorch.compare._words import columns_of, finished, heading_of, metric_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Block", "Column", "blocks"]

_FROM_FOLDS = {"precision_at_recall_80", "alarms_for_recall_90"}  # in other words in the decisions


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    title : str
        Its title.
    cells : dict of str to str
        Its cells by strategy.
    best : frozenset of str
        Strategies with the best number.
    """

    title: str
    cells: Mapping[str, str]
    best: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Block:
    """A table with its title."""

    title: str
    columns: list[Column]


def blocks(comparison: Findings) -> list[Block]:
    """Return the tables: the metric that decides, decisions, and all other metrics.

    Parameters
    ----------
    comparison : Findings
        Result; its finished strategies are the rows.
    """
    done = finished(comparison.table)
    found = [_deciding(done, comparison)]
    if comparison.predictions:
        found.append(_decisions(done, comparison))
    left_out = {comparison.scoring, "balanced_accuracy", *_FROM_FOLDS}
    others = [n for n in columns_of(done, comparison.scoring) if n not in left_out]
    title = "Ranking and probabilities, mean over the folds"
    return [*found, Block(title, [_mean(done, name) for name in others])]


def _deciding(done: pd.DataFrame, comparison: Findings) -> Block:
    scoring, reference = comparison.scoring, comparison.reference
    metric = metric_of(scoring)

    shown: dict[str, Callable[[Any], str]] = {
        "difference": lambda row: _numbers.difference(row["difference"], metric.decimals),
        "95% interval": lambda row: _numbers.interval(
            row["difference_low"], row["difference_high"], metric.decimals
        ),
        "p": lambda row: _numbers.p_value(row["p_value"]),
        "epochs": lambda row: _numbers.count(row["epochs"]),
        "seconds": lambda row: f"{row['seconds']:,.2f}",
    }
    columns = [_mean(done, scoring)]
    if not has_intervals(comparison):
        del shown["95% interval"], shown["p"]
    for title, show in shown.items():
        columns.append(Column(title, {name: show(row) for name, row in done.iterrows()}))
    title = f"{heading_of(scoring)}, and differences to {reference}"
    return Block(title, columns)


def _mean(done: pd.DataFrame, name: str) -> Column:
    """Return the means of a metric with their standard errors."""
    metric = metric_of(name)
    rounded = (metric.sign * done[name]).round(metric.decimals)
    cells = {
        strategy: _numbers.with_error(
            done.loc[strategy, name], done.loc[strategy, f"{name}_se"], metric.decimals
        )
        for strategy in done.index
    }
    return Column(metric.title, cells, frozenset(done.index[rounded == rounded.max()]))


def _decisions(done: pd.DataFrame, comparison: Findings) -> Block:
    """Return what it takes to catch the rarest class, by out-of-fold predictions."""
    columns = []
    for recall in (PRECISION_RECALL, ALARMS_RECALL):
        found = {s: alarms_for(comparison.predictions[s], recall) for s in done.index}
        wanted = f"for recall {recall:g}"
        precision = {s: round(one.precision, 3) for s, one in found.items()}
        alarms = {s: round(one.per_thousand, 1) for s, one in found.items()}
        columns += [
            Column(
                f"precision {wanted}",
                {s: _numbers.number(value, 3) for s, value in precision.items()},
                _those_with(precision, max(precision.values())),
            ),
            Column(
                f"alarms per 1,000 rows {wanted}",
                {s: _numbers.number(value, 1) for s, value in alarms.items()},
                _those_with(alarms, min(alarms.values())),
            ),
            Column(f"threshold {wanted}", {s: f"{one.threshold:.3g}" for s, one in found.items()}),
        ]
    if comparison.scoring != "balanced_accuracy":
        columns.append(_mean(done, "balanced_accuracy"))
    rare = "the rarest class" if comparison.run is None else f"class {comparison.run.rare}"
    return Block(f"Decisions: catching {rare}, by out-of-fold predictions", columns)


def _those_with(values: Mapping[str, float], best: float) -> frozenset[str]:
    return frozenset(name for name, value in values.items() if value == best)
