"""Checks of losses of continuous targets: predictions ``(n, k)`` against targets ``(n, k)``."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from sklearn.base import clone
from torch import Tensor

from imbtorch.losses.regression._base import BaseRegressionLoss
from imbtorch.testing._contract import Check, check, close, pickled, raises, require, same_params
from imbtorch.testing._loss_inputs import value_and_gradient
from imbtorch.testing._parameter_checks import (
    check_constraints_are_complete,
    check_unknown_parameter,
    float_parameters,
    invalid_values,
)

__all__ = [
    "ELEMENTWISE_CHECKS",
    "NAMED_CHECKS",
    "NEUTRAL_CHECKS",
    "REGRESSION_CHECKS",
    "batch",
]

_BUFFERS = (
    "Keep every tensor as a buffer: self.register_buffer(name, None) in __init__, and "
    "self.<name> = ... in _prepare."
)
_PER_ROW = "Compute each value from its own element, or multiply the terms of a row by its weight."


def batch(n: int = 12, k: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Make targets, and predictions that are off by about their spread."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(n, k, generator=generator, dtype=torch.float64)
    prediction = target + torch.randn(n, k, generator=generator, dtype=torch.float64)
    return prediction.to(dtype), target.to(dtype)


def _prepared(
    loss: Any,
    dtype: torch.dtype = torch.float64,
    k: int = 1,
    params: Mapping[str, Any] | None = None,
) -> Any:
    """Copy a loss, change some parameters of the copy, and prepare it for targets of k columns."""
    target = batch(200, k)[1].numpy()
    return clone(loss).set_params(**(params or {})).prepare(target).to(dtype)


def _widths(loss: BaseRegressionLoss) -> Iterator[int]:
    yield from (1, 3) if loss._takes_several_targets else (1,)


def _is_elementwise(loss: Any) -> bool:
    return type(loss).per_output is not BaseRegressionLoss.per_output


# -- parameters ----------------------------------------------------------------------------------


@check("__init__ stores every parameter unchanged under its own name.")
def check_params_round_trip(loss: Any) -> None:
    """Check that parameters can be read, copied and set, as searches and pipelines do."""
    changed = clone(loss).set_params(reduction="sum")
    shown = {repr(changed), repr(clone(changed)), repr(copy.deepcopy(changed))}
    require(len(shown) == 1, f"copies differ: {shown}.")
    reduction = clone(changed).get_params()["reduction"]
    require(reduction == "sum", f"a clone has reduction={reduction!r} instead of 'sum'.")


@check("Do not override __repr__ and extra_repr, or show each parameter as name=value.")
def check_repr(loss: Any) -> None:
    """Check that the repr is the code that builds the loss."""
    built = eval(repr(loss), {type(loss).__name__: type(loss)})  # noqa: S307 - of what is checked
    require(
        same_params(built.get_params(), loss.get_params()),
        f"{loss!r} builds a loss with the parameters {built.get_params()}.",
    )


@check("Let _parameter_constraints list what is allowed.")
def check_out_of_range(loss: Any) -> None:
    """Check that ``__init__`` only stores values, and ``prepare`` refuses invalid ones."""
    _, target = batch()
    constraints = {**loss._parameter_constraints, **loss._base_constraints}
    for name, allowed in constraints.items():
        for value in invalid_values(allowed):
            wrong = type(loss)(**{**loss.get_params(deep=False), name: value})
            with raises(ValueError, name, f"prepare with {name}={value!r}"):
                wrong.prepare(target)


@check(
    "Write a docstring in the style of numpydoc. With a name the loss also needs a formula, Notes "
    "that begin with 'Use it', and the source as :arxiv:`number` or :doi:`number`."
)
def check_docstring(loss: Any) -> None:
    """Check that the docstring is complete.

    It has all parameters and an example; with a name also a formula, a use and a reference.
    """
    doc = inspect.getdoc(type(loss)) or ""
    sections = ["Parameters", "Examples"]
    if loss.name:
        sections += ["Notes", "References"]
        require(".. math::" in doc, "there is no formula.")
        require(":arxiv:" in doc or ":doi:" in doc, "there is no reference to a paper.")
        require("\nUse it " in doc, "the notes do not begin with 'Use it'.")
    for section in sections:
        require(f"\n{section}\n{'-' * len(section)}\n" in doc, f"there is no section {section}.")
    for name in loss.get_params(deep=False):
        require(f"\n{name} : " in doc, f"parameter {name} is not documented.")


# -- what ``prepare`` learns ---------------------------------------------------------------------


@check(_BUFFERS)
def check_copies_give_the_same(loss: Any) -> None:
    """Check that pickle, ``copy.deepcopy`` and ``state_dict`` keep what ``prepare`` has learned."""
    ready = _prepared(loss)
    expected = ready(*batch())
    restored = clone(loss).double()
    restored.load_state_dict(ready.state_dict())
    copies = {"pickle": pickled(ready), "deepcopy": copy.deepcopy(ready), "state_dict": restored}
    for way, other in copies.items():
        require(torch.equal(other(*batch()), expected), f"{way} changes the value.")


@check(_BUFFERS + " _prepare computes them from the targets that it is given alone.")
def check_prepare_again(loss: Any) -> None:
    """Check that a clone forgets what ``prepare`` learned, and that ``prepare`` starts anew."""
    again = _prepared(clone(_prepared(loss)).prepare([5.0, 7.0, 11.0]))
    same = torch.equal(again(*batch()), _prepared(loss)(*batch()))
    require(same, "the value differs after prepare has been called with other targets before.")
    keys = clone(again).state_dict().keys(), clone(loss).state_dict().keys()
    require(keys[0] == keys[1], f"the state of a clone has {keys[0]}, that of a new loss {keys[1]}")


@check(_BUFFERS)
def check_dtype_follows(loss: Any) -> None:
    """Check that ``.to(dtype)`` converts every tensor of the loss."""
    for dtype in (torch.float32, torch.float64):
        ready = _prepared(loss, dtype)
        value = ready(*batch(dtype=dtype))
        require(value.dtype == dtype, f"the value of {dtype} predictions is {value.dtype}.")
        dtypes = {tensor.dtype for tensor in [*ready.parameters(), *ready.buffers()]}
        require(dtypes == {dtype}, f"tensors are {dtypes} after .to({dtype}).")


# -- values --------------------------------------------------------------------------------------


@check("Detach nothing that the value depends on.")
def check_gradient(loss: Any) -> None:
    """Check that the gradient of autograd agrees with finite differences."""
    for k in _widths(loss):
        ready, (prediction, target) = _prepared(loss, k=k), batch(6, k)
        torch.autograd.gradcheck(
            lambda p, f=ready, y=target: f(p, y),
            prediction.requires_grad_(),
        )


@check(_PER_ROW)
def check_weights_are_repeats(loss: Any) -> None:
    """Check that a row of weight k counts like the row repeated k times."""
    repeats = torch.arange(12) % 4
    for k in _widths(loss):
        ready, (prediction, target) = _prepared(loss, k=k, params={"reduction": "sum"}), batch(k=k)

        def weighted(p: Tensor, f: Any = ready, y: Tensor = target) -> Any:
            return f(p, y, repeats)

        def repeated(p: Tensor, f: Any = ready, y: Tensor = target) -> Any:
            return f(p.repeat_interleave(repeats, 0), y.repeat_interleave(repeats, 0))

        close(
            value_and_gradient(weighted, prediction),
            value_and_gradient(repeated, prediction),
            "rows of weight k differ from rows that are repeated k times.",
        )


@check("Use forms that do not overflow; a power below 1 has an infinite slope at 0.")
def check_extreme_values(loss: Any) -> None:
    """Check that errors of 0 and of 1e4 have finite values and gradients."""
    prediction = torch.tensor([1e4, -1e4, 1e4, 0, 1e-4, 0], dtype=torch.float32)
    target = torch.tensor([1e4, 1e4, -1e4, 1e4, 0, 0], dtype=torch.float32)
    ready = _prepared(loss, torch.float32, params={"reduction": "none"})
    results = value_and_gradient(lambda p: torch.as_tensor(ready(p, target)), prediction)
    for what, values in zip(("values", "gradients"), results, strict=True):
        require(values.isfinite().all(), f"{what} are not finite: {values.tolist()}.")


@check("Do not override forward and batch_loss.")
def check_half_precision(loss: Any) -> None:
    """Check that half precision is raised to single precision."""
    for dtype in (torch.float16, torch.bfloat16):
        ready, pair = _prepared(loss, torch.float32), batch(dtype=dtype)
        value = ready(*pair)
        require(value.dtype == torch.float32, f"the value of {dtype} is {value.dtype}.")
        close(value, ready(*(v.float() for v in pair)), f"the value of {dtype} is inexact.")


@check("Do not override forward: it makes vectors columns before it calls per_output.")
def check_vectors_are_one_column(loss: Any) -> None:
    """Check that vectors of shape ``(n,)`` are one column, ``(n, 1)``."""
    ready, (prediction, target) = _prepared(loss), batch()
    value = ready(prediction[:, 0], target[:, 0])
    close(value, ready(prediction, target), "a vector has another value than one column.")


@check("Do not override forward: it multiplies and reduces the values of the elements.")
def check_reductions(loss: Any) -> None:
    """Check that each reduction is the sum or the mean that its name says."""
    weight = torch.linspace(0.5, 2, 12, dtype=torch.float64)
    values = {
        reduction: _prepared(loss, params={"reduction": reduction})(*batch(), weight).squeeze()
        for reduction in ("none", "sum", "mean", "weighted_mean")
    }
    shape = tuple(values["none"].shape)
    require(shape == (12,), f"reduction='none' gives the shape {shape} for 12 rows.")
    close(values["none"].sum(), values["sum"], "reduction='sum' is wrong.")
    close(values["sum"] / 12, values["mean"], "reduction='mean' is wrong.")
    close(values["sum"] / weight.sum(), values["weighted_mean"], "'weighted_mean' is wrong.")


@check("batch_loss sums the values of the rows, each times its share.")
def check_batch_loss(loss: Any) -> None:
    """Check that ``batch_loss``, which training minimises, is the weighted mean over the rows."""
    weight = torch.linspace(0, 2, 12, dtype=torch.float64)
    for k in _widths(loss):
        ready, pair = _prepared(loss, k=k), batch(k=k)
        ready.set_epoch(0)
        value = ready.batch_loss(*pair, weight / 12)
        close(value, ready(*pair, weight), "batch_loss is not the value of a call.")
        nothing = ready.batch_loss(*pair, 0 * weight)
        require(nothing == 0, f"batch_loss of rows of weight 0 is {nothing}.")


@check("Do not override forward and prepare: they check shapes, dtypes and numbers.")
def check_bad_input(loss: Any) -> None:
    """Check that input that would be broadcast or become NaN is refused."""
    ready, (prediction, target) = _prepared(loss), batch()
    for wrong in (target[:, 0], target[:5], target.unsqueeze(2)):
        with raises(ValueError, "same shape", f"a target of shape {tuple(wrong.shape)}"):
            ready(prediction, wrong)
    with raises(ValueError, "floating point", "a target of integers"):
        ready(prediction, target.long())
    with raises(ValueError, "weight", "5 weights of 12 rows"):
        ready(prediction, target, torch.ones(5))
    targets: list[Any] = [[], [1.0, float("nan")], [[[1.0]]]]
    for given in targets:
        with raises(ValueError, "target", f"prepare({given})"):
            clone(loss).prepare(given)
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0]):
        with raises(ValueError, "weight", f"prepare([1.0, 2.0], {weights})"):
            clone(loss).prepare([1.0, 2.0], weights)


@check("Check the sign of the loss: it falls when the prediction nears the target.")
def check_learns(loss: Any) -> None:
    """Check that gradient descent on the predictions lowers the loss and the error."""
    ready = _prepared(loss, params={"reduction": "sum"})
    start, target = batch()
    prediction, path = start, []
    for _ in range(50):
        value, grad = value_and_gradient(lambda p: torch.as_tensor(ready(p, target)), prediction)
        path.append(value)
        prediction = prediction - 0.05 * grad
    require(path[-1] < path[0], f"50 steps lead from {path[0]:.4g} to {path[-1]:.4g}.")
    if _is_elementwise(loss):  # one that models the distribution may overshoot on purpose
        errors = [(p - target).square().mean() for p in (start, prediction)]
        require(errors[1] < errors[0], f"the squared error goes from {errors[0]} to {errors[1]}.")


# -- one value per element -------------------------------------------------------------------------


@check("Compute each value of per_output from its own element.")
def check_outputs_are_alone(loss: Any) -> None:
    """Check that several outputs are averaged, and that each can have a weight."""
    ready, (prediction, target) = _prepared(loss, k=3, params={"reduction": "none"}), batch(k=3)
    values = ready(prediction, target)
    require(values.shape == (12, 3), f"values of (12, 3) have the shape {tuple(values.shape)}.")
    close(values, ready.per_output(prediction, target), "per_output returns other values.")
    columns = [ready(prediction[:, i], target[:, i]) for i in range(3)]
    close(values, torch.stack(columns, dim=1), "columns have other values alone than together.")
    mean = clone(ready).set_params(reduction="mean")(prediction, target)
    close(mean, values.mean(), "reduction='mean' is not the mean over all elements.")
    weight = torch.linspace(0, 1, 36, dtype=torch.float64).reshape(12, 3)
    close(ready(prediction, target, weight), values * weight, "weights of elements are wrong.")


@check("Use torch functions on hyper-parameters, no if, float() or math functions on their values.")
def check_hyper_parameter_vector(loss: Any) -> None:
    """Check that hyper-parameters may be vectors, as when several nets are trained at once."""
    prediction, target = batch()
    for name, values in float_parameters(loss):
        ready = _prepared(loss)

        def result(value: Any, ready: Any = ready, name: str = name) -> Any:
            setattr(ready, name, value)
            return ready.per_output(prediction, target)

        expected = torch.stack([result(value) for value in values])
        actual = torch.func.vmap(result)(torch.tensor(values, dtype=torch.float64))
        close(actual, expected, f"per_output is wrong for a vector of {name}.")


@check("Correct the formula, _neutral_of, or set _neutral_params to None.")
def check_neutral_is_a_loss_of_torch(loss: Any) -> None:
    """Check that at its neutral parameters the loss is a multiple of one of torch's losses."""
    kind, factor = loss._neutral_of
    (prediction, target), reference = batch(), kind(reduction="none")
    neutral = type(loss)(**{**loss._neutral_params, "reduction": "none"})
    close(
        value_and_gradient(lambda p: torch.as_tensor(neutral(p, target)), prediction),
        value_and_gradient(lambda p: factor * reference(p, target), prediction),
        f"{neutral!r} is not {factor} times {kind.__name__}.",
    )


NAMED_CHECKS: list[Check] = [check_repr, check_constraints_are_complete, check_docstring]
REGRESSION_CHECKS: list[Check] = [
    check_params_round_trip,
    check_unknown_parameter,
    check_out_of_range,
    check_copies_give_the_same,
    check_prepare_again,
    check_dtype_follows,
    check_gradient,
    check_weights_are_repeats,
    check_extreme_values,
    check_half_precision,
    check_vectors_are_one_column,
    check_reductions,
    check_batch_loss,
    check_bad_input,
    check_learns,
]
ELEMENTWISE_CHECKS: list[Check] = [check_outputs_are_alone, check_hyper_parameter_vector]
NEUTRAL_CHECKS: list[Check] = [check_neutral_is_a_loss_of_torch]
