"""``imbtorch compare``: remedies for imbalance on a table, by nested cross-validation."""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from pathlib import Path
from typing import Any

from sklearn.model_selection import TimeSeriesSplit

from imbtorch._commands.console import Console
from imbtorch._commands.options import (
    check_writable,
    columns_parser,
    file_parser,
    output_parser,
    positive,
    read,
    reading_options,
)
from imbtorch.compare._compare import compare_strategies
from imbtorch.compare._findings import INTERRUPTED
from imbtorch.compare._metrics import METRICS
from imbtorch.compare._result import StrategyComparison
from imbtorch.compare._run import ComparisonRun
from imbtorch.compare._strategies import STRATEGIES
from imbtorch.compare._written import call

__all__ = ["add_to", "run"]

_FOLDS, _QUICK_FOLDS, _QUICK_EPOCHS = 5, 2, 3


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare",
        parents=[columns_parser(), file_parser(), output_parser()],
        help="compare remedies for imbalance on a table",
        description="Compare remedies for imbalance on a table, by nested cross-validation.",
        epilog=f"Strategies: {'; '.join(STRATEGIES)}.",
    )
    parser.set_defaults(run=run, nothing="no strategy was finished.")
    add = parser.add_argument
    add("file", type=Path, help="CSV, Parquet or Excel file")
    add("--strategies", nargs="+", metavar="NAME", help="some of those below, or their first words")
    add("--folds", type=int, help=f"folds of the outer cross-validation (default: {_FOLDS})")
    add("--groups", metavar="COLUMN", help="rows of one group stay in one part of each fold")
    add(
        "--weight",
        metavar="COLUMN",
        help="weight of each row, in training and in all metrics; SMOTE takes none",
    )
    add("--time", metavar="COLUMN", help="sort the rows by it; test on later rows than trained on")
    add(
        "--module",
        choices=["tabm", "mlp"],
        default="tabm",
        help="network of every net (%(default)s); mlp takes about a quarter of the time",
    )
    add("--epochs", type=int, help="epochs of each net (default: found by folds, for each net)")
    add(
        "--scoring",
        default="average_precision",
        metavar="NAME",
        help=f"metric that decides (%(default)s): {', '.join(METRICS)}, or a scikit-learn scorer",
    )
    add("--out", type=Path, metavar="FILE.html", help="write a report with figures to this file")
    add("--seed", type=int, default=0, help="seed of all random numbers (%(default)s)")
    add(
        "--quick",
        action="store_true",
        help=f"a quick trial: {_QUICK_FOLDS} folds and {_QUICK_EPOCHS} epochs, unless --folds or "
        "--epochs states another number",
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Compare, print the result, and write the report; return the exit code.

    Raises
    ------
    ValueError
        If an argument or the file cannot be used.
    """
    positive("--folds", arguments.folds, 2)
    positive("--epochs", arguments.epochs)
    check_writable("--out", arguments.out, [arguments.file])
    if arguments.groups and arguments.time:
        raise ValueError("--groups and --time make different folds; give one of them.")
    table = read(arguments, **_roles(arguments))
    console.notes(table.notes)
    # what is stated counts more than what --quick implies
    n_folds = arguments.folds or (_QUICK_FOLDS if arguments.quick else _FOLDS)
    n_epochs = arguments.epochs or (_QUICK_EPOCHS if arguments.quick else "auto")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=INTERRUPTED)  # the result says it
        comparison = compare_strategies(
            table.X,
            table.y,
            strategies=arguments.strategies or "default",
            cv=TimeSeriesSplit(n_folds) if table.is_in_order else n_folds,
            groups=table.groups,
            sample_weight=table.sample_weight,
            scoring=arguments.scoring,
            module=arguments.module,
            max_epochs=n_epochs,
            random_state=arguments.seed,
            verbose=console.progress,
            check_columns=False,  # which the reader has done
        )
    comparison = dataclasses.replace(
        comparison, notes=table.notes, run=_from_file(comparison.run, arguments)
    )
    finished = bool((comparison.table["status"] == "ok").any())
    if finished and arguments.out is not None:
        comparison.to_html(arguments.out)
    console.result(str(comparison), _values(comparison))
    if finished and arguments.out is not None:
        console.say(f"\nReport: {arguments.out}")
    return 130 if comparison.interrupted else 0 if finished else 1


def _roles(arguments: argparse.Namespace) -> dict[str, str | None]:
    """Return the columns with a role of their own, by their role."""
    return {"weight": arguments.weight, "groups": arguments.groups, "time": arguments.time}


def _from_file(run: ComparisonRun | None, arguments: argparse.Namespace) -> ComparisonRun | None:
    """Add the file, the command and how Python reads the file."""
    if run is None:
        return None
    options = reading_options(arguments, **_roles(arguments))
    given = {name: repr(value) for name, value in options.items()}
    file = str(arguments.file)
    groups = {"groups": "table.groups"} if arguments.groups else {}
    return dataclasses.replace(
        run,
        file=file,
        command=arguments.typed,
        reading=f"table = {call('read_table', given, f'{file!r}, {arguments.target!r}')}",
        arguments={**run.arguments, **groups},
        weights="table.sample_weight" if run.weights else "",
        supplied={},  # the reader of the file has the groups
    )


def _values(comparison: StrategyComparison) -> dict[str, Any]:
    """Return the result as plain values."""
    return {
        "data": comparison.data,
        "scoring": comparison.scoring,
        "reference": comparison.reference,
        "interrupted": comparison.interrupted,
        "quick": bool(comparison.run is not None and comparison.run.reduced),
        "run": {} if comparison.run is None else comparison.run.facts,
        "recommendation": comparison.recommendation,
        "code": comparison.code,
        "notes": list(comparison.notes),
        "strategies": comparison.table.to_dict(orient="index"),
    }
