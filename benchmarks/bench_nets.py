"""Which single net ranks best: module, waves, normalisation and length, on many tables.

The development sets of the board, on the folds of the board, so that its peers can be compared. The
CSV file has one line per data set and net; lines that it has are not run again::

    python benchmarks/bench_nets.py
    python benchmarks/bench_nets.py --nets "MLP" "TabM, layer, waves"
    python benchmarks/bench_nets.py --summary
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from board import RESULTS as BOARD
from board import scores
from board_data import BOARD_SETS, MAX_ROWS, n_folds
from board_peers import one_thread
from common import PLAIN_MLP
from sklearn.model_selection import StratifiedKFold

from imbtorch import ImbalancedNetClassifier

RESULTS = Path(__file__).resolve().parent / "results" / "nets.csv"
KEYS = ("data", "net")
MEASURES = ("average_precision", "roc_auc", "log_loss", "seconds")
BOOSTING = ("CatBoost", "LightGBM", "XGBoost", "HistGradientBoosting")

WAVES = {"features__numeric_embedding": "periodic"}
BINS = {"features__numeric_embedding": "piecewise_linear"}
LAYER = {"module__normalization": "layer"}
TABM = {"module": "tabm", "module__hidden_sizes": (64, 64), "module__normalization": None}
DROPOUT = {"module__dropout": 0.3}
NETS: dict[str, Mapping[str, Any]] = {
    "MLP": {},
    "MLP, 40 epochs": {"max_epochs": 40},
    "MLP, dropout": DROPOUT,
    "MLP, bins, dropout": {**BINS, **DROPOUT},
    "MLP, waves": WAVES,
    "MLP, waves, 40 epochs": {**WAVES, "max_epochs": 40},
    "MLP, waves, ReLU": {**WAVES, "module__activation": "relu"},
    "MLP, layer": LAYER,
    "MLP, layer, 10 epochs": {**LAYER, "max_epochs": 10},
    "MLP, layer, waves": {**WAVES, **LAYER},
    "MLP, layer, waves, dropout": {**WAVES, **LAYER, **DROPOUT},
    "MLP, layer, waves, 10 epochs": {**WAVES, **LAYER, "max_epochs": 10},
    "MLP, layer, waves, 64-32": {**WAVES, **LAYER, "module__hidden_sizes": (64, 32)},
    "TabM": TABM,
    "TabM, waves": {**TABM, **WAVES},
    "TabM, layer, waves": {**TABM, **LAYER, **WAVES},
    "TabM, layer, waves, 15 epochs": {**TABM, **LAYER, **WAVES, "max_epochs": 15},
    "TabM, layer, waves, 10 epochs": {**TABM, **LAYER, **WAVES, "max_epochs": 10},
    "TabM, layer, waves, 128-64": {
        **TABM,
        **LAYER,
        **WAVES,
        "module__hidden_sizes": (128, 64),
    },
}


def run(name: str, X: pd.DataFrame, y: Any) -> dict[str, Any]:
    """Cross-validate one net, and return the means over the folds."""
    found = []
    for train, test in StratifiedKFold(n_folds(y, 3), shuffle=True, random_state=0).split(X, y):
        start = time.process_time()
        net = ImbalancedNetClassifier(target_prior="train", random_state=0)
        net.set_params(**{**PLAIN_MLP, **NETS[name]}).fit(X.iloc[train], y[train])
        proba = np.asarray(net.predict_proba(X.iloc[test])[:, 1], dtype=np.float64)
        seconds = time.process_time() - start
        found.append({**scores(y[test], proba), "seconds": seconds})
    return {key: f"{np.mean([fold[key] for fold in found]):.6g}" for key in MEASURES}


def summary(path: Path) -> None:
    """Print means, and mean ranks among the libraries of boosting, over common data sets."""
    nets = pd.read_csv(path).rename(columns={"net": "method"})
    peers = pd.read_csv(BOARD)
    peers = peers[peers["method"].isin(BOOSTING)].drop_duplicates(["data", "method"])
    both = pd.concat([nets, peers[["data", "method", *MEASURES]]])
    n_methods = both.groupby("data")["method"].nunique()
    both = both[both["data"].isin(n_methods.index[n_methods == n_methods.max()])]
    print(f"{both['data'].nunique()} data sets; ranks are those of one net and four of boosting")
    columns = {}
    for measure, sign in zip(MEASURES[:3], (-1, -1, 1), strict=True):
        table = both.pivot(index="data", columns="method", values=measure)
        columns[measure] = table.mean()
        columns[f"rank of {measure}"] = pd.Series(
            {
                name: (sign * table[[name, *BOOSTING]]).rank(axis=1)[name].mean()
                for name in table
                if name not in BOOSTING
            }
        )
    columns["seconds"] = both.groupby("method")["seconds"].mean()
    order = [*(name for name in NETS if name in columns["seconds"]), *BOOSTING]
    print(pd.DataFrame(columns).loc[order].round(4).to_string())


def main() -> None:
    """Run what is missing, or print what there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="CSV file (%(default)s)")
    parser.add_argument("--nets", nargs="+", choices=list(NETS), help="these nets alone")
    parser.add_argument("--summary", action="store_true", help="print the file, run nothing")
    args = parser.parse_args()
    if args.summary:
        summary(args.out)
        return
    warnings.filterwarnings("ignore")
    done = set()
    if args.out.is_file():
        done = set(pd.read_csv(args.out)[list(KEYS)].itertuples(index=False, name=None))
    with one_thread():
        for board_set in BOARD_SETS.values():
            missing = [n for n in args.nets or NETS if (board_set.name, n) not in done]
            if board_set.role != "development" or not missing:
                continue
            try:
                X, y = board_set.table(MAX_ROWS)
            except FileNotFoundError as error:
                print(f"{board_set.name}: left out, {error}", flush=True)
                continue
            for name in missing:
                is_new = not args.out.is_file()
                row = {"data": board_set.name, "net": name, **run(name, X, y)}
                with args.out.open("a", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, [*KEYS, *MEASURES])
                    if is_new:
                        writer.writeheader()
                    writer.writerow(row)
            print(board_set.name, flush=True)


if __name__ == "__main__":
    main()
