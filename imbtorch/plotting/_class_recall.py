"""Plot the recall of each class, ordered by the number of training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imbtorch.metrics._inputs import frequency_groups, row_weights
from imbtorch.metrics._recall import class_recalls, training_rows
from imbtorch.plotting._style import (
    add_grid,
    as_axes,
    check_matplotlib,
    decades,
    legend_beside,
    panels,
    style,
)
from imbtorch.plotting._unwrap import check_fitted, innermost

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ClassRecallDisplay"]

Floats = NDArray[np.float64]
_SHADES = {"many": "0.97", "medium": "0.91", "few": "0.84"}
_MOST_NAMES = 30  # most classes whose names are shown; with more, ticks show ranks


class ClassRecallDisplay:
    """Plot of the recall of each class, with the most frequent training class first.

    Create a display with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Labels, sorted by decreasing number of training rows.
    counts : ndarray of shape (n_classes,)
        Number of training rows of each class.
    recalls : dict of str to ndarray of shape (n_classes,)
        Recalls of the classes, by name of the curve.
    thresholds : pair of numbers, default=(20, 100)
        "few" means fewer training rows than the first number, "many" more than the second.

    Attributes
    ----------
    lines_ : dict of str to Line2D
        Drawn recalls, by name of the curve.
    bars_ : BarContainer
        Bars of the numbers of training rows.
    bands_ : dict of str to Polygon
        The shaded groups that have classes: ``"many"``, ``"medium"``, ``"few"``.
    ax_ : ndarray of Axes, shape (2,)
        Axes of the recalls, and Axes of the training rows.
    figure_ : Figure
        The figure of the Axes.

    See Also
    --------
    imbtorch.metrics.recall_by_frequency : Means of the groups.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from imbtorch.plotting import ClassRecallDisplay
    >>> display = ClassRecallDisplay.from_predictions(
    ...     ["a", "a", "b", "b", "c", "c"],
    ...     ["a", "a", "b", "a", "a", "a"],
    ...     {"c": 9, "a": 900, "b": 90},
    ... )
    >>> list(zip(display.classes.tolist(), display.recalls["recall"].tolist()))
    [('a', 1.0), ('b', 0.5), ('c', 0.0)]
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        classes: NDArray[Any],
        counts: Floats,
        recalls: dict[str, Floats],
        *,
        thresholds: Sequence[float] = (20, 100),
    ) -> None:
        self.classes = classes
        self.counts = counts
        self.recalls = recalls
        self.thresholds = thresholds

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        y_train: ArrayLike | Mapping[Any, float] | None = None,
        thresholds: Sequence[float] = (20, 100),
        sample_weight: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
    ) -> ClassRecallDisplay:
        """Draw the recalls of a fitted classifier.

        Parameters
        ----------
        estimator : classifier
            The fitted classifier.
        X : array-like of shape (n_samples, ...)
            Features of rows that the classifier was not trained on.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            True labels of these rows.
        y_train : array-like, mapping of label to count, or None, default=None
            Labels of the training rows, or the number of rows of each label. None takes
            ``class_counts_`` of an imbtorch estimator.
        thresholds : pair of numbers, default=(20, 100)
            "few" means fewer training rows than the first number, "many" more than the second.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0 of the rows.
        name : str or None, default=None
            Name of the curve; None is the class of the estimator.
        ax : Axes, two Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        ClassRecallDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the numbers of training rows are unknown, or an argument is invalid.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_fitted(estimator)
        inner = innermost(estimator)
        if y_train is None:
            y_train = _counts_of(inner)
        return cls.from_predictions(
            y,
            {name or type(inner).__name__: estimator.predict(X)},
            y_train,
            thresholds=thresholds,
            sample_weight=sample_weight,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike | Mapping[str, ArrayLike],
        y_train: ArrayLike | Mapping[Any, float],
        *,
        thresholds: Sequence[float] = (20, 100),
        sample_weight: ArrayLike | None = None,
        ax: Any = None,
    ) -> ClassRecallDisplay:
        """Draw the recalls of predictions.

        Parameters
        ----------
        y_true : array-like of shape (n,) or (n, n_labels)
            True labels; 0 and 1 if a row has several labels. Classes without rows are left out.
        y_pred : array-like of the shape of ``y_true``, or mapping of str to such
            Predicted labels, or several sets of predicted labels by name.
        y_train : array-like, or mapping of label to count
            Labels of the training rows, or the number of rows of each label. If a row has several
            labels, their matrix, or a mapping from the position of a label to its number of rows.
        thresholds : pair of numbers, default=(20, 100)
            "few" means fewer training rows than the first number, "many" more than the second.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights >= 0 of the rows.
        ax : Axes, two Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        ClassRecallDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If lengths differ, labels are of different types, or the thresholds are not an ascending
            pair.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        named = y_pred if isinstance(y_pred, Mapping) else {"recall": y_pred}
        if not named:
            raise ValueError("y_pred is empty; give predictions, or a dict of name -> predictions.")
        recalls = {}
        for name, predicted in named.items():
            classes, recalls[str(name)] = _recalls(y_true, predicted, sample_weight)
        if _is_matrix(y_train):
            y_train = dict(enumerate(_dense(y_train).sum(axis=0).tolist()))
        counts = training_rows(y_train, classes)
        frequency_groups(counts, thresholds)  # raises an error before anything is drawn
        order = np.argsort(-counts, kind="stable")
        by_name = {name: values[order] for name, values in recalls.items()}
        return cls(classes[order], counts[order], by_name, thresholds=thresholds).plot(ax=ax)

    def plot(self, ax: Any = None) -> ClassRecallDisplay:
        """Draw the recalls, and the training rows below them.

        Parameters
        ----------
        ax : Axes, two Axes or None, default=None
            Axes to draw on: two Axes, or one that is divided; None creates a figure.

        Returns
        -------
        ClassRecallDisplay
            The display.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        upper, lower = axes = panels(ax, 2, figsize=(7.2, 4.6), heights=(3, 1))
        ranks = np.arange(len(self.classes))
        few = len(ranks) <= _MOST_NAMES
        self.bands_ = self._shade(axes)
        self.lines_ = {}
        for i, (name, recall) in enumerate(self.recalls.items()):
            look = {**style(i, markersize=5 if few else 3), "linewidth": 1}
            if not few:  # lines between many classes would be unreadable
                look["linestyle"] = "none"
                self._draw_means(upper, recall, look["color"])
            (self.lines_[name],) = upper.plot(ranks, recall, label=name, **look)
        self.bars_ = lower.bar(ranks, self.counts, color="0.45", width=0.7)
        upper.set(ylabel="recall", ylim=(-0.03, 1.03), xlim=(-0.5, len(ranks) - 0.5))
        lower.set(ylabel="training rows", xlabel="class, by falling number of training rows")
        decades(lower, self.counts)
        if few:
            lower.set_xticks(ranks, [str(label) for label in self.classes])
        for panel in axes:
            add_grid(panel, "y")
        if len(self.recalls) > 1:
            legend_beside(upper)
        self.ax_, self.figure_ = as_axes(axes), upper.figure
        return self

    def _draw_means(self, panel: Axes, recall: Floats, colour: str) -> None:
        for members in frequency_groups(self.counts, self.thresholds).values():
            if members.any():
                ranks = np.flatnonzero(members)
                panel.hlines(recall[members].mean(), ranks[0] - 0.5, ranks[-1] + 0.5, color=colour)

    def _shade(self, axes: list[Axes]) -> dict[str, Any]:
        """Shade the groups, and write their names and mean recalls above the upper panel."""
        bands: dict[str, Any] = {}
        for name, members in frequency_groups(self.counts, self.thresholds).items():
            ranks = np.flatnonzero(members)
            if not ranks.size:
                continue
            low, high = ranks[0] - 0.5, ranks[-1] + 0.5
            shade: dict[str, Any] = {"color": _SHADES[name], "zorder": 0, "linewidth": 0}
            bands[name], _ = (panel.axvspan(low, high, **shade) for panel in axes)
            means = [f"{recall[members].mean():.2f}" for recall in self.recalls.values()]
            means = [mean.removeprefix("0") for mean in means]  # there is little room
            axes[0].text(
                (low + high) / 2,
                1.01,
                f"{name}\n{' | '.join(means)}",
                transform=axes[0].get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize="small",
            )
        return bands


def _is_matrix(labels: Any) -> bool:
    return not isinstance(labels, Mapping) and (
        hasattr(labels, "toarray") or np.ndim(labels) == 2 and np.shape(labels)[1] > 1
    )


def _dense(labels: Any) -> NDArray[Any]:
    return np.asarray(labels.toarray() if hasattr(labels, "toarray") else labels)


def _recalls(y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[NDArray[Any], Floats]:
    if not _is_matrix(y_true):
        return class_recalls(y_true, y_pred, sample_weight)
    truth, predicted = _dense(y_true) == 1, _dense(y_pred) == 1
    if truth.shape != predicted.shape:
        raise ValueError(f"y_pred has shape {predicted.shape}, y_true has {truth.shape}.")
    weights = row_weights(sample_weight, len(truth))
    mass = weights @ truth
    seen = np.flatnonzero(mass > 0)
    if not seen.size:
        raise ValueError("y_true has no row with any of the labels.")
    hits: Floats = weights @ (truth & predicted)
    return seen, hits[seen] / mass[seen]


def _counts_of(estimator: Any) -> Mapping[Any, float]:
    counts = getattr(estimator, "class_counts_", None)
    if counts is None:
        raise ValueError(
            f"{type(estimator).__name__} has no class_counts_, so the numbers of training rows are "
            "unknown; give y_train, the labels of the training rows."
        )
    by_class = np.asarray(counts)
    if by_class.ndim == 2:  # columns: rows without and with each label
        by_class = by_class[:, 1]
    labels = np.asarray(estimator.classes_)
    labels = labels if labels.ndim == 1 else np.arange(len(by_class))
    return dict(zip(labels.tolist(), by_class.tolist(), strict=True))
