"""Restate the probabilities of any classifier for another population."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import column_or_1d, get_tags
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.sklearn_private import (
    HasMethods,
    StrOptions,
    _check_sample_weight,
    fit_context,
)
from imbtorch.priors._estimate import estimate_prior
from imbtorch.priors._resolve import normalize, resolve_target_prior

__all__ = ["PriorShiftClassifier"]

Floats = NDArray[np.float64]


class PriorShiftClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Classifier whose probabilities describe a stated population, around any other classifier.

    ``predict_proba`` is that of the inner classifier, with its odds multiplied by the ratio of the
    class frequencies of the two populations.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Classifier of one label per row, such as gradient boosting or a pipeline; a clone is fitted.
        A ``FrozenEstimator`` is not fitted again.
    target_prior : {"train", "uniform"}, mapping, Series or array-like, default="train"
        Population that the probabilities shall describe: that of ``y``, equal shares, or the share
        of each class.
    source_prior : {"train", "uniform"}, mapping, Series or array-like, default="train"
        Population that the probabilities of ``estimator`` describe: ``"train"`` is that of ``y``,
        weighted by ``sample_weight``. ``"uniform"`` is right for ``class_weight="balanced"``, and
        behind a sampler that balances the classes.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    class_prior_ : ndarray of shape (n_classes,)
        Class frequencies of ``y``.

    See Also
    --------
    shift_prior : The same for given probabilities.
    imbtorch.ImbalancedNetClassifier : Nets have a parameter ``target_prior``.

    Notes
    -----
    It assumes that only the class frequencies differ, not the rows within each class, and that the
    probabilities of ``estimator`` are calibrated.

    References
    ----------
    .. [1] Saerens et al. (2002). "Adjusting the Outputs of a Classifier to New a Priori
           Probabilities". :doi:`10.1162/089976602753284446`

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from imbtorch.priors import PriorShiftClassifier
    >>> X, y = make_classification(2000, weights=[0.9], flip_y=0.1, class_sep=0.5, random_state=0)
    >>> balanced = LogisticRegression(class_weight="balanced")
    >>> clf = PriorShiftClassifier(balanced, source_prior="uniform").fit(X, y)
    >>> proba = balanced.fit(X, y).predict_proba(X), clf.predict_proba(X)
    >>> [round(float(p[:, 1].mean()), 2) for p in proba], float(y.mean())
    ([0.36, 0.14], 0.145)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "target_prior": [StrOptions({"train", "uniform"}), dict, "array-like"],
        "source_prior": [StrOptions({"train", "uniform"}), dict, "array-like"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        target_prior: Any = "train",
        source_prior: Any = "train",
    ) -> None:
        self.estimator = estimator
        self.target_prior = target_prior
        self.source_prior = source_prior

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags.multi_label = False
        return tags

    @property
    def n_features_in_(self) -> int:
        """Number of columns of ``X``, if the inner classifier has ``n_features_in_``."""
        check_is_fitted(self, "estimator_")
        n: int = self.estimator_.n_features_in_
        return n

    @fit_context
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> PriorShiftClassifier:
        """Fit the classifier and count the classes.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Row weights, which are passed to the classifier.

        Returns
        -------
        PriorShiftClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If ``y`` holds several labels per row, or a prior is invalid.
        """
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None."
            )
        labels = column_or_1d(y, warn=True)
        weights = {}
        if sample_weight is not None:
            weights = {"sample_weight": _check_sample_weight(sample_weight, labels)}
        if isinstance(self.estimator, FrozenEstimator):
            self.estimator_ = self.estimator
        else:
            self.estimator_ = clone(self.estimator).fit(X, y, **weights)
        self.classes_ = np.asarray(self.estimator_.classes_)
        masses = [
            (labels == label) @ weights.get("sample_weight", np.ones(len(labels)))
            for label in self.classes_
        ]
        self.class_prior_ = normalize(np.asarray(masses, dtype=np.float64))
        self._log_ratio()  # raises an error now rather than at prediction
        return self

    def _log_ratio(self) -> Floats:
        source, target = (
            resolve_target_prior(prior, self.classes_, self.class_prior_)
            for prior in (self.source_prior, self.target_prior)
        )
        if (source == 0).any():
            raise ValueError(
                f"source_prior must be positive for each class; got {source.tolist()}. A class of "
                "frequency 0 cannot be restated."
            )
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(target) - np.log(source))

    def predict_log_proba(self, X: ArrayLike) -> Floats:
        """Logarithm of ``predict_proba``, without underflow.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of ``classes_``.
        """
        check_is_fitted(self, "estimator_")
        proba = np.asarray(self.estimator_.predict_proba(X), dtype=np.float64)
        tiny = np.finfo(np.float64).tiny
        scores = np.log(np.maximum(proba, tiny)) + self._log_ratio()
        return np.asarray(log_softmax(scores, axis=1))

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probabilities for the population that ``target_prior`` names.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of ``classes_``.
        """
        return np.asarray(np.exp(self.predict_log_proba(X)))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row in that population.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features.

        Returns
        -------
        ndarray of shape (n,)
            Labels.
        """
        codes = self.predict_log_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[codes])

    def estimate_prior(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> Floats:
        """Estimate the class frequencies of unlabelled rows, such as new data.

        It is :func:`imbtorch.priors.estimate_prior` with the probabilities of ``estimator_`` and
        the population ``source_prior``. ``target_prior`` has no influence.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features of the unlabelled rows.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights >= 0 of the rows.

        Returns
        -------
        ndarray of float64, shape (n_classes,)
            Class frequencies in the order of ``classes_``, which sum to 1.

        Raises
        ------
        ValueError
            If a class has the frequency 0 in ``source_prior``, or the weights are invalid.

        Warns
        -----
        ConvergenceWarning
            If the estimation has not converged.

        Examples
        --------
        >>> from sklearn.datasets import make_classification
        >>> from sklearn.linear_model import LogisticRegression
        >>> from imbtorch.priors import PriorShiftClassifier
        >>> X, y = make_classification(2000, weights=[0.9], class_sep=2, flip_y=0, random_state=0)
        >>> clf = PriorShiftClassifier(LogisticRegression()).fit(X, y)
        >>> clf.estimate_prior(X[y == 0]).round(1)
        array([1., 0.])
        """
        check_is_fitted(self, "estimator_")
        source = resolve_target_prior(self.source_prior, self.classes_, self.class_prior_)
        return estimate_prior(self.estimator_.predict_proba(X), source, sample_weight=sample_weight)
