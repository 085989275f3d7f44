"""What an estimator shows of its net once it is fitted."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["FittedNetMixin"]


class FittedNetMixin:
    """Fitted attributes that are the net's."""

    net_: Any

    @property
    def module_(self) -> nn.Module:
        """The trained module, on ``device_``."""
        module: nn.Module = self.net_.module_
        return module

    @property
    def loss_(self) -> Any:
        """The loss as prepared for the training data."""
        return self.net_.criterion_

    @property
    def history_(self) -> Any:
        """Skorch's history: one record per epoch."""
        return self.net_.history_

    @property
    def n_iter_(self) -> int:
        """Number of epochs trained."""
        return len(self.net_.history_)

    @property
    def device_(self) -> str:
        """Where the module lies."""
        return str(self.net_.device)
