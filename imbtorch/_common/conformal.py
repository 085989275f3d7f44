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
    def _calibrated(self, X: Any) -> Iterator[tuple[Floats, Sequence[Any]]]:
        """Yield, for each fold, what :func:`conformal_sets` asks for.

        Raises
        ------
        ValueError
            If there are no out-of-fold predictions.
        """

    @property
    def _has_fold_models(self) -> bool:
        """Whether the models that predict are those of the folds."""
        return True

    @property
    def _times_held_out(self) -> float:
        """Mean number of folds in which a row was held out: 1, or more if folds are repeated."""
        return 1.0

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
        ndarray of bool, shape (n_samples, n_classes) or (n_samples, n_labels, 2)
            Whether each class is in the set of each row. With several labels per row, whether 0
            and whether 1 is in the set of each label.

        Raises
        ------
        ValueError
            If ``alpha`` is invalid, or there are no out-of-fold predictions.
        """
        return conformal_sets(self._calibrated(X), alpha, times_held_out=self._times_held_out)


def calibration_scores(
    proba: Floats,
    labels: NDArray[Any],
    classes: NDArray[Any] | None,
    weights: Floats | None,
) -> list[Any]:
    """Return how little each row conforms to its own class, sorted, for each class.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes) or (n, n_labels)
        Probabilities by a model that was not trained on the rows.
    labels : ndarray of shape (n,) or (n, n_labels)
        Label of each row, or 0 and 1 for each of several labels. Rows of other labels, such as
        those that a loss ignores, do not count; NaN is a label that is not known.
    classes : ndarray of shape (n_classes,) or None
        The labels, in the order of the columns; not used with several labels per row.
    weights : ndarray of shape (n,) or None
        Weights of the rows. Rows of weight 0 do not count, all others count as one row.

    Returns
    -------
    list of ndarray, or list of two ndarray for each label
        For each class ``1 - p`` of its rows, in ascending order. With several labels a pair for
        each label: the scores of its rows with 0, and those of its rows with 1.

    Raises
    ------
    ValueError
        If a probability is NaN or infinite.

    Examples
    --------
    >>> proba = np.array([[0.25, 0.5], [0.75, 0.5]])
    >>> calibration_scores(proba, np.array([0, 1]), np.array([0, 1]), None)
    [array([0.75]), array([0.5])]
    >>> no, yes = calibration_scores(proba, np.array([[0, np.nan], [1, 1]]), None, None)[0]
    >>> no, yes
    (array([0.25]), array([0.25]))
    """
    proba, labels = np.asarray(proba, dtype=np.float64), np.asarray(labels)
    counts = np.ones(len(labels), dtype=bool) if weights is None else weights > 0
    _check_finite(proba[counts])
    if labels.ndim == 2:
        pairs = zip(proba.T, labels.T, strict=True)
        return [
            (np.sort(p[counts & (own == 0)]), np.sort(1 - p[counts & (own == 1)]))
            for p, own in pairs
        ]
    assert classes is not None
    return [np.sort(1 - proba[counts & (labels == c), j]) for j, c in enumerate(classes.tolist())]


def conformal_sets(
    folds: Iterable[tuple[Floats, Sequence[Any]]], alpha: float, *, times_held_out: float = 1.0
) -> NDArray[np.bool_]:
    """Find the classes that cannot be ruled out for new rows.

    Parameters
    ----------
    folds : iterable of (proba, scores)
        For each fold the probabilities of the new rows by its model, ``(n, n_classes)`` or
        ``(n, n_labels)``; and, for each class, ``1 - p`` of the rows of the fold that have it, in
        ascending order. With several labels per row the scores of each label are a pair: ``p`` of
        the rows that do not have it, and ``1 - p`` of the rows that have it.
    alpha : float
        Largest share of the rows of each class whose set may lack this class.
    times_held_out : float, default=1.0
        Mean number of folds in which a row was held out: more than 1 if folds are repeated.

    Returns
    -------
    ndarray of bool, shape (n, n_classes) or (n, n_labels, 2)
        Whether each class is in the set of each row. With several labels per row
        ``sets[i, j, v]`` is whether the value ``v`` of label ``j``, 0 or 1, is in the set of
        row ``i``; both are where the label is not certain.

    Raises
    ------
    ValueError
        If ``alpha`` is not between 0 and 1, there is no fold, or a probability is NaN or infinite.

    Notes
    -----
    A class is left out if the row conforms to it less than a share ``1 - alpha`` of the rows of
    this class do, each compared by the model that did not see them. So the rarest class has
    quantiles of its own. Sets contain the class of a new row with a probability of about
    ``1 - alpha``, within each class; what is proved for cross-conformal sets is ``1 - 2 alpha``
    [2]_. With n rows of a class nothing can be ruled out for ``alpha < 1 / (n + 1)``.

    Each of several labels is a problem of its own with the two classes 0 and 1. The guarantee holds
    for each label and value, not for all labels of a row together.

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

    One label, of two rows:

    >>> conformal_sets([(np.array([[0.05], [0.5]]), [scores])], 0.25).tolist()
    [[[True, False]], [[False, True]]]
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, both excluded; got {alpha}.")
    counts, totals, multilabel = [], [], False
    for proba, scores in folds:
        proba = np.asarray(proba, dtype=np.float64)
        _check_finite(proba)
        own = 1 - proba
        multilabel = isinstance(scores[0], tuple | list)
        if multilabel:  # the values 0 and 1 of each label, label after label
            own = np.stack([proba, own], axis=2).reshape(len(proba), -1)
            scores = [part for pair in scores for part in pair]
        columns = zip(own.T, scores, strict=True)
        beyond = [len(s) - np.searchsorted(s, column, side="left") for column, s in columns]
        counts.append(np.stack(beyond, axis=1))
        totals.append([len(s) for s in scores])
    if not counts:
        raise ValueError("There is no fold to compare with; give at least one.")
    n_beyond, n_rows = np.sum(counts, axis=0), np.sum(totals, axis=0)
    sets: NDArray[np.bool_] = (n_beyond + times_held_out) / (n_rows + times_held_out) > alpha
    return sets.reshape(len(sets), -1, 2) if multilabel else sets


def _check_finite(proba: Floats) -> None:
    if not np.isfinite(proba).all():
        raise ValueError(
            "Some probabilities are NaN or infinite, so that rows cannot be compared by them. "
            "Check the features and the estimator that predicts them."
        )
