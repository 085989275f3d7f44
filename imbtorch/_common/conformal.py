"""Sets of classes with a guarantee for each class, from out-of-fold predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ConformalMixin", "calibration_scores", "conformal_sets"]

Floats = NDArray[np.float64]


class ConformalMixin(ABC):
    """Add the method ``predict_set`` to a classifier that consists of the models of folds."""

    @abstractmethod
    def _calibrated(self, X: Any) -> Iterator[tuple[Floats, Sequence[Floats]]]:
        """Yield, for each fold, what :func:`conformal_sets` asks for.

        Raises
        ------
        ValueError
            If there are no out-of-fold predictions of one label per row.
        """

    def predict_set(self, X: ArrayLike, alpha: float = 0.1) -> NDArray[np.bool_]:
        """Classes of each row that cannot be ruled out, with a guarantee for each class.

        Class-conditional cross-conformal prediction, see
        :func:`imbtorch.model_selection.conformal_sets`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Features.
        alpha : float, default=0.1
            Largest share of the rows of each class whose set may lack this class.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_classes)
            Whether each class is in the set of each row.

        Raises
        ------
        ValueError
            If ``alpha`` is invalid, or there are no out-of-fold predictions of one label per row.
        """
        return conformal_sets(self._calibrated(X), alpha)


def calibration_scores(
    proba: Floats, labels: NDArray[Any], classes: NDArray[Any], weights: Floats | None
) -> list[Floats]:
    """Return how little each row conforms to its own class, sorted, for each class.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Probabilities by a model that was not trained on the rows.
    labels : ndarray of shape (n,)
        Label of each row. Rows of other labels, which a loss ignores, do not count.
    classes : ndarray of shape (n_classes,)
        The labels, in the order of the columns.
    weights : ndarray of shape (n,) or None
        Weights of the rows. Those of weight 0 do not count.

    Returns
    -------
    list of ndarray
        For each class ``1 - p`` of its rows, in ascending order.
    """
    counts = np.ones(len(labels), dtype=bool) if weights is None else weights > 0
    return [np.sort(1 - proba[counts & (labels == c), j]) for j, c in enumerate(classes.tolist())]


def conformal_sets(
    folds: Iterable[tuple[Floats, Sequence[Floats]]], alpha: float
) -> NDArray[np.bool_]:
    """Find the classes that cannot be ruled out for new rows.

    Parameters
    ----------
    folds : iterable of (proba, scores)
        For each fold the probabilities of the new rows by its model, ``(n, n_classes)``; and, for
        each class, ``1 - p`` of the rows of the fold that have it, in ascending order.
    alpha : float
        Largest share of the rows of each class whose set may lack this class.

    Returns
    -------
    ndarray of bool, shape (n, n_classes)
        Whether each class is in the set of each row.

    Raises
    ------
    ValueError
        If ``alpha`` is not between 0 and 1.

    Notes
    -----
    A class is left out if the row conforms to it less than a share ``1 - alpha`` of the rows of
    this class do, each compared by the model that did not see them. So the rarest class has
    quantiles of its own. Sets contain the class of a new row with a probability of about
    ``1 - alpha``, within each class; what is proved for cross-conformal sets is ``1 - 2 alpha``
    [2]_. With n rows of a class nothing can be ruled out for ``alpha < 1 / (n + 1)``.

    References
    ----------
    .. [1] Vovk (2015). "Cross-conformal predictors". :doi:`10.1007/s10472-013-9368-4`
    .. [2] Barber et al. (2021). "Predictive inference with the jackknife+".
           :doi:`10.1214/20-AOS1965`

    Examples
    --------
    >>> scores = [np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.2, 0.3, 0.5, 0.9])]
    >>> conformal_sets([(np.array([[0.95, 0.05], [0.5, 0.5]]), scores)], 0.25).tolist()
    [[True, False], [False, True]]
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, both excluded; got {alpha}.")
    counts: Any = 0
    totals: Any = 0
    for proba, scores in folds:
        own = 1 - np.asarray(proba, dtype=np.float64)
        columns = zip(own.T, scores, strict=True)
        beyond = [len(s) - np.searchsorted(s, column, side="left") for column, s in columns]
        counts = counts + np.stack(beyond, axis=1)
        totals = totals + np.array([len(s) for s in scores])
    sets: NDArray[np.bool_] = (counts + 1) / (totals + 1) > alpha
    return sets
