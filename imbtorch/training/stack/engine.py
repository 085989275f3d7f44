"""Train many nets at once: every step updates all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from imbtorch.losses import BaseLoss
from imbtorch.losses.regression import BaseRegressionLoss
from imbtorch.training.data.rows import batch_sizes
from imbtorch.training.run import Run
from imbtorch.training.schedules import LossSchedule
from imbtorch.training.stack.batches import Batch, batches
from imbtorch.training.stack.losses import Losses, losses_of
from imbtorch.training.stack.modules import Network, network_of
from imbtorch.training.stack.steps import StackedSteps
from imbtorch.training.stack.storage import Storage

__all__ = ["StackedEngine"]

_TRIAL_ROWS = 4


class StackedEngine:
    """Train nets of one architecture, loss, optimizer, batch size and number of epochs.

    Parameters
    ----------
    runs : sequence of Run
        Runs of the nets. Runs with the same number of rows should be neighbours.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        for run in runs:
            run.in_stack = True
        self.storage = Storage([run.net.module_ for run in runs])
        self.build = network_of(self.storage)
        self.networks: dict[tuple[int, int], Network] = {}
        self.steps = StackedSteps(self.storage, runs)
        self.output_shape = self._output_shape()
        self.losses = self._losses()
        self.with_average: set[Run] = set()

    @torch.no_grad()
    def _output_shape(self) -> tuple[int, ...]:
        """Return the shape of a module's output for one row."""
        return tuple(self.runs[0].net.module_.train(False)(self._trial()[0]).shape[1:])

    def _trial(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first rows of the first net as one batch."""
        rows = self.runs[0].rows
        order = torch.arange(min(_TRIAL_ROWS, len(rows)), device=self.runs[0].device)
        return next(rows.batches(order, _TRIAL_ROWS))

    def _losses(self) -> Losses:
        """Choose how to evaluate the losses; each way is tried on a small batch."""
        _, target, share = self._trial()
        n, kind = len(self.runs), next(iter(self.storage.values.values()))
        shape, own = (n, len(target), *self.output_shape), torch.Generator().manual_seed(0)
        outputs = torch.randn(shape, generator=own).to(kind.device, kind.dtype)
        targets, shares = (t.expand(n, *t.shape).contiguous() for t in (target, share))
        return losses_of([run.net for run in self.runs], outputs, targets, shares)

    # -- an epoch ----------------------------------------------------------------------------

    def epoch(self, runs: Sequence[Run], epoch: int) -> list[tuple[float, bool]]:
        """Train all nets for one epoch.

        Returns
        -------
        list of (float, bool)
            For each run the sum of its losses, and whether its weights are finite.
        """
        if any(map(_changes, runs)):  # the losses are evaluated with copies of their values
            self.losses = self._losses()
        self.networks.clear()  # layers may have changed between training and evaluation mode
        rows_per_step = self.runs[0].rows_per_step
        n_steps = [len(batch_sizes(len(run.order), rows_per_step)) for run in runs]
        self.steps.begin_epoch(runs, epoch, n_steps)
        totals = next(iter(self.storage.values.values())).new_zeros(len(runs))
        with self.steps.epoch():
            for batch in batches(runs, rows_per_step):
                totals[batch.nets].add_(self._gradients(batch), alpha=batch.size)
                self.steps(batch.nets, batch.step, partial(self._gradients, batch))
        for run, rate in zip(runs, self.steps.last, strict=True):
            run.net.optimizer_.param_groups[0]["lr"] = rate  # the history reads the rate here
        self.steps.show(runs)
        finite = self.storage.finite().to(totals.dtype)
        results = torch.stack([totals, finite]).tolist()  # the only wait for the device in an epoch
        return [(total, bool(is_finite)) for total, is_finite in zip(*results, strict=True)]

    def _gradients(self, step: Batch) -> Tensor:
        """Compute the gradients of a step in place, and return the losses of its nets."""
        sizes = batch_sizes(step.size, self.runs[0].net.batch_size)
        if len(sizes) == 1:
            return self._gradients_of(step.nets, step.x, step.target, step.share)
        grads = [block[step.nets] for block in self.storage.grads.values()]
        sums = [torch.zeros_like(block) for block in grads]
        total = sums[0].new_zeros(len(grads[0]))
        parts = (rows.split(sizes, dim=1) for rows in (step.x, step.target, step.share))
        for batch in zip(*parts, strict=True):
            total.add_(self._gradients_of(step.nets, *batch))
            torch._foreach_add_(sums, grads)
        torch._foreach_copy_(grads, sums)
        return total

    def _gradients_of(self, nets: slice, x: Tensor, target: Tensor, share: Tensor) -> Tensor:
        """Compute the gradients of a batch in place, and return the losses of its nets."""
        network = self._network(nets)
        # a module may write into its input, and must find the same input when it is called again
        given = x.clone() if self.runs[0].recipe.sharpness > 0 else None
        output = network.forward(x)
        values, gradient = self.losses(nets, output, target, share)
        network.backward(gradient)
        if given is not None:
            x.copy_(given)
        return values

    def _network(self, nets: slice) -> Network:
        key = nets.start, nets.stop
        if key not in self.networks:
            self.networks[key] = self.build(nets)
        return self.networks[key]

    # -- finished nets -----------------------------------------------------------------------

    def leave(self, runs: Sequence[Run]) -> None:
        """Detach finished nets and compact the rest."""
        gone = set(runs)
        rows = [row for row, run in enumerate(self.runs) if run not in gone]
        for run, average in zip(self.runs, self.steps.averages, strict=True):
            if run in gone and average is not None and average.count:
                self.with_average.add(run)
        self.steps.keep(self.runs, rows)
        self.storage.keep(rows)
        self.runs = [self.runs[row] for row in rows]
        self.networks.clear()
        if self.runs:
            self.losses = self.losses.of([run.net for run in self.runs])

    def state(self) -> dict[str, Any]:
        """Return nothing, because nets with a checkpoint are trained alone."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Do nothing, because nets with a checkpoint are trained alone."""

    def averaged(self, run: Run) -> bool:
        """Return whether the net holds an average of its weights."""
        return run in self.with_average


def _changes(run: Run) -> bool:
    """Return whether the loss of a run may change from epoch to epoch."""
    set_epoch = type(run.net.criterion_).set_epoch
    return set_epoch not in (BaseLoss.set_epoch, BaseRegressionLoss.set_epoch) or any(
        isinstance(monitor, LossSchedule) for monitor in run.monitors
    )
