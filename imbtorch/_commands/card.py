"""``imbtorch card``: the model card of a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from imbtorch._commands.console import Console
from imbtorch._commands.model import card_of, load_model
from imbtorch._commands.options import check_writable, output_parser

__all__ = ["add_to", "run"]


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "card",
        parents=[output_parser()],
        help="describe a model in markdown",
        description="Describe a model in markdown: its data, its probabilities, its training.",
    )
    parser.set_defaults(run=run, nothing="nothing was written.")
    parser.add_argument("model", type=Path, help="file of a model")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write to a file")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print the card, or write it to a file; return the exit code.

    Raises
    ------
    ValueError
        If the file holds no model.
    """
    check_writable("--out", arguments.out, [arguments.model])
    card = card_of(load_model(arguments.model))
    if arguments.out is None:
        console.result(card, {"card": card})
        return 0
    arguments.out.write_text(card, encoding="utf-8")
    console.result(f"Written: {arguments.out}", {"card": card, "out": str(arguments.out)})
    return 0
