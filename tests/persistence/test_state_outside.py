"""Files keep what a module holds outside of the tensors of its state dict, or refuse by name."""

import copy
import functools
import json
import pickle
import warnings
from collections import OrderedDict

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.base import clone
from torch import nn

from imbtorch import (
    FileFormatError,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    finetune_head,
    load,
    tau_normalize,
)
from imbtorch.losses import LOSSES, BaseLoss
from imbtorch.modules import ModuleBuilder
from imbtorch.modules._build import MODULES
from tests.persistence import hostile
from tests.persistence.keeping import Keeping, Returning
from tests.toy import plain_columns, small, table

X, Y = table(120)
VALUES = X[:, 0] + X[:, 1]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def loaded(path, module=Keeping):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load(path, module=module)


def same_predictions(one, other):
    method = "predict_proba" if hasattr(one, "predict_proba") else "predict"
    np.testing.assert_array_equal(getattr(one, method)(X), getattr(other, method)(X))


@pytest.mark.parametrize("module", [Keeping, Keeping((5,), 2)], ids=["class", "instance"])
def test_buffers_and_extra_state_are_in_the_file(module, path):
    clf = small(module, max_epochs=7).fit(X, Y)
    clf.save(path)
    twin = loaded(path, module)
    same_predictions(twin, clf)
    assert twin.module_.steps == clf.module_.steps > 0
    assert twin.module_.cache.shape == clf.module_.cache.shape
    assert type(twin.module_.rates[0]) is tuple
    assert torch.equal(twin.module_.late, clf.module_.late)
    twin.save(path)
    same_predictions(loaded(path, module), clf)


def test_ensembles_and_regressors(path):
    ensemble = NetEnsembleClassifier(small(Keeping), 2, random_state=0).fit(X, Y)
    ensemble.save(path)
    same_predictions(loaded(path), ensemble)
    two = np.stack([VALUES, -VALUES], axis=1)
    model = ImbalancedNetRegressor(Keeping, max_epochs=2, random_state=0).fit(X, two)
    model.save(path)
    same_predictions(loaded(path), model)


def test_a_buffer_that_is_none_again(path):
    clf = small(Keeping).fit(X, Y)
    clf.module_.late = None
    clf.save(path)
    assert loaded(path).module_.late is None
    module = Keeping((5,), 2)
    module.late = torch.ones(2)  # of the new module
    assert loaded(path, module).module_.late is None


def test_tensors_that_are_shared_or_stored_by_column(path):
    class Views(nn.Sequential):
        def __init__(self, input_shape, n_outputs):
            super().__init__(nn.Linear(5, 5), nn.Linear(5, n_outputs))
            self.register_buffer("square", torch.arange(25.0).reshape(5, 5).t(), persistent=False)
            self.register_buffer("wide", torch.ones(1).expand(5), persistent=False)
            self.register_buffer("own", torch.zeros(5), persistent=False)
            self.alias = self.own

        def forward(self, x):
            return super().forward(x @ self.square + self.wide + self.alias)

    clf = small(Views).fit(X, Y)
    with torch.no_grad():
        clf.module_[0].weight.data = clf.module_[0].weight.data.t().contiguous().t()
        clf.module_.square.mul_(0.01)
        clf.module_.own.add_(1)
    clf.save(path)
    twin = loaded(path, Views)
    np.testing.assert_allclose(twin.predict_proba(X), clf.predict_proba(X), rtol=1e-6)
    assert twin.module_.alias.tolist() == clf.module_.own.tolist()
    assert not twin.module_.square.is_contiguous()


class Building(ModuleBuilder):
    """A registered builder of the user, whose module is described by the file."""

    def build(self, input_shape, n_outputs):
        built = nn.Sequential(Keeping(input_shape, n_outputs))
        built.register_buffer("mask", torch.full((2,), -torch.inf))
        return built

    def smallest_size(self, n_outputs):
        return 2, n_outputs


