"""Write the tables and figures of the study, from its CSV file into its page::

    python benchmarks/study_page.py

Ranks are taken within a data set at one ratio, then averaged over its ratios, so that a data set
counts once; remedies whose mean ranks differ by less than Nemenyi's critical difference are joined.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import friedmanchisquare, studentized_range, wilcoxon
from study import KEYS, REMEDIES, RESULTS

from imbtorch.compare._statistics import holm

ROOT = Path(__file__).resolve().parents[1]
PAGE, IMAGES = ROOT / "docs" / "study.md", ROOT / "docs" / "images"
BEGIN, END = "<!-- from the results: begin -->", "<!-- from the results: end -->"
REFERENCE = "cross-entropy"
SHOWN = {  # column: title, whether greater (+1), smaller (-1) or neither (0) is better, decimals
    "average_precision": ("average precision", 1, 3),
    "roc_auc": ("ROC AUC", 1, 3),
    "precision_at_recall_80": ("precision at recall 0.8", 1, 3),
    "alarms_for_recall_90": ("alarms per 1,000 rows for recall 0.9", -1, 1),
    "balanced_accuracy": ("balanced accuracy", 1, 3),
    "brier": ("Brier, as trained", -1, 4),
    "brier_train_prior": ("Brier, train prior", -1, 4),
    "ece": ("ECE, as trained", -1, 4),
    "ece_train_prior": ("ECE, train prior", -1, 4),
    "epochs": ("epochs", 0, 0),
    "seconds": ("seconds", -1, 2),
}


def read(path: Path) -> pd.DataFrame:
    """Read results, and keep the tasks (data set, ratio, seed) that all remedies finished."""
    results = pd.read_csv(path, dtype={"ratio": str})
    results = results[results["remedy"].isin(list(REMEDIES))]
    for error in results["error"].dropna().unique():
        print(f"a cell failed: {error}")
    results = results[results["error"].isna()].drop_duplicates(list(KEYS))
    task = results.groupby(["data", "ratio", "seed"])["remedy"]
    return results[task.transform("nunique") == results["remedy"].nunique()]


def by_task(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return means over the seeds: one row per data set and ratio, one column per remedy."""
    return results.pivot_table(index=["data", "ratio"], columns="remedy", values=metric, sort=False)


def mean_ranks(table: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Return ranks, of which 1 is the best, averaged over the ratios of each data set."""
    return (-sign * table).rank(axis=1).groupby(level="data", sort=False).mean()


def critical_difference(n_remedies: int, n_data: int) -> float:
    """Return Nemenyi's critical difference of mean ranks at 5% [Demsar 2006, JMLR 7]."""
    q = studentized_range.ppf(0.95, n_remedies, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_remedies * (n_remedies + 1) / (6 * n_data)))


def groups(ranks: pd.Series, width: float) -> list[tuple[float, float]]:
    """Return the longest runs of sorted mean ranks within the critical difference."""
    values = np.sort(ranks.to_numpy())
    runs: list[tuple[float, float]] = []
    for start in values:
        end = values[values <= start + width][-1]
        if end > start and (not runs or end > runs[-1][1]):
            runs.append((float(start), float(end)))
    return runs


