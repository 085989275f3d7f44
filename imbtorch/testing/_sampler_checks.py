"""Checks of samplers: 375 rows of four classes, one of which has no rows."""

from __future__ import annotations

import inspect
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone

from imbtorch.testing._contract import (
    Check,
    check,
    pickled,
    raises,
    random_states,
    require,
    same_params,
)
from imbtorch.testing._parameter_checks import invalid_values

__all__ = ["BATCH_SIZE", "CODES", "NAMED_CHECKS", "N_CLASSES", "SAMPLER_CHECKS", "plan_of"]

# class 2 has no rows
CODES = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [300, 60, 15])).astype(np.uint8)
N_CLASSES, BATCH_SIZE = 4, 32
_N_ROWS, _N_LABELS = len(CODES), 5
_SEED = "Draw from numpy.random.default_rng([seed, epoch]) in order, and from nothing else."


def plan_of(sampler: Any, codes: Any = CODES, n_classes: int = N_CLASSES, seed: int = 7) -> Any:
    """Plan the epochs over the rows of the checks."""
    return sampler.plan(codes, n_classes, batch_size=BATCH_SIZE, seed=seed)


def _label_matrix() -> Any:
    return sparse.csr_array(np.random.default_rng(0).random((_N_ROWS, _N_LABELS)) < 0.1)


# -- parameters ----------------------------------------------------------------------------------


@check("__init__ stores every parameter unchanged under its own name, and has defaults for all.")
def check_params_round_trip(sampler: Any) -> None:
    """Check that parameters can be read, copied and set, as searches and pipelines do."""
    params = sampler.get_params()
    require(same_params(clone(sampler).get_params(), params), "a clone has other parameters.")
    again = type(sampler)().set_params(**params).get_params()
    require(same_params(again, params), f"set_params({params}) led to {again}.")
    require(type(sampler).__name__ in repr(sampler), f"the repr {sampler!r} lacks the class.")


@check("Let _parameter_constraints list the allowed values of each parameter.")
def check_out_of_range(sampler: Any) -> None:
    """Check that a value that is not allowed is refused by name when the epochs are planned."""
    for name, allowed in sampler._parameter_constraints.items():
        for value in invalid_values(allowed):
            wrong = type(sampler)(**{**sampler.get_params(), name: value})
            with raises(ValueError, name, f"plan with {name}={value!r}"):
                plan_of(wrong)


@check(
    "Give _parameter_constraints an entry for each parameter, such as "
    '{"power": [Interval(Real, None, 1, closed="right")]}, and none for others.'
)
def check_constraints_are_complete(sampler: Any) -> None:
    """Check that every parameter has a constraint, so that its values are validated."""
    own, constrained = sampler.get_params().keys(), sampler._parameter_constraints.keys()
    require(own == constrained, f"parameters are {sorted(own)}, constrained {sorted(constrained)}.")


@check("Write a docstring in the style of numpydoc.")
def check_docstring(sampler: Any) -> None:
    """Check that the documentation names every parameter and has an example that runs."""
    doc = inspect.getdoc(type(sampler)) or ""
    require("\n>>> " in doc, "there is no example that runs.")
    for name in sampler.get_params():
        require(f"\n{name} : " in doc, f"parameter {name} is not documented.")


@check("Keep what a plan computes in the plan. A sampler has attributes for parameters only.")
def check_plan_changes_nothing(sampler: Any) -> None:
    """Check that a plan changes neither the sampler nor the targets nor the global random state."""
    before, states, codes = joblib.hash(vars(sampler)), random_states(), CODES.copy()
    codes.flags.writeable = False
    plan = plan_of(sampler, codes)
    plan.order(0, 3)
    plan.expected_counts()
    for name, state in random_states().items():
        require(state == states[name], f"the global random state of {name} has moved.")
    require(joblib.hash(vars(sampler)) == before, "the sampler has changed.")
    attributes, params = vars(sampler).keys(), sampler.get_params().keys()
    require(attributes == params, f"attributes {set(attributes)} are not the parameters.")


# -- the rows of an epoch --------------------------------------------------------------------------


@check("order returns a contiguous array of row numbers, int32 where they fit.")
def check_positions(sampler: Any) -> None:
    """Check that an epoch is an array of row numbers, of a small integer dtype."""
    for seed in (0, 7, 2**31 - 2):
        plan = plan_of(sampler, seed=seed)
        for epoch in range(3):
            order = plan.order(epoch, 3)
            require(order.dtype == np.int32, f"positions of 375 rows are {order.dtype}, not int32.")
            require(order.ndim == 1, f"positions have {order.ndim} dimensions.")
            require(len(order), "an epoch has no rows.")
            require(order.flags.c_contiguous, "positions are not contiguous in memory.")
            low, high = order.min(), order.max()
            require(low >= 0 and high < _N_ROWS, f"positions of 375 rows go from {low} to {high}.")


@check(_SEED)
def check_seed(sampler: Any) -> None:
    """Check that the seed determines every epoch, in whatever order they are asked for."""
    first, second = plan_of(sampler), plan_of(clone(sampler))
    orders = [first.order(epoch, 12) for epoch in range(12)]
    for epoch in (11, 3, 0, 7):
        for plan in (second, first):
            same = np.array_equal(plan.order(epoch, 12), orders[epoch])
            require(same, f"epoch {epoch} is another one when it is asked for again.")
    require(not np.array_equal(orders[0], orders[1]), "epochs 0 and 1 are the same.")
    other = plan_of(sampler, seed=8).order(0, 12)
    require(not np.array_equal(orders[0], other), "seeds 7 and 8 give the same epoch.")


