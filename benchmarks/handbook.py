"""The protocol of the Fraud Detection Handbook, on the default estimator.

Train on 7 days of card transactions, skip 7 days in which frauds become known, test on 7 days; four
times. Choose parameters on the validation folds, and use the test folds only once::

    python benchmarks/handbook.py
    python benchmarks/handbook.py --set loss="'focal'" --set loss__gamma=1.0
    python benchmarks/handbook.py --folds test

The script needs ``fraud_transactions.npz`` in the folder named by ``IMBTORCH_DATA``, or in
``../shared/data`` beside the checkout.
"""

from __future__ import annotations

import argparse
import ast
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import FRAUD_FILE, data_folder, fraud_file, make_parser, write_json
from numpy.typing import NDArray
from preprocessing import PREPROCESSING, preprocessing
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline

from imbtorch import ImbalancedNetClassifier
from imbtorch.metrics import card_precision_at_k

FOLDS = {"validation": (80, 87, 94, 101), "test": (136, 129, 122, 115)}  # first training day
KNOWN_START, KNOWN_NUMBERS = 115, (67_240, 598, 58_264, 385)
PUBLISHED = {  # four test folds, chapters 5 to 7: AUC ROC, average precision, CP@100
    "logistic regression": (0.868, 0.623, 0.297),
    "random forest": (0.870, 0.678, 0.299),
    "XGBoost": (0.869, 0.687, 0.303),
    "feed-forward net, best of 162": (0.876, 0.675, 0.303),
}


@dataclass(frozen=True)
class Transactions:
    """The columns of the data set, one row per transaction."""

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    day: NDArray[Any]
    customer: NDArray[Any]

    @classmethod
    def load(cls, path: Path) -> Transactions:
        """Read the file."""
        with np.load(path) as data:
            return cls(data["X"], data["y"].astype(np.int64), data["day"], data["customer"])

    def between(self, first: int, last: int) -> Transactions:
        """Keep the transactions of the days ``first`` to ``last``, in their order."""
        kept = (self.day >= first) & (self.day <= last)
        return Transactions(self.X[kept], self.y[kept], self.day[kept], self.customer[kept])

    def fold(self, start: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Split off the fold that trains from day ``start``.

        Parameters
        ----------
        start : int
            First of the 7 training days; test days are ``start + 14`` to ``start + 20``.

        Returns
        -------
        train, test : ndarray of int
            Positions of the rows. On each test day customers are left out whose card is by then
            known to be compromised: all frauds up to 8 days before are known.
        """
        tests = []
        for shift in range(7):
            to_light = (self.y == 1) & (self.day >= start) & (self.day <= start + 6 + shift)
            today = np.flatnonzero(self.day == start + 14 + shift)
            known = np.isin(self.customer[today], self.customer[to_light])
            tests.append(today[~known])
        train = np.flatnonzero((self.day >= start) & (self.day < start + 7))
        return train, np.concatenate(tests)


def check_split(data: Transactions) -> None:
    """Compare one fold with the published numbers of rows and frauds."""
    train, test = data.fold(KNOWN_START)
    numbers = (len(train), data.y[train].sum(), len(test), data.y[test].sum())
    if numbers != KNOWN_NUMBERS:
        raise SystemExit(f"the fold of day {KNOWN_START} has {numbers}, expected {KNOWN_NUMBERS}")
    print("fold of day {}: {:,} rows with {} frauds, {:,} with {}".format(KNOWN_START, *numbers))


def evaluate(
    data: Transactions, start: int, estimator: BaseEstimator, before: Any
) -> tuple[float, ...]:
    """Fit on a fold; return AUC ROC, average precision, CP@100 and seconds to fit.

    Parameters
    ----------
    data : Transactions
        All transactions.
    start : int
        First day of the fold.
    estimator : classifier with ``decision_function``
        Classifier of which a clone is fitted.
    before : transformer
        Preprocessing, fitted to the same rows.
    """
    train, test = data.fold(start)
    model = make_pipeline(clone(before), clone(estimator))
    began = time.perf_counter()
    model.fit(data.X[train], data.y[train])
    seconds = time.perf_counter() - began
    y, score = data.y[test], model.decision_function(data.X[test])
    return (
        float(roc_auc_score(y, score)),
        float(average_precision_score(y, score)),
        card_precision_at_k(y, score, data.day[test], data.customer[test], k=100),
        seconds,
    )


def assignment(text: str) -> tuple[str, Any]:
    """Read ``name=value``; a value that is not a Python literal is a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(text)
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for folds and parameters to a command line."""
    parser.add_argument("--folds", choices=list(FOLDS), default="validation")
    parser.add_argument(
        "--set",
        type=assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the estimator, may be repeated",
    )
    parser.add_argument(
        "--preprocessing",
        choices=PREPROCESSING,
        default="standard",
        help="preprocessing before the net, see preprocessing.py (%(default)s)",
    )


def estimator_of(
    parser: argparse.ArgumentParser, parameters: dict[str, Any]
) -> ImbalancedNetClassifier:
    """Set parameters of the default estimator, or end the program and say what is wrong."""
    try:
        return ImbalancedNetClassifier(random_state=0).set_params(**parameters)
    except ValueError as error:
        parser.error(str(error))


def load_checked(parser: argparse.ArgumentParser) -> Transactions:
    """Read and check the data, or end the program and say that they were not found."""
    path = fraud_file()
    if path is None:
        parser.error(f"{data_folder()} has no {FRAUD_FILE}; IMBTORCH_DATA can name its folder")
    data = Transactions.load(path)
    check_split(data)
    return data


def print_folds(
    data: Transactions, folds: str, estimator: BaseEstimator, before: Any
) -> dict[int, tuple[float, ...]]:
    """Evaluate on some folds, and print the table.

    Parameters
    ----------
    data : Transactions
        All transactions.
    folds : {"validation", "test"}
        Folds to evaluate on; for those of the test, published results are printed, too.
    estimator : classifier with ``decision_function``
        Classifier to fit.
    before : transformer
        Preprocessing.

    Returns
    -------
    dict
        Result of :func:`evaluate`, by the first day of each fold.
    """
    print(f"{'':<30}{'AUC ROC':>9}{'AP':>8}{'CP@100':>9}{'seconds':>9}")
    rows = {}
    for start in FOLDS[folds]:
        rows[start] = evaluate(data, start, estimator, before)
        print_row(f"from day {start}", rows[start])
    print_row("mean", np.mean(list(rows.values()), axis=0))
    if folds == "test":
        print("\nPublished, on these folds:")
        for name, values in PUBLISHED.items():
            print_row(name, values)
    return rows


def print_row(name: str, values: Sequence[float]) -> None:
    """Print one line of the table."""
    auc, precision, cards, *seconds = values
    end = f"{seconds[0]:>9.1f}" if seconds else ""
    print(f"{name:<30}{auc:>9.3f}{precision:>8.3f}{cards:>9.3f}{end}", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    add_options(parser)
    args = parser.parse_args(argv)
    parameters = dict(args.set)
    estimator = estimator_of(parser, parameters)
    data = load_checked(parser)
    print(f"{args.folds} folds; {parameters or 'default parameters'}; {args.preprocessing}\n")
    rows = print_folds(data, args.folds, estimator, preprocessing(args.preprocessing))
    results = {"folds": args.folds, "preprocessing": args.preprocessing, "rows": rows}
    write_json(args.json, {**results, "parameters": repr(parameters)})


if __name__ == "__main__":
    main()
