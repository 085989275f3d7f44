"""The command line: ``python -m imbtorch compare``."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from imbtorch._version import __version__
from imbtorch.compare._compare import compare_strategies
from imbtorch.compare._metrics import METRICS
from imbtorch.compare._strategies import STRATEGIES
from imbtorch.compare._table_file import read

__all__ = ["main"]

_QUICK_EPOCHS, _QUICK_FOLDS = 3, 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="python -m imbtorch", description="Neural networks for imbalanced data."
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    compare = commands.add_parser(
        "compare",
        help="compare remedies for imbalance on a table",
        description="Compare remedies for imbalance on a table, by nested cross-validation.",
        epilog=f"Strategies: {'; '.join(STRATEGIES)}.",
    )
    add = compare.add_argument
    add("file", type=Path, help="CSV file with a header, or parquet by its extension")
    add("--target", required=True, metavar="COLUMN", help="column of the classes")
    add("--strategies", nargs="+", metavar="NAME", help="some of those below, or their first words")
    add("--drop", nargs="+", default=[], metavar="COLUMN", help="columns to leave out")
    add(
        "--categorical",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns of numbers that are categories, such as postcodes; text always is",
    )
    add("--folds", type=int, default=5, help="folds of the outer cross-validation (%(default)s)")
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
    add("--quick", action="store_true", help="use two folds and three epochs, for a quick trial")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0 for success, 2 if an argument or the file is not valid, 130 after Ctrl-C.
    """
    arguments = parser().parse_args(argv)
    try:
        return _compare(arguments)
    except (ValueError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted before the first strategy was finished.", file=sys.stderr)
        return 130


def _compare(arguments: argparse.Namespace) -> int:
    if arguments.folds < 2:
        raise ValueError(f"--folds must be at least 2; got {arguments.folds}.")
    if arguments.epochs is not None and arguments.epochs < 1:
        raise ValueError(f"--epochs must be at least 1; got {arguments.epochs}.")
    _check_writable(arguments.out)
    table = read(arguments.file, arguments.target, arguments.drop, arguments.categorical)
    for note in table.notes:
        print(f"note: {note}")
    quick = arguments.quick
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="interrupted: .* strategies were finished")
        comparison = compare_strategies(
            table.X,
            table.y,
            strategies=arguments.strategies or "default",
            cv=_QUICK_FOLDS if quick else arguments.folds,
            scoring=arguments.scoring,
            module=arguments.module,
            max_epochs=_QUICK_EPOCHS if quick else arguments.epochs or "auto",
            random_state=arguments.seed,
            verbose=int(sys.stderr.isatty()),
        )
    print(comparison)
    if (comparison.table["status"] == "ok").any() and arguments.out is not None:
        comparison.to_html(arguments.out)
        print(f"\nReport: {arguments.out}")
    return 130 if comparison.interrupted else 0


def _check_writable(out: Path | None) -> None:
    """Raise ValueError if the report cannot be written, before minutes of work are lost."""
    if out is None:
        return
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise ValueError(f"--out must be a file in a folder that exists; got {out}.")
    if not os.access(out if out.exists() else out.resolve().parent, os.W_OK):
        raise ValueError(f"--out cannot be written: {out}.")
