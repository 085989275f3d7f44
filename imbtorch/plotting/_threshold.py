"""Metrics of decisions against the threshold on the score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imbtorch.plotting._decisions import (
    cheapest_expected,
    cheapest_here,
    check_costs,
    mean_cost,
    threshold_in_use,
)
from imbtorch.plotting._scores import binary_scores, column_of, scores_of
from imbtorch.plotting._style import (
    add_grid,
    as_axes,
    check_matplotlib,
    legend_beside,
    panels,
    set_logit,
    style,
)
from imbtorch.plotting._threshold_metrics import Counts, named_metrics
from imbtorch.plotting._unwrap import check_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ThresholdDisplay"]

Floats = NDArray[np.float64]
_NEAR = 1e-5  # to 0 or 1: a scale would give most of its room to scores that are nearer
_DEFAULT_METRICS = ("precision", "recall", "f1", "balanced_accuracy")


class ThresholdDisplay:
    """Metrics against the threshold from which a score counts as positive.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    thresholds : ndarray of shape (n_thresholds,)
        Ascending; a row is positive where its score is not below.
    curves : dict of str to ndarray of shape (n_thresholds,)
        Values of each metric; NaN where it is not defined.
    threshold : float or None, default=None
        The threshold in use.
    cost : ndarray of shape (n_thresholds,) or None, default=None
        Mean cost of a row.
    cheapest : float or None, default=None
        The threshold at which these rows cost least.
    cheapest_expected : float or None, default=None
        The threshold that costs least if the scores are calibrated probabilities [1]_.
    pos_label : object, default=None
        The positive class.

    Attributes
    ----------
    lines_ : dict of str to Line2D
        The metrics by name, and ``"cost"``.
    threshold_line_, cheapest_line_, cheapest_expected_line_ : Line2D or None
        The marked thresholds.
    ax_ : Axes, or ndarray of two Axes
        The metrics; with costs, the cost below.
    figure_ : Figure
        Where they lie.

    References
    ----------
    .. [1] Elkan (2001). "The Foundations of Cost-Sensitive Learning". IJCAI, pp. 973-978.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from imbtorch.plotting import ThresholdDisplay
    >>> display = ThresholdDisplay.from_predictions(
    ...     ["no", "no", "no", "yes"],
    ...     [0.1, 0.2, 0.6, 0.7],
    ...     metrics=["precision", "recall"],
    ...     cost_matrix=[[0, 1], [5, 0]],
    ... )
    >>> display.curves["precision"].round(2)
    array([0.25, 0.33, 0.5 , 1.  ])
    >>> round(float(display.cheapest), 2), round(display.cheapest_expected, 3)
    (0.65, 0.167)
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        thresholds: Floats,
        curves: dict[str, Floats],
        *,
        threshold: float | None = None,
        cost: Floats | None = None,
        cheapest: float | None = None,
        cheapest_expected: float | None = None,
        pos_label: Any = None,
    ) -> None:
        self.thresholds = thresholds
        self.curves = curves
        self.threshold = threshold
        self.cost = cost
        self.cheapest = cheapest
        self.cheapest_expected = cheapest_expected
        self.pos_label = pos_label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        metrics: Any = _DEFAULT_METRICS,
        threshold: float | None = None,
        cost_matrix: ArrayLike | None = None,
        pos_label: Any = None,
        response_method: str = "predict_proba",
        sample_weight: ArrayLike | None = None,
        n_thresholds: int = 500,
        xscale: str = "linear",
        ax: Any = None,
    ) -> ThresholdDisplay:
        """Draw the metrics of a fitted classifier.

        Parameters
        ----------
        estimator : classifier
            Fitted.
        X : array-like of shape (n_samples, ...)
            Features of rows that it was not trained on.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Their labels.
        metrics : str, callable, sequence of them, or mapping of str to one
            See :meth:`from_predictions`.
        threshold : float or None, default=None
            The threshold to mark as chosen. None takes the one that ``estimator`` decides by:
            ``best_threshold_`` or ``offsets_`` of two classes where it tuned one, else 0.5 of a
            probability and 0 of a decision function.
        cost_matrix : array-like of shape (2, 2) or None, default=None
            See :meth:`from_predictions`.
        pos_label : label or None, default=None
            The positive class, against all others; None is the second of two. With several labels a
            row, the position of a label.
        response_method : {"predict_proba", "decision_function"}, default="predict_proba"
            Where scores come from.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0 of the rows.
        n_thresholds : int, default=500
            Most thresholds, see :meth:`from_predictions`.
        xscale : {"linear", "log", "logit"}, default="linear"
            Scale of the thresholds; ``"logit"`` shows probabilities of rare classes.
        ax : Axes, two Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        ThresholdDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the rows hold one class only, or an argument is invalid.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_fitted(estimator)
        score, pos_label = scores_of(estimator, X, pos_label, response_method)
        truth = column_of(y, pos_label)
        is_column = truth is not y
        if threshold is None:
            threshold = threshold_in_use(estimator, pos_label, response_method, of_labels=is_column)
        display = cls.from_predictions(
            truth,
            score,
            metrics=metrics,
            threshold=threshold,
            cost_matrix=cost_matrix,
            pos_label=1 if is_column else pos_label,
            sample_weight=sample_weight,
            n_thresholds=n_thresholds,
            xscale=xscale,
            ax=ax,
        )
        display.pos_label = pos_label
        return display

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_score: ArrayLike,
        *,
        metrics: Any = _DEFAULT_METRICS,
        threshold: float | None = None,
        cost_matrix: ArrayLike | None = None,
        pos_label: Any = None,
        sample_weight: ArrayLike | None = None,
        n_thresholds: int = 500,
        xscale: str = "linear",
        ax: Any = None,
    ) -> ThresholdDisplay:
        """Draw the metrics of scores.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            True labels.
        y_score : array-like of shape (n,)
            Scores of the positive class, greater for more positive.
        metrics : str, callable, sequence of them, or mapping of str to one
            ``"precision"``, ``"recall"``, ``"specificity"``, ``"false_positive_rate"``, ``"f1"``
            (``"f2"``, ``"f0.5"``, any beta), ``"accuracy"``, ``"balanced_accuracy"``,
            ``"geometric_mean"``, ``"jaccard"``, ``"matthews_corrcoef"`` and ``"positive_rate"`` are
            counted for all thresholds at once. Names of other scikit-learn scorers, scorers, and
            functions ``(y_true, y_pred)`` are called at up to 64 of the thresholds, and
            interpolated between them; scorers see labels only, no features.
        threshold : float or None, default=None
            A threshold to mark as the chosen one.
        cost_matrix : array-like of shape (2, 2) or None, default=None
            ``[[true negative, false positive], [false negative, true positive]]``, what a row
            costs: rows are truths, columns decisions, the positive class last.
        pos_label : label or None, default=None
            The positive class, against all others; None is the second of two.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights >= 0 of the rows.
        n_thresholds : int, default=500
            Where there are more different scores, a third of the thresholds is evenly spaced in
            value, a third in rank, and a third in the logarithm of the rank from the top. The
            marked ones are found among all.
        xscale : {"linear", "log", "logit"}, default="linear"
            Scale of the thresholds; ``"logit"`` ends 1e-5 from 0 and from 1, ``"log"`` at 1e-5 of
            the greatest.
        ax : Axes, two Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        ThresholdDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If ``y_true`` holds one class only, lengths differ, or an argument is invalid.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        rows = binary_scores(y_true, y_score, pos_label, sample_weight)
        costs = None if cost_matrix is None else check_costs(cost_matrix)
        counts = Counts(rows)
        thresholds = _thin(counts, n_thresholds)
        curves = {
            name: curve(counts, thresholds) for name, curve in named_metrics(metrics, rows).items()
        }
        cost, cheapest, expected = None, None, None
        if costs is not None:
            cost = mean_cost(counts, thresholds, costs)
            cheapest = cheapest_here(counts, costs)
            if rows.score.min() >= 0 and rows.score.max() <= 1:
                expected = cheapest_expected(costs)
        display = cls(
            thresholds,
            curves,
            threshold=threshold,
            cost=cost,
            cheapest=cheapest,
            cheapest_expected=expected,
            pos_label=rows.pos_label,
        )
        return display.plot(ax=ax, xscale=xscale)

    def plot(self, ax: Any = None, *, xscale: str = "linear") -> ThresholdDisplay:
        """Draw the metrics, and below them the cost where there is one.

        Parameters
        ----------
        ax : Axes, two Axes or None, default=None
            Where to draw: with costs two Axes, or one that is divided; None makes a figure.
        xscale : {"linear", "log", "logit"}, default="linear"
            Scale of the thresholds; ``"logit"`` ends 1e-5 from 0 and from 1, ``"log"`` at 1e-5 of
            the greatest.

        Returns
        -------
        ThresholdDisplay
            The display.

        Raises
        ------
        ValueError
            If the scale is unknown.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        if xscale not in {"linear", "log", "logit"}:
            raise ValueError(f"xscale must be 'linear', 'log' or 'logit'; got {xscale!r}.")
        if self.cost is None:
            axes = panels(ax, 1, figsize=(7.2, 3.8))
        else:
            axes = panels(ax, 2, figsize=(7.2, 5.2), heights=(3, 1.5))
        limits = self._limits(xscale)
        for panel in axes:
            if xscale == "logit":
                set_logit(panel, "x")
            else:
                panel.set_xscale(xscale)
            panel.set_xlim(limits)
        places = np.clip(self.thresholds, *limits)  # a score of 1 has no place in log-odds
        self.lines_ = {}
        for position, (name, curve) in enumerate(self.curves.items()):
            label = name.replace("_", " ")
            (self.lines_[name],) = axes[0].plot(places, curve, label=label, **style(position))
        if self.cost is not None:
            (self.lines_["cost"],) = axes[1].plot(places, self.cost, color="black")
            axes[1].set_ylabel("mean cost of a row")
        self._mark(axes)
        for panel in axes:
            add_grid(panel)
        axes[0].set_ylabel("metric")
        axes[-1].set_xlabel("threshold on the score")
        legend_beside(axes[0])
        self.ax_, self.figure_ = as_axes(axes), axes[0].figure
        return self

    def _limits(self, xscale: str) -> tuple[float, float]:
        """Return the ends of the axis, between which the scale has a place for everything."""
        marks = (self.threshold, self.cheapest, self.cheapest_expected)
        places = [*self.thresholds[[0, -1]], *(mark for mark in marks if mark is not None)]
        low, high = float(min(places)), float(max(places))
        if xscale == "log":
            low = max(low, _NEAR * high)
        elif xscale == "logit":
            low, high = max(low, _NEAR), min(high, 1 - _NEAR)
        if low > high or (xscale == "log" and high <= 0):
            raise ValueError(
                f"xscale={xscale!r} has no place for thresholds from {min(places):g} to "
                f"{max(places):g}; use xscale='linear'."
            )
        return low, high

    def _mark(self, axes: list[Axes]) -> None:
        marks: dict[str, tuple[float | None, str, dict[str, Any]]] = {
            "threshold_line_": (self.threshold, "chosen", {"color": "0.35", "linewidth": 2.5}),
            "cheapest_line_": (self.cheapest, "cheapest here", {"color": "black", "ls": "-"}),
            "cheapest_expected_line_": (
                self.cheapest_expected,
                "cheapest if calibrated",
                {"color": "black", "ls": (0, (2, 2))},
            ),
        }
        for name, (place, what, look) in marks.items():
            line = None
            if place is not None and np.isfinite(place):
                look = {"linewidth": 1, "alpha": 0.8, "zorder": 1.5, **look}
                line = axes[0].axvline(place, label=f"{what}, {place:.3g}", **look)
                for lower in axes[1:]:
                    lower.axvline(place, **look)
            setattr(self, name, line)


def _thin(counts: Counts, n_thresholds: int) -> Floats:
    if n_thresholds < 2:
        raise ValueError(f"n_thresholds must be at least 2; got {n_thresholds}.")
    thresholds = counts.thresholds[:-1]
    if len(thresholds) <= n_thresholds:
        return thresholds
    third, last = -(-n_thresholds // 3), len(thresholds) - 1
    ranks = np.linspace(0, last, third).astype(int)
    from_top = last - np.geomspace(1, last, third).astype(int)  # where a rare class is
    by_value = np.linspace(thresholds[0], thresholds[-1], n_thresholds - 2 * third)
    thinned: Floats = np.union1d(by_value, thresholds[np.concatenate([ranks, from_top])])
    return thinned
