"""Checks of weights of losses of the whole batch, and of batches that hold too little."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from imbtorch.testing._batch_inputs import (
    forms,
    prepared,
    require_finite,
    require_nothing,
    value_of,
)
from imbtorch.testing._contract import Check, check, close, require
from imbtorch.testing._loss_inputs import (
    CLASS_WEIGHT,
    COUNTS,
    batch,
    labels,
    value_and_gradient,
)

__all__ = ["BATCH_WEIGHT_CHECKS"]

_MASKS = (
    "Multiply with positive and weight instead of selecting rows, and divide with "
    "imbtorch.losses._whole_batch.safe_ratio."
)
_WEIGHT = "Count each row of _column_values by its weight: (weight * values).sum(0)."
_MIXIN = "Write _column_values only; WholeBatchMixin does the rest. It comes before BaseLoss."


# -- batches that hold too little ----------------------------------------------------------------


@check(_MASKS)
def check_batch_without_positives(loss: Any) -> None:
    """Check that a batch without positives has the value 0 and no gradient."""
    for reduction in ("mean", "sum", "none"):
        ready = prepared(loss, params={"reduction": reduction})
        for scale in (1.0, 1e4):
            logits = scale * batch(n_classes=2)[0]
            for target in (torch.zeros(12).long(), torch.zeros(12, 2)):
                require_nothing(ready, logits, target, where="of a batch without positives")


@check("Set _compares if the loss compares positives with negatives. " + _MASKS)
def check_batch_without_negatives(loss: Any) -> None:
    """Check that a batch without negatives is harmless.

    A loss that compares has the value 0 and no gradient, others have finite ones.
    """
    ready = prepared(loss)
    for scale in (1.0, 1e4):
        logits = scale * batch(n_classes=2)[0]
        for target in (torch.ones(12).long(), torch.ones(12, 2)):
            where = "of a batch without negatives"
            if loss._compares:
                require_nothing(ready, logits, target, where=where)
            require_finite(value_and_gradient(value_of(ready, target), logits), where)


@check(_MASKS)
def check_batch_of_weight_zero(loss: Any) -> None:
    """Check that a batch whose rows all have weight 0 has the value 0 and no gradient."""
    for logits, target in forms():
        ready = prepared(loss)
        require_nothing(ready, logits, target, torch.zeros(12), where="of rows of weight 0")
        n_classes = logits.shape[1]
        ready = prepared(loss, COUNTS[:n_classes], params={"weight": [0.0] * n_classes})
        require_nothing(ready, logits, target, where="of classes of weight 0")
    ignored = torch.full((12,), -100)
    require_nothing(prepared(loss), batch()[0], ignored, where="of ignored rows")


@check(_MIXIN)
def check_columns_without_positives(loss: Any) -> None:
    """Check that columns without positives are left out of the mean and of the sum."""
    logits, target = batch()
    few = labels()[1].clone()
    few[:, 2] = 0
    for scores, positive in ((logits, target.clamp_max(1)), (logits[: len(few)], few)):
        columns = prepared(loss, params={"reduction": "none"})(scores, positive)
        found = columns.tolist()
        require(columns[2] == 0, f"columns have the values {found}, the last has no positives.")
        require((columns[:2] > 0).all(), f"columns with positives have the values {found}.")
        mean = prepared(loss)(scores, positive)
        close(mean, columns[:2].mean(), "the mean is not that of the columns with positives.")
        total = prepared(loss, params={"reduction": "sum"})(scores, positive)
        close(total, columns.sum(), "the sum is not that of the columns.")


# -- weights -------------------------------------------------------------------------------------


@check(_WEIGHT)
def check_weight_zero_is_no_row(loss: Any) -> None:
    """Check that a row of weight 0 counts like no row."""
    for logits, target in forms(20):
        kept = torch.arange(20) % 5 != 3
        ready = prepared(loss)
        value, grad = value_and_gradient(value_of(ready, target, kept), logits)
        expected = value_and_gradient(value_of(ready, target[kept]), logits[kept])
        close((value, grad[kept]), expected, "rows of weight 0 change the value or the gradient.")
        require((grad[~kept] == 0).all(), "rows of weight 0 have a gradient.")


@check(_WEIGHT + " If ties count half, set _counts_ties_half.")
def check_batch_weights_are_repeats(loss: Any) -> None:
    """Check that a row of weight k counts like the row repeated k times.

    This does not hold where ties count half: then a row that is repeated has another rank.
    """
    if loss._counts_ties_half:
        return
    for logits, target in forms():
        repeats = torch.arange(len(target)) % 3
        ready = prepared(loss)

        def repeated(z: Tensor, y: Tensor = target, k: Tensor = repeats, f: Any = ready) -> Any:
            return f(z.repeat_interleave(k, 0), y.repeat_interleave(k, 0))

        weighted = value_and_gradient(value_of(ready, target, repeats), logits)
        message = "rows of weight k differ from rows that are repeated k times."
        close(weighted, value_and_gradient(repeated, logits), message)


@check(_WEIGHT + " Divide by the sum of the weights.")
def check_weights_scale_out(loss: Any) -> None:
    """Check that the same factor on all weights changes nothing, apart from smoothing."""
    if getattr(loss, "smooth", 0):
        return
    for logits, target in forms():
        ready = prepared(loss)
        weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
        message = "seven times the weights give another value."
        close(ready(logits, target, 7 * weight), ready(logits, target, weight), message)
        close(ready(logits, target, torch.tensor(7.0)), ready(logits, target), message)


@check(_WEIGHT)
def check_class_weights(loss: Any) -> None:
    """Check that class weights act as row weights, and cancel where two classes are compared."""
    logits, target = batch()
    weight = torch.tensor(CLASS_WEIGHT, dtype=logits.dtype)
    row_weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
    actual = prepared(loss, params={"weight": CLASS_WEIGHT})(logits, target, row_weight)
    expected = prepared(loss)(logits, target, weight[target] * row_weight)
    close(actual, expected, "class weights differ from the same weights of the rows.")
    change = (actual - prepared(loss)(logits, target, row_weight)).abs()
    require(change > 1e-6, "class weights change nothing.")
    logits, target = batch(n_classes=2)
    actual = prepared(loss, COUNTS[:2], params={"weight": (1.0, 7.0)})(logits, target)
    if loss._compares:
        plain = prepared(loss)(logits, target)
        close(actual, plain, "weights of two classes do not cancel.")


BATCH_WEIGHT_CHECKS: list[Check] = [
    check_batch_without_positives,
    check_batch_without_negatives,
    check_batch_of_weight_zero,
    check_columns_without_positives,
    check_weight_zero_is_no_row,
    check_batch_weights_are_repeats,
    check_weights_scale_out,
    check_class_weights,
]
