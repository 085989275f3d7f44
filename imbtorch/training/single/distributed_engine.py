"""Epochs of a single net that several processes train, each on its rows of every batch.

All of them hold the data, and make the same plan: a batch is that of one process, of which each
takes a part. Gradients are of sums over rows whose shares are those of the whole batch, so that
adding them up is all there is to do; what follows (clipping, sharpness, the optimizer, averages) is
the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from imbtorch.training.callbacks import BestEpoch, Monitor, ProgressBar
from imbtorch.training.data.rows import Rows, batch_sizes
from imbtorch.training.distributed import Processes
from imbtorch.training.run import Run
from imbtorch.training.single.divisible import indivisible_because
from imbtorch.training.single.engine import SingleEngine

__all__ = ["DistributedEngine", "own_batches", "ready"]


class DistributedEngine(SingleEngine):
    """Train one net in several processes.

    Parameters
    ----------
    runs : sequence of one Run
        That of the net, with the processes.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__(runs)
        params = [p for group in self.net.optimizer_.param_groups for p in group["params"]]
        self.summed = _Summed(self.run.processes, params, self.net.dtype, self.run.device)

    def _batches(self) -> Iterator[Any]:
        run = self.run
        sparse = self.takes_sparse
        return own_batches(run.rows, run.order, self.net.batch_size, run.processes, sparse=sparse)

    def _lean(self, batches: Iterator[Any]) -> Tensor:
        attempt, step = self._attempt, self.steps.step
        gradients = attempt(self._gradients)
        total = torch.zeros((), dtype=self.net.dtype, device=self.net.device)
        stepped = None
        for size in batch_sizes(len(self.run.order), self.net.batch_size):
            rate, batch = attempt(self.rate), attempt(partial(next, batches))
            again = partial(self.summed, partial(_evaluate, gradients, batch, rate, stepped))
            total.add_(again(), alpha=size)
            stepped = attempt(partial(step, again))
        if isinstance(stepped, _Failure):
            raise stepped.error
        return total

    def _attempt(self, act: Callable[[], Any]) -> Any:
        """Keep what goes wrong until the gradients are summed: there the others meet it."""
        try:
            return act()
        except Exception as error:
            if self.run.processes.failed:  # they know
                raise
            return _Failure(error)


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _evaluate(gradients: Any, batch: Any, *others: Any) -> Tensor | None:
    """Write the gradients of the own rows; None where there are none."""
    for result in (gradients, batch, *others):
        if isinstance(result, _Failure):
            raise result.error
    value: Tensor | None = None if batch is None else gradients(*batch)
    return value