class Remembering(BaseLoss):
    """A loss of the user that keeps things."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.zeros(1), persistent=False)
        self.calls = 0

    def per_sample(self, logits, target):
        self.calls += self.training
        return nn.functional.cross_entropy(logits, target, reduction="none")

    def log_posterior(self, logits):
        return torch.log_softmax(logits * (1 + 0.01 * self.calls) + self.shift, dim=1)

    def get_extra_state(self):
        return self.calls

    def set_extra_state(self, state):
        self.calls = state


# -- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({1, 2}, r"={1, 2} cannot"),
        ({"deep": [{"er": lambda: 1}]}, r"deep\.er=<function"),
        (nn.Linear(1, 1), "Linear"),
        ({(1, 2): 3}, "key of a dict"),
        (nn.L1Loss(), "not allowed"),
        (torch.ones(2, 2).to_sparse(), "indices"),
        (torch.ones(2, dtype=torch.complex128), "tensor"),
        ([[0]] * 60_000, "much more memory|more than"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_extra_state_that_no_file_can_hold(value, told, path):
    clf = small(lambda s, n: nn.Sequential(Returning(5, 2))).fit(X, Y)
    object.__setattr__(clf.module_[0], "extra", value)  # not as a part of the module
    with pytest.raises(ValueError, match=told) as raised:
        clf.save(path)
    assert "Returning.get_extra_state" in str(raised.value)
    assert "module_.0._extra_state" in str(raised.value)
    assert not path.exists()


@pytest.mark.parametrize(
    "value",
    [
        None, 0, -3, "text", 2.5, torch.arange(3), torch.zeros(0), np.arange(3), [], {}, (1, (2,)),
        {"$a": {1: [True, None]}}, OrderedDict(a=torch.ones(2)), np.int16(3),
    ],
    ids=str,
)  # fmt: skip
def test_extra_state_that_files_hold(value, path):
    clf = small(lambda s, n: nn.Sequential(Returning(5, 2))).fit(X, Y)
    clf.module_[0].extra = value
    clf.save(path)
    found = loaded(path, lambda s, n: nn.Sequential(Returning(5, 2))).module_[0].extra
    assert repr(found) == repr(dict(value) if isinstance(value, OrderedDict) else value)


def test_extra_state_without_a_way_back(path):
    class OneWay(nn.Linear):
        def get_extra_state(self):
            return 1

    clf = small(OneWay(5, 2)).fit(X, Y)
    with pytest.raises(ValueError, match="OneWay.*set_extra_state"):
        clf.save(path)


def test_buffers_must_fit_the_module(path):
    small(Keeping).fit(X, Y).save(path)

    class Another(Keeping):
        def __init__(self, input_shape, n_outputs):
            super().__init__(input_shape, n_outputs)
            self.register_buffer("more", torch.zeros(2), persistent=False)

    class Other(Keeping):
        def __init__(self, input_shape, n_outputs):
            super().__init__(input_shape, n_outputs)
            self.register_buffer("centre", torch.zeros(input_shape[0]).int(), persistent=False)

    class Plain(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.out = nn.Linear(input_shape[0], n_outputs)

    for module, told in {Another: "more", Other: "centre is torch.int32", Plain: "cache"}.items():
        with pytest.raises(ValueError, match=f"module={module.__name__} does not fit.*{told}"):
            load(path, module=module)


def test_a_module_that_cannot_take_the_extra_state(path):
    class Failing(Keeping):
        def set_extra_state(self, state):
            raise KeyError("steps\x1b")

    small(Keeping).fit(X, Y).save(path)
    with pytest.raises(ValueError, match="module=Failing does not fit.*steps") as raised:
        load(path, module=Failing)
    assert "\x1b" not in str(raised.value)


def changed(path, change):
    file = hostile.File(path.read_bytes())
    change(file)
    path.write_bytes(file.bytes())


def net(change):
    return lambda file: change(file.document["net"])


@pytest.mark.parametrize(
    "change",
    [
        net(lambda net: net.update(buffers=[])),
        net(lambda net: net.update(buffers={"centre": True})),
        net(lambda net: net["buffers"].update({"module.centre": 1})),
        net(lambda net: net["buffers"].update({"module.new": True})),
        net(lambda net: net["buffers"].update({"loss._home": True})),
        net(lambda net: net.update(extra_state=3)),
        net(lambda net: net["extra_state"].update({"a": 3})),
        net(lambda net: net["extra_state"].update({"module.out.weight": 3})),
        net(lambda net: net["extra_state"].update({"module._extra_state": {"$tensor": "no"}})),
        net(lambda net: net["extra_state"].update(
            {"module._extra_state": {"$object": ["loss", "focal", {}]}})),
    ],
)  # fmt: skip
def test_forged_files(change, path):
    small(Keeping).fit(X, Y).save(path)
    changed(path, change)
    with pytest.raises(FileFormatError):
        load(path, module=Keeping)


@pytest.mark.parametrize(
    "change",
    [
        net(lambda net: net["buffers"].pop("module.centre")),
        net(lambda net: net["buffers"].update({"module.centre": False})),
        net(lambda net: net.pop("buffers")),
        net(lambda net: net.pop("extra_state")),
        net(lambda net: net["extra_state"].update({"module.out._extra_state": 1})),
        net(lambda net: net["extra_state"].update({"module._extra_state": []})),
    ],
)
def test_files_that_do_not_fit_the_module(change, path):
    small(Keeping).fit(X, Y).save(path)
    changed(path, change)
    with pytest.raises(ValueError, match="does not fit|not valid|tensors|missing"):
        load(path, module=Keeping)


def test_a_large_mask_must_be_in_the_file(path):
    """A file cannot make a small module build large buffers."""

    class Masked(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            n = input_shape[0]
            self.scale = nn.Parameter(torch.ones(n_outputs))
            self.register_buffer("mask", torch.zeros(n, n), persistent=False)

        def forward(self, x):
            return (x @ self.mask).sum(1, keepdim=True) * self.scale

    clf = small(Masked).fit(X, Y)
    clf.save(path)
    same_predictions(loaded(path, Masked), clf)
    good = path.read_bytes()
    for old in (False, True):
        path.write_bytes(good)

        def forge(net, old=old):
            net["input_shape"] = [2**15]
            net["attributes"]["n_features_in_"] = 2**15
            if old:
                del net["buffers"]

        changed(path, net(forge))
        with pytest.raises(FileFormatError, match="does not fit|memory"):
            load(path, module=Masked)


def test_a_file_of_an_earlier_version_says_what_it_lacks(path):
    class Plain(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.out = nn.Linear(input_shape[0], n_outputs)

        def forward(self, x):
            return self.out(x)

    class Buffered(Plain):
        def __init__(self, input_shape, n_outputs):
            super().__init__(input_shape, n_outputs)
            self.register_buffer("mask", torch.ones(2), persistent=False)

    clf = small(Plain).fit(X, Y)
    clf.save(path)
    assert "buffers" not in hostile.File(path.read_bytes()).document["net"]
    assert "extra_state" not in hostile.File(path.read_bytes()).document["net"]
    with pytest.warns(UserWarning, match=r"lacks the buffers module\.mask"):
        twin = load(path, module=Buffered)
    same_predictions(twin, clf)


# -- other ways of a module --------------------------------------------------------------------


def test_copies_and_pickles():
    clf = small(Keeping, warm_start=True).fit(X, Y)
    for twin in (copy.deepcopy(clf), pickle.loads(pickle.dumps(clf))):
        same_predictions(twin, clf)
        assert twin.module_.steps == clf.module_.steps
    given = Keeping((5,), 2)
    given.centre.fill_(3.0)
    given.steps = 17
    twin = clone(small(given))
    assert twin.module.steps == 17
    assert twin.module.centre[0] == 3


def test_further_training_goes_on_with_the_state():
    clf = small(Keeping, warm_start=True).fit(X, Y)
    steps = clf.module_.steps
    clf.fit(X, Y)
    assert clf.module_.steps == 2 * steps
    clf.partial_fit(X, Y)
    assert clf.module_.steps > 2 * steps


def test_a_loaded_module_trains_on_with_the_state(path):
    clf = small(Keeping).fit(X, Y)
    clf.save(path)
    twin = loaded(path)
    twin.partial_fit(X, Y)
    assert twin.module_.steps > clf.module_.steps


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_averages(averaging, path):
    clf = small(Keeping, averaging=averaging, max_epochs=4).fit(X, Y)
    clf.save(path)
    same_predictions(loaded(path), clf)
    assert clf.module_.steps == 4 * -(-len(Y) // clf.net_.batch_size)


class Head(nn.Linear):
    """A last layer that keeps a buffer outside of the state dict and a counter."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__(n_inputs, n_outputs)
        self.register_buffer("centre", torch.zeros(n_inputs), persistent=False)
        self.steps = 0

    def forward(self, x):
        if self.training:
            self.steps += 1
            self.centre.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return super().forward(x - self.centre) * (1 + 0.1 * self.steps)

    def get_extra_state(self):
        return self.steps

    def set_extra_state(self, state):
        self.steps = state


