import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import NetEnsembleClassifier
from imbtorch.plotting import PriorShiftDisplay
from tests.toy import overlapping, small, table

X, Y = overlapping(600, 0.2)
RNG = np.random.default_rng(0)
P = RNG.random(2000) ** 2
HAPPENS = (RNG.random(2000) < P).astype(int)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_curves_are_those_of_scikit_learn(strategy):
    display = PriorShiftDisplay.from_predictions(
        HAPPENS, {"a": P, "b": np.sqrt(P)}, n_bins=7, strategy=strategy
    )
    for name, proba in {"a": P, "b": np.sqrt(P)}.items():
        observed, predicted = calibration_curve(HAPPENS, proba, n_bins=7, strategy=strategy)
        np.testing.assert_allclose(display.lines_[name].get_xdata(), predicted)
        np.testing.assert_allclose(display.lines_[name].get_ydata(), observed)
        curve = display.curves[name]
        assert curve.brier == pytest.approx(brier_score_loss(HAPPENS, proba))
        np.testing.assert_array_equal(display.count_lines_[name].get_ydata(), curve.counts)
        assert curve.counts.sum() == 2000
        np.testing.assert_allclose((curve.counts * predicted).sum(), proba.sum())


def test_interval_is_wilsons():
    p = np.full(10, 0.3)
    display = PriorShiftDisplay.from_predictions([1, 1] + [0] * 8, {"p": p}, n_bins=1)
    curve = display.curves["p"]
    # Brown, Cai & DasGupta (2001): 2 of 10 is (0.0567, 0.5098)
    assert (curve.low[0], curve.high[0]) == pytest.approx((0.0567, 0.5098), abs=1e-4)


@pytest.mark.parametrize("kind", ["net", "pipeline", "search", "ensemble"])
def test_before_and_after_correction(kind):
    net = small(class_weight="balanced", loss="cross_entropy")
    clf = {
        "net": net,
        "pipeline": make_pipeline(StandardScaler(), net),
        "search": GridSearchCV(net, {"lr": [0.003]}, cv=2),
        "ensemble": NetEnsembleClassifier(small(loss="cross_entropy"), 2),
    }[kind].fit(X, Y)
    raw = clf.predict_proba(X)[:, 1]
    display = PriorShiftDisplay.from_estimator(clf, X, Y)
    before, after = display.curves.values()
    assert list(display.curves) == ["target_prior=None", "target_prior='train'"]
    assert before.brier == pytest.approx(brier_score_loss(Y, raw))
    assert after.brier < before.brier
    np.testing.assert_array_equal(clf.predict_proba(X)[:, 1], raw)  # as it was


def test_one_of_several_classes_and_names():
    X3, y3 = table(n_classes=3, rate=0.4)
    names = np.array(["a", "b", "c"])[y3]
    clf = small().fit(X3, names)
    display = PriorShiftDisplay.from_estimator(
        clf, X3, names, pos_label="b", target_priors={"given": [0.5, 0.25, 0.25], "raw": None}
    )
    assert list(display.lines_) == ["given", "raw"]
    proba = clf.predict_proba(X3)[:, 1]
    assert display.curves["raw"].brier == pytest.approx(brier_score_loss(names == "b", proba))
    assert display.ax_[0].get_ylabel() == "observed share of class b"


def test_one_of_several_labels():
    labels = np.column_stack([Y, Y, 1 - Y])
    clf = small(loss="bce").fit(X, labels)
    display = PriorShiftDisplay.from_estimator(clf, X, labels, pos_label=2, target_priors=[None])
    (curve,) = display.curves.values()
    assert curve.brier == pytest.approx(brier_score_loss(1 - Y, clf.predict_proba(X)[:, 2]))
    assert display.pos_label == 2


def test_logit_scale_is_finite():
    p = np.array([0.0, 0.0, 1e-9, 0.2, 0.2, 0.3, 0.9, 1.0])
    display = PriorShiftDisplay.from_predictions(
        [0, 0, 1, 0, 1, 0, 1, 1], {"p": p}, n_bins=5, scale="logit"
    )
    display.figure_.canvas.draw()
    low, high = display.ax_[0].get_xlim()
    assert 0 < low < high < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probas": [0.1, 0.2]}, "must map a name"),
        ({"probas": {}}, "must map a name"),
        ({"probas": {"p": [0.1, 1.2]}}, "'p' must hold probabilities"),
        ({"probas": {"p": [0.1]}}, "has 1 rows, expected 2"),
        ({"y_true": [1, 1]}, "only one class"),
        ({"strategy": "even"}, "strategy"),
        ({"scale": "log"}, "scale must be"),
    ],
)
def test_bad_input(arguments, message):
    given = {"y_true": [0, 1], "probas": {"p": [0.1, 0.2]}, **arguments}
    with pytest.raises(ValueError, match=message):
        PriorShiftDisplay.from_predictions(**given)


def test_estimators_that_know_no_prior():
    with pytest.raises(ValueError, match=r"no parameter target_prior.*shift_prior"):
        PriorShiftDisplay.from_estimator(LogisticRegression().fit(X, Y), X, Y)
    with pytest.raises(ValueError, match="target_prior"):
        PriorShiftDisplay.from_estimator(small().fit(X, Y), X, Y, target_priors=[[0.2, 0.2]])
