"""Decisions that keep a promise: on the rows at hand, and on new data."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_score, recall_score

from imbtorch.model_selection import TunedDecisionClassifierCV, cross_fit
from imbtorch.model_selection._constraints import Constraint, constrained_threshold

X, Y = make_classification(2000, weights=[0.9], class_sep=1.5, flip_y=0.02, random_state=0)
FOLDS = cross_fit(LogisticRegression(), X, Y, random_state=0)


def tuned(**params):
    return TunedDecisionClassifierCV(FOLDS, cv="oof", **params).fit(X, Y)


def flagged_out_of_fold(clf):
    return FOLDS.oof_predict_proba_[:, 1] >= clf.thresholds_[0]


def test_the_recall_is_the_best_among_thresholds_of_enough_precision():
    clf = tuned(constraint="precision>=0.9")
    flagged = flagged_out_of_fold(clf)
    assert precision_score(Y, flagged) >= 0.9
    assert recall_score(Y, flagged) == pytest.approx(clf.best_score_)
    scores = FOLDS.oof_predict_proba_[:, 1]
    others = [scores >= t for t in np.unique(scores)]
    kept = [recall_score(Y, f) for f in others if precision_score(Y, f) >= 0.9]
    assert max(kept) == pytest.approx(clf.best_score_)


def test_the_precision_is_the_best_among_thresholds_of_enough_recall():
    clf = tuned(constraint="recall >= 0.8")
    flagged = flagged_out_of_fold(clf)
    assert recall_score(Y, flagged) >= 0.8
    scores = FOLDS.oof_predict_proba_[:, 1]
    others = [scores >= t for t in np.unique(scores)]
    kept = [precision_score(Y, f) for f in others if recall_score(Y, f) >= 0.8]
    assert max(kept) == pytest.approx(clf.best_score_)


def test_predict_uses_the_threshold_and_the_offsets_agree():
    clf = tuned(constraint="recall>=0.9")
    proba = clf.predict_proba(X)
    np.testing.assert_array_equal(clf.predict(X), proba[:, 1] >= clf.thresholds_[0])
    by_offsets = (np.log(proba) + clf.offsets_).argmax(axis=1)
    assert (by_offsets == clf.predict(X)).mean() > 0.999


@pytest.mark.parametrize(("per", "expected"), [(None, 100), (1000, 200), (4000, 50)])
def test_alarms_are_the_highest_scores(per, expected):
    clf = tuned(constraint="alarms<=100", per=per)
    flagged = clf.predict(X) == 1
    assert flagged.sum() == expected
    scores = clf.predict_proba(X)[:, 1]
    assert scores[flagged].min() >= scores[~flagged].max()


def test_equal_scores_never_make_more_alarms():
    constant = np.zeros((50, 20))
    clf = tuned(constraint="alarms<=3")
    assert clf.predict(constant).sum() == 3


def test_each_label_keeps_the_constraint():
    labels = np.stack([Y, np.roll(Y, 3) & Y | (X[:, 0] > 1.5)], axis=1)
    folds = cross_fit(_PerLabel(), X, labels, cv=3)
    clf = TunedDecisionClassifierCV(folds, cv="oof", constraint="recall>=0.7").fit(X, labels)
    flagged = folds.oof_predict_proba_ >= clf.thresholds_
    for j in range(2):
        assert recall_score(labels[:, j], flagged[:, j]) >= 0.7


class _PerLabel(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        self.parts_ = [LogisticRegression().fit(X, column) for column in y.T]
        self.classes_ = np.arange(y.shape[1])
        return self

    def predict_proba(self, X):
        return np.column_stack([part.predict_proba(X)[:, 1] for part in self.parts_])


def test_weights_count_as_rows():
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    truth = np.array([True, False, True, False])
    weights = np.array([1.0, 0.0, 3.0, 1.0])
    threshold, recall = constrained_threshold(
        Constraint("precision", 0.9), scores, truth, weights, None
    )
    assert threshold == pytest.approx(0.65)
    assert recall == 1


# -- on new data -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "n"), [(0.005, 20_000), (0.02, 10_000), (0.1, 2_000)])
@pytest.mark.parametrize("measure", ["recall", "precision"])
def test_promises_hold_on_new_data_as_often_as_stated(measure, share, n):
    rng = np.random.default_rng(0)
    shift, confidence = 3.0, 0.8
    bound = 0.7 if measure == "recall" else 0.4
    kept = []
    for _ in range(200):
        truth = rng.random(n) < share
        scores = rng.normal(size=n) + shift * truth
        try:
            threshold, _ = constrained_threshold(
                Constraint(measure, bound), scores, truth, None, confidence
            )
        except ValueError:
            kept.append(True)  # nothing is promised
            continue
        recall, alarms = norm.sf(threshold - shift), norm.sf(threshold)
        precision = share * recall / (share * recall + (1 - share) * alarms)
        kept.append((recall if measure == "recall" else precision) >= bound)
    # 200 draws at 0.8 have a standard error of 0.03
    assert np.mean(kept) >= confidence - 0.06
    assert np.mean(kept) < 1 or measure == "precision"


def test_without_confidence_a_promise_often_breaks():
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(200):
        truth = rng.random(2000) < 0.05
        scores = rng.normal(size=2000) + 2 * truth
        threshold, _ = constrained_threshold(Constraint("recall", 0.8), scores, truth, None, None)
        kept.append(norm.sf(threshold - 2) >= 0.8)
    assert np.mean(kept) < 0.7


# -- what cannot be promised -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"constraint": "recall>=0.999", "confidence": 0.99}, "needs 4603 positive rows"),
        ({"constraint": "precision>=0.99", "confidence": 0.999}, "can be promised"),
        ({"constraint": "recall>0.8"}, "is not of the form"),
        ({"constraint": "recall<=0.8"}, "bounds recall by <="),
        ({"constraint": "recall>=80"}, "between 0 and 1"),
        ({"constraint": "alarms<=0.5"}, "whole number"),
        ({"constraint": "alarms<=5", "confidence": 0.9}, "always holds"),
        ({"constraint": "recall>=0.5", "per": 10}, "unit of alarms"),
        ({"constraint": "recall>=0.5", "cost_matrix": [[0, 1], [1, 0]]}, "leave out one"),
        ({"confidence": 0.9}, "needs a constraint"),
    ],
)
def test_what_cannot_be_promised_is_an_error_with_the_way_out(params, message):
    with pytest.raises(ValueError, match=message):
        tuned(**params)


def test_a_precision_that_no_threshold_has():
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6]), np.array([False, True, True, False])
    with pytest.raises(ValueError, match=r"highest one is 0.667, at a recall of 1.000"):
        constrained_threshold(Constraint("precision", 0.9), scores, truth, None, None)


def test_several_classes_and_unequal_weights():
    with pytest.raises(ValueError, match="has 3 classes"):
        TunedDecisionClassifierCV(LogisticRegression(), constraint="recall>=0.8").fit(
            X, np.arange(2000) % 3
        )
    weighted = TunedDecisionClassifierCV(FOLDS, cv="oof", constraint="recall>=0.8", confidence=0.9)
    with pytest.raises(ValueError, match="rows of equal weight"):
        weighted.fit(X, Y, np.arange(1, 2001.0))
