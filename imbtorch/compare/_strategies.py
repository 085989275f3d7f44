"""The remedies that are compared: the same net, and the same rule for how long it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin, clone
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from imbtorch._common.seed import draw_seeds
from imbtorch._fit.fit import auto_batch_size
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.compare._boosting import boosting
from imbtorch.compare._inner_folds import N_INNER, CompleteFolds, with_groups
from imbtorch.compare._metrics import as_scorer, by_frequency
from imbtorch.compare._row_values import checked_groups
from imbtorch.compare._search import ShorterGridSearchCV
from imbtorch.compare._smote import smote
from imbtorch.ensemble import NetEnsembleClassifier
from imbtorch.features import TableEncoder, TableFeatures

__all__ = ["STRATEGIES", "Contest", "check_epochs", "default_strategies", "enough_epochs"]

GAMMAS = (0.5, 1.0, 2.0, 5.0)
_TREES = 100  # of gradient boosting, where the epochs of nets are a number, too
_MORE_EPOCHS = 10  # largest factor on the epochs if a sampler leaves few rows
_EPOCHS, _STEPS, _SMALL_BATCH = 20, 600, 64


def check_epochs(max_epochs: int | str) -> None:
    """Raise ValueError if this is neither a number of epochs nor ``"auto"``."""
    if max_epochs == "auto":
        return
    if isinstance(max_epochs, int | np.integer) and max_epochs >= 1:
        return
    raise ValueError(
        f"max_epochs must be a whole number >= 1, or 'auto', which lets folds inside of the "
        f"training rows find the number for each strategy; got {max_epochs!r}."
    )


def enough_epochs(n_rows: int) -> int:
    """Return 20 epochs, or more if the rows are so few that 20 epochs have less than 600 steps."""
    return max(_EPOCHS, -(-_STEPS * _SMALL_BATCH // n_rows))


@dataclass(frozen=True)
class Contest:
    """Settings that all compared strategies share.

    Parameters
    ----------
    counts : ndarray of int, shape (n_classes,)
        Number of rows of each class.
    max_epochs : int or "auto"
        Number of passes over the original rows; ``"auto"`` lets each strategy find its own.
    preprocessing : transformer or "passthrough"
        First step of the pipeline of every classifier.
    scoring : callable
        Scorer of the inner searches.
    seed : int
        Seed of all random numbers.
    net_parameters : dict
        Further parameters of every net.
    encoder : TableEncoder or None
        Encoder of all rows, which knows the columns; None if all of them are numbers.
    inner_cv : splitter or None
        Folds of the training rows, which find the length of a training and choose parameters; None
        makes three, shuffled and stratified by class.
    """

    counts: NDArray[np.intp]
    max_epochs: int | str
    preprocessing: TransformerMixin | str
    scoring: Callable[..., float]
    seed: int
    net_parameters: Mapping[str, Any] = field(default_factory=dict)
    encoder: TableEncoder | None = None
    inner_cv: Any = None

    @property
    def batch_size(self) -> int:
        """Batch size of all nets, chosen from the number of original rows."""
        return auto_batch_size(int(self.counts.sum()))

    def epochs(self, rows: int) -> int | str:
        """Return how many epochs of ``rows`` rows take as many steps as ``max_epochs`` of all rows.

        The result is at least 1 and at most 10 times ``max_epochs``; an ``"auto"`` stays, because
        the length is found with the rows as they are.
        """
        if not isinstance(self.max_epochs, int | np.integer):
            return self.max_epochs
        wanted = round(self.max_epochs * int(self.counts.sum()) / rows)
        return min(max(wanted, 1), _MORE_EPOCHS * int(self.max_epochs))

    @property
    def balanced_down(self) -> int | str:
        """Number of epochs if every class has as many rows as the rarest class."""
        return self.epochs(int(self.counts.min()) * len(self.counts))

    @property
    def balanced_up(self) -> int | str:
        """Number of epochs if every class has as many rows as the most frequent class."""
        return self.epochs(int(self.counts.max()) * len(self.counts))

    @property
    def length(self) -> dict[str, Any]:
        """Parameters of a net that decide, or let folds find, how long it is trained."""
        if self.max_epochs == "auto":
            return {"max_epochs": "auto", "validation": self.inner_cv}
        return {"max_epochs": self.max_epochs}

    @property
    def length_in_search(self) -> dict[str, Any]:
        """The same for the candidates of a search, which all have the same number of epochs."""
        n_epochs = self.max_epochs
        if n_epochs == "auto":
            n_epochs = enough_epochs(int(self.counts.sum()))
        return {"max_epochs": n_epochs, "validation": None}

    def classifier(self, loss: str, parameters: Mapping[str, Any]) -> ImbalancedNetClassifier:
        """Return the net that all strategies use, with a loss and further parameters."""
        common = {**self.length, "batch_size": self.batch_size, "random_state": self.seed}
        net = ImbalancedNetClassifier(loss=loss)
        net.set_params(**{**common, **self.net_parameters, **parameters})
        return net

    def behind(self, classifier: Any) -> Pipeline:
        """Return a pipeline of the preprocessing and a classifier."""
        return Pipeline(
            [("prepare", clone(self.preprocessing, safe=False)), ("classify", classifier)]
        )

    def net(
        self, parameters: Mapping[str, Any] | None = None, loss: str = "cross_entropy"
    ) -> Pipeline:
        """Return a pipeline of the preprocessing and the common net."""
        return self.behind(self.classifier(loss, parameters or {}))

    def searched(
        self,
        grid: Mapping[str, Sequence[Any]],
        loss: str,
        parameters: Mapping[str, Any] | None = None,
    ) -> ShorterGridSearchCV:
        """Return a search for parameters of the common net, by an inner cross-validation."""
        stratified = StratifiedKFold(N_INNER, shuffle=True, random_state=self.seed)
        return ShorterGridSearchCV(
            self.net(parameters, loss),
            {f"classify__{name}": list(values) for name, values in grid.items()},
            in_search={f"classify__{name}": v for name, v in self.length_in_search.items()},
            scoring=self.scoring,
            cv=stratified if self.inner_cv is None else self.inner_cv,
            error_score="raise",
        )

    def boosting(self, class_weight: str | None = None) -> Pipeline:
        """Return a pipeline of the preprocessing and gradient boosting."""
        n_trees = "auto" if self.max_epochs == "auto" else _TREES
        return self.behind(boosting(class_weight, self.seed, n_trees=n_trees, cv=self.inner_cv))


def _smote(contest: Contest) -> Pipeline:
    sampler = smote(contest.encoder, contest.seed)
    return contest.net({"sampler": sampler, "max_epochs": contest.balanced_up})


def _under_sampling(contest: Contest) -> Pipeline:
    from imblearn.under_sampling import RandomUnderSampler

    sampler = RandomUnderSampler(random_state=contest.seed)
    return contest.net({"sampler": sampler, "max_epochs": contest.balanced_down})


def _ensemble(contest: Contest) -> Pipeline:
    member = contest.classifier("cross_entropy", {"max_epochs": contest.balanced_down})
    return contest.behind(NetEnsembleClassifier(member, random_state=contest.seed))


STRATEGIES: dict[str, Callable[[Contest], Any]] = {
    "cross-entropy": lambda contest: contest.net(),
    "balanced weights": lambda contest: contest.net({"class_weight": "balanced"}),
    "focal, gamma searched": lambda contest: contest.searched({"loss__gamma": GAMMAS}, "focal"),
    "logit adjustment": lambda contest: contest.net(loss="logit_adjusted"),
    "balanced batches": lambda contest: contest.net({"sampler": "class_balanced"}),
    "SMOTE": _smote,
    "under-sampling": _under_sampling,
    "balanced ensemble": _ensemble,
    "gradient boosting": lambda contest: contest.boosting(),
    "gradient boosting, balanced": lambda contest: contest.boosting("balanced"),
}


def default_strategies(
    y: ArrayLike,
    *,
    X: Any = None,
    module: Any = "tabm",
    max_epochs: int | str = "auto",
    preprocessing: Any = None,
    scoring: Any = "average_precision",
    inner_cv: Any = None,
    groups: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> dict[str, Any]:
    """Build the remedies of :func:`imbtorch.compare_strategies`, to inspect, change or extend.

    All nets have the same architecture and batch size, and the same rule for how long they are
    trained: folds of the training rows find it, with the remedy in place. The number of trees
    of gradient boosting is found by folds, too. A search for gamma compares its candidates at
    20 epochs, or more for less than 2,000 rows; then the length is found for the best one.

    With a number of epochs all nets take the same number of gradient steps instead: as many as
    ``max_epochs`` epochs of all rows. If a sampler leaves few rows, there are more epochs, up to
    ten times as many; if it adds rows, there are fewer. Gradient boosting then has 100 trees.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels; their frequencies decide the batch size, and the epochs where they are a number.
    X : DataFrame, array-like or None, default=None
        Table that the strategies are for. If it has columns of categories, SMOTENC takes the place
        of SMOTE. Not used with ``preprocessing``, whose output is not known yet.
    module : str, builder, callable, torch.nn.Module class or instance, default="tabm"
        Network of every net; see :class:`imbtorch.ImbalancedNetClassifier`.
    max_epochs : int or "auto", default="auto"
        Number of passes over the original rows; ``"auto"`` finds it for each strategy.
    preprocessing : transformer or None, default=None
        First step of each pipeline. None passes the table on as it is: the nets scale numbers, fill
        gaps and encode categories themselves, and gradient boosting needs nothing of the kind.
    scoring : str or callable, default="average_precision"
        Metric that the searches for gamma maximise; see :func:`imbtorch.compare_strategies`.
    inner_cv : splitter or None, default=None
        Folds of the training rows that find lengths and parameters, such as ``TimeSeriesSplit(3)``;
        None makes three, shuffled and stratified by class. Folds that lack a class in one of their
        parts are left out.
    groups : array-like of shape (n,) or None, default=None
        Group of each row of ``X`` that ``fit`` will get: inner folds keep groups together.
    random_state : int, RandomState or None, default=None
        Seed of all random numbers.

    Returns
    -------
    dict of str to classifier
        Unfitted pipelines, or searches over pipelines, by name. The first one,
        ``"cross-entropy"``, does not treat the imbalance.

    Raises
    ------
    ValueError
        If ``y`` has one class only, or is not a classification target, ``max_epochs`` is invalid,
        ``groups`` has another length than ``y``, or a column of ``X`` holds neither numbers nor
        categories.

    Examples
    --------
    >>> from imbtorch.compare import default_strategies
    >>> y = [0] * 90 + [1] * 10
    >>> strategies = default_strategies(y, random_state=0)
    >>> list(strategies)[:3]
    ['cross-entropy', 'balanced weights', 'focal, gamma searched']
    >>> strategies["under-sampling"][-1].max_epochs
    'auto'
    >>> strategies = default_strategies(y, max_epochs=20, random_state=0)
    >>> strategies["under-sampling"][-1].max_epochs  # 20 rows per epoch instead of 100
    100
    """
    check_epochs(max_epochs)
    classes, counts = by_frequency(y)
    by_group = checked_groups(groups, int(counts.sum()))
    first = "passthrough" if preprocessing is None else preprocessing
    seed = draw_seeds(random_state, 1)[0]
    encoder = TableFeatures().fit(X).encoder_ if X is not None and preprocessing is None else None
    if inner_cv is None and by_group is not None:
        inner_cv = StratifiedGroupKFold(N_INNER, shuffle=True, random_state=int(seed))
    if inner_cv is not None and not isinstance(inner_cv, CompleteFolds):
        inner_cv = CompleteFolds(inner_cv)
    contest = Contest(
        counts,
        max_epochs,
        first,
        as_scorer(scoring, classes),
        int(seed),
        {"module": module},
        encoder=encoder,
        inner_cv=inner_cv,
    )
    strategies = {name: build(contest) for name, build in STRATEGIES.items()}
    if by_group is None:
        return strategies
    return {name: with_groups(one, by_group) for name, one in strategies.items()}
