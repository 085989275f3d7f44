"""Checkpoints keep what a module holds outside of the tensors of its state dict, to the bit."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from imbtorch import FileFormatError, ImbalancedNetRegressor
from imbtorch._safe_file import read_file, write_file
from imbtorch.losses import LOSSES, BaseLoss
from imbtorch.training.packing import pack, unpack
from tests.persistence.keeping import Keeping, Returning
from tests.toy import parameters_of, small, table
from tests.training.resume import cut_short

X, Y = table(200)
FILE = "checkpoint.safetensors"


def forged(folder, change):
    with read_file(folder / FILE) as file:
        document, state = file.document, unpack(file.tensors())
    change(state)
    write_file(folder / FILE, document, pack(state))


def resumed_and_whole(make, folder, y=Y, epoch=2):
    """Fit in two parts, and in one."""
    whole = make(checkpoint=None).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut_short(lambda: make(checkpoint=folder).fit(X, y), epoch)
        return make(checkpoint=folder).fit(X, y, resume=True), whole


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"early_stopping": True, "patience": 6, "max_epochs": 8},
        {"early_stopping": True, "averaging": "ema"},
        {"averaging": "swa"},
        {"on_divergence": "restore"},
        {"dtype": "float64"},
        {"on_oom": "split"},
    ],
    ids=lambda params: "-".join(params) or "default",
)
@pytest.mark.parametrize("epoch", [1, 3])
def test_same_bits(params, epoch, tmp_path):
    def make(checkpoint):
        settings = {"max_epochs": 5, "batch_size": 32, "lr": 0.05, **params}
        return small(Keeping, checkpoint=checkpoint, **settings)

    resumed, whole = resumed_and_whole(make, tmp_path, epoch=epoch)
    np.testing.assert_array_equal(parameters_of(resumed), parameters_of(whole))
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))
    assert resumed.module_.steps == whole.module_.steps
    assert repr(resumed.module_.get_extra_state()) == repr(whole.module_.get_extra_state())
    assert resumed.module_.cache.shape == whole.module_.cache.shape
    assert torch.equal(resumed.module_.late, whole.module_.late)


def test_a_regressor(tmp_path):
    values = np.stack([X[:, 0], X[:, 1]], axis=1)

    def make(checkpoint):
        return ImbalancedNetRegressor(
            Keeping, checkpoint=checkpoint, max_epochs=4, random_state=0, averaging="ema"
        )

    resumed, whole = resumed_and_whole(make, tmp_path, values)
    np.testing.assert_array_equal(resumed.predict(X), whole.predict(X))


class Remembering(BaseLoss):
    """A loss of the user that keeps a buffer outside of the state dict, and a counter."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.zeros(1), persistent=False)
        self.calls = 0

    def per_sample(self, logits, target):
        if self.training:
            self.calls += 1
            self.shift = self.shift + 0.01 * torch.ones(1 + self.calls % 3).sum()
        scale = 1 + 0.01 * self.calls
        adjusted = scale * logits + self.shift.sum() * torch.arange(2)
        return nn.functional.cross_entropy(adjusted, target, reduction="none")

    def get_extra_state(self):
        return self.calls

    def set_extra_state(self, state):
        self.calls = state


def test_a_loss_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setitem(LOSSES, "remembering_of_test", Remembering)

    def make(checkpoint):
        return small(loss=Remembering(), checkpoint=checkpoint, max_epochs=5, batch_size=32)

    resumed, whole = resumed_and_whole(make, tmp_path)
    assert resumed.loss_.calls == whole.loss_.calls
    assert torch.equal(resumed.loss_.shift, whole.loss_.shift)
    np.testing.assert_array_equal(parameters_of(resumed), parameters_of(whole))


def test_extra_state_that_no_checkpoint_can_hold(tmp_path):
    def make():
        return small(lambda s, n: nn.Sequential(Returning(5, 2)), checkpoint=tmp_path)

    for value in ({1}, lambda: 1, {True: 1}, {(1, 2): 3}, [object()], {2**70: 1}):
        Returning.extra = value
        try:
            clf = make()
            with pytest.raises(ValueError, match=r"0\._extra_state.*Returning\.get_extra_state"):
                clf.fit(X, Y)
        finally:
            Returning.extra = None
        assert not (tmp_path / FILE).exists()
        assert not hasattr(clf, "net_")


