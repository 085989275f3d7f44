"""Ensembles of classifying nets: the mean of their probabilities, for one population."""

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
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from imbtorch._common.conformal import ConformalMixin, calibration_scores
from imbtorch._common.sklearn_private import StrOptions, _safe_indexing
from imbtorch._data.folds import as_folds
from imbtorch._data.targets import split_unknown
from imbtorch._fit.validation_rows import ValidationRows
from imbtorch._publish.onnx import MeanOf, portable
from imbtorch._tasks import ClassificationTask
from imbtorch._tasks.base import log_mean
from imbtorch._tasks.unlabelled import prior_of_unlabelled
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.ensemble._base import NetEnsemble, with_tags_of
from imbtorch.model_selection._cross_fit import mean_over_folds
from imbtorch.samplers import BalancedSubsetSampler, BaseSampler, BootstrapSampler

__all__ = ["NetEnsembleClassifier"]

Floats = NDArray[np.float64]

_SUBSETS: dict[str, Callable[[], BaseSampler] | None] = {
    "balanced": BalancedSubsetSampler,
    "bootstrap": BootstrapSampler,
    "all": None,
    "folds": None,
}


class NetEnsembleClassifier(ConformalMixin, ClassifierMixin, NetEnsemble):
    """Many nets, each on its own part of the data, trained in one pass; their mean predicts.

    On balanced parts this is EasyEnsemble [1]_ of nets: each sees all rows of the rarest class, and
    together they see most of the others. On all rows it is a deep ensemble [2]_, whose nets differ
    in their initial weights and the order of the rows.

    Parameters
    ----------
    estimator : ImbalancedNetClassifier or None, default=None
        What the members are; None is one with default parameters. Its ``sampler`` and
        ``random_state`` are replaced in each member (with ``subset="all"`` the sampler stays).
    n_estimators : int, default=10
        Number of members.
    subset : {"balanced", "bootstrap", "all", "folds"}, default="balanced"
        Rows of a member: all of the rarest class and as many of every other, drawn once; as many as
        there are, drawn with replacement within each class; all; or all but those of its fold
        (cross-fitting). With ``"folds"`` each member is scored on its fold after every epoch, and
        keeps the epoch with the best mean score over three epochs. ``max_epochs="auto"`` of the
        estimator then ends the training of all members together, when their mean score no longer
        improves. With other subsets one search finds the length of a net on all rows, and the
        members take as many steps, in at most ten times as many epochs.
    cv : splitter, iterable of splits or None, default=None
        Folds of ``subset="folds"``; None makes ``n_estimators`` folds, shuffled and stratified by
        class. There are as many members as folds.
    max_memory : int or None, default=2**30
        Bytes that the nets of a stack may take together, as estimated; more members are trained
        stack after stack. None sets no bound.
    random_state : int, RandomState or None, default=None
        Seed of the parts and of the members.

    Attributes
    ----------
    estimators_ : list of ImbalancedNetClassifier
        The members: fitted estimators, each with a sampler and a seed that repeat it alone.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    class_counts_, class_prior_ : ndarray of shape (n_classes,)
        Rows of each class in the data as they came, means over the members.
    effective_prior_ : ndarray of shape (n_classes,)
        The population that predictions describe where ``target_prior`` of the estimator is None:
        the mean of those of the members.
    n_features_in_ : int
        Columns of ``X``.
    feature_names_in_ : ndarray of str
        Names of the columns, where ``X`` has them.
    oof_predict_proba_ : ndarray of shape (n, n_classes) or (n, n_labels)
        With ``subset="folds"`` the probabilities of each row by the members that were not trained
        on it, for the population of ``predict_proba``; NaN for rows that are in no fold.
    oof_decision_function_ : ndarray of shape (n,), (n, n_classes) or (n, n_labels)
        The same as ``decision_function`` returns it.
    interrupted_ : bool
        Whether the training was cut short by Ctrl-C.

    See Also
    --------
    imblearn.ensemble.EasyEnsembleClassifier : Boosted trees on balanced parts.

    Notes
    -----
    Each member's posterior is restated for one population before it is averaged: the one that
    ``estimator__target_prior`` names (``"train"`` for the data as they came, whatever the parts
    were), else ``effective_prior_``. It acts at prediction and may be changed without refitting.

    Members differ in nothing but rows and seeds, so that a step of all of them costs little more
    than one of a single net while that is small. Balanced parts of rare data make short epochs;
    raise ``max_epochs`` of the estimator accordingly.

    References
    ----------
    .. [1] Liu, Wu & Zhou (2009). "Exploratory Undersampling for Class-Imbalance Learning".
           :doi:`10.1109/TSMCB.2008.2007853`
    .. [2] Lakshminarayanan et al. (2017). "Simple and Scalable Predictive Uncertainty Estimation
           using Deep Ensembles". :arxiv:`1612.01474`

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import NetEnsembleClassifier, ImbalancedNetClassifier
    >>> X, y = make_classification(2000, weights=[0.95], class_sep=2, random_state=0)
    >>> net = ImbalancedNetClassifier(loss="cross_entropy", target_prior="train")
    >>> clf = NetEnsembleClassifier(net, n_estimators=5, random_state=0).fit(X, y)
    >>> clf.predict_proba(X).mean(axis=0).round(1)
    array([0.9, 0.1], dtype=float32)
    >>> clf.predict_std(X).shape
    (2000, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetEnsemble._parameter_constraints,
        "estimator": [ImbalancedNetClassifier, None],
        "subset": [StrOptions(set(_SUBSETS))],
    }
    _samplers: ClassVar[dict[str, Callable[[], BaseSampler] | None]] = _SUBSETS
    _out_of_fold: ClassVar[tuple[str, ...]] = (
        "oof_predict_proba_",
        "oof_decision_function_",
        "_scores_",
        "_times_held_out_",
    )

    estimator: ImbalancedNetClassifier | None
    estimators_: list[ImbalancedNetClassifier]

    def __init__(
        self,
        estimator: ImbalancedNetClassifier | None = None,
        n_estimators: int = 10,
        *,
        subset: str = "balanced",
        cv: Any = None,
        max_memory: int | None = 2**30,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.subset = subset
        self.cv = cv
        self.max_memory = max_memory
        self.random_state = random_state

    # -- training --------------------------------------------------------------------------

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> NetEnsembleClassifier:
        """Train the members.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Finite features.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels; of several labels a row, 0 and 1, with every ``subset`` but ``"balanced"``. NaN
            is a label that is not known, see :meth:`ImbalancedNetClassifier.fit`.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Finite weights >= 0.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, for the splitter ``cv`` of ``subset="folds"``.

        Returns
        -------
        NetEnsembleClassifier
            The fitted ensemble.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or ``max_memory`` is less than one net takes.
            The ensemble stays as it was.
        DivergenceError
            If a member diverges and ``on_divergence="raise"``.

        Warns
        -----
        NotStackedWarning
            If the members have to be trained one by one.
        """
        self._fit(X, y, sample_weight, groups)
        return self

    @property
    def _base(self) -> ImbalancedNetClassifier:
        return ImbalancedNetClassifier() if self.estimator is None else self.estimator

    def _fold_targets(self, y: Any) -> NDArray[Any]:
        targets = np.asarray(y.toarray() if sparse.issparse(y) else y)
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets.ravel()
        if split_unknown(targets) is None:
            check_classification_targets(targets)
        return targets

    def _folds_of(self, n_folds: int, targets: NDArray[Any], seed: int) -> Any:
        return as_folds(n_folds, targets, seed)

    def _rows_per_member_row(self, y: Any, rows: Any) -> float:
        if self.subset != "balanced":
            return 1.0
        labels = np.asarray(y).ravel()
        counts = np.unique(labels if rows is None else labels[rows], return_counts=True)[1]
        return float(counts.mean() / counts.min())

    def _predict_folds(
        self, X: Any, y: Any, sample_weight: Any, folds: Sequence[ValidationRows]
    ) -> None:
        """Predict the rows of each fold by the member that was not trained on them."""
        task = self._task
        labels = _label_matrix(y) if task.n_labels else np.ravel(y)
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        tests, proba, scores = [fold.positions for fold in folds], [], []
        self._scores_: list[list[Any]] = []
        for member, link, rows in zip(self.estimators_, self._links(), tests, strict=True):
            linked = member._linked_outputs(_safe_indexing(X, rows), link)
            found = _as_float64(task.proba, linked)
            own = None if weights is None else weights[rows]
            self._scores_.append(calibration_scores(found, labels[rows], self.classes_, own))
            proba.append(found)
            scores.append(_as_float64(lambda z: task.mean_scores(z[None]), linked))
        self.oof_predict_proba_, held_out = mean_over_folds(tests, proba, len(labels))
        self.oof_decision_function_ = task.decision(mean_over_folds(tests, scores, len(labels))[0])
        self._times_held_out_ = sum(map(len, proba)) / len(held_out)

    def _publish(self, members: Sequence[Any]) -> None:
        super()._publish(members)
        self.classes_ = members[0].classes_
        for name in ("class_counts_", "class_prior_", "effective_prior_"):
            setattr(self, name, np.mean([getattr(member, name) for member in members], axis=0))

    # -- predictions -----------------------------------------------------------------------

    @property
    def _task(self) -> ClassificationTask:
        check_is_fitted(self)
        return self.estimators_[0]._task

    def _links(self) -> list[Callable[[Tensor], Tensor]]:
        """Return what makes log-probabilities, or log-odds, of one population of all outputs."""
        target = self._base.target_prior
        if target is None:
            known = self.estimators_[0].loss_.has_posterior_for(self._task)
            population = self.effective_prior_ if known else None
        else:
            population = self._task.resolve_prior(target, self.class_prior_)
        links = []
        for member in self.estimators_:
            view = copy.copy(member)
            # a loss that predicts on raw logits goes on to do so where no population is named
            same = population is not None and np.allclose(population, member.effective_prior_)
            view.target_prior = None if target is None and same else population
            links.append(view._link())
        return links

    def _serving(self) -> MeanOf:
        """Return what makes mean probabilities of rows, for an export."""
        view = copy.copy(self)
        view.estimators_ = [portable(member) for member in self.estimators_]
        nets = [member.net_ for member in view.estimators_]
        return MeanOf(nets, view._links(), self._task.proba)

    def _linked(self, X: Any, reduce: Callable[[Tensor], Tensor]) -> NDArray[Any]:
        """Reduce linked outputs of shape (n_members, n, n_outputs) over the members."""
        check_is_fitted(self)
        links = self._links()

        def linked(outputs: Sequence[Tensor]) -> Tensor:
            return reduce(torch.stack([link(z) for link, z in zip(links, outputs, strict=True)]))

        return self._over_members(X, linked)

    def _check_member(self, member: Any, X: Any) -> None:
        member.predict_log_proba(X)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Logarithm of the mean probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of ``classes_``.
        """
        task = self._task
        return self._linked(X, lambda linked: log_mean(task.log_proba(linked)))

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Mean over the members of the probabilities of the classes, or of the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of ``classes_``, for the population that ``target_prior`` of the estimator
            names.
        """
        log_proba = self.predict_log_proba(X)
        return np.asarray(np.exp(log_proba, out=log_proba))

    def predict_std(self, X: ArrayLike) -> NDArray[Any]:
        """Disagreement of the members: standard deviation of their probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of ``classes_``; 0 where all members agree.
        """
        task = self._task
        return self._linked(X, lambda linked: task.proba(linked).std(0, correction=0))

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Log-odds of the mean probabilities, or their logarithms of several classes.

        Where the members agree they do not saturate.

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
        return self._task.decision(self._scores(X))

    def _scores(self, X: Any) -> NDArray[Any]:
        """Compute log-probabilities of the classes, or log-odds of the labels, of the mean."""
        task = self._task
        return self._linked(X, task.mean_scores)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each row, or the labels more probable than not.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels of the classes; for several labels per row, zeros and ones.
        """
        return self._task.decide(self._scores(X))

    def _calibrated(self, X: Any) -> Iterator[tuple[Floats, Sequence[Any]]]:
        check_is_fitted(self)
        if not hasattr(self, "_scores_"):
            raise ValueError(
                "predict_set needs out-of-fold predictions: fit the ensemble with subset='folds'."
            )
        for member, link, scores in zip(
            self.estimators_, self._links(), self._scores_, strict=True
        ):
            yield _as_float64(self._task.proba, member._linked_outputs(X, link)), scores

    @property
    def _times_held_out(self) -> float:
        return getattr(self, "_times_held_out_", 1.0)

    def estimate_prior(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> Floats:
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
        check_is_fitted(self)
        view = copy.copy(self)
        view.estimator = copy.copy(self._base)
        view.estimator.target_prior = "train"
        proba = view.predict_proba(X)
        return prior_of_unlabelled(self._task, proba, self.class_prior_, sample_weight)

    def __sklearn_tags__(self) -> Any:
        """Say that it accepts what its members accept."""
        return with_tags_of(super().__sklearn_tags__(), self._base)


def _as_float64(function: Callable[[Tensor], Tensor], linked: NDArray[Any]) -> Floats:
    """Apply a function of tensors to linked outputs, in float64."""
    return np.asarray(function(torch.from_numpy(linked.astype(np.float64))))


def _label_matrix(y: Any) -> NDArray[Any]:
    """Return labels of shape (n, n_labels) as numbers, with NaN where one is not known."""
    found = split_unknown(y)
    matrix = y if found is None else found[0]
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)
