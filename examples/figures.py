"""Figures of the comparison, over the test rows of all folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gallery import COLOURS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    balanced_accuracy_score,
    confusion_matrix,
)

WIDTHS = (5.0, 4.0, 3.2, 2.4, 1.7, 1.0)  # so that curves that coincide show as stripes
FEW = 4  # with more classes than this the matrices are drawn denser

Predictions = Mapping[str, Sequence[Any]]  # StrategyComparison.predictions


def precision_recall(
    title: str, labels: list[str], predictions: Predictions, figure: Figure | None = None
) -> Figure:
    """Draw precision against recall of the rarest class, one curve per strategy.

    Parameters
    ----------
    title : str
        Title of the figure.
    labels : list of str
        Names of the classes, the rarest one last.
    predictions : dict of list
        What each strategy predicts on each fold: ``StrategyComparison.predictions``.
    figure : Figure or None
        The figure to draw on; None makes one that belongs to no window.
    """
    figure = _sized(figure, (6, 5.6))
    axes = figure.subplots()
    for (name, folds), colour, width in zip(predictions.items(), COLOURS, WIDTHS, strict=False):
        is_rare = np.concatenate([fold.truth for fold in folds]) == len(labels) - 1
        score = np.concatenate([_rare_scores(fold.scores) for fold in folds])
        display = PrecisionRecallDisplay.from_predictions(is_rare, score, ax=axes, name=name)
        display.line_.set(color=colour, linewidth=width)
    share = float(is_rare.mean())
    axes.axhline(share, color="0.5", linewidth=1, linestyle=":", label=f"chance ({share:.2f})")
    axes.set(xlabel=f"recall of class {labels[-1]}", ylabel=f"precision of class {labels[-1]}")
    axes.grid(color="0.9")
    axes.legend(fontsize=9, loc="best")
    axes.set_title(title, fontsize=11)
    return figure


def confusion_matrices(
    title: str, labels: list[str], predictions: Predictions, figure: Figure | None = None
) -> Figure:
    """Draw one confusion matrix per strategy, in per cent of the true class.

    Parameters
    ----------
    title : str
        Title of the figure.
    labels : list of str
        Names of the classes.
    predictions : dict of list
        What each strategy predicts on each fold: ``StrategyComparison.predictions``.
    figure : Figure or None
        The figure to draw on; None makes one that belongs to no window.
    """
    side, n_columns = (2.6 if len(labels) <= FEW else 3.4), 3
    n_lines = -(-len(predictions) // n_columns)
    size = (n_columns * side + 1.2, n_lines * (side + 0.4) + 0.5)
    figure = _sized(figure, size)
    panels = figure.subplots(n_lines, n_columns, squeeze=False, sharex=True, sharey=True)
    for (name, folds), axes in zip(predictions.items(), panels.flat, strict=False):
        truth = np.concatenate([fold.truth for fold in folds])
        predicted = np.concatenate([fold.predicted for fold in folds])
        matrix = confusion_matrix(truth, predicted, normalize="true")
        image = _draw_matrix(axes, 100 * matrix, labels)
        recall = np.mean([balanced_accuracy_score(f.truth, f.predicted) for f in folds])
        axes.set_title(f"{name}\nbalanced accuracy {recall:.3f}", fontsize=10)
    for axes in panels.flat[len(predictions) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("true class")
    for axes in panels[-1]:
        axes.set_xlabel("predicted class")
    figure.colorbar(image, ax=panels, label="% of the true class", shrink=0.6)
    figure.suptitle(title, fontsize=11)
    return figure


def _rare_scores(scores: NDArray[Any]) -> NDArray[Any]:
    """Take the scores of the rarest class; of two classes there are no others."""
    return scores if scores.ndim == 1 else scores[:, -1]


def _sized(figure: Figure | None, size: tuple[float, float]) -> Figure:
    figure = Figure() if figure is None else figure
    figure.set_layout_engine("constrained")
    figure.set_size_inches(size)
    return figure


def _draw_matrix(axes: Axes, per_cent: NDArray[Any], labels: list[str]) -> Any:
    few = len(labels) <= FEW
    display = ConfusionMatrixDisplay(per_cent, display_labels=labels).plot(
        ax=axes,
        cmap="cividis",
        colorbar=False,
        values_format=".1f" if few else ".0f",
        im_kw={"vmin": 0, "vmax": 100},
        text_kw={"fontsize": 11 if few else 7},
    )
    for text, value in zip(display.text_.flat, per_cent.flat, strict=True):
        text.set_visible(few or value >= 0.5)
    axes.set(xlabel="", ylabel="")  # the panels share the labels of the figure's edge
    axes.grid(visible=False)
    return display.im_
