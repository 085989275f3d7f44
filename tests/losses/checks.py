"""What every loss must satisfy: one small function per property, each with its reason.

A check takes an unprepared loss and fails by a plain assert. The groups at the end say which
checks apply to which losses; ``test_common.py`` runs them on the whole registry.
"""

from numbers import Real

import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.base import clone
from torch import nn
from torch.testing import assert_close

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses import BaseLoss
from imbtorch.losses._one_vs_rest import OneVsRestMixin
from imbtorch.losses._whole_batch import WholeBatchMixin
from tests.losses import parameter_checks, sigmoid_checks, whole_batch_checks
from tests.losses.inputs import (
    CLASS_WEIGHT,
    COUNTS,
    LABEL_COUNTS,
    batch,
    extreme,
    prepared,
    rows_of,
    value_and_gradient,
)

# -- values per row ----------------------------------------------------------------------------


def check_rows(loss):
    """``per_sample`` gives one value per row, in the dtype and on the device of the logits."""
    for dtype in (torch.float64, torch.float32):
        logits, target = batch(dtype=dtype)
        values, grad = rows_of(prepared(loss), logits, target)
        assert values.shape == target.shape
        assert (values.dtype, values.device) == (logits.dtype, logits.device)
        assert values.isfinite().all()
        assert (values >= 0).all()
        assert grad.isfinite().all()


def check_half_precision(loss):
    """Logits of a half-precision module are computed with in single precision, as torch does."""
    loss = prepared(loss, reduction="none")
    for dtype in (torch.bfloat16, torch.float16):
        logits, target = batch(dtype=dtype)
        values = loss(logits, target)
        assert values.dtype == torch.float32
        assert_close(values, loss(logits.float(), target))
        far, target = extreme(3, dtype)
        values, grad = value_and_gradient(lambda z, y=target: loss(z, y), far)
        assert values.isfinite().all()
        assert grad.isfinite().all()


def check_gradient(loss):
    """Autograd agrees with finite differences: no detached term, no wrong custom rule."""
    logits, target = batch(6)
    loss = prepared(loss, **loss._gradcheck_params)
    assert torch.autograd.gradcheck(
        lambda z: loss.per_sample(z, target), logits.requires_grad_(), raise_exception=False
    )


def check_extreme_logits(loss):
    """An early step with a large learning rate must not end in NaN."""
    for n_classes in (2, 3):
        logits, target = extreme(n_classes)
        values, grad = rows_of(prepared(loss, COUNTS[:n_classes]), logits, target)
        assert values.isfinite().all()
        assert (values >= 0).all()
        assert grad.isfinite().all()


def check_float32_equals_float64(loss):
    """Rounding must not turn a confident row's gradient into 0 or into an explosion."""
    for n_classes in (2, 3):
        ready = prepared(loss, COUNTS[:n_classes])
        logits, target = extreme(n_classes)
        for scale in (1.0, 0.1, 0.01):
            rounding = scale * 1e4 * torch.finfo(torch.float32).eps  # of the logits themselves
            rounding *= getattr(loss, "scale", 1)  # of the margin losses
            single = rows_of(ready, scale * logits, target)
            double = rows_of(ready, (scale * logits).double(), target)
            for actual, expected in zip(single, double, strict=True):
                assert_close(actual.double(), expected, rtol=1e-4, atol=1e-5 + rounding)


def check_autocast(loss):
    """Mixed precision is one context manager away; it must train there as well."""
    # float16 overflows in the backward of the linear layer, whatever the loss
    for dtype, scale in ((torch.bfloat16, 1e-4), (torch.bfloat16, 1.0), (torch.float16, 1e-4)):
        inputs, target = extreme(3)
        module = nn.Linear(3, 3, bias=False)
        nn.init.eye_(module.weight)
        with torch.autocast("cpu", dtype=dtype):
            logits = module(scale * inputs)
            assert logits.dtype == dtype
            value = prepared(loss)(logits, target)
        assert_close(value, prepared(loss)(logits, target))  # not with three digits
        value.backward()
        assert value.isfinite()
        assert module.weight.grad.isfinite().all()


def check_permuted_rows(loss):
    """The order of the rows carries no information."""
    logits, target = batch()
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(2))
    loss = prepared(loss)
    values = loss.per_sample(logits, target)
    assert_close(loss.per_sample(logits[order], target[order]), values[order])


def check_permuted_classes(loss):
    """Nor does the order of the classes: columns, labels, counts and weights move together."""
    logits, target = batch()
    order = torch.tensor([2, 0, 1])  # new column j holds the old class order[j]
    if loss._ordered_classes:
        order = torch.tensor([2, 1, 0])  # the other way round is the same order
    counts, weight = torch.tensor(COUNTS)[order], torch.tensor(CLASS_WEIGHT)[order]
    settings = {"reduction": "none"}
    before = prepared(loss, COUNTS, weight=CLASS_WEIGHT, **settings)
    after = prepared(loss, counts, weight=weight, **settings)
    assert_close(after(logits[:, order], order.argsort()[target]), before(logits, target))


