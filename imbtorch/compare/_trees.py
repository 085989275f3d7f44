"""Gradient boosting, the number of trees of which is found by folds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.sklearn_private import _safe_indexing
from imbtorch._data.folds import as_folds
from imbtorch.compare._inner_folds import N_INNER, CompleteFolds
from imbtorch.metrics import mean_average_precision

__all__ = ["BoostingOfFoundLength"]

Floats = NDArray[np.float64]
_FIRST, _MOST = 64, 1024  # trees after which the search looks for the first time, and ends
_PATIENCE = 1.3  # factor on the best number so far after which the search ends
_GROWTH = 1.1  # factor from one number of trees that is scored to the next


class BoostingOfFoundLength(ClassifierMixin, BaseEstimator):
    """Gradient boosting with early stopping on folds, then one model of this length on all rows.

    It is what ``max_epochs="auto"`` does for nets: the models of three folds grow together until
    their mean average precision, on the rows that they were not trained on, no longer improves.

    Parameters
    ----------
    class_weight : "balanced" or None, default=None
        Weights of the classes, as in scikit-learn.
    cv : splitter or None, default=None
        Folds; None makes three, shuffled and stratified by class.
    random_state : int or None, default=None
        Seed of the folds and of the models.

    Attributes
    ----------
    model_ : HistGradientBoostingClassifier
        The model that is fitted to all rows.
    n_trees_ : int
        Number of trees that was found (of trees for each class, where there are more than two).
    numbers_ : ndarray of int, shape (n_points,)
        Numbers of trees that the folds were scored with.
    scores_ : ndarray of shape (n_folds, n_points)
        Average precision of each fold, averaged over the classes where there are more than two.
    classes_ : ndarray of shape (n_classes,)
        The labels.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch.compare._trees import BoostingOfFoundLength
    >>> X, y = make_classification(300, weights=[0.8], random_state=0)
    >>> trees = BoostingOfFoundLength(random_state=0).fit(X, y)
    >>> trees.n_trees_ == trees.model_.n_iter_
    True
    """

    def __init__(
        self,
        *,
        class_weight: str | None = None,
        cv: Any = None,
        random_state: int | None = None,
    ) -> None:
        self.class_weight = class_weight
        self.cv = cv
        self.random_state = random_state

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> BoostingOfFoundLength:
        """Find the number of trees, and fit a model to all rows.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, n_features)
            Table; columns of the type ``category`` are categories, and NaN are gaps.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights >= 0 of the rows, in training and in the scores of the folds.

        Returns
        -------
        BoostingOfFoundLength
            The fitted classifier.

        Raises
        ------
        ValueError
            If no fold has every class in both of its parts.
        """
        labels = np.asarray(y)
        codes = np.searchsorted(np.unique(labels), labels)
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        splitter = CompleteFolds(as_folds(N_INNER, codes, self.random_state or 0))
        splits = list((self.cv or splitter).split(np.zeros((len(codes), 1)), codes))
        folds = [_GrowingFold(self._model(), X, codes, weights, *split) for split in splits]
        n_trees = _FIRST
        while True:
            for fold in folds:
                fold.grow(n_trees)
            self.numbers_ = points(n_trees)
            self.scores_ = np.array([[fold.scores[n] for n in self.numbers_] for fold in folds])
            self.n_trees_ = best_number(self.numbers_, self.scores_)
            if n_trees >= min(_PATIENCE * self.n_trees_, _MOST):
                break
            n_trees = min(2 * n_trees, _MOST)
        self.model_ = self._model().set_params(max_iter=self.n_trees_).fit(X, labels, weights)
        self.classes_ = self.model_.classes_
        return self

    def _model(self) -> HistGradientBoostingClassifier:
        return HistGradientBoostingClassifier(
            categorical_features="from_dtype",
            class_weight=self.class_weight,
            early_stopping=False,  # else more than 10,000 rows lose a tenth of them
            random_state=self.random_state,
        )

    def decision_function(self, X: Any) -> Floats:
        """Return the score of class 1 of two, or of every class, as the model does.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, n_features)
            Table with the columns of the fit.
        """
        check_is_fitted(self)
        return np.asarray(self.model_.decision_function(X))

    def predict_proba(self, X: Any) -> Floats:
        """Return the probabilities of the classes, ``(n, n_classes)``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, n_features)
            Table with the columns of the fit.
        """
        check_is_fitted(self)
        return np.asarray(self.model_.predict_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, n_features)
            Table with the columns of the fit.
        """
        check_is_fitted(self)
        return np.asarray(self.model_.predict(X))


class _GrowingFold:
    """A model that gets more trees, and its scores on rows that it is not trained on."""

    def __init__(
        self,
        model: Any,
        X: Any,
        codes: NDArray[np.intp],
        weights: Floats | None,
        train: Any,
        test: Any,
    ) -> None:
        def of(rows: Any) -> Floats | None:
            return None if weights is None else weights[rows]

        self.model = model.set_params(warm_start=True)
        self.training = _safe_indexing(X, train), codes[train], of(train)
        self.rows, self.truth, self.weights = _safe_indexing(X, test), codes[test], of(test)
        self.scores: dict[int, float] = {}

    def grow(self, n_trees: int) -> None:
        """Add trees up to this number, and score the new ones."""
        self.model.set_params(max_iter=n_trees).fit(*self.training)
        wanted = set(points(n_trees)) - set(self.scores)
        for number, scores in enumerate(self.model.staged_decision_function(self.rows), start=1):
            if number in wanted:
                flat = scores.ravel() if scores.ndim == 2 and scores.shape[1] == 1 else scores
                self.scores[number] = mean_average_precision(self.truth, flat, self.weights)


def points(n_trees: int) -> NDArray[np.intp]:
    """Return the numbers of trees that are scored: each at first, then ever fewer of them."""
    numbers, number = [], 1
    while number <= n_trees:
        numbers.append(number)
        number = max(number + 1, round(_GROWTH * number))
    return np.array(numbers, dtype=np.intp)


def best_number(numbers: NDArray[np.intp], scores: Floats) -> int:
    """Return the number of trees with the best mean score of the folds.

    Each score is averaged with its two neighbours, as for the epochs of nets: a few rare rows
    decide by luck which single number is the best.

    Parameters
    ----------
    numbers : ndarray of int, shape (n_points,)
        Numbers of trees.
    scores : ndarray of shape (n_folds, n_points)
        Scores of the folds.
    """
    mean, window = scores.mean(axis=0), np.ones(3)
    smooth = np.convolve(mean, window, "same") / np.convolve(np.ones_like(mean), window, "same")
    return int(numbers[np.argmax(smooth)])
