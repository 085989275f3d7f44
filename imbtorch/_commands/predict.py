"""``imbtorch predict``: labels and probabilities of the rows of a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from imbtorch._commands.console import Console
from imbtorch._commands.model import NewRows, load_model, read_for
from imbtorch._commands.options import check_writable, file_options, file_parser, output_parser
from imbtorch.tables._pandas import import_pandas
from imbtorch.tables._words import counted

__all__ = ["add_to", "run"]


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "predict",
        parents=[file_parser(), output_parser()],
        help="predict the rows of a file",
        description="Write the label and the probabilities of each row of a file, in its order.",
    )
    parser.set_defaults(run=run, nothing="no file was written.")
    add = parser.add_argument
    add("model", type=Path, help="file of a model")
    add("file", type=Path, help="CSV, Parquet or Excel file with the columns of the model")
    add("--out", type=Path, metavar="FILE.csv", help="file to write (default: print them)")
    add("--copy", nargs="+", default=[], metavar="COLUMN", help="columns to copy, such as a number")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Predict, and write a file; return the exit code.

    Raises
    ------
    ValueError
        If the model or the file cannot be used.
    """
    check_writable("--out", arguments.out, [arguments.model, arguments.file])
    model = load_model(arguments.model)
    copied = {name: name for name in arguments.copy}
    options = file_options(arguments)
    rows = read_for(model, arguments.file, options, arguments.drop, copied, verbatim=True)
    scores = _scores(model, rows)
    if arguments.out is None and not arguments.json:
        for note in rows.notes if not console.quiet else ():
            print(f"note: {note}", file=sys.stderr)
        print(scores.to_csv(index=False), end="")
        return 0
    console.notes(rows.notes)
    labels, counts = np.unique(scores["prediction"].to_numpy().astype(str), return_counts=True)
    found = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    values: dict[str, Any] = {"rows": len(scores), "predicted": found, "notes": rows.notes}
    if arguments.out is None:
        values["scores"] = scores.to_dict(orient="records")
    else:
        scores.to_csv(arguments.out, index=False)
        values["out"] = str(arguments.out)
    shares = ", ".join(f"{label} {count:,}" for label, count in found.items())
    console.result(f"{counted(len(scores), 'row')} ({shares}).\nWritten: {arguments.out}", values)
    return 0


def _scores(model: Any, rows: NewRows) -> Any:
    """Return the columns to write."""
    proba = np.asarray(model.predict_proba(rows.X), dtype=np.float64)
    predicted = {"prediction": np.asarray(model.predict(rows.X))}
    for place, label in enumerate(model.classes_.tolist()):
        predicted[f"probability_{label}"] = proba[:, place]
    copied = {name: column.to_numpy() for name, column in rows.others.items()}
    if twice := set(copied) & set(predicted):
        raise ValueError(
            f"--copy {' '.join(sorted(twice))} has the name of a column of the result."
        )
    columns = {**copied, **predicted}
    return import_pandas().DataFrame(columns)
