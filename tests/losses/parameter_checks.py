"""scikit-learn's parameter contract, ``prepare`` and documentation; see ``checks.py``."""

import copy
import inspect
import pickle

import pytest
import torch
from sklearn.base import clone

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses import BaseLoss
from tests.losses.inputs import CLASS_WEIGHT, COUNTS, batch, prepared


def same_params(first, second):
    """Whether two sets of parameters are equal: tensors by value, modules by their settings."""

    def plain(value):
        if isinstance(value, torch.Tensor):
            return value.tolist()
        if isinstance(value, torch.nn.Module):
            return type(value), {k: v for k, v in vars(value).items() if not k.startswith("_")}
        return value

    return {key: plain(value) for key, value in first.items()} == {
        key: plain(value) for key, value in second.items()
    }


def check_params_round_trip(loss):
    """Searches and pipelines read, copy and set parameters in any of these ways."""
    given = {"weight": list(CLASS_WEIGHT), "ignore_index": 1, "reduction": "sum"}
    original = type(loss)(**{**loss.get_params(), **given})
    params = original.get_params()
    assert params["weight"].tolist() == list(CLASS_WEIGHT)
    assert same_params({**params, "weight": None}, {**loss.get_params(), **given, "weight": None})
    assert same_params(params, clone(original).get_params())
    assert same_params(params, type(loss)().set_params(**params).get_params())
    assert clone(original) is not original


def check_pickle(loss):
    """Workers of a search and saved models pickle a loss with all that it has learned."""
    loss = prepared(loss, weight=list(CLASS_WEIGHT))
    logits, target = batch()
    for other in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert same_params(loss.get_params(), other.get_params())
        assert torch.equal(loss(logits, target), other(logits, target))


def check_repr(loss):
    """The repr is the code that builds the loss."""
    for weight in (None, list(CLASS_WEIGHT)):
        loss = clone(loss).set_params(weight=weight)
        names = {type(loss).__name__: type(loss), "tensor": torch.tensor}
        assert same_params(loss.get_params(), eval(repr(loss), names).get_params())


def check_unknown_parameter(loss):
    """A typo must not pass silently; the message lists the valid names."""
    with pytest.raises(ValueError, match="no_such_parameter") as caught:
        loss.set_params(no_such_parameter=1)
    for name in loss.get_params():
        assert repr(name) in str(caught.value)


def invalid_values(constraints):
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


def check_out_of_range(loss):
    """As in scikit-learn, ``__init__`` only stores; values are validated before they are used."""
    constraints = {**loss._parameter_constraints, **BaseLoss._base_constraints}
    constraints.pop("weight")  # stored as a tensor; see test_base.py
    for name, allowed in constraints.items():
        for value in invalid_values(allowed):
            built = type(loss)(**{**loss.get_params(), name: value})
            assert built.get_params()[name] is value
            with pytest.raises(ValueError, match=name) as caught:
                built.prepare(COUNTS)
            assert type(loss).__name__ in str(caught.value)


def check_constraints_are_complete(loss):
    """A hyper-parameter without a constraint would never be validated."""
    own = loss.get_params().keys() - BaseLoss._base_constraints.keys()
    assert own == loss._parameter_constraints.keys()


def check_prepare_again(loss):
    """``prepare`` works in place, keeps nothing of earlier counts, and sets no parameter."""
    logits, target = batch()
    params = loss.get_params()
    once = clone(loss)
    assert once.prepare(COUNTS) is once
    twice = clone(loss).prepare((7, 7, 7)).prepare(COUNTS).prepare(torch.tensor(COUNTS))
    assert torch.equal(once(logits, target), twice(logits, target))
    assert same_params(params, once.get_params())


def check_clone_forgets(loss):
    """A clone in a search must not carry the counts of another fold."""
    fresh, again = clone(loss), clone(prepared(loss))
    assert fresh.state_dict().keys() == again.state_dict().keys()
    logits, target = batch()
    assert torch.equal(
        fresh.prepare((1, 2, 3))(logits, target), again.prepare((1, 2, 3))(logits, target)
    )


def check_docstring(loss):
    """The documentation page is made of these: formula, parameters, source and example."""
    doc = inspect.getdoc(type(loss))
    for section in ("Parameters", "References", "Examples"):
        assert f"\n{section}\n{'-' * len(section)}\n" in doc, f"no section {section}"
    assert ".. math::" in doc
    assert ":arxiv:" in doc or ":doi:" in doc
    assert "\n>>> " in doc, "no example that runs"
    for name in loss.get_params():
        assert f"\n{name} : " in doc, f"parameter {name} is not documented"
