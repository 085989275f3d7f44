"""Read batches with a torch DataLoader while the net trains on the batch before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from imbtorch._common.inputs import InputBatch
from imbtorch._data.datasets_as_rows import DatasetRows

__all__ = ["DatasetFeatures", "cast_batch", "cast_tensor", "inexact", "open_loader", "too_large"]


def too_large(dtype: str) -> str:
    """Write the message for finite numbers that a dtype cannot hold."""
    return (
        f"X has values too large for dtype {dtype}: they became infinity. Scale X "
        '(StandardScaler), or use dtype="float64".'
    )


def inexact(name: str, value: int, dtype: str) -> str:
    """Write the message for integers that change when they are stored as floats."""
    wider = "" if dtype == "float64" else 'use dtype="float64", or '
    return (
        f"{name} holds integers that {dtype} cannot hold, such as {value}: different ones would "
        "become equal. If they are identifiers, encode them first, for example with "
        "OrdinalEncoder; or let the module have them as int64, by takes_integers = True in its "
        f"class and X of an integer type. If they are quantities, {wider}let X.astype(float) round "
        "them."
    )


def cast_batch(x: Any, dtype: Any) -> Any:
    """Convert finite rows, or those of several inputs, to the dtypes in which a module gets them.

    Raises
    ------
    ValueError
        See :func:`cast_tensor`.
    """
    if isinstance(x, InputBatch):
        return InputBatch({key: cast_tensor(p, dtype[key]) for key, p in x.parts.items()})
    return cast_tensor(x, dtype)


def cast_tensor(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert finite rows to another dtype.

    Raises
    ------
    ValueError
        If ``dtype`` cannot hold a value: it is too large, or an integer that would be rounded, or
        a float that is no whole number where integers are wanted.
    """
    if x.dtype == dtype:
        return x
    converted = x.to(dtype)
    if not dtype.is_floating_point:
        _check_whole(x, converted)
    elif x.is_floating_point():
        # NaN is a gap, which only rows that will be encoded have
        finite = torch.isfinite(converted.sum(dtype=torch.float64))
        if not finite and torch.isinf(converted).any():
            raise ValueError(too_large(str(dtype).removeprefix("torch.")))
    elif x.element_size() >= 4:  # every float type holds smaller integers
        whole = x.to(torch.int64)  # torch compares no unsigned integers
        changed = converted.to(torch.int64) != whole
        if changed.any():
            name = str(dtype).removeprefix("torch.")
            raise ValueError(inexact("X", int(whole[changed][0]), name))
    return converted


def _check_whole(x: Tensor, converted: Tensor) -> None:
    """Raise ValueError if rows have changed, or may be rounded already, when they become int64."""
    if not x.is_floating_point():
        if x.dtype == torch.uint64 and (converted < 0).any():
            raise ValueError("X holds integers above 2**63 - 1, which int64 cannot hold.")
        return
    first_rounded = 2 / torch.finfo(x.dtype).eps
    wrong = (converted != x) | (x.abs() >= first_rounded)
    if wrong.any():
        value = x[wrong][0].item()
        what = (
            "values that are not whole numbers"
            if value != round(value)
            else "floats so large that different whole numbers may have become equal"
        )
        raise ValueError(
            f"X holds {what}, such as {value}, but the module gets integers (int64). Give X of an "
            "integer type; of samplers of imbalanced-learn use one that only draws rows, such as "
            "RandomOverSampler, because others make values in between. If the module wants "
            "floats, set takes_integers = False in its class."
        )


def open_loader(
    dataset: Any,
    collate: Any,
    device: torch.device,
    num_workers: int,
    epoch: int,
    *,
    batch_size: int = 1,
    batches: list[list[int]] | None = None,
) -> DataLoader[Any]:
    """Build a loader for one pass over a dataset.

    The loader has a random generator of its own: if it drew numbers from torch's default
    generator, dropout would get other numbers and the model would change. The seed of the training
    and ``epoch`` determine the seeds of the workers.

    Parameters
    ----------
    dataset : torch Dataset
        Dataset to read.
    collate : callable(items)
        Function that makes a batch of items.
    device : torch.device
        Device that the batches will be moved to.
    num_workers : int
        Number of processes that read; 0 reads in this process.
    epoch : int
        Number of the pass.
    batch_size : int, default=1
        Number of items of a batch, in the order of the dataset.
    batches : list of list of int or None, default=None
        Positions of the items of each batch, instead of ``batch_size``.
    """
    seed = (torch.initial_seed() + epoch) % 2**63
    return DataLoader(
        dataset,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(seed),
        batch_size=batch_size,
        batch_sampler=batches,
    )


class DatasetFeatures:
    """Rows of a map-style Dataset; see :class:`imbtorch.training.data.features.Features`.

    Parameters
    ----------
    rows : DatasetRows
        Rows of the Dataset.
    dtype : torch.dtype, or dict
        Dtype of the rows: the one to compute in, or int64; of several inputs one each.
    device : torch.device
        Device to compute on.
    """

    row_bytes = 1  # a block holds only positions: the rows are read batch by batch
    blocks = 1

    def __init__(self, rows: DatasetRows, dtype: Any, device: torch.device) -> None:
        self.rows, self.dtype, self.device = rows, dtype, device
        self.passes = 0

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    def gather(self, index: Tensor) -> _Unread:
        """Return the rows at these positions, which are read when they are split into batches."""
        self.passes += 1
        return _Unread(self, index, self.passes)

    def slice(self, start: int, stop: int) -> Any:
        """Read neighbouring rows and move them to the device."""
        return self.send(self.rows.read(list(range(start, stop))))

    def same_as(self, other: Any) -> bool:
        """Return whether these are known to be the same rows."""
        return isinstance(other, DatasetFeatures) and other.rows.dataset is self.rows.dataset

    def send(self, x: Any) -> Any:
        """Move a batch to the device, in the dtype in which the module gets it."""
        return cast_batch(x, self.dtype).to(self.device, non_blocking=True)


class _Unread:
    """Rows that are read when they are split into batches."""

    def __init__(self, features: DatasetFeatures, index: Tensor, number: int) -> None:
        self.features, self.index, self.number = features, index, number

    def split(self, sizes: list[int]) -> Iterator[Any]:
        features, rows = self.features, self.features.rows
        if len(sizes) == 1:  # starting workers for a single batch would take longer
            yield features.send(rows.read(self.index.tolist()))
            return
        batches = [batch.tolist() for batch in self.index.cpu().split(sizes)]
        loader = open_loader(
            rows.dataset,
            rows.collate,
            features.device,
            rows.num_workers,
            self.number,
            batches=batches,
        )
        yield from map(features.send, loader)
