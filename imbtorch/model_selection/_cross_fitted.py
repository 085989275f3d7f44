"""Classifiers and regressors that consist of the models of all folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin
from sklearn.model_selection import KFold
from sklearn.utils import check_array, column_or_1d, get_tags, indexable
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.conformal import ConformalMixin, calibration_scores
from imbtorch._common.inputs import as_inputs
from imbtorch._common.sklearn_private import HasMethods, _check_sample_weight, fit_context
from imbtorch._data.datasets_as_rows import own_targets, refuse_dataset
from imbtorch._data.folds import as_folds
from imbtorch.model_selection._base import BaseProbabilityMetaClassifier
from imbtorch.model_selection._cross_fit import (
    Fold,
    aligned,
    fit_folds,
    fold_predictions,
    fold_values,
    out_of_fold,
    refuse_lost_groups,
)

__all__ = ["CrossFittedClassifier", "CrossFittedRegressor", "cross_fit"]

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
) -> CrossFittedClassifier | CrossFittedRegressor:
    """Fit a model on each fold's training part, and predict the rows that it has not seen.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``, or regressor
        Any classifier or regressor, also a pipeline; clones of it are fitted. The nets of one
        estimator of this package are trained as a stack.
    X : array-like of shape (n, ...)
        Features.
    y : array-like of shape (n,), (n, n_labels) or (n, n_targets)
        Labels; or 0 and 1 for each of several labels; or numbers for a regressor.
    cv : int, splitter, iterable of splits or None, default=None
        Cross-validation; a number of folds is stratified by class if there are classes, None is 5
        folds. Rows that are in several test parts get the mean of their predictions, rows in none
        get NaN.
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
    CrossFittedClassifier or CrossFittedRegressor
        The fitted folds, whose mean predicts new rows.

    Raises
    ------
    TypeError
        If the estimator is neither a classifier nor a regressor, such as an outlier detector.
    ValueError
        If the data are invalid, or the splitter cannot divide the rows.

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
    settings: dict[str, Any] = {"cv": cv, "n_jobs": n_jobs, "random_state": random_state}
    model: CrossFittedClassifier | CrossFittedRegressor
    if _type_of(estimator) == "regressor":
        model = CrossFittedRegressor(estimator, **settings)
    else:
        _require_type(estimator, "classifier", "cross_fit")
        model = CrossFittedClassifier(estimator, **settings)
    return model.fit(X, y, sample_weight, groups=groups)


def _type_of(estimator: Any) -> str | None:
    """Return the type of an estimator as scikit-learn names it; None if it names none."""
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise TypeError(
            "The estimator must be an instance of a classifier or of a regressor, such as "
            f"LogisticRegression(); got {estimator!r}."
        )
    if not hasattr(estimator, "__sklearn_tags__"):
        return None
    kind: str | None = get_tags(estimator).estimator_type
    return kind


def _require_type(estimator: Any, wanted: str, name: str) -> None:
    """Raise TypeError if an estimator is of another type, or its type cannot be told."""
    kind = _type_of(estimator)
    method = "predict_proba" if wanted == "classifier" else "predict"
    if kind == wanted or (kind is None and hasattr(estimator, method)):
        return
    word = type(estimator).__name__
    if kind in ("classifier", "regressor"):
        fitting = f"CrossFitted{kind.title()}"
        raise TypeError(f"{name} takes a {wanted}, but {word} is a {kind}; use {fitting}.")
    what = "a transformer" if kind is None else f"of the type {kind!r}"
    raise TypeError(
        f"{name} needs predictions of y to compare with y: give a classifier with predict_proba or "
        f"a regressor. {word} is {what}."
    )


class _FoldModels:
    """Add what classifiers and regressors that consist of the models of folds have in common."""

    estimators_: list[Any]
    folds_: list[Fold]
    oof_rows_: NDArray[np.intp]

    @property
    def estimator_(self) -> Any:
        """The model of the first fold, which tells what all of them have in common."""
        return self.estimators_[0]


