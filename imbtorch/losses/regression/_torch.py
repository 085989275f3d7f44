"""Adapter: torch's own losses of continuous targets, evaluated per element."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from torch import Tensor, nn

from imbtorch.losses.regression._base import BaseRegressionLoss, Floats

__all__ = ["TorchRegressionLoss", "adapt"]


class TorchRegressionLoss(BaseRegressionLoss):
    """One of torch's losses (or any elementwise module), evaluated per element.

    Parameters
    ----------
    loss : torch.nn.Module
        For instance ``torch.nn.SmoothL1Loss()``. Called with predictions and targets of shape
        ``(n, k)``, it must return values of that shape when its ``reduction`` is ``"none"``.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseRegressionLoss`; it replaces that of ``loss``.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses.regression import TorchRegressionLoss
    >>> loss = TorchRegressionLoss(torch.nn.SmoothL1Loss())
    >>> loss(torch.tensor([0.0, 2.0]), torch.tensor([3.0, 2.0]), torch.tensor([2.0, 1.0])).item()
    2.5
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"loss": [nn.Module]}

    def __init__(self, loss: nn.Module | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.loss = loss

    def __repr__(self) -> str:
        """Show the inner loss, in one line."""
        return f"TorchRegressionLoss({self.loss!r})"

    def _prepare(self, target: Floats, weight: Floats | None) -> None:
        self._elementwise()

    def per_output(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Loss of each element: ``(n, k), (n, k) -> (n, k)``."""
        values: Tensor = self._elementwise()(prediction, target)
        if values.shape != prediction.shape:
            raise ValueError(
                f"{type(self.loss).__name__} must return one value per element, shape "
                f"{tuple(prediction.shape)}; got {tuple(values.shape)}. Give it a 'reduction' "
                "attribute that accepts 'none', or subclass "
                "imbtorch.losses.regression.BaseRegressionLoss and write per_output."
            )
        return values

    def _elementwise(self) -> nn.Module:
        if not isinstance(self.loss, nn.Module):
            raise ValueError(
                f"TorchRegressionLoss wraps a torch loss such as nn.L1Loss(); got {self.loss!r}"
            )
        if getattr(self.loss, "reduction", "none") == "none":
            return self.loss
        inner = copy.copy(self.loss)
        inner.reduction = "none"  # type: ignore[assignment]
        return inner


def adapt(loss: nn.Module) -> TorchRegressionLoss:
    """Wrap a copy of a torch loss, and take over its reduction."""
    reduction = getattr(loss, "reduction", "mean")
    return TorchRegressionLoss(copy.deepcopy(loss), reduction=str(reduction))
