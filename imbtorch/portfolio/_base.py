"""What the portfolios have in common: recipes on the same folds, halving, and the blend."""

from __future__ import annotations

import math
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import indexable
from tqdm import tqdm

from imbtorch._common.memo import Memo
from imbtorch._common.seed import draw_seeds
from imbtorch._common.sklearn_private import Interval, StrOptions, fit_context
from imbtorch._data.datasets_as_rows import refuse_dataset
from imbtorch._fit.fit import all_or_nothing
from imbtorch._fit.validation_rows import ValidationRows
from imbtorch.ensemble import NetEnsembleClassifier, NetEnsembleRegressor
from imbtorch.ensemble._members import NetMembers
from imbtorch.portfolio._blend import blend_shares
from imbtorch.portfolio._candidates import Candidate, successive_halving
from imbtorch.portfolio._recipes import Recipes, resolve_recipes

__all__ = ["NetPortfolio", "OutOfFold", "weights_of"]

Floats = NDArray[np.float64]
_FOLDS = 4


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold predictions as the blend looks at them.

    Attributes
    ----------
    predictions : ndarray of shape (n_recipes, n)
        What decides the loss of a row, such as the probability of its own class.
    loss : callable(mean predictions) -> losses
        Loss of each row, elementwise.
    weights : ndarray of shape (n,)
        Weights of the rows.
    strata : ndarray of int, shape (n,)
        Class of each row; zeros for no classes.
    """

    predictions: Floats
    loss: Callable[[Floats], Floats]
    weights: Floats
    strata: NDArray[np.intp]

    def losses(self) -> Floats:
        """Return the mean loss of each recipe, ``(n_recipes,)``."""
        return np.asarray(self.loss(self.predictions) @ self.weights / self.weights.sum())


def weights_of(sample_weight: Any, shape: tuple[int, ...]) -> Floats:
    """Return the weight of each label or target, ``(n, n_columns)``, from those of the rows."""
    weights = np.ones(shape[0]) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    return np.broadcast_to(weights[:, None], shape)


class NetPortfolio(NetMembers):
    """Base of the portfolios: how recipes are trained, dropped and blended."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "recipes": [StrOptions({"default"}), dict],
        "cv": ["cv_object"],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
        "max_memory": [Interval(Integral, 1, None, closed="left"), None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }
    # what trains the nets of the folds of one recipe
    _ensemble: ClassVar[type[NetEnsembleClassifier] | type[NetEnsembleRegressor]]
    _default_recipes: ClassVar[Recipes]
    _blends: ClassVar[bool] = True

    recipes: str | Mapping[str, Mapping[str, Any]]
    time_limit: float | None
    max_memory: int | None
    verbose: bool | int
    member_shares_: Floats
    n_folds_: int

    # -- what differs between classifier and regressor -----------------------------------------

    @abstractmethod
    def _out_of_fold_of(
        self, ensembles: Sequence[Any], X: Any, y: Any, sample_weight: Any, tests: Sequence[Any]
    ) -> OutOfFold:
        """Return the out-of-fold predictions of all recipes."""

    # -- training ------------------------------------------------------------------------------

    @fit_context
    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> None:
        refuse_dataset(X, type(self).__name__)
        start = time.perf_counter()
        X, y = indexable(X, y)
        folds = self._divided(y, None, groups, _FOLDS)
        net_seed, blend_seed = draw_seeds(self.random_state, 2)
        limit = math.inf if self.time_limit is None else self.time_limit
        with all_or_nothing(self), ExitStack() as undo:
            candidates = self._candidates(folds, net_seed)
            memo = Memo()

            def begin(candidate: Candidate) -> None:
                candidate.begin(X, y, sample_weight, memo, undo)

            def is_late() -> bool:
                return time.perf_counter() - start > limit

            with _Progress(len(candidates) if self.verbose else None) as show:
                left = successive_halving(candidates, begin, is_late, show)
            for candidate in left:
                candidate.finish()
            kept = [candidate for candidate in candidates if candidate in left]
            trained = [candidate for candidate in kept if candidate.is_trained(len(folds))]
            _check_failures(candidates, trained)
            tests = [fold.positions for fold in folds if fold.positions is not None]
            seen = self._out_of_fold_of(
                [candidate.ensemble for candidate in trained], X, y, sample_weight, tests
            )
            self._blend(candidates, trained, seen, blend_seed)
            self._predict_folds(X, y, sample_weight, tests)
        if self.interrupted_ and self._base.on_interrupt == "raise":
            raise KeyboardInterrupt

    def _candidates(self, folds: Sequence[ValidationRows], seed: int) -> list[Candidate]:
        splits = [(fold.training, fold.positions) for fold in folds]
        recipes = resolve_recipes(self.recipes, self._default_recipes)
        seeds = draw_seeds(seed, len(recipes))
        candidates = []
        for (name, params), own in zip(recipes.items(), seeds, strict=True):
            base = clone(self._base).set_params(**params)
            ensemble = self._ensemble(base, subset="folds", cv=splits, random_state=own)
            candidates.append(Candidate(name, params, ensemble, self.max_memory))
        return candidates

    def _blend(
        self,
        candidates: Sequence[Candidate],
        trained: Sequence[Candidate],
        seen: OutOfFold,
        seed: int,
    ) -> None:
        """Choose shares of the recipes, and publish the members of those with a share."""
        shares = blend_shares(seen.predictions, seen.loss, seen.weights, seen.strata, seed)
        losses = dict(zip([c.name for c in trained], seen.losses().tolist(), strict=True))
        by_name = dict(zip([c.name for c in trained], shares.tolist(), strict=True))
        kept = [candidate for candidate in trained if by_name[candidate.name] > 0]
        members = [member for c in kept for member in c.ensemble.estimators_]
        self.n_folds_ = len(kept[0].ensemble.estimators_)
        self.member_shares_ = np.repeat([by_name[c.name] for c in kept], self.n_folds_)
        self.member_shares_ /= self.member_shares_.sum()
        self._publish(members)
        best = min(trained, key=lambda candidate: losses[candidate.name])
        self.best_recipe_ = best.name
        self.best_params_ = best.single_params
        self.leaderboard_ = _leaderboard(candidates, losses, by_name)
        self.interrupted_ = any(candidate.interrupted for candidate in trained)

    # -- members -------------------------------------------------------------------------------

    @property
    def _member_weights(self) -> Floats:
        return self.member_shares_

    @property
    def _rows_of_members(self) -> str:
        return "folds"

    def _fold_models(self) -> list[list[int]]:
        """Return which members together are the model of each fold, by their positions."""
        n_members, n_folds = len(self.estimators_), self.n_folds_
        return [list(range(fold, n_members, n_folds)) for fold in range(n_folds)]


