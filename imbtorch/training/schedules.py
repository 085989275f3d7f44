"""Schedules that change class weights, the sampler or loss parameters between epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._common.sklearn_private import Interval, StrOptions
from imbtorch.losses import BaseLoss
from imbtorch.training.callbacks import BestEpoch, Monitor
from imbtorch.training.data.rows import Rows

__all__ = [
    "SCHEDULE_CONSTRAINTS",
    "LossSchedule",
    "Schedule",
    "WeightSchedule",
    "deferred",
    "power_at",
    "with_loss_schedule",
]

Order = Callable[[int, int], Any]

SCHEDULE_CONSTRAINTS: dict[str, list[Any]] = {
    "class_weight_schedule": [
        None,
        Interval(Real, 0, 1, closed="neither"),
        StrOptions({"cumulative"}),
        callable,
    ],
    "sampler_schedule": [None, Interval(Real, 0, 1, closed="neither")],
    "loss_schedule": [None, dict],
    "gradient_clipping": [None, Interval(Real, 0, None, closed="neither")],
    "sharpness": [Interval(Real, 0, None, closed="left")],
    "averaging": [
        None,
        StrOptions({"ema", "swa"}),
        Interval(Real, 0, 1, closed="neither"),
    ],
}
_FIXED = {"weight", "ignore_index", "reduction"}  # parameters that no schedule may change


def power_at(schedule: float | str | Callable[[float], float], progress: float) -> float:
    """Return the power to which class weights are raised.

    Parameters
    ----------
    schedule : float, "cumulative" or callable(progress) -> power
        Value of the estimator's ``class_weight_schedule``.
    progress : float
        Share of the epochs that is done, in [0, 1).

    Returns
    -------
    float
        Power in [0, 1].

    Raises
    ------
    ValueError
        If a callable returns anything but a number in [0, 1].
    """
    if not callable(schedule):
        return progress**2 if schedule == "cumulative" else float(progress >= float(schedule))
    power = schedule(progress)
    if not (isinstance(power, Real) and 0 <= power <= 1):
        raise ValueError(
            f"class_weight_schedule must return a power in [0, 1]; it returned {power!r} after "
            f"{progress:.0%} of the epochs."
        )
    return float(power)


def deferred(order: Order, fraction: float) -> Order:
    """Use a sampler only after the first epochs.

    Parameters
    ----------
    order : callable(epoch, epochs) -> ndarray of int
        Function of the sampler that returns the rows of an epoch.
    fraction : float
        Share of the epochs at the start that do not use the sampler.

    Returns
    -------
    callable(epoch, epochs) -> ndarray of int or None
        Function that returns the rows of an epoch; None stands for all rows, shuffled.
    """
    return lambda epoch, epochs: None if epoch / epochs < fraction else order(epoch, epochs)


class Schedule(Monitor):
    """Base class of schedules, which counts the epochs."""

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """Start to count the epochs when the training begins."""
        self.epoch, self.epochs = 0, epochs

    def epoch_begin(self, net: Any) -> None:
        """Apply the schedule when an epoch begins."""
        self.apply(net, self.epoch / self.epochs)
        self.epoch += 1

    def apply(self, net: Any, progress: float) -> None:
        """Set the scheduled values, given the share of the epochs that is done."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"epoch": self.epoch}

    def restore(self, state: dict[str, Any], net: Any) -> None:
        """Restore a state from a checkpoint."""
        vars(self).update(state)


class WeightSchedule(Schedule):
    """Set the weights of the rows whenever the power of the class weights changes.

    Parameters
    ----------
    schedule : float, "cumulative" or callable(progress) -> power
        Schedule of the power; see :func:`power_at`.
    weigh : callable(power) -> (weights of rows, weights of labels)
        Function that computes the arguments of :meth:`Rows.set_weights`.
    rows : Rows
        Rows that the net trains on.
    """

    def __init__(
        self,
        schedule: float | str | Callable[[float], float],
        weigh: Callable[[float], tuple[NDArray[Any] | None, NDArray[Any] | None]],
        rows: Rows,
    ) -> None:
        self.schedule, self.weigh, self.rows = schedule, weigh, rows
        self.power = np.nan

    def apply(self, net: Any, progress: float) -> None:
        """Set new row weights if the power has changed."""
        power = power_at(self.schedule, progress)
        if power != self.power:
            self.power = power
            self.rows.set_weights(*self.weigh(power))


