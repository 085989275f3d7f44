"""Plot metrics of decisions against the threshold on the score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imbtorch.plotting._decisions import (
    cheapest_expected,
    cheapest_here,
    check_costs,
    interval_of_threshold,
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
_NEAR = 1e-5  # smallest distance from 0 and 1 on a log or logit scale, which would else be too long
_DEFAULT_METRICS = ("precision", "recall", "f1", "balanced_accuracy")


class ThresholdDisplay:
    """Plot of metrics against the threshold from which a score counts as positive.

    Create a display with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    thresholds : ndarray of shape (n_thresholds,)
        Ascending thresholds; a row is positive if its score is at least the threshold.
    curves : dict of str to ndarray of shape (n_thresholds,)
        Values of each metric; NaN if the metric is not defined.
    threshold : float or None, default=None
        The threshold in use.
    threshold_interval : tuple of two floats or None, default=None
        Thresholds between which the best one is in most resamples of the rows.
    cost : ndarray of shape (n_thresholds,) or None, default=None
        Mean cost of a row at each threshold.
    cheapest : float or None, default=None
        The threshold with the smallest cost for these rows.
    cheapest_expected : float or None, default=None
        The threshold with the smallest expected cost, if scores are calibrated probabilities [1]_.
    pos_label : object, default=None
        The positive class.

    Attributes
    ----------
    lines_ : dict of str to Line2D
        Curves of the metrics by name, and of the ``"cost"``.
    threshold_line_, cheapest_line_, cheapest_expected_line_ : Line2D or None
        The marked thresholds.
    threshold_band_ : Rectangle or None
        The band of ``threshold_interval``.
    ax_ : Axes, or ndarray of two Axes
        Axes of the metrics; with costs also the Axes of the cost below.
    figure_ : Figure
        The figure of the Axes.

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
        threshold_interval: tuple[float, float] | None = None,
        cost: Floats | None = None,
        cheapest: float | None = None,
        cheapest_expected: float | None = None,
        pos_label: Any = None,
    ) -> None:
        self.thresholds = thresholds
        self.curves = curves
        self.threshold = threshold
        self.threshold_interval = threshold_interval
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
            The fitted classifier.
        X : array-like of shape (n_samples, ...)
            Features of rows that the classifier was not trained on.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            True labels of these rows.
        metrics : str, callable, sequence of them, or mapping of str to one
            Metrics to draw; see :meth:`from_predictions`.
        threshold : float or None, default=None
            Threshold to mark as chosen. None takes the threshold that ``estimator`` uses: a tuned
            one from ``best_threshold_`` or ``offsets_`` of two classes, else 0.5 for probabilities
            and 0 for a decision function; and the interval of ``thresholds_interval_``.
        cost_matrix : array-like of shape (2, 2) or None, default=None
            Costs of decisions; see :meth:`from_predictions`.
        pos_label : label or None, default=None
            Positive class, against all others; None is the second of two classes. If a row has
            several labels, the position of a label.
        response_method : {"predict_proba", "decision_function"}, default="predict_proba"
            Method of the classifier that returns the scores.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0 of the rows.
        n_thresholds : int, default=500
            Largest number of thresholds; see :meth:`from_predictions`.
        xscale : {"linear", "log", "logit"}, default="linear"
            Scale of the thresholds; ``"logit"`` shows probabilities of rare classes.
        ax : Axes, two Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        ThresholdDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If all rows have the same class, or an argument is invalid.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_fitted(estimator)
        score, pos_label = scores_of(
            estimator, X, pos_label, response_method, in_use=threshold is None
        )
        truth = column_of(y, pos_label)
        is_column = truth is not y
        interval = None
        if threshold is None:
            decider = (estimator, pos_label, response_method)
            threshold = threshold_in_use(*decider, of_labels=is_column)
            interval = interval_of_threshold(*decider, of_labels=is_column)
        display = cls.from_predictions(
            truth,
            score,
            metrics=metrics,
            threshold=threshold,
            threshold_interval=interval,
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
        threshold_interval: tuple[float, float] | None = None,
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
            Scores of the positive class; greater means more likely positive.
        metrics : str, callable, sequence of them, or mapping of str to one
            ``"precision"``, ``"recall"``, ``"specificity"``, ``"false_positive_rate"``, ``"f1"``
            (``"f2"``, ``"f0.5"``, any beta), ``"accuracy"``, ``"balanced_accuracy"``,
            ``"geometric_mean"``, ``"jaccard"``, ``"matthews_corrcoef"`` and ``"positive_rate"`` are
            computed for all thresholds at once. Names of other scikit-learn scorers, scorers, and
            functions ``(y_true, y_pred)`` are called at up to 64 of the thresholds, and
            interpolated between them; scorers receive labels only, no features.
        threshold : float or None, default=None
            Threshold to mark as chosen.
        threshold_interval : tuple of two floats or None, default=None
            Lower and upper limit of a band, such as those of a bootstrap of the threshold.
        cost_matrix : array-like of shape (2, 2) or None, default=None
            Costs ``[[true negative, false positive], [false negative, true positive]]`` of a
            decision: rows are true classes, columns are decisions, the positive class is last.
        pos_label : label or None, default=None
            Positive class, against all others; None is the second of two classes.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights >= 0 of the rows.
        n_thresholds : int, default=500
            Largest number of thresholds. If there are more distinct scores, a third of the
            thresholds is evenly spaced in value, a third in rank, and a third in the logarithm of
            the rank from the top. The cheapest threshold is still found among all scores.
        xscale : {"linear", "log", "logit"}, default="linear"
            Scale of the thresholds; ``"logit"`` ends 1e-5 from 0 and from 1, ``"log"`` at 1e-5
            times the greatest threshold.
        ax : Axes, two Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        ThresholdDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If ``y_true`` has one class only, lengths differ, or an argument is invalid.
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
            threshold_interval=_check_interval(threshold_interval),
            cost=cost,
            cheapest=cheapest,
            cheapest_expected=expected,
            pos_label=rows.pos_label,
        )
        return display.plot(ax=ax, xscale=xscale)

    def plot(self, ax: Any = None, *, xscale: str = "linear") -> ThresholdDisplay:
        """Draw the metrics, and below them the cost if there is a cost matrix.

        Parameters
        ----------
        ax : Axes, two Axes or None, default=None
            Axes to draw on: with costs two Axes, or one that is divided; None creates a figure.
        xscale : {"linear", "log", "logit"}, default="linear"
            Scale of the thresholds; ``"logit"`` ends 1e-5 from 0 and from 1, ``"log"`` at 1e-5
            times the greatest threshold.

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
        places = np.clip(self.thresholds, *limits)  # a score of 1 has infinite log-odds
        self.lines_ = {}
        for position, (name, curve) in enumerate(self.curves.items()):
            label = name.replace("_", " ")
            (self.lines_[name],) = axes[0].plot(places, curve, label=label, **style(position))
        if self.cost is not None:
            (self.lines_["cost"],) = axes[1].plot(places, self.cost, color="black")
            axes[1].set_ylabel("mean cost of a row")
        self._mark(axes, limits)
        for panel in axes:
            add_grid(panel)
        axes[0].set_ylabel("metric")
        axes[-1].set_xlabel("threshold on the score")
        legend_beside(axes[0])
        self.ax_, self.figure_ = as_axes(axes), axes[0].figure
        return self

    def _limits(self, xscale: str) -> tuple[float, float]:
        """Return the limits of the x axis, within which the scale is defined."""
        interval = self.threshold_interval or ()
        marks = [self.threshold, self.cheapest, self.cheapest_expected, *interval]
        places = [*self.thresholds[[0, -1]], *(mark for mark in marks if mark is not None)]
        low, high = float(min(places)), float(max(places))
        if xscale == "log":
            low = max(low, _NEAR * high)
        elif xscale == "logit":
            low, high = max(low, _NEAR), min(high, 1 - _NEAR)
        if low > high or (xscale == "log" and high <= 0):
            raise ValueError(
                f"xscale={xscale!r} cannot show thresholds from {min(places):g} to "
                f"{max(places):g}; use xscale='linear'."
            )
        return low, high

    def _mark(self, axes: list[Axes], limits: tuple[float, float]) -> None:
        self.threshold_band_ = None
        if self.threshold_interval is not None:
            low, high = np.clip(self.threshold_interval, *limits)
            band: dict[str, Any] = {"color": "0.35", "alpha": 0.15, "linewidth": 0, "zorder": 1}
            bands = [panel.axvspan(low, high, **band) for panel in axes]
            self.threshold_band_ = bands[0]
            self.threshold_band_.set_label(f"best of resamples, {low:.3g} to {high:.3g}")
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


def _check_interval(interval: Any) -> tuple[float, float] | None:
    if interval is None:
        return None
    limits = np.asarray(interval, dtype=np.float64)
    if limits.shape != (2,) or not np.isfinite(limits).all() or limits[0] > limits[1]:
        raise ValueError(
            f"threshold_interval must be a lower and an upper finite threshold; got {interval!r}."
        )
    return float(limits[0]), float(limits[1])


def _thin(counts: Counts, n_thresholds: int) -> Floats:
    if n_thresholds < 2:
        raise ValueError(f"n_thresholds must be at least 2; got {n_thresholds}.")
    thresholds = counts.thresholds[:-1]
    if len(thresholds) <= n_thresholds:
        return thresholds
    third, last = -(-n_thresholds // 3), len(thresholds) - 1
    ranks = np.linspace(0, last, third).astype(int)
    from_top = last - np.geomspace(1, last, third).astype(int)  # the scores of a rare class
    by_value = np.linspace(thresholds[0], thresholds[-1], n_thresholds - 2 * third)
    thinned: Floats = np.union1d(by_value, thresholds[np.concatenate([ranks, from_top])])
    return thinned