def diagram(axes: Any, ranks: pd.Series, width: float, title: str) -> None:
    """Draw mean ranks on a line, and bars that join ranks without a clear difference.

    Parameters
    ----------
    axes : Axes
        Axes to draw on.
    ranks : Series
        Mean rank by remedy.
    width : float
        The critical difference.
    title : str
        Name of the metric.
    """
    ranks, n = ranks.sort_values(), len(ranks)
    low, high = 1, n
    half, runs = (n + 1) // 2, groups(ranks, width)
    depth = 1 + 0.35 * len(runs)
    for place, (name, rank) in enumerate(ranks.items()):
        left = place < half
        level = depth + (place if left else n - 1 - place)
        edge = low - 0.3 if left else high + 0.3
        axes.plot([rank, rank, edge], [0, level, level], color="0.3", linewidth=0.8)
        axes.text(
            edge, level, f" {name} ({rank:.1f}) ", ha="right" if left else "left", va="center",
            fontsize=9,
        )  # fmt: skip
    for row, (start, end) in enumerate(runs):
        level = 0.5 + 0.35 * row
        axes.plot([start - 0.05, end + 0.05], [level, level], color="#0072B2", linewidth=3)
    axes.plot([low, high], [0, 0], color="black")
    for tick in range(low, high + 1):
        axes.plot([tick, tick], [0, -0.2], color="black", linewidth=0.8)
        axes.text(tick, -0.35, str(tick), ha="center", va="bottom", fontsize=8)
    axes.plot([low, low + width], [-1.5, -1.5], color="#D55E00", linewidth=2)
    axes.text(low + width + 0.1, -1.5, f"critical difference {width:.1f}", va="center", fontsize=8)
    axes.set_title(f"mean rank in {title}", fontsize=10)
    axes.set(xlim=(low - 5.5, high + 5.5), ylim=(depth + half, -2))
    axes.axis("off")


def draw_ranks(results: pd.DataFrame) -> Figure:
    """Draw the critical-difference diagrams of three metrics."""
    metrics = ("average_precision", "balanced_accuracy", "best_brier")
    titles = ("average precision", "balanced accuracy", "Brier score, train prior")
    figure = Figure(figsize=(10, 10), layout="constrained")
    for axes, metric, title in zip(figure.subplots(3), metrics, titles, strict=True):
        sign = -1 if metric == "best_brier" else 1
        ranks = mean_ranks(by_task(results, metric), sign)
        diagram(axes, ranks.mean(), critical_difference(ranks.shape[1], len(ranks)), title)
    return figure


def draw_gains(results: pd.DataFrame) -> Figure:
    """Draw the differences to the reference, one point per data set and ratio."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    names = [name for name in REMEDIES if name != REFERENCE]
    for axes, metric in zip(
        figure.subplots(1, 2, sharey=True), ("average_precision", "balanced_accuracy"), strict=True
    ):
        table = by_task(results, metric)
        for place, name in enumerate(names):
            gain = table[name] - table[REFERENCE]
            spread = np.linspace(-0.2, 0.2, len(gain))
            axes.plot(gain, place + spread, "o", markersize=3.5, color="#0072B2", alpha=0.6)
            axes.plot([gain.median()] * 2, [place - 0.35, place + 0.35], color="#D55E00", lw=2)
        axes.axvline(0, color="black", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(f"{SHOWN[metric][0]}, minus that of {REFERENCE}")
        axes.locator_params(axis="x", nbins=6)  # labels of negative numbers are wide
        axes.grid(axis="x", color="0.9")
    return figure


def means_table(results: pd.DataFrame) -> str:
    """Return a table of the means over all tasks, in Markdown."""
    means = results.groupby(["data", "ratio", "remedy"])[list(SHOWN)].mean()
    means = means.groupby("remedy").mean()
    order = means["average_precision"].sort_values(ascending=False).index
    lines = [
        "| | " + " | ".join(title for title, *_ in SHOWN.values()) + " |",
        "|---" * (len(SHOWN) + 1) + "|",
    ]
    best = {key: (sign * means[key]).max() for key, (_, sign, _) in SHOWN.items()}
    for name in order:
        cells = []
        for key, (_, sign, decimals) in SHOWN.items():
            value = means.loc[name, key]
            text = "–" if np.isnan(value) else f"{value:.{decimals}f}"
            is_best = bool(sign) and sign * value == best[key]
            cells.append(f"**{text}**" if is_best else text)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def against_reference(results: pd.DataFrame) -> str:
    """Return a table of wins and losses against the reference, with Wilcoxon's test."""
    metrics = ("average_precision", "roc_auc", "balanced_accuracy", "best_brier")
    titles = ("average precision", "ROC AUC", "balanced accuracy", "Brier score, train prior")
    names = [name for name in REMEDIES if name != REFERENCE]
    columns = []
    for metric in metrics:
        sign = -1 if metric == "best_brier" else 1
        table = sign * by_task(results, metric)
        gains = table.sub(table[REFERENCE], axis=0).round(6)
        by_data = gains.groupby(level="data").mean()
        p_values = holm([_wilcoxon(by_data[name]) for name in names])
        columns.append(
            [
                f"{gains[name].median():+.3f}, {(gains[name] > 0).sum()}:{(gains[name] < 0).sum()}"
                f"{' *' if p < 0.05 else ''}"
                for name, p in zip(names, p_values, strict=True)
            ]
        )
    lines = ["| | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(cells) + " |"
        for name, *cells in zip(names, *columns, strict=True)
    ]
    return "\n".join(lines)


