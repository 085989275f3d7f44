"""How long to train: fixed numbers of epochs, and lengths that folds have found, on many tables.

Each way is cross-validated on the data sets of the study, several seeds each. The CSV file has one
line per data set, ratio, way and seed; lines that exist are not computed again::

    python benchmarks/bench_length.py
    python benchmarks/bench_length.py --summary
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import PLAIN_MLP
from sklearn.model_selection import StratifiedKFold
from study import KEYS, Cell, load
from study_data import SOURCES, thinned

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.compare._folds import evaluate
from imbtorch.compare._metrics import by_frequency

RESULTS = Path(__file__).resolve().parent / "results" / "length.csv"
N_FOLDS, N_SEEDS = 3, 5
METRICS = ("average_precision", "balanced_accuracy", "brier_train_prior", "seconds")


def ways(seed: int) -> dict[str, Any]:
    """Return the estimators that are compared."""

    def net(epochs: int | str) -> ImbalancedNetClassifier:
        clf = ImbalancedNetClassifier(max_epochs=epochs, random_state=seed)
        return clf.set_params(**PLAIN_MLP)

    return {
        "20": net(20),
        "80": net(80),
        "auto": net("auto"),
        "folds, auto": NetEnsembleClassifier(net("auto"), 5, subset="folds", random_state=seed),
    }


def done_in(path: Path) -> set[Cell]:
    """Return the cells that a file has."""
    if not path.is_file():
        return set()
    return set(pd.read_csv(path, dtype=str)[list(KEYS)].itertuples(index=False, name=None))


def run(out: Path, seeds: list[int]) -> None:
    """Run what is missing in the file."""
    tables, done = load(list(SOURCES)), done_in(out)
    for seed in seeds:
        for name in tables:
            for ratio in SOURCES[name].ratios:
                X, y = thinned(tables[name], ratio, seed)
                classes, counts = by_frequency(y)
                splitter = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
                folds = list(splitter.split(X, y))
                for way, estimator in ways(seed).items():
                    keys = {"data": name, "ratio": str(ratio or "as it is"), "seed": str(seed)}
                    if (*list(keys.values())[:2], way, str(seed)) in done:
                        continue
                    outcomes = evaluate(estimator, X, y, folds, classes)
                    means = {m: np.mean([o.measures[m] for o in outcomes]) for m in METRICS}
                    row = {**keys, "remedy": way, "rows": len(y), "rarest": counts.min(), **means}
                    line = pd.DataFrame([row])
                    line.to_csv(out, mode="a", header=not out.is_file(), index=False)
                print(f"seed {seed}: {name}, ratio {ratio}", flush=True)


def summary(out: Path) -> None:
    """Print means over the seeds, and what the bounds of the documentation say."""
    table = pd.read_csv(out)
    wide = table.pivot_table(index=["data", "ratio"], columns="remedy", values=list(METRICS))
    precision = wide["average_precision"]
    spread = table.groupby(["data", "ratio", "remedy"])["average_precision"].std().unstack()
    print(precision.round(3).to_string(), "\n")
    print("standard deviation over the seeds, mean over the tasks:")
    print(spread.mean().round(3).to_string(), "\n")
    best = precision[["20", "80"]].max(axis=1)
    for way in ("auto", "folds, auto"):
        below = int((precision[way] < best - 0.01).sum())
        gain = (precision[way] - precision["20"]).mean()
        print(f"{way}: {gain:+.4f} against 20 epochs; more than 0.01 below the better one of "
              f"20 and 80 on {below} of {len(best)}")  # fmt: skip
    print(wide.drop(columns="average_precision", level=0).mean().unstack().round(4).to_string())


def main() -> None:
    """Run the benchmark, or print its summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="CSV file (%(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(N_SEEDS)))
    parser.add_argument("--summary", action="store_true", help="only print what the file holds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.summary:
        run(args.out, args.seeds)
    summary(args.out)


if __name__ == "__main__":
    main()
