"""The leaderboard of a portfolio: what is drawn of each recipe."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import ImbalancedNetRegressor, NetPortfolioRegressor
from imbtorch.plotting import LeaderboardDisplay

X = np.random.default_rng(0).normal(size=(120, 2))
BOARD = {
    "recipe": ["plain", "bins", "other"],
    "score": [-0.2, -0.3, np.nan],
    "share": [0.75, 0.25, 0.0],
    "status": ["trained", "trained", "failed: because of the learning rate"],
}


def test_scores_shares_and_notes():
    display = LeaderboardDisplay(BOARD).plot()
    np.testing.assert_array_equal(display.points_.get_xdata(), BOARD["score"])
    assert [bar.get_width() for bar in display.bars_] == BOARD["share"]
    assert [note.get_text() for note in display.notes_] == ["failed"]
    left = display.ax_[0]
    assert [label.get_text() for label in left.get_yticklabels()] == BOARD["recipe"]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the best recipe is at the top


def test_from_a_fitted_portfolio_behind_steps():
    net = ImbalancedNetRegressor(max_epochs=2)
    reg = NetPortfolioRegressor(net, recipes={"plain": {}, "fast": {"lr": 0.01}}, cv=2)
    pipe = make_pipeline(StandardScaler(), reg).fit(X, X[:, 0])
    display = LeaderboardDisplay.from_estimator(pipe)
    assert display.leaderboard == pipe[-1].leaderboard_
    assert "squared error" in display.ax_[0].get_xlabel()


def test_other_estimators_have_no_leaderboard():
    other = LogisticRegression().fit(X, X[:, 0] > 0)
    with pytest.raises(ValueError, match="LogisticRegression has no leaderboard_"):
        LeaderboardDisplay.from_estimator(other)


def test_scores_are_named_by_the_scorer():
    net = ImbalancedNetRegressor(max_epochs=2)
    reg = NetPortfolioRegressor(net, recipes={"plain": {}}, cv=2, scoring="neg_mean_absolute_error")
    display = LeaderboardDisplay.from_estimator(reg.fit(X, X[:, 0]))
    assert display.ax_[0].get_xlabel() == "out-of-fold minus mean absolute error"
