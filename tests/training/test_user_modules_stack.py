"""A stack of user modules gives what single fits give, whatever the modules do."""

import warnings
from threading import Lock

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from torch import nn
from torch.nn import functional as F

from imbtorch import NotStackedWarning
from imbtorch.training.stack.attributes import (
    IncomparableError,
    attributes_of,
    changed_by_forward,
)
from tests.toy import steady
from tests.training.stacked import FOLDS, assert_same, members, net, refitted, together

# All of these are deterministic, so that a stack must agree with single fits exactly.
TRICKS = (
    "noise", "dropout", "temperature", "counter", "assigned", "in place", "hidden buffer", "tied",
    "tied in a list", "autocast", "hook", "gradient hook", "stored", "overwrites", "random",
)  # fmt: skip
STACKABLE = {
    "noise", "dropout", "temperature", "in place", "hidden buffer", "tied", "overwrites"
}  # fmt: skip


class Tricky(nn.Module):
    """Does what user modules do; ``strength`` is a plain attribute."""

    def __init__(self, n_features, n_outputs, tricks, strength):
        super().__init__()
        self.tricks, self.strength, self.calls = tricks, strength, 0
        self.first = nn.Linear(n_features, n_features)
        self.second = nn.Linear(n_features, n_features)
        self.out = nn.Linear(n_features, n_outputs)
        persistent = "hidden buffer" not in tricks
        self.register_buffer("mean", torch.zeros(n_features), persistent=persistent)
        if "tied" in tricks:
            self.second.weight = self.first.weight
        if "tied in a list" in tricks:
            self.weights = [self.first.weight]
        if "hook" in tricks:
            self.first.register_forward_hook(lambda layer, given, output: output * strength)
        if "gradient hook" in tricks:
            self.out.weight.register_hook(lambda gradient: gradient * 0.5)

    def forward(self, x):
        tricks, strength = self.tricks, self.strength
        if "overwrites" in tricks:
            x -= strength
        if "noise" in tricks and self.training:
            x = x + strength * torch.linspace(-1, 1, x.shape[1], dtype=x.dtype)
        if "random" in tricks:
            x = x + 0.0 * torch.rand_like(x)
        x = torch.tanh(self.first(x))
        if "dropout" in tricks:
            x = F.dropout(x, float(strength > 0.5), self.training)
        if "tied in a list" in tricks:
            x = x @ self.weights[0]
        if "counter" in tricks:
            self.calls += 1
            x = x * (1 + self.calls / 100)
        if self.training and "assigned" in tricks:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        if self.training and {"in place", "hidden buffer"} & {*tricks}:
            self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        x = torch.tanh(self.second(x - self.mean))
        if "stored" in tricks:
            self.activation = x
        with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in tricks):
            outputs = self.out(x)
        return outputs * strength if "temperature" in tricks else outputs


class Builder(BaseEstimator):
    def __init__(self, tricks=(), strength=1.0):
        self.tricks, self.strength = tricks, strength

    def build(self, input_shape, n_outputs):
        return Tricky(input_shape[0], n_outputs, self.tricks, self.strength)


