"""Figures of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import precision_recall_curve

from imbtorch.compare._alarms import out_of_fold, weights_of
from imbtorch.compare._findings import Findings
from imbtorch.compare._words import finished, heading_of, metric_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


__all__ = ["draw", "import_figure"]

# Okabe and Ito's palette, which people with colour vision deficiency can distinguish
_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
_STYLES = ("-", "--", ":")
_WIDTH = 5.6  # inches, so that a panel is readable on a phone, too


def import_figure() -> type[Figure]:
    """Import the figure class of matplotlib.

    Raises
    ------
    ImportError
        If matplotlib is not installed; the message names the extra.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "a report with figures needs matplotlib: pip install 'imbtorch[compare]'"
        ) from error
    return Figure


def draw(comparison: Findings) -> dict[str, Figure]:
    """Draw the metric that decides, differences, decisions and calibration, one panel for each.

    Parameters
    ----------
    comparison : Findings
        Result with at least one finished strategy.

    Returns
    -------
    dict of str to Figure
        Figures by caption, all of the same width.
    """
    kind = import_figure()
    done, scoring = finished(comparison.table), comparison.scoring
    title = metric_of(scoring).title
    panels: dict[str, Callable[[Any], None]] = {
        f"{heading_of(scoring)} of each fold (small dots) and their mean (large dots).": (
            lambda axes: _folds(axes, done, comparison)
        )
    }
    if done["difference_low"].notna().any():
        panels[
            f"Mean difference to {comparison.reference} in {title}, with 95% confidence intervals "
            "of the corrected resampled t-test. Right of the line a strategy is better."
        ] = lambda axes: _differences(axes, done, title)
    for name, word in (("brier", "Brier score"), ("ece", "ECE")):
        panels[
            f"{word} of probabilities as trained (circles), and restated for the class frequencies "
            "of the training data (dots). Smaller is better; the scale is logarithmic."
        ] = partial(_before_and_after, done=done, name=name)
    height = 1.1 + 0.3 * len(done)
    drawn = {caption: _panel(kind, height, plot) for caption, plot in panels.items()}
    if comparison.predictions:
        caption = (
            "Precision against recall of the rarest class, over the test rows of all folds: the "
            "thresholds of the table of decisions are points of these curves."
        )
        height = 4.2 + 0.12 * len(done)
        drawn[caption] = _panel(kind, height, lambda axes: _curves(axes, comparison))
    return drawn


def _panel(kind: type[Figure], height: float, plot: Callable[[Any], None]) -> Figure:
    figure = kind(figsize=(_WIDTH, height), layout="constrained")
    plot(figure.subplots())
    return figure


def _plain(name: str) -> str:
    """Return a name that matplotlib shows as it is, and does not read as a formula."""
    return name.replace("$", r"\$")


def _rows(axes: Any, names: list[str]) -> np.ndarray[Any, Any]:
    places = np.arange(len(names))
    axes.set_yticks(places, [_plain(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return places


def _folds(axes: Any, done: Any, comparison: Findings) -> None:
    """Draw the metric of each fold and its mean."""
    name, folds = comparison.scoring, comparison.folds
    places = _rows(axes, list(done.index))
    if comparison.reference in done.index:
        axes.axvline(done.loc[comparison.reference, name], color="0.4", linestyle="--", linewidth=1)
    for place, strategy in zip(places, done.index, strict=True):
        values = folds.loc[folds["strategy"] == strategy, name]
        axes.plot(values, [place] * len(values), "o", color="#0072B2", markersize=3, alpha=0.5)
    axes.plot(done[name], places, "o", color="#0072B2", markersize=7)
    axes.set_xlabel(metric_of(name).title)


def _differences(axes: Any, done: Any, title: str) -> None:
    """Draw the differences to the reference with their intervals."""
    rows = done[done["difference_low"].notna()]
    places = _rows(axes, list(rows.index))
    mean, low, high = (rows[f"difference{end}"].to_numpy() for end in ("", "_low", "_high"))
    axes.axvline(0, color="0.4", linestyle="--", linewidth=1)
    axes.errorbar(
        mean,
        places,
        xerr=np.stack([mean - low, high - mean]),
        fmt="o",
        color="#0072B2",
        capsize=3,
        elinewidth=1,
    )
    axes.set_xlabel(f"difference in {title}")


def _before_and_after(axes: Any, done: Any, name: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    places = _rows(axes, list(done.index))
    before, after = done[name].to_numpy(), done[f"{name}_train_prior"].to_numpy()
    axes.hlines(places, before, after, color="0.6", linewidth=1)
    axes.plot(before, places, "o", markerfacecolor="none", color="#D55E00", label="as trained")
    axes.plot(after, places, "o", markersize=4, color="#0072B2", label="train prior")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())  # whose labels would lie upon each other
    axes.set_xlabel(metric_of(name).title.split(",")[0])
    axes.legend(fontsize=8)


def _curves(axes: Any, comparison: Findings) -> None:
    for place, (name, folds) in enumerate(comparison.predictions.items()):
        is_rare, probability = out_of_fold(folds)
        weights = weights_of(folds)
        precision, recall, _ = precision_recall_curve(is_rare, probability, sample_weight=weights)
        axes.step(
            recall,
            precision,
            where="post",
            color=_COLOURS[place % len(_COLOURS)],
            linestyle=_STYLES[place // len(_COLOURS) % len(_STYLES)],
            linewidth=3 - 2 * place / len(comparison.predictions),  # shows equal curves
            label=_plain(name),
        )
    share = np.average(is_rare, weights=weights)
    axes.axhline(share, color="0.5", linewidth=1, linestyle=":", label="chance")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(color="0.9")
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
