"""Decisions belong to the file: thresholds, offsets and scales around a fitted estimator."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import imbtorch
from imbtorch import FileFormatError, ImbalancedNetRegressor, NetEnsembleClassifier
from imbtorch.model_selection import ScaledClassifierCV, TunedDecisionClassifierCV
from tests.persistence import hostile
from tests.persistence.test_tables import LABELS, STRANGE, VALUES, Own, X, Y
from tests.toy import small, table

N, CLASSES = table(150, n_classes=3, rate=0.3)
WORDS = np.array(["no", "yes"])[Y]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "decision.safetensors"


def again(model, path, *rows, **how):
    imbtorch.save(model, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin = imbtorch.load(path, **how)
    assert type(twin) is type(model)
    assert list(vars(twin)) == list(vars(model)) or set(vars(twin)) == set(vars(model))
    for more in rows:
        for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
            if hasattr(model, method):
                there, here = getattr(model, method)(more), getattr(twin, method)(more)
                assert here.dtype == there.dtype
                np.testing.assert_array_equal(here, there)
    return twin


def tuned(estimator, **params):
    return TunedDecisionClassifierCV(estimator, **{"cv": 2, **params})


# -- what comes back -------------------------------------------------------------------------------


@pytest.mark.slow
def test_offsets_of_a_table(path):
    model = tuned(small(), scoring="f1").fit(X, Y)
    twin = again(model, path, X, STRANGE)
    np.testing.assert_array_equal(twin.offsets_, model.offsets_)
    assert twin.best_score_ == model.best_score_
    assert twin.classes_.tolist() == [0, 1]
    assert not hasattr(twin.estimator, "net_")
    assert twin.get_params()["scoring"] == "f1"
    np.testing.assert_array_equal(clone(twin).fit(X, Y).predict(X), model.predict(X))


@pytest.mark.slow
def test_offsets_of_several_classes_and_of_labels(path):
    again(tuned(small()).fit(N, CLASSES), path, N)
    again(tuned(small(loss="bce"), scoring="f1_macro").fit(X, LABELS), path, X, STRANGE)


def test_costs(path):
    model = tuned(small(), cost_matrix=[[0, 1], [5, 0]]).fit(X, WORDS)
    twin = again(model, path, X, STRANGE)
    assert twin.offsets_ is None
    assert twin.estimator_.target_prior == "train"
    assert twin.estimator.target_prior is None


def test_costs_with_calibrated_probabilities(path):
    model = tuned(small(loss="hinge"), cost_matrix=[[0, 1], [5, 0]]).fit(X, Y)
    assert type(model.estimator_) is ScaledClassifierCV
    assert type(again(model, path, X).estimator_) is ScaledClassifierCV


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_scales(method, path):
    again(ScaledClassifierCV(small(), method=method, cv=2).fit(N, CLASSES), path, N)
    again(ScaledClassifierCV(small(), method=method, cv=2).fit(X, WORDS), path, X, STRANGE)


def test_scikit_learns_threshold(path):
    model = FixedThresholdClassifier(small(), threshold=0.3, pos_label="yes").fit(X, WORDS)
    twin = again(model, path, X, STRANGE)
    assert twin.threshold == 0.3
    assert twin.feature_names_in_.tolist() == list(X)
    scores = {"threshold": 0.1, "response_method": "decision_function"}
    again(FixedThresholdClassifier(small(), **scores).fit(N[:, :2], N[:, 0] > 0), path, N[:, :2])


def test_fitted_estimators_inside(path):
    clf = small().fit(X, Y)
    frozen = FixedThresholdClassifier(FrozenEstimator(clf), threshold=0.2).fit(X, Y)
    twin = again(frozen, path, X, STRANGE)
    assert twin.estimator is twin.estimator_
    twin = again(FixedThresholdClassifier(clf, threshold=0.2), path, X)  # which is not fitted again
    assert not hasattr(twin, "estimator_")
    inner = again(FrozenEstimator(clf), path, X).estimator
    assert inner.net_.encoder_.names() == clf.net_.encoder_.names()
    again(tuned(FrozenEstimator(clf)).fit(X, Y), path, X)
    deep = FixedThresholdClassifier(ScaledClassifierCV(FrozenEstimator(clf), cv=2)).fit(X, Y)
    twin = again(deep, path, X)
    assert twin.estimator.estimator is twin.estimator_.estimator_


@pytest.mark.slow
def test_ensembles_and_own_modules_inside(path):
    members = NetEnsembleClassifier(small(), 2, random_state=0)
    again(tuned(members).fit(X, Y), path, X, STRANGE)
    again(FrozenEstimator(members.fit(X, Y)), path, X)
    model = ImbalancedNetRegressor(max_epochs=1, random_state=0).fit(X, VALUES)
    again(FrozenEstimator(model), path, X)
    model = FixedThresholdClassifier(small(Own, features="table")).fit(X, Y)
    again(model, path, X, STRANGE, module=Own)


def test_the_function_saves_estimators_as_their_method_does(path, tmp_path):
    clf = small().fit(X, Y)
    again(clf, path, X)
    clf.save(tmp_path / "other")
    assert path.read_bytes() == (tmp_path / "other").read_bytes()


# -- what is refused -------------------------------------------------------------------------------


def fitted(estimator):
    return estimator.fit(X[["age", "short"]].fillna(0), Y)


REFUSED = {
    "Pipeline": (lambda: make_pipeline(StandardScaler(), small()), "last step.*encodes categories"),
    "GridSearchCV": (
        lambda: GridSearchCV(small(), {"lr": [0.01]}, cv=2),
        r"imbtorch\.save\(search\.best_estimator_",
    ),
    "TunedThresholdClassifierCV": (
        lambda: TunedThresholdClassifierCV(small(), cv=2),
        r"threshold=model\.best_threshold_",
    ),
    "CalibratedClassifierCV": (
        lambda: CalibratedClassifierCV(small(), cv=2), "ScaledClassifierCV",
    ),
    "LogisticRegression": (LogisticRegression, "A file can hold ImbalancedNetClassifier"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_other_estimators_are_refused_by_name(name, path):
    make, advice = REFUSED[name]
    model = fitted(make())
    for outer in (model, FixedThresholdClassifier(FrozenEstimator(model))):
        with pytest.raises(ValueError, match=f"^{name} cannot be written to a file.*{advice}"):
            imbtorch.save(outer, path)
    assert not path.exists()


def test_the_advice_on_a_tuned_threshold_works(path):
    model = fitted(TunedThresholdClassifierCV(small(), cv=2))
    frozen = FrozenEstimator(model.estimator_)
    again(FixedThresholdClassifier(frozen, threshold=model.best_threshold_), path)
    rows = X[["age", "short"]].fillna(0)
    np.testing.assert_array_equal(imbtorch.load(path).predict(rows), model.predict(rows))


def test_other_things_are_refused(path):
    for thing in (None, 3, "net", object()):
        with pytest.raises(ValueError, match="cannot be written to a file"):
            imbtorch.save(thing, path)


def test_what_is_not_fitted_is_not_saved(path):
    clf = small().fit(X, Y)
    for model in (small(), tuned(small()), tuned(clf), ScaledClassifierCV(clf),
                  FixedThresholdClassifier(small())):  # fmt: skip
        with pytest.raises(NotFittedError):
            imbtorch.save(model, path)


def test_code_is_refused_where_it_is(path):
    model = tuned(small(), cv=StratifiedKFold(2)).fit(X, Y)
    with pytest.raises(ValueError, match=r"^cv=.*save after set_params\(cv=None\)"):
        imbtorch.save(model, path)
    again(model.set_params(cv=None), path, X)
    model = tuned(small(lr_schedule=lambda t: 1.0)).fit(X, Y)
    where = r"estimator_\.set_params\(lr_schedule='one_cycle'\)"
    with pytest.raises(ValueError, match=rf"^estimator_\.lr_schedule=.*{where}"):
        imbtorch.save(model, path)
    model.estimator_.set_params(lr_schedule="one_cycle")
    with pytest.raises(ValueError, match=r"^estimator\.lr_schedule="):
        imbtorch.save(model, path)
    again(model.set_params(estimator__lr_schedule="one_cycle"), path, X)


def test_a_frozen_estimator_that_is_not_the_one_inside(path):
    model = FixedThresholdClassifier(FrozenEstimator(small().fit(X, Y))).fit(X, Y)
    model.set_params(estimator=FrozenEstimator(small().fit(X, Y)))
    with pytest.raises(ValueError, match="FrozenEstimator cannot be written"):
        imbtorch.save(model, path)


def test_subclasses_and_unknown_attributes(path):
    class Mine(ScaledClassifierCV):
        pass

    with pytest.raises(ValueError, match="^Mine cannot be written"):
        imbtorch.save(Mine(small(), cv=2).fit(X, Y), path)
    model = ScaledClassifierCV(small(), cv=2).fit(X, Y)
    model.new_ = 1
    with pytest.raises(ValueError, match="cannot hold: .'new_'"):
        imbtorch.save(model, path)


# -- hostile files ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def goods(tmp_path_factory):
    path = tmp_path_factory.mktemp("goods") / "decision"
    clf = small(features=None)
    rows, y = table(80)
    models = {
        "tuned": tuned(clf).fit(rows, y),
        "costs": tuned(clf, cost_matrix=[[0, 1], [5, 0]]).fit(rows, y),
        "scaled": ScaledClassifierCV(clf, cv=2).fit(rows, y),
        "vector": ScaledClassifierCV(clf, cv=2, method="vector").fit(rows, y),
        "threshold": FixedThresholdClassifier(clf).fit(rows, y),
        "frozen": FixedThresholdClassifier(FrozenEstimator(clf.fit(rows, y))).fit(rows, y),
        "plain": clf,
    }
    blobs = {}
    for name, model in models.items():
        imbtorch.save(model, path)
        blobs[name] = path.read_bytes()
    return blobs


def attributes(**values):
    return lambda document: document["attributes"].update(values)


def dropped(name):
    return lambda document: document["attributes"].pop(name)


def nested(times):
    def change(document):
        for _ in range(times):
            document |= {"fitted": {**document}}

    return change


NAN = {"$float": "nan"}
HOSTILE = [
    ("tuned", attributes(offsets_={"$array": "value.99"})),
    ("tuned", attributes(offsets_=[0.0, 1.0])),
    ("tuned", attributes(offsets_=None)),
    ("tuned", attributes(best_score_=NAN)),
    ("tuned", attributes(best_score_="a")),
    ("tuned", attributes(_multilabel=True)),
    ("tuned", attributes(_multilabel=0)),
    ("tuned", attributes(_values=[])),
    ("tuned", attributes(_values="a")),
    ("tuned", attributes(_values=[{"$texts": [1, [2], ["a", "b"]]}])),
    ("tuned", attributes(classes_={"$texts": [1, [2], ["a", "b"]]})),
    ("tuned", attributes(classes_=None)),
    ("tuned", attributes(estimator_=None)),
    ("tuned", attributes(estimator_={"$fitted": 1})),
    ("tuned", attributes(estimator_={"$fitted": -1})),
    ("tuned", attributes(estimator_={"$fitted": True})),
    ("tuned", attributes(estimator_={"$estimator": {}})),
    ("tuned", attributes(predict="code")),
    ("tuned", dropped("offsets_")),
    ("tuned", dropped("estimator_")),
    ("tuned", lambda document: document["params"].update(scoring="os.system")),
    ("tuned", lambda document: document["params"].update(code=1)),
    ("tuned", lambda document: document["params"].update(estimator=None)),
    ("tuned", lambda document: document["params"].update(estimator={"$fitted": 7})),
    ("tuned", lambda document: document.update(estimator="ScaledClassifierCV")),
    ("tuned", lambda document: document.update(estimator="ImbalancedNetClassifier")),
    ("tuned", lambda document: document.update(estimator="LogisticRegression")),
    ("tuned", lambda document: document.update(fitted={})),
    ("tuned", lambda document: document.update(fitted=[])),
    ("tuned", lambda document: document.update(net={})),
    ("tuned", lambda document: document["fitted"].update(fitted={})),
    ("tuned", lambda document: document["fitted"].update(estimator="ScaledClassifierCV")),
    ("tuned", nested(20)),
    ("costs", dropped("_costs")),
    ("costs", attributes(_costs=[[0, 1], [1, 0]])),
    ("costs", attributes(best_score_=1.0)),
    ("scaled", attributes(temperature_=0.0)),
    ("scaled", attributes(temperature_=NAN)),
    ("scaled", attributes(temperature_=True)),
    ("scaled", dropped("temperature_")),
    ("scaled", lambda document: document["params"].update(method="vector")),
    ("vector", dropped("scale_")),
    ("vector", attributes(bias_=0.0)),
    ("vector", lambda document: document["params"].update(method="temperature")),
    ("threshold", attributes(n_features_in_=6)),
    ("threshold", attributes(feature_names_in_={"$texts": ["object", [1], ["a"]]})),
    ("threshold", lambda document: document["params"].update(threshold="low")),
    ("threshold", dropped("estimator_")),
    ("threshold", lambda document: document["params"].update(estimator="code")),
    ("frozen", lambda document: document["fitted"]["params"].update(estimator={"$fitted": 1})),
    ("frozen", lambda document: document["fitted"]["params"].update(estimator=None)),
    ("plain", lambda document: document.update(attributes={})),
    ("plain", lambda document: document.update(estimator="FrozenEstimator")),
    ("plain", lambda document: document["params"].update(estimator={"$fitted": 0})),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_decisions_are_refused(number, goods, path):
    name, change = HOSTILE[number]
    file = hostile.File(goods[name])
    path.write_bytes(file.bytes())
    assert imbtorch.load(path).predict(table(80)[0]).shape == (80,)
    change(file.document)
    path.write_bytes(file.bytes())
    with pytest.raises(FileFormatError):
        imbtorch.load(path)
