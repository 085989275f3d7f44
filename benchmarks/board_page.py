"""Write the tables and the figure of the board, from its CSV files into its page::

    python benchmarks/board_page.py

Ranks are taken within a data set, and averaged over the sets. Sets of one family, such as the four
tables of vehicles, are not independent of each other; standard errors are therefore those of the
means of the families.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from board import KEYS, OURS
from matplotlib.figure import Figure
from scipy.stats import friedmanchisquare
from study_page import critical_difference, diagram

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE, IMAGES = ROOT / "docs" / "board.md", ROOT / "docs" / "images"
REFERENCE = "portfolio"
SHOWN = {  # column: title, whether greater (+1) or smaller (-1) is better, decimals
    "average_precision": ("AP", 1, 3),
    "roc_auc": ("ROC AUC", 1, 3),
    "log_loss": ("log-loss", -1, 4),
    "brier": ("Brier", -1, 4),
    "recall_at_1_percent": ("recall in the top 1%", 1, 3),
    "balanced_accuracy": ("balanced accuracy", 1, 3),
}
RANKED = ("average_precision", "roc_auc", "log_loss")


def read(path: Path) -> pd.DataFrame:
    """Read results: means over the seeds of each data set and method.

    Methods that have not been run on every data set, or failed on one, are left out.
    """
    results = pd.read_csv(path).drop_duplicates(list(KEYS))
    for error in results["error"].dropna().unique():
        print(f"a cell failed: {error}")
    results = results[results["error"].isna()]
    n_sets = results["data"].nunique()
    sets = results.groupby("method")["data"].nunique()
    for name in sets.index[sets < n_sets]:
        print(f"{name} is left out: it has {sets[name]} of {n_sets} data sets")
    results = results[results["method"].isin(sets.index[sets == n_sets])]
    numbers = [*SHOWN, "seconds", "rows", "positives"]
    return results.groupby(["family", "data", "method"], sort=False)[numbers].mean().reset_index()


def by_set(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one row per data set and one column per method; no column without all values."""
    table = results.pivot_table(index=["family", "data"], columns="method", values=metric)
    return table.dropna(axis=1)


