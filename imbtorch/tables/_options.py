"""What a user states about a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imbtorch.tables._words import TableError

__all__ = ["Options", "check_unused"]


@dataclass(frozen=True)
class Options:
    """How to read a file; the parameters of :func:`imbtorch.tables.read_table`."""

    sep: str | None = None
    encoding: str | None = None
    header: bool | None = None
    names: Sequence[str] | None = None
    skip_lines: int = 0
    skip_bad_rows: bool = False
    missing: Sequence[str] = ()
    decimal: str | None = None
    thousands: str | None = None

    def __post_init__(self) -> None:
        """Raise TableError if an option is not valid."""
        if self.decimal not in (None, ".", ","):
            raise TableError(f"--decimal must be . or a comma; got {self.decimal!r}.")
        if self.thousands is not None and (len(self.thousands) != 1 or self.thousands.isdigit()):
            raise TableError(f"--thousands must be one character; got {self.thousands!r}.")
        if self.thousands is not None and self.thousands == self.decimal:
            raise TableError("--thousands and --decimal must be different characters.")
        if self.skip_lines < 0:
            raise TableError(f"--skip-lines must be at least 0; got {self.skip_lines}.")


def check_unused(options: Options, what: str, names: Iterable[str]) -> None:
    """Raise TableError if an option is stated that does not fit a kind of file.

    Parameters
    ----------
    options : Options
        What the user states.
    what : str
        The kind of file, in words.
    names : iterable of str
        Options that are for text files only.

    Examples
    --------
    >>> from imbtorch.tables._options import Options, check_unused
    >>> check_unused(Options(decimal=","), "a Parquet file", ["sep"])
    """
    for name in names:
        if getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            raise TableError(f"{option} does not fit {what}, whose cells have types. Leave it out.")
