"""Errors and warnings that users may want to catch by name."""

from __future__ import annotations

__all__ = ["DivergenceError", "DoubleCorrectionWarning", "FileFormatError", "NotStackedWarning"]


class DivergenceError(ValueError):
    """Training produced a loss or weights that are not finite.

    It is a :class:`ValueError`, so that scikit-learn's searches score the candidate with their
    ``error_score`` and carry on.
    """


class DoubleCorrectionWarning(UserWarning):
    """Two or more settings correct the same class imbalance, and together overshoot it."""


class NotStackedWarning(UserWarning):
    """Nets that were to be trained as one stack are trained one by one; the message says why."""


class FileFormatError(ValueError):
    """A file is damaged, hostile, or not one that this version of imbtorch reads."""
