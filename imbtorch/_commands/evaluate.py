"""``imbtorch evaluate``: how good a model is on rows whose labels are known."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._commands import measures, pages
from imbtorch._commands.console import Console
from imbtorch._commands.model import NewRows, classes_of, load_model, read_for
from imbtorch._commands.options import check_writable, file_options, file_parser, output_parser
from imbtorch.compare._metrics import predict
from imbtorch.compare._run import installed
from imbtorch.tables import TableError
from imbtorch.tables._columns import Statements
from imbtorch.tables._labels import read_labels
from imbtorch.tables._words import counted, some

__all__ = ["add_to", "run"]


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        parents=[file_parser(), output_parser()],
        help="measure a model on rows whose labels are known",
        description="Measure a model on rows that it was not trained on: ranking, probabilities, "
        "and what is caught within a budget of alarms.",
    )
    parser.set_defaults(run=run, nothing="nothing was written.")
    add = parser.add_argument
    add("model", type=Path, help="file of a model")
    add("file", type=Path, help="CSV, Parquet or Excel file with the columns of the model")
    add("--target", required=True, metavar="COLUMN", help="column of the classes")
    add("--positive", metavar="CLASS", help="class to catch (default: the rarest one in training)")
    add(
        "--budget",
        nargs="+",
        type=float,
        default=[0.01, 0.05, 0.1],
        metavar="N",
        help="alarms that can be looked at: a share of the rows below 1, or a number",
    )
    add("--drop-unlabelled", action="store_true", help="leave out rows without a class")
    add(
        "--case", choices=["merge", "keep"], help="classes that differ only by upper and lower case"
    )
    add("--out", type=Path, metavar="FILE.html", help="write a report with figures to this file")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Measure, print the result, and write the report; return the exit code.

    Raises
    ------
    ValueError
        If the model or the file cannot be used.
    """
    check_writable("--out", arguments.out, [arguments.model, arguments.file])
    if any(not budget > 0 for budget in arguments.budget):
        raise ValueError(f"--budget must be above 0; got {min(arguments.budget):g}.")
    model = load_model(arguments.model)
    classes = _ordered_classes(model, arguments.positive)
    role = {"target": arguments.target}
    rows = read_for(model, arguments.file, file_options(arguments), arguments.drop, role)
    X, y = _labelled(rows, arguments, classes)
    console.notes(rows.notes)
    found = measures.measure(predict(model, X, y, classes), classes, arguments.budget)
    if arguments.out is not None:
        facts = {
            "Model": str(arguments.model),
            "File": str(arguments.file),
            "Rows": f"{len(y):,}, {counted(X.shape[1], 'column')}",
            "Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "Versions": ", ".join(f"{name} {number}" for name, number in installed().items()),
            "Command": arguments.typed,
        }
        pages.write(arguments.out, found, facts, rows.notes)
    console.result(measures.as_text(found), {**measures.as_values(found), "notes": rows.notes})
    if arguments.out is not None:
        console.say(f"\nReport: {arguments.out}")
    return 0


def _ordered_classes(model: Any, positive: str | None) -> NDArray[Any]:
    """Return the classes, with the one to catch last."""
    classes, counts = classes_of(model)
    order = np.argsort(-counts, kind="stable")
    if positive is not None:
        places = np.flatnonzero(classes.astype(str) == positive)
        if not len(places):
            raise ValueError(
                f"--positive {positive!r} is not a class of the model: {some(classes)}."
            )
        order = np.r_[order[order != places[0]], places[0]]
    return np.asarray(classes[order])


def _labelled(
    rows: NewRows, arguments: argparse.Namespace, classes: NDArray[Any]
) -> tuple[Any, NDArray[Any]]:
    """Return the rows that have a label, and their labels.

    Raises
    ------
    TableError
        If the labels are not those of the model, or a class has no row.
    """
    labels = read_labels(
        rows.others["target"],
        arguments.target,
        Statements(
            missing=arguments.missing, decimal=arguments.decimal, thousands=arguments.thousands
        ),
        drop_unlabelled=arguments.drop_unlabelled,
        case=arguments.case,
        any_number=True,
    )
    rows.notes.extend(labels.notes)
    y = _as_classes(labels.values(), classes)
    unknown = sorted(set(y.tolist()) - set(classes.tolist()), key=str)
    if unknown:
        raise TableError(
            f"the target {arguments.target!r} has labels that the model does not know: "
            f"{some(map(repr, unknown))}. It knows {some(map(repr, classes.tolist()))}."
        )
    if lacking := sorted(set(classes.tolist()) - set(y.tolist()), key=str):
        raise TableError(
            f"no row has the label {some(map(repr, lacking))}, but each class of the model is "
            "needed to measure it. Take more rows."
        )
    return rows.X[labels.known], y


def _as_classes(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[Any]:
    """Return labels as the classes of the model that are written the same way; others unchanged."""
    if y.dtype.kind == classes.dtype.kind or "U" not in (y.dtype.kind, classes.dtype.kind):
        return y
    written = {str(label): label for label in classes.tolist()}
    if classes.dtype.kind == "b":  # TRUE and true mean True, as in a column without a gap
        written |= {word.lower(): label for word, label in written.items()}
        y = np.char.lower(y.astype(str))
    same = [written.get(str(label), label) for label in y.tolist()]
    kind = classes.dtype if all(str(label) in written for label in y.tolist()) else object
    return np.asarray(same, dtype=kind)
