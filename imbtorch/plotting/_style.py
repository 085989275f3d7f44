"""Helpers of the displays: axes, and colours and lines that also differ in black and white."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLOURS",
    "LINES",
    "MARKERS",
    "add_grid",
    "decades",
    "as_axes",
    "check_matplotlib",
    "legend_beside",
    "panels",
    "set_logit",
    "style",
]

# Okabe and Ito's palette without yellow, which people with colour vision deficiency can distinguish
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#E69F00", "#56B4E9")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (7, 1, 1, 1, 1, 1)))
WIDTHS = (2.2, 1.9, 1.6, 1.4, 1.2)  # so that both of two equal curves are visible
MARKERS = ("o", "s", "^", "D", "v", "P")


def style(position: int, *, markersize: float = 0) -> dict[str, Any]:
    """Return colour, line and marker of the curve in this position; 35 curves look different."""
    look = {
        "color": COLOURS[position % len(COLOURS)],
        "linestyle": LINES[position % len(LINES)],
        "linewidth": WIDTHS[min(position, len(WIDTHS) - 1)],
    }
    marker = {"marker": MARKERS[position % len(MARKERS)], "markersize": markersize}
    return {**look, **marker} if markersize else look


def check_matplotlib(caller: str) -> None:
    """Raise an ImportError that names the extra, if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} requires matplotlib, which is not installed: pip install 'imbtorch[plot]'."
        ) from error


def panels(
    ax: Any,
    n: int,
    *,
    figsize: tuple[float, float],
    heights: Sequence[float] | None = None,
) -> list[Axes]:
    """Return ``n`` axes, in a new figure or on the user's Axes.

    Parameters
    ----------
    ax : Axes, sequence of Axes or None
        Axes to draw on; None creates a figure. A single Axes is divided if ``n`` is more than 1.
    n : int
        Number of panels.
    figsize : tuple of float
        Size of a new figure in inches.
    heights : sequence of float or None, default=None
        Relative heights of panels one below the other, which share the x axis; None puts them side
        by side.
    """
    if ax is not None:
        given = np.ravel(np.asarray(ax, dtype=object)).tolist()
        if len(given) == n:
            return given
        if len(given) > 1 or given[0].get_subplotspec() is None:
            raise ValueError(
                f"This display has {n} panels, but ax holds {len(given)} Axes; give {n} Axes, or "
                "one Axes from plt.subplots, which is then divided."
            )
        given[0].set_axis_off()
        figure, parent = given[0].figure, given[0].get_subplotspec()
    else:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=figsize, layout="constrained")
        parent = figure.add_gridspec(1, 1)[0]
    if heights is None:
        grid = parent.subgridspec(1, n)
        return [figure.add_subplot(cell) for cell in grid]
    grid = parent.subgridspec(n, 1, height_ratios=heights)
    axes = [figure.add_subplot(grid[0])]
    axes += [figure.add_subplot(grid[i], sharex=axes[0]) for i in range(1, n)]
    for upper in axes[:-1]:
        upper.tick_params(labelbottom=False)
    return axes


def add_grid(ax: Axes, which: Literal["both", "x", "y"] = "both") -> None:
    """Draw a pale grid behind the data."""
    ax.grid(axis=which, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)


def decades(ax: Axes, counts: ArrayLike) -> None:
    """Scale the y axis for counts: logarithmic, with labels only at powers of ten."""
    from matplotlib.ticker import NullFormatter

    values = np.asarray(counts, dtype=np.float64)
    positive = values[values > 0]
    low, high = np.floor(np.log10(positive.min())), np.ceil(np.log10(positive.max()))
    ax.set(yscale="log", ylim=(10**low * 0.7, 10 ** max(high, low + 1) * 1.4))
    ax.yaxis.set_minor_formatter(NullFormatter())


def set_logit(ax: Axes, which: Literal["x", "y"]) -> None:
    """Scale an axis by log-odds, with short labels: 0.01, 0.5, 0.99."""
    from matplotlib.ticker import NullFormatter

    getattr(ax, f"set_{which}scale")("logit")
    axis = ax.xaxis if which == "x" else ax.yaxis

    def label(share: float, _: Any) -> str:
        low, high = axis.get_view_interval()
        decade = round(-np.log10(min(share, 1 - share)))
        if low < 0.001 and high > 0.999 and decade in {2, 4}:
            return ""  # there is no room for all labels
        return f"{share:.6f}".rstrip("0")

    axis.set_major_formatter(label)
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(labelsize="small")


def as_axes(axes: list[Axes]) -> Any:
    """Return the value of a display's ``ax_``: an Axes, or an array of several."""
    return axes[0] if len(axes) == 1 else np.array(axes, dtype=object)


def legend_beside(ax: Axes, title: str | None = None) -> None:
    """Draw the legend beside the axes if the layout makes room for it, else on the axes."""
    figure: Any = ax.figure
    if figure.get_layout_engine() is None:
        place: dict[str, Any] = {"loc": "best"}
    else:
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02), "frameon": False}
    ax.legend(title=title, fontsize="small", title_fontsize="small", **place)
