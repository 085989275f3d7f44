"""The report of an evaluation as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve

from imbtorch._commands.measures import Measures, summary
from imbtorch.compare import _page
from imbtorch.compare._figures import import_figure
from imbtorch.compare._numbers import number

__all__ = ["write"]


def write(path: Path, found: Measures, facts: Mapping[str, str], notes: Sequence[str]) -> None:
    """Write the report.

    Parameters
    ----------
    path : Path
        File to write.
    found : Measures
        What was measured.
    facts : mapping of str to str
        What was measured on what, when and how, by title.
    notes : sequence of str
        What the reader has decided.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    name = escape(str(found.classes[-1]))
    metrics = [(escape(title), number(value, 4)) for title, value in found.metrics.items()]
    caught = [
        (f"{row.budget:,}", f"{row.alarms:,}", f"{row.caught:,}", f"{row.precision:.3f}",
         f"{row.recall:.3f}", f"{row.threshold:.3g}")
        for row in found.caught
    ]  # fmt: skip
    bins = [
        (f"{row.probability:.3g}", f"{row.frequency:.4f}", f"{row.rows:,}") for row in found.bins
    ]
    body = [
        _page.facts(facts),
        f'<p class="advice">{escape(summary(found))}</p>',
        "<h2>Metrics</h2>",
        _page.table(("metric", "value"), metrics),
        "<h2>Within a budget of alarms</h2>",
        _page.table(("budget", "alarms", "caught", "precision", "recall", "threshold"), caught),
        f"<h2>Probability of class {name}, and its frequency</h2>",
        _page.table(("probability", "frequency", "rows"), bins),
        "<h2>Figures</h2>",
        _page.figures(_figures(found)),
        _page.listed("How the table was read", notes),
        _page.listed("What the numbers mean", _LEGEND),
    ]
    path.write_text(_page.page("A model, measured on labelled rows", body), encoding="utf-8")


_LEGEND = (
    "The rows with the highest scores are alarms, as many as the budget allows. Rows of equal "
    "scores are alarms together, or not at all. The threshold is the smallest probability among "
    "the alarms.",
    "Precision is the share of right alarms, recall the share of the class that is among them. "
    "The decisions are the most probable classes, without a budget.",
    "Smaller values of log-loss, Brier score, ECE and alarms are better. All numbers hold for rows "
    "like these; few rows of the class make them uncertain.",
)


def _figures(found: Measures) -> dict[str, Any]:
    """Draw precision against recall, and calibration; return the figures by caption."""
    kind = import_figure()
    said, name = found.said, found.classes[-1]
    scores = said.scores if said.scores.ndim == 1 else said.scores[:, -1]
    precision, recall, _ = precision_recall_curve(said.truth == len(found.classes) - 1, scores)
    curve = kind(figsize=(5.6, 4), layout="constrained")
    axes: Any = curve.subplots()
    axes.step(recall, precision, where="post", color="#0072B2")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(color="0.9")
    calibration = kind(figsize=(5.6, 4), layout="constrained")
    axes = calibration.subplots()
    expected = np.array([row.probability for row in found.bins])
    axes.axline((0, 0), slope=1, color="0.5", linestyle=":")
    axes.plot(expected, [row.frequency for row in found.bins], "o-", color="#0072B2")
    axes.set(xlabel="mean probability", ylabel="share of rows with the class")
    axes.grid(color="0.9")
    return {
        f"Precision against recall of class {name}.": curve,
        f"Calibration of class {name}: rows in ten bins by their probability. On the dotted line "
        "the class is as frequent as the probability says.": calibration,
    }
