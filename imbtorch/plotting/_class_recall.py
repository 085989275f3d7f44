"""Recall of each class, in the order of how often it occurs in training."""

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
_MOST_NAMES = 30  # classes; above that ticks are ranks


class ClassRecallDisplay:
    """Recall of each class, the most frequent one in training first.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Labels, by falling number of training rows.
    counts : ndarray of shape (n_classes,)
        Training rows.
    recalls : dict of str to ndarray of shape (n_classes,)
        Recalls by name.
    thresholds : pair of numbers, default=(20, 100)
        "few" training rows are less than the first, "many" more than the second.

    Attributes
    ----------
    lines_ : dict of str to Line2D
        Recalls by name.
    bars_ : BarContainer
        Training rows.
    bands_ : dict of str to Polygon
        The shaded groups that have classes: ``"many"``, ``"medium"``, ``"few"``.
    ax_ : ndarray of Axes, shape (2,)
        Recalls, and training rows.
    figure_ : Figure
        Where they lie.

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
            Fitted.
        X : array-like of shape (n_samples, ...)
            Features of rows that it was not trained on.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Their labels.
        y_train : array-like, mapping of label to count, or None, default=None
            Labels of the training rows, or how many there are. None takes ``class_counts_`` of a
            net of this package.
        thresholds : pair of numbers, default=(20, 100)
            "few" training rows are less than the first, "many" more than the second.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0 of the rows.
        name : str or None, default=None
            Name of the curve; None is the class of the estimator.
        ax : Axes, two Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        ClassRecallDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If nothing tells how many training rows the classes have, or an argument is invalid.
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
            True labels; with several labels a row, 0 and 1. Classes that do not occur are left out.
        y_pred : array-like of the shape of ``y_true``, or mapping of str to such
            Predicted labels; several by name.
        y_train : array-like, or mapping of label to count
            Labels of the training rows, or how many there are; with several labels a row, their
            matrix, or a mapping of the position of a label to its rows.
        thresholds : pair of numbers, default=(20, 100)
            "few" training rows are less than the first, "many" more than the second.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights >= 0 of the rows.
        ax : Axes, two Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        ClassRecallDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If lengths differ, labels are of different kinds, or the thresholds are no ascending
            pair.
        """
        check_matplotlib(f"{cls.__name__}.from_predictions")
        named = y_pred if isinstance(y_pred, Mapping) else {"recall": y_pred}
        if not named:
            raise ValueError("y_pred is empty; give predictions, or a mapping of name to them.")
        recalls = {}
        for name, predicted in named.items():
            classes, recalls[str(name)] = _recalls(y_true, predicted, sample_weight)
        if _is_matrix(y_train):
            y_train = dict(enumerate(_dense(y_train).sum(axis=0).tolist()))
        counts = training_rows(y_train, classes)
        frequency_groups(counts, thresholds)  # complains before anything is drawn
        order = np.argsort(-counts, kind="stable")
        by_name = {name: values[order] for name, values in recalls.items()}
        return cls(classes[order], counts[order], by_name, thresholds=thresholds).plot(ax=ax)

    def plot(self, ax: Any = None) -> ClassRecallDisplay:
        """Draw the recalls, and the training rows below them.

        Parameters
        ----------
        ax : Axes, two Axes or None, default=None
            Where to draw: two Axes, or one that is divided; None makes a figure.

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
            if not few:  # a line would be a thicket
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
        """Shade the groups, and name them above the recalls with the mean of each curve."""
        bands: dict[str, Any] = {}
        for name, members in frequency_groups(self.counts, self.thresholds).items():
            ranks = np.flatnonzero(members)
            if not ranks.size:
                continue
            low, high = ranks[0] - 0.5, ranks[-1] + 0.5
            shade: dict[str, Any] = {"color": _SHADES[name], "zorder": 0, "linewidth": 0}
            bands[name], _ = (panel.axvspan(low, high, **shade) for panel in axes)
            means = [f"{recall[members].mean():.2f}" for recall in self.recalls.values()]
            means = [mean.removeprefix("0") for mean in means]  # the names of groups are close
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
            f"{type(estimator).__name__} does not tell how many training rows the classes have; "
            "give y_train, their labels."
        )
    by_class = np.asarray(counts)
    if by_class.ndim == 2:  # of each label, rows without and with it
        by_class = by_class[:, 1]
    labels = np.asarray(estimator.classes_)
    labels = labels if labels.ndim == 1 else np.arange(len(by_class))
    return dict(zip(labels.tolist(), by_class.tolist(), strict=True))
