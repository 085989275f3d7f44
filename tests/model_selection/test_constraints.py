"""Decisions that keep a promise: on the rows at hand, and on new data."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.model_selection import ShuffleSplit, TimeSeriesSplit

import imbtorch
from imbtorch import ImbalancedNetClassifier
from imbtorch.model_selection import TunedDecisionClassifierCV, cross_fit
from imbtorch.model_selection._constraints import Constraint, constrained_threshold
from tests.model_selection.fixed import Given, GivenLabels

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
    others = [scores >= t for t in np.unique(scores[Y == 1])]
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


# -- some of several classes -----------------------------------------------------------------------

NAMES = np.array(["good", "late", "lost"])


def draw_classes(rng, n, prior=(0.85, 0.1, 0.05)):
    y = rng.choice(3, n, p=prior)
    logits = 2 * (rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[y]) + np.log(prior)
    return logits, NAMES[y]


def measured(measure, y, predicted, name):
    hits = ((y == name) & (predicted == name)).sum()
    whole = (predicted == name) if measure == "precision" else (y == name)
    return hits / max(whole.sum(), 1)


def prefit(logits, y, constraint, **params):
    clf = TunedDecisionClassifierCV(
        Given().fit(logits, y), cv="prefit", constraint=constraint, **params
    )
    return clf.fit(logits, y)


@pytest.mark.parametrize("late", ["precision>=0.7", "recall>=0.6"])
@pytest.mark.parametrize("lost", ["precision>=0.7", "recall>=0.6"])
def test_each_named_class_keeps_its_constraint(late, lost):
    logits, y = draw_classes(np.random.default_rng(0), 3000)
    clf = prefit(logits, y, {"lost": lost, "late": late})
    predicted = clf.predict(logits)
    reached = []
    for name, text in (("late", late), ("lost", lost)):
        measure = text.partition(">")[0]
        assert measured(measure, y, predicted, name) >= float(text[-3:])
        other = "recall" if measure == "precision" else "precision"
        reached.append(measured(other, y, predicted, name))
    assert clf.best_score_ == pytest.approx(np.mean(reached))
    assert clf.thresholds_[0] == 0
    proba = clf.predict_proba(logits)
    by_hand = np.where(proba[:, 1] >= clf.thresholds_[1], "late", "good")
    by_hand[proba[:, 2] >= clf.thresholds_[2]] = "lost"  # named first
    np.testing.assert_array_equal(predicted, by_hand)


def test_rows_without_a_bounded_class_get_the_most_probable_other_one():
    logits, y = draw_classes(np.random.default_rng(0), 500)
    clf = prefit(logits, y, {"late": Constraint("precision", 0.8)})
    predicted, proba = clf.predict(logits), clf.predict_proba(logits)
    rest = predicted != "late"
    np.testing.assert_array_equal(
        predicted[rest], np.where(proba[rest, 2] > proba[rest, 0], "lost", "good")
    )
    assert (proba[~rest, 1] >= clf.thresholds_[1]).all()


def test_either_of_two_classes_can_be_named():
    clf = tuned(constraint={0: "precision>=0.97"})
    proba, predicted = clf.predict_proba(X), clf.predict(X)
    np.testing.assert_array_equal(predicted == 0, proba[:, 0] >= clf.thresholds_[0])
    assert (predicted == (np.log(proba) + clf.offsets_).argmax(axis=1)).mean() > 0.999
    same = tuned(constraint={1: "recall>=0.8"})
    assert same.thresholds_[1] == tuned(constraint="recall>=0.8").thresholds_[0]


def test_alarms_of_a_class_come_after_the_bounds_of_others():
    logits, y = draw_classes(np.random.default_rng(0), 1000)
    clf = prefit(logits, y, {"late": "alarms<=100", "lost": "recall>=0.9"}, per=500)
    predicted = clf.predict(logits)
    assert (predicted == "late").sum() == 200
    assert measured("recall", y, predicted, "lost") >= 0.9
    reached = clf.predict_proba(logits)[:, 2] >= clf.thresholds_[2]
    np.testing.assert_array_equal(predicted == "lost", reached)
    assert prefit(logits, y, {"late": "alarms<=20"}).best_score_ is None


def test_labels_can_be_named_by_their_position():
    rng = np.random.default_rng(0)
    y = (rng.random((400, 3)) < 0.3).astype(float)
    scores = 2 * y + rng.normal(size=y.shape) - 1
    y[:100, 1] = np.nan
    clf = TunedDecisionClassifierCV(
        GivenLabels().fit(scores, y),
        cv="prefit",
        constraint={1: "recall>=0.8", 2: "alarms<=10"},
    ).fit(scores, y)
    predicted = clf.predict(scores)
    np.testing.assert_array_equal(predicted[:, 0], scores[:, 0] > 0)
    assert predicted[y[:, 1] == 1, 1].mean() >= 0.8
    assert predicted[:, 2].sum() == 10


def test_what_is_reachable_is_said_for_each_class():
    logits, y = draw_classes(np.random.default_rng(0), 300)
    noise = np.random.default_rng(1).normal(size=logits.shape)
    with pytest.raises(ValueError, match="Class 'lost': .*highest.* Class 'late': .*highest"):
        prefit(noise, y, {"lost": "precision>=0.99", "late": "precision>=0.99"})
    with pytest.raises(ValueError, match="Class 'late': No threshold has a recall of 0.9"):
        prefit(logits, y, {"lost": "recall>=0.99", "late": "recall>=0.9"})
    fitted = prefit(logits, y, {"late": "recall>=0.5"})
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="not one of the classes"):
        fitted.set_params(constraint={"Late": "recall>=0.5"}).fit(logits, y)
    assert fitted.thresholds_ is before["thresholds_"]


@pytest.mark.parametrize("measure", ["recall", "precision"])
def test_promises_of_classes_hold_on_new_data_as_often_as_stated(measure):
    rng = np.random.default_rng(0)
    new, y_new = draw_classes(rng, 20_000)
    proba_new, confidence, bound = Given().fit(new, y_new).predict_proba(new), 0.8, 0.6
    kept = []
    for _ in range(200):
        logits, y = draw_classes(rng, 1500)
        names = {"lost": f"{measure}>={bound}", "late": f"{measure}>={bound}"}
        try:
            clf = prefit(logits, y, names, confidence=confidence)
        except ValueError:  # nothing is promised
            continue
        codes = clf._constrained.decide(proba_new, clf.thresholds_)
        kept.append([measured(measure, y_new, NAMES[codes], name) >= bound for name in names])
    assert len(kept) > 100
    # more than 100 draws at 0.8 have a standard error of less than 0.04
    assert (np.mean(kept, axis=0) >= confidence - 0.06).all()


def test_named_classes_in_a_file_and_in_onnx(tmp_path):
    rng = np.random.default_rng(0)
    logits, y = draw_classes(rng, 400, (0.5, 0.3, 0.2))
    logits = logits.astype(np.float32)
    net = ImbalancedNetClassifier(max_epochs=2, random_state=0)
    promise = {"lost": "recall>=0.7", "late": "precision>=0.5"}
    clf = TunedDecisionClassifierCV(net, cv=2, constraint=promise).fit(logits, y)
    expected = clf.predict(logits)
    assert set(expected) == set(NAMES)
    imbtorch.save(clf, tmp_path / "model")
    again = imbtorch.load(tmp_path / "model")
    assert list(again.constraint) == list(promise)  # their order decides
    np.testing.assert_array_equal(again.predict(logits), expected)
    runtime = pytest.importorskip("onnxruntime", reason="runs the ONNX file")
    imbtorch.to_onnx(clf, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    (label,) = session.run(["label"], {session.get_inputs()[0].name: logits})
    assert (label == expected).mean() > 0.99


# -- rows, folds and weights -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "cv",
    [TimeSeriesSplit(4), ShuffleSplit(1, test_size=0.4, random_state=0)],
    ids=["time", "single"],
)
@pytest.mark.parametrize(
    "params", [{"constraint": "recall>=0.8"}, {"scoring": "f1"}], ids=["constraint", "scoring"]
)
def test_rows_that_no_fold_predicts_do_not_count(cv, params):
    weight = np.random.default_rng(0).integers(1, 4, len(Y)).astype(float)
    folds = cross_fit(LogisticRegression(), X, Y, cv=cv, sample_weight=weight)
    brought = TunedDecisionClassifierCV(folds, cv="oof", **params).fit(X, Y, weight)
    own = TunedDecisionClassifierCV(LogisticRegression(), cv=cv, **params).fit(X, Y, weight)
    np.testing.assert_array_equal(own.offsets_, brought.offsets_)
    rows = folds.oof_rows_
    assert len(rows) < len(Y)
    flagged = np.log(folds.oof_predict_proba_[rows]) + own.offsets_
    flagged = flagged[:, 1] > flagged[:, 0]
    if "constraint" in params:
        assert recall_score(Y[rows], flagged, sample_weight=weight[rows]) >= 0.8
    else:
        reached = f1_score(Y[rows], flagged, sample_weight=weight[rows])
        assert own.best_score_ == pytest.approx(reached)


@pytest.mark.filterwarnings("error")
def test_rows_of_weight_zero_keep_no_promise():
    weight = np.random.default_rng(0).integers(0, 2, len(Y)).astype(float)
    weight[FOLDS.oof_predict_proba_[:, 1].argmax()] = 0
    weighted = TunedDecisionClassifierCV(FOLDS, cv="oof", constraint="precision>=0.9")
    flagged = FOLDS.oof_predict_proba_[:, 1] >= weighted.fit(X, Y, weight).thresholds_[0]
    assert precision_score(Y, flagged, sample_weight=weight) >= 0.9


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
        ({"constraint": {}}, "is empty"),
        ({"constraint": {7: "recall>=0.8"}}, r"names 7, which is not one of the classes \[0, 1\]"),
        ({"constraint": {0: "recall>=0.8", 1: "recall>=0.8"}}, "leave one class"),
        ({"constraint": {1: 0.8}}, "must be a string"),
        ({"constraint": {1: "alarms<=3"}, "confidence": 0.9}, "always holds"),
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
    with pytest.raises(ValueError, match=r"has 3 classes. Say which class .*=\{2: 'recall>=0.8'\}"):
        TunedDecisionClassifierCV(LogisticRegression(), constraint="recall>=0.8").fit(
            X, np.arange(2000) % 3
        )
    weighted = TunedDecisionClassifierCV(FOLDS, cv="oof", constraint="recall>=0.8", confidence=0.9)
    with pytest.raises(ValueError, match="rows of equal weight"):
        weighted.fit(X, Y, np.arange(1, 2001.0))
