"""Which recipes a portfolio needs: each alone, and the blend with and without each, on many tables.

The development sets of the board at 3,000 rows, one stratified third as test rows, four folds of
the others. The CSV file has one line per data set and way; sets that it has are not run again::

    python benchmarks/bench_recipes.py
    python benchmarks/bench_recipes.py --summary
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from board import scores
from board_data import BOARD_SETS, BoardSet, n_folds
from board_peers import one_thread
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.portfolio import CLASSIFIER_RECIPES
from imbtorch.portfolio._blend import blend_shares
from imbtorch.portfolio._scores import by_loss, log_loss

RESULTS = Path(__file__).resolve().parent / "results" / "recipes.csv"
ROWS, N_FOLDS = 3_000, 4
Floats = NDArray[np.float64]


def trained(params: Mapping[str, Any], X: Any, y: Any, X_test: Any) -> dict[str, Any]:
    """Train the nets of the folds of one recipe, and return what they predict."""
    start = time.process_time()
    net = ImbalancedNetClassifier(target_prior="train", random_state=0).set_params(**params)
    folds = StratifiedKFold(min(N_FOLDS, n_folds(y)), shuffle=True, random_state=2).split(X, y)
    model = NetEnsembleClassifier(net, subset="folds", cv=list(folds), random_state=3).fit(X, y)
    test = np.asarray(model.predict_proba(X_test)[:, 1], dtype=np.float64)
    seconds = time.process_time() - start
    return {"oof": model.oof_predict_proba_[:, 1], "test": test, "seconds": seconds}


def blended(found: dict[str, dict[str, Any]], names: list[str], y: Any) -> Floats:
    """Return the test probabilities of the blend of some recipes."""
    proba = np.array([found[name]["oof"] for name in names])
    own = np.where(y == 1, proba, 1 - proba)
    shares = blend_shares(own, by_loss(log_loss, np.ones(len(y))), y.astype(np.intp), 0)
    return np.asarray(shares @ np.array([found[name]["test"] for name in names]))


def run_set(board_set: BoardSet, recipes: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return the measures of all ways on one data set."""
    X, y = board_set.table(ROWS)
    train, test = next(StratifiedKFold(3, shuffle=True, random_state=1).split(X, y))
    found = {
        name: trained(params, X.iloc[train], y[train], X.iloc[test])
        for name, params in recipes.items()
    }
    names = list(recipes)
    ways = {name: (found[name]["test"], [name]) for name in names}
    ways["all"] = (blended(found, names, y[train]), names)
    for lacking in names:
        rest = [name for name in names if name != lacking]
        ways[f"without {lacking}"] = (blended(found, rest, y[train]), rest)
    rows = [
        {
            "data": board_set.name,
            "way": way,
            **scores(y[test], proba),
            "seconds": sum(found[name]["seconds"] for name in used),
        }
        for way, (proba, used) in ways.items()
    ]
    return pd.DataFrame(rows).round(6)


def summary(path: Path) -> None:
    """Print the means over the data sets, relative to the blend of all recipes."""
    results = pd.read_csv(path)
    n_sets = results["data"].nunique()
    shown = ["average_precision", "roc_auc", "log_loss", "seconds"]
    means = results.groupby("way", sort=False)[shown].mean()
    table = results.pivot(index="data", columns="way", values="average_precision")
    gain = table.sub(table["all"], axis=0)
    means["AP minus all"], means["error"] = gain.mean(), gain.std() / np.sqrt(n_sets)
    print(f"{n_sets} data sets\n{means.round(4).to_string()}")


def main() -> None:
    """Run what is missing, or print what there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="CSV file (%(default)s)")
    parser.add_argument("--data", nargs="+", choices=list(BOARD_SETS), help="these sets alone")
    parser.add_argument("--summary", action="store_true", help="only print what the file holds")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    done = set(pd.read_csv(args.out)["data"]) if args.out.is_file() else set()
    sets = [s for s in BOARD_SETS.values() if s.role == "development"]
    if args.data:
        sets = [s for s in sets if s.name in args.data]
    with one_thread():
        for board_set in sets if not args.summary else ():
            if board_set.name in done:
                continue
            try:
                found = run_set(board_set, CLASSIFIER_RECIPES)
            except FileNotFoundError as error:
                print(f"{board_set.name}: left out, {error}", flush=True)
                continue
            found.to_csv(args.out, mode="a", header=not args.out.is_file(), index=False)
            print(board_set.name, flush=True)
    summary(args.out)


if __name__ == "__main__":
    main()
