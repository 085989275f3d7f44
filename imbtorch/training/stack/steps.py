"""Update the weights of many nets from their gradients.

A step includes sharpness-aware minimisation, clipping, the optimizers and weight averages. Each
net has its own learning rate, weight decay and count of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from imbtorch.training.averaging import Ema, average_of
from imbtorch.training.optimizers import LR_SCHEDULES
from imbtorch.training.run import Run
from imbtorch.training.stack.compatibility import rule_of
from imbtorch.training.stack.storage import Storage, rows_of

__all__ = ["StackedSteps"]

Again = Callable[[], Any]


class _Rule(Protocol):
    """The optimizer of a stack: it changes the parameters by their gradients."""

    def step(self, nets: slice, rates: Sequence[float]) -> None:
        """Update neighbouring nets with equal rates, weight decay and step count.

        ``rates`` holds the learning rate of each parameter group of a net in this step.
        """

    def keep(self, rows: Sequence[int]) -> None:
        """Drop the state of all nets except those at these rows."""

    def hand_over(self, row: int, run: Run) -> None:
        """Copy the optimizer state of one net into the net's own optimizer."""

    def sound(self) -> list[bool]:
        """Return for each net whether its optimizer state is finite."""


class _Adam:
    """Adam or AdamW for all nets, by torch's fused kernel."""

    def __init__(self, storage: Storage, runs: Sequence[Run], *, decoupled: bool) -> None:
        self.storage = storage
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        group = _group(runs[0])
        self.betas, self.eps = group["betas"], group["eps"]
        self.decays = [_group(run)["weight_decay"] for run in runs]
        self.averages = {name: torch.zeros_like(b) for name, b in storage.values.items()}
        self.squares = {name: torch.zeros_like(b) for name, b in storage.values.items()}
        self._count_from(torch.zeros(len(runs), device=runs[0].device))

    def _count_from(self, counts: Tensor) -> None:
        self.counts, self.counters = counts, list(counts.unbind())
        self.parts: dict[tuple[int, int], list[list[Tensor]]] = {}

    def step(self, nets: slice, rates: Sequence[float]) -> None:
        parts = self.parts.get((nets.start, nets.stop))
        if parts is None:
            blocks = self.storage.values, self.storage.grads, self.averages, self.squares
            parts = [[block[nets] for block in named.values()] for named in blocks]
            parts += [[], [self.counters[nets.start]] * len(parts[0])]
            self.parts[nets.start, nets.stop] = parts
        self.counts[nets].add_(1)
        self.kernel(
            *parts,
            lr=rates[0], beta1=self.betas[0], beta2=self.betas[1],
            weight_decay=self.decays[nets.start], eps=self.eps, amsgrad=False, maximize=False,
        )  # fmt: skip

    def keep(self, rows: Sequence[int]) -> None:
        self.decays = [self.decays[row] for row in rows]
        self.averages, self.squares = rows_of(self.averages, rows), rows_of(self.squares, rows)
        self._count_from(self.counts[list(rows)])

    def sound(self) -> list[bool]:
        return _finite_rows([*self.averages.values(), *self.squares.values()])

    def hand_over(self, row: int, run: Run) -> None:
        for name, parameter in self.storage.trained(row).items():
            run.net.optimizer_.state[parameter] = {
                "step": self.counters[row].clone(),
                "exp_avg": self.averages[name][row].clone(),
                "exp_avg_sq": self.squares[name][row].clone(),
            }


class _Sgd:
    """Gradient descent with momentum for all nets."""

    def __init__(self, storage: Storage, runs: Sequence[Run]) -> None:
        self.storage = storage
        self.momentum = _group(runs[0])["momentum"]
        self.decays = [_group(run)["weight_decay"] for run in runs]
        self.velocity = {name: torch.zeros_like(b) for name, b in storage.values.items()}

    def step(self, nets: slice, rates: Sequence[float]) -> None:
        values, grads, velocity = (
            [block[nets] for block in blocks.values()]
            for blocks in (self.storage.values, self.storage.grads, self.velocity)
        )
        if self.decays[nets.start]:
            torch._foreach_add_(grads, values, alpha=self.decays[nets.start])
        torch._foreach_mul_(velocity, self.momentum)
        torch._foreach_add_(velocity, grads)
        torch._foreach_add_(values, velocity, alpha=-rates[0])

    def keep(self, rows: Sequence[int]) -> None:
        self.decays = [self.decays[row] for row in rows]
        self.velocity = rows_of(self.velocity, rows)

    def sound(self) -> list[bool]:
        return _finite_rows(list(self.velocity.values()))

    def hand_over(self, row: int, run: Run) -> None:
        for name, parameter in self.storage.trained(row).items():
            run.net.optimizer_.state[parameter] = {
                "momentum_buffer": self.velocity[name][row].clone()
            }


