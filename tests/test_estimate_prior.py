"""``estimate_prior`` of classifier and ensemble knows the population of its own probabilities."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.priors import estimate_prior
from tests.toy import overlapping, small, table

X, Y = overlapping(3000, 0.1, shift=2.5)
X_NEW, Y_NEW = overlapping(3000, 0.4, shift=2.5, seed=1)
SETTINGS = {
    "default": {},
    "class_weight": {"loss": "cross_entropy", "class_weight": "balanced"},
    "sampler": {"loss": "cross_entropy", "sampler": "class_balanced"},
    "focal": {"loss": "focal"},
    "raw scores": {"loss": "vs"},
    "uniform": {"target_prior": "uniform"},
    "stated": {"target_prior": [0.3, 0.7]},
}


def net(**params):
    return ImbalancedNetClassifier(**{"max_epochs": 8, "random_state": 0, **params})


@pytest.mark.parametrize("name", SETTINGS)
def test_the_frequencies_of_new_rows_are_found(name):
    clf = net(**SETTINGS[name]).fit(X, Y)
    for rows, truth in ((X, 0.1), (X_NEW, 0.4)):
        found = clf.estimate_prior(rows)
        assert found.sum() == pytest.approx(1)
        assert found[1] == pytest.approx(truth, abs=0.06)


@pytest.mark.parametrize("subset", ["balanced", "bootstrap", "all"])
@pytest.mark.parametrize("target_prior", [None, "uniform"])
def test_an_ensemble_finds_them_too(subset, target_prior):
    inner = net(max_epochs=20, target_prior=target_prior)
    clf = NetEnsembleClassifier(inner, 2, subset=subset, random_state=0).fit(X, Y)
    assert clf.estimate_prior(X_NEW)[1] == pytest.approx(0.4, abs=0.06)
    assert inner.target_prior is target_prior


def test_it_is_the_function_with_the_right_population():
    clf = net().fit(X, Y)
    weight = np.random.default_rng(0).random(len(X_NEW))
    found = clf.estimate_prior(X_NEW, sample_weight=weight)
    honest = clf.set_params(target_prior="train").predict_proba(X_NEW)
    expected = estimate_prior(honest, clf.class_prior_, sample_weight=weight)
    np.testing.assert_array_equal(found, expected)


def test_each_label_has_its_own_share():
    labels = np.column_stack([Y, 1 - Y, np.zeros_like(Y)])
    clf = net().fit(X, labels)
    np.testing.assert_allclose(clf.estimate_prior(X_NEW), [0.4, 0.6, 0.0], atol=0.06)


def test_several_classes_sum_to_one():
    features, classes = table(600, n_classes=3)
    found = net().fit(features, classes).estimate_prior(features)
    np.testing.assert_allclose(found, np.bincount(classes) / len(classes), atol=0.05)


@pytest.mark.parametrize("loss", ["hinge", "auc_margin"])
def test_a_loss_without_posterior_is_an_error(loss):
    clf = small(loss=loss, max_epochs=1).fit(X, Y)
    ensemble = NetEnsembleClassifier(small(loss=loss, max_epochs=1), 2).fit(X, Y)
    for fitted in (clf, ensemble):
        with pytest.raises(ValueError, match="needs a loss whose outputs determine"):
            fitted.estimate_prior(X)


@pytest.mark.parametrize("clf", [net(), NetEnsembleClassifier()], ids=["net", "ensemble"])
def test_it_must_be_fitted_first(clf):
    with pytest.raises(NotFittedError):
        clf.estimate_prior(X)
