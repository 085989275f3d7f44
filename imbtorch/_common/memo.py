"""What several fits on the same data need only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["Memo"]

Result = TypeVar("Result")
_PLAIN = (type(None), str, int, float, type, torch.dtype, torch.device)


class Memo:
    """Results of functions, by the identity of their arguments.

    Fits that hold one of these share checked arrays and tensors; it keeps what it has seen alive.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[tuple[Any, ...], Any]] = {}

    def once(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        """Call a function, unless it was called with these very objects before.

        Parameters
        ----------
        function : callable
            Its result depends on its arguments alone.
        arguments : tuple
            Names, numbers and types count as equal if they compare equal, everything else if it is
            the same object.

        Returns
        -------
        object
            What the first such call returned.
        """
        key = (function, *map(_identity, arguments))
        if key not in self._known:
            self._known[key] = arguments, function(*arguments)
        result: Result = self._known[key][1]
        return result


def _identity(value: Any) -> Any:
    return value if isinstance(value, _PLAIN) else (id(value),)  # no plain value is a tuple