class _Own:
    """The separate optimizers of the nets, each on its own part of the stack."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.optimizers = [run.net.optimizer_ for run in runs]
        self.decays = [0.0] * len(runs)  # each optimizer applies its own weight decay

    def step(self, nets: slice, rates: Sequence[float]) -> None:
        for optimizer in self.optimizers[nets]:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            optimizer.step()

    def keep(self, rows: Sequence[int]) -> None:
        self.optimizers = [self.optimizers[row] for row in rows]
        self.decays = self.decays[: len(rows)]

    def sound(self) -> list[bool]:
        return [True] * len(self.optimizers)

    def hand_over(self, row: int, run: Run) -> None:
        """Do nothing, because the net's own optimizer holds its state already."""


def _group(run: Run) -> dict[str, Any]:
    group: dict[str, Any] = run.net.optimizer_.param_groups[0]
    return group


def _rates(run: Run) -> list[float]:
    """Return the rate of each parameter group before the schedule."""
    return [group["lr"] for group in run.net.optimizer_.param_groups]


def _finite_rows(blocks: Sequence[Tensor]) -> list[bool]:
    sound: list[bool] = (
        torch.stack([torch.isfinite(b).flatten(1).all(dim=1) for b in blocks]).all(dim=0).tolist()
    )
    return sound


def _per_net(numbers: Tensor, like: Tensor) -> Tensor:
    """Reshape one number per net so that it multiplies a block, ``(n,) -> (n, 1, ...)``."""
    return numbers.reshape(-1, *[1] * (like.ndim - 1))


def _rule(storage: Storage, runs: Sequence[Run]) -> Any:
    named = rule_of(runs[0])
    if named == "sgd":
        return _Sgd(storage, runs)
    if named in ("adam", "adamw"):
        return _Adam(storage, runs, decoupled=named == "adamw")
    return _Own(runs)


