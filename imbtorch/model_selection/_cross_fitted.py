"""A classifier that consists of the models of all folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.conformal import ConformalMixin, calibration_scores
from imbtorch._common.sklearn_private import fit_context
from imbtorch._data.folds import as_folds
from imbtorch.model_selection._base import BaseProbabilityMetaClassifier
from imbtorch.model_selection._cross_fit import aligned, fit_folds, fold_predictions, out_of_fold

__all__ = ["CrossFittedClassifier", "cross_fit"]

Floats = NDArray[np.float64]


def cross_fit(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    cv: Any = None,
    groups: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> CrossFittedClassifier:
    """Fit a classifier on each fold's training part, and predict the rows that it has not seen.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Any classifier, also a pipeline; clones of it are fitted. The nets of one estimator of this
        package are trained as a stack.
    X : array-like of shape (n, ...)
        Features.
    y : array-like of shape (n,) or (n, n_labels)
        Labels; or 0 and 1 for each of several labels.
    cv : int, splitter, iterable of splits or None, default=None
        Cross-validation; a number of folds is stratified by class, None is 5 folds. Rows that are
        in several test parts get the mean of their predictions, rows in none get NaN.
    groups : array-like of shape (n,) or None, default=None
        Group of each row, for splitters that keep groups together.
    sample_weight : array-like of shape (n,) or None, default=None
        Row weights, which are passed to the fits.
    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time, where they are not a stack.
    random_state : int, RandomState or None, default=None
        Seed that shuffles the rows before they are divided into a number of folds.

    Returns
    -------
    CrossFittedClassifier
        The fitted folds, whose mean predicts new rows.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from imbtorch.model_selection import cross_fit
    >>> X, y = make_classification(500, weights=[0.9], random_state=0)
    >>> folds = cross_fit(LogisticRegression(), X, y, cv=4)
    >>> len(folds.estimators_), folds.oof_predict_proba_.shape
    (4, (500, 2))
    """
    model = CrossFittedClassifier(estimator, cv=cv, n_jobs=n_jobs, random_state=random_state)
    return model.fit(X, y, sample_weight, groups=groups)


class CrossFittedClassifier(ConformalMixin, BaseProbabilityMetaClassifier):
    """Classifier that consists of the models of all folds of a cross-validation.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Any classifier, also a pipeline; clones of it are fitted. The nets of one estimator of this
        package are trained as a stack.
    cv : int, splitter, iterable of splits or None, default=None
        Cross-validation; a number of folds is stratified by class, None is 5 folds.
    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time, where they are not a stack.
    random_state : int, RandomState or None, default=None
        Seed that shuffles the rows before they are divided into a number of folds.

    Attributes
    ----------
    estimators_ : list of classifiers
        One for each fold.
    folds_ : list of Fold
        The same with the positions of their rows.
    classes_ : ndarray of shape (n_classes,)
        The labels; numbers of the labels if a row has several.
    oof_predict_proba_ : ndarray of shape (n, n_classes) or (n, n_labels)
        Probabilities of each row by the models that were not trained on it, their mean if there
        are several; NaN for rows that are in no test part.
    oof_rows_ : ndarray of int
        Positions of the rows that have such predictions.

    See Also
    --------
    cross_fit : The same in one call.
    TunedDecisionClassifierCV, ScaledClassifierCV : With ``cv="oof"`` they learn from the
        out-of-fold predictions, and fit nothing more.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from imbtorch.model_selection import CrossFittedClassifier, TunedDecisionClassifierCV
    >>> X, y = make_classification(500, weights=[0.9], random_state=0)
    >>> folds = CrossFittedClassifier(LogisticRegression()).fit(X, y)
    >>> tuned = TunedDecisionClassifierCV(folds, scoring="f1", cv="oof").fit(X, y)
    >>> tuned.estimator_ is folds
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseProbabilityMetaClassifier._parameter_constraints,
        "cv": ["cv_object"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        cv: Any = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> CrossFittedClassifier:
        """Fit a clone on the training part of each fold, and predict the rows of its test part.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.
        y : array-like of shape (n,) or (n, n_labels)
            Labels; or 0 and 1 for each of several labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Row weights, which are passed to the fits.
        groups : array-like of shape (n,) or None, default=None
            Group of each row, for splitters that keep groups together.

        Returns
        -------
        CrossFittedClassifier
            The fitted estimator.

        Warns
        -----
        UserWarning
            If the training part of a fold has no row of a class.
        """
        X, targets, weights = self._check_input(X, y, sample_weight)
        self.folds_ = fit_folds(
            self.estimator,
            X,
            targets,
            cv=as_folds(self.cv, targets, self.random_state),
            groups=groups,
            n_jobs=self.n_jobs,
            sample_weight=weights,
        )
        self.estimators_ = [fold.estimator for fold in self.folds_]
        self._labels = [np.unique(column) for column in np.atleast_2d(targets.T)]
        self._multilabel = targets.ndim == 2
        self.classes_ = np.arange(targets.shape[1]) if self._multilabel else self._labels[0]
        predictions = fold_predictions(self.folds_, X, targets)
        self.oof_predict_proba_, self.oof_rows_ = out_of_fold(
            self.folds_, predictions, len(targets)
        )
        if not self._multilabel:
            self._scores = [
                calibration_scores(
                    proba,
                    targets[fold.test],
                    self.classes_,
                    None if weights is None else weights[fold.test],
                )
                for fold, proba in zip(self.folds_, predictions, strict=True)
            ]
        return self

    @property
    def estimator_(self) -> Any:
        """The model of the first fold, which tells what all of them have in common."""
        return self.estimators_[0]

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Mean of the probabilities of the models.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.

        Returns
        -------
        ndarray of shape (n, n_classes) or (n, n_labels)
            In the order of ``classes_``.
        """
        check_is_fitted(self)
        proba = [aligned(e, X, self._labels, self._multilabel) for e in self.estimators_]
        mean: Floats = np.mean(proba, axis=0)
        return mean

    def _calibrated(self, X: Any) -> Iterator[tuple[Floats, Sequence[Floats]]]:
        check_is_fitted(self)
        if self._multilabel:
            raise ValueError("predict_set works for one label per row; fit one model per label.")
        for estimator, scores in zip(self.estimators_, self._scores, strict=True):
            yield aligned(estimator, X, self._labels, False), scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row, or the labels more probable than not.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.

        Returns
        -------
        ndarray of shape (n,) or (n, n_labels)
            Labels.
        """
        proba = self.predict_proba(X)
        if self._multilabel:
            return (proba > 0.5).astype(np.intp)
        return np.asarray(self.classes_[proba.argmax(axis=1)])