def _wilcoxon(gains: pd.Series) -> float:
    return 1.0 if (gains == 0).all() else float(wilcoxon(gains).pvalue)


def per_task(results: pd.DataFrame) -> str:
    """Return a table of the average precision of each data set and ratio."""
    table = by_task(results, "average_precision")[[n for n in REMEDIES if n in set(results.remedy)]]
    sizes = results.groupby(["data", "ratio"], sort=False)[["rows", "rarest"]].first()
    lines = ["| data set | ratio | rows | rarest | " + " | ".join(table.columns) + " |"]
    lines.append("|---" * (4 + table.shape[1]) + "|")
    for (data, ratio), row in table.iterrows():
        n, rarest = sizes.loc[(data, ratio)].astype(int)
        cells = [f"**{v:.3f}**" if v == row.max() else f"{v:.3f}" for v in row]
        ratio = ratio.removesuffix(".0")
        lines.append(f"| {data} | {ratio} | {n:,} | {rarest} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def text(results: pd.DataFrame) -> str:
    """Return the text between the markers of the page."""
    ranks = mean_ranks(by_task(results, "average_precision"), 1)
    p = friedmanchisquare(*ranks.to_numpy().T).pvalue if len(ranks) > 1 else np.nan
    tasks = results.groupby(["data", "ratio", "seed"]).ngroups
    seeds = results.groupby(["data", "ratio"])["seed"].nunique()
    spread = f"{seeds.min()} to {seeds.max()}" if seeds.min() < seeds.max() else f"{seeds.min()}"
    return f"""\
{ranks.shape[1]} remedies on {len(ranks)} data sets, {len(seeds)} with their ratios, {spread} seeds
each: {tasks} tasks, {len(results)} cross-validations.

Means over data sets and ratios:

{means_table(results)}

Against {REFERENCE}: median difference (positive is better), and on how many data sets and ratios
it was better : worse. A star: Wilcoxon's test over the data sets, p < 0.05 after Holm's adjustment.

{against_reference(results)}

![critical differences](images/study_ranks.png)

Friedman's test of equal ranks in average precision over the data sets: p = {p:.2g}.

![gains](images/study_gains.png)

Average precision, data set by data set:

{per_task(results)}
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Write figures and tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE, help="page that has the two markers")
    parser.add_argument("--images", type=Path, default=IMAGES)
    args = parser.parse_args(argv)
    results = read(args.results)
    # the best that needs no refitting: as trained, where the prior cannot be restated
    results["best_brier"] = results["brier_train_prior"].fillna(results["brier"])
    args.images.mkdir(parents=True, exist_ok=True)
    draw_ranks(results).savefig(args.images / "study_ranks.png", dpi=110)
    draw_gains(results).savefig(args.images / "study_gains.png", dpi=110)
    before, rest = args.page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    args.page.write_text(f"{before}{BEGIN}\n\n{text(results)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
