"""Checks of modules: what may be given to an estimator as its network."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from sklearn.base import clone
from torch import Tensor, nn

from imbtorch.modules import ModuleBuilder, build_module, members_of
from imbtorch.modules._build import input_dtypes
from imbtorch.testing._contract import (
    Check,
    check,
    close,
    pickled,
    raises,
    random_states,
    require,
    same_params,
)
from imbtorch.testing._parameter_checks import invalid_values

__all__ = ["BUILDER_CHECKS", "MODULE_CHECKS", "NAMED_CHECKS"]

_N_ROWS = 32
Shape = tuple[int, ...]


def _rows(input_shape: Shape, n: int = _N_ROWS) -> Tensor:
    """Make rows of numbers in [0, 1), which a module with an embedding can read as 0."""
    return torch.rand(n, *input_shape, generator=torch.Generator().manual_seed(0))


def _built(module: Any, input_shape: Shape, n_outputs: int, seed: int = 0) -> nn.Module:
    """Build the module from a seed, as an estimator does, and compute once with it.

    Lazy layers then know their sizes. The global random state stays as it is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = build_module(module, input_shape, n_outputs).train(False)
        if torch.int64 in input_dtypes(built, torch.float32, integers=False):
            built.register_forward_pre_hook(_as_integers)
        with torch.no_grad():
            built(_rows(input_shape, 2))
    return built


def _as_integers(module: nn.Module, rows: tuple[Tensor]) -> Tensor:
    return rows[0].long()


