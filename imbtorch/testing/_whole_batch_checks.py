"""Checks of losses of the whole batch, which have one value per column, not per row.

What a loss remembers of earlier batches is not checked: a loss with a parameter ``queue_size`` is
checked without its memory.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from sklearn.base import clone

from imbtorch.losses._cross_entropy import CrossEntropyLoss
from imbtorch.testing._batch_inputs import forgetful, forms, prepared, require_finite, value_of
from imbtorch.testing._batch_weight_checks import BATCH_WEIGHT_CHECKS
from imbtorch.testing._buffer_checks import BUFFER_CHECKS
from imbtorch.testing._contract import Check, check, close, require
from imbtorch.testing._loss_inputs import (
    CLASS_WEIGHT,
    COUNTS,
    batch,
    extreme,
    labels,
    value_and_gradient,
)
from imbtorch.testing._numerical_checks import check_autocast
from imbtorch.testing._parameter_checks import LEARNED_CHECKS, float_parameters
from imbtorch.testing._softmax_checks import check_posterior

__all__ = ["WHOLE_BATCH_CHECKS"]

_LOG_SPACE = "Compute on log-odds with bounded functions such as torch.sigmoid; divide last."
_MIXIN = "Write _column_values only; WholeBatchMixin does the rest. It comes before BaseLoss."


# -- values and gradients ------------------------------------------------------------------------


@check("Return one value > 0 per column from _column_values, in the dtype of the scores.")
def check_batch_value(loss: Any) -> None:
    """Check that a batch has one finite value > 0, or one per column, and a gradient."""
    for dtype in (torch.float64, torch.float32):
        for (logits, target), n_columns in zip(forms(), (1, 3, 3), strict=True):
            for reduction, shape in (("mean", ()), ("none", (n_columns,))):
                ready = prepared(loss, params={"reduction": reduction})
                value, grad = value_and_gradient(value_of(ready, target), logits.to(dtype))
                found = tuple(value.shape), value.dtype
                require(found == (shape, dtype), f"got {found} instead of {(shape, dtype)}.")
                require_finite((value, grad), "of moderate logits")
                require((value > 0).all(), f"the value of moderate logits is {value.tolist()}.")
                require((grad != 0).any(), "the gradient of moderate logits is 0.")


@check(_MIXIN)
def check_batch_forms_of_two_classes(loss: Any) -> None:
    """Check that two columns give the same value as their difference, one logit."""
    logits, target = batch(n_classes=2)
    loss = prepared(loss)
    one = value_and_gradient(lambda z: torch.as_tensor(loss(z[:, 1] - z[:, 0], target)), logits)
    two = value_and_gradient(value_of(loss, target), logits)
    close(two, one, "two columns give another value than their difference.")


@check("Detach nothing that the value depends on.")
def check_batch_gradient(loss: Any) -> None:
    """Check that the gradient of autograd agrees with finite differences."""
    for logits, target in forms(8):
        ready = prepared(loss, params={"reduction": "none"})
        torch.autograd.gradcheck(value_of(ready, target), logits.requires_grad_())


@check(_LOG_SPACE)
def check_batch_extreme_logits(loss: Any) -> None:
    """Check that value and gradient are finite for logits of +-1e4, as after a too large step."""
    loss = prepared(loss)
    inputs = [extreme(2), extreme(3)]
    logits, target = extreme(2)
    inputs.append((logits, torch.stack([target, 1 - target], 1)))
    for logits, target in inputs:
        for scale in (1.0, 0.01):
            results = value_and_gradient(value_of(loss, target), scale * logits)
            require_finite(results, f"of logits up to {scale * 1e4:g}")


@check(_LOG_SPACE)
def check_batch_float32(loss: Any) -> None:
    """Check that value and gradient are as exact in float32 as in float64."""
    for logits, target in forms(30):
        ready = prepared(loss)
        double = value_and_gradient(value_of(ready, target), logits)
        single = value_and_gradient(value_of(ready, target), logits.float())
        for what, actual, expected in zip(("value", "gradient"), single, double, strict=True):
            message = f"the {what} in float32 is not that in float64."
            close(actual.double(), expected, message, rtol=1e-4, atol=1e-6)


@check(_MIXIN)
def check_batch_half_precision(loss: Any) -> None:
    """Check that logits of a half-precision module are computed with in single precision."""
    loss = prepared(loss)
    for dtype in (torch.bfloat16, torch.float16):
        logits, target = batch(dtype=dtype)
        value = loss(logits, target)
        require(value.dtype == torch.float32, f"the value of {dtype} logits is {value.dtype}.")
        close(value, loss(logits.float(), target), f"the value of {dtype} logits is inexact.")
        far, target = extreme(3, dtype)
        require_finite(
            value_and_gradient(value_of(loss, target), far), f"of extreme {dtype} logits"
        )


# -- order ---------------------------------------------------------------------------------------


@check("Use the order of the scores only, never positions in the batch.")
def check_batch_permuted_rows(loss: Any) -> None:
    """Check that the order of the rows carries no information."""
    for logits, target in forms():
        order = torch.randperm(len(target), generator=torch.Generator().manual_seed(2))
        ready = prepared(loss)
        value = ready(logits[order], target[order])
        close(value, ready(logits, target), "shuffled rows have another value.")


@check("Compute each value of _column_values from its own column.")
def check_batch_permuted_columns(loss: Any) -> None:
    """Check that the order of the columns carries no information."""
    order = torch.tensor([2, 0, 1])  # new column j holds the old one order[j]
    weight = torch.tensor(CLASS_WEIGHT)
    before = prepared(loss, params={"weight": weight, "reduction": "none"})
    after = prepared(loss, params={"weight": weight[order], "reduction": "none"})
    message = "columns have other values in another order."
    logits, target = batch()
    value = after(logits[:, order], order.argsort()[target])
    close(value, before(logits, target)[order], message)
    logits, target = labels()
    value = after(logits[:, order], target[:, order])
    close(value, before(logits, target)[order], message)


# -- shapes --------------------------------------------------------------------------------------


@check(_MIXIN)
def check_batch_ignore_index(loss: Any) -> None:
    """Check that ignored rows count like no rows."""
    logits, target = batch(20)
    for ignored in (-100, 1):
        index = torch.where(torch.arange(20) % 5 == 3, ignored, target)
        kept = index != ignored
        ready = prepared(loss, params={"ignore_index": ignored})
        value, grad = value_and_gradient(value_of(ready, index), logits)
        expected = value_and_gradient(value_of(ready, index[kept]), logits[kept])
        close((value, grad[kept]), expected, "ignored rows change the value or the gradient.")
        require((grad[~kept] == 0).all(), "ignored rows have a gradient.")


@check(_MIXIN)
def check_batch_extra_dimensions(loss: Any) -> None:
    """Check that logits ``(n, c, d1, d2)`` are read as ``n d1 d2`` rows of one batch."""
    for logits, target in (batch(40), labels(40)):
        weight = torch.linspace(0.5, 2, 40, dtype=logits.dtype)
        shaped = [v.reshape(2, 4, 5, *v.shape[1:]) for v in (logits, target, weight)]
        shaped[0] = shaped[0].movedim(-1, 1)
        of_labels = target.ndim == 2
        shaped[1] = shaped[1].movedim(-1, 1) if of_labels else shaped[1]
        shaped[2] = shaped[2].unsqueeze(1) if of_labels else shaped[2]
        flat_weight = weight.unsqueeze(1) if of_labels else weight
        for reduction in ("none", "mean"):
            ready = prepared(loss, params={"weight": CLASS_WEIGHT, "reduction": reduction})
            flat = ready(logits, target, flat_weight)
            close(ready(*shaped), flat, "pixels have another value than rows.")


@check(_MIXIN)
def check_batch_reductions(loss: Any) -> None:
    """Check that reductions are over the columns."""
    for logits, target in forms():
        columns = prepared(loss, params={"reduction": "none"})(logits, target)
        expected = {"sum": columns.sum(), "mean": columns.mean(), "weighted_mean": columns.mean()}
        for reduction, value in expected.items():
            actual = prepared(loss, params={"reduction": reduction})(logits, target)
            close(actual, value, f"reduction={reduction!r} is wrong.")


@check(_MIXIN)
def check_batch_loss(loss: Any) -> None:
    """Check that ``batch_loss`` with weights divided by their number is the value of the loss."""
    for logits, target in forms()[:2]:
        weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
        for epoch in (None, 0):
            ready = prepared(loss, params={"warmup_epochs": 2})
            if epoch is not None:
                ready.set_epoch(epoch)
            actual = ready.batch_loss(logits, target, weight / len(target))
            close(actual, ready(logits, target, weight), "batch_loss is not the value of a call.")


# -- warm-up, posterior, learning ----------------------------------------------------------------


@check("Take warmup_epochs in __init__, and store it; WholeBatchMixin does the rest.")
def check_warm_up(loss: Any) -> None:
    """Check that the loss is cross-entropy for the first ``warmup_epochs`` epochs."""
    for logits, target in forms():
        weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
        n_classes = logits.shape[1]
        for reduction in ("mean", "sum", "weighted_mean"):
            settings: dict[str, Any] = {
                "weight": CLASS_WEIGHT[:n_classes],
                "reduction": reduction,
            }
            of_rows = weight.reshape(-1, *[1] * (target.ndim - 1))
            entropy = CrossEntropyLoss(**settings)(logits, target, of_rows)
            own = prepared(loss, COUNTS[:n_classes], params={"warmup_epochs": 0, **settings})
            own = own(logits, target, weight)
            require(not torch.isclose(own, entropy), "the loss is cross-entropy without warm-up.")
            ready = prepared(loss, COUNTS[:n_classes], params={"warmup_epochs": 2, **settings})
            require(not ready.is_warming_up, "it warms up before the first call of set_epoch.")
            close(ready(logits, target, weight), own, "it warms up before set_epoch is called.")
            for epoch, expected in ((0, entropy), (1, entropy), (2, own), (3, own), (0, entropy)):
                ready.set_epoch(epoch)
                warm = expected is entropy
                require(ready.is_warming_up == warm, f"is_warming_up is {not warm} in {epoch}.")
                value = ready(logits, target, weight)
                close(value, expected, f"with warmup_epochs=2, epoch {epoch} is wrong.")
            require(not clone(ready).is_warming_up, "a clone remembers the epoch.")


@check("Leave has_posterior False.")
def check_no_posterior(loss: Any) -> None:
    """Check that the loss has no posterior: ranks and overlaps determine no probabilities."""
    require(not loss.has_posterior, "has_posterior is True.")
    bias = prepared(loss).initial_bias(torch.tensor([0.8, 0.16, 0.04]).log())
    require(bias is None, f"initial_bias is {bias}, not None.")
    logits, _ = batch()
    log_proba = prepared(loss).log_posterior(logits)
    close(log_proba, logits.log_softmax(1), "log_posterior is not the log-softmax of the logits.")


@check("Check the sign: the value falls when positives score higher than negatives.")
def check_batch_descent(loss: Any) -> None:
    """Check that many steps against the gradient lower the loss by a lot."""
    for logits, target in forms(30):
        ready = prepared(loss)
        first = ready(logits, target)
        for _ in range(150):
            _, grad = value_and_gradient(value_of(ready, target), logits)
            logits = logits - 5 * grad
        last = ready(logits, target)  # recall at a moving threshold is the slow one
        require(last < 0.87 * first, f"150 steps lead from {first:.4g} to {last:.4g} only.")


@check("Use torch functions on hyper-parameters, no if, float() or math functions on their values.")
def check_batch_hyper_parameter_vector(loss: Any) -> None:
    """Check that hyper-parameters may be vectors, as when several nets are trained at once."""
    logits, target = batch()
    for name, values in float_parameters(loss):
        ready = prepared(loss)

        def value(given: Any, ready: Any = ready, name: str = name) -> Any:
            setattr(ready, name, given)
            return ready(logits, target)

        expected = torch.stack([value(given) for given in values])
        actual = torch.func.vmap(value)(torch.tensor(values, dtype=logits.dtype))
        close(actual, expected, f"the value is wrong for a vector of {name}.")


def _without_memory(function: Check) -> Check:
    """Make a check of the losses per row fit for losses that remember batches."""
    return functools.wraps(function)(lambda loss: function(forgetful(loss)))


WHOLE_BATCH_CHECKS: list[Check] = [
    check_batch_value,
    check_batch_forms_of_two_classes,
    check_batch_gradient,
    check_batch_extreme_logits,
    check_batch_float32,
    check_batch_half_precision,
    check_batch_permuted_rows,
    check_batch_permuted_columns,
    check_batch_ignore_index,
    check_batch_extra_dimensions,
    check_batch_reductions,
    check_batch_loss,
    check_warm_up,
    check_no_posterior,
    check_batch_descent,
    check_batch_hyper_parameter_vector,
    *BATCH_WEIGHT_CHECKS,
    *map(_without_memory, [*LEARNED_CHECKS, check_autocast, *BUFFER_CHECKS, check_posterior]),
]
