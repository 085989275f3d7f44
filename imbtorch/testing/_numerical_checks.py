"""Checks of the numbers of the softmax form: exact, finite and differentiable."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from imbtorch.testing._contract import Check, check, close, require
from imbtorch.testing._loss_inputs import (
    COUNTS,
    batch,
    extreme,
    prepared,
    rows_of,
    value_and_gradient,
)

__all__ = ["NUMERICAL_CHECKS", "check_autocast", "require_finite"]

_LOG_SPACE = (
    "Compute in log space: torch.log_softmax(logits, dim=1) instead of the logarithm of a softmax, "
    "torch.logsumexp instead of the logarithm of a sum, and no clamp that ends the gradient."
)


def require_finite(values: Tensor, grad: Tensor, where: str) -> None:
    """Require finite values and gradients."""
    require(values.isfinite().all(), f"values {where} are not finite: {values.tolist()}.")
    require(grad.isfinite().all(), f"gradients {where} are not finite.")


@check(
    "Detach nothing that the value depends on; where a factor is held constant on purpose, set "
    "_gradcheck_params to hyper-parameters that turn it off."
)
def check_gradient(loss: Any) -> None:
    """Check that the gradient of autograd agrees with finite differences."""
    logits, target = batch(6)
    loss = prepared(loss, params=loss._gradcheck_params)
    torch.autograd.gradcheck(lambda z: loss.per_sample(z, target), logits.requires_grad_())


@check(_LOG_SPACE)
def check_extreme_logits(loss: Any) -> None:
    """Check that value and gradient are finite for logits of +-1e4, as after a too large step."""
    for n_classes in (2, 3):
        logits, target = extreme(n_classes)
        values, grad = rows_of(prepared(loss, COUNTS[:n_classes]), logits, target)
        require_finite(values, grad, "of logits up to 1e4")
        require((values >= 0).all(), "values of logits up to 1e4 are negative.")


@check(_LOG_SPACE)
def check_float32_equals_float64(loss: Any) -> None:
    """Check that value and gradient are as exact in float32 as in float64."""
    for n_classes in (2, 3):
        ready = prepared(loss, COUNTS[:n_classes])
        logits, target = extreme(n_classes)
        for scale in (1.0, 0.1, 0.01):
            rounding = scale * 1e4 * torch.finfo(torch.float32).eps  # of the logits themselves
            rounding *= getattr(loss, "scale", 1)  # of the margin losses
            single = rows_of(ready, scale * logits, target)
            double = rows_of(ready, (scale * logits).double(), target)
            for what, actual, expected in zip(("value", "gradient"), single, double, strict=True):
                close(
                    actual.double(),
                    expected,
                    f"the {what} in float32 is not that in float64, for logits up to "
                    f"{scale * 1e4:g}.",
                    rtol=1e-4,
                    atol=1e-5 + rounding,
                )


@check(_LOG_SPACE)
def check_half_precision(loss: Any) -> None:
    """Check that half-precision logits are computed with in single precision."""
    loss = prepared(loss, params={"reduction": "none"})
    for dtype in (torch.bfloat16, torch.float16):
        logits, target = batch(dtype=dtype)
        values = loss(logits, target)
        require(values.dtype == torch.float32, f"values of {dtype} logits are {values.dtype}.")
        close(values, loss(logits.float(), target), f"values of {dtype} logits are inexact.")
        far, target = extreme(3, dtype)
        require_finite(
            *value_and_gradient(lambda z, y=target: loss(z, y), far),  # type: ignore[misc]
            f"of extreme {dtype} logits",
        )


@check(_LOG_SPACE)
def check_autocast(loss: Any) -> None:
    """Check that value and gradient are exact and finite under autocast."""
    # float16 overflows in the backward of the linear layer, whatever the loss
    for dtype, scale in ((torch.bfloat16, 1e-4), (torch.bfloat16, 1.0), (torch.float16, 1e-4)):
        inputs, target = extreme(3)
        module = nn.Linear(3, 3, bias=False)
        nn.init.eye_(module.weight)
        with torch.autocast("cpu", dtype=dtype):
            logits = module(scale * inputs)
            value = prepared(loss)(logits, target)
        where = f"under autocast to {dtype}"
        close(value, prepared(loss)(logits, target), f"the value {where} is inexact.")
        value.backward()
        assert isinstance(module.weight.grad, Tensor)
        require_finite(value, module.weight.grad, where)


NUMERICAL_CHECKS: list[Check] = [
    check_gradient,
    check_extreme_logits,
    check_float32_equals_float64,
    check_half_precision,
    check_autocast,
]
