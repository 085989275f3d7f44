"""From logits to probabilities of a stated population, and to labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from imbtorch.priors import log_prior_ratio, resolve_target_prior
from imbtorch.training.batches import as_features

__all__ = ["PosteriorMixin"]

Floats = NDArray[np.float64]


class PosteriorMixin:
    """Predictions of a classifier that holds a net and knows its priors."""

    target_prior: Any
    classes_: NDArray[Any]
    net_: Any
    _check_X: Any

    def _log_target_shift(self, fitted: Mapping[str, Any]) -> Floats | None:
        """Log factors from the effective prior to the target prior, shape ``(n_classes,)``."""
        if self.target_prior is None:
            return None
        loss = fitted["net_"].criterion_
        if not loss.has_posterior:
            raise ValueError(
                f"target_prior={self.target_prior!r} needs a loss whose outputs determine class "
                f"probabilities, and {loss} is not one. Use target_prior=None and wrap the "
                "estimator in sklearn.calibration.CalibratedClassifierCV, or choose another loss."
            )
        target = resolve_target_prior(self.target_prior, fitted["classes_"], fitted["class_prior_"])
        return log_prior_ratio(fitted["effective_prior_"], target)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Log-probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``, for the population that ``target_prior`` names.
        """
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        net = self.net_
        device = torch.device(net.device)
        shift = self._log_target_shift(vars(self))
        log_ratio = None if shift is None else torch.from_numpy(shift).to(device, net.dtype)
        features = as_features(X, net.dtype, device, resident=False)
        kind = np.float64 if net.dtype == torch.float64 else np.float32
        result = np.empty((len(features), len(self.classes_)), dtype=kind)
        start = 0
        for chunk in net.log_proba_chunks(features, log_ratio):
            result[start : start + len(chunk)] = chunk.cpu().numpy()
            start += len(chunk)
        return result

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``, for the population that ``target_prior`` names. Of type
            ``dtype``. A loss without a posterior gives normalised scores.
        """
        log_proba = self.predict_log_proba(X)
        proba: NDArray[Any] = np.exp(log_proba, out=log_proba)
        return proba

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Scores that do not saturate: log-odds, or log-probabilities of several classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``, else log-probabilities.
        """
        log_proba = self.predict_log_proba(X)
        if log_proba.shape[1] > 2:
            return log_proba
        log_odds: NDArray[Any] = log_proba[:, 1] - log_proba[:, 0]
        return log_odds

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels.
        """
        codes = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[codes])