def check_row_alone(loss):
    """A row's value belongs to the row: otherwise row weights have no meaning."""
    logits, target = batch()
    loss = prepared(loss)
    values = loss.per_sample(logits, target)
    alone = [loss.per_sample(logits[i : i + 1], target[i : i + 1]) for i in range(len(target))]
    assert_close(torch.cat(alone), values)
    _, grad = value_and_gradient(lambda z: loss.per_sample(z, target)[0], logits)
    assert (grad[1:] == 0).all()


def check_weights_are_repeats(loss):
    """Weight k is the row k times, weight 0 is no row: value and gradient."""
    logits, target = batch()
    repeats = torch.arange(len(target)) % 4
    loss = prepared(loss, weight=CLASS_WEIGHT, reduction="sum")
    weighted = value_and_gradient(lambda z: loss(z, target, repeats), logits)
    repeated = value_and_gradient(
        lambda z: loss(z.repeat_interleave(repeats, 0), target.repeat_interleave(repeats)), logits
    )
    assert_close(weighted, repeated)


def check_reductions(loss):
    """Weights multiply rows, ignored rows count for nothing, and each mean divides as it says."""
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
            assert_close(prepared(loss, **settings)(logits, index, row_weight), value)


def check_extra_dimensions(loss):
    """Pixels and time steps are rows: ``(n, c, d1, d2)`` equals its flattened form."""
    logits, target = batch(2 * 4 * 5)
    target = torch.where(torch.arange(len(target)) % 7 == 3, -100, target)
    row_weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
    shaped = [values.reshape(2, 4, 5) for values in (target, row_weight)]
    for reduction in ("none", "mean", "weighted_mean"):
        ready = prepared(loss, weight=CLASS_WEIGHT, reduction=reduction)
        flat = ready(logits, target, row_weight)
        value = ready(logits.reshape(2, 4, 5, 3).movedim(-1, 1), *shaped)
        assert value.shape == (shaped[0].shape if reduction == "none" else ())
        assert_close(value.flatten(), flat.flatten())


# -- buffers -----------------------------------------------------------------------------------


def check_dtype_follows(loss):
    """``.to(dtype)`` reaches every tensor that the loss holds, and its value stays."""
    logits, target = batch()
    for dtype in (torch.float32, torch.float64):
        ready = prepared(loss, weight=CLASS_WEIGHT).to(dtype)
        assert {buffer.dtype for buffer in ready.buffers()} == {dtype}
        value = ready(logits.to(dtype), target)
        assert value.dtype == dtype
        expected = prepared(loss, weight=CLASS_WEIGHT)(logits, target)
        assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)


def check_device_follows(loss):
    """``.to(device)`` leaves no tensor behind; the meta device shows it without a GPU."""
    ready = prepared(loss, weight=CLASS_WEIGHT).to("meta")
    logits, target = batch()
    assert ready(logits.to("meta"), target.to("meta")).device.type == "meta"
    assert ready.log_posterior(logits.to("meta")).device.type == "meta"
    # counts come as numbers, to wherever the loss lies already
    early = clone(loss).to("meta").prepare(COUNTS)
    assert {buffer.device.type for buffer in early.buffers()} == {"meta"}


def check_state_dict(loss):
    """Saved weights and priors restore the loss, whatever it had been prepared for, or not."""
    logits, target = batch()
    source = prepared(loss, weight=CLASS_WEIGHT)
    others = [
        prepared(loss, (1, 1, 1), weight=(1, 1, 1)),
        prepared(loss, (3, 1), weight=(1, 2)),
        clone(loss),
    ]
    for restored in others:
        restored.load_state_dict(source.state_dict())
        assert torch.equal(restored(logits, target), source(logits, target))
        assert restored.weight.tolist() == list(CLASS_WEIGHT)


# -- learning ----------------------------------------------------------------------------------


def check_descent(loss):
    """No step against the gradient raises the loss, and many lower it a lot."""
    logits, target = batch()
    loss = prepared(loss)
    path = [loss(logits, target)]
    for _ in range(30):
        _, grad = rows_of(loss, logits, target)
        logits = logits - 0.5 * grad
        path.append(loss(logits, target))
    assert all(later <= earlier for earlier, later in zip(path, path[1:], strict=False))
    assert path[-1] < 0.8 * path[0]


def check_posterior(loss):
    """Rows of the posterior are distributions, also where float32 saturates."""
    for n_classes in (2, 3):
        ready = prepared(loss, COUNTS[:n_classes])
        for logits in (batch(n_classes=n_classes)[0], extreme(n_classes)[0]):
            log_proba = ready.log_posterior(logits)
            assert (log_proba.shape, log_proba.dtype) == (logits.shape, logits.dtype)
            assert log_proba.isfinite().all()
            assert_close(log_proba.exp().sum(1), torch.ones_like(logits[:, 0]))


