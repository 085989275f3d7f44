"""Plot what became of the recipes of a portfolio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch.plotting._style import COLOURS, add_grid, as_axes, check_matplotlib, panels
from imbtorch.plotting._unwrap import check_fitted, innermost

__all__ = ["LeaderboardDisplay"]

Floats = NDArray[np.float64]


class LeaderboardDisplay:
    """Plot of the out-of-fold score of each recipe of a portfolio, and of its share in the blend.

    Create a display with :meth:`from_estimator`.

    Parameters
    ----------
    leaderboard : dict of str to list
        ``leaderboard_`` of a fitted portfolio.
    score_name : str, default="score"
        Name of the score.

    Attributes
    ----------
    points_ : Line2D
        Score of each recipe that was trained to its end.
    bars_ : BarContainer
        Share of each recipe.
    notes_ : list of Text
        What became of the other recipes, in place of their score.
    ax_ : ndarray of Axes, shape (2,)
        Axes of the scores, and Axes of the shares.
    figure_ : Figure
        The figure of the Axes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import NetPortfolioClassifier
    >>> from imbtorch.plotting import LeaderboardDisplay
    >>> X, y = make_classification(1000, weights=[0.9], random_state=0)
    >>> recipes = {"default": {}, "robust": {"features__scaling": "robust"}}
    >>> clf = NetPortfolioClassifier(recipes=recipes, random_state=0).fit(X, y)
    >>> display = LeaderboardDisplay.from_estimator(clf)
    >>> len(display.bars_)
    2
    >>> plt.close(display.figure_)
    """

    def __init__(
        self, leaderboard: Mapping[str, Sequence[Any]], *, score_name: str = "score"
    ) -> None:
        self.leaderboard = leaderboard
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> LeaderboardDisplay:
        """Draw the leaderboard of a fitted portfolio.

        Parameters
        ----------
        estimator : NetPortfolioClassifier or NetPortfolioRegressor
            Fitted portfolio, also behind the steps of a pipeline.
        ax : Axes, two Axes or None, default=None
            Axes to draw on: two Axes, or one that is divided; None creates a figure.

        Returns
        -------
        LeaderboardDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it has no leaderboard.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_fitted(estimator)
        portfolio = innermost(estimator)
        if not hasattr(portfolio, "leaderboard_"):
            raise ValueError(
                f"{type(portfolio).__name__} has no leaderboard_; give a fitted "
                "NetPortfolioClassifier or NetPortfolioRegressor."
            )
        return cls(portfolio.leaderboard_, score_name=_score_name(portfolio)).plot(ax=ax)

    def plot(self, ax: Any = None) -> LeaderboardDisplay:
        """Draw the scores, and the shares beside them.

        Parameters
        ----------
        ax : Axes, two Axes or None, default=None
            Axes to draw on: two Axes, or one that is divided; None creates a figure.

        Returns
        -------
        LeaderboardDisplay
            The display.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        table = self.leaderboard
        scores, shares = (np.asarray(table[key], dtype=np.float64) for key in ("score", "share"))
        places = np.arange(len(scores))
        left, right = axes = panels(ax, 2, figsize=(7.6, 1.2 + 0.28 * len(places)))
        (self.points_,) = left.plot(scores, places, "o", color=COLOURS[0])
        middle = np.nanmean(scores) if np.isfinite(scores).any() else 0.5
        self.notes_ = [
            left.text(
                float(middle),
                float(place),
                status.split(":")[0],
                ha="center",
                va="center",
                color="0.45",
            )
            for place, score, status in zip(places, scores, table["status"], strict=True)
            if np.isnan(score)
        ]
        self.bars_ = right.barh(places, shares, color=COLOURS[0], height=0.6)
        left.set(xlabel=self.score_name)
        left.locator_params(axis="x", nbins=4)  # labels of close scores have many digits
        right.set(xlabel="share in the blend", xlim=(0, max(1.05 * float(shares.max()), 0.1)))
        left.set_yticks(places, [str(name) for name in table["recipe"]])
        right.set_yticks(places, [])
        for panel in axes:
            panel.set_ylim(len(places) - 0.5, -0.5)
            add_grid(panel)
        self.ax_, self.figure_ = as_axes(axes), left.figure
        return self


def _score_name(portfolio: Any) -> str:
    """Return what the scores of a portfolio are called on an axis."""
    scoring = portfolio.scoring
    if scoring is not None:
        name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
        return f"out-of-fold {name.replace('neg_', 'minus ').replace('_', ' ')}"
    if hasattr(portfolio, "classes_"):
        return "minus out-of-fold log-loss"
    return "minus out-of-fold squared error, in units of the variance"
