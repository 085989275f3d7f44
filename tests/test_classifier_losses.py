"""Every registered loss in the classifier: it learns, predicts, and keeps its promises."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.losses import all_losses
from tests.toy import overlapping, small, table

LOSSES = sorted(all_losses())
PROPER = [name for name in LOSSES if all_losses()[name]().has_posterior]
X, Y = overlapping(2000, 0.1, shift=1.5)


def fitted(loss, X=X, y=Y, **params):
    params = {"max_epochs": 8, "lr": 0.01, "random_state": 0, **params}
    return ImbalancedNetClassifier(MLP((16,)), loss=loss, **params).fit(X, y)


@pytest.mark.matrix
@pytest.mark.parametrize("loss", LOSSES)
def test_it_learns_to_rank(loss):
    # the absolute error alone is content with the majority class
    class_weight = "balanced" if loss == "l1" else None
    clf = fitted(loss, class_weight=class_weight)
    new_X, new_y = overlapping(2000, 0.1, shift=1.5, seed=1)
    assert roc_auc_score(new_y, clf.decision_function(new_X)) > 0.9


@pytest.mark.matrix
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_probabilities_are_distributions_and_agree_with_labels(loss, n_classes):
    X, y = table(200, n_classes=n_classes, rate=0.4)
    labels = np.array(["a", "b", "c"])[y]
    clf = small(loss=loss).fit(X, labels)
    priors = [None, "train", "uniform"] if loss in PROPER else [None]
    for target_prior in priors:
        proba = clf.set_params(target_prior=target_prior).predict_proba(X)
        assert proba.shape == (200, n_classes)
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
        assert (clf.predict(X) == clf.classes_[proba.argmax(axis=1)]).all()


@pytest.mark.matrix
@pytest.mark.parametrize("loss", PROPER)
def test_ranking_is_the_same_for_every_population(loss):
    clf = fitted(loss, dtype="float64")
    orders = [
        np.argsort(clf.set_params(target_prior=prior).decision_function(X), kind="stable")
        for prior in ("train", "uniform", {0: 0.999, 1: 0.001})
    ]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] == orders[2]).all()


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - set(PROPER)))
def test_population_of_a_loss_without_posterior_is_an_error(loss):
    with pytest.raises(ValueError, match=r"(?s)target_prior='train'.*CalibratedClassifierCV"):
        small(loss=loss, target_prior="train").fit(X, Y)


@pytest.mark.parametrize("loss", ["cdt", "vs"])
def test_labels_are_predicted_from_raw_logits(loss):
    clf = fitted(loss, dtype="float64")
    with torch.no_grad():
        logits = clf.module_(torch.from_numpy(X)).numpy()
    assert (clf.predict(X) == logits.argmax(axis=1)).all()
    assert (clf.predict(X) != clf.set_params(target_prior="train").predict(X)).any()


def test_warm_up_is_counted_in_epochs():
    # cross-entropy first: the same net as long as the warm-up lasts, another one afterwards
    warm = {"loss": "soft_fbeta", "lr_schedule": "constant", "weight_decay": 0.0}
    plain = {**warm, "loss": "cross_entropy"}
    clf = ImbalancedNetClassifier(MLP((16,)), **warm, max_epochs=3, random_state=0)
    clf.set_params(loss__warmup_epochs=2).fit(X, Y)
    reference = ImbalancedNetClassifier(MLP((16,)), **plain, max_epochs=3, random_state=0)
    start = reference.fit(X, Y).history_[:, "train_loss"]
    assert clf.history_[1, "train_loss"] < clf.history_[0, "train_loss"]
    assert abs(clf.history_[2, "train_loss"] - start[2]) > 0.05


def test_warm_up_goes_on_over_calls_of_partial_fit():
    clf = small(loss="soft_fbeta").set_params(loss__warmup_epochs=2)
    for _ in range(3):
        clf.partial_fit(X, Y, classes=[0, 1])
    assert not clf.loss_.is_warming_up
    assert clf.history_[2, "train_loss"] > clf.history_[1, "train_loss"]  # another loss


def test_memory_of_smooth_ap_is_filled_by_training_and_left_by_prediction():
    clf = small(loss="smooth_ap").fit(X, Y)
    queue = clf.loss_.queue.clone()
    assert queue.shape == (3, 1024, 1)
    clf.predict_proba(X)
    assert (clf.loss_.queue == queue).all()


def test_margins_with_a_cosine_head():
    X, y = table(600, n_classes=3, rate=0.3)
    clf = ImbalancedNetClassifier(
        MLP((16,), head="cosine"), loss="ldam", max_epochs=10, lr=0.01, random_state=0
    ).fit(X, y)
    assert clf.score(X, y) > 0.85
    with torch.no_grad():
        assert clf.module_(torch.from_numpy(X).float()).abs().max() <= 1 + 1e-6
