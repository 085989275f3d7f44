"""Mean of the probabilities of classifying nets, for one population."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from imbtorch._common.conformal import ConformalMixin, calibration_scores
from imbtorch._common.inputs import SeveralInputs
from imbtorch._common.sklearn_private import _safe_indexing
from imbtorch._data.folds import as_folds
from imbtorch._data.targets import split_unknown
from imbtorch._fit.input_checks import check_fitted
from imbtorch._publish.onnx import MeanOf, portable
from imbtorch._tasks import ClassificationTask
from imbtorch._tasks.base import log_mean
from imbtorch._tasks.unlabelled import prior_of_unlabelled
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.ensemble._members import NetMembers, spread
from imbtorch.model_selection._cross_fit import mean_over_folds

__all__ = ["ClassifyingMembers", "fold_targets"]

Floats = NDArray[np.float64]
Positions = NDArray[np.integer[Any]]


class ClassifyingMembers(ClassifierMixin, NetMembers, ConformalMixin):
    """Base of the classifiers that predict by the mean of several nets."""

    _out_of_fold: ClassVar[tuple[str, ...]] = (
        "oof_predict_proba_",
        "oof_decision_function_",
        "_scores_",
        "_times_held_out_",
    )

    estimators_: list[ImbalancedNetClassifier]
    estimator: ImbalancedNetClassifier | None
    classes_: NDArray[Any]
    class_prior_: Floats
    effective_prior_: Floats

    @property
    def _base(self) -> ImbalancedNetClassifier:
        return ImbalancedNetClassifier() if self.estimator is None else self.estimator

    def _fold_targets(self, y: Any) -> NDArray[Any]:
        return fold_targets(y)

    def _folds_of(self, n_folds: int, targets: NDArray[Any], seed: int) -> Any:
        return as_folds(n_folds, targets, seed)

    def _publish(self, members: Sequence[Any]) -> None:
        super()._publish(members)
        self.classes_ = members[0].classes_
        for name in ("class_counts_", "class_prior_", "effective_prior_"):
            setattr(self, name, np.mean([getattr(member, name) for member in members], axis=0))

    # -- folds -----------------------------------------------------------------------------

    def _predict_folds(
        self, X: Any, y: Any, sample_weight: Any, tests: Sequence[Positions]
    ) -> None:
        """Predict the rows of each fold by the members that were not trained on them."""
        task, links = self._task, self._links()
        labels = _label_matrix(y) if task.n_labels else np.ravel(y)
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        proba, scores = [], []
        self._scores_: list[list[Any]] = []
        for members, rows in zip(self._fold_models(), tests, strict=True):
            scored = self._mean_of(members, links, _safe_indexing(X, rows))
            found = np.asarray(task.proba(scored))
            own = None if weights is None else weights[rows]
            self._scores_.append(calibration_scores(found, labels[rows], self.classes_, own))
            proba.append(found)
            scores.append(np.asarray(scored))
        self.oof_predict_proba_, held_out = mean_over_folds(tests, proba, len(labels))
        self.oof_decision_function_ = task.decision(mean_over_folds(tests, scores, len(labels))[0])
        self._times_held_out_ = sum(map(len, proba)) / len(held_out)

    def _mean_of(self, members: Sequence[int], links: Sequence[Any], X: Any) -> Tensor:
        """Return what a link gives for the mean of some members, in float64."""
        linked = [self.estimators_[i]._linked_outputs(X, links[i]) for i in members]
        shares = self._shares()
        return self._task.mean_scores(
            torch.from_numpy(np.stack(linked).astype(np.float64)),
            None if shares is None else shares[list(members)],
        )

    def _calibrated(self, X: Any) -> Iterator[tuple[Floats, Sequence[Any]]]:
        check_fitted(self, "estimators_")
        if not self._has_fold_models:
            raise ValueError(
                f"predict_set needs nets of folds: fit the ensemble with {self._sets_need}."
            )
        links = self._links()
        for members, scores in zip(self._fold_models(), self._scores_, strict=True):
            yield np.asarray(self._task.proba(self._mean_of(members, links, X))), scores

    @property
    def _has_fold_models(self) -> bool:
        return hasattr(self, "_scores_")

    @property
    def _times_held_out(self) -> float:
        return getattr(self, "_times_held_out_", 1.0)

    # -- predictions -----------------------------------------------------------------------

    @property
    def _task(self) -> ClassificationTask:
        check_fitted(self, "estimators_")
        return self.estimators_[0]._task

    def _links(self) -> list[Callable[[Tensor], Tensor]]:
        """Return what makes log-probabilities, or log-odds, of one population of all outputs."""
        target = self._base.target_prior
        if target is None:
            known = self.estimators_[0].loss_.has_posterior_for(self._task)
            population = self.effective_prior_ if known else None
        else:
            population = self._task.resolve_prior(target, self.class_prior_)
        if target is not None or population is None:
            return [member._link_to(population) for member in self.estimators_]
        # a loss that predicts on raw logits goes on to do so where no population is named
        return [member._link_to(prior) for member, prior in self._unless_own(population)]

    def _unless_own(self, population: Floats) -> Iterator[tuple[ImbalancedNetClassifier, Any]]:
        """Yield each member, and the population, or None if the member describes it already."""
        known: dict[bytes, bool] = {}  # most members have the same priors, and comparing takes time
        for member in self.estimators_:
            own = member.effective_prior_
            key = own.tobytes()
            if key not in known:
                known[key] = np.array_equal(population, own) or np.allclose(population, own)
            yield member, None if known[key] else population

    def _serving(self) -> MeanOf:
        """Return what makes mean probabilities of rows, for an export."""
        view = copy.copy(self)
        view.estimators_ = [portable(member) for member in self.estimators_]
        nets = [member.net_ for member in view.estimators_]
        return MeanOf(nets, view._links(), self._task.proba, self._shares(), self._fold_models())

    def _linked(self, X: Any, reduce: Callable[[Tensor], Tensor]) -> NDArray[Any]:
        """Reduce linked outputs of shape (n_members, n, n_outputs) over the members."""
        links = self._links()

        def linked(outputs: Sequence[Tensor]) -> Tensor:
            return reduce(torch.stack([link(z) for link, z in zip(links, outputs, strict=True)]))

        return self._over_members(X, linked)

    def _check_member(self, member: Any, X: Any) -> None:
        member.predict_log_proba(X)

    def predict_log_proba(self, X: ArrayLike | SeveralInputs) -> NDArray[Any]:
        """Logarithm of the mean probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of ``classes_``.
        """
        task, shares = self._task, self._shares()
        return self._linked(X, lambda linked: log_mean(task.log_proba(linked), shares))

    def predict_proba(self, X: ArrayLike | SeveralInputs) -> NDArray[Any]:
        """Mean over the members of the probabilities of the classes, or of the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of ``classes_``, for the population that ``target_prior`` of the estimator
            names.
        """
        log_proba = self.predict_log_proba(X)
        return np.asarray(np.exp(log_proba, out=log_proba))

    def predict_std(self, X: ArrayLike | SeveralInputs) -> NDArray[Any]:
        """Disagreement of the members: standard deviation of their probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of ``classes_``; 0 where all members agree.
        """
        task, shares = self._task, self._shares()
        return self._linked(X, lambda linked: spread(task.proba(linked), shares))

    def decision_function(self, X: ArrayLike | SeveralInputs) -> NDArray[Any]:
        """Log-odds of the mean probabilities, or their logarithms of several classes.

        Where the members agree they do not saturate.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_classes) or (n_samples, n_labels)
            For two classes the log-odds of ``classes_[1]``, for several labels those of each label,
            else log-probabilities.
        """
        return self._task.decision(self._scores(X))

    def _scores(self, X: Any) -> NDArray[Any]:
        """Compute log-probabilities of the classes, or log-odds of the labels, of the mean."""
        task, shares = self._task, self._shares()
        return self._linked(X, lambda linked: task.mean_scores(linked, shares))

    def predict(self, X: ArrayLike | SeveralInputs) -> NDArray[Any]:
        """Most probable class of each row, or the labels more probable than not.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels of the classes; for several labels per row, zeros and ones.
        """
        return self._task.decide(self._scores(X))

    def estimate_prior(
        self, X: ArrayLike | SeveralInputs, sample_weight: ArrayLike | None = None
    ) -> Floats:
        """Estimate the class frequencies of unlabelled rows, such as new data.

        It is :func:`imbtorch.priors.estimate_prior` with the mean probabilities of the members
        and the population that they describe. It assumes that only the class frequencies have
        changed since the training. ``target_prior`` of the estimator has no influence.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features of the unlabelled rows.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0 of the rows.

        Returns
        -------
        ndarray of float64, shape (n_classes,) or (n_labels,)
            Class frequencies, which sum to 1; for several labels per row the share of the rows
            that have each label.

        Raises
        ------
        ValueError
            If the loss has no posterior, or a class has no training rows.

        Warns
        -----
        ConvergenceWarning
            If the estimation has not converged.

        Examples
        --------
        >>> from sklearn.datasets import make_classification
        >>> from imbtorch import NetEnsembleClassifier
        >>> X, y = make_classification(2000, weights=[0.9], class_sep=2, random_state=0)
        >>> clf = NetEnsembleClassifier(n_estimators=3, random_state=0).fit(X, y)
        >>> clf.estimate_prior(X).round(1)
        array([0.9, 0.1])
        """
        check_fitted(self, "estimators_")
        view = copy.copy(self)
        view.estimator = copy.copy(self._base)
        view.estimator.target_prior = "train"
        proba = view.predict_proba(X)
        return prior_of_unlabelled(self._task, proba, self.class_prior_, sample_weight)


def fold_targets(y: Any) -> NDArray[Any]:
    """Check labels, and return them as an array that splitters take.

    Parameters
    ----------
    y : array-like or sparse matrix of shape (n,), (n, 1) or (n, n_labels)
        Labels.

    Returns
    -------
    ndarray of shape (n,) or (n, n_labels)
        The labels.

    Raises
    ------
    ValueError
        If they are not labels of classes.
    """
    targets = np.asarray(y.toarray() if sparse.issparse(y) else y)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets.ravel()
    if split_unknown(targets) is None:
        check_classification_targets(targets)
    return targets


def _label_matrix(y: Any) -> NDArray[Any]:
    """Return labels of shape (n, n_labels) as numbers, with NaN where one is not known."""
    found = split_unknown(y)
    matrix = y if found is None else found[0]
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)
