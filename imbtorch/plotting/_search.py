"""Plot the scores of a search against one or two of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from imbtorch.plotting._search_results import (
    Axis,
    best_per_value,
    best_row,
    last_records,
    resolve,
    score_columns,
    varied_parameters,
)
from imbtorch.plotting._style import COLOURS, add_grid, as_axes, check_matplotlib, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SearchDisplay"]

Floats = NDArray[np.float64]
_MOST_NUMBERS = 100  # most cells of a grid that show their score as a number
_SPARSE = 0.5  # if a smaller share of the cells has a candidate, points are drawn


class SearchDisplay:
    """Plot of the test scores of a search against one or two of its parameters.

    Create a display with :meth:`from_estimator` or :meth:`from_cv_results`.

    Parameters
    ----------
    axes : list of one or two parameters
        Parameters to show. Each has a ``name``, ``values`` (distinct, in order), and ``codes``
        (position of each candidate's value in ``values``).
    mean, std : ndarray of shape (n_candidates,)
        Test score of each candidate: mean and standard deviation over the folds.
    best : int
        Position of the best candidate, which is marked.
    score_name : str, default="score"
        Name of the score.
    connected : bool, default=True
        Whether a line joins the values of one numeric parameter. It should be False if other
        parameters were drawn at random for each value.

    Attributes
    ----------
    line_ : Line2D or None
        Scores of the best candidate of each value, if one parameter is shown.
    band_ : PolyCollection, ErrorbarContainer or None
        Band of one standard deviation over the folds to each side.
    image_ : QuadMesh or None
        Scores of the best candidate of each pair of values, if two parameters are shown.
    points_ : PathCollection or None
        Scores of the candidates, if two parameters are shown that do not form a grid.
    best_mark_ : Line2D
        Mark of the best candidate.
    ax_ : Axes
        The Axes of the plot.
    figure_ : Figure
        The figure of the Axes.

    Notes
    -----
    If the search varied more parameters than are shown, each value shows the best candidate that
    has it. If a halving search evaluated a candidate several times, the last evaluation is shown.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import ImbalancedNetClassifier
    >>> from imbtorch.model_selection import StackedGridSearchCV
    >>> from imbtorch.plotting import SearchDisplay
    >>> X, y = make_classification(500, weights=[0.9], random_state=0)
    >>> net = ImbalancedNetClassifier(loss="focal", max_epochs=3, random_state=0)
    >>> search = StackedGridSearchCV(net, {"loss__gamma": [0.5, 1.0, 2.0]}, cv=3).fit(X, y)
    >>> display = SearchDisplay.from_estimator(search)
    >>> display.line_.get_xdata().tolist()
    [0.5, 1.0, 2.0]
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        axes: list[Axis],
        mean: Floats,
        std: Floats,
        best: int,
        *,
        score_name: str = "score",
        connected: bool = True,
    ) -> None:
        self.axes = axes
        self.mean = mean
        self.std = std
        self.best = best
        self.score_name = score_name
        self.connected = connected

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        params: str | Sequence[str] | None = None,
        *,
        metric: str | None = None,
        ax: Any = None,
    ) -> SearchDisplay:
        """Draw a fitted search.

        Parameters
        ----------
        estimator : object with ``cv_results_``
            Fitted search of scikit-learn or imbtorch, or an object like one.
        params : str, sequence of one or two, or None, default=None
            Parameters to draw; the first parts of a name may be left out (``"loss__gamma"``). None
            takes the parameters that the search varied, if they are one or two.
        metric : str or None, default=None
            Score to draw, if there are several; None is the score that decided the search.
        ax : Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        SearchDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the search is not fitted.
        ValueError
            If the estimator is not a search, or has no such parameter or score.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        if not hasattr(estimator, "cv_results_"):
            raise ValueError(
                f"{type(estimator).__name__} has no cv_results_; expected a fitted search, such as "
                "GridSearchCV."
            )
        refit = getattr(estimator, "refit", None)
        if metric is None and isinstance(refit, str):
            metric = refit
        by_choice = metric is None or metric in {refit, "score"}
        scoring = getattr(estimator, "scoring", None)
        score_name = scoring if isinstance(scoring, str) and metric in {None, "score"} else metric
        return cls.from_cv_results(
            estimator.cv_results_,
            params,
            metric=metric,
            best_index=getattr(estimator, "best_index_", None) if by_choice else None,
            score_name=score_name,
            ax=ax,
        )

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any],
        params: str | Sequence[str] | None = None,
        *,
        metric: str | None = None,
        best_index: int | None = None,
        score_name: str | None = None,
        ax: Any = None,
    ) -> SearchDisplay:
        """Draw the results of a search.

        Parameters
        ----------
        cv_results : mapping
            ``cv_results_`` of a search.
        params : str, sequence of one or two, or None, default=None
            Parameters to draw; see :meth:`from_estimator`.
        metric : str or None, default=None
            Score to draw, if there are several; None is ``"score"``, or the first score.
        best_index : int or None, default=None
            Candidate to mark; None is the candidate with the greatest mean.
        score_name : str or None, default=None
            Name of the score in the plot; None is ``metric``.
        ax : Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        SearchDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there is no such parameter or score, or every score is NaN.
        """
        check_matplotlib(f"{cls.__name__}.from_cv_results")
        if "params" not in cv_results:
            raise ValueError("cv_results has no 'params'; expected cv_results_ of a search.")
        names = resolve(params, cv_results)
        metric, mean, std = score_columns(cv_results, metric)
        rows = last_records(cv_results)
        candidates = [cv_results["params"][row] for row in rows]
        axes = [Axis(name, [c.get(name) for c in candidates]) for name in names]
        best = best_row(mean[rows], rows, best_index)
        n_varied = len(varied_parameters(cv_results))
        display = cls(
            axes,
            mean[rows],
            std[rows],
            best,
            score_name=score_name or metric,
            connected=n_varied <= 1 or len(axes[0].values) < len(rows),
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> SearchDisplay:
        """Draw the scores.

        Parameters
        ----------
        ax : Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        SearchDisplay
            The display.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        self.line_: Any = None
        self.band_: Any = None
        self.image_: Any = None
        self.points_: Any = None
        if len(self.axes) == 1:
            (panel,) = panels(ax, 1, figsize=(5.6, 3.6))
            self._draw_line(panel)
            add_grid(panel)
        else:
            (panel,) = panels(ax, 1, figsize=(5.6, 4.0))
            self._draw_pair(panel)
        # above the axes, where the legend covers no data
        panel.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize="small"
        )
        self.ax_, self.figure_ = as_axes([panel]), panel.figure
        return self

    @property
    def _best_label(self) -> str:
        return f"best, {self.mean[self.best]:.4g}"

    def _draw_line(self, panel: Axes) -> None:
        (axis,) = self.axes
        rows = best_per_value(axis.codes, self.mean, len(axis.values))
        found = rows >= 0
        x, rows = axis.positions[found], rows[found]
        mean, std = self.mean[rows], self.std[rows]
        profile = len(self.mean) > len(axis.values)
        label = "best candidate of each value" if profile else "mean over the folds"
        look: dict[str, Any] = {"color": COLOURS[0], "marker": "o", "markersize": 4, "label": label}
        if axis.is_numeric and self.connected:
            (self.line_,) = panel.plot(x, mean, **look)
            self.band_ = panel.fill_between(
                x, mean - std, mean + std, color=COLOURS[0], alpha=0.2, linewidth=0
            )
        else:
            self.band_ = panel.errorbar(x, mean, std, linestyle="none", capsize=4, **look)
            self.line_ = self.band_.lines[0]
        self._scale(panel, "x", axis)
        self._mark(panel, axis.positions[axis.codes[self.best]], self.mean[self.best])
        panel.set_ylabel(f"{self.score_name.replace('_', ' ')}\n(mean ± s.d. of the folds)")

    def _draw_pair(self, panel: Axes) -> None:
        import matplotlib as mpl

        across, up = self.axes
        shape = len(up.values), len(across.values)
        rows = best_per_value(up.codes * shape[1] + across.codes, self.mean, shape[0] * shape[1])
        grid = np.where(rows >= 0, self.mean[rows], np.nan).reshape(shape)
        sparse = np.isfinite(grid).mean() < _SPARSE
        cmap = mpl.colormaps["cividis"]
        if sparse:
            x, y = across.positions[across.codes], up.positions[up.codes]
            self.points_ = panel.scatter(x, y, c=self.mean, cmap=cmap, s=40, edgecolor="0.3")
            self._scale(panel, "x", across)
            self._scale(panel, "y", up)
            self._mark(panel, x[self.best], y[self.best])
        else:
            self.image_ = panel.pcolormesh(np.ma.masked_invalid(grid), cmap=cmap)
            panel.set_facecolor("0.85")  # colour of pairs without a candidate
            panel.set_xticks(np.arange(shape[1]) + 0.5, across.texts)
            panel.set_yticks(np.arange(shape[0]) + 0.5, up.texts)
            panel.set(xlabel=across.name, ylabel=up.name)
            if grid.size <= _MOST_NUMBERS:
                self._write_numbers(panel, grid)
            place = across.codes[self.best] + 0.85, up.codes[self.best] + 0.8
            self._mark(panel, *place)
        panel.figure.colorbar(
            self.points_ or self.image_, ax=panel, label=self.score_name.replace("_", " ")
        )

    def _write_numbers(self, panel: Axes, grid: Floats) -> None:
        assert self.image_ is not None
        low, high = np.nanmin(grid), np.nanmax(grid)
        for (line, column), value in np.ndenumerate(grid):
            if np.isfinite(value):
                dark = value < (low + high) / 2
                panel.text(
                    column + 0.5,
                    line + 0.5,
                    f"{value:.3f}",
                    ha="center",
                    va="center",
                    fontsize="small",
                    color="white" if dark else "black",
                )

    def _scale(self, panel: Axes, which: str, axis: Axis) -> None:
        getattr(panel, f"set_{which}label")(axis.name)
        if axis.is_log:
            getattr(panel, f"set_{which}scale")("log")
        elif not axis.is_numeric:
            getattr(panel, f"set_{which}ticks")(axis.positions, axis.texts)
            getattr(panel, f"set_{which}lim")(-0.5, len(axis.values) - 0.5)

    def _mark(self, panel: Axes, x: float, y: float) -> None:
        (self.best_mark_,) = panel.plot(
            [x],
            [y],
            linestyle="none",
            marker="*",
            markersize=13,
            color=COLOURS[1],
            markeredgecolor="white",
            label=self._best_label,
            zorder=4,
        )
