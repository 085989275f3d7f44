"""Write numbers of a comparison: means, differences, intervals and p-values."""

from __future__ import annotations

import numpy as np

__all__ = ["MISSING", "count", "difference", "interval", "number", "p_value", "with_error"]

MISSING = "–"


def number(value: float, decimals: int) -> str:
    """Write a number with a leading zero and without a negative zero.

    Numbers above 1 have fewer decimals, because three or four digits are enough.

    Examples
    --------
    >>> from imbtorch.compare._numbers import number
    >>> number(0.50912, 3), number(-0.0001, 3), number(33.13, 1), number(1234.5, 3)
    ('0.509', '0.000', '33.1', '1,234')
    """
    if np.isnan(value):
        return MISSING
    text = f"{value:,.{_decimals_of(value, decimals)}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def _decimals_of(value: float, decimals: int) -> int:
    size = abs(value)
    if size <= 1:
        return decimals
    return min(decimals, 2 if size < 10 else 1 if size < 100 else 0)


def with_error(value: float, error: float, decimals: int) -> str:
    """Write a mean and its standard error with equally many decimals.

    Examples
    --------
    >>> from imbtorch.compare._numbers import with_error
    >>> with_error(0.2991, 0.0442, 3), with_error(331.2, 51.7, 1)
    ('0.299 ±0.044', '331 ±52')
    """
    if np.isnan(value):
        return MISSING
    return f"{number(value, decimals)} ±{error:,.{_decimals_of(value, decimals)}f}"


def difference(value: float, decimals: int, beside: float | None = None) -> str:
    """Write a difference with its sign.

    Parameters
    ----------
    value : float
        The difference.
    decimals : int
        Decimals of a value below 1.
    beside : float or None, default=None
        A number that decides about decimals instead, because both stand beside each other.

    Examples
    --------
    >>> from imbtorch.compare._numbers import difference
    >>> difference(0.1641, 3), difference(-0.0142, 3), difference(-0.0001, 3)
    ('+0.164', '-0.014', '0.000')
    """
    text = number(value, decimals if beside is None else _decimals_of(beside, decimals))
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def interval(low: float, high: float, decimals: int) -> str:
    """Write the ends of an interval with equally many decimals.

    Examples
    --------
    >>> from imbtorch.compare._numbers import interval
    >>> interval(-0.241, 0.5691, 3), interval(-1.163, 0.6512, 3)
    ('-0.241 to +0.569', '-1.16 to +0.65')
    """
    if np.isnan(low):
        return MISSING
    larger = max(abs(low), abs(high))
    return f"{difference(low, decimals, larger)} to {difference(high, decimals, larger)}"


def p_value(value: float, *, equals: bool = False) -> str:
    """Write a p-value, which is never exactly 0 or 1.

    Parameters
    ----------
    value : float
        The p-value.
    equals : bool, default=False
        Whether an equals sign stands before a number, as after the letter p in a sentence.

    Examples
    --------
    >>> from imbtorch.compare._numbers import p_value
    >>> p_value(0.0123), p_value(1.0), p_value(1e-9), p_value(0.04, equals=True)
    ('0.012', '> 0.99', '< 0.001', '= 0.040')
    """
    if np.isnan(value):
        return MISSING
    if value < 0.001:
        return "< 0.001"
    if value > 0.99:
        return "> 0.99"
    return f"{'= ' if equals else ''}{value:.3f}"


def count(value: float) -> str:
    """Write a mean number of epochs, or a dash if it is not known."""
    return MISSING if np.isnan(value) else f"{value:,.0f}"
