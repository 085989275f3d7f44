"""Checks of the softmax form: logits ``(n, c)`` against one class per row."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from imbtorch.losses._base import BaseLoss
from imbtorch.losses._one_vs_rest import OneVsRestMixin
from imbtorch.testing._buffer_checks import BUFFER_CHECKS
from imbtorch.testing._contract import Check, check, close, require
from imbtorch.testing._loss_inputs import (
    CLASS_WEIGHT,
    COUNTS,
    LABEL_COUNTS,
    batch,
    extreme,
    prepared,
    rows_of,
    value_and_gradient,
)
from imbtorch.testing._numerical_checks import NUMERICAL_CHECKS, require_finite
from imbtorch.testing._parameter_checks import LEARNED_CHECKS, float_parameters

__all__ = ["NEUTRAL_CHECKS", "SOFTMAX_CHECKS", "check_posterior"]

_PER_ROW = "Compute each value of per_sample from its own row, without mean or sum over dim 0."


# -- values per row ----------------------------------------------------------------------------


@check("Return one value >= 0 per row; make new tensors like the logits, never of a fixed dtype.")
def check_rows(loss: Any) -> None:
    """Check that ``per_sample`` returns one value per row, in the dtype of the logits."""
    for dtype in (torch.float64, torch.float32):
        logits, target = batch(dtype=dtype)
        values, grad = rows_of(prepared(loss), logits, target)
        require(
            values.shape == target.shape,
            f"values of shape {tuple(values.shape)} for {len(target)} rows.",
        )
        kinds = (values.dtype, values.device), (logits.dtype, logits.device)
        require(kinds[0] == kinds[1], f"values are {kinds[0]}, logits {kinds[1]}.")
        require_finite(values, grad, f"of moderate logits ({dtype})")
        require((values >= 0).all(), f"values are negative: {values.tolist()}.")


@check(_PER_ROW)
def check_permuted_rows(loss: Any) -> None:
    """Check that the order of the rows carries no information."""
    logits, target = batch()
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(2))
    loss = prepared(loss)
    values = loss.per_sample(logits, target)
    close(
        loss.per_sample(logits[order], target[order]),
        values[order],
        "shuffled rows have other values.",
    )


@check("Use class numbers as indices only. If the classes are ordered, set _ordered_classes.")
def check_permuted_classes(loss: Any) -> None:
    """Check that the order of the classes carries no information.

    Columns of the logits, targets, counts and weights are renumbered together.
    """
    logits, target = batch()
    order = torch.tensor([2, 0, 1])  # new column j holds the old class order[j]
    if loss._ordered_classes:
        order = torch.tensor([2, 1, 0])  # the other way round is the same order
    counts, weight = torch.tensor(COUNTS)[order], torch.tensor(CLASS_WEIGHT)[order]
    before = prepared(loss, COUNTS, params={"weight": CLASS_WEIGHT, "reduction": "none"})
    after = prepared(loss, counts, params={"weight": weight, "reduction": "none"})
    close(
        after(logits[:, order], order.argsort()[target]),
        before(logits, target),
        "values change when the classes are renumbered.",
    )


@check(_PER_ROW + " A loss that compares rows derives from WholeBatchMixin.")
def check_row_alone(loss: Any) -> None:
    """Check that the value of a row depends on this row only, as row weights need."""
    logits, target = batch()
    loss = prepared(loss)
    values = loss.per_sample(logits, target)
    alone = [loss.per_sample(logits[i : i + 1], target[i : i + 1]) for i in range(len(target))]
    close(torch.cat(alone), values, "rows have other values alone than together.")
    _, grad = value_and_gradient(lambda z: loss.per_sample(z, target)[0], logits)
    require((grad[1:] == 0).all(), "the value of row 0 has a gradient at other rows.")


@check(_PER_ROW)
def check_weights_are_repeats(loss: Any) -> None:
    """Check that a row of weight k counts like the row repeated k times."""
    logits, target = batch()
    repeats = torch.arange(len(target)) % 4
    loss = prepared(loss, params={"weight": CLASS_WEIGHT, "reduction": "sum"})
    weighted = value_and_gradient(lambda z: loss(z, target, repeats), logits)
    repeated = value_and_gradient(
        lambda z: loss(z.repeat_interleave(repeats, 0), target.repeat_interleave(repeats)), logits
    )
    close(weighted, repeated, "rows of weight k differ from rows that are repeated k times.")


@check("Do not override forward: it multiplies and reduces what per_sample returns.")
def check_reductions(loss: Any) -> None:
    """Check that weights multiply rows, ignored rows are left out, and reductions are correct."""
    logits, target = batch()
    for ignored in (-100, 1):
        index = torch.where(torch.arange(len(target)) % 5 == 3, ignored, target)
        kept = index != ignored
        row_weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
        weight = torch.tensor(CLASS_WEIGHT, dtype=logits.dtype)[target] * row_weight * kept
        rows = prepared(loss).per_sample(logits, target) * weight
        expected = {
            "none": rows,
            "sum": rows.sum(),
            "mean": rows.sum() / kept.sum(),
            "weighted_mean": rows.sum() / weight.sum(),
        }
        for reduction, value in expected.items():
            settings = {"weight": CLASS_WEIGHT, "reduction": reduction, "ignore_index": ignored}
            actual = prepared(loss, params=settings)(logits, index, row_weight)
            close(actual, value, f"reduction={reduction!r} with ignore_index={ignored} is wrong.")


@check("Do not override forward: it flattens extra dimensions before it calls per_sample.")
def check_extra_dimensions(loss: Any) -> None:
    """Check that logits ``(n, c, d1, d2)`` are read as ``n d1 d2`` rows."""
    logits, target = batch(2 * 4 * 5)
    target = torch.where(torch.arange(len(target)) % 7 == 3, -100, target)
    row_weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
    shaped = [values.reshape(2, 4, 5) for values in (target, row_weight)]
    for reduction in ("none", "mean", "weighted_mean"):
        ready = prepared(loss, params={"weight": CLASS_WEIGHT, "reduction": reduction})
        flat = ready(logits, target, row_weight)
        value = ready(logits.reshape(2, 4, 5, 3).movedim(-1, 1), *shaped)
        expected = shaped[0].shape if reduction == "none" else ()
        require(value.shape == expected, f"shape {tuple(value.shape)} with {reduction!r}.")
        close(value.flatten(), flat.flatten(), "pixels have other values than rows.")


# -- learning ----------------------------------------------------------------------------------


@check("Check the sign of the loss: it falls when the logit of the true class rises.")
def check_descent(loss: Any) -> None:
    """Check that each step against the gradient lowers the loss, and many lower it a lot."""
    logits, target = batch()
    loss = prepared(loss)
    path = [loss(logits, target)]
    for _ in range(30):
        _, grad = rows_of(loss, logits, target)
        logits = logits - 0.5 * grad
        path.append(loss(logits, target))
    rises = [step for step, (a, b) in enumerate(zip(path, path[1:], strict=False)) if b > a]
    require(not rises, f"the loss rises in the steps {rises}.")
    require(path[-1] < 0.8 * path[0], f"30 steps lead from {path[0]:.4g} to {path[-1]:.4g} only.")


@check("Let log_posterior end with torch.log_softmax(..., dim=1).")
def check_posterior(loss: Any) -> None:
    """Check that ``exp(log_posterior)`` sums to 1 in each row, also for extreme logits."""
    for n_classes in (2, 3):
        ready = prepared(loss, COUNTS[:n_classes])
        for logits in (batch(n_classes=n_classes)[0], extreme(n_classes)[0]):
            log_proba = ready.log_posterior(logits)
            kinds = (log_proba.shape, log_proba.dtype), (logits.shape, logits.dtype)
            require(kinds[0] == kinds[1], f"log_posterior returns {kinds[0]} for {kinds[1]}.")
            require(log_proba.isfinite().all(), "log_posterior is not finite.")
            sums = log_proba.exp().sum(1)
            close(sums, torch.ones_like(sums), "the probabilities of a row do not sum to 1.")


@check("Use torch functions on hyper-parameters, no if, float() or math functions on their values.")
def check_hyper_parameter_vector(loss: Any) -> None:
    """Check that hyper-parameters may be vectors, as when several nets are trained at once."""
    logits, target = batch()
    hot = F.one_hot(target, 3).to(logits.dtype)
    uses: dict[str, tuple[Any, tuple[Tensor, ...]]] = {"per_sample": (COUNTS, (logits, target))}
    if type(loss).per_label is not BaseLoss.per_label:
        uses["per_label"] = (LABEL_COUNTS, (logits, hot))
    if loss.has_posterior:
        uses["log_posterior"] = (COUNTS, (logits,))
        uses["log_odds"] = (LABEL_COUNTS, (logits,))
    for name, values in float_parameters(loss):
        for use, (counts, arguments) in uses.items():
            ready = prepared(loss, counts)

            def result(
                value: Any,
                ready: Any = ready,
                name: str = name,
                use: str = use,
                arguments: tuple[Tensor, ...] = arguments,
            ) -> Any:
                setattr(ready, name, value)
                return getattr(ready, use)(*arguments)

            expected = torch.stack([result(value) for value in values])
            actual = torch.func.vmap(result)(torch.tensor(values, dtype=logits.dtype))
            # a use that the parameter has no part in gives the same for each
            close(actual, expected, f"{use} is wrong for a vector of {name}.")


# -- at neutral parameters ---------------------------------------------------------------------


@check("Correct the formula, or set _neutral_params to None where it never is cross-entropy.")
def check_neutral_is_cross_entropy(loss: Any) -> None:
    """Check that the loss at its neutral parameters is cross-entropy."""
    inputs = [batch(n_classes=2), extreme(2, torch.float64)]
    if not isinstance(loss, OneVsRestMixin):  # which averages over three classes
        inputs += [batch(), extreme(3, torch.float64)]
    for logits, target in inputs:
        neutral = prepared(loss, COUNTS[: logits.shape[1]], params=loss._neutral_params)

        def reference(z: Tensor, target: Tensor = target) -> Tensor:
            return F.cross_entropy(z, target, reduction="none")

        close(
            rows_of(neutral, logits, target),
            value_and_gradient(reference, logits),
            f"it is not cross-entropy at its neutral parameters {loss._neutral_params}.",
            rtol=1e-10,
            atol=1e-12,
        )


SOFTMAX_CHECKS: list[Check] = [
    *LEARNED_CHECKS,
    check_rows,
    *NUMERICAL_CHECKS,
    check_permuted_rows,
    check_permuted_classes,
    check_row_alone,
    check_weights_are_repeats,
    check_reductions,
    check_extra_dimensions,
    *BUFFER_CHECKS,
    check_descent,
    check_posterior,
    check_hyper_parameter_vector,
]
NEUTRAL_CHECKS: list[Check] = [check_neutral_is_cross_entropy]
