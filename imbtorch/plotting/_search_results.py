"""Read the scores of the values of one or two parameters from ``cv_results_``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Axis",
    "best_per_value",
    "best_row",
    "last_records",
    "resolve",
    "score_columns",
    "varied_parameters",
]

Floats = NDArray[np.float64]


class Axis:
    """The values of one parameter, in order.

    Parameters
    ----------
    name : str
        Name of the parameter.
    values : sequence of shape (n_candidates,)
        Value of the parameter in each candidate.

    Attributes
    ----------
    values : list
        The distinct values: numbers in ascending order, others in the order of the candidates.
    codes : ndarray of shape (n_candidates,)
        Position of each candidate's value in ``values``.
    is_numeric, is_log : bool
        Whether all values are numbers, and whether they are positive and span at least two decades.
    """

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        self.name = name
        keys = [_key(value) for value in values]
        distinct = dict(zip(keys, values, strict=True))
        self.is_numeric = all(_is_number(value) for value in distinct.values())
        order = sorted(distinct, key=lambda k: float(distinct[k])) if self.is_numeric else distinct
        self.values = [distinct[key] for key in order]
        place = {key: i for i, key in enumerate(order)}
        self.codes = np.array([place[key] for key in keys])
        self.is_log = (
            self.is_numeric
            and float(self.values[0]) > 0
            and float(self.values[-1]) >= 100 * float(self.values[0])
        )

    @property
    def positions(self) -> Floats:
        """Positions of the values on an axis: the numbers themselves, or 0, 1, 2, ..."""
        if self.is_numeric:
            return np.array([float(value) for value in self.values])
        return np.arange(len(self.values), dtype=np.float64)

    @property
    def texts(self) -> list[str]:
        """Short texts of the values."""
        return [_text(value) for value in self.values]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _key(value: Any) -> Any:
    # lists and dicts have no hash, so values with the same repr count as equal
    return float(value) if _is_number(value) else repr(value)


def _text(value: Any) -> str:
    text = f"{value:.4g}" if _is_number(value) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 24 else text[:22] + "..."


def last_records(results: Mapping[str, Any]) -> NDArray[np.intp]:
    """Return the rows to use: only the last one of each candidate of a halving search."""
    params = results["params"]
    if "iter" not in results:
        return np.arange(len(params))
    last: dict[Any, int] = {}
    for row in np.argsort(results["iter"], kind="stable"):
        last[repr(sorted(params[row].items(), key=lambda item: item[0]))] = int(row)
    return np.array(sorted(last.values()))


def resolve(given: str | Sequence[str] | None, results: Mapping[str, Any]) -> list[str]:
    """Return the full names of one or two searched parameters.

    The first parts of a name may be left out: ``"loss__gamma"`` for ``"clf__loss__gamma"``. None
    takes the parameters that were searched.
    """
    known = _searched(results)
    if given is None:
        given = varied_parameters(results) or known
        if not 1 <= len(given) <= 2:
            raise ValueError(
                f"the search varied {len(given)} parameters; choose one or two of them with "
                f"params: {', '.join(map(repr, given))}."
            )
    names = [given] if isinstance(given, str) else list(given)
    if len(names) not in {1, 2}:
        raise ValueError(f"params must name one or two parameters; got {names}.")
    full = []
    for name in names:
        matches = [n for n in known if n == name] or [n for n in known if n.endswith(f"__{name}")]
        if len(matches) != 1:
            what = "is not among the searched parameters" if not matches else "matches several of"
            raise ValueError(f"{name!r} {what}: {', '.join(map(repr, known))}.")
        full += matches
    if len(set(full)) < len(full):
        raise ValueError(f"params names {full[0]!r} twice.")
    return full


def _searched(results: Mapping[str, Any]) -> list[str]:
    return [key.removeprefix("param_") for key in results if key.startswith("param_")]


def varied_parameters(results: Mapping[str, Any]) -> list[str]:
    """Return the parameters that have more than one value."""
    names = _searched(results)
    return [name for name in names if len({_key(value) for value in _column(results, name)}) > 1]


def _column(results: Mapping[str, Any], name: str) -> list[Any]:
    """Return the values of a parameter; None for candidates of a grid without it."""
    return [params.get(name) for params in results["params"]]


def score_columns(results: Mapping[str, Any], metric: str | None) -> tuple[str, Floats, Floats]:
    """Return name, means and standard deviations over the folds of a test score."""
    known = [key.removeprefix("mean_test_") for key in results if key.startswith("mean_test_")]
    if metric is None:
        metric = "score" if "score" in known else known[0]
    if metric not in known:
        raise ValueError(
            f"{metric!r} is not among the scores of the search: {', '.join(map(repr, known))}."
        )
    mean = np.asarray(results[f"mean_test_{metric}"], dtype=np.float64)
    std = np.asarray(results[f"std_test_{metric}"], dtype=np.float64)
    if np.isnan(mean).all():
        raise ValueError(
            f"the score {metric!r} of every candidate is NaN: the fits or the scorer have failed. "
            "Search with error_score='raise' to see why."
        )
    return metric, mean, std


def best_per_value(codes: NDArray[np.intp], mean: Floats, n_values: int) -> NDArray[np.intp]:
    """Return for each value the candidate with the best score, or -1 if no candidate has it."""
    best = np.full(n_values, -1)
    for row in np.argsort(np.where(np.isnan(mean), -np.inf, mean), kind="stable"):
        if not np.isnan(mean[row]):
            best[codes[row]] = row
    return best


def best_row(mean: Floats, rows: NDArray[np.intp], index: int | None) -> int:
    """Return the position in ``rows`` of the search's best candidate, else of the best score."""
    if index is not None and index in rows:
        return int(np.flatnonzero(rows == index)[0])
    return int(np.nanargmax(mean))
