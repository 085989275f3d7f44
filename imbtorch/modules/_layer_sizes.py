"""Checks that the builders of networks for tables share."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from numbers import Integral
from typing import Any

__all__ = ["check_hidden_sizes", "check_table"]


def check_table(builder: Any, input_shape: Sequence[int]) -> None:
    """Raise ValueError if a row of ``X`` has more than one dimension."""
    if len(input_shape) != 1:
        raise ValueError(
            f"{type(builder).__name__} works on tables of shape (n, features), but a row of X has "
            f"shape {tuple(input_shape)}. Flatten X with X.reshape(len(X), {prod(input_shape)}), "
            "or give a module for sequences or images."
        )


def check_hidden_sizes(hidden_sizes: Sequence[Any]) -> None:
    """Raise ValueError if a width of a hidden layer is not an integer >= 1."""
    for size in hidden_sizes:
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(
                f"hidden_sizes must be positive integers, one per layer; got {hidden_sizes!r}."
            )
