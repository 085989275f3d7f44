"""Calibrate probabilities by a temperature, or by one scale and bias per class."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.sklearn_private import StrOptions, fit_context
from imbtorch.model_selection._base import BaseProbabilityMetaClassifier
from imbtorch.model_selection._label_scorer import log_probabilities

__all__ = ["ScaledClassifierCV"]

Floats = NDArray[np.float64]
_EPS = float(np.finfo(np.float64).eps)  # replaces probabilities of 0, as in log loss
# Strength of the penalty that pulls the parameters towards no scaling, in rows. It keeps them
# finite for separable data; a hundredth of a row is negligible beside any class with rows.
_PULL = 0.01


class ScaledClassifierCV(BaseProbabilityMetaClassifier):
    """Calibrate probabilities by temperature or vector scaling.

    Temperature scaling is ``softmax(log p / T)`` with one number for all classes, which does not
    change the most probable class. Vector scaling is ``softmax(a * log p + b)`` with a scale and a
    bias per class, which also corrects class frequencies. Both minimise the log loss on
    out-of-fold predictions of all rows together.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Classifier of two or more classes, with one label per row. Clones of it are fitted, but
        never the object itself.
    method : {"temperature", "vector"}, default="temperature"
        Kind of scaling to fit.
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
        "method": [StrOptions({"temperature", "vector"})],
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
        if self.method == "temperature":
            self.temperature_ = fit_temperature(log_proba, codes, weights)
        else:
            self.scale_, self.bias_ = fit_vector(log_proba, codes, weights)
        self.estimator_ = known.estimator or self._fit_estimator(X, y, sample_weight)
        self.classes_ = classes
        return self

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
        if self.method == "temperature":
            scores = log_proba / self.temperature_
        else:
            scores = log_proba * self.scale_ + self.bias_
        scaled: Floats = log_softmax(scores, axis=1)
        return scaled

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


def _residuals(scores: Floats, codes: NDArray[Any], weights: Floats) -> tuple[float, Floats]:
    """Return the weighted log loss of softmax scores, and its gradient by the scores."""
    log_proba = log_softmax(scores, axis=1)
    rows = np.arange(len(codes))
    gradient = np.exp(log_proba)
    gradient[rows, codes] -= 1
    return float(-weights @ log_proba[rows, codes]), weights[:, None] * gradient


def fit_temperature(log_proba: Floats, codes: NDArray[Any], weights: Floats) -> float:
    """Find the temperature with the smallest log loss.

    Parameters
    ----------
    log_proba : ndarray of shape (n, n_classes)
        Log-probabilities.
    codes : ndarray of int, shape (n,)
        True classes.
    weights : ndarray of shape (n,)
        Row weights.

    Returns
    -------
    float
        The temperature, which is positive.
    """
    shares = weights / weights.sum()
    pull = _PULL / weights.sum()

    def objective(theta: Floats) -> tuple[float, Floats]:
        scores = log_proba * np.exp(theta[0])  # the log of 1 / T, so that T stays positive
        loss, gradient = _residuals(scores, codes, shares)
        slope = (gradient * scores).sum() + pull * theta[0]
        return loss + pull / 2 * theta[0] ** 2, np.array([slope])

    best = _minimize(objective, np.zeros(1))
    return float(np.exp(-best[0]))


def fit_vector(log_proba: Floats, codes: NDArray[Any], weights: Floats) -> tuple[Floats, Floats]:
    """Find the scale and the bias of each class with the smallest log loss.

    Parameters
    ----------
    log_proba : ndarray of shape (n, n_classes)
        Log-probabilities.
    codes : ndarray of int, shape (n,)
        True classes.
    weights : ndarray of shape (n,)
        Row weights.

    Returns
    -------
    scale, bias : ndarray of shape (n_classes,)
        Parameters of ``softmax(scale * log_proba + bias)``.
    """
    n_classes = log_proba.shape[1]
    shares = weights / weights.sum()
    pull = _PULL / weights.sum()
    identity = np.repeat([1.0, 0.0], n_classes)

    def objective(theta: Floats) -> tuple[float, Floats]:
        scores = log_proba * theta[:n_classes] + theta[n_classes:]
        loss, gradient = _residuals(scores, codes, shares)
        away = theta - identity
        slope = np.concatenate([(gradient * log_proba).sum(axis=0), gradient.sum(axis=0)])
        return loss + pull / 2 * float(away @ away), slope + pull * away

    best = _minimize(objective, identity)
    return best[:n_classes], best[n_classes:] - best[n_classes:].mean()


def _minimize(objective: Any, start: Floats) -> Floats:
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9},
    )
    best: Floats = found.x
    return best
