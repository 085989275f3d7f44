"""From logits to probabilities of a stated population, and to labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from imbtorch._publish.onnx import ExportMixin, Served, portable
from imbtorch._tasks.labels import label_posterior_exists
from imbtorch.priors import log_prior_ratio, resolve_label_prior, resolve_target_prior
from imbtorch.training.data.features import ChosenFeatures
from imbtorch.training.data.rows import as_features
from imbtorch.training.prediction import predict_chunks

__all__ = ["PosteriorMixin"]

Floats = NDArray[np.float64]


class PosteriorMixin(ExportMixin):
    """Predictions of a classifier that holds a net and knows its priors."""

    target_prior: Any
    classes_: NDArray[Any]
    net_: Any
    _check_X: Any

    def _log_target_shift(self, fitted: Mapping[str, Any]) -> Floats | None:
        """Log factors of the classes from the effective to the target prior; of labels, log-odds.

        Shape ``(n_classes,)`` or ``(n_labels,)``.
        """
        if self.target_prior is None:
            return None
        net, source = fitted["net_"], fitted["effective_prior_"]
        loss = net.criterion_
        known = label_posterior_exists(loss) if net.task == "labels" else loss.has_posterior
        if not known:
            raise ValueError(
                f"target_prior={self.target_prior!r} needs a loss whose outputs determine class "
                f"probabilities, and {loss} is not one. Use target_prior=None and wrap the "
                "estimator in sklearn.calibration.CalibratedClassifierCV, or choose another loss."
            )
        if net.task == "labels":
            target = resolve_label_prior(self.target_prior, fitted["class_prior_"])
            present, absent = (
                log_prior_ratio(source, target),
                log_prior_ratio(1 - source, 1 - target),
            )
            return np.where((source > 0) & (source < 1), present - absent, 0.0)
        target = resolve_target_prior(self.target_prior, fitted["classes_"], fitted["class_prior_"])
        return log_prior_ratio(source, target)

    def _link(self) -> Callable[[Tensor], Tensor]:
        """From outputs to log-probabilities of the classes, or to log-odds of the labels."""
        net, loss = self.net_, self.net_.criterion_
        shift = self._log_target_shift(vars(self))
        if shift is None:
            return (lambda logits: logits) if net.task == "labels" else loss.log_scores
        log_ratio = torch.from_numpy(shift).to(net.device, net.dtype)
        if net.task == "labels":
            return lambda logits: loss.log_odds(logits) + log_ratio
        return lambda logits: torch.log_softmax(loss.log_posterior(logits) + log_ratio, dim=1)

    def _log_link(self) -> Callable[[Tensor], Tensor]:
        """From outputs to log-probabilities of the classes, or of the labels."""
        link = self._link()
        return (lambda z: F.logsigmoid(link(z))) if self._is_multilabel else link

    def _serving(self) -> Served:
        """From rows to probabilities, for an export."""
        view = portable(self)
        log_link = view._log_link()
        return Served(view.net_, lambda outputs: log_link(outputs).exp())

    def _outputs(self, X: Any, link: Callable[[Tensor], Tensor]) -> NDArray[Any]:
        check_is_fitted(self)
        net, features = self.net_, X
        if not isinstance(X, ChosenFeatures):
            X = self._check_X(X, reset=False)
            features = as_features(X, net.dtype, torch.device(net.device), resident=False)
        kind = np.float64 if net.dtype == torch.float64 else np.float32
        result = np.empty((len(features), net.n_outputs), dtype=kind)
        start = 0
        for chunk in predict_chunks(net, features, link):
            result[start : start + len(chunk)] = chunk.cpu().numpy()
            start += len(chunk)
        return result

    @property
    def _is_multilabel(self) -> bool:
        check_is_fitted(self)
        return bool(self.net_.task == "labels")

    def predict_log_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Log-probabilities of the classes, or of the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of ``classes_``, for the population that ``target_prior`` names.
        """
        check_is_fitted(self)
        return self._outputs(X, self._log_link())

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Probabilities of the classes, or of the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
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
        ndarray of shape (n_samples,), (n_samples, n_classes) or (n_samples, n_labels)
            For two classes the log-odds of ``classes_[1]``, for several labels those of each label,
            else log-probabilities.
        """
        multilabel = self._is_multilabel
        scores = self._outputs(X, self._link())
        if multilabel or scores.shape[1] > 2:
            return scores
        log_odds: NDArray[Any] = scores[:, 1] - scores[:, 0]
        return log_odds

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row, or the labels more probable than not.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels; of several labels a row, 0 and 1.
        """
        if self._is_multilabel:
            return (self.decision_function(X) > 0).astype(np.int64)
        codes = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[codes])