def with_head(input_shape, n_outputs):
    return nn.Sequential(nn.Linear(input_shape[0], 4), nn.Tanh(), Head(4, n_outputs))


@pytest.mark.parametrize("stage", [finetune_head, tau_normalize], ids=lambda f: f.__name__)
def test_second_stages(stage, path):
    first = small(with_head).fit(X, Y)
    second = stage(first, X, Y) if stage is finetune_head else stage(first)
    assert second.module_[-1].steps >= first.module_[-1].steps
    second.save(path)
    same_predictions(loaded(path, with_head), second)


class Centred(nn.Linear):
    """Keeps a buffer outside of the state dict, and a number."""

    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape[0], n_outputs)
        self.register_buffer("centre", torch.zeros(input_shape[0]), persistent=False)
        self.steps = 0

    def forward(self, x):
        if self.training:
            self.steps += 1
            self.centre.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return super().forward(x - self.centre) * (1 + self.steps / 9)


def test_onnx(tmp_path):
    clf = small(Centred, target_prior="train", max_epochs=4).fit(X, Y)
    clf.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (proba,) = session.run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(proba, clf.predict_proba(X), atol=1e-5)


def test_registered_builders(path, monkeypatch):
    monkeypatch.setitem(MODULES, "built_of_test", Building)
    clf = small(Building(), features=plain_columns(), max_epochs=3).fit(X, Y)
    clf.save(path)
    twin = load(path)
    same_predictions(twin, clf)
    assert not any(buffer.is_meta for buffer in twin.module_.buffers())
    changed(path, net(lambda net: net["buffers"].pop("module.0.centre")))
    with pytest.raises(FileFormatError):
        load(path)


def test_losses_of_the_user(path, monkeypatch):
    monkeypatch.setitem(LOSSES, "remembering_of_test", Remembering)
    clf = small(loss=Remembering(), features=plain_columns()).fit(X, Y)
    clf.loss_.shift.fill_(0.5)
    clf.save(path)
    twin = load(path)
    same_predictions(twin, clf)
    assert twin.loss_.calls == clf.loss_.calls > 0
    document = hostile.File(path.read_bytes()).document["net"]
    assert set(document["buffers"]) == {"loss.shift"}
    assert json.dumps(document["extra_state"]) == f'{{"loss._extra_state": {clf.loss_.calls}}}'


def test_nothing_more_in_the_files_of_usual_modules(path):
    for loss in ("focal", "logit_adjusted"):
        small(loss=loss, features=plain_columns()).fit(X, Y).save(path)
        file = hostile.File(path.read_bytes())
        assert not {"buffers", "extra_state"} & set(file.document["net"])
        assert not [name for name in file.entries if name.endswith("_home")]


def test_partial_of_a_class_is_a_callable_module(path):
    make = functools.partial(Keeping)
    clf = small(make).fit(X, Y)
    clf.save(path)
    same_predictions(loaded(path, make), clf)
