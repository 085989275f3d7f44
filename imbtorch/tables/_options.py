"""What a user states about a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imbtorch.tables._words import TableError

__all__ = ["Options"]


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
