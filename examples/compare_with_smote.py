"""Losses for imbalanced data compared with SMOTE.

Plain cross-entropy, class weights, the focal loss with its gamma searched, logit adjustment and
SMOTE: the same network with the same budget, on the same folds of data with rare classes::

    python examples/compare_with_smote.py --out demo_output

The first data set is a raw table: made-up card payments with columns of text and missing
values. The others come with scikit-learn and are thinned to an imbalance. The card fraud data of
the Fraud Detection Handbook are added where they are found: in the folder that the environment
variable ``IMBTORCH_DATA`` names, or in ``../shared/data`` beside the checkout.

To compare the remedies on a table of your own, no script is needed::

    imbtorch compare table.csv --target label --out report.html
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from data_sets import (
    DataSet,
    card_fraud,
    find_fraud,
    long_tailed_digits,
    one_digit,
    payments,
    rare_tumours,
)
from figures import confusion_matrices, precision_recall
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline
from numpy.typing import ArrayLike
from sklearn.base import clone

from imbtorch import compare_strategies
from imbtorch.compare import StrategyComparison, default_strategies
from imbtorch.features import TableFeatures

TAKEN = ("cross-entropy", "balanced weights", "focal, gamma searched", "logit adjustment")
COLUMNS = {  # the metric: the two lines of its heading, decimals
    "average_precision": ("average", "precision", 3),
    "average_precision_se": ("standard", "error", 3),
    "roc_auc": ("ROC", "AUC", 3),
    "balanced_accuracy": ("balanced", "accuracy", 3),
    "brier": ("Brier", "as trained", 4),
    "brier_train_prior": ("Brier", "restated", 4),
    "seconds": ("seconds", "to fit", 2),
}
NOTES = """\
How to read the tables: each number is a mean over the folds; the standard error says how uncertain
the mean of the average precision is. A smaller Brier score is better, and so are fewer seconds; the
other numbers are better where they are greater. Balanced accuracy is the mean recall of the
classes, at the decisions that a net makes as it was trained. "Restated" probabilities are those of
target_prior="train", which converts them to the class frequencies of the data without training
again. A net behind SMOTE in a pipeline never sees these frequencies, so for it both Brier scores
are the same. SMOTE inside the net is its parameter sampler, which knows how SMOTE changed the
frequencies; in a table with categories it is SMOTENC, which invents no categories between two."""


def contestants(X: Any, y: ArrayLike, max_epochs: int | str = 20) -> dict[str, Any]:
    """Build the strategies: some of imbtorch's, and SMOTE in two places.

    Parameters
    ----------
    X : ndarray or DataFrame of shape (n, n_features)
        Features. The nets get them unchanged, and SMOTE before the net gets numbers.
    y : array-like of shape (n,)
        Labels. Their number and their frequencies decide the budget of every net.
    max_epochs : int or "auto", default=20
        Passes over the rows; ``"auto"`` lets folds inside of the training rows find the number.

    Returns
    -------
    dict of str to classifier
        Pipelines, and a search over a pipeline. The first one does nothing about the imbalance.
    """
    # perceptrons, which take a quarter of the time of the default net
    defaults = default_strategies(y, X=X, module="mlp", max_epochs=max_epochs, random_state=0)
    inside = defaults["SMOTE"]
    net, sampler = inside["classify"], inside["classify"].sampler
    steps = {
        "prepare": TableFeatures(embedding_size=None),
        "smote": SMOTE(k_neighbors=sampler.k_neighbors, random_state=sampler.random_state),
        # scaled once, before SMOTE; the net embeds the numbers, as all the others do
        "classify": clone(net).set_params(sampler=None, features=TableFeatures(scaling=None)),
    }
    return {
        **{name: defaults[name] for name in TAKEN},
        "SMOTE before the net": Pipeline(list(steps.items())),
        "SMOTE inside the net": inside,
    }


def compare(data: DataSet, max_epochs: int | str = 20) -> StrategyComparison:
    """Cross-validate all strategies on one data set.

    Parameters
    ----------
    data : DataSet
        The rows and the folds.
    max_epochs : int or "auto", default=20
        Passes over the rows; ``"auto"`` lets folds inside of the training rows find the number.
    """
    y = data.named_classes
    strategies = contestants(data.X, y, max_epochs)
    return compare_strategies(data.X, y, strategies=strategies, cv=data.folds)


def format_comparison(comparison: StrategyComparison) -> str:
    """Show the most important columns as a table that fits a terminal, and the conclusions.

    Parameters
    ----------
    comparison : StrategyComparison
        What :func:`compare` found. ``print(comparison)`` shows all of its columns.
    """
    table = comparison.table[list(COLUMNS)]
    formats = [f"{{:.{decimals}f}}".format for *_, decimals in COLUMNS.values()]
    table.columns = pd.MultiIndex.from_tuples([title[:2] for title in COLUMNS.values()])
    lines = [table.rename_axis(None).to_string(formatters=formats, sparsify=False)]
    failed = comparison.table["status"].loc[lambda status: status != "ok"]
    lines += [f"{name}: {status}" for name, status in failed.items()]
    gammas = [chosen["gamma"] for chosen in comparison.folds["chosen"] if "gamma" in chosen]
    found = f"gamma found in each fold: {', '.join(f'{gamma:g}' for gamma in gammas)}"
    return "\n".join([*lines, "", found, textwrap.fill(comparison.recommendation, 100)])


def average_precisions(comparisons: dict[str, StrategyComparison]) -> str:
    """Put the average precision of all data sets side by side, as text."""
    columns = {name: found.table["average_precision"] for name, found in comparisons.items()}
    return pd.DataFrame(columns).rename_axis(None).to_string(float_format="{:.3f}".format)


def write_figures(data: DataSet, comparison: StrategyComparison, out: Path) -> None:
    """Write two figures as PNG files, and imbtorch's report as an HTML file.

    Parameters
    ----------
    data : DataSet
        It gives the title, and the beginning of the names of the files.
    comparison : StrategyComparison
        What to draw.
    out : Path
        The folder to write to.
    """
    title = f"{data.name}: {data.summary}\n{data.protocol}; test rows pooled"
    for suffix, draw in {"pr": precision_recall, "confusion": confusion_matrices}.items():
        figure = draw(title, data.labels, comparison.predictions)
        figure.savefig(out / f"{data.key}_{suffix}.png", dpi=130)
    comparison.to_html(out / f"{data.key}.html")


def sources(quick: bool) -> list[Callable[[], DataSet]]:
    """Choose the data: one small data set to try the script out, or all that are found."""
    if quick:
        return [lambda: rare_tumours().first_folds(3)]
    bundled = [payments, one_digit, long_tailed_digits, rare_tumours]
    fraud = find_fraud()
    if fraud is None:
        print("The card fraud data are not here; only the other data are compared.\n")
        return bundled
    return [*bundled, lambda: card_fraud(fraud)]


def parse(argv: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("demo_output"), help="folder to write to (%(default)s)")
    add("--quick", action="store_true", help="few epochs and one small data set, to try it out")
    return parser, parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare on every data set; print tables, and write figures and numbers."""
    parser, args = parse(argv)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"the folder of --out cannot be made: {error}")
    torch.set_num_threads(1)  # more threads do not help with such small batches
    comparisons: dict[str, StrategyComparison] = {}
    for load in sources(args.quick):
        data = load()
        print(f"{data.name}: {data.summary}, {data.X.shape[1]} features\n{data.protocol}\n")
        if hasattr(data.X, "head"):
            print(f"{data.X.head(3).to_string()}\n")
        comparison = compare(data, 3 if args.quick else data.max_epochs)
        print(f"{format_comparison(comparison)}\n\n", flush=True)
        write_figures(data, comparison, args.out)
        comparisons[data.name] = comparison
    print(f"Average precision, on all data sets:\n\n{average_precisions(comparisons)}\n\n{NOTES}\n")
    folds = pd.concat({name: found.folds for name, found in comparisons.items()}, names=["data"])
    folds.droplevel(1).to_csv(args.out / "comparison.csv")
    print(f"Reports (.html), figures (.png), numbers of each fold (comparison.csv): {args.out}/")


if __name__ == "__main__":
    main()
