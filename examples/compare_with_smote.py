"""Losses for imbalanced data compared with SMOTE.

Plain cross-entropy, class weights, the focal loss with its gamma searched, logit adjustment and
SMOTE, all on the same network in scikit-learn Pipelines, on data with rare classes::

    python examples/compare_with_smote.py --out demo_output
    python examples/compare_with_smote.py --data table.csv --target label

Without ``--data`` it takes scikit-learn's bundled data, thinned to an imbalance, and the card
fraud data of the Fraud Detection Handbook where they are found: in the folder named by the
environment variable ``IMBTORCH_DATA``, or in ``../shared/data`` beside the checkout.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from data_sets import (
    DataError,
    DataSet,
    card_fraud,
    find_fraud,
    from_csv,
    long_tailed_digits,
    one_digit,
    rare_tumours,
)
from evaluation import NET, Outcome, pool, run
from figures import confusion_matrices, precision_recall
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline
from report import NOTES, Table, format_table, reading_guide, write_csv
from sklearn.preprocessing import StandardScaler

from imbtorch import ImbalancedNetClassifier
from imbtorch.model_selection import StackedGridSearchCV

GAMMAS = (0.0, 1.0, 2.0, 5.0)


def strategies(data: DataSet, **parameters: Any) -> dict[str, Any]:
    """List the contestants: one network, several ways to treat the imbalance.

    Parameters
    ----------
    data : DataSet
        Its size decides how thorough the search is and how many neighbours SMOTE looks at.
    **parameters
        Of every :class:`imbtorch.ImbalancedNetClassifier`.

    Returns
    -------
    dict
        Names and estimators; the first one is the baseline.
    """

    def net(loss: str, **more: Any) -> ImbalancedNetClassifier:
        return ImbalancedNetClassifier(loss=loss, random_state=0, **more, **parameters)

    n_neighbors = min(5, data.smallest_training_class - 1)
    smote = SMOTE(k_neighbors=n_neighbors, random_state=0)
    contestants = {
        "cross-entropy": [net("cross_entropy")],
        "balanced weights": [net("cross_entropy", class_weight="balanced")],
        "focal, gamma searched": [net("focal")],
        "logit adjustment": [net("logit_adjusted")],
        "SMOTE before the net": [smote, net("cross_entropy")],
        "SMOTE inside the net": [net("cross_entropy", sampler=smote)],
    }
    pipelines = {
        name: make_pipeline(StandardScaler(), *steps) for name, steps in contestants.items()
    }
    pipelines["focal, gamma searched"] = StackedGridSearchCV(
        pipelines["focal, gamma searched"],
        {f"{NET}__loss__gamma": GAMMAS},
        scoring="average_precision",
        cv=3 if len(data.y) < 20_000 else 2,
    )
    return pipelines


def sources(args: argparse.Namespace) -> list[Callable[[], DataSet]]:
    """Choose the data."""
    if args.data is not None:
        return [lambda: from_csv(args.data, args.target, header=not args.no_header)]
    if args.quick:
        return [lambda: rare_tumours().first_folds(3)]
    fraud = find_fraud()
    if fraud is None:
        print("The card fraud data are not here; the bundled data alone are compared.\n")
        return [one_digit, long_tailed_digits, rare_tumours]
    return [one_digit, long_tailed_digits, rare_tumours, lambda: card_fraud(fraud)]


def compare(data: DataSet, jobs: int, out: Path, **parameters: Any) -> Table:
    """Run all strategies on one data set; print the table and write the figures.

    Parameters
    ----------
    data : DataSet
        The rows.
    jobs : int
        Processes.
    out : Path
        Folder of the figures.
    **parameters
        Of every net.

    Returns
    -------
    dict
        The table.
    """
    print(f"{data.name}: {data.summary}, {data.X.shape[1]} features")
    print(f"{data.protocol}", flush=True)
    results = run(data, strategies(data, **parameters), jobs)
    table = {name: _by_measure(outcomes) for name, outcomes in results.items()}
    print(format_table(table))
    gammas = [outcome.gamma for outcomes in results.values() for outcome in outcomes]
    found = ", ".join(f"{gamma:g}" for gamma in gammas if gamma is not None)
    print(f"gamma found in each fold: {found}\n", flush=True)
    pooled = {name: pool(outcomes) for name, outcomes in results.items()}
    title = f"{data.name}: {data.summary}\n{data.protocol}; test rows pooled"
    for suffix, draw in {"pr": precision_recall, "confusion": confusion_matrices}.items():
        draw(title, data.labels, pooled).savefig(out / f"{data.key}_{suffix}.png", dpi=130)
    return table


def _by_measure(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    keys = outcomes[0].measures
    return {key: np.array([outcome.measures[key] for outcome in outcomes]) for key in keys}


def parse(argv: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="FILE", help="CSV file to compare on instead")
    parser.add_argument("--target", metavar="COLUMN", help="its column of classes")
    parser.add_argument(
        "--no-header",
        action="store_true",
        help="its columns have no names: --target -1 is the last",
    )
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder to write to")
    parser.add_argument(
        "--jobs", type=int, default=min(4, os.cpu_count() or 1), help="processes (%(default)s)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few epochs and one small data set, to try it out",
    )
    args = parser.parse_args(argv)
    if (args.data is None) != (args.target is None):
        parser.error("--data and --target belong together")
    return parser, args


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, and write figures and numbers."""
    parser, args = parse(argv)
    parameters = {"max_epochs": 3} if args.quick else {}
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        data_sets = [load() for load in sources(args)]
    except (DataError, OSError) as error:
        parser.error(str(error))
    tables = {
        data.name: compare(data, 1 if args.quick else args.jobs, args.out, **parameters)
        for data in data_sets
    }
    write_csv(tables, args.out / "comparison.csv")
    print(f"{NOTES}\n")
    print(reading_guide(tables, baseline="cross-entropy"))
    print(f"Figures and the numbers of each fold (comparison.csv): {args.out}/")


if __name__ == "__main__":
    main()
