"""Batches of several nets at once: each net has its own rows, row order and row weights.

Neighbouring nets whose batches have the same number of rows form a segment. The batches of a
segment are cut from a larger block of rows, as for a single net. Nets that see the same rows in
the same order share the gathered rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from imbtorch.training.data.rows import BLOCK_BYTES, batch_sizes, known_terms
from imbtorch.training.run import Run

__all__ = ["Batch", "batches", "streams_of"]


@dataclass(frozen=True)
class Batch:
    """One batch of each of several neighbouring nets.

    Attributes
    ----------
    nets : slice
        Positions of the nets in the stack.
    step : int
        Number of the batch in the epoch, from 0.
    size : int
        Number of rows of each net.
    x : Tensor of shape (n, size, ...)
        Features of the rows.
    target : Tensor of shape (n, size), (n, size, l) or (n, size, k)
        Class codes, labels or values of the rows.
    share : Tensor of shape (n, size); with labels (n, size, 1) or (n, size, l)
        Weights of the rows divided by the number of terms in the loss.
    """

    nets: slice
    step: int
    size: int
    x: Tensor
    target: Tensor
    share: Tensor


def streams_of(runs: Sequence[Run]) -> list[int]:
    """Give equal numbers to runs that see the same rows in the same order in this epoch."""
    known: dict[tuple[int, int, int], list[tuple[int, Tensor]]] = {}
    numbers = []
    count = 0
    for run in runs:
        order = run.order
        key = (id(run.array_rows.features), id(run.array_rows.given_targets), len(order))
        same = (n for n, other in known.get(key, []) if _equal(order, other))
        number = next(same, None)
        if number is None:
            number, count = count, count + 1
            known.setdefault(key, []).append((number, order))
        numbers.append(number)
    return numbers


def _equal(order: Tensor, other: Tensor) -> bool:
    """Return whether two orders are known to be equal, without waiting for a device."""
    return order is other or (order.device.type == "cpu" and torch.equal(order, other))


def batches(runs: Sequence[Run], batch_size: int) -> Iterator[Batch]:
    """Yield the batches of an epoch.

    Parameters
    ----------
    runs : sequence of Run
        Runs of the nets; their ``order`` holds the rows of the epoch.
    batch_size : int
        Number of rows of a batch; the last batch may have fewer, or one more.

    Yields
    ------
    Batch
        Batches in the order of the steps. Nets whose batches have another number of rows than
        those of their neighbours get separate batches.
    """
    sizes = [batch_sizes(len(run.order), batch_size) for run in runs]
    streams = streams_of(runs)
    changes = sorted({0, *map(len, sizes), *(size.count(batch_size) for size in sizes)})
    for first, stop in zip(changes, changes[1:], strict=False):
        present = [size[first] if first < len(size) else 0 for size in sizes]
        for rows, group in groupby(range(len(runs)), present.__getitem__):
            if rows:
                members = list(group)
                nets = slice(members[0], members[-1] + 1)
                yield from _segment(runs, streams, nets, first, stop, rows, batch_size)


def _segment(
    runs: Sequence[Run],
    streams: Sequence[int],
    nets: slice,
    first: int,
    stop: int,
    size: int,
    batch_size: int,
) -> Iterator[Batch]:
    """Yield the batches of one segment; all earlier batches must have been full."""
    members = runs[nets]
    distinct: dict[int, Run] = {}
    for number, run in zip(streams[nets], members, strict=True):
        distinct.setdefault(number, run)
    place = {number: i for i, number in enumerate(distinct)}
    which = None
    if len(distinct) < len(members):
        index = [place[number] for number in streams[nets]]
        which = torch.tensor(index, device=members[0].device)
    row_bytes = members[0].array_rows.features.row_bytes
    n_steps = max(1, BLOCK_BYTES // (row_bytes * size * len(distinct)))
    for begin in range(first, stop, n_steps):
        n = min(n_steps, stop - begin)
        rows = slice(begin * batch_size, begin * batch_size + n * size)
        x, target = _gather(list(distinct.values()), rows, n)
        share = _shares(members, rows, n, target)
        for i in range(n):
            x_i, target_i = x[i], target[i]
            if which is not None:
                x_i, target_i = x_i.index_select(0, which), target_i.index_select(0, which)
            target_i, share_i = _of_labels(members, target_i, share[i])
            yield Batch(nets, begin + i, size, x_i, target_i, share_i)


def _gather(runs: Sequence[Run], rows: slice, n_steps: int) -> tuple[Tensor, Tensor]:
    """Gather features and targets of ``n_steps`` batches, ``(n_steps, n_runs, size, ...)``."""
    orders = [run.order[rows].reshape(n_steps, -1) for run in runs]
    features = {id(run.array_rows.features) for run in runs}
    targets = {id(run.array_rows.given_targets) for run in runs}
    if len(features) == len(targets) == 1:
        index = torch.stack(orders, dim=1)
        shape, flat = index.shape, index.reshape(-1)
        x = _dense(runs[0].array_rows.features.gather(flat), len(flat))
        y = _dense(runs[0].array_rows.targets.gather(flat), len(flat))
        return x.reshape(*shape, *x.shape[1:]), y.reshape(*shape, *y.shape[1:])
    pairs = [_gather([run], rows, n_steps) for run in runs]
    return torch.cat([x for x, _ in pairs], dim=1), torch.cat([y for _, y in pairs], dim=1)


def _dense(block: Any, n: int) -> Tensor:
    """Turn a block of rows into one tensor."""
    return block if isinstance(block, Tensor) else next(iter(block.split([n])))


def _shares(runs: Sequence[Run], rows: slice, n_steps: int, target: Tensor) -> Tensor:
    """Divide the weights of the rows by the number of terms, ``(n_steps, n_runs, size)``."""
    size = (rows.stop - rows.start) // n_steps
    n_terms = size * max(runs[0].array_rows.targets.n_labels, 1)
    one = torch.ones((), dtype=runs[0].array_rows.dtype, device=target.device)
    if all(run.array_rows.weights is None for run in runs):
        return torch.div(one, n_terms).expand(n_steps, len(runs), size)
    even = one.expand(n_steps, size)
    weights = [
        even
        if run.array_rows.weights is None
        else run.array_rows.weights.index_select(0, run.order[rows]).reshape(n_steps, size)
        for run in runs
    ]
    return torch.div(torch.stack(weights, dim=1), n_terms)


def _of_labels(runs: Sequence[Run], labels: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Expand the shares of the rows to shares of their labels, if the targets are labels."""
    if not runs[0].array_rows.targets.n_labels:
        return labels, share
    share = share.unsqueeze(2)
    if any(run.array_rows.has_unknown for run in runs):
        labels, share = known_terms(labels, share)
    weights = [run.array_rows.label_weight for run in runs]
    if all(weight is None for weight in weights):
        return labels, share
    ones = torch.ones((labels.shape[2], 2), dtype=share.dtype, device=share.device)
    given = torch.stack([ones if weight is None else weight for weight in weights])
    absent, present = given.unsqueeze(1).unbind(3)
    return labels, share * torch.addcmul(absent, present - absent, labels)
