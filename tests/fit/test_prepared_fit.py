"""A prepared fit: runs to train, published exactly once, and all or nothing."""

import copy

import numpy as np
import pytest

from imbtorch import ImbalancedNetRegressor, NetEnsembleClassifier
from imbtorch._fit.fit import Stackable
from imbtorch.training.loop import train_one_by_one
from imbtorch.training.stack import train_stacked
from tests.toy import parameters_of, small, table

X, Y = table()
VALUES = X[:, 0] + np.exp(X[:, 1])


def regressor():
    return ImbalancedNetRegressor(max_epochs=2, random_state=0)


def ensemble():
    return NetEnsembleClassifier(small(), 3, random_state=0)


MAKE = {"classifier": (small, Y), "regressor": (regressor, VALUES), "ensemble": (ensemble, Y)}
makers = pytest.mark.parametrize("name", MAKE)


def state_of(estimator):
    return sorted(vars(estimator))


@makers
def test_it_is_what_fit_does(name):
    make, y = MAKE[name]
    estimator = make()
    with estimator._prepare_fit(X, y) as fit:
        train_stacked(fit.runs, None) if len(fit.runs) > 1 else train_one_by_one(fit.runs)
        assert fit.publish() is False
    np.testing.assert_array_equal(estimator.predict(X), make().fit(X, y).predict(X))


@makers
def test_nothing_is_published_twice(name):
    make, y = MAKE[name]
    with make()._prepare_fit(X, y) as fit:
        train_one_by_one(fit.runs)
        fit.publish()
        with pytest.raises(RuntimeError, match="published once"):
            fit.publish()


@makers
def test_a_fit_that_is_left_without_publishing_undoes_everything(name):
    make, y = MAKE[name]
    estimator = make()
    with estimator._prepare_fit(X, y) as fit:
        train_one_by_one(fit.runs)
        if name != "ensemble":
            assert estimator.n_features_in_ == X.shape[1]
    assert state_of(estimator) == state_of(make())


@makers
def test_an_error_in_the_context_undoes_everything_and_is_raised(name):
    make, y = MAKE[name]
    fitted = make().fit(X, y)
    before, predicted = state_of(fitted), fitted.predict(X)

    def fail():
        with fitted._prepare_fit(2 * X, y) as fit:
            train_one_by_one(fit.runs)
            fit.publish()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert state_of(fitted) == before
    np.testing.assert_array_equal(fitted.predict(X), predicted)


@makers
def test_an_error_of_the_training_is_raised_by_publish(name):
    make, y = MAKE[name]
    estimator = make()

    def fail():
        with estimator._prepare_fit(X, y) as fit:
            fit.runs[0].error = KeyError("lost")
            fit.publish()

    with pytest.raises(KeyError, match="lost"):
        fail()
    assert state_of(estimator) == state_of(make())


def test_an_error_while_preparing_leaves_the_estimator_as_it_was():
    clf = small().fit(X, Y)
    before = parameters_of(clf)
    with pytest.raises(ValueError, match="infinity"):
        clf._prepare_fit(np.full_like(X, np.inf), Y)
    np.testing.assert_array_equal(parameters_of(clf), before)


def test_preparing_does_not_touch_the_present_net():
    clf = small(warm_start=True).fit(X, Y)
    net, before = clf.net_, copy.deepcopy(parameters_of(clf))
    with clf._prepare_fit(X, Y) as fit:
        train_one_by_one(fit.runs)
        assert clf.net_ is net
        np.testing.assert_array_equal(parameters_of(clf), before)
    assert clf.net_ is net


def test_only_these_estimators_can_be_stacked():
    assert all(isinstance(make(), Stackable) for make, _ in MAKE.values())
    assert not isinstance(object(), Stackable)


def test_chunks_have_targets_of_one_kind():
    clf = small().partial_fit(X, Y, classes=[0, 1, 2])
    labels = np.eye(3, dtype=int)[Y]
    with pytest.raises(ValueError, match="3 labels, but the chunks before held 3 classes"):
        clf.partial_fit(X, labels)
    assert clf.n_iter_ == 1
