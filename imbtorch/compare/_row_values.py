"""Groups and weights of the rows, and how a strategy gets the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d
from sklearn.utils.validation import has_fit_parameter

from imbtorch._common.sklearn_private import BaseSearchCV
from imbtorch._fit.input_checks import check_weights

__all__ = ["checked_groups", "checked_weights", "weight_name", "weight_names"]


def checked_groups(groups: ArrayLike | None, n_rows: int) -> NDArray[Any] | None:
    """Return the group of each row, ``(n_rows,)``; None if there are no groups.

    Raises
    ------
    ValueError
        If there is not one group for each row.
    """
    if groups is None:
        return None
    column: NDArray[Any] = column_or_1d(groups)
    _check_length("groups", len(column), n_rows)
    return column


def checked_weights(weights: ArrayLike | None, labels: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return the weight of each row, ``(n,)``; None if all rows count alike.

    Raises
    ------
    ValueError
        If there is not one finite weight >= 0 for each row, or all rows of a class have weight 0.
    """
    if weights is None:
        return None
    column = column_or_1d(weights)
    _check_length("sample_weight", len(column), len(labels))
    found = check_weights(column, labels)
    lacking = np.setdiff1d(labels, labels[found > 0]).tolist()
    if lacking:
        raise ValueError(
            f"sample_weight is 0 in all rows of class {lacking[0]!r}; leave the class out, or give "
            "some of its rows a weight above 0."
        )
    return found


def _check_length(name: str, length: int, n_rows: int) -> None:
    if length != n_rows:
        raise ValueError(
            f"{name} has {length:,} values, but y has {n_rows:,} rows; give one value for each row."
        )


def weight_name(estimator: Any) -> str:
    """Return the parameter of ``fit`` that hands weights to what learns; empty if there is none.

    Parameters
    ----------
    estimator : estimator
        Strategy: a classifier, or a pipeline or search of one.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import Pipeline
    >>> from imbtorch.compare._row_values import weight_name
    >>> weight_name(Pipeline([("classify", LogisticRegression())]))
    'classify__sample_weight'
    >>> weight_name(KNeighborsClassifier())
    ''
    """
    steps = []
    while isinstance(estimator, Pipeline | BaseSearchCV):
        if isinstance(estimator, Pipeline):
            name, estimator = estimator.steps[-1]
            steps.append(name)
        else:
            estimator = estimator.estimator
    takes_weights = has_fit_parameter(estimator, "sample_weight")
    return "__".join([*steps, "sample_weight"]) if takes_weights else ""


def weight_names(strategies: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameter of ``fit`` that hands weights to each strategy.

    Raises
    ------
    ValueError
        If a strategy takes no weights.
    """
    names = {name: weight_name(one) for name, one in strategies.items()}
    if without := [name for name, parameter in names.items() if not parameter]:
        raise ValueError(
            f"sample_weight is given, but fit of {', '.join(map(repr, without))} has no parameter "
            "sample_weight. Leave such strategies out, or compare without weights."
        )
    return names
