"""Inputs of the checks of losses of the whole batch, and two requirements that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from sklearn.base import clone
from torch import Tensor

from imbtorch.testing import _loss_inputs
from imbtorch.testing._contract import require
from imbtorch.testing._loss_inputs import COUNTS, batch, labels, value_and_gradient

__all__ = ["forgetful", "forms", "value_of", "prepared", "require_finite", "require_nothing"]


def forgetful(loss: Any) -> Any:
    """Copy a loss, without its memory of earlier batches."""
    loss = clone(loss)
    return loss.set_params(queue_size=0) if hasattr(loss, "queue_size") else loss


def prepared(loss: Any, counts: Any = COUNTS, *, params: Mapping[str, Any] | None = None) -> Any:
    """Copy a loss without its memory, change some parameters of the copy, and prepare it."""
    return _loss_inputs.prepared(forgetful(loss), counts, params=params)


def forms(n: int = 12) -> list[tuple[Tensor, Tensor]]:
    """Make logits and target of two classes, of three, and of three labels."""
    return [batch(n, 2), batch(n), labels(n)]


def value_of(loss: Any, target: Tensor, weight: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Make the value of the loss a function of the logits, for given target and weights."""
    return lambda logits: torch.as_tensor(loss(logits, target, weight))


def require_finite(results: tuple[Tensor, Tensor], where: str) -> None:
    """Require a finite value and gradient."""
    for what, result in zip(("value", "gradient"), results, strict=True):
        require(result.isfinite().all(), f"the {what} {where} is not finite.")


def require_nothing(
    loss: Any, logits: Tensor, target: Tensor, weight: Tensor | None = None, *, where: str
) -> None:
    """Require the value 0 and a gradient of 0."""
    value, grad = value_and_gradient(value_of(loss, target, weight), logits)
    require((value == 0).all(), f"the value {where} is {value.tolist()}, not 0.")
    require((grad == 0).all(), f"the gradient {where} is not 0.")
