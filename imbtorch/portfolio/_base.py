"""What the portfolios have in common: recipes on the same folds, halving, and the blend."""

from __future__ import annotations

import math
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import get_scorer_names
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.html import table
from imbtorch._common.inputs import as_inputs
from imbtorch._common.seed import draw_seeds
from imbtorch._common.sklearn_private import Interval, StrOptions, fit_context
from imbtorch._data.datasets_as_rows import own_targets, refuse_dataset
from imbtorch._fit.fit import all_or_nothing
from imbtorch._fit.validation_rows import ValidationRows
from imbtorch.ensemble import NetEnsembleClassifier, NetEnsembleRegressor
from imbtorch.ensemble._members import NetMembers
from imbtorch.portfolio._blend import blend_shares
from imbtorch.portfolio._candidates import Candidate, successive_halving
from imbtorch.portfolio._recipes import Recipes, resolve_recipes
from imbtorch.portfolio._scores import OutOfFold, Scorer
from imbtorch.training.stack import train_stacked

__all__ = ["NetPortfolio"]

Floats = NDArray[np.float64]
_FOLDS = 4
_OF_FOLDS = ("_scores_", "_times_held_out_")  # what sets need of the nets of the folds


class NetPortfolio(NetMembers):
    """Base of the portfolios: how recipes are trained, dropped and blended."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "recipes": [StrOptions({"default"}), dict],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "cv": ["cv_object"],
        "refit": ["boolean"],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
        "max_memory": [Interval(Integral, 1, None, closed="left"), None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }
    # what trains the nets of the folds of one recipe
    _ensemble: ClassVar[type[NetEnsembleClassifier] | type[NetEnsembleRegressor]]
    _default_recipes: ClassVar[Recipes]
    _blends: ClassVar[bool] = True
    _sets_need: ClassVar[str] = "refit=False"

    recipes: str | Mapping[str, Mapping[str, Any]]
    scoring: str | Callable[..., float] | None
    refit: bool
    time_limit: float | None
    max_memory: int | None
    verbose: bool | int
    member_shares_: Floats
    nets_per_recipe_: int

    # -- what differs between classifier and regressor -----------------------------------------

    @abstractmethod
    def _scorer(self, y: Any) -> Scorer | None:
        """Check ``scoring`` before the training; None for the loss."""

    @abstractmethod
    def _out_of_fold_of(
        self,
        ensembles: Sequence[Any],
        data: tuple[Any, Any, Any],
        tests: Sequence[Any],
        scorer: Scorer | None,
    ) -> OutOfFold:
        """Return the out-of-fold predictions of all recipes; ``data`` are X, y and the weights."""

    def _notebook_parts(self) -> list[str]:
        """Return pieces of HTML about the fitted portfolio: first what became of each recipe."""
        check_is_fitted(self)
        board = self.leaderboard_
        rows = zip(*board.values(), strict=True)
        caption = "Recipes: a score of out-of-fold rows, and the share in the predictions."
        return [table(list(board), rows, caption), *super()._notebook_parts()]

    # -- training ------------------------------------------------------------------------------

    @fit_context
    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> None:
        refuse_dataset(X, type(self).__name__)
        start = time.perf_counter()
        X, y, sample_weight = own_targets(as_inputs(X), y, sample_weight, self._base)
        X, y = indexable(X, y)
        folds = self._divided(y, None, groups, _FOLDS)
        data, scorer = (X, y, sample_weight), self._scorer(y)
        net_seed, blend_seed, refit_seed = draw_seeds(self.random_state, 3)
        limit = math.inf if self.time_limit is None else self.time_limit
        with all_or_nothing(self), ExitStack() as undo:
            candidates = self._candidates(folds, data, net_seed)
            for candidate in candidates:
                undo.callback(candidate.close)

            def is_late() -> bool:
                return time.perf_counter() - start > limit

            with _Progress(len(candidates) if self.verbose else None) as show:
                left = successive_halving(candidates, is_late, show, self.max_memory)
            kept = [candidate for candidate in candidates if candidate in left]
            trained = [candidate for candidate in kept if candidate.is_trained(len(folds))]
            _check_failures(candidates, trained)
            tests = [fold.positions for fold in folds if fold.positions is not None]
            ensembles = [candidate.ensemble for candidate in trained]
            seen = self._out_of_fold_of(ensembles, data, tests, scorer)
            chosen = self._blend(candidates, trained, seen, blend_seed)
            self._predict_folds(*data, tests)
            if self.refit and not self.interrupted_:
                self._refit(chosen, data, refit_seed)
        if self.interrupted_ and self._base.on_interrupt == "raise":
            raise KeyboardInterrupt

    def _candidates(
        self, folds: Sequence[ValidationRows], data: tuple[Any, Any, Any], seed: int
    ) -> list[Candidate]:
        splits = [(fold.training, fold.positions) for fold in folds]
        given = self._base.module, self._base.features
        recipes = resolve_recipes(self.recipes, self._default_recipes, *given)
        seeds = draw_seeds(seed, len(recipes))
        candidates = []
        for (name, params), own in zip(recipes.items(), seeds, strict=True):
            base = clone(self._base).set_params(**params)
            ensemble = self._ensemble(base, subset="folds", cv=splits, random_state=own)
            candidates.append(Candidate(name, params, ensemble, data))
        return candidates

    def _blend(
        self,
        candidates: Sequence[Candidate],
        trained: Sequence[Candidate],
        seen: OutOfFold,
        seed: int,
    ) -> list[tuple[Candidate, float]]:
        """Choose shares of the recipes, and publish the members of those with a share."""
        scores = seen.of_recipes()
        if not np.isfinite(scores).all():
            raise ValueError(f"scoring={self.scoring!r} returned {scores} for the recipes.")
        shares = blend_shares(seen.predictions, seen.scores, seen.strata, seed)
        pairs = zip(trained, shares.tolist(), strict=True)
        chosen = [(candidate, share) for candidate, share in pairs if share > 0]
        self._publish_members([(c.ensemble.estimators_, share) for c, share in chosen])
        best = trained[int(np.argmax(scores))]
        self.best_recipe_ = best.name
        self.best_params_ = best.single_params
        names = [candidate.name for candidate in trained]
        self.leaderboard_ = _leaderboard(
            candidates,
            dict(zip(names, scores.tolist(), strict=True)),
            {candidate.name: share for candidate, share in chosen},
        )
        self.interrupted_ = any(candidate.interrupted for candidate in trained)
        return chosen

    def _publish_members(self, recipes: Sequence[tuple[Sequence[Any], float]]) -> None:
        """Publish the nets of each recipe, which share what the recipe has in the blend."""
        self.nets_per_recipe_ = len(recipes[0][0])
        self.member_shares_ = np.repeat([share for _, share in recipes], self.nets_per_recipe_)
        self.member_shares_ /= self.member_shares_.sum()
        self._publish([member for members, _ in recipes for member in members])

    def _refit(
        self, chosen: Sequence[tuple[Candidate, float]], data: tuple[Any, Any, Any], seed: int
    ) -> None:
        """Train one net on all rows for each recipe, and predict by these nets.

        After Ctrl-C the nets of the folds stay.
        """
        seeds = draw_seeds(seed, len(chosen))
        nets = [
            clone(self._base).set_params(**candidate.single_params, random_state=own)
            for (candidate, _), own in zip(chosen, seeds, strict=True)
        ]
        for net in nets:
            with net._prepare_fit(*data) as fit:
                train_stacked(fit.runs, self.max_memory)
                self.interrupted_ = fit.publish()
            if self.interrupted_:
                return
        pairs = zip(nets, chosen, strict=True)
        self._publish_members([([net], share) for net, (_, share) in pairs])
        for name in _OF_FOLDS:
            self.__dict__.pop(name, None)

    # -- members -------------------------------------------------------------------------------

    @property
    def _member_weights(self) -> Floats:
        return self.member_shares_

    @property
    def _rows_of_members(self) -> str:
        return "all" if self.refit and self.nets_per_recipe_ == 1 else "folds"

    def _fold_models(self) -> list[list[int]]:
        """Return which members together are the model of each fold, by their positions."""
        n_members, n_folds = len(self.estimators_), self.nets_per_recipe_
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
        from tqdm.auto import tqdm  # which chooses the bar of notebooks, and warns if it lacks one

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
            stacklevel=5,
        )


def _leaderboard(
    candidates: Sequence[Candidate], scores: Mapping[str, float], shares: Mapping[str, float]
) -> dict[str, list[Any]]:
    """Return what became of each recipe, column by column; the best score comes first."""
    rows = sorted(candidates, key=lambda candidate: -scores.get(candidate.name, -math.inf))
    return {
        "recipe": [candidate.name for candidate in rows],
        "score": [scores.get(candidate.name, math.nan) for candidate in rows],
        "share": [shares.get(candidate.name, 0.0) for candidate in rows],
        "epochs": [candidate.epochs for candidate in rows],
        "seconds": [candidate.seconds for candidate in rows],
        "status": [candidate.status for candidate in rows],
    }