class LossSchedule(Schedule):
    """Set parameters of the loss at the start of each epoch.

    Parameters
    ----------
    schedule : mapping of str to callable(progress) -> value
        Function of the progress for each scheduled parameter, by name.
    loss : BaseLoss
        Loss of the training.
    prepare : callable(loss)
        Function that prepares the loss for the data again, and checks its values.
    best : BestEpoch or None, default=None
        Monitor that may restore the weights of an earlier epoch; the loss then gets the values
        that it had in that epoch.
    """

    def __init__(
        self,
        schedule: Mapping[str, Callable[[float], Any]],
        loss: BaseLoss,
        prepare: Callable[[BaseLoss], Any],
        best: BestEpoch | None = None,
    ) -> None:
        known = sorted(set(loss.get_params(deep=False)) - _FIXED)
        unknown = [name for name in schedule if name not in known]
        if unknown:
            raise ValueError(
                f"loss_schedule names {unknown}, which {type(loss).__name__} does not have. It "
                f"has {known}."
            )
        for name, value in schedule.items():
            if not callable(value):
                raise ValueError(
                    f"loss_schedule[{name!r}] must be a callable of the share of the epochs that "
                    f"is done, such as lambda t: 5 * (1 - t); got {value!r}."
                )
        self.schedule, self.prepare, self.best = schedule, prepare, best
        self.values: dict[str, Any] = {}
        self.by_epoch: dict[int, dict[str, Any]] = {}

    def apply(self, net: Any, progress: float) -> None:
        """Set the values of the loss parameters for the epoch."""
        self._set(net, {name: value(progress) for name, value in self.schedule.items()})

    def _set(self, net: Any, values: dict[str, Any]) -> None:
        self.values = values
        self.prepare(net.criterion_.set_params(**values))
        net.criterion_.to(net.device, net.dtype)

    def epoch_end(self, net: Any, record: dict[str, Any]) -> bool:
        """Remember the values of the loss parameters when an epoch ends."""
        self.by_epoch[record["epoch"]] = self.values
        return False

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {**super().state(), "values": self.values, "by_epoch": self.by_epoch}

    def restore(self, state: dict[str, Any], net: Any) -> None:
        """Restore a state from a checkpoint, and the values of the loss with it."""
        super().restore(state, net)
        self._set(net, self.values)

    def end(self, net: Any, completed: bool) -> None:
        """Set the values of the epoch whose weights are kept when the training ends."""
        kept = None if self.best is None else self.best.kept
        if kept in self.by_epoch and self.by_epoch[kept] is not self.values:
            self._set(net, self.by_epoch[kept])


def with_loss_schedule(
    schedule: Mapping[str, Callable[[float], Any]] | None,
    loss: BaseLoss,
    prepare: Callable[[BaseLoss], Any],
    monitors: list[Monitor],
) -> list[Monitor]:
    """Put a schedule of the loss before the other monitors.

    Parameters
    ----------
    schedule : mapping or None
        Schedule of the loss parameters; see :class:`LossSchedule`.
    loss : BaseLoss
        Loss of the training.
    prepare : callable(loss)
        Function that prepares the loss for the data.
    monitors : list of Monitor
        Monitors of the training, which may include a :class:`BestEpoch`.

    Returns
    -------
    list of Monitor
        The monitors, after the schedule if there is one.

    Raises
    ------
    ValueError
        If a name is unknown, or a value is not a callable.
    """
    if not schedule:
        return monitors
    best = next((monitor for monitor in monitors if isinstance(monitor, BestEpoch)), None)
    return [LossSchedule(schedule, loss, prepare, best), *monitors]
