"""The remedies that are compared: the same net and number of steps, with different treatments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin, clone
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline

from imbtorch._common.seed import draw_seeds
from imbtorch._fit.fit import auto_batch_size
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.compare._boosting import boosting
from imbtorch.compare._metrics import as_scorer, by_frequency
from imbtorch.ensemble import NetEnsembleClassifier
from imbtorch.features import TableEncoder, TableFeatures
from imbtorch.model_selection import StackedGridSearchCV

__all__ = ["STRATEGIES", "Contest", "default_strategies", "enough_epochs"]

GAMMAS = (0.5, 1.0, 2.0, 5.0)
INNER_FOLDS = 3
_MORE_EPOCHS = 10  # largest factor on the epochs if a sampler leaves few rows
_EPOCHS, _STEPS, _SMALL_BATCH = 20, 600, 64


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
    max_epochs : int
        Number of passes over the original rows.
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
    """

    counts: NDArray[np.intp]
    max_epochs: int
    preprocessing: TransformerMixin | str
    scoring: Callable[..., float]
    seed: int
    net_parameters: Mapping[str, Any] = field(default_factory=dict)
    encoder: TableEncoder | None = None

    @property
    def batch_size(self) -> int:
        """Batch size of all nets, chosen from the number of original rows."""
        return auto_batch_size(int(self.counts.sum()))

    def epochs(self, rows: int) -> int:
        """Return how many epochs of ``rows`` rows take as many steps as ``max_epochs`` of all rows.

        The result is at least 1 and at most 10 times ``max_epochs``.
        """
        wanted = round(self.max_epochs * int(self.counts.sum()) / rows)
        return min(max(wanted, 1), _MORE_EPOCHS * self.max_epochs)

    @property
    def balanced_down(self) -> int:
        """Number of epochs if every class has as many rows as the rarest class."""
        return self.epochs(int(self.counts.min()) * len(self.counts))

    @property
    def balanced_up(self) -> int:
        """Number of epochs if every class has as many rows as the most frequent class."""
        return self.epochs(int(self.counts.max()) * len(self.counts))

    @property
    def n_neighbors(self) -> int:
        """Number of neighbours for SMOTE, which half of the rarest class must have."""
        return int(min(5, max(self.counts.min() // 2 - 1, 1)))

    def classifier(self, loss: str, parameters: Mapping[str, Any]) -> ImbalancedNetClassifier:
        """Return the net that all strategies use, with a loss and further parameters."""
        common = {
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "random_state": self.seed,
        }
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
    ) -> StackedGridSearchCV:
        """Return a search for parameters of the common net, by an inner cross-validation."""
        return StackedGridSearchCV(
            self.net(parameters, loss),
            {f"classify__{name}": list(values) for name, values in grid.items()},
            scoring=self.scoring,
            cv=StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=self.seed),
            error_score="raise",
        )


def _smote(contest: Contest) -> Pipeline:
    """SMOTE for numbers, SMOTENC where there are categories, too, and SMOTEN for these alone."""
    from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC

    common = {"k_neighbors": contest.n_neighbors, "random_state": contest.seed}
    encoder = contest.encoder
    if encoder is None or not encoder.categories:
        sampler = SMOTE(**common)
    elif encoder.numbers:
        sampler = SMOTENC(categorical_features="auto", **common)
    else:
        sampler = SMOTEN(**common)
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
    "gradient boosting": lambda contest: contest.behind(boosting(None, contest.seed)),
    "gradient boosting, balanced": lambda contest: contest.behind(
        boosting("balanced", contest.seed)
    ),
}


def default_strategies(
    y: ArrayLike,
    *,
    X: Any = None,
    max_epochs: int | None = None,
    preprocessing: Any = None,
    scoring: Any = "average_precision",
    random_state: int | np.random.RandomState | None = None,
) -> dict[str, Any]:
    """Build the remedies of :func:`imbtorch.compare_strategies`, to inspect, change or extend.

    All nets have the same architecture, and take the same number of gradient steps with the same
    batch size: as many as ``max_epochs`` epochs of all rows. If a sampler leaves few rows, there
    are more epochs, up to ten times as many; if it adds rows, there are fewer.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels; their frequencies decide batch size, epochs and the neighbours of SMOTE.
    X : DataFrame, array-like or None, default=None
        Table that the strategies are for. If it has columns of categories, SMOTENC takes the place
        of SMOTE. Not used with ``preprocessing``, whose output is not known yet.
    max_epochs : int or None, default=None
        Number of passes over the original rows. None is 20, or more for less than 2 000 rows, so
        that every net takes about 600 steps.
    preprocessing : transformer or None, default=None
        First step of each pipeline. None passes the table on as it is: the nets scale numbers, fill
        gaps and encode categories themselves, and gradient boosting needs nothing of the kind.
    scoring : str or callable, default="average_precision"
        Metric that the inner searches maximise; see :func:`imbtorch.compare_strategies`.
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
        If ``y`` has one class only, or is not a classification target, or a column of ``X`` holds
        neither numbers nor categories.

    Examples
    --------
    >>> from imbtorch.compare import default_strategies
    >>> y = [0] * 90 + [1] * 10
    >>> strategies = default_strategies(y, max_epochs=20, random_state=0)
    >>> list(strategies)[:3]
    ['cross-entropy', 'balanced weights', 'focal, gamma searched']
    >>> strategies["under-sampling"][-1].max_epochs  # 20 rows per epoch instead of 100
    100
    """
    classes, counts = by_frequency(y)
    first = "passthrough" if preprocessing is None else preprocessing
    seed = draw_seeds(random_state, 1)[0]
    scorer = as_scorer(scoring, classes)
    epochs = enough_epochs(int(counts.sum())) if max_epochs is None else max_epochs
    encoder = TableFeatures().fit(X).encoder_ if X is not None and preprocessing is None else None
    contest = Contest(counts, epochs, first, scorer, int(seed), encoder=encoder)
    return {name: build(contest) for name, build in STRATEGIES.items()}
