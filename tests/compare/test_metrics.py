"""What strategies are measured by."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, get_scorer, roc_auc_score

from imbtorch import ImbalancedNetClassifier
from imbtorch.compare._metrics import (
    Predictions,
    as_scorer,
    by_frequency,
    decisions,
    measure,
    predict,
)

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


def said(truth, scores):
    truth, scores = np.asarray(truth), np.asarray(scores, dtype=float)
    proba = scores if scores.ndim == 2 else np.column_stack([1 - scores, scores])
    return Predictions(truth, truth, scores, proba, None)


def test_decisions_on_a_worked_example():
    # ranked: 1 0 1 1 1 0 0 1 0 0; four of five are caught by 5 alarms, all of them by 8
    truth = [1, 0, 1, 1, 1, 0, 0, 1, 0, 0]
    assert decisions(said(truth, np.linspace(0.9, 0.1, 10))) == (0.8, 800.0)
    # the best precision is beyond the recall that is asked for: all five by the first six alarms
    truth = [1, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    precision, alarms = decisions(said(truth, np.linspace(0.9, 0.1, 10)))
    assert precision == pytest.approx(5 / 7)
    assert alarms == 700.0


@pytest.mark.parametrize("seed", range(5))
def test_decisions_are_the_best_of_all_thresholds(seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 40)
    scores = np.round(truth + rng.normal(size=40), 1)
    flagged = [scores >= threshold for threshold in np.unique(scores)]
    recall = [truth[rows].sum() / truth.sum() for rows in flagged]
    precision = [truth[rows].mean() for rows, r in zip(flagged, recall, strict=True) if r >= 0.8]
    alarms = [rows.sum() for rows, r in zip(flagged, recall, strict=True) if r >= 0.9]
    assert decisions(said(truth, scores)) == (max(precision), min(alarms) * 1000 / 40)
    first = np.sort(truth)[::-1]  # a perfect order
    n_caught = min(n for n in range(41) if n / truth.sum() >= 0.9)
    assert decisions(said(first, -np.arange(40.0))) == (1.0, n_caught * 1000 / 40)


def test_rows_of_equal_scores_are_alarms_together():
    truth = np.repeat([1, 0], [10, 90])
    assert decisions(said(truth, np.full(100, 0.3))) == (0.1, 1000.0)
    assert decisions(said(truth, np.where(truth, 0.9, 0.1))) == (1.0, 100.0)


def test_nine_of_ten_are_ninety_percent():
    truth = np.repeat([1, 0, 1], [9, 90, 1])
    assert decisions(said(truth, np.linspace(1, 0, 100))) == (1.0, 90.0)


def test_of_several_classes_the_rarest_one_is_caught():
    truth = np.repeat([0, 1, 2], [50, 30, 20])
    proba = np.full((100, 3), 0.3)
    proba[truth == 2, 2] = 0.4
    assert decisions(said(truth, proba)) == (1.0, 200.0)


@pytest.mark.parametrize(("truth", "count"), [([0, 0, 0], "0 of the 3"), ([1, 1], "2 of the 2")])
def test_decisions_need_rows_with_and_without_the_rarest_class(truth, count):
    with pytest.raises(ValueError, match=count):
        decisions(said(truth, np.zeros(len(truth))))


def test_fewer_alarms_are_better():
    model = LogisticRegression().fit(X, y)
    found = measure(predict(model, X, y, np.array([0, 1])))
    scorer = as_scorer("alarms_for_recall_90", np.array([0, 1]))
    assert scorer(model, X, y) == -found["alarms_for_recall_90"]
