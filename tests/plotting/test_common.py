"""What all displays promise: ``ax=``, artists as attributes, matplotlib only when it is drawn."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from imbtorch import ImbalancedNetClassifier, NetPortfolioClassifier, plotting
from tests.toy import overlapping, small

X, Y = overlapping(400, 0.2)


BOARD = {
    "recipe": ["plain", "bins", "other"],
    "score": [-0.2, -0.3, np.nan],
    "share": [0.75, 0.25, 0.0],
    "epochs": [10.0, 12.0, np.nan],
    "seconds": [1.0, 2.0, 0.5],
    "status": ["trained", "trained", "failed: because"],
}


@pytest.fixture(scope="module")
def net():
    return small(validation_fraction=0.2).fit(X, Y)


@pytest.fixture(scope="module")
def search():
    return GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(X, Y)


def drawn(name, net, search, ax=None):
    p = net.predict_proba(X)[:, 1]
    return {
        "LossShapeDisplay": lambda: plotting.LossShapeDisplay.from_losses("focal", ax=ax),
        "TrainingCurveDisplay": lambda: plotting.TrainingCurveDisplay.from_estimator(net, ax=ax),
        "ThresholdDisplay": lambda: plotting.ThresholdDisplay.from_predictions(Y, p, ax=ax),
        "PriorShiftDisplay": lambda: plotting.PriorShiftDisplay.from_estimator(net, X, Y, ax=ax),
        "ClassRecallDisplay": lambda: plotting.ClassRecallDisplay.from_estimator(net, X, Y, ax=ax),
        "LeaderboardDisplay": lambda: plotting.LeaderboardDisplay(BOARD).plot(ax=ax),
        "SearchDisplay": lambda: plotting.SearchDisplay.from_estimator(search, ax=ax),
    }[name]()


PANELS = {
    "LossShapeDisplay": 2,
    "TrainingCurveDisplay": 3,
    "ThresholdDisplay": 1,
    "PriorShiftDisplay": 2,
    "ClassRecallDisplay": 2,
    "LeaderboardDisplay": 2,
    "SearchDisplay": 1,
}


def test_every_display_is_tried():
    assert set(PANELS) == {name for name in plotting.__all__ if name.endswith("Display")}


@pytest.mark.matrix
@pytest.mark.parametrize("name", PANELS)
def test_own_figure(name, net, search):
    display = drawn(name, net, search)
    assert len(np.ravel(display.ax_)) == PANELS[name]
    assert all(panel.figure is display.figure_ for panel in np.ravel(display.ax_))
    display.figure_.canvas.draw()
    assert display.plot() is display  # again, in a new figure


@pytest.mark.matrix
@pytest.mark.parametrize("name", PANELS)
def test_given_axes(name, net, search):
    figure, axes = plt.subplots(PANELS[name])
    other = plt.figure()
    display = drawn(name, net, search, ax=axes)
    assert np.ravel(display.ax_).tolist() == np.ravel(axes).tolist()
    assert display.figure_ is figure
    assert not other.axes
    assert all(panel.lines or panel.patches or panel.containers for panel in np.ravel(axes))
    figure.canvas.draw()


@pytest.mark.matrix
@pytest.mark.parametrize("name", [name for name, n in PANELS.items() if n > 1])
def test_one_axes_is_divided(name, net, search):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
    display = drawn(name, net, search, ax=left)
    figure.canvas.draw()
    edge = right.get_position().x0
    assert display.figure_ is figure
    assert not right.lines
    assert all(panel.get_position().x1 < edge for panel in np.ravel(display.ax_))
    with pytest.raises(ValueError, match="panels, but ax holds"):
        drawn(name, net, search, ax=np.array([left] * 4))
    with pytest.raises(ValueError, match=r"plt\.subplots"):
        drawn(name, net, search, ax=plt.figure().add_axes((0, 0, 1, 1)))


@pytest.mark.parametrize("name", PANELS)
def test_matplotlib_that_is_missing(name, net, search, monkeypatch):
    display = drawn(name, net, search)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (lambda: drawn(name, net, search), display.plot):
        with pytest.raises(ImportError, match=rf"{name}\..* requires matplotlib.*imbtorch\[plot\]"):
            draw()


@pytest.mark.parametrize(
    "draw",
    [
        lambda clf: plotting.LossShapeDisplay.from_estimator(clf),
        lambda clf: plotting.TrainingCurveDisplay.from_estimator(clf),
        lambda clf: plotting.ThresholdDisplay.from_estimator(clf, X, Y),
        lambda clf: plotting.PriorShiftDisplay.from_estimator(clf, X, Y),
        lambda clf: plotting.ClassRecallDisplay.from_estimator(clf, X, Y),
        lambda clf: plotting.LeaderboardDisplay.from_estimator(NetPortfolioClassifier(clf)),
        lambda clf: plotting.SearchDisplay.from_estimator(GridSearchCV(clf, {"lr": [0.1]})),
    ],
    ids=list(PANELS),
)
def test_unfitted_estimator(draw):
    with pytest.raises(NotFittedError):
        draw(ImbalancedNetClassifier())
    assert not plt.get_fignums(), "a figure was opened in vain"