class CrossFittedClassifier(_FoldModels, ConformalMixin, BaseProbabilityMetaClassifier):
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

        Raises
        ------
        TypeError
            If the estimator is no classifier.
        ValueError
            If the data are invalid, or the splitter cannot divide the rows.
        """
        _require_type(self.estimator, "classifier", type(self).__name__)
        X, targets, weights = self._check_input(X, y, sample_weight)
        refuse_lost_groups(self.cv, groups)
        folds = fit_folds(
            self.estimator,
            X,
            targets,
            cv=as_folds(self.cv, targets, self.random_state),
            groups=groups,
            n_jobs=self.n_jobs,
            sample_weight=weights,
        )
        self._publish(folds, targets, weights, fold_predictions(folds, X, targets))
        return self

    def _publish(
        self,
        folds: list[Fold],
        targets: NDArray[Any],
        weights: Floats | None,
        predictions: Sequence[Floats],
    ) -> None:
        """Set the fitted attributes."""
        multilabel = targets.ndim == 2
        labels = [np.unique(column) for column in np.atleast_2d(targets.T)]
        classes = np.arange(targets.shape[1]) if multilabel else labels[0]
        scores = [
            calibration_scores(
                proba,
                targets[fold.test],
                None if multilabel else classes,
                None if weights is None else weights[fold.test],
            )
            for fold, proba in zip(folds, predictions, strict=True)
        ]
        self.folds_, self.estimators_ = folds, [fold.estimator for fold in folds]
        self._labels, self._multilabel, self._scores = labels, multilabel, scores
        self.classes_ = classes
        self.oof_predict_proba_, self.oof_rows_ = out_of_fold(folds, predictions, len(targets))

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

    @property
    def _times_held_out(self) -> float:
        return float(sum(len(fold.test) for fold in self.folds_) / len(self.oof_rows_))

    def _calibrated(self, X: Any) -> Iterator[tuple[Floats, Sequence[Any]]]:
        check_is_fitted(self)
        for estimator, scores in zip(self.estimators_, self._scores, strict=True):
            yield aligned(estimator, X, self._labels, self._multilabel), scores

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


class CrossFittedRegressor(_FoldModels, RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """Regressor that consists of the models of all folds of a cross-validation.

    Parameters
    ----------
    estimator : regressor
        Any regressor, also a pipeline; clones of it are fitted. The nets of one estimator of this
        package are trained as a stack.
    cv : int, splitter, iterable of splits or None, default=None
        Cross-validation; None is 5 folds.
    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time, where they are not a stack.
    random_state : int, RandomState or None, default=None
        Seed that shuffles the rows before they are divided into a number of folds.

    Attributes
    ----------
    estimators_ : list of regressors
        One for each fold.
    folds_ : list of Fold
        The same with the positions of their rows.
    oof_predict_ : ndarray of shape (n,) or (n, n_targets)
        Prediction of each row by the models that were not trained on it, their mean if there are
        several; NaN for rows that are in no test part.
    oof_rows_ : ndarray of int
        Positions of the rows that have such predictions.

    See Also
    --------
    cross_fit : The same in one call.
    imbtorch.NetEnsembleRegressor : Nets that also use their fold for early stopping.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from imbtorch.model_selection import CrossFittedRegressor
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> folds = CrossFittedRegressor(Ridge()).fit(X, X[:, 0])
    >>> folds.predict(X).shape, folds.oof_predict_.shape
    ((500,), (500,))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict"])],
        "cv": ["cv_object"],
        "n_jobs": [int, np.integer, None],
        "random_state": ["random_state"],
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
    ) -> CrossFittedRegressor:
        """Fit a clone on the training part of each fold, and predict the rows of its test part.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.
        y : array-like of shape (n,) or (n, n_targets)
            Finite numbers.
        sample_weight : array-like of shape (n,) or None, default=None
            Row weights >= 0, which are passed to the fits.
        groups : array-like of shape (n,) or None, default=None
            Group of each row, for splitters that keep groups together.

        Returns
        -------
        CrossFittedRegressor
            The fitted estimator.

        Raises
        ------
        TypeError
            If the estimator is no regressor.
        ValueError
            If the data are invalid, or the splitter cannot divide the rows.
        """
        _require_type(self.estimator, "regressor", type(self).__name__)
        refuse_dataset(X, type(self).__name__)
        X, y, weights = own_targets(as_inputs(X), y, sample_weight, self.estimator)
        X, targets = self._check_targets(X, y)
        if weights is not None:
            weights = _check_sample_weight(weights, X, dtype=np.float64, ensure_non_negative=True)
        refuse_lost_groups(self.cv, groups)
        splitter = self.cv
        if splitter is None or isinstance(splitter, int | np.integer):
            shuffled = {"shuffle": True, "random_state": self.random_state}
            given = {} if self.random_state is None else shuffled
            splitter = KFold(5 if splitter is None else int(splitter), **given)
        folds = fit_folds(
            self.estimator,
            X,
            targets,
            cv=splitter,
            groups=groups,
            n_jobs=self.n_jobs,
            sample_weight=weights,
            has_classes=False,
        )
        found, rows = out_of_fold(folds, fold_values(folds, X, targets), len(targets))
        self.folds_, self.estimators_ = folds, [fold.estimator for fold in folds]
        self.oof_predict_, self.oof_rows_ = found.reshape(targets.shape), rows
        return self

    def _check_targets(self, X: Any, y: Any) -> tuple[Any, NDArray[Any]]:
        """Check ``y``; the inner estimator checks ``X``."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None."
            )
        X, y = indexable(X, y)
        given = np.asarray(y, dtype=object)
        if any(isinstance(value, str | bytes) for value in given.flat):
            raise ValueError(
                f"y holds words, but {type(self.estimator).__name__} is a regressor, which "
                "predicts numbers. Give numbers, or a classifier."
            )
        targets = check_array(y, ensure_2d=False, dtype="numeric", input_name="y")
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = column_or_1d(targets, warn=True)
        return X, targets

    @property
    def n_features_in_(self) -> int:
        """Number of columns of ``X``, if the inner estimator has ``n_features_in_``."""
        check_is_fitted(self, "estimators_")
        n: int = self.estimator_.n_features_in_
        return n

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of the columns of ``X``, if the columns have names."""
        check_is_fitted(self, "estimators_")
        names: NDArray[Any] = self.estimator_.feature_names_in_
        return names

    def predict(self, X: ArrayLike) -> Floats:
        """Mean of the predictions of the models.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.

        Returns
        -------
        ndarray of shape (n,) or (n, n_targets)
            In the units of ``y``, and of its number of dimensions.
        """
        check_is_fitted(self)
        mean: Floats = np.mean([model.predict(X) for model in self.estimators_], axis=0)
        return mean.reshape(len(mean), *self.oof_predict_.shape[1:])

    def __sklearn_tags__(self) -> Any:
        """Say that it accepts what its models accept."""
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags, tags.target_tags = inner.input_tags, inner.target_tags
        tags.non_deterministic = inner.non_deterministic
        if inner.regressor_tags is not None:
            tags.regressor_tags = inner.regressor_tags
        return tags
