"""Epochs of a single net that several processes train, each on its rows of every batch.

All of them hold the data, and make the same plan: a batch is that of one process, of which each
takes a part. Gradients are of sums over rows whose shares are those of the whole batch, so that
adding them up is all there is to do; what follows (clipping, sharpness, the optimizer, averages) is
the same everywhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from imbtorch.training.alone import Alone
from imbtorch.training.batches import Rows, batch_sizes
from imbtorch.training.callbacks import BestEpoch, ProgressBar
from imbtorch.training.net import _Net
from imbtorch.training.observers import observing_layers
from imbtorch.training.processes import Processes
from imbtorch.training.run import Run

__all__ = ["Parallel", "own_batches", "ready"]

_TRIED_ROWS = 64  # of X, that are compared


class Parallel(Alone):
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
        gradients = attempt(lambda: self._gradients_of(self._chain()))
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
            yield None if empty else (x[part], target.rows(part), share[part])
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
        If the data differ, or something looks at whole batches.
    """
    processes, net = run.processes, run.net
    if processes.size == 1:
        return
    reason = _cannot_be_divided(net)
    if reason is not None:
        raise ValueError(
            f"data_parallel=True divides each batch among {processes.size} processes, but "
            f"{reason}. Use data_parallel=False."
        )
    processes.check_same(_data(run))
    processes.copy_of_first(net.module_)
    processes.copy_of_first(net.criterion_)
    if processes.rank > 0:
        run.monitors = [m for m in run.monitors if not isinstance(m, ProgressBar)]
    for monitor in run.monitors:
        if isinstance(monitor, BestEpoch):  # to the bit, whatever the machines are
            monitor.score = partial(processes.of_first, monitor.score)


def _cannot_be_divided(net: _Net) -> str | None:
    """Say why gradients of parts do not add up to that of a batch; None where they do."""
    hooks = net.requested_hooks()
    if hooks:
        return f"a callback looks at batches ({', '.join(sorted(hooks))})"
    for layer in net.module_.modules():
        if isinstance(layer, _BatchNorm) or (
            isinstance(layer, _NormBase) and layer.track_running_stats
        ):
            return f"{type(layer).__name__} takes statistics over batches; LayerNorm does not"
    layers = observing_layers(net.module_)
    if layers:
        return f"{type(layers[0]).__name__} looks at the targets of batches"
    if _compares_rows(net):
        return f"{type(net.criterion_).__name__} compares the rows of a batch or remembers them"
    return None


@torch.no_grad()
def _compares_rows(net: _Net) -> bool:
    """Try whether the loss of random rows is the sum over two parts of them."""
    n, width = 12, net.n_outputs
    loss = copy.deepcopy(net.criterion_).train(True)
    loss.set_epoch(2**31)  # past any warm-up
    before = _values(loss)
    draw = torch.Generator().manual_seed(0)
    output = torch.randn(n, width, generator=draw, dtype=net.dtype).to(net.device)
    target = torch.randn(n, width, generator=draw, dtype=net.dtype).to(net.device)
    if net.task == "classes":
        target = torch.arange(n, device=net.device) % width
    elif net.task == "labels":
        target = (target > 0).to(net.dtype)
    terms = n * width if net.task == "labels" else n
    share = output.new_full((n, 1) if net.task == "labels" else (n,), 1 / terms)

    def value(rows: slice) -> float:
        return float(loss.batch_loss(output[rows], target[rows], share[rows]))

    whole = value(slice(None))
    parts = value(slice(0, 5)) + value(slice(5, None))
    adds_up = abs(whole - parts) <= 1e-4 * max(1.0, abs(whole))
    return not adds_up or _values(loss) != before


def _values(module: nn.Module) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in module.state_dict().items()}


def _data(run: Run) -> dict[str, str]:
    """Digest what the net is trained on; of X a few rows, which may be many."""
    rows, order = run.rows, run.order_of
    n = len(rows)
    tried = np.unique(np.linspace(0, n - 1, min(n, _TRIED_ROWS)).astype(int))
    few = torch.cat([rows.features.slice(i, i + 1) for i in tried.tolist()])
    shapes = [
        (name, tuple(t.shape), str(t.dtype)) for name, t in run.net.module_.named_parameters()
    ]
    return {
        "the number of rows": str((n, order.n_rows)),
        "the shape of X": str(tuple(few.shape[1:])),
        "X": joblib.hash(few.cpu().numpy()),
        "y": joblib.hash(rows.given_targets),
        "the weights of the rows": joblib.hash(
            [None if w is None else w.cpu().numpy() for w in (rows.weights, rows.label_weight)]
        ),
        "the rows held out": joblib.hash(
            None if order.positions is None else order.positions.cpu().numpy()
        ),
        "the module": str(shapes),
        "the size of a batch, and the epochs": str((run.net.batch_size, run.epochs)),
    }