def _same_state(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# -- building --------------------------------------------------------------------------------------


@check("Create parameters inside build or the constructor, with the functions of torch.nn.init.")
def check_building(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that each fit builds a new network, and that the seed of torch determines it."""
    states = random_states()
    first, again = (_built(module, input_shape, n_outputs) for _ in range(2))
    for name, state in random_states().items():
        require(state == states[name], f"building moves the random state of {name}.")
    require(_same_state(first, again), "two networks that are built from one seed differ.")
    storages = {parameter.data_ptr() for parameter in first.parameters() if parameter.numel()}
    shared = [name for name, p in again.named_parameters() if p.data_ptr() in storages]
    require(not shared, f"two networks share the parameters {shared}.")


@check(
    "The last layer has n_outputs columns; one column may stand for two classes. A module with the "
    "attribute n_members returns (n, n_members, n_outputs)."
)
def check_output(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that rows ``(n, *input_shape)`` become outputs ``(n, n_outputs)`` of the same dtype.

    The outputs of several members have shape ``(n, n_members, n_outputs)``.
    """
    built = _built(module, input_shape, n_outputs)
    n_members = members_of(built)
    wanted = {n_outputs, 1} if n_outputs == 2 else {n_outputs}
    for dtype in (torch.float32, torch.float64):
        built = built.to(dtype)
        for n in (1, _N_ROWS):
            output = built(_rows(input_shape, n).to(dtype))
            require(isinstance(output, Tensor), f"it returned a {type(output).__name__}.")
            shape = tuple(output.shape)
            rows = (n,) if len(shape) == 2 or n_members is None else (n, n_members)
            fits = shape[:-1] == rows and shape[-1] in wanted
            require(fits, f"it returned {shape} for {n} rows; n_outputs is {n_outputs}.")
            require(output.dtype == dtype, f"it returned {output.dtype} for rows of {dtype}.")
            require(output.isfinite().all(), "it returned numbers that are not finite.")


@check("Leave out the softmax or sigmoid at the end: losses take logits.")
def check_logits(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that outputs are logits, not probabilities."""
    built = _built(module, input_shape, n_outputs)
    last = built[-1] if isinstance(built, nn.Sequential) and len(built) else built
    require(not isinstance(last, nn.Softmax | nn.Sigmoid), f"its last layer is {last}.")
    output = built(_rows(input_shape))
    sums = output.sum(dim=-1)
    ones = output.shape[-1] > 1 and torch.allclose(sums, torch.ones_like(sums), atol=1e-5)
    require(not (ones and (output >= 0).all()), "the outputs of each row are >= 0 and sum to 1.")


@check("Let nothing depend on other rows once the module is in evaluation mode.")
def check_row_alone(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that the prediction for a row does not depend on the rows predicted with it."""
    built = _built(module, input_shape, n_outputs).double()
    rows = _rows(input_shape).double()
    with torch.no_grad():
        together, again = built(rows), built(rows)
        alone = torch.cat([built(rows[i : i + 1]) for i in range(len(rows))])
    require(torch.equal(together, again), "two predictions of the same rows differ.")
    close(alone, together, "rows have other outputs alone than together.")


@check("Keep tensors as parameters or buffers, and write the class at the top level of a file.")
def check_copies_give_the_same(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that pickle, ``copy.deepcopy`` and ``state_dict`` keep the network as it is."""
    built, rows = _built(module, input_shape, n_outputs), _rows(input_shape)
    other = _built(module, input_shape, n_outputs, seed=1)
    kinds = {name: type(value) for name, value in built.state_dict().items()}
    plain = [name for name, kind in kinds.items() if not issubclass(kind, Tensor)]
    require(not plain, f"state_dict has entries that are no tensors: {plain}.")
    other.load_state_dict(built.state_dict())
    copies = {"pickle": pickled(built), "deepcopy": copy.deepcopy(built), "state_dict": other}
    with torch.no_grad():
        for way, copied in copies.items():
            require(torch.equal(copied(rows), built(rows)), f"{way} changes the outputs.")


@check("Keep every tensor as a parameter or a buffer, and make new tensors like the input.")
def check_device_follows(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that ``.to(device)`` moves every tensor (tried with the device ``meta``)."""
    built = _built(module, input_shape, n_outputs).to("meta")
    device = built(_rows(input_shape).to("meta")).device.type
    require(device == "meta", f"outputs are on {device} after .to('meta').")


# -- learning --------------------------------------------------------------------------------------


@check("Use every parameter in forward, or set its requires_grad to False.")
def check_gradients(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that every trainable parameter gets a finite gradient."""
    built = _built(module, input_shape, n_outputs).train(True)
    output = built(_rows(input_shape))
    require(output.requires_grad, "outputs have no gradient.")
    output.square().mean().backward()
    for name, parameter in built.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            require(gradient is not None, f"parameter {name} has no gradient.")
            assert gradient is not None
            require(gradient.isfinite().all(), f"the gradient of {name} is not finite.")


@check("Check the initial values of the parameters, and that no layer ends all gradients.")
def check_learns(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that a few steps of an optimizer lower the error on the training rows."""
    built = _built(module, input_shape, n_outputs)  # in evaluation mode: without dropout
    rows = _rows(input_shape)
    target = torch.linspace(-1, 1, _N_ROWS)
    optimizer = torch.optim.Adam([p for p in built.parameters() if p.requires_grad], lr=0.01)
    path = []
    for _ in range(50):
        optimizer.zero_grad()
        output = built(rows)
        error = (output - target.reshape(-1, *[1] * (output.ndim - 1))).square().mean()
        error.backward()
        optimizer.step()
        path.append(float(error.detach()))
    require(path[-1] < path[0], f"50 steps lead from an error of {path[0]:.4g} to {path[-1]:.4g}.")


# -- builders --------------------------------------------------------------------------------------


@check("__init__ stores every parameter unchanged under its own name, and has defaults for all.")
def check_params_round_trip(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that parameters can be copied and set, and that building does not change them."""
    params = module.get_params()
    require(same_params(clone(module).get_params(), params), "a clone has other parameters.")
    again = type(module)().set_params(**params).get_params()
    require(same_params(again, params), f"set_params({params}) led to {again}.")
    require(same_params(pickled(module).get_params(), params), "pickle changes the parameters.")
    _built(module, input_shape, n_outputs)
    attributes = vars(module).keys()
    require(attributes == params.keys(), f"attributes {set(attributes)} are not the parameters.")
    require(same_params(module.get_params(), params), "building changes a parameter.")


@check("Call self._validate_parameters() at the beginning of build.")
def check_out_of_range(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that a value that is not allowed is refused by name when the network is built."""
    for name, allowed in module._parameter_constraints.items():
        for value in invalid_values(allowed):
            wrong = type(module)(**{**module.get_params(), name: value})
            with raises(ValueError, name, f"build with {name}={value!r}"):
                wrong.build(input_shape, n_outputs)


@check("Return less from smallest_size: a file with the trained network must not be refused.")
def check_smallest_size(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that ``smallest_size`` is a lower bound of the size of the network."""
    n_tensors, n_numbers = module.smallest_size(n_outputs)
    state = _built(module, input_shape, n_outputs).state_dict()
    size = sum(value.numel() for value in state.values())
    require(n_tensors <= len(state), f"it says {n_tensors} tensors; there are {len(state)}.")
    require(n_numbers <= size, f"it says {n_numbers} numbers; there are {size}.")


@check(
    "Give _parameter_constraints an entry for each parameter, such as "
    '{"width": [Interval(Integral, 1, None, closed="left")]}, and none for others.'
)
def check_constraints_are_complete(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that every parameter has a constraint, so that its values are validated."""
    own, constrained = module.get_params().keys(), module._parameter_constraints.keys()
    require(own == constrained, f"parameters are {sorted(own)}, constrained {sorted(constrained)}.")


@check("Write a docstring in the style of numpydoc.")
def check_docstring(module: Any, input_shape: Shape, n_outputs: int) -> None:
    """Check that the documentation names every parameter and has an example that runs."""
    doc = inspect.getdoc(type(module)) or ""
    require("\n>>> " in doc, "there is no example that runs.")
    for name in module.get_params():
        require(f"\n{name} : " in doc, f"parameter {name} is not documented.")


MODULE_CHECKS: list[Check] = [
    check_building,
    check_output,
    check_logits,
    check_row_alone,
    check_copies_give_the_same,
    check_device_follows,
    check_gradients,
    check_learns,
]
BUILDER_CHECKS: list[Check] = [check_params_round_trip, check_out_of_range, check_smallest_size]
NAMED_CHECKS: list[Check] = [check_constraints_are_complete, check_docstring]


def checks_of(module: Any) -> list[Check]:
    """List the checks that apply to a module: more to builders, and more to those with a name."""
    if not isinstance(module, ModuleBuilder):
        return list(MODULE_CHECKS)
    return [*MODULE_CHECKS, *BUILDER_CHECKS, *(NAMED_CHECKS if module.name else [])]
