"""Rows of an IterableDataset: only their class counts are known before the first row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imbtorch._data.datasets_as_rows import DatasetStream
from imbtorch._fit.parameters import NetParameters
from imbtorch._fit.sources.arrays import ignored_label
from imbtorch._fit.sources.base import RowSource, Seeds, refuse_ignored_class
from imbtorch._fit.table import chosen_features, learned_encoder
from imbtorch._tasks import Balance, Classes, ClassificationTask, Labels, RowWeights
from imbtorch.features import FeatureEncoder, TableColumns
from imbtorch.features._encoder import EncodedRows
from imbtorch.training.data.rows import RowOrder, Rows
from imbtorch.training.data.stream import StreamOrder, StreamRows
from imbtorch.training.distributed import launched
from imbtorch.training.net import Net

__all__ = ["StreamSource"]

Floats = NDArray[np.float64]


class StreamSource(RowSource):
    """Rows in the order in which an IterableDataset yields them, once per epoch.

    Parameters
    ----------
    stream : DatasetStream
        The Dataset and the counts of its classes.
    """

    task: ClassificationTask

    def __init__(self, stream: DatasetStream) -> None:
        self.X = self.stream = stream
        self.counted = stream.counts
        self.n_given = self.counted.n_rows
        self.given = stream.dataset, None

    def read(self, estimator: NetParameters) -> None:
        """Read the classes from their counts, and the shape of a row from the first ones."""
        _refuse_choices(estimator)
        classes = self.counted.classes
        if not self.counted.multilabel:
            refuse_ignored_class(classes, ignored_label(estimator.loss))
        self.task = Labels(len(classes)) if self.counted.multilabel else Classes(classes)
        if self.resumed:
            self.task.check_continues(estimator.net_.task, "class_counts")
        estimator._check_shape(self.stream.input_shape, reset=not self.resumed)
        if not self.resumed:
            estimator.__dict__.pop("feature_names_in_", None)
            self.features = chosen_features(estimator, self.stream)
            estimator._columns = None
            if self.features is not None:
                estimator._columns = TableColumns(self.stream.shape[1])
        self.columns = estimator._columns

    def encode(self, dtype: torch.dtype) -> None:
        """Learn from the first rows how the columns of a table are encoded."""
        if self.columns is None:
            return
        if self.encoder is None:
            assert isinstance(self.features, FeatureEncoder)
            assert not isinstance(self.columns, dict)
            weights = self.stream.first_weights
            rows = None if weights is None else np.flatnonzero(weights > 0)
            self.encoder = learned_encoder(
                self.features, self.columns, self.stream[:], rows, weights, dtype
            )
        self.X = EncodedRows(self.stream, self.encoder)

    def all_labels(self) -> list[Any]:
        """Return the classes, which are stated before the first row."""
        labels: list[Any] = self.task.classes.tolist()
        return labels

    def identity(self) -> dict[str, str]:
        """Describe the stream by its first rows, its counts, and how many workers order it."""
        return {"num_workers": str(self.stream.num_workers), **self.stream.identity()}

    def hold_out(self, fraction: float, seed: int) -> None:
        """Hold out nothing: ``read`` has refused it."""

    def counts(self) -> Floats:
        """Return the counts that were given."""
        return self.counted.counts

    def sample(self, estimator: NetParameters, batch_size: int, seeds: Seeds) -> Floats:
        """Choose nothing: ``read`` has refused samplers."""
        return self.counts()

    def weigh(self, balance: Any, dtype: str) -> RowWeights:
        """Return one factor per class; rows meet their own weights when they are read."""
        factors: RowWeights = balance.stream_factors(self.counted.n_rows, self.counted.total, dtype)
        return factors

    def rows(
        self, net: Net, balance: Balance, weights: RowWeights, seed: int
    ) -> tuple[Rows, RowOrder]:
        """Return rows that come in the order of the Dataset."""
        device = torch.device(net.device)
        parts = net.dtype, device, net.dtype_of(self.X), self.encoder
        rows = StreamRows(self.stream, self.task, weights, *parts)
        return rows, StreamOrder(len(rows))

    def attributes(self) -> dict[str, Any]:
        """Return what a classifier remembers of its rows."""
        return {"_n_rows_seen": self.counted.n_rows, "_counts_are_stated_": False}


def _refuse_choices(estimator: NetParameters) -> None:
    """Raise ValueError for parameters that choose rows, because none can be chosen."""
    if estimator.sampler is not None:
        raise ValueError(
            f"sampler={estimator.sampler!r} chooses rows by position, and an IterableDataset has "
            "none: drop or repeat rows in its __iter__ (and count what it yields), use "
            "class_weight or another loss, or a map-style Dataset."
        )
    if estimator.data_parallel and launched() > 1:
        raise ValueError(
            "data_parallel=True divides rows by position, and an IterableDataset has none: "
            "use a map-style Dataset, or data_parallel=False."
        )
    if estimator.early_stopping or estimator.validation_fraction is not None:
        raise ValueError(
            "An IterableDataset cannot be split for validation: use early_stopping=False and "
            "validation_fraction=None, or a map-style Dataset; partial_fit on chunks lets you "
            "score data of your own in between."
        )
