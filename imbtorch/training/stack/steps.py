"""What follows the gradients of many nets: sharpness, clipping, the optimizers, the averages.

Each net has its own learning rate and weight decay, and its own count of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from imbtorch.training.averaging import Ema, average_of
from imbtorch.training.optimizers import LR_SCHEDULES
from imbtorch.training.run import Run
from imbtorch.training.stack.storage import Storage

__all__ = ["StackedSteps"]

Again = Callable[[], Any]


class _Rule(Protocol):
    """How gradients change the values of a stack."""

    def step(self, nets: slice, lr: Tensor) -> None:
        """Take a step of some nets at these rates, ``(n, 1)``."""

    def keep(self, rows: Tensor) -> None:
        """Forget all nets but those at these rows."""

    def hand_over(self, row: int, run: Run) -> None:
        """Give what is remembered of a net to its own optimizer."""

    def sound(self) -> list[bool]:
        """Tell of each net whether what is remembered is finite."""


class _Adam:
    """Adam and AdamW, whose fused kernel computes the change of all nets at rate 1."""

    def __init__(self, storage: Storage, runs: Sequence[Run], *, decoupled: bool) -> None:
        self.storage, self.decoupled = storage, decoupled
        self.betas, self.eps = (runs[0].net.optimizer_.param_groups[0][k] for k in ("betas", "eps"))
        self.decay = _column(
            [run.net.optimizer_.param_groups[0]["weight_decay"] for run in runs], storage.values
        )
        self.decays = bool(self.decay.any())
        self.averages = torch.zeros_like(storage.values)
        self.squares = torch.zeros_like(storage.values)
        self.change = torch.zeros_like(storage.values)
        self._set_counts(torch.zeros(len(runs), device=storage.values.device))

    def _set_counts(self, counts: Tensor) -> None:
        self.counts, self.counters = counts, list(counts.unbind())
        self.taken = [int(count) for count in counts.tolist()]

    def step(self, nets: slice, lr: Tensor) -> None:
        values, grads = self.storage.values[nets], self.storage.grads[nets]
        if self.decays and not self.decoupled:
            grads.addcmul_(values, self.decay[nets])
        self.counts[nets].add_(1)
        for row in range(nets.start, nets.stop):
            self.taken[row] += 1
        even = len(set(self.taken[nets])) == 1
        parts = [nets] if even else [slice(row, row + 1) for row in range(nets.start, nets.stop)]
        change = self.change[nets].zero_()
        torch._fused_adam_(
            [self.change[part] for part in parts],
            [self.storage.grads[part] for part in parts],
            [self.averages[part] for part in parts],
            [self.squares[part] for part in parts],
            [],
            [self.counters[part.start] for part in parts],
            lr=1.0, beta1=self.betas[0], beta2=self.betas[1], weight_decay=0.0,
            eps=self.eps, amsgrad=False, maximize=False,
        )  # fmt: skip
        if self.decays and self.decoupled:
            values.mul_(1 - lr * self.decay[nets])
        values.addcmul_(change, lr)

    def keep(self, rows: Tensor) -> None:
        self.decay = self.decay.index_select(0, rows)
        self.averages = self.averages.index_select(0, rows)
        self.squares = self.squares.index_select(0, rows)
        self.change = torch.zeros_like(self.averages)
        self._set_counts(self.counts.index_select(0, rows))

    def sound(self) -> list[bool]:
        return _finite_rows(self.averages, self.squares)

    def hand_over(self, row: int, run: Run) -> None:
        for name, parameter in self.storage.trained(row).items():
            place = self.storage.places[name]
            run.net.optimizer_.state[parameter] = {
                "step": self.counters[row].clone(),
                "exp_avg": self.averages[row, place].view(parameter.shape).clone(),
                "exp_avg_sq": self.squares[row, place].view(parameter.shape).clone(),
            }


class _Sgd:
    """Gradient descent with momentum."""

    def __init__(self, storage: Storage, runs: Sequence[Run]) -> None:
        self.storage = storage
        groups = [run.net.optimizer_.param_groups[0] for run in runs]
        self.momentum = groups[0]["momentum"]
        self.decay = _column([group["weight_decay"] for group in groups], storage.values)
        self.decays = bool(self.decay.any())
        self.velocity = torch.zeros_like(storage.values)

    def step(self, nets: slice, lr: Tensor) -> None:
        values, grads = self.storage.values[nets], self.storage.grads[nets]
        if self.decays:
            grads.addcmul_(values, self.decay[nets])
        velocity = self.velocity[nets].mul_(self.momentum).add_(grads)
        values.addcmul_(velocity, lr, value=-1)

    def keep(self, rows: Tensor) -> None:
        self.decay = self.decay.index_select(0, rows)
        self.velocity = self.velocity.index_select(0, rows)

    def sound(self) -> list[bool]:
        return _finite_rows(self.velocity)

    def hand_over(self, row: int, run: Run) -> None:
        for name, parameter in self.storage.trained(row).items():
            part = self.velocity[row, self.storage.places[name]]
            run.net.optimizer_.state[parameter] = {
                "momentum_buffer": part.view(parameter.shape).clone()
            }


class _Own:
    """The optimizer of each net, whatever it is, on its part of the stack."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.optimizers = [run.net.optimizer_ for run in runs]

    def step(self, nets: slice, lr: Tensor) -> None:
        for optimizer, rate in zip(self.optimizers[nets], lr.flatten().tolist(), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

    def keep(self, rows: Tensor) -> None:
        self.optimizers = [self.optimizers[row] for row in rows.tolist()]

    def sound(self) -> list[bool]:
        return [True] * len(self.optimizers)

    def hand_over(self, row: int, run: Run) -> None:
        """Nothing: it is there already."""


def _finite_rows(first: Tensor, *others: Tensor) -> list[bool]:
    finite = torch.isfinite(first).all(dim=1)
    for other in others:
        finite &= torch.isfinite(other).all(dim=1)
    sound: list[bool] = finite.tolist()
    return sound


def _column(numbers: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=like.dtype, device=like.device).unsqueeze(1)


def _rule(storage: Storage, runs: Sequence[Run]) -> _Rule:
    named = runs[0].net.optimizer
    if named == "sgd":
        return _Sgd(storage, runs)
    if named in ("adam", "adamw"):
        return _Adam(storage, runs, decoupled=named == "adamw")
    return _Own(runs)


class StackedSteps:
    """The steps of a stack.

    Parameters
    ----------
    storage : Storage
        Numbers of the nets.
    runs : sequence of Run
        Fresh ones of one kind of optimizer; all of them sharp, clipped and averaged, or none.
    """

    def __init__(self, storage: Storage, runs: Sequence[Run]) -> None:
        self.storage, self.rule = storage, _rule(storage, runs)
        self.base = [run.net.optimizer_.param_groups[0]["lr"] for run in runs]
        self.radius = _column([run.sharpness for run in runs], storage.values)
        self.limit = None
        if runs[0].clipping is not None:
            self.limit = _column([run.clipping for run in runs], storage.values)  # type: ignore[misc]
        self.sharp = runs[0].sharpness > 0
        self.averages = [average_of(run.averaging, _parameters(run), run.epochs) for run in runs]
        self.by_step = any(isinstance(average, Ema) for average in self.averages)

    # -- rates -------------------------------------------------------------------------------

    def begin_epoch(self, runs: Sequence[Run], epoch: int, n_steps: Sequence[int]) -> None:
        """Compute the learning rate of each step of each net."""
        tables: dict[Any, list[float]] = {}
        columns = []
        for run, steps, base in zip(runs, n_steps, self.base, strict=True):
            key = (run.lr_schedule, steps)
            if key not in tables:
                schedule = run.lr_schedule
                factor = LR_SCHEDULES[schedule] if isinstance(schedule, str) else schedule
                tables[key] = [factor((epoch + done / steps) / run.epochs) for done in range(steps)]
            columns.append([base * value for value in tables[key]])
        longest = max(map(len, columns))
        padded = [column + [0.0] * (longest - len(column)) for column in columns]
        self.last = [
            column[-1] if column else base for column, base in zip(columns, self.base, strict=True)
        ]
        table = torch.tensor(padded, dtype=self.storage.values.dtype).t().unsqueeze(2)
        self.rates = table.to(self.storage.values.device)

    # -- a step ------------------------------------------------------------------------------

    @torch.no_grad()
    def __call__(self, nets: slice, step: int, again: Again) -> None:
        """Take the step of some nets whose gradients are there."""
        if self.sharp:
            self._sharpen(nets, again)
        if self.limit is not None:
            norms = self.storage.grads[nets].norm(dim=1, keepdim=True)
            self.storage.grads[nets].mul_((self.limit[nets] / (norms + 1e-6)).clamp_(max=1.0))
        self.rule.step(nets, self.rates[step, nets])
        if self.by_step:
            for average in self.averages[nets]:
                if isinstance(average, Ema):
                    average.update()

    def _sharpen(self, nets: slice, again: Again) -> None:
        """Replace the gradients by those at the worst place nearby, one radius uphill."""
        values, grads = self.storage.values[nets], self.storage.grads[nets]
        before = values.clone()
        buffers = {name: t.clone() for name, t in self.storage.buffers(nets).items()}
        scale = self.radius[nets] / (grads.norm(dim=1, keepdim=True) + 1e-12)
        values.addcmul_(grads, scale)
        again()
        values.copy_(before)
        for name, tensor in self.storage.buffers(nets).items():
            tensor.copy_(buffers[name])  # statistics of batch normalisation stay as they are

    # -- around the epochs -------------------------------------------------------------------

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Train the weights within; show their averages, where there are any, outside."""
        averages = [average for average in self.averages if average is not None]
        with ExitStack() as stack:
            for average in averages:
                average.hide()
                stack.callback(average.show)
            yield
            for average in averages:
                average.end_epoch()

    def keep(self, runs: Sequence[Run], rows: Sequence[int]) -> None:
        """Hand over all nets but those at ``rows``."""
        sound, kept = self.rule.sound(), set(rows)
        for row, run in enumerate(runs):
            if row in kept:
                continue
            for group in run.net.optimizer_.param_groups:
                group["lr"] = self.base[row]  # so that training can be continued
            if sound[row]:
                self.rule.hand_over(row, run)
        device = self.storage.values.device
        index = torch.tensor(rows, dtype=torch.int64, device=device)
        self.rule.keep(index)
        self.base = [self.base[row] for row in rows]
        self.averages = [self.averages[row] for row in rows]
        self.radius = self.radius.index_select(0, index)
        if self.limit is not None:
            self.limit = self.limit.index_select(0, index)


def _parameters(run: Run) -> list[Tensor]:
    return [p for group in run.net.optimizer_.param_groups for p in group["params"]]