def hyper_parameter_vectors(loss):
    """Names of the float hyper-parameters, and valid values of each."""
    for name, default in type(loss)().get_params().items():
        if not isinstance(default, float):
            continue
        (interval,) = (c for c in loss._parameter_constraints[name] if isinstance(c, Interval))
        assert issubclass(interval.type, Real)
        left, right = interval.left, interval.right
        if left is None and right is not None:
            left = right - 2.0
        low = 0.0 if left is None else float(left)
        width = 2.0 if right is None else right - low
        values = [low + width * share for share in (0.0, 0.2, 0.8)]
        yield name, values if interval.closed in {"left", "both"} else values[1:]


def check_hyper_parameter_vector(loss):
    """A stack of nets carries a vector of hyper-parameters: no branch on, or float() of, one."""
    logits, target = batch()
    hot = F.one_hot(target, 3).to(logits.dtype)
    uses = {"per_sample": (COUNTS, (logits, target))}
    if type(loss).per_label is not BaseLoss.per_label:
        uses["per_label"] = (LABEL_COUNTS, (logits, hot))
    if loss.has_posterior:
        uses["log_posterior"] = (COUNTS, (logits,))
        uses["log_odds"] = (LABEL_COUNTS, (logits,))
    for name, values in hyper_parameter_vectors(loss):
        for use, (counts, arguments) in uses.items():
            ready = prepared(loss, counts)

            def result(value, ready=ready, name=name, use=use, arguments=arguments):
                setattr(ready, name, value)
                return getattr(ready, use)(*arguments)

            expected = torch.stack([result(value) for value in values])
            actual = torch.func.vmap(result)(torch.tensor(values, dtype=logits.dtype))
            # a use that the parameter has no part in gives the same for each
            assert_close(actual, expected)


# -- at neutral parameters ---------------------------------------------------------------------


def check_neutral_is_cross_entropy(loss):
    """Row by row, value and gradient, from moderate logits to extreme ones."""
    inputs = [batch(n_classes=2), extreme(2, torch.float64)]
    if not isinstance(loss, OneVsRestMixin):  # which averages over three classes
        inputs += [batch(), extreme(3, torch.float64)]
    for logits, target in inputs:
        neutral = prepared(loss, COUNTS[: logits.shape[1]], **loss._neutral_params)

        def reference(z, target=target):
            return F.cross_entropy(z, target, reduction="none")

        expected = value_and_gradient(reference, logits)
        assert_close(rows_of(neutral, logits, target), expected, rtol=1e-10, atol=1e-12)


# -- which checks apply ------------------------------------------------------------------------

PARAMETER_CHECKS = [
    parameter_checks.check_params_round_trip,
    parameter_checks.check_repr,
    parameter_checks.check_unknown_parameter,
    parameter_checks.check_out_of_range,
    parameter_checks.check_constraints_are_complete,
    parameter_checks.check_docstring,
]
SOFTMAX_CHECKS = [
    parameter_checks.check_pickle,
    parameter_checks.check_prepare_again,
    parameter_checks.check_clone_forgets,
    check_rows,
    check_half_precision,
    check_gradient,
    check_extreme_logits,
    check_float32_equals_float64,
    check_autocast,
    check_permuted_rows,
    check_permuted_classes,
    check_row_alone,
    check_weights_are_repeats,
    check_reductions,
    check_extra_dimensions,
    check_dtype_follows,
    check_device_follows,
    check_state_dict,
    check_descent,
    check_posterior,
    check_hyper_parameter_vector,
]
NEUTRAL_CHECKS = [check_neutral_is_cross_entropy]
SIGMOID_CHECKS = [
    sigmoid_checks.check_sigmoid_rows,
    sigmoid_checks.check_sigmoid_gradient,
    sigmoid_checks.check_sigmoid_extreme_logits,
    sigmoid_checks.check_sigmoid_permutation,
    sigmoid_checks.check_sigmoid_weights,
    sigmoid_checks.check_sigmoid_extra_dimensions,
]
NEUTRAL_SIGMOID_CHECKS = [sigmoid_checks.check_neutral_sigmoid_is_bce]
WHOLE_BATCH_CHECKS = whole_batch_checks.WHOLE_BATCH_CHECKS + [
    whole_batch_checks.without_memory(check)
    for check in (
        parameter_checks.check_pickle,
        parameter_checks.check_prepare_again,
        parameter_checks.check_clone_forgets,
        check_autocast,
        check_dtype_follows,
        check_device_follows,
        check_state_dict,
        check_posterior,
    )
]


def checks_for(loss):
    """List the checks that apply to this loss, by what it declares and what it overrides."""
    cls = type(loss)
    softmax = cls.per_sample is not BaseLoss.per_sample
    sigmoid = cls.per_label is not BaseLoss.per_label
    neutral = cls._neutral_params is not None
    return (
        PARAMETER_CHECKS
        + WHOLE_BATCH_CHECKS * isinstance(loss, WholeBatchMixin)
        + SOFTMAX_CHECKS * softmax
        + SIGMOID_CHECKS * sigmoid
        + NEUTRAL_CHECKS * (softmax and neutral)
        + NEUTRAL_SIGMOID_CHECKS * (sigmoid and neutral)
    )