def test_extra_state_that_becomes_too_much(tmp_path):
    class Growing(Returning):
        def forward(self, x):
            self.extra = {"seen": {1}} if self.training else None
            return super().forward(x)

    with pytest.raises(ValueError, match=r"Growing\.get_extra_state.*'seen'"):
        small(lambda s, n: Growing(5, 2), checkpoint=tmp_path).fit(X, Y)


def test_extra_state_without_a_way_back(tmp_path):
    class OneWay(nn.Linear):
        def get_extra_state(self):
            return 1

    with pytest.raises(ValueError, match="OneWay.*set_extra_state"):
        small(lambda s, n: OneWay(5, 2), checkpoint=tmp_path).fit(X, Y)


def put(*path, value):
    def change(state):
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value(state[path[-1]]) if callable(value) else value

    return change


def drop(*path):
    def change(state):
        for key in path[:-1]:
            state = state[key]
        del state[path[-1]]

    return change


WEIGHTS = ("monitors", 0, "weights")


@pytest.mark.parametrize(
    "change",
    [
        drop("module", "centre"),
        drop("module", "_extra_state"),
        put("module", "centre", value=lambda t: t.int()),
        put("module", "centre", value=lambda t: t * np.nan),
        put("module", "centre", value=3),
        put("module", "late", value="a"),
        put("module", "more", value=None),
        put("module", "out._extra_state", value=None),
        put("module", "_extra_state", value=None),
        put("module", "_extra_state", "none", value=[]),
        drop("module", "_extra_state", "log"),
        drop(*WEIGHTS, "centre"),
        drop(*WEIGHTS, "_extra_state"),
        put(*WEIGHTS, "centre", value=lambda t: t.int()),
        put(*WEIGHTS, "more", value=None),
        put(*WEIGHTS, "out.bias", value=None),
        put("module", "out.bias", value=None),
    ],
)
def test_forged_with_a_valid_checksum(change, tmp_path):
    def make():
        return small(Keeping, max_epochs=4, checkpoint=tmp_path, early_stopping=True)

    cut_short(lambda: make().fit(X, Y))
    forged(tmp_path, lambda state: None)
    cut_short(lambda: make().fit(X, Y, resume=True), epoch=3)  # unchanged it is continued
    forged(tmp_path, change)
    clf = make()
    with pytest.raises(FileFormatError, match="holds no valid training"):
        clf.fit(X, Y, resume=True)
    assert not hasattr(clf, "net_")


def test_a_checkpoint_of_an_earlier_version(tmp_path):
    """It lacks names of buffers that have no value, and best weights lack all other buffers."""

    class Late(nn.Linear):
        def __init__(self, input_shape, n_outputs):
            super().__init__(input_shape[0], n_outputs)
            self.register_buffer("late", None, persistent=False)

    def make():
        return small(Late, max_epochs=4, checkpoint=tmp_path, early_stopping=True)

    cut_short(lambda: make().fit(X, Y))
    forged(tmp_path, drop("module", "late"))
    forged(tmp_path, drop(*WEIGHTS, "late"))
    whole = make().set_params(checkpoint=None).fit(X, Y)
    resumed = make().fit(X, Y, resume=True)
    np.testing.assert_array_equal(parameters_of(resumed), parameters_of(whole))


def test_a_buffer_that_has_no_value_before_the_first_batch(tmp_path):
    class Lazy(nn.Linear):
        def __init__(self, input_shape, n_outputs):
            super().__init__(input_shape[0], n_outputs)
            self.register_buffer("centre", None)

        def forward(self, x):
            if self.training:
                mean = x.detach().mean(0)
                self.centre = mean if self.centre is None else self.centre.lerp(mean, 0.1)
            return super().forward(x if self.centre is None else x - self.centre)

    for params in ({}, {"early_stopping": True}, {"on_divergence": "restore"}):

        def make(checkpoint, params=params):
            return small(Lazy, max_epochs=4, checkpoint=checkpoint, **params)

        resumed, whole = resumed_and_whole(make, tmp_path)
        np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))


def test_numpy_numbers_keep_their_type_in_extra_state_only():
    state = {"module": {"a._extra_state": [np.float32(0.5), {"b": np.int8(3)}]}, "score": [
        np.float32(0.5)]}  # fmt: skip
    back = unpack(pack(state))
    assert repr(back["module"]) == repr(state["module"])
    assert type(back["score"][0]) is float
