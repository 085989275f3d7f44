import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    fbeta_score,
    jaccard_score,
    make_scorer,
    matthews_corrcoef,
    precision_score,
    recall_score,
)
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch.model_selection import TunedDecisionClassifierCV
from imbtorch.plotting import ThresholdDisplay
from tests.toy import overlapping, small, table

RNG = np.random.default_rng(0)
Y = (RNG.random(200) < 0.3).astype(int)
SCORE = np.round(np.clip(0.3 * Y + 0.6 * RNG.random(200), 0, 1), 2)  # with ties
WEIGHT = RNG.random(200)
ORACLES = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "f0.5": lambda *a, **k: fbeta_score(*a, beta=0.5, **k),
    "f1": f1_score,
    "f2": lambda *a, **k: fbeta_score(*a, beta=2, **k),
    "jaccard": jaccard_score,
    "matthews_corrcoef": matthews_corrcoef,
    "precision": precision_score,
    "recall": recall_score,
    "specificity": lambda *a, **k: recall_score(*a, pos_label=0, **k),
    "false_positive_rate": lambda *a, **k: 1 - recall_score(*a, pos_label=0, **k),
    "geometric_mean": lambda *a, **k: np.sqrt(
        recall_score(*a, **k) * recall_score(*a, pos_label=0, **k)
    ),
    "positive_rate": lambda t, p, sample_weight=None: np.average(p, weights=sample_weight),
}


@pytest.mark.matrix
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", ORACLES)
def test_counted_metrics_are_those_of_scikit_learn(name, weight):
    display = ThresholdDisplay.from_predictions(Y, SCORE, metrics=name, sample_weight=weight)
    line = display.lines_[name]
    np.testing.assert_array_equal(line.get_xdata(), np.unique(SCORE))
    expected = [
        ORACLES[name](Y, (threshold <= SCORE).astype(int), sample_weight=weight)
        for threshold in np.unique(SCORE)
    ]
    np.testing.assert_allclose(line.get_ydata(), expected, atol=1e-12)


def test_thresholds_between_the_scores_are_thinned():
    score = np.concatenate([RNG.random(3000) * 1e-3, [0.9]])
    truth = np.arange(3001) % 7 == 0
    display = ThresholdDisplay.from_predictions(
        truth, score, metrics=["recall", "precision"], n_thresholds=40
    )
    x = display.thresholds
    assert 30 <= len(x) <= 40
    assert (np.diff(x) > 0).all()
    np.testing.assert_allclose(
        display.curves["recall"], [recall_score(truth, score >= t) for t in x]
    )


def test_the_scores_of_a_rare_class_near_one_are_not_thinned_away():
    log_odds = np.concatenate([RNG.normal(-4, 2, 30_000), RNG.normal(9, 3, 60)])
    rare = np.arange(len(log_odds)) >= 30_000
    score = 1 / (1 + np.exp(-log_odds))
    score[-1] = 1.0  # has no place in log-odds
    display = ThresholdDisplay.from_predictions(rare, score, metrics=["recall"], xscale="logit")
    assert np.abs(np.diff(display.curves["recall"])).max() < 0.1
    x = display.lines_["recall"].get_xdata()
    assert display.thresholds[-1] == 1
    assert x[-1] == display.ax_.get_xlim()[1] == 1 - 1e-5


def test_labels_of_log_odds_are_fewer_where_the_axis_is_long():
    def labels(score):
        ax = ThresholdDisplay.from_predictions([0, 0, 1], score, xscale="logit").ax_
        label = ax.xaxis.get_major_formatter()
        return [label(place) for place in (0.00001, 0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99)]

    assert labels([1e-9, 0.4, 1]) == ["0.00001", "", "0.001", "", "0.1", "0.5", "0.9", ""]
    assert labels([0.005, 0.4, 0.9])[3:] == ["0.01", "0.1", "0.5", "0.9", "0.99"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("metric", "name", "expected"),
    [
        (cohen_kappa_score, "cohen_kappa_score", cohen_kappa_score),
        ("f1_macro", "f1_macro", lambda t, p: f1_score(t, p, average="macro")),
        ({"kappa": make_scorer(cohen_kappa_score)}, "kappa", cohen_kappa_score),
        (
            {"F3": make_scorer(fbeta_score, beta=3, pos_label="yes")},
            "F3",
            lambda t, p: fbeta_score(t, p, beta=3, pos_label="yes"),
        ),
    ],
    ids=["function", "name", "scorer", "scorer of strings"],
)
def test_other_metrics_are_called(metric, name, expected):
    labels = np.array(["no", "yes"])
    display = ThresholdDisplay.from_predictions(
        labels[Y], SCORE, metrics=metric if isinstance(metric, dict) else [metric], n_thresholds=60
    )
    values = [expected(labels[Y], labels[(t <= SCORE).astype(int)]) for t in display.thresholds]
    np.testing.assert_allclose(display.curves[name], values)