class StackedSteps:
    """The training steps of a stack.

    Parameters
    ----------
    storage : Storage
        Parameters and gradients of the nets.
    runs : sequence of Run
        Runs that have not begun. All have the same kind of optimizer; either all or none use
        sharpness, and either all or none use clipping.
    """

    def __init__(self, storage: Storage, runs: Sequence[Run]) -> None:
        self.storage, self.rule = storage, _rule(storage, runs)
        self.rates = [_rates(run) for run in runs]
        self.taken = [0] * len(runs)
        first = runs[0].recipe
        self.sharp, self.clips = first.sharpness > 0, first.clipping is not None
        like = next(iter(storage.values.values()))
        # these see a batch once, and all other buffers twice, as in a single net
        self.statistics = [
            f"{name}.{buffer}".lstrip(".")
            for name, layer in storage.modules[0].named_modules()
            if isinstance(layer, _BatchNorm)
            for buffer in layer._buffers
            if layer._buffers[buffer] is not None
        ]
        self.radius = like.new_tensor([run.recipe.sharpness for run in runs])
        self.limit = like.new_tensor([run.recipe.clipping or 0.0 for run in runs])
        self.averages = [
            average_of(run.recipe.averaging, _parameters(run), run.epochs) for run in runs
        ]
        self.by_step = any(isinstance(average, Ema) for average in self.averages)

    # -- rates -------------------------------------------------------------------------------

    def begin_epoch(self, runs: Sequence[Run], epoch: int, n_steps: Sequence[int]) -> None:
        """Compute the learning rate factor of each step, and which nets can step together."""
        tables: dict[tuple[int, int], list[float]] = {}
        for run, steps in zip(runs, n_steps, strict=True):
            schedule, key = run.lr_schedule, (id(run.lr_schedule), steps)
            if key not in tables:
                factor = LR_SCHEDULES[schedule] if isinstance(schedule, str) else schedule
                tables[key] = [factor((epoch + i / steps) / run.epochs) for i in range(steps)]
        self.factors = [tables[id(r.lr_schedule), n] for r, n in zip(runs, n_steps, strict=True)]
        self.last = [
            rates[0] * (factors[-1] if factors else 1.0)
            for rates, factors in zip(self.rates, self.factors, strict=True)
        ]
        tables_of = map(id, self.factors)
        self.alike = list(zip(tables_of, self.rates, self.rule.decays, self.taken, strict=True))
        self.taken = [taken + steps for taken, steps in zip(self.taken, n_steps, strict=True)]
        self.parts: dict[tuple[int, int], list[slice]] = {}

    def _parts(self, nets: slice) -> list[slice]:
        """Split nets into groups of neighbours with equal rates, decay and step count."""
        key = nets.start, nets.stop
        if key not in self.parts:
            groups = groupby(range(*key), self.alike.__getitem__)
            members = [list(group) for _, group in groups]
            self.parts[key] = [slice(rows[0], rows[-1] + 1) for rows in members]
        return self.parts[key]

    # -- a step ------------------------------------------------------------------------------

    @torch.no_grad()
    def __call__(self, nets: slice, step: int, again: Again) -> None:
        """Update some nets, whose gradients have been computed."""
        if self.sharp:
            self._sharpen(nets, again)
        if self.clips:
            factor = (self.limit[nets] / (self._norms(nets) + 1e-6)).clamp_(max=1.0)
            for block in self.storage.grads.values():
                block[nets].mul_(_per_net(factor, block))
        for part in self._parts(nets):
            factor = self.factors[part.start][step]
            self.rule.step(part, [rate * factor for rate in self.rates[part.start]])
        if self.by_step:
            for average in self.averages[nets]:
                if isinstance(average, Ema):
                    average.update()

    def _norms(self, nets: slice) -> Tensor:
        """Return the norm of the gradient of each net, ``(n,)``."""
        grads = self.storage.grads.values()
        parts = [torch.linalg.vector_norm(block[nets].flatten(1), dim=1) for block in grads]
        norms: Tensor = torch.linalg.vector_norm(torch.stack(parts), dim=0)
        return norms

    def _sharpen(self, nets: slice, again: Again) -> None:
        """Replace the gradients by those of weights that are moved uphill by one radius."""
        storage = self.storage
        held = [block[nets] for block in storage.values.values()]
        held += [storage.fixed[name][nets] for name in self.statistics]
        before = [block.clone() for block in held]
        scale = self.radius[nets] / (self._norms(nets) + 1e-12)
        for name, block in storage.values.items():
            block[nets].addcmul_(storage.grads[name][nets], _per_net(scale, block))
        again()
        for block, values in zip(held, before, strict=True):
            block.copy_(values)

    # -- around the epochs -------------------------------------------------------------------

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Put the trained weights into the nets inside the block, and the averages after it."""
        averages = [average for average in self.averages if average is not None]
        with ExitStack() as stack:
            for average in averages:
                average.hide()
                stack.callback(average.show)
            yield
            for average in averages:
                average.end_epoch()

    def show(self, runs: Sequence[Run]) -> None:
        """Copy the optimizer state to nets that may have to restore it after a bad epoch."""
        for row, run in enumerate(runs):
            if run.guard.action == "restore":
                self.rule.hand_over(row, run)

    def keep(self, runs: Sequence[Run], rows: Sequence[int]) -> None:
        """Keep the nets at ``rows``; hand over the optimizer state of all others."""
        sound, kept = self.rule.sound(), set(rows)
        for row, run in enumerate(runs):
            if row in kept:
                continue
            for group, rate in zip(run.net.optimizer_.param_groups, self.rates[row], strict=True):
                group["lr"] = rate  # so that training can be continued
            if sound[row] and run.guard.action != "restore":
                self.rule.hand_over(row, run)
        self.rule.keep(rows)
        self.rates = [self.rates[row] for row in rows]
        self.taken = [self.taken[row] for row in rows]
        self.averages = [self.averages[row] for row in rows]
        self.radius, self.limit = self.radius[list(rows)], self.limit[list(rows)]


def _parameters(run: Run) -> list[Tensor]:
    return [p for group in run.net.optimizer_.param_groups for p in group["params"]]