class _Progress:
    """Progress bar over the recipes, with the best score so far.

    Parameters
    ----------
    total : int or None
        Number of recipes; None for no bar.
    """

    def __init__(self, total: int | None) -> None:
        self.total, self.best = total, -math.inf
        self.seen: set[str] = set()

    def __enter__(self) -> Callable[[Candidate], None]:
        self.bar = tqdm(total=self.total, unit="recipe", disable=self.total is None)
        return self._show

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def _show(self, candidate: Candidate) -> None:
        if candidate.score > self.best:
            self.best, self.name = candidate.score, candidate.name
            self.bar.set_postfix({"best": f"{self.name} {self.best:.4f}"}, refresh=False)
        self.bar.update(candidate.name not in self.seen)
        self.seen.add(candidate.name)


def _check_failures(candidates: Sequence[Candidate], trained: Sequence[Candidate]) -> None:
    """Raise the first error if no recipe is trained, else warn of the recipes that failed."""
    failed = [candidate for candidate in candidates if candidate.error is not None]
    for error in (candidate.error for candidate in failed if not trained):
        if error is not None:
            raise error
    if not trained:  # Ctrl-C came before the nets of all folds had begun
        raise KeyboardInterrupt
    for candidate in failed:
        warnings.warn(
            f"The recipe {candidate.name!r} is left out. It {candidate.status}",
            UserWarning,
            stacklevel=4,
        )


def _leaderboard(
    candidates: Sequence[Candidate], losses: Mapping[str, float], shares: Mapping[str, float]
) -> dict[str, list[Any]]:
    """Return what became of each recipe, column by column; the smallest loss comes first."""
    rows = sorted(candidates, key=lambda candidate: losses.get(candidate.name, math.inf))
    return {
        "recipe": [candidate.name for candidate in rows],
        "loss": [losses.get(candidate.name, math.nan) for candidate in rows],
        "share": [shares.get(candidate.name, 0.0) for candidate in rows],
        "epochs": [candidate.epochs for candidate in rows],
        "seconds": [candidate.seconds for candidate in rows],
        "status": [candidate.status for candidate in rows],
    }
