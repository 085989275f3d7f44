"""What pickles hold: little, all that is needed, and nothing that ties them to a device."""

import pickle

import numpy as np
import pytest
import torch

from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    load,
)
from tests.toy import parameters_of, plain_columns, small, table

X, Y = table(2000)
VALUES = X[:, 0] + X[:, 1]


def size(estimator):
    return len(pickle.dumps(estimator))


def through_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


@pytest.mark.parametrize(
    "estimator",
    [
        ImbalancedNetClassifier(),
        ImbalancedNetRegressor(),
        NetEnsembleClassifier(ImbalancedNetClassifier()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_unfitted_estimators_are_small(estimator):
    assert size(estimator) < 5_000


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("cls", [ImbalancedNetClassifier, ImbalancedNetRegressor])
def test_fitted_estimators_are_their_weights(cls, optimizer):
    fitted = cls(
        MLP((300, 200)), features=plain_columns(), max_epochs=2, optimizer=optimizer, random_state=0
    )
    fitted.fit(X, Y if cls is ImbalancedNetClassifier else VALUES)
    assert fitted.net_.optimizer_.state  # here it is still there
    assert size(fitted) < parameters_of(fitted).nbytes + 10_000 < X.nbytes * 10


def test_fitted_ensemble_is_its_weights():
    members = NetEnsembleClassifier(small(MLP((300,))), 3, random_state=0).fit(X, Y)
    weights = sum(parameters_of(member).nbytes for member in members.estimators_)
    assert size(members) < weights + 3 * 10_000


def chunk(estimator, part):
    rows = slice(300 * part, 300 * part + 300)
    if isinstance(estimator, ImbalancedNetRegressor):
        return estimator.partial_fit(X[rows], VALUES[rows])
    return estimator.partial_fit(X[rows], Y[rows], classes=[0, 1])


@pytest.mark.parametrize("cls", [ImbalancedNetClassifier, ImbalancedNetRegressor])
def test_a_stream_goes_on_after_a_pickle_as_if_nothing_had_happened(cls):
    one = chunk(cls(MLP((8,)), random_state=0), 0)
    other = chunk(through_pickle(one), 1)
    np.testing.assert_array_equal(parameters_of(other), parameters_of(chunk(one, 1)))
    other = chunk(through_pickle(other), 2)
    np.testing.assert_array_equal(parameters_of(other), parameters_of(chunk(one, 2)))


def test_warm_start_goes_on_after_a_pickle_as_if_nothing_had_happened():
    one = small(warm_start=True, optimizer="sgd").fit(X, Y)
    other = through_pickle(one).fit(X, Y)
    np.testing.assert_array_equal(parameters_of(other), parameters_of(one.fit(X, Y)))


def test_after_a_plain_fit_files_and_pickles_begin_with_a_new_optimizer(tmp_path):
    clf = small().fit(X, Y)
    clf.save(tmp_path / "net")
    copies = [through_pickle(clf), load(tmp_path / "net")]
    assert not any(twin.net_.optimizer_.state for twin in copies)
    first, second = (parameters_of(chunk(twin, 0)) for twin in copies)
    np.testing.assert_array_equal(first, second)


def test_pickle_of_another_device_loads_where_there_is_none(monkeypatch):
    clf = small().fit(X, Y)
    expected = clf.predict_proba(X)
    clf.net_.device = "cuda"  # as pickled there
    stored = pickle.dumps(clf)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="(?i)cuda"):
        twin = pickle.loads(stored)
    assert twin.device_ == "cpu"
    np.testing.assert_array_equal(twin.predict_proba(X), expected)