class _Summed:
    """Gradients and loss of a batch, summed over the processes in one buffer.

    Behind the gradients it holds, for each parameter, how many processes have one, and then the
    loss, the failures and the interruptions.
    """

    def __init__(
        self, processes: Processes, params: list[Tensor], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.processes, self.params = processes, params
        sizes = [p.numel() for p in params]
        place = device if device.type == "cuda" else torch.device("cpu")
        self.buffer = torch.zeros(sum(sizes) + len(params) + 3, dtype=dtype, device=place)
        *parts, counts = self.buffer.split([*sizes, len(params) + 3])
        self.counts: Tensor = counts
        self.parts = [part.view(p.shape) for part, p in zip(parts, params, strict=True)]

    def __call__(self, evaluate: Callable[[], Tensor | None]) -> Tensor:
        """Evaluate the own gradients, and replace them by the sums; return the loss of the batch.

        Raises
        ------
        Exception
            In every process, if ``evaluate`` fails in one.
        KeyboardInterrupt
            In every process, if Ctrl-C came to one.
        """
        processes, error = self.processes, None
        self.buffer.zero_()
        try:
            value = evaluate()
            if value is not None:
                self._write(value)
        except Exception as caught:
            error = caught
            self.buffer.zero_()
            self.counts[-2] = 1
        self.counts[-1] = float(processes.interrupted)
        processes.sum(self.buffer)
        *owners, _, failures, interruptions = self.counts.tolist()  # the only look at a device
        if failures:
            processes.exchange(None, error)
        if interruptions:
            processes.interrupted = False
            raise KeyboardInterrupt
        self._read(owners)
        return self.counts[-3]

    @torch.no_grad()
    def _write(self, value: Tensor) -> None:
        own = [i for i, param in enumerate(self.params) if param.grad is not None]
        gradients = [p.grad for p in self.params if p.grad is not None]
        torch._foreach_copy_([self.parts[i] for i in own], gradients)
        self.counts[own] = 1
        self.counts[-3] = value

    @torch.no_grad()
    def _read(self, owners: list[float]) -> None:
        for part, param, n in zip(self.parts, self.params, owners, strict=True):
            if not n:  # as in one process: the optimizer passes over it
                param.grad = None
            elif param.grad is None:
                param.grad = torch.empty_like(param).copy_(part)
            else:
                param.grad.copy_(part)


def own_batches(
    rows: Rows, order: Tensor, batch_size: int, processes: Processes, *, sparse: bool = False
) -> Iterator[Any]:
    """Yield the part of each batch that this process computes.

    Parameters
    ----------
    rows : Rows
        Training rows.
    order : Tensor of int, shape (m,)
        Those of the epoch, as one process would see them.
    batch_size : int
        Rows of a whole batch.
    processes : Processes
        All of them.
    sparse : bool, default=False
        As for :meth:`Rows.batches`.

    Yields
    ------
    tuple (x, target, share), or None
        As :meth:`Rows.batches`, the shares those of the whole batch; None where no row of a batch
        is left for this process.
    """
    if rows.mixing is not None:  # a row may be mixed with any of the batch
        for x, target, share in rows.batches(order, batch_size):
            part = processes.part(len(x))
            empty = part.start == part.stop
            yield None if empty else (x[part], target[part], share[part])
        return
    sizes = batch_sizes(len(order), batch_size)
    n_equal = max(len(sizes) - 1, 0) * batch_size  # all but the last have equally many rows
    for block, size in ((order[:n_equal], batch_size), (order[n_equal:], sum(sizes) - n_equal)):
        if not size or not len(block):
            continue
        part = processes.part(size)
        own = block.view(-1, size)[:, part].reshape(-1)
        if not len(own):
            yield from repeat(None, len(block) // size)
            continue
        n = part.stop - part.start
        for x, target, share in rows.batches(own, n, sparse=sparse):
            yield x, target, share * (n / size)


# -- before the training ----------------------------------------------------------------------


def ready(run: Run) -> None:
    """See that the processes can train a net together, and start from the same.

    Parameters
    ----------
    run : Run
        Of the net. In one process nothing is done.

    Raises
    ------
    ValueError
        If something looks at whole batches, or the module or the checkpoint is not the same.
    """
    processes, net = run.processes, run.net
    if processes.size == 1:
        return
    reason = indivisible_because(net, hooked=bool(net.requested_hooks()))
    if reason is not None:
        raise ValueError(
            f"data_parallel=True divides each batch among {processes.size} processes, but "
            f"{reason}. Use data_parallel=False."
        )
    shapes = [(name, tuple(t.shape)) for name, t in net.module_.named_parameters()]
    saved = None if run.checkpoint is None else run.checkpoint.saved
    epoch = None if saved is None else saved["epoch"]
    processes.check_same({"the module": str(shapes), "the checkpoint": str(epoch)})
    processes.copy_of_first(net.module_)
    processes.copy_of_first(net.criterion_)
    for place, monitor in enumerate(run.monitors):
        if isinstance(monitor, ProgressBar) and processes.rank > 0:
            run.monitors[place] = Monitor()
        if isinstance(monitor, BestEpoch):  # to the bit, whatever the machines are
            monitor.score = partial(processes.of_first, monitor.score)
