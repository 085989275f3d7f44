"""``imbtorch fit``: a model from a table, in a file that is safe to load."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from imbtorch._commands.console import Console
from imbtorch._commands.options import (
    check_writable,
    columns_parser,
    file_parser,
    output_parser,
    positive,
    read,
)
from imbtorch._export import to_onnx
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.compare._metrics import by_frequency
from imbtorch.persistence import save
from imbtorch.portfolio import NetPortfolioClassifier
from imbtorch.tables import Table
from imbtorch.tables._words import counted

__all__ = ["add_to", "run"]

_FOLDS = 4


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "fit",
        parents=[columns_parser(), file_parser(), output_parser()],
        help="train a model on a table, and write it to a file",
        description="Train a model on a table, and write it to a file that is safe to load.",
    )
    parser.set_defaults(run=run, nothing="there is no model yet, and no file was written.")
    add = parser.add_argument
    add("file", type=Path, help="CSV, Parquet or Excel file")
    add("--out", type=Path, required=True, metavar="FILE", help="file of the model")
    add("--onnx", type=Path, metavar="FILE.onnx", help="write the model as ONNX, too")
    add("--weight", metavar="COLUMN", help="weight of each row")
    add("--groups", metavar="COLUMN", help="rows of one group stay in one part of each fold")
    add(
        "--portfolio",
        action="store_true",
        help="blend several recipes of nets: better, and takes many times as long",
    )
    add("--time-limit", type=float, metavar="SECONDS", help="end the portfolio's training then")
    add("--module", choices=["tabm", "mlp"], help="network (tabm)")
    add(
        "--prior",
        choices=["train", "uniform"],
        default="train",
        help="population that probabilities and labels are for: the classes as frequent as in the "
        "file, or all equally frequent (%(default)s)",
    )
    add("--epochs", type=int, help="epochs of training (default: found by folds)")
    add("--seed", type=int, default=0, help="seed of all random numbers (%(default)s)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Train, write the files, and print what was trained; return the exit code.

    Raises
    ------
    ValueError
        If an argument or the file cannot be used.
    """
    _check(arguments)
    table = read(arguments, weight=arguments.weight, groups=arguments.groups)
    console.notes(table.notes)
    classes, counts = by_frequency(table.y)
    model = _model(arguments, table, console)
    groups = {} if table.groups is None else {"groups": table.groups}
    model.fit(table.X, table.y, sample_weight=table.sample_weight, **groups)
    # splitters of scikit-learn are code, which a file does not hold
    model.set_params(**{"cv" if arguments.portfolio else "validation": None})
    save(model, arguments.out)
    if arguments.onnx is not None:
        to_onnx(model, arguments.onnx)
    text, values = _described(model)
    interrupted = bool(model.interrupted_)
    frequencies = dict(zip(map(str, classes.tolist()), counts.tolist(), strict=True))
    values = {
        "model": str(arguments.out),
        "onnx": None if arguments.onnx is None else str(arguments.onnx),
        "target": table.target,
        "rows": len(table.y),
        "classes": frequencies,
        "columns": [str(name) for name in table.X.columns],
        "interrupted": interrupted,
        "notes": table.notes,
        **values,
    }
    shares = ", ".join(f"{name} {count:,}" for name, count in frequencies.items())
    files = " and ".join(str(out) for out in (arguments.out, arguments.onnx) if out is not None)
    cut = "Interrupted: the model of that moment is kept.\n" if interrupted else ""
    rows = f"{counted(len(table.y), 'row')} ({shares}), {counted(table.X.shape[1], 'column')}"
    console.result(f"{cut}{rows}. {text}\nWritten: {files}", values)
    return 130 if interrupted else 0


def _check(arguments: argparse.Namespace) -> None:
    """Raise ValueError if options cannot be used, before anything is trained."""
    positive("--epochs", arguments.epochs)
    check_writable("--out", arguments.out, [arguments.file])
    check_writable("--onnx", arguments.onnx, [arguments.file])
    if arguments.onnx is not None:
        if arguments.onnx.resolve() == arguments.out.resolve():
            raise ValueError("--out and --onnx must be different files.")
        lacking = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
        if lacking:
            raise ValueError(
                f"--onnx needs {' and '.join(lacking)}, not installed: pip install 'imbtorch[onnx]'"
            )
    if arguments.portfolio and (arguments.epochs or arguments.module):
        raise ValueError(
            "--portfolio has recipes with a module and a length of their own; leave "
            "--module and --epochs out."
        )
    if arguments.time_limit is not None:
        if not arguments.portfolio:
            raise ValueError("--time-limit is for --portfolio; for a single net: --epochs.")
        if not arguments.time_limit > 0:
            raise ValueError(f"--time-limit must be above 0 seconds; got {arguments.time_limit}.")


def _model(arguments: argparse.Namespace, table: Table, console: Console) -> Any:
    """Return the unfitted model."""
    folds = None
    if table.groups is not None:
        folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=arguments.seed)
        if arguments.epochs is not None:
            raise ValueError("--groups is for the folds that find the epochs; leave one out.")
        if (n_groups := len(np.unique(table.groups))) < _FOLDS:
            raise ValueError(
                f"--groups {arguments.groups} has {n_groups} different values, fewer than the "
                f"{_FOLDS} folds. Leave it out, and give --epochs if there is one net."
            )
    if arguments.portfolio:
        return NetPortfolioClassifier(
            ImbalancedNetClassifier(target_prior=arguments.prior, on_interrupt="keep"),
            cv=folds,
            time_limit=arguments.time_limit,
            random_state=arguments.seed,
            verbose=console.progress,
        )
    return ImbalancedNetClassifier(
        arguments.module or "tabm",
        target_prior=arguments.prior,
        max_epochs=arguments.epochs or "auto",
        validation=folds,
        on_interrupt="keep",
        random_state=arguments.seed,
        verbose=console.progress,
    )


def _described(model: Any) -> tuple[str, dict[str, Any]]:
    """Say what was trained, and how good it was on rows that the folds left out."""
    if isinstance(model, NetPortfolioClassifier):
        board = model.leaderboard_
        named = zip(board["recipe"], board["share"], strict=True)
        shares = {name: share for name, share in named if share > 0}
        text = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        return f"Recipes: {text}.", {"recipes": shares}
    text, values = f"Epochs: {model.n_iter_}.", {"epochs": model.n_iter_}
    length = getattr(model, "training_length_", None)
    if length is not None:
        score = float(np.nanmax(length.mean_score))
        values["score_of_folds"] = score
        text += f" Mean score of the folds: {score:.3f} (it chose the length, so it is optimistic)."
    return text, values
