import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score

from imbtorch.metrics import recall_by_frequency
from imbtorch.plotting import ClassRecallDisplay
from tests.toy import overlapping, small, table

RNG = np.random.default_rng(0)
CLASSES = np.array(["d", "a", "c", "b"])
TRAIN = np.repeat(CLASSES, [200, 60, 30, 8])
TRUTH = RNG.choice(CLASSES, 300)
PREDICTED = np.where(RNG.random(300) < 0.6, TRUTH, RNG.choice(CLASSES, 300))
WEIGHT = RNG.random(300)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_recalls_are_those_of_scikit_learn(weight):
    display = ClassRecallDisplay.from_predictions(TRUTH, PREDICTED, TRAIN, sample_weight=weight)
    assert display.classes.tolist() == ["d", "a", "c", "b"]
    expected = recall_score(TRUTH, PREDICTED, labels=CLASSES, average=None, sample_weight=weight)
    np.testing.assert_allclose(display.lines_["recall"].get_ydata(), expected)
    assert [bar.get_height() for bar in display.bars_] == [200, 60, 30, 8]
    assert [text.get_text() for text in display.ax_[1].get_xticklabels()] == list("dacb")


def test_bands_are_the_groups_of_the_metric():
    display = ClassRecallDisplay.from_predictions(TRUTH, {"x": PREDICTED}, TRAIN)
    to_data = display.ax_[0].transData.inverted()
    ends = {
        name: tuple(band.get_window_extent().transformed(to_data).intervalx)
        for name, band in display.bands_.items()
    }
    assert ends == {
        "many": pytest.approx((-0.5, 0.5)),
        "medium": pytest.approx((0.5, 2.5)),
        "few": pytest.approx((2.5, 3.5)),
    }
    means = recall_by_frequency(TRUTH, PREDICTED, TRAIN)
    texts = [text.get_text() for text in display.ax_[0].texts]
    shown = {name: f"{value:.2f}".removeprefix("0") for name, value in means.items()}
    assert texts == [f"{name}\n{mean}" for name, mean in shown.items()]
    other = ClassRecallDisplay.from_predictions(TRUTH, PREDICTED, TRAIN, thresholds=(1, 2))
    assert list(other.bands_) == ["many"]


def test_several_predictions_are_compared():
    display = ClassRecallDisplay.from_predictions(
        TRUTH, {"good": TRUTH, "fair": PREDICTED}, {"a": 5, "b": 4, "c": 3, "d": 2}
    )
    assert display.classes.tolist() == ["a", "b", "c", "d"]
    assert display.recalls["good"].tolist() == [1, 1, 1, 1]
    assert len(display.ax_[0].get_legend().get_texts()) == 2


def test_many_classes_are_points():
    labels = np.repeat(np.arange(50), 3)
    display = ClassRecallDisplay.from_predictions(labels, labels, dict.fromkeys(range(50), 7))
    assert display.lines_["recall"].get_linestyle() == "None"


@pytest.mark.slow
def test_estimator_knows_its_training_rows():
    X, y = table(n_classes=3, rate=0.3)
    clf = small().fit(X, y)
    display = ClassRecallDisplay.from_estimator(clf, X, y)
    order = np.argsort(-np.bincount(y), kind="stable")
    np.testing.assert_array_equal(display.counts, np.bincount(y)[order])
    expected = recall_score(y, clf.predict(X), labels=order, average=None)
    np.testing.assert_allclose(display.recalls["ImbalancedNetClassifier"], expected)
    other = LogisticRegression().fit(X, y)
    assert ClassRecallDisplay.from_estimator(other, X, y, y_train=y, name="L").lines_.keys() == {
        "L"
    }
    with pytest.raises(ValueError, match="give y_train"):
        ClassRecallDisplay.from_estimator(other, X, y)


def test_labels_of_several():
    X, y = overlapping(200, 0.3)
    labels = np.column_stack([y, 1 - y, np.zeros_like(y)])
    labels[:3, 2] = 1
    clf = small(loss="bce").fit(X, labels)
    display = ClassRecallDisplay.from_estimator(clf, X, labels)
    assert display.classes.tolist() == [1, 0, 2]
    np.testing.assert_array_equal(display.counts, [140, 60, 3])
    expected = recall_score(labels, clf.predict(X), average=None, zero_division=0)
    np.testing.assert_allclose(display.recalls["ImbalancedNetClassifier"], expected[[1, 0, 2]])
    again = ClassRecallDisplay.from_predictions(labels, clf.predict(X), labels)
    np.testing.assert_array_equal(again.counts, display.counts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y_pred": ["a"]}, "y_pred has 1 rows"),
        ({"y_pred": [1, 2]}, "both hold strings"),
        ({"y_pred": {}}, "y_pred is empty"),
        ({"y_train": {"x": 3}}, "y_train must hold"),
        ({"thresholds": (9, 1)}, "thresholds"),
        ({"y_true": np.eye(2), "y_pred": np.eye(3)}, r"y_pred has shape \(3, 3\)"),
        ({"y_true": np.zeros((2, 2)), "y_pred": np.eye(2)}, "no row with any"),
    ],
)
def test_bad_input(arguments, message):
    given = {"y_true": ["a", "b"], "y_pred": ["a", "b"], "y_train": {"a": 3, "b": 1}, **arguments}
    with pytest.raises(ValueError, match=message):
        ClassRecallDisplay.from_predictions(**given)
