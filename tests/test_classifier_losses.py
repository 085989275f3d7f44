"""Every registered loss in the classifier: it learns, predicts, and keeps its promises."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.metrics import roc_auc_score
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.losses import FocalLoss, PairwiseLogisticLoss, TorchLoss, all_losses
from imbtorch.model_selection import StackedGridSearchCV
from tests.toy import overlapping, plain_columns, small, table

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
    # the highest scores alone do not say how waves should rank the rest
    clf = fitted(loss, class_weight=class_weight, features=plain_columns())
    new_X, new_y = overlapping(2000, 0.1, shift=1.5, seed=1)
    assert roc_auc_score(new_y, clf.decision_function(new_X)) > 0.9


@pytest.mark.matrix
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_probabilities_are_distributions_and_agree_with_labels(loss, n_classes):
    X, y = table(200, n_classes=n_classes, rate=0.4)
    # words have no order, which ordinal losses ask for
    labels = np.array([10, 20, 30] if loss == "ordinal_cdw" else ["a", "b", "c"])[y]
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


# -- rows that are not known ---------------------------------------------------------------------


def with_unknown(label, n=400):
    """Return rows of which a third has the label of rows that are not known, and which have."""
    X, y = overlapping(n, 0.3, shift=1.5)
    unknown = np.arange(n) % 3 == 0
    return X, np.where(unknown, label, y), unknown


LOSSES_THAT_IGNORE = [
    nn.CrossEntropyLoss(ignore_index=-1),
    nn.NLLLoss(ignore_index=-1),
    FocalLoss(ignore_index=-1),
    PairwiseLogisticLoss(ignore_index=-1),
    TorchLoss(nn.NLLLoss(ignore_index=-1)),
]


@pytest.mark.parametrize("loss", LOSSES_THAT_IGNORE, ids=repr)
def test_rows_with_the_ignored_label_count_for_nothing(loss):
    X, y, unknown = with_unknown(-1)
    params = {"loss": loss, "class_weight": "balanced", "max_epochs": 2, "batch_size": 64}
    clf, left_out = fitted(X=X, y=y, **params), fitted(X=X[~unknown], y=y[~unknown], **params)
    assert clf.classes_.tolist() == [0, 1]
    assert clf.class_counts_.tolist() == left_out.class_counts_.tolist()
    np.testing.assert_array_equal(clf.class_prior_, left_out.class_prior_)
    np.testing.assert_allclose(clf.predict_proba(X), left_out.predict_proba(X), atol=1e-6)


def test_an_ignored_label_between_the_classes_does_not_hide_a_class():
    X, y = table(400, n_classes=3, rate=0.4)
    params = {"max_epochs": 2, "batch_size": 64}
    clf = fitted(nn.NLLLoss(ignore_index=1), X, y, **params)
    left_out = fitted(nn.NLLLoss(), X[y != 1], y[y != 1], **params)
    assert clf.classes_.tolist() == [0, 2]
    np.testing.assert_allclose(clf.predict_proba(X), left_out.predict_proba(X), atol=1e-6)


def test_ignored_rows_are_not_scored_by_early_stopping():
    X, y, _ = with_unknown(-1)
    seen = []

    def scorer(estimator, X, y):
        seen.extend(y)
        return 0.0

    fitted(nn.NLLLoss(ignore_index=-1), X, y, early_stopping=True, scoring=scorer, max_epochs=2)
    assert set(seen) == {0, 1}


def test_ignored_rows_are_left_out_by_samplers_and_searches():
    X, y, unknown = with_unknown(-1)
    loss = nn.CrossEntropyLoss(ignore_index=-1)
    clf = fitted(loss, X, y, sampler="class_balanced", max_epochs=2)
    assert clf.class_counts_.sum() == (~unknown).sum()
    search = StackedGridSearchCV(clf, {"lr": [0.01, 0.1]}, cv=2).fit(X, y)
    assert search.best_estimator_.classes_.tolist() == [0, 1]


def test_ignored_rows_in_chunks():
    X, y, unknown = with_unknown(-1)
    clf = ImbalancedNetClassifier(MLP((4,)), loss=nn.CrossEntropyLoss(ignore_index=-1))
    clf.partial_fit(X, y, classes=[0, 1])
    assert clf.class_counts_.tolist() == np.bincount(y[~unknown]).tolist()
    with pytest.raises(ValueError, match=r"hold -1, the ignore_index of the loss"):
        ImbalancedNetClassifier(loss=nn.CrossEntropyLoss(ignore_index=-1)).partial_fit(
            X, y, classes=[-1, 0, 1]
        )


def test_the_default_ignore_index_is_used_with_a_warning():
    X, y, unknown = with_unknown(-100)
    with pytest.warns(UserWarning, match=r"134 rows of y have the label -100.*ignore_index"):
        clf = fitted("focal", X, y, max_epochs=1)
    assert clf.classes_.tolist() == [0, 1]
    assert clf.class_counts_.sum() == (~unknown).sum()


def test_all_rows_ignored():
    with pytest.raises(ValueError, match="Every row of y has the label 1, the ignore_index"):
        fitted(nn.NLLLoss(ignore_index=1), y=np.ones_like(Y))


def test_words_are_never_ignored():
    labels = np.array(["-1", "1"])[Y]
    clf = fitted(nn.NLLLoss(ignore_index=-1), y=labels, max_epochs=1)
    assert clf.classes_.tolist() == ["-1", "1"]


class OwnFocal(nn.CrossEntropyLoss):
    """A loss of a user, who subclasses torch's cross-entropy for its parameters."""

    calls = 0

    def forward(self, logits, target):
        OwnFocal.calls += 1
        entropy = F.cross_entropy(logits, target, reduction="none")
        values = (1 - torch.exp(-entropy)) ** 2 * entropy
        return values if self.reduction == "none" else values.mean()


def test_subclass_of_cross_entropy_is_trained_with_its_own_formula():
    OwnFocal.calls = 0
    clf = fitted(OwnFocal(), max_epochs=2)
    assert OwnFocal.calls > 0
    same = fitted(FocalLoss(gamma=2.0), max_epochs=2)
    with torch.no_grad():
        new = clf.loss_.per_sample(torch.eye(2), torch.tensor([0, 0]))
        expected = same.loss_.per_sample(torch.eye(2), torch.tensor([0, 0]))
    torch.testing.assert_close(new, expected)
