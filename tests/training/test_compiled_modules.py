"""Modules that the user has given to ``torch.compile``, from their training to their files."""

import copy
import pickle
import shutil

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

import imbtorch
from imbtorch import NotStackedWarning
from imbtorch.model_selection import StackedGridSearchCV
from tests.toy import parameters_of, small, table

X, Y = table(101)
PARAMS = {"dtype": "float64", "batch_size": 32}
has_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++")), reason="needs a C++ compiler"
)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def plain(shape, n_outputs):
    """Build a net of one hidden layer."""
    return nn.Sequential(nn.Linear(shape[0], 6), nn.Tanh(), nn.Linear(6, n_outputs))


def traced(shape, n_outputs):
    """Build the same net, which torch traces; this needs no C++ compiler."""
    return torch.compile(plain(shape, n_outputs), backend="aot_eager")


def compiled(shape, n_outputs):
    """Build the same net, compiled as ``torch.compile`` does by default."""
    return torch.compile(plain(shape, n_outputs))


def assert_same(found, expected):
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize(
    "module",
    [traced, pytest.param(compiled, marks=[has_compiler, pytest.mark.slow])],
    ids=lambda module: module.__name__,
)
def test_compiled_from_fit_to_file(tmp_path, module):
    expected = small(plain, **PARAMS).fit(X, Y)
    clf = small(module, **PARAMS).fit(X, Y)
    assert type(clf.module_) is torch._dynamo.eval_frame.OptimizedModule
    np.testing.assert_allclose(parameters_of(clf), parameters_of(expected), rtol=1e-9)
    assert_same(clf, expected)
    assert_same(copy.deepcopy(clf), expected)
    assert_same(pickle.loads(pickle.dumps(clf)), expected)
    imbtorch.save(clf, tmp_path / "model")
    assert_same(imbtorch.load(tmp_path / "model", module=module), expected)
    assert_same(clone(clf).fit(X, Y), expected)


def test_an_instance_is_copied():
    module = traced((5,), 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    clf = small(module, **PARAMS).fit(X, Y)
    assert clf.predict_proba(X).shape == (101, 2)
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())
    given = np.concatenate([tensor.numpy().ravel() for tensor in before.values()])
    assert not np.array_equal(parameters_of(clf), given)


def test_a_copy_trains_its_own_weights():
    clf = small(traced, warm_start=True, **PARAMS).fit(X, Y)
    kept, before = copy.deepcopy(clf), parameters_of(clf)
    clf.fit(X, Y)
    np.testing.assert_array_equal(parameters_of(kept), before)
    assert abs(parameters_of(clf) - before).max() > 1e-4


@pytest.mark.parametrize(
    "params",
    [{"checkpoint": True}, {"early_stopping": True, "averaging": "swa"}, {"precision": "bfloat16"}],
    ids=lambda params: "-".join(params),
)
def test_with(params, tmp_path):
    if "checkpoint" in params:
        params = {"checkpoint": tmp_path}
    clf = small(traced, **params).fit(X, Y)
    np.testing.assert_allclose(clf.predict_proba(X).sum(1), 1, rtol=1e-6)


def test_a_search_trains_them_one_by_one():
    search = StackedGridSearchCV(small(traced), {"lr": [0.01, 0.03]}, cv=2)
    with pytest.warns(NotStackedWarning):
        search.fit(X, Y)
    assert search.predict(X).shape == Y.shape


def test_without_a_compiler_the_message_says_what_to_do():
    settings = {"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True}
    with (
        torch._inductor.config.patch(settings),
        pytest.raises(ValueError, match=r"torch\.compile needs a C\+\+ compiler, such as g\+\+"),
    ):
        small(compiled, **PARAMS).fit(X, Y)
