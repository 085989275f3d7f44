"""Calibrate probabilities by a map with few parameters."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.calibrators import CALIBRATORS, best_method
from imbtorch._common.sklearn_private import StrOptions, fit_context
from imbtorch.model_selection._base import BaseProbabilityMetaClassifier
from imbtorch.model_selection._label_scorer import log_probabilities

__all__ = ["ScaledClassifierCV"]

Floats = NDArray[np.float64]
_EPS = float(np.finfo(np.float64).eps)  # replaces probabilities of 0, as in log loss


class ScaledClassifierCV(BaseProbabilityMetaClassifier):
    """Calibrate probabilities by a map with few parameters, such as a temperature.

    The parameters minimise the log loss on out-of-fold predictions of all rows together:

    - ``"temperature"``: ``softmax(log p / T)`` with one number for all classes [1]_, which does not
      change the most probable class;
    - ``"vector"``: ``softmax(a * log p + b)`` with a scale and a bias per class [1]_, which also
      corrects class frequencies;
    - ``"beta"``, two classes: log-odds ``a log p - b log(1 - p) + c`` [2]_, which bend differently
      near 0 and near 1;
    - ``"quadratic"``, two classes: log-odds ``a z + b z |z| + c`` of the log-odds z.

    For bins and isotonic regression use ``sklearn.calibration.CalibratedClassifierCV``.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Classifier of two or more classes, with one label per row. Clones of it are fitted, but
        never the object itself.
    method : {"temperature", "vector", "beta", "quadratic", "auto"}, default="temperature"
        The map. ``"auto"`` takes the one with the smallest cross-validated log loss.
    cv : int, splitter, iterable of splits, "prefit", "oof" or None, default=None
        Cross-validation. A number of folds is stratified by class; None is 5 folds. Rows that are
        in no test part are left out. ``"prefit"``: ``estimator`` is fitted already, and ``fit``
        gets other rows than it has been trained on. ``"oof"``: it brings its out-of-fold
        predictions, such as the result of :func:`cross_fit` on the same rows.
    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time.
    random_state : int, RandomState or None, default=None
        Seed that shuffles the rows before they are divided into a number of folds; None keeps
        their order.

    Attributes
    ----------
    estimator_ : classifier
        The classifier fitted to all rows.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    temperature_ : float
        Temperature T, with ``method="temperature"``. It is greater than 1 if the estimator is
        overconfident.
    method_ : str
        The map that was fitted.
    coef_ : ndarray of shape (3,)
        The numbers a, b and c, with ``"beta"`` and ``"quadratic"``.
    scale_, bias_ : ndarray of shape (n_classes,)
        Scales and biases, with ``method="vector"``. The biases have mean 0.
    n_features_in_ : int
        Number of columns of ``X``, if the inner estimator has this attribute.
    feature_names_in_ : ndarray of str
        Names of the columns of ``X``, if the columns have names.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : Sigmoid and isotonic calibration of one class
        against the rest; temperature scaling since scikit-learn 1.8; no vector scaling.
    TunedDecisionClassifierCV : Decisions that maximise a metric.

    References
    ----------
    .. [1] Guo et al. (2017). "On Calibration of Modern Neural Networks". :arxiv:`1706.04599`
    .. [2] Kull et al. (2017). "Beyond Sigmoids: How to Obtain Well-Calibrated Probabilities from
           Binary Classifiers with Beta Calibration". :doi:`10.1214/17-EJS1338SI`

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from imbtorch.model_selection import ScaledClassifierCV
    >>> X, y = make_classification(1000, n_redundant=10, weights=[0.9], random_state=0)
    >>> scaled = ScaledClassifierCV(GaussianNB()).fit(X, y)
    >>> scaled.temperature_ > 1  # naive Bayes counts redundant features twice
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseProbabilityMetaClassifier._parameter_constraints,
        "method": [StrOptions({*CALIBRATORS, "auto"})],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        method: str = "temperature",
        cv: Any = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = False
        tags.target_tags.multi_output = False
        return tags

    @fit_context
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> ScaledClassifierCV:
        """Fit the scaling to out-of-fold predictions, then the estimator to all rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features, whatever the inner estimator accepts.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Row weights, which are passed to the fits and used in the log loss.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, for splitters that keep groups together.

        Returns
        -------
        ScaledClassifierCV
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or ``y`` is invalid.
        """
        X, y, sample_weight = self._check_input(X, y, sample_weight)
        if y.ndim == 2:
            raise ValueError(
                f"y must hold one label per row; got {y.shape[1]} labels. Calibrate each label "
                "separately: give this estimator to sklearn's MultiOutputClassifier."
            )
        known = self._predictions(X, y, sample_weight, groups)
        log_proba = log_probabilities(known.proba, _EPS)
        classes, codes = np.unique(y, return_inverse=True)
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        codes, weights = codes[known.rows], weights[known.rows]
        self.method_ = self.method
        if self.method == "auto":
            self.method_ = best_method(log_proba, codes, weights)
        calibrator = CALIBRATORS[self.method_]
        if calibrator.classes not in (None, len(classes)):
            raise ValueError(
                f"method={self.method!r} is for two classes; y has {len(classes)}. Use 'vector' or "
                "'auto'."
            )
        self._set_parameters(calibrator.fit(log_proba, codes, weights), len(classes))
        self.estimator_ = self._fitted(known, X, y, sample_weight)
        self.classes_ = classes
        return self

    def _set_parameters(self, theta: Floats, n_classes: int) -> None:
        """Set the fitted attributes of the map."""
        for name in ("temperature_", "scale_", "bias_", "coef_"):
            self.__dict__.pop(name, None)
        if self.method_ == "temperature":
            self.temperature_ = float(np.exp(-theta[0]))
        elif self.method_ == "vector":
            self.scale_, self.bias_ = theta[:n_classes], theta[n_classes:]
            self.bias_ = self.bias_ - self.bias_.mean()
        else:
            self.coef_ = theta

    def _parameters(self) -> Floats:
        """Return the parameters of the map."""
        if self.method_ == "temperature":
            return np.array([-np.log(self.temperature_)])
        if self.method_ == "vector":
            return np.concatenate([self.scale_, self.bias_])
        return self.coef_

    def predict_log_proba(self, X: ArrayLike) -> Floats:
        """Predict calibrated log-probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of float64, shape (n_samples, n_classes)
            Log-probabilities in the order of ``classes_``.
        """
        check_is_fitted(self, "estimator_")
        proba = np.asarray(self.estimator_.predict_proba(X), dtype=np.float64)
        log_proba = log_probabilities(proba, _EPS)
        return CALIBRATORS[self.method_].apply(log_proba, self._parameters())

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Predict calibrated probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of float64, shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``.
        """
        proba: Floats = np.exp(self.predict_log_proba(X))
        return proba

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels.
        """
        codes = self.predict_log_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[codes])
