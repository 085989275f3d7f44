"""Modules as users write them: they write into their input, store activations, keep statistics."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import is_regressor
from sklearn.metrics import log_loss
from torch import nn
from torch.utils.data import TensorDataset

from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    finetune_head,
    tau_normalize,
)
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.modules._build import build_module
from imbtorch.modules._state import full_state, restore_full_state
from imbtorch.training.single.chain import plain_layers
from tests.toy import table

N = 160
X, Y = table(N, rate=0.3)
X = X.astype(np.float32)
DTYPE = {"dtype": "float32", "max_epochs": 2, "random_state": 0, "batch_size": 64}


class Rude(nn.Module):
    """Writes into its input, stores an activation, and has a buffer outside the state dict."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.out = nn.Linear(input_shape[0], n_outputs)
        self.register_buffer("centre", torch.zeros(input_shape[0]), persistent=False)

    def forward(self, x):
        x -= 1.0
        if self.training:
            self.centre.mul_(0.5).add_(0.5 * x.detach().mean(0))
        self.activation = torch.tanh(self.out(x - self.centre))
        return self.activation


class Overwriting(nn.Module):
    """Writes into its input and nothing else, so that a stack can be made."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.first, self.out = nn.ReLU(inplace=True), nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        return self.out(self.first(x))


def classifier(module=Rude, **params):
    return ImbalancedNetClassifier(module, **{**DTYPE, **params})


ESTIMATORS = {
    "classifier": lambda module: classifier(module),
    "early stopping": lambda module: classifier(module, early_stopping=True),
    "sharpness": lambda module: classifier(module, sharpness=0.05),
    "regressor": lambda module: ImbalancedNetRegressor(module, **DTYPE),
    "ensemble": lambda module: NetEnsembleClassifier(
        classifier(module), n_estimators=3, random_state=0
    ),
    "search": lambda module: StackedGridSearchCV(classifier(module), {"lr": [0.01, 0.02]}, cv=2),
}


@pytest.mark.filterwarnings("ignore::imbtorch.NotStackedWarning")
@pytest.mark.parametrize("module", [Rude, Overwriting])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_leaves_the_data_alone_and_can_be_copied(name, module):
    given, read_only = X.copy(), X.copy()
    read_only.setflags(write=False)
    estimator = ESTIMATORS[name](module)
    target = X[:, 1].astype(float) if is_regressor(estimator) else Y
    estimator.fit(given, target)
    np.testing.assert_array_equal(given, X)
    predict = getattr(estimator, "predict_proba", estimator.predict)
    first = predict(read_only)
    np.testing.assert_array_equal(read_only, X)
    np.testing.assert_array_equal(predict(given), first)
    for twin in (copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        predict = getattr(twin, "predict_proba", twin.predict)
        np.testing.assert_array_equal(predict(given), first)


@pytest.mark.parametrize("module", [Rude, Overwriting])
def test_two_stages_leave_the_data_alone(module):
    given = X.copy()
    clf = classifier(module).fit(given, Y)
    if module is Rude:
        with pytest.raises(ValueError, match="Found no head"):
            finetune_head(clf, given, Y)
        return
    second = finetune_head(clf, given, Y, max_epochs=1)
    tau_normalize(clf).predict(given)
    second.predict_proba(given)
    np.testing.assert_array_equal(given, X)


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_file_of_a_memory_map_stays_as_it_is(tmp_path, mode):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode=mode)
    clf = classifier().fit(mapped, Y)
    clf.predict(mapped)
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), X)


def test_tensors_of_a_dataset_stay_as_they_are():
    data = TensorDataset(torch.tensor(X), torch.tensor(Y))
    clf = classifier().fit(data, None)
    clf.predict(data)
    np.testing.assert_array_equal(data.tensors[0].numpy(), X)
    clf.predict(data.tensors[0])
    np.testing.assert_array_equal(data.tensors[0].numpy(), X)


def test_gradient_is_taken_again_at_the_same_input():
    class Pure(Overwriting):
        def forward(self, x):
            return super().forward(x.clone())

    class Shift(Overwriting):
        def forward(self, x):
            x -= 0.5
            return self.out(x)

    class PureShift(Shift):
        def forward(self, x):
            return super().forward(x.clone())

    for rude, pure in ((Overwriting, Pure), (Shift, PureShift)):
        first, second = (classifier(m, sharpness=0.1).fit(X, Y) for m in (rude, pure))
        np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_stored_activation_survives_partial_fit_warm_start_and_export(tmp_path):
    clf = ImbalancedNetClassifier(Rude, dtype="float32", random_state=0)
    clf.partial_fit(X, Y, classes=[0, 1]).partial_fit(X, Y)
    classifier(warm_start=True).fit(X, Y).fit(X, Y)
    onnxruntime = pytest.importorskip("onnxruntime")
    clf.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    (found,) = session.run(["probabilities"], {"X": X})
    np.testing.assert_allclose(found, clf.predict_proba(X), atol=1e-5)


# -- trials on a copy ------------------------------------------------------------------------------


class ActNorm(nn.Module):
    """Takes its statistics from the first batch."""

    def __init__(self, input_shape, n_outputs, lazy=False):
        super().__init__()
        self.ready = False
        self.mean = nn.Parameter(torch.zeros(input_shape[0]))
        self.out = nn.LazyLinear(n_outputs) if lazy else nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        if not self.ready:
            self.n_seen, self.ready = len(x), True
            self.mean.data.copy_(x.mean(0))
        return self.out(x - self.mean)


class LazyActNorm(ActNorm):
    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs, lazy=True)


@pytest.mark.parametrize("module", [ActNorm, LazyActNorm])
def test_first_batch_of_the_training_sets_the_statistics(module):
    assert classifier(module).fit(X, Y).module_.n_seen == 64


def test_lazy_layers_start_as_they_did():
    class Lazy(nn.Module):
        def __init__(self, n_outputs):
            super().__init__()
            self.first, self.out = nn.LazyLinear(6), nn.LazyLinear(n_outputs)

        def forward(self, x):
            return self.out(torch.tanh(self.first(x)))

    class Sized(Lazy):
        def __init__(self, input_shape, n_outputs):
            super().__init__(n_outputs)
            self.first, self.out = nn.Linear(input_shape[0], 6), nn.Linear(6, n_outputs)

    lazy, sized = (classifier(module).fit(X, Y) for module in (Lazy, Sized))
    np.testing.assert_array_equal(lazy.predict_proba(X), sized.predict_proba(X))


def test_layers_that_the_first_call_creates_are_trained():
    class Late(nn.Module):
        def __init__(self, n_outputs):
            super().__init__()
            self.out, self.n_outputs = None, n_outputs

        def forward(self, x):
            if self.out is None:
                self.out = nn.Linear(x.shape[1], self.n_outputs)
            return self.out(x)

    clf = classifier(Late, lr=0.1, max_epochs=10).fit(X, Y)
    assert clf.score(X, Y) > 0.8


# -- state -----------------------------------------------------------------------------------------


class Extra(Rude):
    """Keeps a number as extra state, too."""

    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.shift = 0.0

    def forward(self, x):
        if self.training:
            self.shift += float(torch.rand(()))
        return super().forward(x) + self.shift * torch.arange(2)

    def get_extra_state(self):
        return {"shift": self.shift}

    def set_extra_state(self, state):
        self.shift = state["shift"]


@pytest.mark.parametrize("module", [Rude, Extra])
def test_early_stopping_returns_the_net_of_the_best_epoch(module):
    seen = []

    def scoring(estimator, rows, y):
        score = -log_loss(y, estimator.predict_proba(rows))
        seen.append((score, rows.copy(), y))
        return score

    clf = classifier(
        module, early_stopping=True, patience=3, max_epochs=10, lr=0.3, scoring=scoring
    ).fit(X, Y)
    best, (_, rows, y) = max(score for score, _, _ in seen), seen[0]
    assert -log_loss(y, clf.predict_proba(rows)) == pytest.approx(best, abs=1e-6)


def test_full_state_is_put_back():
    module = Extra((3,), 2)
    module(torch.randn(8, 3))
    state = full_state(module)
    expected = module.train(False)(torch.ones(4, 3))
    module.train(True)(torch.randn(8, 3))
    restore_full_state(module, state)
    torch.testing.assert_close(module.train(False)(torch.ones(4, 3)), expected)


def test_buffer_that_changed_its_shape_is_put_back():
    module = nn.Module()
    module.register_buffer("cache", torch.arange(3), persistent=False)
    state = full_state(module)
    module.cache = torch.zeros(5)
    restore_full_state(module, state)
    assert module.cache.tolist() == [0, 1, 2]


def test_complex_parameters_stay_complex_and_are_trained():
    class Fourier(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.n = input_shape[0]
            self.filter = nn.Parameter(torch.randn(self.n // 2 + 1, dtype=torch.cfloat))
            self.out = nn.Linear(self.n, n_outputs)

        def forward(self, x):
            return self.out(torch.fft.irfft(torch.fft.rfft(x) * self.filter, n=self.n))

    for dtype, expected in (("float32", torch.complex64), ("float64", torch.complex128)):
        clf = classifier(Fourier, dtype=dtype).fit(X, Y)
        assert clf.module_.filter.dtype == expected
        assert clf.module_.filter.imag.abs().min() > 0


# -- gradients -------------------------------------------------------------------------------------


class Energy(nn.Module):
    """Differentiates by its input, which must be allowed in predictions."""

    switches_on = True

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(input_shape[0], 8)
        self.out = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        with torch.set_grad_enabled(self.switches_on or torch.is_grad_enabled()):
            x = x.detach().requires_grad_()
            energy = torch.tanh(self.hidden(x)).sum()
            (slope,) = torch.autograd.grad(energy, x, create_graph=True)
        return self.out(slope)


class PlainEnergy(Energy):
    switches_on = False


@pytest.mark.filterwarnings("ignore::imbtorch.NotStackedWarning")
@pytest.mark.parametrize("module", [Energy, PlainEnergy])
@pytest.mark.parametrize("name", ["classifier", "early stopping", "ensemble", "search"])
def test_forward_may_take_gradients(module, name):
    estimator = ESTIMATORS[name](module).fit(X, Y)
    proba = estimator.predict_proba(X)
    with torch.inference_mode():
        np.testing.assert_array_equal(estimator.predict_proba(X), proba)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("loss", ["logit_adjusted", "cross_entropy", "focal", "vs"])
def test_fit_does_not_depend_on_the_mode_of_the_caller(mode, loss):
    class Normed(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.norm, self.out = nn.BatchNorm1d(input_shape[0]), nn.LazyLinear(n_outputs)

        def forward(self, x):
            return self.out(self.norm(x))

    for module in ("mlp", Normed):
        expected = classifier(module, loss=loss).fit(X, Y)
        with mode():
            clf = classifier(module, loss=loss).fit(X, Y)
            proba = clf.predict_proba(X)
            clf.partial_fit(X, Y).partial_fit(X, Y)
        np.testing.assert_array_equal(proba, expected.predict_proba(X))


# -- what is what ----------------------------------------------------------------------------------


def replaced(module):
    module[1].forward = lambda x: torch.relu(x) + 1
    return module


def with_parameter(module):
    module[1].register_parameter("slope", nn.Parameter(torch.ones(1)))
    return module


def with_buffer(module):
    module[0].register_buffer("mask", torch.ones(1))
    return module


def with_own_parameter(module):
    module.register_parameter("scale", nn.Parameter(torch.ones(1)))
    return module


def replaced_whole(module):
    module.forward = lambda x: nn.Sequential.forward(module, x) * 2
    return module


def parametrized(module):
    return torch.nn.utils.parametrizations.weight_norm(module[0]) and module


CHANGES = [
    replaced, with_parameter, with_buffer, with_own_parameter, replaced_whole, parametrized,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_chain_is_taken_only_by_layers_that_are_what_they_seem(change):
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    assert plain_layers(module) is not None
    assert plain_layers(change(module)) is None


def test_module_class_may_have_a_method_build():
    class Built(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.build(input_shape[0], n_outputs)

        def build(self, n_in, n_out):
            self.out = nn.Linear(n_in, n_out)

        def forward(self, x):
            return self.out(x)

    assert build_module(Built, (3,), 2).out.weight.shape == (2, 3)
    assert classifier(Built).fit(X, Y).module_.out.in_features == X.shape[1]
