"""ONNX files: what onnxruntime computes from them is what the estimator predicts."""

import json
import sys
from contextlib import suppress
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.testing import assert_close

import imbtorch
from imbtorch import ImbalancedNetRegressor, NetEnsembleClassifier
from imbtorch._publish.onnx import _exported
from imbtorch.feature_smoothing import FeatureSmoothing
from imbtorch.losses import all_losses
from tests.toy import small, table

onnxruntime = pytest.importorskip("onnxruntime")

X, Y = table(200, n_classes=3)
X = X.astype(np.float32)
LABELS = np.stack([Y > 0, Y == 2, X[:, 0] > 0], axis=1).astype(int)
IMAGES = X[:, :4].reshape(-1, 1, 2, 2)
CONVOLUTION = nn.Sequential(
    nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.SiLU(), nn.Flatten(), nn.Linear(2, 3)
)


def exported(estimator, folder):
    """Write the model, and open it in onnxruntime."""
    path = folder / "model.onnx"
    estimator.to_onnx(path)
    assert [file.name for file in folder.iterdir()] == ["model.onnx"]
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def described(session):
    return json.loads(session.get_modelmeta().custom_metadata_map["imbtorch"])


def regressor(**params):
    return ImbalancedNetRegressor(imbtorch.MLP((8,)), max_epochs=2, random_state=0, **params)


CASES = {
    "two classes, one column": lambda: (
        small(nn.Linear(5, 1), target_prior="train").fit(X, np.where(Y == 0, "fine", "fraud")),
        X,
    ),
    "images": lambda: (small(CONVOLUTION, target_prior="uniform").fit(IMAGES, Y), IMAGES),
    "float64": lambda: (small(dtype="float64").fit(X, Y), X),
    "one target": lambda: (regressor().fit(X, 1e9 + 1e3 * X[:, 0]), X),
    "two targets": lambda: (regressor(dtype="float64").fit(X, X[:, :2] * [5, 0.1]), X),
    "ensemble": lambda: (
        NetEnsembleClassifier(small(target_prior="train"), 2, random_state=0).fit(X, Y),
        X,
    ),
    "ensemble of labels": lambda: (
        NetEnsembleClassifier(small(), 2, subset="all", random_state=0).fit(X, LABELS),
        X,
    ),
}


@pytest.mark.matrix
@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_predicts_what_the_estimator_predicts(case, tmp_path):
    estimator, rows = CASES[case]()
    before = {key: value.clone() for key, value in torch_state(estimator).items()}
    session = exported(estimator, tmp_path)
    (output,) = session.get_outputs()
    if output.name == "predictions":
        expected, size = estimator.predict(rows), estimator.target_scale_
    else:
        expected, size = estimator.predict_proba(rows), 1
        assert output.name == "probabilities"
        assert expected.std(axis=0).max() > 1e-3  # rows are told apart
    for n in (1, 7, len(rows)):
        (got,) = session.run(None, {"X": rows[:n]})
        assert got.shape == expected[:n].shape
        assert_close(got / size, expected[:n] / size, rtol=0, atol=2e-6, check_dtype=False)
    for key, value in torch_state(estimator).items():
        assert torch.equal(value, before[key]), key


def torch_state(estimator):
    nets = getattr(estimator, "estimators_", [estimator])
    states = [(part, n) for n in nets for part in (n.module_, n.loss_)]
    return {
        f"{i}.{key}": value
        for i, (part, _) in enumerate(states)
        for key, value in part.state_dict().items()
    }


class Together(nn.Module):
    """Many models as one graph, which is exported once."""

    def __init__(self, models):
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, X):
        return tuple(model(X) for model in self.models)


