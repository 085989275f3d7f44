"""Numbers as one column, or with bins or waves beside it: average precision, and time of a step.

Development data only: the final tables of the study are not looked at. Short runs::

    python benchmarks/bench_numeric.py
    python benchmarks/bench_numeric.py --epochs 60
    python benchmarks/bench_numeric.py --steps
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import torch
from common import PLAIN_MLP
from sklearn.metrics import average_precision_score, log_loss
from sklearn.model_selection import StratifiedKFold
from study_data import SOURCES, thinned

from imbtorch import ImbalancedNetClassifier

TASKS = [("mammography", None), ("phoneme", 10), ("eye state", 10), ("housing", None)]
WAYS = {
    "one column": {},
    "8 bins": {"features__numeric_embedding": "piecewise_linear"},
    "32 bins": {"features__numeric_embedding": "piecewise_linear", "features__n_bins": 32},
    "periodic": {"features__numeric_embedding": "periodic"},
}
N_FOLDS, SEEDS, MAX_ROWS = 3, (0, 1, 2), 6000


def net(way: str, seed: int = 0, **params: int) -> ImbalancedNetClassifier:
    """Return a perceptron, which encodes numbers in this way."""
    clf = ImbalancedNetClassifier(target_prior="train", random_state=seed, **params)
    return clf.set_params(**{**PLAIN_MLP, **WAYS[way]})


def quality(max_epochs: int) -> None:
    """Print the mean of each measure over folds and seeds, and its standard error over seeds."""
    print(f"average precision ± standard error over the seeds (log-loss), {max_epochs} epochs")
    for name, ratio in TASKS:
        try:
            table = SOURCES[name].load()
        except FileNotFoundError as error:
            print(f"{name}: left out, {error}")
            continue
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for seed in SEEDS:
            X, y = thinned(table, ratio, seed, MAX_ROWS)
            folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
            for train, test in folds.split(X, y):
                for way, values in found.items():
                    clf = net(way, seed, max_epochs=max_epochs).fit(X[train], y[train])
                    proba = clf.predict_proba(X[test])[:, list(clf.classes_).index(1)]
                    loss = log_loss(y[test], proba.astype(np.float64), labels=[0, 1])
                    values.append((average_precision_score(y[test], proba), loss))
        cells = []
        for way, values in found.items():
            by_seed = np.array(values).reshape(len(SEEDS), N_FOLDS, 2).mean(axis=1)
            error = by_seed[:, 0].std(ddof=1) / len(SEEDS) ** 0.5
            mean, loss = by_seed.mean(axis=0)
            cells.append(f"{way} {mean:.3f} ± {error:.3f} ({loss:.4f})")
        print(f"{name}, ratio {ratio}, {len(y)} rows: " + "; ".join(cells), flush=True)


def steps(n_rows: int, n_columns: int, turns: int = 9) -> None:
    """Print the time of a training step, the median of epochs that the ways take in turns."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n_rows, n_columns)), (rng.random(n_rows) < 0.1).astype(int)
    for batch_size in (64, 256):
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(turns):
            for way, values in seconds.items():
                clf = net(way, max_epochs=3, batch_size=batch_size).fit(X, y)
                values += clf.net_.history[1:, "dur"]
        medians = {
            way: np.median(values) / (n_rows / batch_size) for way, values in seconds.items()
        }
        plain = medians["one column"]
        cells = [f"{way} {1e3 * m:.3f} ms ({m / plain:.2f})" for way, m in medians.items()]
        print(f"batches of {batch_size}, {n_columns} columns: " + "; ".join(cells), flush=True)


def main() -> None:
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", action="store_true", help="time of a step")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each net")
    parser.add_argument("--rows", type=int, default=12_800, help="rows for --steps")
    parser.add_argument("--columns", type=int, default=15, help="columns for --steps")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if args.steps:
        steps(args.rows, args.columns)
    else:
        quality(args.epochs)


if __name__ == "__main__":
    main()
