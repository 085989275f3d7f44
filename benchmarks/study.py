"""Imbalance remedies for nets on tables, all measured in the same way on many data sets.

Every remedy trains the same network on the same folds, for as long as inner folds of the training
rows find best for it; so do trees of gradient boosting. Parameters are chosen by an inner search on
the training rows alone. The CSV file has one line per data set, ratio,
remedy and seed. Lines that exist are not computed again, so that an interrupted study continues
where it stopped::

    python benchmarks/study.py
    python benchmarks/study.py --quick --out quick.csv
    python benchmarks/study_page.py

The study reads the shared data (``$IMBTORCH_DATA``, or ``../shared/data`` beside the checkout);
without these, only the data sets that come with scikit-learn are used.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import PLAIN_MLP
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from study_data import MAX_ROWS, SOURCES, Table, thinned

from imbtorch.compare._folds import evaluate
from imbtorch.compare._metrics import METRICS, as_scorer, by_frequency
from imbtorch.compare._strategies import GAMMAS, STRATEGIES, Contest

RESULTS = Path(__file__).resolve().parent / "results" / "study.csv"
KEYS = ("data", "ratio", "remedy", "seed")
MEASURES = (*METRICS, "seconds", "epochs")
COLUMNS = (*KEYS, "rows", "classes", "rarest", *MEASURES, "chosen", "error")
N_FOLDS, N_SEEDS = 3, 5

Cell = tuple[str, str, str, str]
LDAM_DRW = {"module__head": "cosine", "class_weight": "balanced", "class_weight_schedule": 0.8}
REMEDIES: dict[str, Callable[[Contest], Any]] = {
    **STRATEGIES,
    "cross-entropy, prior shifted": lambda contest: contest.net({"target_prior": "uniform"}),
    "square-root weights": lambda contest: contest.net({"class_weight": "sqrt"}),
    "focal, balanced weights": lambda contest: contest.searched(
        {"loss__gamma": GAMMAS}, "focal", {"class_weight": "balanced"}
    ),
    "LDAM-DRW": lambda contest: contest.net(LDAM_DRW, "ldam"),
}
del REMEDIES["gradient boosting, balanced"]  # one variant of this yardstick is enough


def cells(names: Sequence[str], seeds: int) -> Iterator[tuple[int, str, float | None]]:
    """Order the work seed by seed, so that an interrupted study has all data sets."""
    for seed in range(seeds):
        for name in names:
            for ratio in SOURCES[name].ratios:
                yield seed, name, ratio


def done_in(path: Path) -> set[Cell]:
    """Return the cells that a file has.

    Raises
    ------
    ValueError
        If the file has other columns, because it is of another version of the study.
    """
    if not path.is_file():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(
                f"{path} has other columns than this study: {reader.fieldnames}. Move it away, or "
                "write to another file with --out."
            )
        return {tuple(row[key] for key in KEYS) for row in reader}


def append(path: Path, row: dict[str, Any]) -> None:
    """Add one line; a new file gets the header first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def run_cell(remedy: str, table: Table, seed: int, epochs: int | str) -> dict[str, Any]:
    """Cross-validate one remedy, and return the means over the folds.

    Parameters
    ----------
    remedy : str
        One of :data:`REMEDIES`.
    table : tuple of (ndarray, ndarray)
        Features and classes.
    seed : int
        Seed of the folds, the nets and the samplers.
    epochs : int or "auto"
        Passes over the rows; "auto" lets inner folds find them.
    """
    X, y = table
    classes, counts = by_frequency(y)
    scorer = as_scorer("average_precision", classes)
    contest = Contest(counts, epochs, StandardScaler(), scorer, seed, PLAIN_MLP)
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(X, y))
    outcomes = evaluate(REMEDIES[remedy](contest), X, y, folds, classes)
    row: dict[str, Any] = {
        key: f"{np.mean([outcome.measures[key] for outcome in outcomes]):.6g}" for key in MEASURES
    }
    row["chosen"] = " ".join(str(v) for o in outcomes for v in o.chosen.values())
    return row


def load(names: Sequence[str]) -> dict[str, Table]:
    """Load the data sets whose files are found."""
    tables = {}
    for name in names:
        try:
            tables[name] = SOURCES[name].load()
        except FileNotFoundError as error:
            print(f"{name}: left out, {error.filename} was not found", flush=True)
    return tables


def run(args: argparse.Namespace) -> None:
    """Run all cells that are not in the file."""
    tables, done = load(args.data), done_in(args.out)
    start = time.perf_counter()
    for seed, name, ratio in cells(list(tables), args.seeds):
        keys = {"data": name, "ratio": str(ratio or "as it is"), "seed": str(seed)}
        missing = [r for r in args.remedies if (name, keys["ratio"], r, str(seed)) not in done]
        if not missing:
            continue
        X, y = thinned(tables[name], ratio, seed, args.rows)
        counts = np.unique(y, return_counts=True)[1]
        size = {"rows": len(y), "classes": len(counts), "rarest": counts.min()}
        for remedy in missing:
            try:
                row = run_cell(remedy, (X, y), seed, args.epochs or "auto")
            except (ValueError, RuntimeError) as error:
                row = {"error": str(error).splitlines()[0]}
            append(args.out, {**keys, **size, **row, "remedy": remedy})
        minutes = (time.perf_counter() - start) / 60
        print(f"{minutes:6.1f} min: {name}, ratio {keys['ratio']}, seed {seed}", flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="CSV file (%(default)s)")
    parser.add_argument("--data", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument("--remedies", nargs="+", choices=list(REMEDIES), default=list(REMEDIES))
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument(
        "--epochs",
        type=int,
        help="passes over the rows (default: inner folds find them for each remedy)",
    )
    parser.add_argument(
        "--rows", type=int, default=MAX_ROWS, help="most rows of a data set (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="one small data set, two epochs")
    args = parser.parse_args(argv)
    if args.quick:
        args.data, args.seeds, args.epochs, args.rows = ["tumours"], 1, 2, 300
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study."""
    args = parse(argv)
    torch.set_num_threads(min(torch.get_num_threads(), 2))
    warnings.filterwarnings("ignore", message=".*least populated class.*")
    run(args)


if __name__ == "__main__":
    main()
