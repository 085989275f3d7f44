"""Recipes in training, and successive halving: which of them are trained on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from imbtorch._common.log import logger
from imbtorch.ensemble import NetEnsembleClassifier, NetEnsembleRegressor
from imbtorch.training.callbacks import BestEpoch
from imbtorch.training.data.features import resident_bytes
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
    data : tuple of X, y and sample_weight
        What they are fitted to.

    Attributes
    ----------
    seconds : float
        Time of the training so far.
    status : str
        ``"trained"``, ``"cut short"`` (by the time limit or Ctrl-C), ``"dropped"`` or
        ``"not begun"``; else why the recipe has failed.
    error : Exception or None
        Why it has failed.
    interrupted : bool
        Whether Ctrl-C has cut the training short.
    epochs : float
        Mean over the folds of the epochs that were kept, once the training has ended; else NaN.
    """

    def __init__(
        self,
        name: str,
        params: dict[str, Any],
        ensemble: NetEnsembleClassifier | NetEnsembleRegressor,
        data: tuple[Any, Any, Any],
    ) -> None:
        self.name, self.params, self.ensemble, self.data = name, params, ensemble, data
        self.seconds, self.epochs, self.status = 0.0, math.nan, "not begun"
        self.error: Exception | None = None
        self.interrupted = False
        self._undo = ExitStack()

    def begin(self, max_memory: int | None) -> None:
        """Prepare the fits of the folds; what is wrong with the recipe is kept in ``error``."""
        start = time.perf_counter()
        try:
            self.fit = self._undo.enter_context(self.ensemble._prepare_fit(*self.data))
            self.stacks = pausable_stacks(self.fit.runs, max_memory)
            self.status = "trained"
        except (ValueError, TypeError) as error:
            self._failed(error)
        self.seconds += time.perf_counter() - start

    @property
    def bytes_of_rows(self) -> int:
        """Memory that the rows of the folds take as long as the training has not ended."""
        rows = {id(run.rows.features): run.rows.features for run in self.fit.runs}
        return sum(resident_bytes(features) for features in rows.values())

    def train(self, n_steps: float, is_late: Callable[[], bool]) -> None:
        """Train until the nets have taken so many steps, or it is late."""
        start = time.perf_counter()
        for stack in self.stacks:
            run = stack.runs[0]
            steps = len(batch_sizes(run.n_rows, run.rows_per_step))
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
        self.close()

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
        self.close()

    def close(self) -> None:
        """Give the memory of the training back."""
        with self._undo:
            if hasattr(self, "fit"):
                self.epochs = self._epochs_kept()
                del self.fit, self.stacks

    def _epochs_kept(self) -> float:
        kept = [m.kept for run in self.fit.runs for m in run.monitors if isinstance(m, BestEpoch)]
        known = [epoch for epoch in kept if epoch is not None]
        return float(np.mean(known)) if known and self.error is None else math.nan

    def _failed(self, error: Exception) -> None:
        logger.info("Recipe %r fails: %s", self.name, error)
        self.error, self.status = error, f"failed: {str(error).splitlines()[0]}"


def successive_halving(
    candidates: Sequence[Candidate],
    is_late: Callable[[], bool],
    show: Callable[[Candidate], None],
    max_memory: int | None,
) -> list[Candidate]:
    """Train recipes; those that score worst are dropped early.

    All recipes are trained for a few hundred steps, the better half of them for twice as many, and
    so on [1]_; the last ones to their end. A recipe whose rows would take too much memory if all
    recipes had as many is trained to its end at once, so that it need not wait.

    Parameters
    ----------
    candidates : sequence of Candidate
        The recipes; none has begun.
    is_late : callable() -> bool
        Whether the time is over.
    show : callable(candidate)
        Called after a recipe was trained on.
    max_memory : int or None
        Bytes that the nets of a stack may take together, and so may the rows of the recipes.

    Returns
    -------
    list of Candidate
        Those that were trained to their end, or as long as there was time.

    References
    ----------
    .. [1] Jamieson and Talwalkar (2016). "Non-stochastic Best Arm Identification and
           Hyperparameter Optimization". :arxiv:`1502.07943`
    """
    waiting: list[Candidate] = []
    finished: list[Candidate] = []
    for candidate in candidates:
        if _must_end([*waiting, *finished], is_late):
            break
        candidate.begin(max_memory)
        if candidate.error is not None:
            continue
        waits = max_memory is None or candidate.bytes_of_rows * len(candidates) <= max_memory
        candidate.train(_FIRST_STEPS if waits else math.inf, is_late)
        show(candidate)
        if waits:
            waiting.append(candidate)
        else:
            candidate.finish()
            finished.append(candidate)
    n_steps: float = _FIRST_STEPS
    while waiting and not _must_end([*waiting, *finished], is_late):
        waiting.sort(key=lambda candidate: -np.nan_to_num(candidate.score, nan=-math.inf))
        n_kept = max(-(-len(waiting) // 2), _LEAST - len(finished))
        for candidate in waiting[n_kept:]:
            logger.info("Recipe %r is dropped: score %.4g", candidate.name, candidate.score)
            candidate.drop()
        waiting = waiting[:n_kept]
        n_steps = 2 * n_steps if len(waiting) + len(finished) > _LEAST else math.inf
        for candidate in waiting:
            if not candidate.is_over and not _must_end(waiting, is_late):
                candidate.train(n_steps, is_late)
                show(candidate)
        if all(candidate.is_over for candidate in waiting):
            break
    for candidate in waiting:
        candidate.finish()
    return [*finished, *waiting]


def _must_end(begun: Sequence[Candidate], is_late: Callable[[], bool]) -> bool:
    """Return whether no further recipe is trained, because of the time or of Ctrl-C."""
    return bool(begun) and (is_late() or any(candidate.interrupted for candidate in begun))
