"""Plot the reliability of probabilities before and after restating them for a population."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from imbtorch.plotting._scores import binary_scores, column_of, scores_of
from imbtorch.plotting._style import (
    add_grid,
    as_axes,
    check_matplotlib,
    decades,
    legend_beside,
    panels,
    set_logit,
    style,
)
from imbtorch.plotting._unwrap import check_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PriorShiftDisplay", "Reliability"]

Floats = NDArray[np.float64]
_FAR = 1e-5  # smallest odds on a logit axis; bins with smaller odds are not shown


@dataclass(frozen=True)
class Reliability:
    """One reliability curve: predictions and observations in each bin that has rows.

    Parameters
    ----------
    predicted, observed : ndarray of shape (n_bins,)
        Mean probability of each bin, and share of the positive class.
    low, high : ndarray of shape (n_bins,)
        Wilson's 95% interval of the share.
    counts : ndarray of shape (n_bins,)
        Number of rows of each bin.
    brier : float
        Brier score of all rows; smaller is better.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from imbtorch.plotting import PriorShiftDisplay
    >>> y, proba = np.arange(20) >= 10, np.repeat([0.1, 0.9], 10)
    >>> display = PriorShiftDisplay.from_predictions(y, {"net": proba})
    >>> curve = display.curves["net"]
    >>> curve.observed.tolist(), curve.counts.tolist(), round(float(curve.brier), 2)
    ([0.0, 1.0], [10, 10], 0.01)
    >>> plt.close(display.figure_)
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    counts: NDArray[np.intp]
    brier: float


