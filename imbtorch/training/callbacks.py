"""Monitors: what happens between epochs. Each sees the epoch's record and may end the training."""

from __future__ import annotations

import copy
import math
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

from imbtorch.exceptions import DivergenceError
from imbtorch.modules._state import full_state, restore_full_state

__all__ = ["BestEpoch", "DivergenceGuard", "Monitor", "ProgressBar", "next_scored"]

Record = dict[str, Any]
State = dict[str, Any]


class Monitor:
    """Something that looks at every epoch; a subclass overrides the methods that it needs.

    Attributes
    ----------
    single_net_because : str or None
        Why a net with this monitor cannot be trained in a stack; None if it can.
    runs_callbacks : bool
        Whether it calls callbacks of the user, which may change the user's Dataset.
    """

    single_net_because: str | None = None
    runs_callbacks = False

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """Run before the first epoch of a training of ``epochs`` epochs on ``n_rows`` rows."""

    def epoch_begin(self, net: Any) -> None:
        """Run before each epoch."""

    def epoch_end(self, net: Any, record: Record) -> bool:
        """Run after each epoch; may add to its record. Return True to end the training."""
        return False

    def end(self, net: Any, completed: bool) -> None:
        """Run after the last epoch; ``completed`` says whether nothing cut the training short."""

    def state(self) -> Any:
        """Return what a checkpoint keeps."""

    def restore(self, state: Any, net: Any) -> None:
        """Restore a state from a checkpoint; the net has been restored already."""


class DivergenceGuard(Monitor):
    """Notice a loss or weights that are not finite, once per epoch.

    Parameters
    ----------
    action : {"raise", "restore", "warn"}
        Raise :class:`DivergenceError`; go back to the last finite epoch with a warning; or stop
        with a warning and leave the weights as they are.
    """

    def __init__(self, action: str) -> None:
        self.action = action
        self.weights_are_finite = True  # set by the training loop
        self.finite: tuple[State, Any] | None = None

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """Remember the weights to go back to."""
        self._remember(net)

    def _remember(self, net: Any) -> None:
        if self.action == "restore":
            self.finite = full_state(net.module_), copy.deepcopy(net.optimizer_.state_dict())

    def epoch_end(self, net: Any, record: Record) -> bool:
        """Look at loss and weights; act if one of them is not finite."""
        if math.isfinite(record["train_loss"]) and self.weights_are_finite:
            self._remember(net)
            return False
        message = self._describe(net, record)
        if self.action == "raise":
            raise DivergenceError(message)
        if self.finite is not None:
            restore_full_state(net.module_, self.finite[0])
            net.optimizer_.load_state_dict(self.finite[1])
            message += " The weights of the last finite epoch were restored."
        warnings.warn(message, UserWarning, stacklevel=2)
        return True

    def restore(self, state: Any, net: Any) -> None:
        """Remember the restored weights, which are those of a finite epoch."""
        self._remember(net)

    def _describe(self, net: Any, record: Record) -> str:
        gradients = [p.grad for p in net.module_.parameters() if p.grad is not None]
        largest = max((float(g.abs().max()) for g in gradients), default=math.nan)
        added = f" (aux_loss {record['aux_loss']})" if "aux_loss" in record else ""
        return (
            f"Training diverged in epoch {record['epoch']}: train loss {record['train_loss']}"
            f"{added}, "
            f"learning rate {record['lr']:g}, largest gradient {largest:g} in the last batch. "
            "Lower lr, scale X (StandardScaler), or look for a module or loss that returns NaN."
        )


class BestEpoch(Monitor):
    """Score every epoch on the validation part; keep the best weights, stop when patience ends.

    Parameters
    ----------
    score : callable() -> float
        Score of the present weights; greater is better. NaN never wins.
    patience : int or None
        Epochs without improvement after which to stop; None scores but neither stops nor restores.
    smoothing : int, default=1
        Number of scored epochs, up to the present one, whose mean score is compared. A few
        positives decide by luck which single epoch scores best.
    growth : float, default=1.0
        Factor from one epoch that is scored to the next; 1 scores every epoch. The score of the
        other epochs is recorded as NaN.
    """

    _counted = ("best", "improved_in", "kept", "scored", "weights")

    def __init__(
        self,
        score: Callable[[], float],
        patience: int | None,
        smoothing: int = 1,
        growth: float = 1.0,
    ) -> None:
        self.score = score
        self.growth, self.next = growth, 1
        self.patience = patience
        self.recent: deque[float] = deque(maxlen=smoothing)
        self.best = -math.inf
        self.improved_in = 0  # number of an epoch
        self.kept: int | None = None  # number of the epoch whose weights are put back
        self.scored = False
        self.weights: State | None = None

    def epoch_end(self, net: Any, record: Record) -> bool:
        """Score, remember the best weights, stop when patience ends."""
        if record["epoch"] < self.next:
            record["valid_score"], record["valid_score_best"] = math.nan, False
            return False
        self.next = next_scored(record["epoch"], self.growth)
        score = self.score()
        self.scored = True
        record["valid_score"] = score
        if self.recent.maxlen != 1:
            self.recent.append(score)
            score = sum(self.recent) / len(self.recent)
        record["valid_score_best"] = score > self.best
        # A ranking may be perfect long before the probabilities are right: of epochs that score
        # the same the latest is kept, while patience counts from the first.
        if -math.inf < score >= self.best and self.patience is not None:
            self.weights, self.kept = full_state(net.module_), record["epoch"]
        if score > self.best:
            self.best, self.improved_in = score, record["epoch"]
        if self.patience is None or self.best == -math.inf:
            return False
        return bool(record["epoch"] - self.improved_in >= self.patience)

    def state(self) -> Record:
        """Return the best epoch so far, and its weights."""
        return {name: getattr(self, name) for name in self._counted}

    def restore(self, state: Record, net: Any) -> None:
        """Restore a state from a checkpoint."""
        vars(self).update(state)

    def end(self, net: Any, completed: bool) -> None:
        """Put the best weights back."""
        if self.weights is not None:
            restore_full_state(net.module_, self.weights)
        elif completed and self.patience is not None and self.scored:
            warnings.warn(
                "Early stopping had nothing to compare: the validation score was NaN in every "
                "epoch, so training went on to the end. Hold out more rows (validation_fraction), "
                "or choose another scoring.",
                UserWarning,
                stacklevel=2,
            )


def next_scored(epoch: int, growth: float) -> int:
    """Return the epoch that is scored after this one, if each is ``growth`` times the last."""
    return max(epoch + 1, round(growth * epoch))


class ProgressBar(Monitor):
    """One bar over the epochs, with loss, validation score, rows per second and time left."""

    bar: Any = None

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """Show the bar."""
        from tqdm.auto import tqdm  # which chooses the bar of notebooks, and warns if it lacks one

        self.n_rows = n_rows
        self.bar = tqdm(total=epochs, unit="epoch", leave=True)

    def epoch_end(self, net: Any, record: Record) -> bool:
        """Move the bar by one epoch."""
        shown = {"loss": f"{record['train_loss']:.4f}"}
        if "valid_score" in record:
            shown["score"] = f"{record['valid_score']:.4f}"
        shown["rows/s"] = f"{self.n_rows / max(record['dur'], 1e-9):,.0f}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()
        return False

    def restore(self, state: Any, net: Any) -> None:
        """Move the bar to where the training is."""
        self.bar.update(len(net.history))

    def end(self, net: Any, completed: bool) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:  # else it could not be shown, which is the error to see
            self.bar.close()
