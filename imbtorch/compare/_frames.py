"""The data frames of a comparison: its strategies, and their results on each fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from imbtorch.compare._folds import Fold, Outcome
from imbtorch.compare._metrics import METRICS
from imbtorch.compare._statistics import holm, paired_difference, standard_error
from imbtorch.tables._pandas import import_pandas

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["by_fold", "by_strategy"]

_WITHOUT_ERROR = ("seconds", "epochs")  # columns of the table that are no metrics


def by_fold(done: Mapping[str, list[Outcome]]) -> pd.DataFrame:
    """Return a row for each finished strategy and fold."""
    frame: pd.DataFrame = import_pandas("comparing strategies").DataFrame(
        [
            {"strategy": name, "fold": fold, **outcome.measures, "chosen": outcome.chosen}
            for name, outcomes in done.items()
            for fold, outcome in enumerate(outcomes)
        ]
    )
    return frame


def by_strategy(
    done: Mapping[str, list[Outcome]],
    status: Mapping[str, str],
    folds: list[Fold],
    scoring: str,
    reference: str,
) -> pd.DataFrame:
    """Return a row for each strategy: means, and differences to the reference.

    Parameters
    ----------
    done : mapping of str to list of Outcome
        Outcomes of the finished strategies on the folds.
    status : mapping of str to str
        What became of each strategy.
    folds : list of (ndarray, ndarray)
        Training and test rows of the folds.
    scoring : str
        The metric that decides.
    reference : str
        The strategy that the others are compared with.
    """
    pandas = import_pandas("comparing strategies")
    share = float(np.mean([len(test) / len(train) for train, test in folds]))
    rows: dict[str, dict[str, Any]] = {}
    for name, outcomes in done.items():
        rows[name] = _means(outcomes)
        if name != reference and reference in done:
            rows[name] |= _difference(outcomes, done[reference], scoring, share)
    extra = [] if scoring in METRICS else [scoring]
    columns = [name for key in [*METRICS, *extra] for name in (key, f"{key}_se")]
    columns += ["difference", "difference_se", "difference_low", "difference_high", "p_value"]
    columns += _WITHOUT_ERROR
    table: pd.DataFrame = pandas.DataFrame.from_dict(rows, orient="index", columns=None)
    table = table.reindex(index=list(status), columns=columns)
    table["p_value"] = holm(table["p_value"])
    table["status"] = pandas.Series(status)
    table.index.name = "strategy"
    return table


def _means(outcomes: list[Outcome]) -> dict[str, float]:
    """Return the mean of each measure over the folds, and the standard errors of the metrics."""
    row = {}
    for key in outcomes[0].measures:
        values = [outcome.measures[key] for outcome in outcomes]
        row[key] = float(np.mean(values))
        if key not in _WITHOUT_ERROR:
            row[f"{key}_se"] = standard_error(values)
    return row


def _difference(
    outcomes: list[Outcome], others: list[Outcome], scoring: str, share: float
) -> dict[str, float]:
    """Return how much better the outcomes are than the others, with interval and p-value."""
    values, reference = ([one.measures[scoring] for one in each] for each in (outcomes, others))
    sign = METRICS[scoring].sign if scoring in METRICS else 1
    found = paired_difference(values, reference, share)
    low, high = sorted((sign * found.low, sign * found.high))
    return {
        "difference": sign * found.mean,
        "difference_se": found.error,
        "difference_low": low,
        "difference_high": high,
        "p_value": found.p_value,
    }