@pytest.mark.slow
def test_called_metrics_see_the_weights():
    display = ThresholdDisplay.from_predictions(
        Y, SCORE, metrics=cohen_kappa_score, sample_weight=WEIGHT, n_thresholds=20
    )
    values = [
        cohen_kappa_score(Y, (t <= SCORE).astype(int), sample_weight=WEIGHT / WEIGHT.sum())
        for t in display.thresholds
    ]
    np.testing.assert_allclose(display.curves["cohen_kappa_score"], values)


@pytest.mark.parametrize("costs", [[[0, 1], [5, 0]], [[-1, 3], [10, -2]], [[0, 9], [1, 0]]])
def test_cheapest_threshold_is_that_of_a_search(costs):
    display = ThresholdDisplay.from_predictions(Y, SCORE, cost_matrix=costs)

    def cost(threshold):
        return np.mean(np.asarray(costs)[Y, (threshold <= SCORE).astype(int)])

    candidates = [*np.unique(SCORE), 2.0]
    best = min(cost(t) for t in candidates)
    assert cost(display.cheapest) == pytest.approx(best)
    np.testing.assert_allclose(display.cost, [cost(t) for t in display.thresholds])
    assert display.cheapest_line_.get_xdata()[0] == display.cheapest
    gain, loss = costs[0][1] - costs[0][0], costs[1][0] - costs[1][1]
    assert display.cheapest_expected_line_.get_xdata()[0] == pytest.approx(gain / (gain + loss))


def test_scores_that_are_no_probabilities_have_no_expected_cost():
    display = ThresholdDisplay.from_predictions(Y, 10 * SCORE, cost_matrix=[[0, 1], [1, 0]])
    assert display.cheapest_expected_line_ is None


X_TABLE, Y_TABLE = overlapping(300, 0.3)
NAMES = np.array(["no", "yes"])[Y_TABLE]


@pytest.mark.matrix
@pytest.mark.parametrize(
    "decider",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        FixedThresholdClassifier(LogisticRegression(), threshold=0.2),
        TunedThresholdClassifierCV(LogisticRegression(), cv=2),
        TunedDecisionClassifierCV(LogisticRegression(), cv=2),
        make_pipeline(StandardScaler(), TunedDecisionClassifierCV(LogisticRegression(), cv=2)),
        TunedDecisionClassifierCV(LogisticRegression(), cost_matrix=[[0, 1], [4, 0]]),
    ],
    ids=["plain", "pipeline", "fixed", "tuned", "decisions", "in a pipeline", "costs"],
)
def test_chosen_threshold_is_the_one_of_predict(decider):
    decider.fit(X_TABLE, NAMES)
    display = ThresholdDisplay.from_estimator(decider, X_TABLE, NAMES)
    score = decider.predict_proba(X_TABLE)[:, 1]
    np.testing.assert_array_equal(score >= display.threshold, decider.predict(X_TABLE) == "yes")
    assert display.threshold_line_.get_xdata()[0] == display.threshold
    np.testing.assert_array_equal(display.curves["recall"][0], 1.0)


@pytest.mark.parametrize("pos_label", ["yes", "no"])
def test_the_spread_of_the_threshold_is_a_band(pos_label):
    tuned = TunedDecisionClassifierCV(LogisticRegression(), cv=2).fit(X_TABLE, NAMES)
    display = ThresholdDisplay.from_estimator(
        tuned, X_TABLE, NAMES, pos_label=pos_label, cost_matrix=[[0, 1], [4, 0]]
    )
    low, high = tuned.thresholds_interval_[0]
    expected = (low, high) if pos_label == "yes" else (1 - high, 1 - low)
    assert display.threshold_interval == pytest.approx(expected)
    band = display.threshold_band_
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx(expected)
    assert low < tuned.predict_proba(X_TABLE)[tuned.predict(X_TABLE) == "yes", 1].min() < high
    stated = ThresholdDisplay.from_estimator(tuned, X_TABLE, NAMES, threshold=0.3)
    assert stated.threshold_band_ is None
    plain = TunedDecisionClassifierCV(LogisticRegression(), cv=2, n_resamples=0)
    display = ThresholdDisplay.from_estimator(plain.fit(X_TABLE, NAMES), X_TABLE, NAMES)
    assert display.threshold_interval is None


def test_a_band_of_several_labels_and_of_predictions():
    labels = np.column_stack([Y_TABLE, np.zeros_like(Y_TABLE)])
    labels[:3, 1] = 1
    tuned = TunedDecisionClassifierCV(
        OneVsRestClassifier(LogisticRegression()), cv=2, scoring="f1_macro", random_state=0
    ).fit(X_TABLE, labels)
    display = ThresholdDisplay.from_estimator(tuned, X_TABLE, labels, pos_label=1)
    assert display.threshold_interval == pytest.approx(tuple(tuned.thresholds_interval_[1]))
    display = ThresholdDisplay.from_predictions(
        Y, SCORE, threshold=0.4, threshold_interval=(0.0, 0.6), xscale="logit"
    )
    assert display.threshold_band_.get_x() == 1e-5


def test_threshold_of_a_class_with_a_constraint():
    X, y = table(n_classes=3, rate=0.4)
    clf = TunedDecisionClassifierCV(LogisticRegression(), cv=2, constraint={2: "recall>=0.7"})
    clf.fit(X, y)
    display = ThresholdDisplay.from_estimator(clf, X, y, pos_label=2, metrics="recall")
    assert display.threshold == clf.thresholds_[2]
    assert ThresholdDisplay.from_estimator(clf, X, y, pos_label=0).threshold is None


