"""Checks of parameters, of ``prepare`` and of the documentation, for losses of any form."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from numbers import Real
from typing import Any

import torch
from sklearn.base import clone

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses._base import LossModule
from imbtorch.testing._contract import Check, check, pickled, raises, require, same_params
from imbtorch.testing._loss_inputs import CLASS_WEIGHT, COUNTS, batch, prepared

__all__ = [
    "DOCUMENTATION_CHECKS",
    "LEARNED_CHECKS",
    "PARAMETER_CHECKS",
    "float_parameters",
    "invalid_values",
]


@check(
    "__init__ takes weight, ignore_index and reduction as keywords, gives them to "
    "super().__init__, and stores every other parameter unchanged under its own name."
)
def check_params_round_trip(loss: Any) -> None:
    """Check that parameters can be read, copied and set, as searches and pipelines do."""
    given = {"weight": list(CLASS_WEIGHT), "ignore_index": 1, "reduction": "sum"}
    original = type(loss)(**{**loss.get_params(), **given})
    params = original.get_params()
    weight = params["weight"].tolist()
    require(weight == list(CLASS_WEIGHT), f"weight {given['weight']} was stored as {weight}.")
    expected = {**loss.get_params(), **given, "weight": None}
    require(
        same_params({**params, "weight": None}, expected),
        f"get_params returned {params} after {expected} were given.",
    )
    copied = clone(original)
    require(copied is not original, "sklearn.base.clone returned the object itself.")
    require(same_params(params, copied.get_params()), "a clone has other parameters.")
    again = type(loss)().set_params(**params).get_params()
    require(same_params(params, again), f"set_params({params}) led to {again}.")


@check("Store everything in parameters, buffers and plain attributes, never in closures.")
def check_pickle(loss: Any) -> None:
    """Check that pickle and ``copy.deepcopy`` keep parameters and what ``prepare`` learned."""
    loss = prepared(loss, params={"weight": list(CLASS_WEIGHT)})
    logits, target = batch()
    for way, other in (("pickle", pickled(loss)), ("copy.deepcopy", copy.deepcopy(loss))):
        require(
            same_params(loss.get_params(), other.get_params()), f"{way} changes the parameters."
        )
        require(
            torch.equal(loss(logits, target), other(logits, target)), f"{way} changes the value."
        )


@check("Do not override __repr__ and extra_repr, or show each parameter as name=value.")
def check_repr(loss: Any) -> None:
    """Check that the repr is the code that builds the loss."""
    for weight in (None, list(CLASS_WEIGHT)):
        loss = clone(loss).set_params(weight=weight)
        names = {type(loss).__name__: type(loss), "tensor": torch.tensor}
        built = eval(repr(loss), names)  # noqa: S307 - the repr of the object that is checked
        require(
            same_params(loss.get_params(), built.get_params()),
            f"{loss!r} builds a loss with the parameters {built.get_params()}.",
        )


@check("Do not override get_params and set_params.")
def check_unknown_parameter(loss: Any) -> None:
    """Check that an unknown parameter is refused, with a message that lists the valid names."""
    for mentioned in ("no_such_parameter", *map(repr, loss.get_params())):
        with raises(ValueError, mentioned, "set_params(no_such_parameter=1)"):
            loss.set_params(no_such_parameter=1)


def invalid_values(constraints: list[Any]) -> Iterator[Any]:
    """Yield values that violate all of a parameter's constraints."""
    yield "no such value"
    for interval in constraints:
        if not isinstance(interval, Interval):
            continue
        yield float("nan")
        if interval.left is not None:
            yield interval.left - 1
        if interval.right is not None:
            yield interval.right + 1
            if interval.closed in {"left", "neither"}:
                yield interval.right


@check("Store parameters unchanged in __init__; let _parameter_constraints list what is allowed.")
def check_out_of_range(loss: Any) -> None:
    """Check that ``__init__`` only stores values, and ``prepare`` refuses invalid ones."""
    constraints = {**loss._parameter_constraints, **loss._base_constraints}
    constraints.pop("weight", None)  # stored as a tensor, and validated on its own
    for name, allowed in constraints.items():
        for value in invalid_values(allowed):
            built = type(loss)(**{**loss.get_params(), name: value})
            stored = built.get_params()[name]
            require(stored is value, f"{name}={value!r} was stored as {stored!r}.")
            for mentioned in (name, type(loss).__name__):
                with raises(ValueError, mentioned, f"prepare with {name}={value!r}"):
                    built.prepare(COUNTS)


