"""Figures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import precision_recall_curve

from imbtorch.compare._findings import Findings
from imbtorch.compare._metrics import Predictions
from imbtorch.compare._words import columns_of, finished, metric_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


__all__ = ["draw"]

# Okabe and Ito's palette, which people with colour vision deficiency can distinguish
_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
_STYLES = ("-", "--", ":")
_ONE = ("average_precision", "roc_auc", "balanced_accuracy")
_DECISIONS = ("precision_at_recall_80", "alarms_for_recall_90")


def draw(comparison: Findings) -> dict[str, Figure]:
    """Draw means with error bars, calibration before and after restating, and precision-recall.

    Parameters
    ----------
    comparison : Findings
        Result with at least one finished strategy.

    Returns
    -------
    dict of str to Figure
        Figures by caption.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "a report with figures needs matplotlib: pip install 'imbtorch[compare]'"
        ) from error
    done = finished(comparison.table)
    metrics = [
        name
        for name in columns_of(done, comparison.scoring)
        if name in _ONE or name == comparison.scoring
    ]
    height = 1.2 + 0.32 * len(done)
    means = _side_by_side(done, metrics, comparison.reference)
    decisions = _side_by_side(done, _DECISIONS, comparison.reference)
    calibration = Figure(figsize=(9.5, height), layout="constrained")
    panels = calibration.subplots(1, 2, sharey=True)
    for axes, name in zip(panels, ("brier", "ece"), strict=True):
        _before_and_after(axes, done, name)
    curves = Figure(figsize=(8, 5), layout="constrained")
    _curves(curves.subplots(), comparison)
    return {
        "Means over the folds, with standard errors. The dashed line is the reference; the table "
        "shows the differences to it, and their tests.": means,
        "Decisions on the rarest class: the best precision that catches 80% of it, and how many "
        "of 1,000 rows must be flagged to catch 90% of it (fewer are better).": decisions,
        "Probabilities as trained (hollow), and restated for the class frequencies of the training "
        "data (filled). Smaller is better; the scale is logarithmic.": calibration,
        "Precision against recall of the rarest class, over the test rows of all folds.": curves,
    }


def _side_by_side(done: Any, metrics: Sequence[str], reference: str) -> Figure:
    """Draw the means of some metrics, one panel for each."""
    from matplotlib.figure import Figure

    size = (3.2 * len(metrics) + 1.5, 1.2 + 0.32 * len(done))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, metrics, strict=True):
        _means(axes, done, name, reference)
    return figure


def _rows(axes: Any, names: list[str]) -> np.ndarray[Any, Any]:
    places = np.arange(len(names))
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return places


def _means(axes: Any, done: Any, name: str, reference: str) -> None:
    places = _rows(axes, list(done.index))
    if reference in done.index:
        axes.axvline(done.loc[reference, name], color="0.4", linestyle="--", linewidth=1)
    axes.errorbar(
        done[name],
        places,
        xerr=done[f"{name}_se"],
        fmt="o",
        color="#0072B2",
        capsize=3,
        elinewidth=1,
    )
    axes.set_xlabel(metric_of(name).title)


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
        truth, score = _pooled(folds)
        precision, recall, _ = precision_recall_curve(truth, score)
        axes.step(
            recall,
            precision,
            where="post",
            color=_COLOURS[place % len(_COLOURS)],
            linestyle=_STYLES[place // len(_COLOURS) % len(_STYLES)],
            linewidth=3 - 2 * place / len(comparison.predictions),  # shows equal curves
            label=name,
        )
    axes.axhline(truth.mean(), color="0.5", linewidth=1, linestyle=":", label="chance")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(color="0.9")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))


def _pooled(folds: list[Predictions]) -> tuple[Any, Any]:
    """Return which rows have the rarest class, and the rank of their scores within the fold."""
    truth = np.concatenate([said.truth == said.proba.shape[1] - 1 for said in folds])
    scores = [said.scores if said.scores.ndim == 1 else said.scores[:, -1] for said in folds]
    return truth, np.concatenate([rankdata(s) / len(s) for s in scores])
