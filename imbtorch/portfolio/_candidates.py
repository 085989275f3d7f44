"""Recipes in training, and successive halving: which of them are trained on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from imbtorch._common.memo import Memo
from imbtorch.ensemble import NetEnsembleClassifier, NetEnsembleRegressor
from imbtorch.training.callbacks import BestEpoch
from imbtorch.training.data.rows import batch_sizes
from imbtorch.training.stack import pausable_stacks

__all__ = ["Candidate", "successive_halving"]

_FIRST_STEPS = 400  # steps after which the recipes are compared for the first time
_LEAST = 6  # so many recipes are trained to their end: a blend of different ones is better


class Candidate:
    """A recipe whose nets of folds are trained as a stack, with pauses.

    Parameters
    ----------
    name : str
        Name of the recipe.
    params : dict
        Parameters of the recipe.
    ensemble : NetEnsembleClassifier or NetEnsembleRegressor
        Nets of the folds, not fitted.
    max_memory : int or None
        Bytes that the nets of a stack may take together.

    Attributes
    ----------
    seconds : float
        Time of the training so far.
    status : str
        ``"trained"``, ``"cut short"`` (by the time limit or Ctrl-C), ``"dropped"`` or
        ``"not begun"``; else why the recipe has failed.
    error : Exception or None
        Why it has failed.
    """

    def __init__(
        self,
        name: str,
        params: dict[str, Any],
        ensemble: NetEnsembleClassifier | NetEnsembleRegressor,
        max_memory: int | None,
    ) -> None:
        self.name, self.params, self.ensemble = name, params, ensemble
        self.max_memory = max_memory
        self.seconds, self.status = 0.0, "not begun"
        self.error: Exception | None = None
        self.interrupted = False

    def begin(self, X: Any, y: Any, sample_weight: Any, memo: Memo, undo: ExitStack) -> None:
        """Prepare the fits of the folds; what is wrong with the recipe is kept in ``error``."""
        start = time.perf_counter()
        try:
            self.fit = undo.enter_context(
                self.ensemble._prepare_fit(X, y, sample_weight, memo=memo)
            )
            self.stacks = pausable_stacks(self.fit.runs, self.max_memory)
            self.status = "trained"
        except (ValueError, TypeError) as error:
            self._failed(error)
        self.seconds += time.perf_counter() - start

    def train(self, n_steps: float, is_late: Callable[[], bool]) -> None:
        """Train until the nets have taken so many steps, or it is late."""
        start = time.perf_counter()
        for stack in self.stacks:
            run = stack.runs[0]
            steps = len(batch_sizes(run.n_rows, run.net.batch_size))
            done = len(run.net.history)

            def pauses(net: Any = run.net, epochs: float = n_steps / steps) -> bool:
                return len(net.history) >= epochs or is_late()

            if not stack.is_over and (done == 0 or done < n_steps / steps):
                stack.advance(pauses)
        self.interrupted = any(run.interrupted for run in self.fit.runs)
        self.seconds += time.perf_counter() - start

    @property
    def is_over(self) -> bool:
        """Whether the training has come to its end."""
        return all(stack.is_over for stack in self.stacks)

    @property
    def score(self) -> float:
        """Mean over the folds of the best score so far; greater is better."""
        best = [m.best for run in self.fit.runs for m in run.monitors if isinstance(m, BestEpoch)]
        return float(np.mean(best)) if best else math.nan

    @property
    def epochs(self) -> float:
        """Mean over the folds of the epochs that were kept; NaN before the training."""
        if self.status == "not begun" or self.error is not None:
            return math.nan
        kept = [m.kept for run in self.fit.runs for m in run.monitors if isinstance(m, BestEpoch)]
        known = [epoch for epoch in kept if epoch is not None]
        return float(np.mean(known)) if known else math.nan

    @property
    def single_params(self) -> dict[str, Any]:
        """Parameters of a single net on all rows by this recipe, once it is trained."""
        length = self.ensemble._length_of_folds
        return {**self.params, **({} if length is None else {"max_epochs": length.n_epochs})}

    def is_trained(self, n_folds: int) -> bool:
        """Return whether there is a trained net for each of the folds."""
        return self.error is None and len(self.ensemble.estimators_) == n_folds

    def drop(self) -> None:
        """End the training for good."""
        for stack in self.stacks:
            stack.abandon()
        self.status = "dropped"

    def finish(self) -> None:
        """Keep the best epochs of the nets, and set the fitted attributes of the ensemble."""
        if not self.is_over:
            self.status = "cut short"
        for stack in self.stacks:
            stack.stop()
        try:
            self.fit.publish()
        except (ValueError, RuntimeError) as error:  # the training has failed, or diverged
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.error, self.status = error, f"failed: {str(error).splitlines()[0]}"


def successive_halving(
    candidates: Sequence[Candidate],
    begin: Callable[[Candidate], None],
    is_late: Callable[[], bool],
    show: Callable[[Candidate], None],
) -> list[Candidate]:
    """Train recipes; those that score worst are dropped early.

    All recipes are trained for a few hundred steps, the better half of them for twice as many, and
    so on [1]_; the last ones to their end.

    Parameters
    ----------
    candidates : sequence of Candidate
        The recipes; none has begun.
    begin : callable(candidate)
        Prepares the training of a recipe.
    is_late : callable() -> bool
        Whether the time is over.
    show : callable(candidate)
        Called after a recipe was trained on.

    Returns
    -------
    list of Candidate
        Those that are left, best first.

    References
    ----------
    .. [1] Jamieson and Talwalkar (2016). "Non-stochastic Best Arm Identification and
           Hyperparameter Optimization". :arxiv:`1502.07943`
    """
    n_steps: float = _FIRST_STEPS
    left: list[Candidate] = []
    for candidate in candidates:
        if left and (is_late() or any(c.interrupted for c in left)):
            break
        begin(candidate)
        if candidate.error is None:
            candidate.train(n_steps, is_late)
            left.append(candidate)
            show(candidate)
    while True:
        left.sort(key=lambda candidate: -np.nan_to_num(candidate.score, nan=-math.inf))
        n_kept = max(-(-len(left) // 2), _LEAST)
        for candidate in left[n_kept:]:
            candidate.drop()
        left = left[:n_kept]
        n_steps = 2 * n_steps if len(left) > _LEAST else math.inf
        for candidate in left:
            if is_late() or any(c.interrupted for c in left):
                return left
            if not candidate.is_over:
                candidate.train(n_steps, is_late)
                show(candidate)
        if all(candidate.is_over for candidate in left):
            return left