@check("A plan keeps arrays and numbers; write its class at the top level of a file.")
def check_plan_can_be_pickled(sampler: Any) -> None:
    """Check that a plan can be pickled, as checkpoints and worker processes do."""
    plan = plan_of(sampler)
    expected = plan.order(5, 10)
    same = np.array_equal(pickled(plan).order(5, 10), expected)
    require(same, "epoch 5 is another one after pickling.")


@check(
    "expected_counts returns the rows of each class in an epoch, as float64, averaged over "
    "n_epochs; without n_epochs, over infinitely many."
)
def check_expected_counts(sampler: Any) -> None:
    """Check that the expected counts, from which priors follow, are the mean over many epochs."""
    plan, n_epochs = plan_of(sampler), 400
    expected = plan.expected_counts(n_epochs)
    shape = (expected.shape, expected.dtype)
    require(shape == ((N_CLASSES,), np.float64), f"expected_counts returns {shape}.")
    if not sampler._counts_rows:
        return
    counts = np.array([_count(plan.order(epoch, n_epochs)) for epoch in range(n_epochs)])
    error = counts.std(axis=0) / np.sqrt(n_epochs)
    require(
        (np.abs(counts.mean(axis=0) - expected) <= 4 * error + 1e-9).all(),
        f"expected_counts({n_epochs}) is {expected.tolist()}; the mean over {n_epochs} epochs is "
        f"{counts.mean(axis=0).tolist()}.",
    )
    many, limit = plan.expected_counts(10**9), plan.expected_counts()
    require(
        np.allclose(many, limit, rtol=1e-6, atol=0),
        f"expected_counts(10**9) is {many.tolist()}, expected_counts() is {limit.tolist()}.",
    )


def _count(order: NDArray[Any]) -> NDArray[Any]:
    return np.bincount(CODES[order], minlength=N_CLASSES)


@check("Draw positions of rows, from the classes that have some.")
def check_class_without_rows(sampler: Any) -> None:
    """Check that a class without rows is never drawn."""
    plan = plan_of(sampler)
    expected = plan.expected_counts()[2]
    require(expected == 0, f"expected_counts says {expected} for a class without rows.")
    require(2 not in CODES[plan.order(0, 1)], "positions of a class without rows are drawn.")


@check("Shuffle the positions of an epoch last.")
def check_orders_are_shuffled(sampler: Any) -> None:
    """Check that an epoch is not sorted, neither by position nor by class."""
    order = plan_of(sampler).order(1, 4)
    require(not np.array_equal(order, np.sort(order)), "positions are sorted.")
    for part in np.array_split(CODES[order], 4):
        require(len(np.unique(part)) > 1, "a quarter of an epoch holds one class only.")


# -- input -----------------------------------------------------------------------------------------


@check("Set _takes_labels to whether _plan works on a CSR matrix of labels.")
def check_label_matrix(sampler: Any) -> None:
    """Check that a label matrix is either sampled from or refused."""
    sampler, labels = type(sampler)(), _label_matrix()
    if not sampler._takes_labels:
        with raises(ValueError, rf"{type(sampler).__name__}.*label", "a label matrix"):
            plan_of(sampler, labels, _N_LABELS)
        return
    plan = plan_of(sampler, labels, _N_LABELS)
    shape = plan.expected_counts().shape
    require(shape == (_N_LABELS, 2), f"expected_counts of 5 labels has the shape {shape}.")
    require(plan.order(0, 1).max() < _N_ROWS, "positions are out of range.")


@check("Override _plan, not plan: plan checks the targets.")
def check_bad_input(sampler: Any) -> None:
    """Check that targets that are not class codes are refused, and so is a batch size of 0."""
    sampler = type(sampler)()
    wrong: list[tuple[Any, str]] = [
        (np.zeros((3, 2), dtype=int), "one-dimensional"),
        (np.array([0.0, 1.0]), "integers"),
        (np.array([], dtype=int), "empty"),
        (np.array([0, 4]), r"\[0, 4\)"),
        (np.array([-1, 0]), r"\[0, 4\)"),
    ]
    for codes, match in wrong:
        with raises(ValueError, match, f"targets {codes.tolist()} of {codes.dtype}"):
            plan_of(sampler, codes)
    with raises(ValueError, "batch_size", "batch_size=0"):
        sampler.plan(CODES, N_CLASSES, batch_size=0, seed=0)


@check("Convert the codes where their range or sign matters: uint8 wraps around.")
def check_integer_types(sampler: Any) -> None:
    """Check that class codes of any integer type give the same epochs."""
    sampler = type(sampler)()
    expected = plan_of(sampler).order(0, 2)
    for kind in (np.int64, np.uint16, np.int8):
        order = plan_of(sampler, CODES.astype(kind)).order(0, 2)
        require(np.array_equal(order, expected), f"codes of {np.dtype(kind)} give another epoch.")


@check("Let every class have at least one row in an epoch.")
def check_one_row(sampler: Any) -> None:
    """Check that the epoch of a data set of one row is this row."""
    order = type(sampler)().plan(np.array([0]), 1, batch_size=1, seed=0).order(0, 1)
    require(np.array_equal(order, [0]), f"the epoch of one row has the positions {order.tolist()}.")


NAMED_CHECKS: list[Check] = [check_constraints_are_complete, check_docstring]
SAMPLER_CHECKS: list[Check] = [
    check_params_round_trip,
    check_out_of_range,
    check_plan_changes_nothing,
    check_positions,
    check_seed,
    check_plan_can_be_pickled,
    check_expected_counts,
    check_class_without_rows,
    check_orders_are_shuffled,
    check_label_matrix,
    check_bad_input,
    check_integer_types,
    check_one_row,
]
