"""Layers that look at the targets: told those of each training batch, and when an epoch ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from imbtorch.training.callbacks import Monitor
from imbtorch.training.data.rows import Rows

__all__ = ["observed", "observing_layers"]


def observing_layers(module: nn.Module) -> list[Any]:
    """Find the layers that have ``observe(target)`` and ``end_epoch()``.

    Parameters
    ----------
    module : torch.nn.Module
        To be trained.

    Returns
    -------
    list of torch.nn.Module
        Such as :class:`imbtorch.feature_smoothing.FeatureSmoothing`.
    """
    return [
        layer
        for layer in module.modules()
        if callable(getattr(layer, "observe", None)) and callable(getattr(layer, "end_epoch", None))
    ]


class _ObservedRows(Rows):
    """Rows whose targets some layers see before each batch."""

    def __init__(self, rows: Rows, layers: list[Any]) -> None:
        self.__dict__.update(vars(rows))
        self.rows, self.layers = rows, layers

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def can_stay_sparse(self) -> bool:
        return self.rows.can_stay_sparse

    def set_weights(
        self, weights: NDArray[Any] | None, label_weight: NDArray[Any] | None = None
    ) -> None:
        self.rows.set_weights(weights, label_weight)
        self.__dict__.update(vars(self.rows))

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


def observed(rows: Rows, monitors: list[Monitor], module: nn.Module) -> tuple[Rows, list[Monitor]]:
    """Let the layers of a module that ask for it see the targets of the training.

    Parameters
    ----------
    rows : Rows
        Training rows.
    monitors : list of Monitor
        What looks at each epoch.
    module : torch.nn.Module
        To be trained.

    Returns
    -------
    Rows, list of Monitor
        Those given, where there is no such layer.
    """
    layers = observing_layers(module)
    if not layers:
        return rows, monitors
    return _ObservedRows(rows, layers), [_EpochEnd(layers), *monitors]
