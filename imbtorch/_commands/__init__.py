"""The command line: ``imbtorch``, or ``python -m imbtorch``."""

from __future__ import annotations

from imbtorch._commands.main import main

__all__ = ["main"]
