"""Quality on raw tables: the default net against one behind a transformer made by hand.

Every contestant is one line on the raw frame, with words, gaps and amounts in thousands. The two
nets have the same layers and the same budget; one encodes the table itself, the other stands behind
a ``ColumnTransformer``. scikit-learn's gradient boosting, which knows categories and gaps, is shown
for comparison. Average precision on held-out folds; a new seed changes folds and nets::

    python benchmarks/bench_tables.py
    python benchmarks/bench_tables.py --quick --out quick.csv

The CSV file has one line per table, contestant and seed. Tables that are made of the shared data
(``$IMBTORCH_DATA``, or ``../shared/data`` beside the checkout) are left out where these are not
found.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import PLAIN_MLP, limit_threads
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tables_data import TABLES, Table

from imbtorch import ImbalancedNetClassifier

RESULTS = Path(__file__).resolve().parent / "results" / "tables.csv"
N_FOLDS, N_SEEDS, MAX_ROWS = 3, 5, 8_000
OURS, BY_HAND, BOOSTING = "imbtorch", "made by hand", "gradient boosting"
COLUMNS = ("table", "contestant", "seed", "rows", "rare", "average_precision", "seconds")


def net(seed: int) -> Any:
    return ImbalancedNetClassifier(random_state=seed).set_params(**PLAIN_MLP)


def net_behind_transformer(seed: int) -> Any:
    """Impute, scale and one-hot encode as scikit-learn's guide does, then train the same net."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore")
    transformer = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (words, make_column_selector(dtype_exclude="number")),
        sparse_threshold=0,
    )
    return make_pipeline(
        transformer, ImbalancedNetClassifier("mlp", features=None, random_state=seed)
    )


def boosting(seed: int) -> Any:
    return HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)


CONTESTANTS: dict[str, Callable[[int], Any]] = {
    OURS: net,
    BY_HAND: net_behind_transformer,
    BOOSTING: boosting,
}


def run_cell(contestant: str, table: Table, seed: int) -> dict[str, Any]:
    """Cross-validate one contestant, and return the means over the folds."""
    frame, y = table
    if contestant == BOOSTING:
        words = frame.columns[[not pd.api.types.is_numeric_dtype(t) for t in frame.dtypes]]
        frame = frame.astype(dict.fromkeys(words, "category"))
    precisions, seconds = [], []
    for train, test in StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(frame, y):
        start = time.perf_counter()
        model = CONTESTANTS[contestant](seed).fit(frame.iloc[train], y[train])
        seconds.append(time.perf_counter() - start)
        scores = model.predict_proba(frame.iloc[test])[:, 1]
        precisions.append(average_precision_score(y[test], scores))
    return {
        "average_precision": f"{np.mean(precisions):.5f}",
        "seconds": f"{np.mean(seconds):.3f}",
    }


def summary(lines: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table: mean over the seeds ± standard deviation."""
    names = list(dict.fromkeys(line["contestant"] for line in lines))
    found = ["| table | " + " | ".join(names) + " | difference |", "|---" * (len(names) + 2) + "|"]
    for table in dict.fromkeys(line["table"] for line in lines):
        values = {
            name: np.array(
                [
                    float(line["average_precision"])
                    for line in lines
                    if line["table"] == table and line["contestant"] == name
                ]
            )
            for name in names
        }
        cells = [f"{v.mean():.3f} ± {v.std(ddof=int(len(v) > 1)):.3f}" for v in values.values()]
        if OURS in values and BY_HAND in values:
            cells.append(f"{(values[OURS] - values[BY_HAND]).mean():+.3f}")
        found.append(f"| {table} | " + " | ".join(cells) + " |")
    return found


def load(names: Sequence[str], rows: int) -> dict[str, Table]:
    """Make the tables whose files are found."""
    tables = {}
    for name in names:
        try:
            tables[name] = TABLES[name](rows)
        except FileNotFoundError as error:
            print(f"{name}: left out, {error.filename} was not found", flush=True)
    return tables


def run(args: argparse.Namespace) -> None:
    """Measure, write the file and print the table."""
    lines = []
    for name, table in load(args.tables, args.rows).items():
        frame, y = table
        for seed in range(args.seeds):
            for contestant in args.contestants:
                row = run_cell(contestant, table, seed)
                size = {"rows": len(frame), "rare": int(y.sum())}
                keys = {"table": name, "contestant": contestant, "seed": seed}
                lines.append({**keys, **size, **row})
        print(f"{name}: {len(frame):,} x {frame.shape[1]}, {y.sum():,} rare", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    print("\nAverage precision, mean over the seeds ± their standard deviation\n")
    print("\n".join(summary(lines)))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="CSV file (%(default)s)")
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument(
        "--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS)
    )
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--rows", type=int, default=MAX_ROWS, help="most rows (%(default)s)")
    parser.add_argument("--threads", type=int, help="threads of torch and of numpy")
    parser.add_argument("--quick", action="store_true", help="one small table, one seed")
    args = parser.parse_args(argv)
    if args.quick:
        args.tables, args.seeds, args.rows = ["adult-like"], 1, 600
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the contest."""
    args = parse(argv)
    limit_threads(args.threads)
    run(args)


if __name__ == "__main__":
    main()
