"""A Parquet file larger than memory: count its classes, then train on it batch by batch.

The script writes a small file to a temporary folder, or reads yours, whose columns are numbers
except for the one with the labels::

    python examples/parquet_stream.py
    python examples/parquet_stream.py --data rows.parquet --target label

Two ways to train: ``partial_fit`` on record batches, which is fast, and ``fit`` on an
``IterableDataset``, which has schedules and worker processes but handles each row in Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch.utils.data import IterableDataset, get_worker_info

from imbtorch import ImbalancedNetClassifier
from imbtorch.weights import ClassCounts, class_counts

Chunk = tuple[NDArray[Any], NDArray[Any]]


def write_file(path: Path, n_rows: int = 20_000) -> None:
    """Write rows of which 3% are frauds, in row groups."""
    rng = np.random.default_rng(0)
    fraud = rng.random(n_rows) < 0.03
    columns = {f"x{i}": rng.normal(size=n_rows) + fraud * (i < 2) for i in range(6)}
    columns["kind"] = np.where(fraud, "fraud", "genuine")
    pq.write_table(pa.table(columns), path, row_group_size=4096)


class ParquetRows(IterableDataset):  # type: ignore[type-arg]
    """Rows of a Parquet file; its row groups are shared among the workers."""

    def __init__(self, path: Path, target: str, batch_size: int = 1024) -> None:
        self.path, self.target, self.batch_size = path, target, batch_size

    def chunks(self) -> Iterator[Chunk]:
        """Yield ``(X, y)`` with many rows each."""
        file, worker = pq.ParquetFile(self.path), get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        groups = list(range(first, file.num_row_groups, step))
        for batch in file.iter_batches(self.batch_size, row_groups=groups):
            labels = batch.column(self.target).to_numpy(zero_copy_only=False)
            numbers = [
                column.to_numpy(zero_copy_only=False)
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
                if name != self.target
            ]
            yield np.column_stack(numbers).astype(np.float32), labels

    def counts(self) -> ClassCounts:
        """Count the labels; only their column of the file is read."""
        file = pq.ParquetFile(self.path)
        batches = file.iter_batches(self.batch_size, columns=[self.target])
        return class_counts(b.column(0).to_numpy(zero_copy_only=False) for b in batches)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield ``(x, y)`` row by row."""
        for X, y in self.chunks():
            yield from zip(X, y, strict=True)


def train(rows: ParquetRows, epochs: int, workers: int) -> dict[str, ImbalancedNetClassifier]:
    """Train both ways."""
    counts = rows.counts()
    print("counts: " + ", ".join(f"{label} {count:.0f}" for label, count in counts.items()))
    settings: dict[str, Any] = {
        "loss": "cross_entropy", "class_weight": "balanced", "target_prior": "train",
        "batch_size": 256, "random_state": 0,
    }  # fmt: skip
    by_chunk = ImbalancedNetClassifier(**settings)
    for _ in range(epochs):
        for X, y in rows.chunks():
            by_chunk.partial_fit(X, y, class_counts=counts)
    by_row = ImbalancedNetClassifier(**settings, max_epochs=epochs, num_workers=workers)
    by_row.fit(rows, class_counts=counts)
    return {"partial_fit on batches": by_chunk, "fit on an IterableDataset": by_row}


def main(argv: Sequence[str] | None = None) -> None:
    """Train, and print how well the rarest class is ranked on the same rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="Parquet file (default: a synthetic one)")
    parser.add_argument("--target", default="kind", help="column of the labels (%(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="passes over the rows (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=0, help="worker processes that read rows (%(default)s)"
    )
    args = parser.parse_args(argv)
    with TemporaryDirectory() as folder:
        path = args.data or Path(folder) / "rows.parquet"
        if args.data is None:
            write_file(path)
        rows = ParquetRows(path, args.target)
        for name, net in train(rows, args.epochs, args.workers).items():
            rare = int(net.class_counts_.argmin())
            seen = [(y, net.predict_proba(X)[:, rare]) for X, y in rows.chunks()]
            y, scores = (np.concatenate(parts) for parts in zip(*seen, strict=True))
            precision = average_precision_score(y == net.classes_[rare], scores)
            print(f"{name:<28}{precision:.3f} average precision, {scores.mean():.3f} mean")


if __name__ == "__main__":
    main()
