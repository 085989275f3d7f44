"""What a command prints: results on stdout, all else on stderr."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Console"]


@dataclass(frozen=True)
class Console:
    """Where a command prints to.

    Parameters
    ----------
    quiet : bool
        Whether only results and errors are printed.
    as_json : bool
        Whether the result is one JSON object, and all else goes to stderr.
    """

    quiet: bool = False
    as_json: bool = False

    @property
    def progress(self) -> int:
        """Whether progress bars are shown: to a person, who did not ask for quiet."""
        return int(sys.stderr.isatty() and not self.quiet)

    def notes(self, notes: Iterable[str]) -> None:
        """Print notes about the data."""
        if not self.quiet:
            for note in notes:
                print(f"note: {note}", file=sys.stderr if self.as_json else sys.stdout)

    def say(self, text: str) -> None:
        """Print what a person wants to know, and a program does not."""
        if not (self.quiet or self.as_json):
            print(text)

    def result(self, text: str, values: Mapping[str, Any]) -> None:
        """Print a result, as text or as JSON."""
        print(json.dumps(_plain(values), indent=2) if self.as_json else text)

    @contextmanager
    def warnings(self) -> Iterator[None]:
        """Print warnings as one line each, or not at all if it is to be quiet."""

        def show(message: Warning | str, *_: Any, **__: Any) -> None:
            if not self.quiet:
                print(f"warning: {message}", file=sys.stderr)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            warnings.showwarning = show
            yield


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it; NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
