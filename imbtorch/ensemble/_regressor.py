"""Ensembles of regressing nets: the mean of their predictions, in the units of the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_consistent_length

from imbtorch._common.inputs import SeveralInputs
from imbtorch._common.sklearn_private import StrOptions
from imbtorch._fit.estimator import explains_arguments
from imbtorch._fit.input_checks import check_weights
from imbtorch.ensemble._base import NetEnsemble
from imbtorch.ensemble._regressing import RegressingMembers, as_matrix, read_targets
from imbtorch.regressor import ImbalancedNetRegressor
from imbtorch.samplers import BaseSampler

__all__ = ["NetEnsembleRegressor", "bootstrap_counts"]

Floats = NDArray[np.float64]
_TRIES = 100  # draws until a bootstrap sample has different targets, as a regressor needs


class NetEnsembleRegressor(RegressingMembers, NetEnsemble):
    """Many nets for continuous targets, trained in one pass; the mean of their predictions counts.

    On bootstrap samples this is bagging [1]_, as in scikit-learn's ``BaggingRegressor``. On all
    rows it is a deep ensemble [2]_, whose nets differ in their initial weights and the order of the
    rows. On folds it is cross-fitting, which leaves out-of-fold predictions behind.

    Parameters
    ----------
    estimator : ImbalancedNetRegressor or None, default=None
        What the members are; None is one with default parameters. Its ``random_state`` is replaced
        in each member.
    n_estimators : int, default=10
        Number of members.
    subset : {"bootstrap", "all", "folds"}, default="bootstrap"
        Rows of a member: as many as there are, drawn with replacement; all; or all but those of its
        fold. ``"bootstrap"`` is the default, because scikit-learn's ensembles of regressors draw
        rows so. With ``"folds"`` each member is scored on its fold after every epoch, and keeps the
        epoch with the best mean score over three epochs. ``max_epochs="auto"`` of the estimator
        then ends the training of all members together, when their mean score no longer improves;
        epochs after the fifteenth are scored 10% apart. With other subsets one search finds the
        length for all members.
    cv : int, splitter, iterable of splits or None, default=None
        Folds of ``subset="folds"``; None makes ``n_estimators`` folds of shuffled rows. There are
        as many members as folds.
    max_memory : int or None, default=2**30
        Bytes that the nets of a stack may take together, as estimated; more members are trained
        stack after stack. None sets no bound.
    random_state : int, RandomState or None, default=None
        Seed of the parts and of the members.

    Attributes
    ----------
    estimators_ : list of ImbalancedNetRegressor
        The members: fitted estimators, each with a seed of its own.
    n_features_in_ : int
        Columns of ``X``.
    feature_names_in_ : ndarray of str
        Names of the columns, where ``X`` has them.
    oof_predict_ : ndarray of shape (n,) or (n, n_targets)
        With ``subset="folds"`` the prediction of each row by the members of whose fold it is a row,
        and which were not trained on it: their mean, in the units of ``y``; NaN for rows that are
        in no fold.
    interrupted_ : bool
        Whether the training was cut short by Ctrl-C.

    See Also
    --------
    NetEnsembleClassifier : The same for classes and labels.
    imbtorch.model_selection.cross_fit : Cross-fitting of any regressor or classifier.

    Notes
    -----
    A row that a bootstrap sample holds twice has twice the weight, and a row that it lacks has
    weight 0; this multiplies ``sample_weight``. So a member never holds out a copy of a row that it
    trains on. A sample in which a target is constant is drawn again.

    Each member has its own scale of the targets; predictions are in the units of ``y`` before they
    are averaged.

    References
    ----------
    .. [1] Breiman (1996). "Bagging predictors". :doi:`10.1007/BF00058655`
    .. [2] Lakshminarayanan et al. (2017). "Simple and Scalable Predictive Uncertainty Estimation
           using Deep Ensembles". :arxiv:`1612.01474`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch import ImbalancedNetRegressor, NetEnsembleRegressor
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> y = 20 + np.exp(X[:, 0])
    >>> net = ImbalancedNetRegressor(density_weight="lds")
    >>> reg = NetEnsembleRegressor(net, 5, subset="folds", random_state=0).fit(X, y)
    >>> reg.predict(X).shape, reg.predict_std(X).shape, reg.oof_predict_.shape
    ((500,), (500,), (500,))
    >>> bool(reg.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetEnsemble._parameter_constraints,
        "estimator": [ImbalancedNetRegressor, None],
        "subset": [StrOptions({"bootstrap", "all", "folds"})],
    }
    # regressors take no samplers, so that a bootstrap sample is made of weights
    _samplers: ClassVar[dict[str, Callable[[], BaseSampler] | None]] = {
        "bootstrap": None,
        "all": None,
        "folds": None,
    }

    estimator: ImbalancedNetRegressor | None
    estimators_: list[ImbalancedNetRegressor]

    @explains_arguments
    def __init__(
        self,
        estimator: ImbalancedNetRegressor | None = None,
        n_estimators: int = 10,
        *,
        subset: str = "bootstrap",
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
    ) -> NetEnsembleRegressor:
        """Train the members.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Finite features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Finite numbers, no column of which is constant.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Finite weights >= 0.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, for the splitter ``cv`` of ``subset="folds"``.

        Returns
        -------
        NetEnsembleRegressor
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

    def _weights(
        self, members: Sequence[Any], X: Any, y: Any, sample_weight: Any, rows: Any
    ) -> list[Any]:
        if self.subset != "bootstrap":
            return super()._weights(members, X, y, sample_weight, rows)
        if y is None:
            return [sample_weight] * len(members)  # a member says what is wrong
        values = read_targets(y)
        check_consistent_length(X, values)
        weights = np.ones(len(values))
        if sample_weight is not None:
            weights = check_weights(sample_weight, values)
        chosen = np.arange(len(values)) if rows is None else np.arange(len(values))[rows]
        chosen = chosen[weights[chosen] > 0]
        return [
            weights * bootstrap_counts(values, chosen, member.random_state) for member in members
        ]


def bootstrap_counts(values: NDArray[Any], chosen: NDArray[Any], seed: int) -> Floats:
    """Draw a bootstrap sample, and count how often it holds each row.

    Parameters
    ----------
    values : ndarray of shape (n,) or (n, n_targets)
        Targets.
    chosen : ndarray of int
        Positions of the rows that may be drawn.
    seed : int
        Seed of the draw.

    Returns
    -------
    ndarray of shape (n,)
        Number of times that each row was drawn. No target is constant in the sample, unless all
        samples that were tried are so.
    """
    rng = np.random.default_rng([seed])
    drawn = chosen
    for _ in range(_TRIES):
        drawn = chosen[rng.integers(0, len(chosen), len(chosen))] if len(chosen) else chosen
        if len(drawn) and (np.ptp(as_matrix(values[drawn]), axis=0) > 0).all():
            break
    return np.bincount(drawn, minlength=len(values)).astype(np.float64)
