"""Share results between several fits on the same data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import joblib
import torch

__all__ = ["Memo", "digest"]

Result = TypeVar("Result")
_PLAIN = (type(None), str, int, float, type, torch.dtype, torch.device)


class Memo:
    """Results of function calls, found again by the identity of the arguments.

    Fits that hold the same ``Memo`` share checked arrays and tensors. It keeps all arguments and
    results in memory.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def once(
        self,
        function: Callable[..., Result],
        arguments: tuple[Any, ...],
        key: Callable[[], tuple[Any, ...]] | None = None,
    ) -> Result:
        """Call a function, unless it was called with the same objects before.

        Parameters
        ----------
        function : callable
            Function whose result depends only on its arguments.
        arguments : tuple
            Arguments of the call. Strings, numbers and types are the same if they compare equal,
            all other arguments only if they are the same object.
        key : callable() -> tuple or None, default=None
            Returns what is compared instead of the arguments, for arguments that are equal without
            being the same object; see :func:`digest`.

        Returns
        -------
        object
            Result of the first call with these arguments.
        """
        compared = arguments if key is None else key()
        call = (function, *map(_identity, compared))
        if call not in self._known:
            self._known[call] = (arguments, compared), function(*arguments)
        result: Result = self._known[call][1]
        return result


def digest(value: Any) -> Any:
    """Return a text that is the same for equal settings or arrays.

    For what cannot be pickled, such as a local function, it is an object that is equal to nothing
    else.
    """
    try:
        return joblib.hash(value, coerce_mmap=True)
    except Exception:  # pickling raises many types of errors
        return object()


def _identity(value: Any) -> Any:
    return value if isinstance(value, _PLAIN) else (id(value),)  # a tuple is no plain value
