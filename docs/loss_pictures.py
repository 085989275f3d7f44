"""Pictures of the losses: value against what a row, a label or a batch looks like."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
import torch.nn.functional as F  # noqa: N812
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from imbtorch.losses import BaseLoss
from imbtorch.plotting._loss_shape import loss_values

# Okabe and Ito's palette: readers with a colour vision deficiency can distinguish it, too
COLOURS = ("#56B4E9", "#D55E00", "#009E73", "#000000")
WIDTHS = (2.8, 1.8, 1.2, 0.8)  # curves that coincide show as stripes
REFERENCE = {"color": "0.6", "linewidth": 1, "zorder": 1}
STYLE = {
    "svg.fonttype": "none",  # text as text: small, and can be searched
    "svg.hashsalt": "imbtorch",
    "path.simplify_threshold": 0.3,
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
}
METADATA = ("Date", "Creator", "Format", "Type")
TOP = 5.0  # of the axis of per-row losses, the same for all
LOG_ODDS = torch.linspace(-6.5, 6.5, 261, dtype=torch.float64)
N_POSITIVES, N_NEGATIVES = 4, 16
CLASS_COUNTS = (95, 5)
LABEL_COUNTS = ((95, 5), (50, 50))  # rows without and with the label drawn, and another

Lines = dict[str, Tensor]  # values by line style


def draw(cls: type[BaseLoss], kind: str) -> Figure:
    """Draw one loss with each of its settings, and cross-entropy."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.2), facecolor="white")
        axes = figure.add_axes((0.09, 0.15, 0.575, 0.76))
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
        axes.set_title(cls.name, fontsize=11, loc="left")
        KINDS[kind](axes, cls)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a small file that is the same on every run."""
    text = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(text, format="svg", metadata=dict.fromkeys(METADATA))
    small = re.sub(r' (d|x|y|transform)="[^"]+"', _rounded, text.getvalue())
    small = re.sub(r"\nL ", " ", small)  # what follows M is a line to, with or without the L
    path.write_text(re.sub(r"\s*\n\s*", "\n", small), "utf-8")


def _rounded(attribute: re.Match[str]) -> str:
    return re.sub(r"\d+\.\d\d+", lambda number: f"{float(number[0]):.1f}", attribute[0])


def settings(cls: type[BaseLoss]) -> list[tuple[str, BaseLoss]]:
    """Return each setting of the common tests with its description, defaults first."""
    sweep = sorted(cls._test_params, key=len)
    return [(_described(params), cls(**params, reduction="none")) for params in sweep]


def _described(params: dict[str, Any]) -> str:
    return "\n".join(f"{name}={value}" for name, value in params.items()) or "defaults"


def _plot(
    axes: Axes,
    x: Tensor,
    reference: Lines,
    found: dict[str, Lines],
    styles: dict[str, str],
    **more: Any,
) -> None:
    """Draw a colour per setting and a line style per case; name them beside the axes."""
    for line, values in reference.items():
        axes.plot(x, values, linestyle=line, **REFERENCE, **more)
    by_curves: list[tuple[list[str], Lines]] = []
    for label, lines in found.items():
        same = (labels for labels, other in by_curves if _equal(lines, other))
        labels = next(same, None)
        if labels is None:
            by_curves.append(([label], lines))
        else:
            labels.append(label)
    several = False
    handles = []
    for (labels, lines), colour, width in zip(by_curves, COLOURS, WIDTHS, strict=False):
        drawn: list[Tensor] = []
        for line, values in lines.items():
            if not any(torch.allclose(values, other) for other in drawn):
                axes.plot(x, values, color=colour, linestyle=line, linewidth=width, **more)
                drawn.append(values)
        several |= len(drawn) > 1
        handles.append(Line2D([], [], color=colour, linewidth=width, label=" or\n".join(labels)))
    handles.append(Line2D([], [], label="cross-entropy", **REFERENCE))
    if several:
        handles += [Line2D([], [], color="0.3", linestyle=s, label=t) for t, s in styles.items()]
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.03), fontsize=9, frameon=False
    )


def _equal(one: Lines, other: Lines) -> bool:
    return all(torch.allclose(one[line], other[line]) for line in one)


def draw_row(axes: Axes, cls: type[BaseLoss]) -> None:
    p = torch.sigmoid(LOG_ODDS)
    found = {}
    for label, loss in settings(cls):
        loss.prepare(CLASS_COUNTS)
        rare, common = (torch.as_tensor(loss_values(loss, p.numpy(), i)[0]) for i in (1, 0))
        found[label] = {"-": rare, "--": common}
    styles = {"true class rare": "-", "true class common": "--"}
    _plot(axes, p, {"-": -torch.log(p)}, found, styles)
    axes.set(xlim=(0, 1), ylim=(-0.04, TOP), ylabel="loss", xlabel="probability of the true class")


def draw_label(axes: Axes, cls: type[BaseLoss]) -> None:
    p = torch.sigmoid(LOG_ODDS)
    logits = torch.stack([LOG_ODDS, torch.zeros_like(p)], dim=1)
    labels = {"-": torch.ones(len(p), 2), "--": torch.tensor([0.0, 1.0]).expand(len(p), 2)}
    found = {}
    for label, loss in settings(cls):
        loss.prepare(LABEL_COUNTS)
        found[label] = {line: loss(logits, given)[:, 0] for line, given in labels.items()}
    styles = {"row has the label": "-", "row lacks it": "--"}
    _plot(axes, p, {"-": -torch.log(p), "--": -torch.log1p(-p)}, found, styles)
    axes.set(xlim=(0, 1), ylim=(-0.04, TOP), ylabel="loss", xlabel="probability of the label")


def draw_ordered(axes: Axes, cls: type[BaseLoss]) -> None:
    n_classes = 5
    proba = torch.full((n_classes, n_classes), 0.1 / (n_classes - 1), dtype=torch.float64)
    log_p = proba.fill_diagonal_(0.9).log()
    target = torch.zeros(n_classes, dtype=torch.long)
    x = torch.arange(n_classes)
    found = {label: {"-": loss(log_p, target)} for label, loss in settings(cls)}
    _plot(axes, x, {"-": -log_p[:, 0]}, found, {}, marker="o", markersize=5)
    axes.set(ylim=(0, None), ylabel="loss", xticks=x.tolist())
    axes.set_xlabel("distance of the confident prediction")


def draw_batch(axes: Axes, cls: type[BaseLoss]) -> None:
    generator = torch.Generator().manual_seed(0)
    n = N_POSITIVES + N_NEGATIVES
    scores = torch.randn(n, 1, generator=generator, dtype=torch.float64) - 1
    target = (torch.arange(n) < N_POSITIVES).to(scores.dtype).unsqueeze(1)
    shifts = torch.linspace(-4, 8, 121, dtype=torch.float64)
    batches = [scores + shift * target for shift in shifts]
    found = {}
    for label, loss in settings(cls):
        loss.eval()  # so that it does not keep the scores of one point for the next
        found[label] = {"-": torch.cat([loss(batch, target) for batch in batches])}
    reference = [F.binary_cross_entropy_with_logits(batch, target) for batch in batches]
    _plot(axes, shifts, {"-": torch.stack(reference)}, found, {})
    top = max(float(lines["-"].max()) for lines in found.values())
    axes.set(xlim=(-4, 8), ylim=(-0.008 * top, 1.05 * top), ylabel="loss of the batch")
    axes.set_xlabel("shift of the positives' scores, log-odds")


KINDS = {"row": draw_row, "label": draw_label, "ordered": draw_ordered, "batch": draw_batch}
