"""What strategies are measured by."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, get_scorer, roc_auc_score

from imbtorch import ImbalancedNetClassifier
from imbtorch.compare._metrics import as_scorer, by_frequency, measure, predict

X, y = make_classification(300, weights=[0.85], random_state=0)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")], ids=["last", "first"])
def test_the_rarest_class_is_the_positive_one(names):
    labels = np.where(y == 1, names[1], names[0])
    classes, counts = by_frequency(labels)
    assert classes[-1] == names[1]
    assert counts[0] > counts[1]
    model = LogisticRegression().fit(X, labels)
    found = measure(predict(model, X, labels, classes))
    proba = model.predict_proba(X)[:, list(model.classes_).index(names[1])]
    assert found["average_precision"] == pytest.approx(average_precision_score(y, proba))
    assert found["roc_auc"] == pytest.approx(roc_auc_score(y, proba))
    assert found["brier"] == pytest.approx(brier_score_loss(y, proba))
    assert as_scorer("average_precision", classes)(model, X, labels) == found["average_precision"]
    assert as_scorer("brier", classes)(model, X, labels) == -found["brier"]


@pytest.mark.parametrize(
    ("scoring", "labels", "message"),
    [
        ("f1", ["fine", "fraud"], r"scoring='f1' .* make_scorer\(..., pos_label='fraud'\)"),
        ("recall", ["a", "b", "c"], "scoring='recall' .* 'f1_macro'"),
        ("r2", ["fine", "fraud"], "scoring='r2' does not suit"),
    ],
)
def test_a_scorer_that_the_labels_do_not_suit_is_refused_before_any_training(
    scoring, labels, message
):
    with pytest.raises(ValueError, match=message):
        as_scorer(scoring, np.array(labels))


@pytest.mark.parametrize("scoring", ["f1", "neg_log_loss", "matthews_corrcoef", "roc_auc_ovr"])
def test_scorers_of_scikit_learn_that_suit_the_labels_are_taken(scoring):
    assert repr(as_scorer(scoring, np.array([0, 1]))) == repr(get_scorer(scoring))


def test_restated_probabilities_leave_the_model_as_it_was():
    model = ImbalancedNetClassifier(
        loss="cross_entropy", class_weight="balanced", max_epochs=8, random_state=0
    ).fit(X, y)
    before = model.predict_proba(X)
    said = predict(model, X, y, np.array([0, 1]))
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert model.target_prior is None
    assert abs(said.restated[:, 1].mean() - y.mean()) < 0.05 < said.proba[:, 1].mean() - y.mean()
    found = measure(said)
    assert found["brier_train_prior"] < found["brier"]
    assert found["ece_train_prior"] < found["ece"]


def test_what_cannot_restate_its_prior_says_so():
    found = measure(predict(LogisticRegression().fit(X, y), X, y, np.array([0, 1])))
    assert np.isnan(found["brier_train_prior"])
    assert np.isnan(found["ece_train_prior"])


@pytest.mark.parametrize(("labels", "word"), [([1, 1, 1], "one class"), ([0.5, 1.5, 2.1], "type")])
def test_labels_must_be_classes(labels, word):
    with pytest.raises(ValueError, match=word):
        by_frequency(labels)