@check(
    "Give _parameter_constraints an entry for each hyper-parameter, such as "
    '{"gamma": [Interval(Real, 0, None, closed="left")]}, and none for others.'
)
def check_constraints_are_complete(loss: Any) -> None:
    """Check that every hyper-parameter has a constraint, so that its values are validated."""
    own = loss.get_params().keys() - loss._base_constraints.keys()
    constrained = loss._parameter_constraints.keys()
    require(own == constrained, f"parameters are {sorted(own)}, constrained {sorted(constrained)}.")


@check("_prepare computes buffers from the counts that it is given, and from nothing else.")
def check_prepare_again(loss: Any) -> None:
    """Check that ``prepare`` works in place, forgets earlier counts and sets no parameter."""
    logits, target = batch()
    params = loss.get_params()
    once = clone(loss)
    require(once.prepare(COUNTS) is once, "prepare did not return the loss itself.")
    twice = clone(loss).prepare((7, 7, 7)).prepare(COUNTS).prepare(torch.tensor(COUNTS))
    require(
        torch.equal(once(logits, target), twice(logits, target)),
        "the value differs after prepare has been called with other counts before.",
    )
    require(same_params(params, once.get_params()), "prepare changed a parameter.")


@check("Register in __init__, as None, every buffer that _prepare sets.")
def check_clone_forgets(loss: Any) -> None:
    """Check that a clone is not prepared: in a search it would carry the counts of another fold."""
    fresh, again = clone(loss), clone(prepared(loss))
    require(
        fresh.state_dict().keys() == again.state_dict().keys(),
        f"the state of a clone of a prepared loss has {sorted(again.state_dict())}, that of a new "
        f"loss {sorted(fresh.state_dict())}.",
    )
    logits, target = batch()
    values = [one.prepare((1, 2, 3))(logits, target) for one in (fresh, again)]
    require(torch.equal(*values), "a clone of a prepared loss has another value than a new one.")


@check(
    "Write a docstring in the style of numpydoc, with the formula in a math directive and the "
    "source as :arxiv:`number` or :doi:`number`."
)
def check_docstring(loss: Any) -> None:
    """Check that the docstring has a formula, all parameters, a reference and an example."""
    doc = inspect.getdoc(type(loss)) or ""
    for section in ("Parameters", "References", "Examples"):
        require(f"\n{section}\n{'-' * len(section)}\n" in doc, f"there is no section {section}.")
    require(".. math::" in doc, "there is no formula.")
    require(":arxiv:" in doc or ":doi:" in doc, "there is no reference to a paper.")
    require("\n>>> " in doc, "there is no example that runs.")
    for name in loss.get_params():
        require(f"\n{name} : " in doc, f"parameter {name} is not documented.")


# -- hyper-parameters that are numbers -----------------------------------------------------------


def float_parameters(loss: LossModule) -> Iterator[tuple[str, list[float]]]:
    """Yield the names of the float hyper-parameters, and three or two valid values of each."""
    for name, default in type(loss)().get_params().items():
        if not isinstance(default, float):
            continue
        if name not in loss._parameter_constraints:
            yield name, [default * factor for factor in (0.8, 1.0, 1.2)]
            continue
        intervals = [c for c in loss._parameter_constraints[name] if isinstance(c, Interval)]
        require(
            len(intervals) == 1 and issubclass(intervals[0].type, Real),
            f"the constraints of the number {name} have {len(intervals)} intervals, not 1.",
        )
        left, right, closed = intervals[0].left, intervals[0].right, intervals[0].closed
        if left is None and right is not None:
            left = right - 2.0
        low = 0.0 if left is None else float(left)
        width = 2.0 if right is None else right - low
        values = [low + width * share for share in (0.0, 0.2, 0.8)]
        yield name, values if closed in {"left", "both"} else values[1:]


PARAMETER_CHECKS: list[Check] = [
    check_params_round_trip,
    check_repr,
    check_unknown_parameter,
    check_out_of_range,
]
DOCUMENTATION_CHECKS: list[Check] = [check_constraints_are_complete, check_docstring]
LEARNED_CHECKS: list[Check] = [check_pickle, check_prepare_again, check_clone_forgets]
