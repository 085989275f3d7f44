"""Train one net in several processes, each of which computes a part of every batch.

Every process holds all of the data and plans the same batches. Each row keeps its share in the
whole batch, so that the sum of the gradients of all processes is the gradient of the batch. All
later steps (clipping, sharpness, the optimizer, averages) are the same in every process.
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
        Run of the net, which holds the group of processes.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__(runs)
        self.summed = _Summed(self.run.processes, self._trained(), self._no_loss(), self.run.device)

    def _batches(self) -> Iterator[Any]:
        run = self.run
        sparse = self.takes_sparse
        return own_batches(run.rows, run.order, run.rows_per_step, run.processes, sparse=sparse)

    def _lean(self, batches: Iterator[Any]) -> Tensor:
        attempt, step = self._attempt, self.steps.step
        gradients = attempt(self._gradients)
        total = self._no_loss()
        stepped = None
        for size in batch_sizes(len(self.run.order), self.run.rows_per_step):
            rate, batch = attempt(self.rate), attempt(partial(next, batches))
            own = partial(_evaluate, gradients, batch, rate, stepped)
            again = self._unscaled(partial(self.summed, own))
            total.add_(again(), alpha=size)
            stepped = attempt(partial(step, again))
        if isinstance(stepped, _Failure):
            raise stepped.error
        return total

    def _attempt(self, act: Callable[[], Any]) -> Any:
        """Defer an error to the all-reduce, so that every process raises it."""
        try:
            return act()
        except Exception as error:
            if self.run.processes.failed:  # the others know already
                raise
            return _Failure(error)


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _evaluate(gradients: Any, batch: Any, *others: Any) -> Tensor | None:
    """Compute the gradients of this process's rows in place; return their loss, None for no rows.

    Raise an error that was deferred until now.
    """
    for result in (gradients, batch, *others):
        if isinstance(result, _Failure):
            raise result.error
    value: Tensor | None = None if batch is None else gradients(*batch)
    return value


class _Summed:
    """Sum the gradients and the loss of a batch over the processes in one buffer.

    After the gradients the buffer holds for each parameter the number of processes that have a
    gradient, then the loss, or the loss and its auxiliary part, the number of failures and the
    number of interruptions.
    """

    def __init__(
        self, processes: Processes, params: list[Tensor], no_loss: Tensor, device: torch.device
    ) -> None:
        self.processes, self.params = processes, params
        sizes = [p.numel() for p in params]
        place = device if device.type == "cuda" else torch.device("cpu")
        n_counts = len(params) + no_loss.numel() + 2
        self.buffer = torch.zeros(sum(sizes) + n_counts, dtype=no_loss.dtype, device=place)
        *parts, counts = self.buffer.split([*sizes, n_counts])
        self.counts: Tensor = counts
        self.loss: Tensor = counts[len(params) : -2].view(no_loss.shape)
        self.parts = [part.view(p.shape) for part, p in zip(parts, params, strict=True)]

    def __call__(self, evaluate: Callable[[], Tensor | None]) -> Tensor:
        """Compute this process's gradients, replace them by the sums, and return the batch's loss.

        Raises
        ------
        Exception
            In every process, if ``evaluate`` fails in one of them.
        KeyboardInterrupt
            In every process, if one of them has received Ctrl-C.
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
        *owners, failures, interruptions = self.counts.tolist()  # the only wait for the device
        if failures:
            processes.exchange(None, error)
        if interruptions:
            processes.interrupted = False
            raise KeyboardInterrupt
        self._read(owners[: len(self.params)])
        return self.loss

    @torch.no_grad()
    def _write(self, value: Tensor) -> None:
        own = [i for i, param in enumerate(self.params) if param.grad is not None]
        gradients = [p.grad for p in self.params if p.grad is not None]
        torch._foreach_copy_([self.parts[i] for i in own], gradients)
        self.counts[own] = 1
        self.loss.copy_(value)

    @torch.no_grad()
    def _read(self, owners: list[float]) -> None:
        for part, param, n in zip(self.parts, self.params, owners, strict=True):
            if not n:  # the optimizer skips this parameter, as it would in a single process
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
        Positions of the rows of the epoch, the same in every process.
    batch_size : int
        Number of rows of a whole batch.
    processes : Processes
        The group of processes.
    sparse : bool, default=False
        Whether rows may stay sparse; see :meth:`Rows.batches`.

    Yields
    ------
    tuple (x, target, share), or None
        Part of the batch, in the form of :meth:`Rows.batches`; shares refer to the whole batch.
        None if this process has no row of the batch.
    """
    if rows.mixing is not None:  # a row may be mixed with any other row of the batch
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
    """Check that the processes can train a net together, and give them the same initial values.

    Parameters
    ----------
    run : Run
        Run of the net. In a single process nothing is done.

    Raises
    ------
    ValueError
        If the module, the loss or a callback looks at whole batches, or if module or checkpoint
        differ between the processes.
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
        if isinstance(monitor, BestEpoch):  # all use the same score, even on unlike machines
            monitor.score = partial(processes.of_first, monitor.score)