def grouped(params, lr, weight_decay):
    """Two groups of parameters, of which the second is trained more slowly."""
    first, *others = params
    groups = [{"params": [first]}, {"params": others, "lr": lr / 2, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)


def compared(tricks, strengths=(0.2, 0.9), **options):
    """Compare stacks with single fits; return the sizes of the stacks, and the reasons."""
    dtype = "float32" if "autocast" in tricks else "float64"  # autocast leaves float64 alone
    estimator = net(**{"max_epochs": 2, "module": Builder(tricks), "dtype": dtype, **options})
    pairs = members(estimator, [{"module__strength": s} for s in strengths], FOLDS[:2])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sizes, errors = together(pairs)
    assert errors == [None] * len(pairs)
    for stacked, rows in pairs:
        assert_same(stacked, refitted(stacked, rows), tol=1e-5)
    return sizes, [str(w.message) for w in caught if w.category is NotStackedWarning]


@pytest.mark.slow
@settings(steady, max_examples=25)
@given(
    st.sets(st.sampled_from(TRICKS), max_size=3).map(lambda drawn: tuple(sorted(drawn))),
    st.sampled_from(["cross_entropy", "focal", "logit_adjusted"]),
    st.sampled_from(["adamw", "sgd", grouped]),
    st.sampled_from([0.0, 0.05]),
)
@example(("dropout", "noise"), "focal", grouped, 0.0)
@example(("autocast", "counter"), "cross_entropy", "sgd", 0.05)
def test_stack_of_any_module_gives_what_single_fits_give(tricks, loss, optimizer, sharpness):
    sizes, reasons = compared(tricks, loss=loss, optimizer=optimizer, sharpness=sharpness)
    assert sum(sizes) == 4 or reasons


@pytest.mark.parametrize("trick", TRICKS)
def test_each_trick_alone(trick):
    sizes, reasons = compared((trick,))
    if trick in STACKABLE:  # nets of one strength are one stack
        assert (sizes, reasons) == ([2, 2], [])
    elif trick != "random":
        assert not sizes
        assert len(reasons) == 1


def test_nets_whose_attributes_all_differ_are_said_to_be_alone():
    estimator = net(max_epochs=1, module=Builder(("temperature",)))
    pairs = members(estimator, [{"module__strength": s} for s in (0.2, 0.9)], FOLDS[:1])
    with pytest.warns(NotStackedWarning, match="Tricky differ in more than their parameters"):
        assert together(pairs)[0] == []


class Holder(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x)


class Config:
    def __init__(self, value):
        self.value = value


PAIRS = {
    "numbers": (1, 2), "types": (1, True), "texts": ("a", "b"), "lists": ([1, [2]], [1, [3]]),
    "dicts": ({"a": 1}, {"a": 2}), "arrays": (torch.ones(3).numpy(), torch.zeros(3).numpy()),
    "tensors": (torch.ones(3), torch.zeros(3)), "dtypes": (torch.float32, torch.float64),
    "shapes": (torch.ones(4), torch.ones(2, 2)), "sets": ({1, 2}, {1, 3}),
    "functions": (torch.relu, torch.tanh), "objects": (Config(1), Config(2)),
    "lambdas": (lambda x: x + 1, lambda x: x + 2), "layers": (nn.Dropout(0.1), nn.Dropout(0.2)),
    "half": (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_values_are_compared_by_what_they_hold(name):
    one, other = map(Holder, PAIRS[name])
    assert attributes_of(one) != attributes_of(other)
    assert attributes_of(one) == attributes_of(Holder(PAIRS[name][0]))
    hash(attributes_of(one))


def test_closures_are_compared():
    def times(factor):
        return lambda x: factor * x

    assert attributes_of(Holder(times(2))) == attributes_of(Holder(times(2)))
    assert attributes_of(Holder(times(2))) != attributes_of(Holder(times(3)))


def test_values_that_cannot_be_compared_have_a_reason():
    with pytest.raises(IncomparableError, match="attribute value of Holder, a lock, cannot"):
        attributes_of(Holder(Lock()))
    module = Holder(None)
    module.value = {"weights": module.layer.weight[:1]}
    with pytest.raises(IncomparableError, match="keeps a parameter or buffer in the attribute"):
        attributes_of(module)


def test_value_that_holds_itself_ends():
    value = []
    value.append(value)
    assert attributes_of(Holder(value)) == attributes_of(Holder(value))


def test_changes_by_forward_are_found():
    class Replaces(Holder):
        def forward(self, x):
            self.layer.weight.data = self.layer.weight.data * 0.5
            return self.layer(x)

    assert changed_by_forward(Holder(None), torch.ones(2, 2)) is None
    assert "assigns layer.weight" in changed_by_forward(Replaces(None), torch.ones(2, 2))
