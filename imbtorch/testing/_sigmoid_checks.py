"""Checks of the sigmoid form: logits ``(n, l)`` against labels of 0 and 1."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch.testing._contract import Check, check, close, require
from imbtorch.testing._loss_inputs import (
    CLASS_WEIGHT,
    LABEL_COUNTS,
    labels,
    prepared,
    sigmoid_extreme,
    value_and_gradient,
)

__all__ = ["NEUTRAL_SIGMOID_CHECKS", "SIGMOID_CHECKS"]

_LOG_SPACE = (
    "Compute in log space: torch.nn.functional.logsigmoid(logits) instead of the logarithm of a "
    "sigmoid, and no clamp that ends the gradient."
)


@check("Return one value >= 0 per label; make new tensors like the logits, never of a fixed dtype.")
def check_sigmoid_rows(loss: Any) -> None:
    """Check that ``per_label`` returns one value per label, in the dtype of the logits."""
    for dtype in (torch.float64, torch.float32):
        logits, target = labels(dtype=dtype)
        values = prepared(loss, LABEL_COUNTS).per_label(logits, target)
        kinds = (values.shape, values.dtype), (logits.shape, dtype)
        require(kinds[0] == kinds[1], f"per_label returns {kinds[0]} for logits of {kinds[1]}.")
        require(values.isfinite().all(), "values of moderate logits are not finite.")
        require((values >= 0).all(), f"values are negative: {values.tolist()}.")
        rows = prepared(loss, LABEL_COUNTS, params={"reduction": "none"})
        for kind in (torch.int64, torch.bool, torch.float32):
            same = torch.equal(rows(logits, target.to(kind)), values)
            require(same, f"a target of {kind} gives other values.")


@check("Detach nothing that the value depends on.")
def check_sigmoid_gradient(loss: Any) -> None:
    """Check that the gradient of autograd agrees with finite differences."""
    logits, target = labels(4)
    loss = prepared(loss, LABEL_COUNTS)
    torch.autograd.gradcheck(lambda z: loss.per_label(z, target), logits.requires_grad_())


@check(_LOG_SPACE)
def check_sigmoid_extreme_logits(loss: Any) -> None:
    """Check that value and gradient are finite, and as exact in float32 as in float64."""
    loss = prepared(loss, LABEL_COUNTS[:2])
    logits, target = sigmoid_extreme()
    for scale in (1.0, 0.1, 0.01):
        single = value_and_gradient(lambda z: loss.per_label(z, target), scale * logits)
        double = value_and_gradient(
            lambda z: loss.per_label(z, target.double()), (scale * logits).double()
        )
        for what, actual, expected in zip(("value", "gradient"), single, double, strict=True):
            require(actual.isfinite().all(), f"the {what} of logits up to 1e4 is not finite.")
            message = f"the {what} in float32 is not that in float64."
            close(actual.double(), expected, message, rtol=1e-4, atol=1e-5)


@check("Compute each value of per_label from its own row; keep counts per label in their order.")
def check_sigmoid_permutation(loss: Any) -> None:
    """Check that the order of the rows and that of the labels carry no information."""
    logits, target = labels()
    rows = torch.randperm(len(target), generator=torch.Generator().manual_seed(3))
    order = torch.tensor([2, 0, 1])
    values = prepared(loss, LABEL_COUNTS).per_label(logits, target)
    shuffled = prepared(loss, torch.tensor(LABEL_COUNTS)[order]).per_label(
        logits[rows][:, order], target[rows][:, order]
    )
    close(shuffled, values[rows][:, order], "shuffled rows and labels have other values.")


@check("Do not override forward: it multiplies and reduces what per_label returns.")
def check_sigmoid_weights(loss: Any) -> None:
    """Check that label weights and row weights are multiplied, and reductions are correct."""
    logits, target = labels()
    row_weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype).unsqueeze(1)
    weight = torch.tensor(CLASS_WEIGHT, dtype=logits.dtype) * row_weight
    values = prepared(loss, LABEL_COUNTS).per_label(logits, target) * weight
    expected = {
        "none": values,
        "sum": values.sum(),
        "mean": values.mean(),
        "weighted_mean": values.sum() / weight.sum(),
    }
    for reduction, value in expected.items():
        ready = prepared(
            loss, LABEL_COUNTS, params={"weight": CLASS_WEIGHT, "reduction": reduction}
        )
        for given in (target, target.long()):
            close(ready(logits, given, row_weight), value, f"reduction={reduction!r} is wrong.")


@check("Do not override forward: it flattens extra dimensions before it calls per_label.")
def check_sigmoid_extra_dimensions(loss: Any) -> None:
    """Check that logits ``(n, l, d)`` are read as ``n d`` rows of l labels."""
    logits, target = labels(8)
    shaped = [values.reshape(2, 4, 3).movedim(-1, 1) for values in (logits, target)]
    for weight in (None, CLASS_WEIGHT):
        ready = prepared(loss, LABEL_COUNTS, params={"weight": weight, "reduction": "none"})
        value = ready(*shaped).movedim(1, -1).reshape(-1, 3)
        close(value, ready(logits, target), "values of (n, l, d) are not those of n d rows.")


@check("Correct per_label, or set _neutral_params to None where it never is cross-entropy.")
def check_neutral_sigmoid_is_bce(loss: Any) -> None:
    """Check that the sigmoid form at neutral parameters is binary cross-entropy."""
    for logits, target in (labels(), sigmoid_extreme(torch.float64)):
        neutral = prepared(loss, LABEL_COUNTS[: logits.shape[1]], params=loss._neutral_params)

        def own(z: Tensor, target: Tensor = target, neutral: Any = neutral) -> Any:
            return neutral.per_label(z, target)

        def reference(z: Tensor, target: Tensor = target) -> Tensor:
            return F.binary_cross_entropy_with_logits(z, target, reduction="none")

        close(
            value_and_gradient(own, logits),
            value_and_gradient(reference, logits),
            f"it is not binary cross-entropy at its neutral parameters {loss._neutral_params}.",
            rtol=1e-10,
            atol=1e-12,
        )


SIGMOID_CHECKS: list[Check] = [
    check_sigmoid_rows,
    check_sigmoid_gradient,
    check_sigmoid_extreme_logits,
    check_sigmoid_permutation,
    check_sigmoid_weights,
    check_sigmoid_extra_dimensions,
]
NEUTRAL_SIGMOID_CHECKS: list[Check] = [check_neutral_sigmoid_is_bce]