@pytest.mark.slow
@pytest.mark.parametrize(("target", "n_models"), [(Y, 45), (LABELS, 32)], ids=["classes", "labels"])
def test_every_loss_is_exported_with_its_posterior(target, n_models):
    fitted = {}
    for name, prior in product(all_losses(), (None, "train")):
        net = small(nn.Linear(5, 3), loss=name, target_prior=prior)  # few nodes beside the loss's
        with suppress(ValueError, NotImplementedError):  # no form for labels, or no posterior
            fitted[f"{name}, {prior}"] = net.fit(X, target)
    assert len(fitted) >= n_models
    serving = Together([clf._serving() for clf in fitted.values()]).eval()
    names = [f"output_{i}" for i in range(len(fitted))]
    moving = {0: torch.export.Dim("n")}
    exported_together = _exported(serving, (torch.zeros(2, 5),), ["X"], moving, names)
    model = exported_together.model_proto.SerializeToString()
    got = onnxruntime.InferenceSession(model).run(names, {"X": X})
    for (name, clf), proba in zip(fitted.items(), got, strict=True):
        assert_close(proba, clf.predict_proba(X), rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.slow
def test_small_probabilities_do_not_saturate(tmp_path):
    """onnxruntime's sigmoid ends at 1e-8, with relative errors before that."""
    module = nn.Linear(1, 3, bias=False)
    clf = small(module, loss="generalized_cross_entropy", lr=1e-9).fit(X[:, :1], Y)
    with torch.no_grad():
        clf.module_.weight.copy_(torch.tensor([[1.0], [0.0], [-1.0]]))
    rows = np.linspace(-30, 30, 61, dtype=np.float32)[:, None]
    (got,) = exported(clf, tmp_path).run(None, {"X": rows})
    assert_close(np.log(got), clf.predict_log_proba(rows), rtol=1e-5, atol=1e-5)


def test_change_of_target_prior_is_exported(tmp_path):
    clf = small().fit(X, Y).set_params(target_prior=[0.98, 0.01, 0.01])
    (got,) = exported(clf, tmp_path).run(None, {"X": X})
    assert_close(got, clf.predict_proba(X), rtol=0, atol=1e-6)
    assert got[:, 0].mean() > 0.9


@pytest.mark.slow
def test_layer_that_observes_targets_is_exported_as_it_predicts(tmp_path):
    module = nn.Sequential(nn.Linear(5, 4), FeatureSmoothing(4), nn.Linear(4, 1))
    reg = ImbalancedNetRegressor(module, max_epochs=2, random_state=0).fit(X, X[:, 0])
    (got,) = exported(reg, tmp_path).run(None, {"X": X})
    assert_close(got, reg.predict(X), rtol=0, atol=1e-5)


def test_metadata_name_classes_features_and_version(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(X, columns=list("abcde"))
    labels = np.array(["fine", 'so-"so"', "fräud"])[Y]
    session = exported(small(nn.Linear(5, 3)).fit(frame, labels), tmp_path)
    assert described(session) == {
        "version": imbtorch.__version__,
        "estimator": "ImbalancedNetClassifier",
        "classes": ["fine", "fräud", 'so-"so"'],
        "features": list("abcde"),
    }
    (name,) = session.get_inputs()
    assert (name.name, name.type, name.shape[1]) == ("X", "tensor(float)", 5)
    assert isinstance(name.shape[0], str)  # any number of rows


class Branching(nn.Linear):
    def forward(self, x):
        z = super().forward(x)
        return z if z.sum() > 0 else 2 * z


class TwoRows(nn.Linear):
    def forward(self, x):
        return super().forward(x) if len(x) == 2 else super().forward(x) + 1


@pytest.mark.parametrize("module", [Branching(5, 3), TwoRows(5, 3)])
def test_module_that_cannot_be_exported(module, tmp_path):
    clf = small(module).fit(X, Y)
    (tmp_path / "model.onnx").write_bytes(b"former")
    with pytest.raises(RuntimeError, match="cannot export this module") as caught:
        clf.to_onnx(tmp_path / "model.onnx")
    assert caught.value.__cause__ is not None
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"former"]


def test_failed_write_leaves_the_former_file(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"former")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    clf = small(nn.Linear(5, 3)).fit(X, Y)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        clf.to_onnx(tmp_path / "model.onnx")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"former"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_absent_package_is_named_with_the_extra(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package}.*imbtorch\[onnx\]"):
        small().fit(X, Y).to_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_unfitted(tmp_path):
    with pytest.raises(NotFittedError):
        small().to_onnx(tmp_path / "model.onnx")


def test_weights_beyond_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr("imbtorch._publish.onnx._LARGEST", 100)
    with pytest.raises(ValueError, match="one ONNX file holds at most 2"):
        small().fit(X, Y).to_onnx(tmp_path / "model.onnx")
