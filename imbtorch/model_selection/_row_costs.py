"""Costs that differ from row to row, and the decisions with the smallest expected cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_costs", "cheapest", "refuse_labels"]

Floats = NDArray[np.float64]


def as_costs(costs: Any, X: Any, n_rows: int, classes: list[Any]) -> Floats:
    """Check costs, or compute them from the rows.

    Parameters
    ----------
    costs : array-like of shape (n_rows, c, c) or (c, c), or callable
        Costs for c classes: the true class first, then the predicted one. A callable gets ``X``.
    X : array-like of shape (n_rows, ...)
        Features of the rows.
    n_rows : int
        Number of rows.
    classes : list
        The labels.

    Returns
    -------
    ndarray of shape (n_rows, n_classes, n_classes) or (n_classes, n_classes)
        Finite costs.

    Raises
    ------
    ValueError
        If the costs have another shape, or are not finite.

    Examples
    --------
    >>> as_costs(lambda X: np.ones((len(X), 2, 2)), np.zeros((3, 1)), 3, ["no", "yes"]).shape
    (3, 2, 2)
    """
    found = np.asarray(costs(X) if callable(costs) else costs, dtype=np.float64)
    c = len(classes)
    if found.shape not in ((n_rows, c, c), (c, c)):
        raise ValueError(
            f"costs have the shape {found.shape}, expected {(n_rows, c, c)}: for each row the cost "
            f"of each true class of {classes} (second axis) and each decision (third axis)."
        )
    if not np.isfinite(found).all():
        raise ValueError("costs must be finite numbers; some are NaN or infinite.")
    return found


def cheapest(proba: Floats, costs: Floats) -> NDArray[np.intp]:
    """Return for each row the position of the decision with the smallest expected cost.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Probabilities of the population in which the costs arise.
    costs : ndarray of shape (n, n_classes, n_classes) or (n_classes, n_classes)
        Costs, the true class first, then the decision.

    Returns
    -------
    ndarray of int, shape (n,)
        Decisions; the first one of several that are equally cheap.

    References
    ----------
    .. [1] Elkan (2001). "The Foundations of Cost-Sensitive Learning". IJCAI, pp. 973-978.

    Examples
    --------
    >>> proba = np.array([[0.9, 0.1], [0.9, 0.1]])
    >>> amounts = np.array([[[0, 10], [50, 10]], [[0, 10], [500, 10]]])
    >>> cheapest(proba, amounts).tolist()
    [0, 1]
    """
    if costs.ndim == 2:
        return np.asarray((proba @ costs).argmin(axis=1))
    return np.asarray(np.einsum("ni,nij->nj", proba, costs).argmin(axis=1))


def refuse_labels(y: NDArray[Any]) -> None:
    """Raise ValueError for several labels per row, for which there are no costs."""
    if y.ndim == 2:
        raise ValueError(
            f"Costs work for one label per row; y has {y.shape[1]} labels. Fit one estimator for "
            "each label, for example with sklearn's MultiOutputClassifier."
        )
