"""How the default net does on wide tables, with and without waves, and with half the epochs.

Development sets of the board with many columns, and images of a five, 1:45, as principal components
and as pixels. Means over twice three folds (once for hiva, which has 1,617 columns)::

    python benchmarks/bench_wide.py
    python benchmarks/bench_wide.py --data ada sylva
"""

from __future__ import annotations

import argparse
import gzip
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from board import scores
from board_data import BOARD_SETS, MAX_ROWS
from board_files import Table
from board_peers import one_thread
from common import PLAIN_MLP, data_folder
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedKFold

from imbtorch import ImbalancedNetClassifier

N_FIVES = 80
PLAIN = {"features__numeric_embedding": None}
WAVES = {"features__numeric_embedding": "periodic"}
NETS: dict[str, dict[str, Any]] = {
    "MLP": PLAIN_MLP,
    "TabM": PLAIN,
    "TabM, 10 epochs": {**PLAIN, "max_epochs": 10},
    "TabM, waves": WAVES,
    "TabM, waves, 10 epochs": {**WAVES, "max_epochs": 10},
}


def images(n_components: int | None) -> Table:
    """Return images of digits, as principal components or as pixels; 1 for the few fives."""
    files = ("mnist-t10k-images-idx3-ubyte.gz", "mnist-t10k-labels-idx1-ubyte.gz")
    pixels, labels = (gzip.decompress((data_folder() / name).read_bytes()) for name in files)
    X = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 784)[:MAX_ROWS].astype(float)
    y = (np.frombuffer(labels, np.uint8, offset=8)[:MAX_ROWS] == 5).astype(np.int64)
    left_out = np.random.default_rng(0).permutation(np.flatnonzero(y))[N_FIVES:]
    kept = np.setdiff1d(np.arange(len(y)), left_out)
    X, y = X[kept], y[kept]
    if n_components is not None:
        X = PCA(n_components, random_state=0).fit_transform(X)
    return pd.DataFrame(X), y


TABLES: dict[str, Callable[[], Table]] = {
    **{name: BOARD_SETS[name].table for name in ("spect_f", "satimage", "ada", "sylva")},
    "50 components": partial(images, 50),
    "200 components": partial(images, 200),
    "pixels": partial(images, None),
    "hiva": BOARD_SETS["hiva"].table,
}


def run(params: dict[str, Any], X: pd.DataFrame, y: Any, seeds: range) -> dict[str, float]:
    """Cross-validate a net; return the means of its measures."""
    found = []
    for seed in seeds:
        folds = StratifiedKFold(3, shuffle=True, random_state=seed)
        for train, test in folds.split(X, y):
            start = time.process_time()
            net = ImbalancedNetClassifier(target_prior="train", random_state=seed)
            net.set_params(**params).fit(X.iloc[train], y[train])
            proba = net.predict_proba(X.iloc[test])[:, 1].astype(np.float64)
            seconds = time.process_time() - start
            found.append({**scores(y[test], proba), "seconds": seconds})
    return dict(pd.DataFrame(found).mean())


def main() -> None:
    """Print one line per table and net."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=list(TABLES), default=list(TABLES))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    with one_thread():
        for table in args.data:
            try:
                X, y = TABLES[table]()
            except FileNotFoundError as error:
                print(f"{table}: left out, {error.filename} was not found", flush=True)
                continue
            for name, params in NETS.items():
                found = run(params, X, y, range(1 if table == "hiva" else 2))
                row = "  ".join(
                    f"{key} {found[key]:.4f}" for key in ("average_precision", "log_loss")
                )
                print(f"{table:15} {name:23} {row}  seconds {found['seconds']:.2f}", flush=True)


if __name__ == "__main__":
    main()