def test_the_other_class_and_the_decision_function():
    tuned = TunedDecisionClassifierCV(LogisticRegression(), cv=2).fit(X_TABLE, NAMES)
    display = ThresholdDisplay.from_estimator(tuned, X_TABLE, NAMES, pos_label="no")
    score = tuned.predict_proba(X_TABLE)[:, 0]
    np.testing.assert_array_equal(score >= display.threshold, tuned.predict(X_TABLE) == "no")
    plain = LogisticRegression().fit(X_TABLE, NAMES)
    display = ThresholdDisplay.from_estimator(
        plain, X_TABLE, NAMES, response_method="decision_function", pos_label="no"
    )
    assert display.threshold == 0
    np.testing.assert_allclose(
        display.thresholds, np.sort(-plain.decision_function(X_TABLE)), rtol=1e-12
    )


@pytest.mark.slow
def test_one_of_several_classes():
    X, y = table(n_classes=3, rate=0.4)
    clf = LogisticRegression().fit(X, y)
    display = ThresholdDisplay.from_estimator(clf, X, y, pos_label=2, metrics="recall")
    score = clf.predict_proba(X)[:, 2]
    expected = [recall_score(y == 2, score >= t) for t in display.thresholds]
    np.testing.assert_allclose(display.curves["recall"], expected)
    assert display.threshold_line_ is None
    with pytest.raises(ValueError, match="3 classes or labels"):
        ThresholdDisplay.from_estimator(clf, X, y)
    with pytest.raises(ValueError, match="pos_label=7"):
        ThresholdDisplay.from_estimator(clf, X, y, pos_label=7)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["net", "tuned", "scikit-learn"])
def test_one_of_several_labels(kind):
    X = X_TABLE
    labels = np.column_stack([Y_TABLE, 1 - Y_TABLE])
    clf = {
        "net": small(loss="bce"),
        "tuned": TunedDecisionClassifierCV(small(loss="bce"), cv=2, scoring="f1_macro"),
        "scikit-learn": OneVsRestClassifier(LogisticRegression()),
    }[kind].fit(X, labels)
    display = ThresholdDisplay.from_estimator(clf, X, labels, pos_label=1, metrics="precision")
    score = np.asarray(clf.predict_proba(X))[:, 1].astype(float)
    np.testing.assert_array_equal(score > display.threshold, clf.predict(X)[:, 1] == 1)
    expected = [precision_score(labels[:, 1], score >= t) for t in display.thresholds]
    np.testing.assert_allclose(display.curves["precision"], expected)


@pytest.mark.parametrize("xscale", ["log", "logit"])
def test_scales_have_a_place_for_zero_and_one(xscale):
    display = ThresholdDisplay.from_predictions([0, 0, 1, 1], [0.0, 1e-20, 0.4, 1.0], xscale=xscale)
    display.figure_.canvas.draw()
    low, high = display.ax_.get_xlim()
    assert 0 < low < 0.4 < high <= 1
    with pytest.raises(ValueError, match="xscale"):
        display.plot(xscale="cubic")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y_true": [1, 1, 1]}, "only one class"),
        ({"y_true": [0, 1]}, "y_score has 3 rows, expected 2"),
        ({"y_true": [0, 1, 2]}, "choose one of them with pos_label"),
        ({"y_score": [0.1, np.nan, 0.3]}, "NaN"),
        ({"pos_label": 4}, "pos_label=4"),
        ({"metrics": "presicion"}, "Unknown metric 'presicion'"),
        ({"metrics": []}, "metrics is empty"),
        ({"metrics": [3]}, "names and callables"),
        ({"metrics": "roc_auc"}, "'roc_auc' needs more than predicted labels"),
        ({"metrics": "neg_log_loss"}, "'neg_log_loss' needs more than predicted labels"),
        ({"cost_matrix": [1, 2]}, "2 x 2"),
        ({"cost_matrix": [[1, 0], [1, 0]]}, "an error must cost more"),
        ({"sample_weight": [1, 1]}, "sample_weight"),
        ({"sample_weight": [1, 0, 1]}, "positive sample_weight"),
        ({"n_thresholds": 1}, "n_thresholds"),
        ({"threshold_interval": (0.3, 0.1)}, "lower and an upper"),
        ({"threshold_interval": (0.3, np.nan)}, "lower and an upper"),
    ],
)
def test_bad_input(arguments, message):
    given = {"y_true": [0, 1, 0], "y_score": [0.1, 0.2, 0.3], **arguments}
    with pytest.raises(ValueError, match=message):
        ThresholdDisplay.from_predictions(**given)


def test_an_estimator_without_probabilities():
    from sklearn.svm import LinearSVC

    clf = LinearSVC().fit(X_TABLE, NAMES)
    with pytest.raises(ValueError, match="LinearSVC has no predict_proba"):
        ThresholdDisplay.from_estimator(clf, X_TABLE, NAMES)
