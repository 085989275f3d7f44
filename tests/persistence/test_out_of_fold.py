"""Out-of-fold predictions of ensembles in files: kept to the bit, and checked when read."""

import json

import numpy as np
import pytest
from sklearn.model_selection import KFold, RepeatedKFold, TimeSeriesSplit

import imbtorch
from imbtorch import (
    MLP,
    FileFormatError,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NetEnsembleRegressor,
)
from imbtorch.model_selection import TunedDecisionClassifierCV
from tests.persistence.hostile import File

N = 60
X = np.random.default_rng(0).normal(size=(N, 3))
TWO = (X[:, 0] > 0.4).astype(int)
WORDS = np.array(["few", "many", "some"])[np.digitize(X[:, 0], [-0.5, 0.8])]
LABELS = np.where(np.arange(2 * N).reshape(N, 2) % 9 == 0, np.nan, X[:, :2] > 0)
VALUES = np.stack([5 + 100 * X[:, 0], X[:, 1]], axis=1)
SETTINGS = {"max_epochs": 1}
SPLITTERS = {
    "folds": KFold(3),
    "repeated": RepeatedKFold(n_splits=2, n_repeats=2, random_state=0),
    "time": TimeSeriesSplit(3),
}


def classifier(y, cv, subset="folds"):
    net = ImbalancedNetClassifier(MLP((4,)), target_prior="train", **SETTINGS)
    clf = NetEnsembleClassifier(net, 2, subset=subset, cv=cv, random_state=0)
    return clf.fit(X, y).set_params(cv=None)  # a file holds no splitter


def regressor(y, cv, subset="folds"):
    net = ImbalancedNetRegressor(MLP((4,)), density_weight="lds", **SETTINGS)
    reg = NetEnsembleRegressor(net, 2, subset=subset, cv=cv, random_state=0)
    return reg.fit(X, y).set_params(cv=None)


def again(model, path):
    imbtorch.save(model, path)
    return imbtorch.load(path)


@pytest.mark.parametrize("cv", SPLITTERS)
@pytest.mark.parametrize("y", [TWO, WORDS, LABELS], ids=["two", "words", "labels"])
def test_predictions_and_sets_of_a_classifier(y, cv, tmp_path):
    clf = classifier(y, SPLITTERS[cv])
    twin = again(clf, tmp_path / "net")
    np.testing.assert_array_equal(twin.oof_predict_proba_, clf.oof_predict_proba_)
    np.testing.assert_array_equal(twin.oof_decision_function_, clf.oof_decision_function_)
    for alpha in (0.05, 0.2, 0.5):
        np.testing.assert_array_equal(twin.predict_set(X, alpha), clf.predict_set(X, alpha))
    third = again(twin, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "net").read_bytes()
    np.testing.assert_array_equal(third.predict_set(X), clf.predict_set(X))


@pytest.mark.parametrize("cv", SPLITTERS)
@pytest.mark.parametrize("y", [VALUES, VALUES[:, 0], VALUES[:, :1]], ids=["two", "one", "column"])
def test_predictions_of_a_regressor(y, cv, tmp_path):
    reg = regressor(y, SPLITTERS[cv])
    twin = again(reg, tmp_path / "net")
    np.testing.assert_array_equal(twin.oof_predict_, reg.oof_predict_)
    for method in ("predict", "predict_std"):
        np.testing.assert_array_equal(getattr(twin, method)(X), getattr(reg, method)(X))


@pytest.mark.parametrize("subset", ["bootstrap", "all"])
def test_models_without_folds_have_nothing_of_it(subset, tmp_path):
    for model in (classifier(TWO, None, subset), regressor(VALUES, None, subset)):
        twin = again(model, tmp_path / "net")
        assert "out_of_fold" not in File((tmp_path / "net").read_bytes()).document
        assert vars(twin).keys() == vars(model).keys()
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))


