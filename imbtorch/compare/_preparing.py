"""Python code that repeats what was decided about the columns of a frame, and about labels."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch.compare._written import Writer
from imbtorch.tables._kinds import is_declared, is_text, text_if_mixed, word_counts
from imbtorch.tables._numbers import Numbers, read_numbers

__all__ = ["is_frame", "label_code", "preparing"]


def is_frame(X: Any) -> bool:
    """Return whether this is a frame of pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(X, pandas.DataFrame)


def preparing(given: Any, compared: Any, writer: Writer) -> str:
    """Return a function that makes the columns that were compared of those that were given.

    Parameters
    ----------
    given : object
        Features as the caller gave them.
    compared : object
        The same after the decisions about columns.
    writer : Writer
        Gets what the code imports.

    Returns
    -------
    str
        Code of the function ``prepare``; empty if nothing was decided.
    """
    if not is_frame(given) or compared is given:
        return ""
    dropped = [name for name in given.columns if name not in compared.columns]
    steps = [
        line
        for name in compared.columns
        for line in _step(given[name], compared[name], writer.of(name, "name"), writer)
    ]
    if not dropped and not steps:
        return ""
    first = f"X = X.drop(columns={writer.of(dropped, 'columns')})" if dropped else "X = X.copy()"
    title = '"""Return the columns that the model reads, as the notes of the report say."""'
    body = "\n".join(f"    {line}" for line in [title, first, *steps, "return X"])
    return f"def prepare(X):\n{body}"


def label_code(given: Any, compared: NDArray[Any], writer: Writer) -> str:
    """Return an expression of ``y`` that gives the labels that were compared.

    Parameters
    ----------
    given : array-like of shape (n,) or (n, 1)
        Labels as the caller gave them.
    compared : ndarray of shape (n,)
        The same after the decisions about labels.
    writer : Writer
        Gets what the code imports.
    """
    flat = "y" if np.ndim(given) == 1 else f"{writer.use('numpy')}.ravel(y)"
    if np.array_equal(np.ravel(np.asarray(given)), compared):
        return flat
    return f"[label.strip() for label in {flat}]"


def _step(given: Any, compared: Any, name: str, writer: Writer) -> list[str]:
    """Return the lines that change one column; none if it was taken as it is."""
    if given.dtype == compared.dtype and given.equals(compared):
        return []
    lines = [f"text = X[{name}].map(lambda cell: str(cell).strip(), na_action='ignore')"]
    if is_declared(compared):
        return [*lines, f"X[{name}] = text.mask(text == '').astype('category')"]
    column = text_if_mixed(given)
    numbers = None
    if compared.dtype.kind in "iuf" and is_text(column):
        numbers = read_numbers(word_counts(column))
    if numbers is None:
        return [*lines, f"X[{name}] = text.mask(text == '')"]
    if numbers.gaps:
        gaps = sorted({word.strip() for word in numbers.gaps})
        lines.append(f"text = text.mask(text.isin({gaps!r}))")
    if marks := _without_marks(numbers):
        lines.append(f"text = text.map(lambda word: {marks}, na_action='ignore')")
    share = " / 100  # percent" if numbers.unit == "%" else ""
    to_numeric = f"{writer.use('pandas')}.to_numeric(text)"
    return [*lines, f"X[{name}] = {to_numeric}.astype(float){share}"]


def _without_marks(numbers: Numbers) -> str:
    """Return an expression of ``word`` that Python reads as a number; empty if it does already."""
    code = "word"
    if any("\u2212" in word for word in numbers.values):
        code += r".replace('\u2212', '-')"
    if numbers.unit:
        code = f"''.join({code}.replace({numbers.unit!r}, '').split())"
    if numbers.thousands:
        code += f".replace({ascii(numbers.thousands)}, '')"
    if numbers.decimal != ".":
        code += f".replace({numbers.decimal!r}, '.')"
    return "" if code == "word" else code