class PriorShiftDisplay:
    """Reliability diagrams of one classifier's probabilities for several populations.

    Create a display with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    curves : dict of str to Reliability
        Curves by name.
    pos_label : object, default=None
        Positive class, whose probability is shown.

    Attributes
    ----------
    lines_ : dict of str to Line2D
        Curves of the observed share against the mean probability, by name.
    intervals_ : dict of str to LineCollection
        95% intervals of the shares (Wilson), by name.
    count_lines_ : dict of str to Line2D
        Points of the number of rows of each bin, by name.
    diagonal_ : Line2D
        Line on which predictions and observations agree.
    ax_ : ndarray of Axes, shape (2,)
        Axes of the diagram, and Axes of the numbers of rows.
    figure_ : Figure
        The figure of the Axes.

    See Also
    --------
    imbtorch.priors.shift_prior : Restates the probabilities of any classifier.
    sklearn.calibration.CalibrationDisplay : A single reliability curve.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.model_selection import train_test_split
    >>> from imbtorch import ImbalancedNetClassifier
    >>> from imbtorch.plotting import PriorShiftDisplay
    >>> X, y = make_classification(4000, weights=[0.9], random_state=0)
    >>> X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)
    >>> clf = ImbalancedNetClassifier(class_weight="balanced", loss="cross_entropy", random_state=0)
    >>> display = PriorShiftDisplay.from_estimator(clf.fit(X, y), X_test, y_test)
    >>> before, after = display.curves.values()
    >>> after.brier < before.brier
    True
    >>> plt.close(display.figure_)
    """

    def __init__(self, curves: dict[str, Reliability], *, pos_label: Any = None) -> None:
        self.curves = curves
        self.pos_label = pos_label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        target_priors: Any = (None, "train"),
        pos_label: Any = None,
        n_bins: int = 10,
        strategy: str = "uniform",
        scale: str = "linear",
        ax: Any = None,
    ) -> PriorShiftDisplay:
        """Draw one curve of a fitted classifier for each ``target_prior``.

        Parameters
        ----------
        estimator : classifier with a parameter ``target_prior``, or a pipeline or search around one
            The fitted classifier, which is not changed.
        X : array-like of shape (n_samples, ...)
            Features of rows that the classifier was not trained on.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            True labels of these rows.
        target_priors : sequence, or mapping of str to target_prior, default=(None, "train")
            Values of the parameter, one for each curve; the keys of a mapping are their names.
        pos_label : label or None, default=None
            Positive class, against all others; None is the second of two classes. If a row has
            several labels, the position of a label.
        n_bins : int, default=10
            Number of bins; see :meth:`from_predictions`.
        strategy : {"uniform", "quantile"}, default="uniform"
            Kind of bins; see :meth:`from_predictions`.
        scale : {"linear", "logit"}, default="linear"
            Scale of the axes; see :meth:`plot`.
        ax : Axes, two Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        PriorShiftDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the estimator has no ``target_prior``, a prior is invalid, or all rows have the same
            class.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_fitted(estimator)
        estimator = copy.deepcopy(getattr(estimator, "best_estimator_", estimator))
        parameter = _prior_parameter(estimator)
        named = target_priors
        if not isinstance(named, Mapping):
            named = {f"target_prior={prior!r}": prior for prior in target_priors}
        probas: dict[str, Floats] = {}
        for name, prior in named.items():
            estimator.set_params(**{parameter: prior})
            probas[str(name)], pos_label = scores_of(estimator, X, pos_label)
        truth = column_of(y, pos_label)
        curves = _curves(truth, probas, 1 if truth is not y else pos_label, n_bins, strategy)
        return cls(curves, pos_label=pos_label).plot(ax=ax, scale=scale)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        probas: Mapping[str, ArrayLike],
        *,
        pos_label: Any = None,
        n_bins: int = 10,
        strategy: str = "uniform",
        scale: str = "linear",
        ax: Any = None,
    ) -> PriorShiftDisplay:
        """Draw probabilities by name.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            True labels.
        probas : mapping of str to array-like of shape (n,)
            Probabilities of the positive class.
        pos_label : label or None, default=None
            Positive class, against all others; None is the second of two classes.
        n_bins : int, default=10
            Number of bins; bins without rows are left out.
        strategy : {"uniform", "quantile"}, default="uniform"
            Kind of bins: of equal width, or with the same number of rows.
        scale : {"linear", "logit"}, default="linear"
            Scale of the axes; see :meth:`plot`.
        ax : Axes, two Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        PriorShiftDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If ``y_true`` has one class only, lengths differ, or values are not probabilities.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        if not isinstance(probas, Mapping) or not probas:
            raise ValueError(
                "probas must map a name to each vector of probabilities, such as "
                "{'before': p, 'after': q}."
            )
        curves = _curves(y_true, probas, pos_label, n_bins, strategy)
        if pos_label is None:
            pos_label = binary_scores(y_true, next(iter(probas.values()))).pos_label
        return cls(curves, pos_label=pos_label).plot(ax=ax, scale=scale)

    def plot(self, ax: Any = None, *, scale: str = "linear") -> PriorShiftDisplay:
        """Draw the diagram, and the numbers of rows of the bins below it.

        Parameters
        ----------
        ax : Axes, two Axes or None, default=None
            Axes to draw on: two Axes, or one that is divided; None creates a figure.
        scale : {"linear", "logit"}, default="linear"
            Scale of both axes of the diagram; ``"logit"`` gives more room to values near 0, where
            the probabilities of a rare class lie. If no row or every row of a bin is positive, it
            shows only the interval of the bin; odds below 1e-5 or above 1e5 are outside the plot.

        Returns
        -------
        PriorShiftDisplay
            The display.

        Raises
        ------
        ValueError
            If the scale is unknown.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        if scale not in {"linear", "logit"}:
            raise ValueError(f"scale must be 'linear' or 'logit'; got {scale!r}.")
        upper, lower = axes = panels(ax, 2, figsize=(6.4, 5.2), heights=(3, 1))
        self._draw_diagonal(upper, scale)
        self.lines_, self.intervals_, self.count_lines_ = {}, {}, {}
        for position, (name, curve) in enumerate(self.curves.items()):
            # earlier curves have larger markers, so that they are visible behind later ones
            look = style(position, markersize=max(4.0, 6.5 - position))
            observed = curve.observed
            low, high = curve.low, curve.high
            if scale == "logit":
                low, high = low.clip(_FAR**2), high.clip(max=1 - _FAR**2)
                observed = np.where((observed > 0) & (observed < 1), observed, np.nan)
            label = f"{name}\n(Brier score {curve.brier:.4f})"
            (self.lines_[name],) = upper.plot(curve.predicted, observed, label=label, **look)
            self.intervals_[name] = upper.vlines(
                curve.predicted, low, high, color=look["color"], alpha=0.5
            )
            (self.count_lines_[name],) = lower.plot(
                curve.predicted, curve.counts, **{**look, "linestyle": "none"}
            )
        of_class = "" if self.pos_label is None else f" of class {self.pos_label}"
        upper.set_ylabel(f"observed share{of_class}")
        lower.set(ylabel="rows of a bin", xlabel=f"mean probability{of_class}")
        decades(lower, np.concatenate([curve.counts for curve in self.curves.values()]))
        for panel in axes:
            add_grid(panel)
        legend_beside(upper)
        self.ax_, self.figure_ = as_axes(axes), upper.figure
        return self

    def _draw_diagonal(self, panel: Axes, scale: str) -> None:
        x = np.concatenate([curve.predicted for curve in self.curves.values()])
        y = np.concatenate([curve.observed for curve in self.curves.values()])
        ends = [0.0, 1.0]
        if scale == "logit":
            set_logit(panel, "x")
            set_logit(panel, "y")
            panel.set(xlim=_inner_range(x), ylim=_inner_range(y))
            ends = [1e-12, 1 - 1e-12]
        (self.diagonal_,) = panel.plot(
            ends, ends, color="0.5", linewidth=1, linestyle=":", label="perfectly calibrated"
        )


def _inner_range(shares: Floats) -> tuple[float, float]:
    """Return the limits of a logit axis for these shares, without extreme ones."""
    odds = shares / (1 - shares + 1e-300)
    odds = odds[(odds > _FAR) & (odds < 1 / _FAR)]
    low, high = (odds.min() / 3, odds.max() * 3) if odds.size else (0.01, 100)
    return float(low / (1 + low)), float(high / (1 + high))


def _prior_parameter(estimator: Any) -> str:
    """Return the name of the parameter ``target_prior``, which may be nested."""
    known: list[str] = list(estimator.get_params())
    names = [name for name in known if name.split("__")[-1] == "target_prior"]
    if not names:
        raise ValueError(
            f"{type(estimator).__name__} has no parameter target_prior. Restate its probabilities "
            "with imbtorch.priors.shift_prior, and give both to "
            "PriorShiftDisplay.from_predictions."
        )
    return min(names, key=len)


def _curves(
    y_true: ArrayLike, probas: Mapping[str, ArrayLike], pos_label: Any, n_bins: int, strategy: str
) -> dict[str, Reliability]:
    curves = {}
    for name, proba in probas.items():
        rows = binary_scores(y_true, proba, pos_label)
        if rows.score.min() < 0 or rows.score.max() > 1:
            raise ValueError(
                f"{name!r} must hold probabilities; got values in [{rows.score.min():g}, "
                f"{rows.score.max():g}]."
            )
        curves[str(name)] = _reliability(rows.positive, rows.score, n_bins, strategy)
    return curves


def _reliability(
    positive: NDArray[np.bool_], proba: Floats, n_bins: int, strategy: str
) -> Reliability:
    observed, predicted = calibration_curve(
        positive, proba, pos_label=True, n_bins=n_bins, strategy=strategy
    )
    # calibration_curve does not return the number of rows of the bins
    edges = np.linspace(0, 1, n_bins + 1)
    if strategy == "quantile":
        edges = np.percentile(proba, 100 * edges)
    counts = np.bincount(np.searchsorted(edges[1:-1], proba), minlength=n_bins)
    brier = float(brier_score_loss(positive, proba))
    counts = counts[counts > 0]
    return Reliability(predicted, observed, *_wilson(observed, counts), counts, brier)


def _wilson(share: Floats, n: NDArray[np.intp], z: float = 1.96) -> tuple[Floats, Floats]:
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # the interval must include the share despite rounding
    return np.minimum(middle - half, share).clip(0), np.maximum(middle + half, share).clip(max=1)
