"""Read batches with a torch DataLoader while the net trains on the batch before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from imbtorch._common.inputs import InputBatch
from imbtorch._common.seed import drawn_apart
from imbtorch._data.batch_loader import BatchLoader
from imbtorch._data.datasets_as_rows import DatasetReader

__all__ = ["DatasetFeatures", "cast_batch", "cast_tensor", "inexact", "open_stream", "too_large"]


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


def open_stream(
    dataset: Any,
    collate: Any,
    device: torch.device,
    num_workers: int,
    seed: int,
    batch_size: int,
) -> Iterator[Any]:
    """Yield the batches of one pass over an IterableDataset.

    The loader has random generators of its own: if it drew numbers from torch's default generator,
    dropout would get other numbers and the model would change.

    Parameters
    ----------
    dataset : torch IterableDataset
        Dataset to read.
    collate : callable(items)
        Function that makes a batch of items.
    device : torch.device
        Device that the batches will be moved to.
    num_workers : int
        Number of processes that read; 0 reads in this process.
    seed : int
        Seed of the pass, from which torch seeds the workers.
    batch_size : int
        Number of items of a batch, in the order of the dataset.
    """
    loader: DataLoader[Any] = DataLoader(
        dataset,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(seed),
        batch_size=batch_size,
    )
    return iter(loader) if num_workers else drawn_apart(loader, seed)


class DatasetFeatures:
    """Rows of a map-style Dataset; see :class:`imbtorch.training.data.features.Features`.

    Parameters
    ----------
    rows : DatasetReader
        Rows of the Dataset.
    dtype : torch.dtype, or dict
        Dtype of the rows: the one to compute in, or int64; of several inputs one each.
    device : torch.device
        Device to compute on.
    """

    blocks = 2**40  # a block holds only positions: the rows are read batch by batch

    def __init__(self, rows: DatasetReader, dtype: Any, device: torch.device) -> None:
        self.rows, self.dtype, self.device = rows, dtype, device
        self.row_bytes, self.seed = rows.row_bytes, 0
        self.load = BatchLoader(rows.read, rows.num_workers, pin_memory=device.type == "cuda")

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    @property
    def reads_ahead(self) -> bool:
        """Whether other processes read the rows, if they are asked for as a block."""
        return self.rows.num_workers > 0

    def begin_epoch(self, epoch: int, *, may_have_changed: bool) -> None:
        """Let items that draw random numbers draw others than in the epochs before.

        Parameters
        ----------
        epoch : int
            Number of the epoch.
        may_have_changed : bool
            Whether code of the user runs between the epochs, which may change the Dataset: workers
            then start anew, because they hold copies of it.
        """
        self.seed = (torch.initial_seed() + epoch) % 2**62
        self.load.keeps_workers = not may_have_changed

    def gather(self, index: Tensor) -> _Unread:
        """Return the rows at these positions, which are read when they are split into batches."""
        return _Unread(self, index)

    def slice(self, start: int, stop: int) -> Any:
        """Read neighbouring rows and move them to the device."""
        return self.send(self.rows.read(list(range(start, stop)), self.seed))

    def same_as(self, other: Any) -> bool:
        """Return whether these are known to be the same rows."""
        return isinstance(other, DatasetFeatures) and other.rows.dataset is self.rows.dataset

    def send(self, x: Any) -> Any:
        """Move a batch to the device, in the dtype in which the module gets it."""
        return cast_batch(x, self.dtype).to(self.device, non_blocking=True)


class _Unread:
    """Rows that are read when they are split into batches."""

    def __init__(self, features: DatasetFeatures, index: Tensor) -> None:
        self.features, self.index = features, index

    def split(self, sizes: Any) -> Iterator[Any]:
        features = self.features
        batches = self.index.cpu().split(sizes)
        if len(batches) == 1:  # starting workers for a single batch would take longer
            yield features.send(features.rows.read(batches[0].tolist(), features.seed))
            return
        yield from map(features.send, features.load(batches, features.seed))
