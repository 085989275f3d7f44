"""The report of an evaluation as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve

from imbtorch._commands.measures import Measures, summary
from imbtorch.compare._page import listed, page, picture

__all__ = ["write"]


def write(path: Path, found: Measures, files: Sequence[str], notes: Sequence[str]) -> None:
    """Write the report.

    Parameters
    ----------
    path : Path
        File to write.
    found : Measures
        What was measured.
    files : sequence of str
        Names of the model and of the file.
    notes : sequence of str
        What the reader has decided.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    metrics = [(escape(title), f"{value:.4f}") for title, value in found.metrics.items()]
    caught = [
        (f"{row.budget:,}", f"{row.alarms:,}", f"{row.caught:,}", f"{row.precision:.3f}",
         f"{row.recall:.3f}")
        for row in found.caught
    ]  # fmt: skip
    body = [
        f"<p>{escape(' on '.join(files))}: {escape(summary(found))}</p>",
        _table(("metric", "value"), metrics),
        "<h2>Within a budget of alarms</h2>",
        _table(("budget", "alarms", "caught", "precision", "recall"), caught),
        *_pictures(found),
        listed(notes),
    ]
    path.write_text(page("A model, measured on labelled rows", body), encoding="utf-8")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{name}</th>" for name in head)
    lines = "".join(
        f"<tr><th>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>'
        "</div>"
    )


def _pictures(found: Measures) -> list[str]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "a report with figures needs matplotlib: pip install 'imbtorch[compare]'"
        ) from error
    said, name = found.said, found.classes[-1]
    scores = said.scores if said.scores.ndim == 1 else said.scores[:, -1]
    precision, recall, _ = precision_recall_curve(said.truth == len(found.classes) - 1, scores)
    curve = Figure(figsize=(6, 4), layout="constrained")
    axes: Any = curve.subplots()
    axes.step(recall, precision, where="post", color="#0072B2")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(color="0.9")
    calibration = Figure(figsize=(6, 4), layout="constrained")
    axes = calibration.subplots()
    expected = np.array([row.probability for row in found.bins])
    axes.axline((0, 0), slope=1, color="0.5", linestyle=":")
    axes.plot(expected, [row.frequency for row in found.bins], "o-", color="#0072B2")
    axes.set(xlabel="mean probability", ylabel="share of rows with the class")
    axes.grid(color="0.9")
    return [
        picture(curve, f"Precision against recall of class {name}."),
        picture(
            calibration,
            f"Calibration of class {name}: rows in ten bins by their probability. On the dotted "
            "line the class is as frequent as the probability says.",
        ),
    ]
