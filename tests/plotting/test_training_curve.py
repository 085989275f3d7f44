import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import NetEnsembleClassifier
from imbtorch.plotting import TrainingCurveDisplay
from tests.toy import overlapping, small

X, Y = overlapping(400, 0.2)


class Trained(BaseEstimator):
    """Has a history, and nothing else."""

    def __init__(self, losses=(), scores=None, early_stopping=True):
        self.early_stopping = early_stopping
        self.history_ = [{"train_loss": loss, "lr": 0.1} for loss in losses]
        for record, score in zip(self.history_, scores or [], strict=False):
            record["valid_score"] = score

    def fit(self): ...


def test_curves_are_those_of_the_history():
    clf = make_pipeline(StandardScaler(), small(validation_fraction=0.2, max_epochs=4)).fit(X, Y)
    display = TrainingCurveDisplay.from_estimator(clf)
    history = clf[-1].history_
    for name in ("train_loss", "valid_score", "lr"):
        line = display.lines_[name]
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
        np.testing.assert_array_equal(line.get_ydata(), [record[name] for record in history])
    assert display.ax_[1].get_ylabel() == "validation score\n(average precision)"
    assert display.bands_ == {}


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.1, 0.5, 0.3], 2), ([0.1, 0.5, 0.5, 0.2], 3), ([np.nan, 0.2, np.nan], 2)],
)
def test_best_epoch_is_the_latest_of_the_best(scores, best):
    display = TrainingCurveDisplay.from_estimator(Trained([1.0] * len(scores), scores))
    assert display.best_points_.get_xdata().tolist() == [best]
    assert [line.get_xdata()[0] for line in display.best_line_] == [best] * 3
    assert "weights were kept" in display.best_points_.get_label()


def test_early_stopping_kept_the_epoch_that_is_marked():
    clf = small(early_stopping=True, patience=3, max_epochs=15, lr=0.05).fit(X, Y)
    epoch = TrainingCurveDisplay.from_estimator(clf).best_epochs[0]
    scores = [record["valid_score"] for record in clf.history_]
    assert scores[epoch - 1] == max(scores)


def test_without_validation_nothing_is_best():
    display = TrainingCurveDisplay.from_estimator(small().fit(X, Y))
    assert list(display.lines_) == ["train_loss", "lr"]
    assert display.best_points_ is None
    assert display.best_line_ == []


def test_members_are_a_band_around_their_mean():
    losses = [[3.0, 2.0, 1.0], [5.0, 2.0, 3.0], [1.0]]
    display = TrainingCurveDisplay.from_estimator([Trained(values) for values in losses])
    np.testing.assert_allclose(display.lines_["train_loss"].get_ydata(), [3, 2, 2])
    (path,) = display.bands_["train_loss"].get_paths()
    corners = {tuple(corner) for corner in path.vertices}
    assert {(1, 1), (1, 5), (2, 2), (3, 1), (3, 3)} <= corners


def test_band_ends_when_most_members_have_stopped():
    losses = [[3.0, 2.0, 9.0], [3.0], [3.0]]
    display = TrainingCurveDisplay.from_estimator([Trained(values) for values in losses])
    assert display.lines_["train_loss"].get_ydata().tolist() == [3.0]


def test_ensemble():
    members = NetEnsembleClassifier(small(validation_fraction=0.3), 3, random_state=0)
    display = TrainingCurveDisplay.from_estimator(members.fit(X, Y))
    losses = [[r["train_loss"] for r in member.history_] for member in members.estimators_]
    np.testing.assert_allclose(display.lines_["train_loss"].get_ydata(), np.mean(losses, axis=0))
    assert len(display.best_points_.get_xdata()) == 3


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ([], "empty"),
        (LogisticRegression().fit(X, Y), "LogisticRegression has no history_"),
        (Trained([]), "no epoch"),
    ],
)
def test_bad_input(estimator, message):
    with pytest.raises(ValueError, match=message):
        TrainingCurveDisplay.from_estimator(estimator)
