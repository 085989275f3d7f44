"""Mistakes of newcomers: each ends with the right result, or a message that names the way out."""

import gzip
import inspect
import json
import pickle
import re
import warnings
import zipfile
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import skorch
import torch
from imblearn.over_sampling import SMOTE
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.utils.data import DataLoader

import imbtorch
from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NetPortfolioClassifier,
)
from imbtorch.features import TableFeatures
from imbtorch.losses import FocalLoss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = (np.arange(60) % 6 == 0).astype(int)
WORDS = np.where(Y == 1, "yes", "no").astype(object)


def small(**params):
    return ImbalancedNetClassifier(**{"module": "mlp", "max_epochs": 1, **params})


def fit(**params):
    return small(**params).fit(X, Y)


def on(X_given=X, y_given=Y):
    return small().fit(X_given, y_given)


def says(error, *words):
    """Expect an error whose message has all of these words."""
    return error, words


def holding(values, position, value):
    changed = np.array(values, dtype=object)
    changed[position] = value
    return changed


SAYS_LOSS = says(ValueError, "Did you mean 'cross_entropy'?")
MISTAKES = {
    # names that other libraries have for the same
    "epochs": (lambda: fit(epochs=3), *says(TypeError, "max_epochs=")),
    "n_epochs": (lambda: fit(n_epochs=3), *says(TypeError, "max_epochs=")),
    "epochs of fit": (lambda: small().fit(X, Y, epochs=3), *says(TypeError, "max_epochs=")),
    "epochs of set_params": (
        lambda: small().set_params(epochs=3),
        *says(ValueError, "Invalid parameter 'epochs'", "max_epochs="),
    ),
    "epochs in a pipeline": (
        lambda: make_pipeline(small()).set_params(imbalancednetclassifier__epochs=3),
        *says(ValueError, "max_epochs="),
    ),
    "epochs of an ensemble": (
        lambda: NetEnsembleClassifier(epochs=3),
        *says(TypeError, "NetEnsembleClassifier(ImbalancedNetClassifier(max_epochs=...))"),
    ),
    "learning_rate of a portfolio": (
        lambda: NetPortfolioClassifier(learning_rate=0.1),
        *says(TypeError, "NetPortfolioClassifier(ImbalancedNetClassifier(lr=...))"),
    ),
    "learning_rate": (lambda: fit(learning_rate=0.1), *says(TypeError, "lr=")),
    "validation_data": (
        lambda: small().fit(X, Y, validation_data=(X, Y)),
        *says(TypeError, "X_val=X_val, y_val=y_val"),
    ),
    "eval_set": (
        lambda: small().fit(X, Y, eval_set=[(X, Y)]),
        *says(TypeError, "X_val=X_val, y_val=y_val"),
    ),
    "eval_set of the constructor": (
        lambda: fit(eval_set=[(X, Y)]),
        *says(TypeError, "an argument of fit", "X_val=X_val, y_val=y_val"),
    ),
    "eval_set of a portfolio": (
        lambda: NetPortfolioClassifier().fit(X, Y, eval_set=[(X, Y)]),
        *says(TypeError, "NetPortfolioClassifier(cv=...)"),
    ),
    "criterion": (lambda: fit(criterion="gini"), *says(TypeError, "loss=")),
    "batch": (lambda: fit(batch=32), *says(TypeError, "batch_size=")),
    "hidden_layer_sizes": (
        lambda: fit(hidden_layer_sizes=(8,)),
        *says(TypeError, "module=MLP(hidden_sizes=...)"),
    ),
    "gamma": (lambda: fit(gamma=2.0), *says(TypeError, "loss=FocalLoss(gamma=...)")),
    "class_weight of fit": (
        lambda: small().fit(X, Y, class_weight="balanced"),
        *says(TypeError, "a parameter of the estimator"),
    ),
    "class_weight of a regressor": (
        lambda: ImbalancedNetRegressor(class_weight="balanced"),
        *says(TypeError, "density_weight"),
    ),
    "a slip of the pen": (lambda: fit(max_epoch=3), *says(TypeError, "'max_epochs'")),
    # names of losses, modules and samplers
    "log_loss": (lambda: fit(loss="log_loss"), *SAYS_LOSS),
    "ce": (lambda: fit(loss="ce"), *SAYS_LOSS),
    "logloss": (lambda: fit(loss="logloss"), *SAYS_LOSS),
    "binary_crossentropy": (
        lambda: fit(loss="binary_crossentropy"),
        *says(ValueError, "Did you mean 'bce'?"),
    ),
    "smote": (lambda: fit(sampler="smote"), *says(ValueError, "imblearn.over_sampling.SMOTE()")),
    "Adam": (lambda: fit(optimizer="Adam"), *says(ValueError, "optimizer='adam'")),
    "rmsprop": (lambda: fit(optimizer="rmsprop"), *says(ValueError, "torch.optim.RMSprop")),
    # values of another form
    "callbacks": (
        lambda: fit(callbacks=["early_stopping"]),
        *says(TypeError, "skorch.callbacks", "early_stopping=True"),
    ),
    "callbacks as a word": (
        lambda: fit(callbacks="early_stopping"),
        *says(ValueError, "early_stopping=True"),
    ),
    "EarlyStopping without validation rows": (
        lambda: fit(callbacks=[skorch.callbacks.EarlyStopping()]),
        *says(ValueError, "early_stopping=True", "validation_fraction="),
    ),
    "class_weight": (lambda: fit(class_weight=9.0), *says(ValueError, "{0: 1.0, 1: 9.0}")),
    "target_prior": (lambda: fit(target_prior=0.01), *says(ValueError, "{0: 0.99, 1: 0.01}")),
    "sampler": (lambda: fit(sampler=SMOTE), *says(ValueError, "SMOTE()")),
    "features": (lambda: fit(features=TableFeatures), *says(ValueError, "TableFeatures()")),
    "optimizer": (
        lambda: fit(optimizer=torch.optim.AdamW(nn.Linear(2, 2).parameters())),
        *says(ValueError, "torch.optim.AdamW"),
    ),
    "early_stopping": (lambda: fit(early_stopping=5), *says(ValueError, "patience=5")),
    "validation": (lambda: fit(validation=0.2), *says(ValueError, "validation_fraction=")),
    "dtype": (lambda: fit(dtype=torch.float32), *says(ValueError, "dtype='float32'")),
    "lr_schedule": (lambda: fit(lr_schedule=None), *says(ValueError, "'constant'")),
    # data of another form
    "None in y": (lambda: on(y_given=holding(WORDS, 3, None)), *says(ValueError, "y", "notna")),
    "NaN in y": (lambda: on(y_given=np.where(Y, 1, np.nan)), *says(ValueError, "y", "notna")),
    "y as a word": (lambda: on(y_given="label"), *says(ValueError, "table['label']")),
    "continuous y": (lambda: on(y_given=X[:, 0]), *says(ValueError, "ImbalancedNetRegressor")),
    "X as dicts": (
        lambda: on([{"a": 1.0, "b": 2.0}] * 60),
        *says(ValueError, "pandas.DataFrame(X)"),
    ),
    "X as a column": (lambda: on(X[:, 0]), *says(ValueError, "(60,)", "X.reshape(-1, 1)")),
    "X as a list of numbers": (lambda: on([1.0] * 60), *says(ValueError, "X.reshape(-1, 1)")),
    "X as a Series": (lambda: on(pd.Series(X[:, 0])), *says(ValueError, "X.to_frame()")),
    "X as texts": (lambda: on(["a text"] * 60), *says(ValueError, "TfidfVectorizer")),
    "X as a path": (lambda: on("data.csv"), *says(ValueError, "pandas.read_csv")),
    "X as a loader": (lambda: on(DataLoader(X)), *says(ValueError, "X.dataset")),
    "X as a generator": (lambda: on(row for row in X), *says(ValueError, "np.stack(list(X))")),
    "X as None": (lambda: on(None), *says(ValueError, "X is None")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_names_the_way_out(mistake):
    attempt, error, words = MISTAKES[mistake]
    with pytest.raises(error) as caught:
        attempt()
    message = str(caught.value)
    assert all(word in message for word in words), message


RIGHT = {
    "loss in another spelling": (partial(fit, loss="Focal"), partial(fit, loss="focal")),
    "loss without separator": (
        partial(fit, loss="crossentropy"),
        partial(fit, loss="cross_entropy"),
    ),
    "module in another spelling": (partial(fit, module="MLP"), partial(fit, module="mlp")),
    "one hidden layer": (
        partial(fit, module=MLP(hidden_sizes=8)),
        partial(fit, module=MLP(hidden_sizes=(8,))),
    ),
    "a class of losses": (partial(fit, loss=FocalLoss), partial(fit, loss=FocalLoss())),
    "labels as floats": (partial(on, y_given=Y.astype(float)), fit),
    "labels as a frame": (partial(on, y_given=pd.DataFrame({"y": Y})), fit),
}


@pytest.mark.parametrize("meant", RIGHT)
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_what_can_only_mean_one_thing_is_accepted(meant):
    given, expected = (attempt() for attempt in RIGHT[meant])
    assert str(given.module_) == str(expected.module_)
    assert type(given.loss_) is type(expected.loss_)
    assert given.classes_.tolist() == expected.classes_.tolist()


# -- warnings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["yes ", " yes", "Yes", "YES"])
def test_labels_that_differ_by_blanks_or_case_warn(other):
    with pytest.warns(UserWarning, match=r"differ only by blanks .*strip"):
        on(y_given=holding(WORDS, 0, other))


LARGE = X * np.array([1, 1e5, 1, 1], dtype=np.float32)
OWN = nn.Sequential(nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("params", "given"),
    [
        ({"features": None}, LARGE),
        ({"module": OWN}, LARGE),
        ({"features": None}, pd.DataFrame(LARGE, columns=list("abcd"))),
    ],
    ids=["features=None", "module of one's own", "frame"],
)
def test_columns_that_nothing_scales_warn(params, given):
    name = "'b'" if hasattr(given, "columns") else "'1'"
    with pytest.warns(UserWarning, match=rf"columns \[{name}\].*StandardScaler"):
        small(**params).fit(given, Y)


@pytest.mark.parametrize(
    ("params", "given"),
    [
        ({}, LARGE),
        ({"features": None}, X),
        ({"module": nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))}, LARGE),
    ],
    ids=["encoded", "scaled", "normalised"],
)
def test_columns_that_are_scaled_do_not_warn(params, given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(**params).fit(given, Y)


# -- files -----------------------------------------------------------------------------------------


def onnx_file(path):
    skl2onnx = pytest.importorskip("skl2onnx")
    path.write_bytes(skl2onnx.to_onnx(LogisticRegression().fit(X, Y), X[:1]).SerializeToString())


def skops_file(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("schema.json", "{}")


FILES = {
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"a": 1})), "pickle.load"),
    "joblib": (partial(joblib.dump, {"a": X}), "joblib.load"),
    "compressed joblib": (lambda p: joblib.dump({"a": X}, p, compress=3), "joblib.load"),
    "torch.save": (partial(torch.save, {"a": torch.zeros(2)}), "torch.load"),
    "skops": (skops_file, "skops.io.load"),
    "ONNX": (onnx_file, "onnxruntime.InferenceSession"),
    "CSV": (lambda p: p.write_text("a,b\n1,2\n", "utf-8"), "pandas.read_csv"),
    "JSON": (lambda p: p.write_text(json.dumps({"a": [1, 2, 3]}), "utf-8"), "json.load"),
    "other safetensors": (partial(save_file, {"a": torch.zeros(3)}), "safetensors.torch.load_file"),
    "gzip": (lambda p: p.write_bytes(gzip.compress(b"a")), "gzip"),
    "empty": (lambda p: p.write_bytes(b""), "empty file"),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "checkpoint": (
        lambda p: fit(checkpoint=p.parent / "c") and (p.parent / "c").rename(p),
        "resume=True",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_load_says_what_another_file_is(kind, tmp_path):
    write, way_out = FILES[kind]
    path = tmp_path / "file"
    write(path)
    if kind == "checkpoint":
        path = path / "checkpoint.safetensors"
    with pytest.raises(imbtorch.FileFormatError, match=re.escape(way_out)):
        imbtorch.load(path)


def test_a_damaged_file_of_our_own_is_called_damaged(tmp_path):
    path = tmp_path / "net.safetensors"
    fit().save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(imbtorch.FileFormatError, match="damaged"):
        imbtorch.load(path)


# -- the signatures stay as they are --------------------------------------------------------------


@pytest.mark.parametrize(
    "cls",
    [
        ImbalancedNetClassifier,
        ImbalancedNetRegressor,
        NetEnsembleClassifier,
        NetPortfolioClassifier,
    ],
    ids=lambda cls: cls.__name__,
)
def test_signatures_are_explicit(cls):
    for method in (cls, cls.fit):
        kinds = {p.kind for p in inspect.signature(method).parameters.values()}
        assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    assert sorted(cls().get_params(deep=False)) == sorted(inspect.signature(cls).parameters)
    assert clone(cls(random_state=3)).random_state == 3
    assert cls.__init__.__name__ == "__init__"
