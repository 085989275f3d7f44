"""Layers that look at the targets: they see each training batch, and the end of each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from imbtorch.training.callbacks import Monitor
from imbtorch.training.data.rows import Rows

__all__ = ["observed"]


class _ObservedRows:
    """Rows whose targets some layers see before each batch."""

    def __init__(self, rows: Rows, layers: list[Any]) -> None:
        self.rows, self.layers = rows, layers
        self.features, self.mixing = rows.features, rows.mixing

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def can_stay_sparse(self) -> bool:
        return self.rows.can_stay_sparse

    def set_weights(
        self, weights: NDArray[Any] | None, label_weight: NDArray[Any] | None = None
    ) -> None:
        self.rows.set_weights(weights, label_weight)

    def batches(
        self, order: Tensor, batch_size: int, *, sparse: bool = False
    ) -> Iterator[tuple[Any, Any, Tensor]]:
        for batch in self.rows.batches(order, batch_size, sparse=sparse):
            for layer in self.layers:
                layer.observe(batch[1])
            yield batch


class _EpochEnd(Monitor):
    """Tell the layers that an epoch has ended."""

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers

    def epoch_end(self, net: Any, record: dict[str, Any]) -> bool:
        for layer in self.layers:
            layer.end_epoch()
        return False


def observed(rows: Rows, monitors: list[Monitor], layers: list[Any]) -> tuple[Rows, list[Monitor]]:
    """Let layers see the targets of the training.

    Parameters
    ----------
    rows : Rows
        Training rows.
    monitors : list of Monitor
        Monitors of the training.
    layers : list of torch.nn.Module
        Layers that have ``observe(target)`` and ``end_epoch()``, such as
        :class:`imbtorch.feature_smoothing.FeatureSmoothing`; see :meth:`Net.observing_layers`.

    Returns
    -------
    Rows, list of Monitor
        Rows and monitors to train with.
    """
    return _ObservedRows(rows, layers), [_EpochEnd(layers), *monitors]
