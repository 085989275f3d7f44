"""Values that stand for a missing one, in cells and labels of any type."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np

__all__ = ["is_missing"]


def is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, NaT or the NA of pandas.

    Parameters
    ----------
    value : object
        One cell or label.

    Returns
    -------
    bool
        False for text of any content, as ``""`` and ``"nan"``.

    Examples
    --------
    >>> from imbtorch._common.gaps import is_missing
    >>> [is_missing(value) for value in (None, float("nan"), 0.0, "", "nan")]
    [True, True, False, False, False]
    """
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    if isinstance(value, Decimal):
        return value.is_nan()
    # those of pandas, which may not be installed
    return value is None or type(value).__name__ in {"NAType", "NaTType"}
