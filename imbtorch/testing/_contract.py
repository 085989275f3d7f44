"""What a check is: a function whose failure says what is wrong and how to fix it."""

from __future__ import annotations

import functools
import inspect
import io
import pickle
import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch.testing import assert_close

__all__ = [
    "Check",
    "check",
    "close",
    "pickled",
    "raises",
    "random_states",
    "require",
    "same_params",
]

Check = Callable[..., None]


def check(fix: str) -> Callable[[Check], Check]:
    """Turn a function into a check: whatever it raises becomes an AssertionError that helps.

    Parameters
    ----------
    fix : str
        How to mend what is checked, one or two sentences.

    Returns
    -------
    callable
        A decorator. The docstring of the function says what must hold: "Check that ...".
    """

    def decorate(function: Check) -> Check:
        @functools.wraps(function)
        def checked(subject: Any, *args: Any) -> None:
            try:
                function(subject, *args)
            except Exception as error:
                found = str(error)
                if not isinstance(error, AssertionError):
                    found = f"{type(error).__name__}: {error}"
                lines = [
                    f"{_shown(subject)} fails {function.__name__}.",
                    f"What must hold: {_contract_of(function)}",
                    f"What was found: {found}",
                    f"How to fix it: {fix}",
                ]
                raise AssertionError("\n".join(lines)) from error

        return checked

    return decorate


def _contract_of(function: Check) -> str:
    doc = " ".join((inspect.getdoc(function) or "").split()).removeprefix("Check that ")
    return doc[:1].upper() + doc[1:]


def _shown(subject: Any) -> str:
    try:
        return repr(subject)
    except Exception:  # what is checked may be broken anywhere
        return f"An object of {type(subject).__qualname__}, whose repr fails,"


def require(condition: Any, found: str) -> None:
    """Raise AssertionError with what was found if a condition does not hold.

    Unlike an ``assert`` statement it also works in optimised mode.
    """
    if not condition:
        raise AssertionError(found)


def close(
    actual: Any,
    expected: Any,
    found: str,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Require that tensors are equal up to rounding; the message begins with what was found."""
    assert_close(actual, expected, rtol=rtol, atol=atol, msg=lambda numbers: f"{found}\n{numbers}")


@contextmanager
def raises(error: type[Exception], match: str, what: str) -> Iterator[None]:
    """Require an error whose message matches a regular expression.

    Parameters
    ----------
    error : type
        Class of the error.
    match : str
        Regular expression that is searched in the message.
    what : str
        What has to be refused, for the message: ``"a batch size of 0"``.
    """
    try:
        yield
    except error as raised:
        require(
            re.search(match, str(raised)),
            f"the {error.__name__} for {what} does not mention {match!r}: {raised}",
        )
    except Exception as raised:
        raise AssertionError(
            f"{what} raised {type(raised).__name__} instead of {error.__name__}: {raised}"
        ) from raised
    else:
        raise AssertionError(f"{what} raised no {error.__name__}.")


def same_params(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether parameters are equal: tensors by value, modules by their settings."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.tolist()
        if isinstance(value, torch.nn.Module):
            return type(value), {k: v for k, v in vars(value).items() if not k.startswith("_")}
        return value

    return {key: plain(value) for key, value in first.items()} == {
        key: plain(value) for key, value in second.items()
    }


def pickled(thing: Any) -> Any:
    """Pickle an object and read it again.

    Classes that cannot be imported, since they are defined in a function for instance, are kept
    aside: where a class is defined is no property of the object that is checked.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump(thing)
    buffer.seek(0)
    return _Unpickler(buffer, pickler.kept).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.kept: list[type] = []

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, type) or _is_importable(obj):
            return None
        self.kept.append(obj)
        return len(self.kept) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, kept: list[type]) -> None:
        super().__init__(file)
        self.kept = kept

    def persistent_load(self, pid: int) -> type:
        return self.kept[pid]


def _is_importable(cls: type) -> bool:
    try:
        return attrgetter(cls.__qualname__)(sys.modules[cls.__module__]) is cls
    except (AttributeError, KeyError):
        return False


def random_states() -> dict[str, Any]:
    """Return the global random states of Python, numpy and torch."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - it must not be moved
    return {
        "random": random.getstate(),
        "numpy.random": (kind, np.asarray(keys).tobytes(), *rest),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
