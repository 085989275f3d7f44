"""Inputs of the checks of losses: class counts, moderate logits, extreme logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from sklearn.base import clone
from torch import Tensor

__all__ = [
    "CLASS_WEIGHT",
    "COUNTS",
    "LABEL_COUNTS",
    "batch",
    "extreme",
    "labels",
    "prepared",
    "rows_of",
    "sigmoid_extreme",
    "value_and_gradient",
]

COUNTS = (100, 20, 5)
CLASS_WEIGHT = (1.0, 2.0, 5.0)
LABEL_COUNTS = ((25, 100), (105, 20), (120, 5))  # rows without and with each label
_LEVELS = (0, 200, -200, 1e4, -1e4)


def prepared(loss: Any, counts: Any = COUNTS, *, params: Mapping[str, Any] | None = None) -> Any:
    """Copy a loss, change some parameters of the copy, and prepare it as an estimator would."""
    return clone(loss).set_params(**(params or {})).prepare(counts)


def batch(
    n: int = 12, n_classes: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Make moderate logits, and a target in which every class occurs."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, n_classes, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.arange(n) % n_classes


def labels(
    n: int = 8, n_labels: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Make moderate logits and a target of 0 and 1 of the same shape, for the sigmoid form."""
    logits, _ = batch(n, n_labels, dtype)
    generator = torch.Generator().manual_seed(1)
    return logits, torch.randint(2, (n, n_labels), generator=generator).to(dtype)


def extreme(n_classes: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Combine logits of 0, +-200 and +-1e4 in all ways, with every target."""
    levels = torch.tensor(_LEVELS, dtype=dtype)
    rows = torch.cartesian_prod(*[levels] * n_classes)
    target = torch.arange(n_classes).repeat(len(rows))
    return rows.repeat_interleave(n_classes, dim=0), target


def sigmoid_extreme(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Make logits of 0, +-200 and +-1e4 of two labels, with each target of 0 and 1."""
    logits = torch.tensor(_LEVELS, dtype=dtype).repeat(4, 2).T
    target = torch.tensor([[0, 0, 1, 1]], dtype=dtype).expand_as(logits)
    return logits.reshape(-1, 2), target.reshape(-1, 2)


def value_and_gradient(
    function: Callable[[Tensor], Tensor], logits: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the values of ``function(logits)``, and the gradient of their sum."""
    logits = logits.detach().clone().requires_grad_()
    values = function(logits)
    (grad,) = torch.autograd.grad(values.sum(), logits)
    return values.detach(), grad


def rows_of(loss: Any, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the values and the gradient of ``per_sample``."""
    return value_and_gradient(lambda z: torch.as_tensor(loss.per_sample(z, target)), logits)
