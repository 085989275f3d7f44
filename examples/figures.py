"""Figures of the comparison."""

from __future__ import annotations

from typing import Any

from evaluation import Outcome
from gallery import COLOURS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, confusion_matrix

WIDTHS = (5.0, 4.0, 3.2, 2.4, 1.7, 1.0)  # curves that coincide show as stripes
FEW = 4  # classes: above that the matrices are drawn denser


def precision_recall(
    title: str, labels: list[str], pooled: dict[str, Outcome], figure: Figure | None = None
) -> Figure:
    """Draw precision against recall of the rarest class, one curve per strategy.

    Parameters
    ----------
    title : str
        Title of the figure.
    labels : list of str
        Names of the classes, the rarest one last.
    pooled : dict of Outcome
        The test rows of all folds, by strategy.
    figure : Figure or None
        What to draw on; None makes one that belongs to no window.
    """
    figure = _sized(figure, (6, 5.6))
    axes = figure.subplots()
    for (name, outcome), colour, width in zip(pooled.items(), COLOURS, WIDTHS, strict=False):
        is_rare = outcome.truth == len(labels) - 1
        display = PrecisionRecallDisplay.from_predictions(
            is_rare, outcome.score, ax=axes, name=name
        )
        display.line_.set(color=colour, linewidth=width)
    share = float(is_rare.mean())
    axes.axhline(share, color="0.5", linewidth=1, linestyle=":", label=f"chance ({share:.2f})")
    axes.set(xlabel=f"recall of class {labels[-1]}", ylabel=f"precision of class {labels[-1]}")
    axes.grid(color="0.9")
    axes.legend(fontsize=9, loc="lower left")
    axes.set_title(title, fontsize=11)
    return figure


def confusion_matrices(
    title: str, labels: list[str], pooled: dict[str, Outcome], figure: Figure | None = None
) -> Figure:
    """Draw one confusion matrix per strategy, in per cent of the true class.

    Parameters
    ----------
    title : str
        Title of the figure.
    labels : list of str
        Names of the classes.
    pooled : dict of Outcome
        The test rows of all folds, by strategy.
    figure : Figure or None
        What to draw on; None makes one that belongs to no window.
    """
    side, n_columns = (2.6 if len(labels) <= FEW else 3.4), 3
    n_lines = -(-len(pooled) // n_columns)
    size = (n_columns * side + 1.2, n_lines * (side + 0.4) + 0.5)
    figure = _sized(figure, size)
    panels = figure.subplots(n_lines, n_columns, squeeze=False, sharex=True, sharey=True)
    for (name, outcome), axes in zip(pooled.items(), panels.flat, strict=True):
        matrix = confusion_matrix(outcome.truth, outcome.predicted, normalize="true")
        image = _draw_matrix(axes, 100 * matrix, labels)
        mean = outcome.measures["balanced_accuracy"]
        axes.set_title(f"{name}\nbalanced accuracy {mean:.3f}", fontsize=10)
    for axes in panels[:, 0]:
        axes.set_ylabel("true class")
    for axes in panels[-1]:
        axes.set_xlabel("predicted class")
    figure.colorbar(image, ax=panels, label="% of the true class", shrink=0.6)
    figure.suptitle(title, fontsize=11)
    return figure


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
    axes.set(xlabel="", ylabel="")  # all panels share theirs
    axes.grid(visible=False)
    return display.im_