def test_decisions_around_a_loaded_ensemble(tmp_path):
    clf = classifier(TWO, KFold(3))
    twin = again(clf, tmp_path / "net")
    tuned = [TunedDecisionClassifierCV(c, scoring="f1", cv="oof").fit(X, TWO) for c in (clf, twin)]
    np.testing.assert_array_equal(tuned[0].predict(X), tuned[1].predict(X))
    loaded = again(tuned[0], tmp_path / "tuned")
    np.testing.assert_array_equal(loaded.estimator_.oof_predict_proba_, clf.oof_predict_proba_)


# -- what is refused -------------------------------------------------------------------------------


GOOD = {
    "classes": lambda: classifier(WORDS, KFold(2)),
    "two": lambda: classifier(TWO, TimeSeriesSplit(2)),
    "labels": lambda: classifier(LABELS, KFold(2)),
    "values": lambda: regressor(VALUES, TimeSeriesSplit(2)),
    "vector": lambda: regressor(VALUES[:, 0], KFold(2)),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Return good files by name, as bytes."""
    folder = tmp_path_factory.mktemp("good")
    for name, make in GOOD.items():
        imbtorch.save(make(), folder / name)
    return {name: (folder / name).read_bytes() for name in GOOD}


KINDS = {"float64": "F64", "int64": "I64", "float32": "F32", "bool": "BOOL"}


def array(file, *keys):
    """Return the name of the tensor of an attribute, and its numbers."""
    inner = file.document["out_of_fold"]
    for key in keys:
        inner = inner[key]
    entry = file.entries[inner["$array"]]
    start, stop = entry["data_offsets"]
    dtype = {"F64": np.float64, "I64": np.int64}[entry["dtype"]]
    return inner["$array"], np.frombuffer(file.data[start:stop], dtype).reshape(entry["shape"])


def with_array(*keys, change):
    """Return a change of a file: other numbers, of the same or another shape and dtype."""

    def changed(file):
        name, numbers = array(file, *keys)
        other = change(numbers.copy())
        kind = {"float64": "F64", "int64": "I64", "float32": "F32", "bool": "BOOL"}[
            str(other.dtype)
        ]
        file.rebuild(lambda tensors: tensors.update({name: (kind, other)}))

    return changed


def put(place, value):
    def changed(numbers):
        numbers[place] = value
        return numbers

    return changed


def document(change):
    return lambda file: change(file.document)


PROBA, DECISION = ("oof_predict_proba_",), ("oof_decision_function_",)
SCORES, SIZES = ("_scores_", "values"), ("_scores_", "sizes")
VALUE = ("oof_predict_",)
HOSTILE = {
    "probability above 1": ("classes", with_array(*PROBA, change=put((3, 0), 1.5))),
    "negative probability": ("labels", with_array(*PROBA, change=put((3, 0), -0.1))),
    "infinite probability": ("two", with_array(*PROBA, change=put((-1, 0), np.inf))),
    "row that is NaN in part": ("classes", with_array(*PROBA, change=put((3, 0), np.nan))),
    "probabilities of more rows": (
        "classes", with_array(*PROBA, change=lambda p: np.concatenate([p, p])),
    ),
    "probabilities of other classes": ("classes", with_array(*PROBA, change=lambda p: p[:, :2])),
    "probabilities of no rows": ("classes", with_array(*PROBA, change=lambda p: p[:0])),
    "probabilities of a vector": ("classes", with_array(*PROBA, change=lambda p: p[:, 0])),
    "probabilities in float32": ("classes", with_array(*PROBA, change=np.float32)),
    "probabilities that are flags": ("classes", with_array(*PROBA, change=lambda p: p > 0.5)),
    "decision of fewer rows": ("two", with_array(*DECISION, change=lambda d: d[:-1])),
    "decision of two columns": ("two", with_array(*DECISION, change=lambda d: d[:, None])),
    "decision without probability": ("two", with_array(*DECISION, change=put(0, 1.0))),
    "probability without decision": ("two", with_array(*DECISION, change=put(-1, np.nan))),
    "score above 1": ("classes", with_array(*SCORES, change=put(-1, 2.0))),
    "score that is NaN": ("labels", with_array(*SCORES, change=put(0, np.nan))),
    "scores out of order": ("classes", with_array(*SCORES, change=lambda s: s[::-1].copy())),
    "scores of a matrix": ("classes", with_array(*SCORES, change=lambda s: s[:, None])),
    "one score too many": ("classes", with_array(*SCORES, change=lambda s: np.append(s, 1.0))),
    "negative size": ("classes", with_array(*SIZES, change=put((0, 0), -1))),
    "sizes that make up for each other": (
        "classes", with_array(*SIZES, change=lambda s: s + np.array([[-99, 99, 0], [0, 0, 0]])),
    ),
    "sizes that overflow": ("classes", with_array(*SIZES, change=put((0, 0), 2**63 - 1))),
    "sizes of fewer folds": ("classes", with_array(*SIZES, change=lambda s: s[:1])),
    "sizes of other classes": ("labels", with_array(*SIZES, change=lambda s: s[:, ::2])),
    "sizes that are floats": ("labels", with_array(*SIZES, change=np.float64)),
    "times below 1": ("two", document(lambda d: d["out_of_fold"].update(_times_held_out_=0.5))),
    "more times than folds": (
        "two", document(lambda d: d["out_of_fold"].update(_times_held_out_=1e9)),
    ),
    "times that are text": (
        "two", document(lambda d: d["out_of_fold"].update(_times_held_out_="1")),
    ),
    "scores that are missing": ("two", document(lambda d: d["out_of_fold"].pop("_scores_"))),
    "attribute that nobody knows": ("two", document(lambda d: d["out_of_fold"].update(predict={}))),
    "nothing of the folds": ("values", document(lambda d: d["out_of_fold"].clear())),
    "predictions that are a list": ("two", document(lambda d: d.update(out_of_fold=[]))),
    "infinite prediction": ("vector", with_array(*VALUE, change=put(0, np.inf))),
    "prediction that is NaN in part": ("values", with_array(*VALUE, change=put((-1, 0), np.nan))),
    "predictions of one target": ("values", with_array(*VALUE, change=lambda v: v[:, :1])),
    "predictions of a matrix": ("vector", with_array(*VALUE, change=lambda v: v[:, None])),
    "predictions that are whole numbers": ("vector", with_array(*VALUE, change=np.int64)),
    "ensemble of the other kind of nets": (
        "values", document(lambda d: d.update(estimator="NetEnsembleClassifier")),
    ),
    "regressor of classifiers": (
        "two", document(lambda d: d.update(estimator="NetEnsembleRegressor")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_predictions_are_refused(name, good, tmp_path):
    base, change = HOSTILE[name]
    file = File(good[base])
    change(file)
    (tmp_path / "net").write_bytes(file.bytes())
    with pytest.raises(FileFormatError):
        imbtorch.load(tmp_path / "net")


def test_unchanged_files_are_read(good, tmp_path):
    for blob in good.values():
        file = File(blob)
        file.rebuild(lambda tensors: None)
        (tmp_path / "net").write_bytes(file.bytes())
        assert imbtorch.load(tmp_path / "net").predict(X).shape[0] == N


def test_a_single_net_has_no_folds(tmp_path):
    ImbalancedNetClassifier(MLP((4,)), **SETTINGS).fit(X, TWO).save(tmp_path / "net")
    file = File((tmp_path / "net").read_bytes())
    file.document["out_of_fold"] = {}
    (tmp_path / "net").write_bytes(file.bytes())
    with pytest.raises(FileFormatError, match="unknown parts"):
        imbtorch.load(tmp_path / "net")


def test_the_file_is_text_and_numbers(good):
    for blob in good.values():
        assert json.loads(File(blob).text())["kind"] == "model"