def ranks(table: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Return ranks within each data set, of which 1 is the best."""
    return (-sign * table).rank(axis=1)


def paired(table: pd.DataFrame, name: str, other: str) -> tuple[float, float, int, int]:
    """Compare two methods.

    Parameters
    ----------
    table : DataFrame
        One row per family and data set, one column per method.
    name, other : str
        The methods.

    Returns
    -------
    mean, error : float
        Mean over the families of their mean difference, and its standard error.
    wins, losses : int
        Data sets on which the first method has the greater, or the smaller, value.
    """
    difference = table[name] - table[other]
    families = difference.groupby(level="family").mean()
    error = families.std(ddof=1) / np.sqrt(len(families)) if len(families) > 1 else np.nan
    return (
        float(families.mean()),
        float(error),
        int((difference > 0).sum()),
        int((difference < 0).sum()),
    )


def means_table(results: pd.DataFrame) -> str:
    """Return means over the data sets, and mean ranks, in Markdown."""
    tables = {metric: by_set(results, metric) for metric in SHOWN}
    mean_ranks = {metric: ranks(tables[metric], SHOWN[metric][1]).mean() for metric in RANKED}
    seconds = results.groupby("method")["seconds"].median()
    order = mean_ranks["average_precision"].sort_values().index
    titles = [f"rank in {SHOWN[metric][0]}" for metric in RANKED]
    titles += [title for title, *_ in SHOWN.values()] + ["seconds, median"]
    lines = ["| | " + " | ".join(titles) + " |", "|---" + "|---:" * len(titles) + "|"]
    for name in order:
        cells = []
        for metric in RANKED:
            best = mean_ranks[metric].min()
            text = f"{mean_ranks[metric][name]:.1f}"
            cells.append(f"**{text}**" if mean_ranks[metric][name] == best else text)
        for metric, (_, sign, decimals) in SHOWN.items():
            if name not in tables[metric]:
                cells.append("–")
                continue
            means = tables[metric].mean()
            text = f"{means[name]:.{decimals}f}"
            cells.append(f"**{text}**" if sign * means[name] == (sign * means).max() else text)
        lines.append(f"| {name} | " + " | ".join([*cells, f"{seconds[name]:.1f}"]) + " |")
    return "\n".join(lines)


def pairs_table(results: pd.DataFrame, reference: str) -> str:
    """Return the differences of one method to all others, in Markdown."""
    titles = [SHOWN[metric][0] for metric in RANKED]
    lines = ["| | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    tables = {metric: SHOWN[metric][1] * by_set(results, metric) for metric in RANKED}
    for name in tables[RANKED[0]].columns:
        if name == reference:
            continue
        cells = []
        for metric in RANKED:
            mean, error, wins, losses = paired(tables[metric], reference, name)
            cells.append(f"{mean:+.3f} ± {error:.3f}, {wins}:{losses}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sets_table(results: pd.DataFrame) -> str:
    """Return the average precision of every method on every data set, in Markdown."""
    table = by_set(results, "average_precision")
    order = ranks(table, 1).mean().sort_values().index
    sizes = results.groupby(["family", "data"])[["rows", "positives"]].first()
    lines = ["| data set | rows | positives | " + " | ".join(order) + " |"]
    lines.append("|---" + "|---:" * (2 + len(order)) + "|")
    for key, row in table[order].iterrows():
        n, positives = sizes.loc[key].astype(int)
        cells = [f"**{v:.3f}**" if v == row.max() else f"{v:.3f}" for v in row]
        lines.append(f"| {key[1]} | {n:,} | {positives} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(results: pd.DataFrame) -> Figure:
    """Draw the critical-difference diagrams of the ranked measures."""
    figure = Figure(figsize=(10, 11), layout="constrained")
    for axes, metric in zip(figure.subplots(len(RANKED)), RANKED, strict=True):
        title, sign, _ = SHOWN[metric]
        found = ranks(by_set(results, metric), sign)
        diagram(axes, found.mean(), critical_difference(found.shape[1], len(found)), title)
    return figure


def text(results: pd.DataFrame, role: str) -> str:
    """Return the text between the markers of the page."""
    table = by_set(results, "average_precision")
    found = ranks(table, 1)
    p = friedmanchisquare(*found.to_numpy().T).pvalue if len(found) > 2 else np.nan
    reference = REFERENCE if REFERENCE in table else next(n for n in OURS if n in table)
    return f"""\
{len(table)} data sets of {table.index.get_level_values("family").nunique()} families, \
{table.shape[1]} methods. Friedman's test of equal ranks in average precision: p = {p:.2g}.

{means_table(results)}

{reference.capitalize()} minus each other method, so that positive is better: mean over the families
with its standard error, and on how many data sets it was better : worse.

{pairs_table(results, reference)}

![critical differences](images/board_{role}.png)

Average precision, data set by data set:

{sets_table(results)}
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the figures, and the tables into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files")
    parser.add_argument("--page", type=Path, default=PAGE, help="page that has the markers")
    parser.add_argument("--images", type=Path, default=IMAGES)
    args = parser.parse_args(argv)
    args.images.mkdir(parents=True, exist_ok=True)
    page = args.page.read_text(encoding="utf-8")
    for role in ("development", "final"):
        path = args.results / f"board_{role}.csv"
        begin, end = f"<!-- {role} sets: begin -->", f"<!-- {role} sets: end -->"
        if not path.is_file() or begin not in page:
            continue
        results = read(path)
        if not results["method"].isin(OURS).any():
            print(f"{path.name} is not complete: its part of the page stays as it is")
            continue
        draw(results).savefig(args.images / f"board_{role}.png", dpi=110)
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{text(results, role)}\n{end}{rest.split(end)[1]}"
    args.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
