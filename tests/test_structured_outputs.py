"""Modules that return more than logits give the result of the same module without the rest."""

import pickle
from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from torch import nn

import imbtorch
from imbtorch import ImbalancedNetClassifier, ImbalancedNetRegressor, NetEnsembleClassifier
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.modules._structured import logits_in
from tests.toy import table

X, Y = table(120)
QUICK = {"max_epochs": 2, "dtype": "float64", "random_state": 0}
Both = namedtuple("Both", "logits other")
RETURNED = {
    "tensor": lambda z, x: z,
    "tuple": lambda z, x: (z, x),
    "list": lambda z, x: [z, x],
    "named": lambda z, x: Both(z, x),
    "mapping": lambda z, x: {"loss": None, "logits": z, "hidden": x},
    "ordered": lambda z, x: OrderedDict(hidden=x, logits=z),
    "object": lambda z, x: SimpleNamespace(hidden=x, logits=z),
}


class Net(nn.Module):
    def __init__(self, input_shape, n_outputs, kind="tensor", only_in_training=False, width=5):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(*input_shape, width), nn.ReLU(), nn.Linear(width, n_outputs)
        )
        self.kind, self.only_in_training = kind, only_in_training

    def forward(self, x):
        is_plain = self.only_in_training and not self.training
        return RETURNED["tensor" if is_plain else self.kind](self.layers(x), x)


def net(kind, estimator=ImbalancedNetClassifier, **params):
    builder = {k: params.pop(k) for k in ("only_in_training",) if k in params}
    return estimator(Net, **{**QUICK, **params}).set_params(
        module__kind=kind, **{f"module__{name}": value for name, value in builder.items()}
    )


@pytest.fixture(scope="module")
def plain():
    return net("tensor").fit(X, Y).predict_proba(X)


@pytest.mark.parametrize("kind", RETURNED)
def test_logits_count(kind, plain):
    clf = net(kind).fit(X, Y)
    np.testing.assert_array_equal(clf.predict_proba(X), plain)
    assert isinstance(clf.module_(torch.tensor(X)), torch.Tensor)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), plain)


def test_outputs_that_differ_in_training(plain):
    clf = net("tuple", only_in_training=True).fit(X, Y)
    np.testing.assert_array_equal(clf.predict_proba(X), plain)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_have_no_hooks():
    def build(input_shape, n_outputs):
        return nn.Sequential(nn.Linear(*input_shape, 3), nn.ReLU(), nn.Linear(3, n_outputs))

    def scripted(*sizes):
        return torch.jit.script(build(*sizes))

    found, expected = (ImbalancedNetClassifier(m, **QUICK).fit(X, Y) for m in (scripted, build))
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-7)


def test_the_module_of_the_user_stays_as_it_was():
    given = Net((X.shape[1],), 2, "tuple")
    ImbalancedNetClassifier(given, **QUICK).fit(X, Y)
    assert isinstance(given.double()(torch.tensor(X)), tuple)


@pytest.mark.parametrize(
    "params",
    [
        {"loss": "focal", "class_weight": "balanced"},
        {"loss": "logit_adjusted", "sampler": "class_balanced"},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"averaging": "ema", "sharpness": 0.05},
    ],
)
def test_losses_weights_samplers_and_stopping(params):
    found, expected = (net(kind, **params).fit(X, Y) for kind in ("mapping", "tensor"))
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


def test_a_sequential_whose_last_module_returns_a_tuple(tmp_path):
    def build(input_shape, n_outputs):
        return nn.Sequential(nn.Tanh(), Net(input_shape, n_outputs, "tuple"))

    clf = ImbalancedNetClassifier(build, **QUICK).fit(X, Y)
    clf.save(tmp_path / "net.safetensors")
    again = imbtorch.load(tmp_path / "net.safetensors", module=build)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_stacks(recwarn):
    grid = {"loss": ["focal"], "loss__gamma": [0.0, 2.0]}
    found = StackedGridSearchCV(net("tuple"), grid, cv=2, scoring="neg_log_loss").fit(X, Y)
    expected = GridSearchCV(net("tensor"), grid, cv=2, scoring="neg_log_loss").fit(X, Y)
    scores = (search.cv_results_["mean_test_score"] for search in (found, expected))
    np.testing.assert_allclose(*scores, rtol=1e-7)
    members = [
        NetEnsembleClassifier(net(k), 3, random_state=0).fit(X, Y) for k in ("list", "tensor")
    ]
    np.testing.assert_allclose(*(m.predict_proba(X) for m in members), rtol=1e-7)
    assert not [w for w in recwarn if issubclass(w.category, imbtorch.NotStackedWarning)]


def test_regressors_and_checkpoints(tmp_path, plain):
    found, expected = (net(k, ImbalancedNetRegressor).fit(X, X[:, 0]) for k in ("tuple", "tensor"))
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    clf = net("object", checkpoint=tmp_path).fit(X, Y)
    np.testing.assert_array_equal(clf.fit(X, Y, resume=True).predict_proba(X), plain)


def test_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    clf = net("tuple", dtype="float32").fit(X.astype(np.float32), Y)
    clf.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(found, clf.predict_proba(X.astype(np.float32)), atol=1e-5)


@pytest.mark.parametrize(
    "output", [None, (), [], (None, torch.zeros(2)), {"scores": torch.zeros(2)}, "logits"]
)
def test_anything_else_is_an_error(output):
    class Odd(Net):
        def forward(self, x):
            return output

    assert logits_in(output) is output
    with pytest.raises(
        ValueError, match="first entry counts; or a mapping or object with 'logits'"
    ):
        ImbalancedNetClassifier(Odd, **QUICK).fit(X, Y)
