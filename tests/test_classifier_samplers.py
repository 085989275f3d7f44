"""Samplers of ours inside the classifier: by name, in searches, and in the books of the priors."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import recall_score, roc_auc_score
from sklearn.model_selection import GridSearchCV

from imbtorch import MLP, DoubleCorrectionWarning, ImbalancedNetClassifier
from imbtorch.samplers import RepeatFactorSampler, all_samplers, get_sampler
from tests.toy import overlapping, parameters_of, small

X, Y = overlapping(3000, 0.04, shift=1.5)
NEW_X, NEW_Y = overlapping(3000, 0.04, shift=1.5, seed=1)
BALANCING = ["class_balanced", "class_aware", "exact_batches", "under_sampling"]
MIXING = ["mixup", "remix"]


def fitted(sampler, **params):
    params = {"loss": "cross_entropy", "max_epochs": 10, "random_state": 0, **params}
    return ImbalancedNetClassifier(MLP((16,)), sampler=sampler, **params).fit(X, Y)


@pytest.mark.matrix
@pytest.mark.parametrize("name", sorted(all_samplers()))
def test_every_sampler_trains_by_name_and_repeats(name):
    clf = fitted(name)
    assert roc_auc_score(NEW_Y, clf.decision_function(NEW_X)) > 0.85
    assert (parameters_of(clf) == parameters_of(fitted(get_sampler(name)))).all()
    assert (parameters_of(clf) != parameters_of(fitted(name, random_state=1))).any()


@pytest.mark.parametrize("name", BALANCING)
def test_balanced_rows_find_the_rare_class_and_the_books_know_it(name):
    clf = fitted(name)
    np.testing.assert_allclose(clf.effective_prior_, [0.5, 0.5], atol=0.01)
    np.testing.assert_allclose(clf.class_prior_, [0.96, 0.04])
    plain = fitted(None)
    assert recall_score(NEW_Y, clf.predict(NEW_X)) > recall_score(NEW_Y, plain.predict(NEW_X)) + 0.3
    mean = clf.set_params(target_prior="train").predict_proba(NEW_X)[:, 1].mean()
    assert mean == pytest.approx(0.04, abs=0.015)


def test_default_loss_on_balanced_rows_is_cross_entropy():
    # its prior is that of the rows which it sees
    adjusted, plain = fitted("exact_batches", loss="logit_adjusted"), fitted("exact_batches")
    proba = plain.predict_proba(NEW_X)
    np.testing.assert_allclose(adjusted.predict_proba(NEW_X), proba, rtol=1e-3, atol=1e-4)


def test_sampler_and_class_weights_together_warn():
    with pytest.warns(DoubleCorrectionWarning, match="ClassBalancedSampler.*class_weight"):
        fitted("class_balanced", class_weight="balanced", max_epochs=1)


def test_parameters_of_a_sampler_are_searched():
    search = GridSearchCV(
        small(sampler="power", loss="cross_entropy"),
        {"sampler__power": [0.0, 1.0]},
        scoring="balanced_accuracy",
        cv=2,
    ).fit(X, Y)
    assert search.best_params_ == {"sampler__power": 0.0}


def test_sample_weights_and_validation_go_with_samplers():
    weight = np.where(X[:, 2] > 0, 2.0, 0.0)
    clf = fitted("class_balanced", early_stopping=True)
    clf.fit(X, Y, sample_weight=weight)
    assert clf.class_counts_.sum() < weight.sum()
    np.testing.assert_allclose(clf.effective_prior_, [0.5, 0.5], atol=0.05)


def test_zero_class_weight_leaves_a_class_out_of_the_plan():
    labels = Y.copy()
    labels[:50] = 2
    clf = ImbalancedNetClassifier(
        MLP((8,)), sampler="class_balanced", class_weight={2: 0.0}, loss="cross_entropy",
        max_epochs=2, random_state=0,
    ).fit(X, labels)  # fmt: skip
    assert clf.effective_prior_[2] == 0


@pytest.mark.parametrize("name", MIXING)
def test_mixtures_train_classes_in_any_shape(name):
    images = X.reshape(len(X), 2, 2)
    clf = ImbalancedNetClassifier(
        lambda shape, n: _flat_net(n), sampler=name, max_epochs=5, random_state=0
    ).fit(images, Y)
    assert roc_auc_score(Y, clf.decision_function(images)) > 0.85
    assert (clf.class_counts_ == np.bincount(Y)).all()


def _flat_net(n_outputs):
    import torch

    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, n_outputs))


def test_samplers_of_several_labels():
    labels = sparse.csr_array(np.stack([Y, X[:, 0] > 0, X[:, 1] > 1], axis=1).astype(int))
    for sampler in (RepeatFactorSampler(threshold=0.3), "mixup"):
        clf = small(sampler=sampler, loss="bce", max_epochs=4).fit(sparse.csr_array(X), labels)
        assert np.isfinite(clf.predict_proba(X)).all()
    plain = small(loss="bce").fit(X, labels)
    repeated = small(sampler=RepeatFactorSampler(threshold=0.3), loss="bce").fit(X, labels)
    assert repeated.effective_prior_[0] > 2 * plain.effective_prior_[0]
    with pytest.raises(ValueError, match="one class per row"):
        small(sampler="class_balanced", loss="bce").fit(X, labels)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sampler": "balanced"}, "Unknown sampler 'balanced'"),
        ({"sampler": get_sampler("power").set_params(power=7)}, "power"),
        ({"sampler": "exact_batches", "batch_size": 1}, "batch_size"),
    ],
    ids=str,
)
def test_bad_samplers_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        small(**params).fit(X, Y)
