"""The logger of the package: silent, until a program asks for its messages."""

from __future__ import annotations

import logging

__all__ = ["logger"]

# Without a handler of its own, Python would print messages from WARNING on to stderr.
logger = logging.getLogger("imbtorch")
logger.addHandler(logging.NullHandler())
