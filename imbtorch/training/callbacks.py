"""What happens between epochs: each monitor sees the epoch's record and may end the training."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from imbtorch.exceptions import DivergenceError

__all__ = ["BestEpoch", "DivergenceGuard", "EpochCallbacks", "Monitor", "ProgressBar"]

Record = dict[str, Any]
State = dict[str, Tensor]


class Monitor:
    """Something that looks at every epoch; a subclass overrides what it needs."""

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """See that training of ``epochs`` epochs of ``n_rows`` rows is about to start."""

    def epoch_begin(self, net: Any) -> None:
        """See that an epoch is about to start."""

    def epoch_end(self, net: Any, record: Record) -> bool:
        """See the epoch, add to its record; True ends the training."""
        return False

    def end(self, net: Any, completed: bool) -> None:
        """See that training has ended, in good order or not."""

    def state(self) -> Any:
        """Return what a checkpoint keeps."""

    def restore(self, state: Any, net: Any) -> None:
        """Go on from there; the net has been put where it was."""


def _snapshot(module: nn.Module) -> State:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


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
        self.weights_are_finite = True  # who trains the epoch tells
        self.finite: tuple[State, Any] | None = None

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """Remember the weights to go back to."""
        self._remember(net)

    def _remember(self, net: Any) -> None:
        if self.action == "restore":
            self.finite = _snapshot(net.module_), copy.deepcopy(net.optimizer_.state_dict())

    def epoch_end(self, net: Any, record: Record) -> bool:
        """Look at loss and weights; act if one of them is not finite."""
        if math.isfinite(record["train_loss"]) and self.weights_are_finite:
            self._remember(net)
            return False
        message = self._describe(net, record)
        if self.action == "raise":
            raise DivergenceError(message)
        if self.finite is not None:
            net.module_.load_state_dict(self.finite[0])
            net.optimizer_.load_state_dict(self.finite[1])
            message += " The weights of the last finite epoch were restored."
        warnings.warn(message, UserWarning, stacklevel=2)
        return True

    def restore(self, state: Any, net: Any) -> None:
        """Remember the weights as they have been put back: those of a finite epoch."""
        self._remember(net)

    def _describe(self, net: Any, record: Record) -> str:
        gradients = [p.grad for p in net.module_.parameters() if p.grad is not None]
        largest = max((float(g.abs().max()) for g in gradients), default=math.nan)
        return (
            f"Training diverged in epoch {record['epoch']}: train loss {record['train_loss']}, "
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
    """

    _counted = ("best", "improved_in", "kept", "scored", "weights")

    def __init__(self, score: Callable[[], float], patience: int | None) -> None:
        self.score = score
        self.patience = patience
        self.best = -math.inf
        self.improved_in = 0  # epoch
        self.kept: int | None = None  # epoch whose weights are put back
        self.scored = False
        self.weights: State | None = None

    def epoch_end(self, net: Any, record: Record) -> bool:
        """Score, remember the best weights, stop when patience ends."""
        score = self.score()
        self.scored = True
        record["valid_score"] = score
        record["valid_score_best"] = score > self.best
        # A ranking may be perfect long before the probabilities are right: of epochs that score
        # the same the latest is kept, while patience counts from the first.
        if -math.inf < score >= self.best and self.patience is not None:
            self.weights, self.kept = _snapshot(net.module_), record["epoch"]
        if score > self.best:
            self.best, self.improved_in = score, record["epoch"]
        if self.patience is None or self.best == -math.inf:
            return False
        return bool(record["epoch"] - self.improved_in >= self.patience)

    def state(self) -> Record:
        """Return the best epoch so far, and its weights."""
        return {name: getattr(self, name) for name in self._counted}

    def restore(self, state: Record, net: Any) -> None:
        """Go on from there."""
        vars(self).update(state)

    def end(self, net: Any, completed: bool) -> None:
        """Put the best weights back."""
        if self.weights is not None:
            net.module_.load_state_dict(self.weights)
        elif completed and self.patience is not None and self.scored:
            warnings.warn(
                "Early stopping had nothing to compare: the validation score was NaN in every "
                "epoch, so training went on to the end. Hold out more rows (validation_fraction), "
                "or choose another scoring.",
                UserWarning,
                stacklevel=2,
            )


class ProgressBar(Monitor):
    """One bar over the epochs, with loss, validation score, rows per second and time left."""

    bar: Any = None

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """Show the bar."""
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


class EpochCallbacks(Monitor):
    """Tell scikit-learn's callbacks (1.9 and later) about each epoch.

    Parameters
    ----------
    estimator : estimator instance
        Being fitted.
    attributes : callable() -> dict
        Fitted attributes as of now, for callbacks that want a fitted estimator.
    X, y : array-like
        Training data.
    metadata : dict
        ``sample_weight``, where given.
    """

    def __init__(
        self, estimator: Any, attributes: Callable[[], Record], X: Any, y: Any, metadata: Any
    ) -> None:
        self.estimator, self.attributes = estimator, attributes
        self.data = {"X": X, "y": y, "metadata": metadata}

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """Open the task of the whole fit."""
        self.fit = self.estimator._init_callback_context(max_subtasks=epochs)
        self.fit.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def epoch_begin(self, net: Any) -> None:
        """Open the task of one epoch."""
        self.epoch = self.fit.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def epoch_end(self, net: Any, record: dict[str, Any]) -> bool:
        """Close the task of the epoch; a callback may ask to stop."""
        return bool(
            self.epoch.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=lambda: copy.deepcopy(self.attributes()),
                **self.data,
            )
        )

    def end(self, net: Any, completed: bool) -> None:
        """Close the task of the whole fit, unless an error cut it short."""
        if not completed:
            return
        self.fit.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=self.attributes, **self.data
        )
