"""Parse the arguments, run the command, and turn errors into lines and exit codes."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from imbtorch._commands import card, compare, evaluate, fit, predict
from imbtorch._commands.console import Console
from imbtorch._version import __version__

__all__ = ["main"]

_EXIT_CODES = (
    "Exit codes: 0 success; 1 no result, or an error of this program; 2 an argument or the data "
    "cannot be used; 130 after Ctrl-C."
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="imbtorch", description="Neural networks for imbalanced data.", epilog=_EXIT_CODES
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (compare, fit, predict, evaluate, card):
        command.add_to(commands)
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
        Exit code: 0 for success; 1 if there is no result, or for an error of this program; 2 if an
        argument or the data cannot be used; 130 after Ctrl-C.

    Raises
    ------
    SystemExit
        If the arguments cannot be parsed, with code 2; after ``--help`` and ``--version``, with 0.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = parser().parse_args(
        words, argparse.Namespace(typed=shlex.join(["imbtorch", *words]))
    )
    console = Console(arguments.quiet, arguments.json)
    try:
        with console.warnings():
            code: int = arguments.run(arguments, console)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"interrupted: {arguments.nothing}", file=sys.stderr)
        return 130
    except (ValueError, ImportError, OSError, MemoryError) as error:
        return _failed(error, arguments.debug, 2)
    except Exception as error:
        return _failed(error, arguments.debug, 1)


def _failed(error: BaseException, debug: bool, code: int) -> int:
    if debug:
        raise error
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError):
        said = f"there is not enough memory ({said}). Take fewer rows or columns."
    if code == 1:
        said = f"{type(error).__name__}: {said} (this should not happen; --debug shows where)"
    print(f"error: {said}", file=sys.stderr)
    return code
