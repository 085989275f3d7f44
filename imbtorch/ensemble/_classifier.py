"""Ensembles of classifying nets: the mean of their probabilities, for one population."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from imbtorch._common.inputs import SeveralInputs
from imbtorch._common.sklearn_private import StrOptions
from imbtorch._fit.estimator import explains_arguments
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.ensemble._base import NetEnsemble
from imbtorch.ensemble._classifying import ClassifyingMembers
from imbtorch.samplers import BalancedSubsetSampler, BaseSampler, BootstrapSampler

__all__ = ["NetEnsembleClassifier"]

_SUBSETS: dict[str, Callable[[], BaseSampler] | None] = {
    "balanced": BalancedSubsetSampler,
    "bootstrap": BootstrapSampler,
    "all": None,
    "folds": None,
}


class NetEnsembleClassifier(ClassifyingMembers, NetEnsemble):
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
        improves; epochs after the fifteenth are scored 10% apart. With other subsets one search
        finds the length of a net on all rows, and the members take as many steps, in at most ten
        times as many epochs.
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
        Rows of each class in the training data as given, means over the members.
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
    ``estimator__target_prior`` names (``"train"`` for the training data as given, whatever the
    parts were), else ``effective_prior_``. It acts at prediction and may be changed without
    refitting.

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

    estimator: ImbalancedNetClassifier | None
    estimators_: list[ImbalancedNetClassifier]

    @explains_arguments
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

    @explains_arguments
    def fit(
        self,
        X: ArrayLike | SeveralInputs,
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
            Labels; of several labels per row, 0 and 1, with every ``subset`` but ``"balanced"``.
            NaN is a label that is not known, see :meth:`ImbalancedNetClassifier.fit`.
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

    def _rows_per_member_row(self, y: Any, rows: Any) -> float:
        if self.subset != "balanced":
            return 1.0
        labels = np.asarray(y).ravel()
        counts = np.unique(labels if rows is None else labels[rows], return_counts=True)[1]
        return float(counts.mean() / counts.min())
