"""The encoder of a table in a file: its columns, their categories, and what it has learned.

Sizes, positions and flags are in the document; the numbers and the text are tensors, so that many
categories do not fill the document. All sizes are compared with the header of the file before any
tensor is read: an encoder cannot be wider than the file is large.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imbtorch._publish.model_file.state import has, refusing
from imbtorch._publish.model_file.values import ALLOWANCE, Budget, Reader, Writer
from imbtorch._safe_file import Layout
from imbtorch.exceptions import FileFormatError
from imbtorch.features import TableColumns, TableEncoder
from imbtorch.features._encoder import LARGEST

__all__ = ["SavedTable", "TableWriter"]

Document = dict[str, Any]

_TABLE = {
    "n_columns": int,
    "named": bool,
    "categories": list,
    "indicators": list,
    "embedded": list,
    "clips": bool,
    "dtype": str,
}
_OPTIONAL = {
    "n_bins": list,  # where numbers have bins, as many for each column of numbers
    "periodic": list,  # where the net embeds numbers, the columns
}
_CATEGORY = {"column": int, "words": dict | None, "n_words": int, "n_slots": int}
_NUMBERS = ("centre", "factor", "fill")  # tensors with one number for each column of numbers
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_PER_BIN = 50  # bytes that an encoder takes for a bin
_PER_COLUMN = 1000  # bytes that Python takes for a column of categories, besides its words
_PER_WORD = 40  # bytes that Python takes for a word, besides its letters
_NUMBER = bool | int | float | np.bool_ | np.integer | np.floating


# -- writing ------------------------------------------------------------------------------------


class TableWriter:
    """The encoders of a file that is being written; those that nets share are written once.

    Parameters
    ----------
    writer : Writer
        Writer that collects the tensors.

    Attributes
    ----------
    described : list of dict
        Descriptions of the encoders.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.described: list[Document] = []
        self._known: list[TableEncoder] = []

    def position(self, encoder: TableEncoder) -> int:
        """Return the place of an encoder in ``described``, after adding it if it is new.

        Raises
        ------
        ValueError
            If it holds categories that a file cannot hold, or numbers that are not finite.
        """
        for position, known in enumerate(self._known):
            if known is encoder:
                return position
        self._known.append(encoder)
        self.described.append(self._describe(encoder, f"table.{len(self.described)}."))
        return len(self._known) - 1

    def _describe(self, encoder: TableEncoder, prefix: str) -> Document:
        if type(encoder) is not TableEncoder:
            raise ValueError(
                f"The estimator encodes the columns of X by {type(encoder).__name__}, and a file "
                "can hold only a TableEncoder. Let your FeatureEncoder learn one; or use pickle."
            )
        columns = encoder.columns
        texts = list(columns.names or [])
        categories = []
        for (column, words), n_slots in zip(
            columns.vocabulary.items(), encoder.n_slots, strict=True
        ):
            is_text = len(words) > 0 and all(isinstance(word, str) for word in words)
            texts += map(str, words) if is_text else []
            categories.append(
                {
                    "column": int(column),
                    "words": None if is_text else self._numbers(words, columns.name_of(column)),
                    "n_words": len(words),
                    "n_slots": int(n_slots),
                }
            )
        described = {
            "n_columns": int(columns.n_columns),
            "named": columns.names is not None,
            "categories": categories,
            "indicators": list(map(int, encoder.indicators)),
            "embedded": list(map(int, encoder.embedded)),
            "clips": bool(encoder.clips),
            "dtype": str(encoder.dtype).removeprefix("torch."),
        }
        held = {name: getattr(encoder, name) for name in (*_NUMBERS, "quantiles", "lookup")}
        held |= _packed(texts)
        if encoder.bins is not None:
            described["n_bins"] = list(map(int, encoder.bins.n_bins))
            held["edges"] = encoder.bins.edges
        if encoder.periodic:
            described["periodic"] = list(map(int, encoder.periodic))
        self.writer.tensors |= {f"{prefix}{name}": value for name, value in held.items()}
        return described

    def _numbers(self, words: NDArray[Any], name: str) -> Document:
        """Encode categories that are numbers."""
        advice = (
            f"It is a category of the column {name!r}: a file can hold categories that are text, "
            f"numbers or booleans. Fit with X[{name!r}].astype(str), or use pickle."
        )
        encoded: Document = self.writer.encode(np.asarray(words), f"category of {name!r}", advice)
        return encoded

    def try_out(self) -> None:
        """Check that a reader will accept the encoders, after all tensors have been collected.

        Raises
        ------
        ValueError
            If it will not, or if they would take too much memory beside the rest of the file.
        """
        tensors = dict(self.writer.tensors)
        layout = {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}
        sizes = [value.nbytes for name, value in tensors.items() if not name.startswith("value.")]
        budget = Budget(sum(sizes))
        budget.left -= ALLOWANCE * 7 // 8  # what history, parameters and extra state may take
        reader = Reader(tensors, budget)
        try:
            with refusing():
                for i, described in enumerate(self.described):
                    SavedTable(described, f"table.{i}.", layout, budget).restore(reader)
        except FileFormatError as error:
            raise ValueError(
                "What the estimator knows of the columns of X cannot be written to a file: "
                f"{error} Use pickle."
            ) from error


def _packed(texts: list[str]) -> dict[str, Tensor]:
    """Pack texts into one tensor of bytes, and one that says how many bytes each of them has."""
    try:
        coded = [text.encode() for text in texts]
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The text {error.object!r} in the columns of X has characters that cannot be written "
            "to a file. Clean the text before the fit; or use pickle."
        ) from error
    lengths = torch.tensor([len(text) for text in coded], dtype=torch.int32)
    letters = np.frombuffer(b"".join(coded), dtype=np.uint8).copy()
    return {"text": torch.from_numpy(letters), "lengths": lengths}


# -- reading ------------------------------------------------------------------------------------


class SavedTable:
    """The encoder of a table in a file, of which only the sizes are known at first.

    Parameters
    ----------
    described : dict
        Description that :class:`TableWriter` has made.
    prefix : str
        Prefix of the names of its tensors.
    layout : Layout
        Dtypes and shapes of the tensors in the file.
    budget : Budget
        Memory that the content of the file may take.

    Attributes
    ----------
    n_columns : int
        Number of columns of the table.
    dtype : str
        Dtype of the encoded rows.
    n_encoded : int
        Number of columns of an encoded row.
    n_codes : tuple of int
        Number of codes of each column that the net embeds.
    periodic : tuple of int
        Columns of numbers that the net embeds.

    Raises
    ------
    FileFormatError
        If the description is not valid, or does not fit the tensors of the file.
    """

    def __init__(self, described: Any, prefix: str, layout: Layout, budget: Budget) -> None:
        given = described.keys() if isinstance(described, dict) else ()
        optional = {key: kind for key, kind in _OPTIONAL.items() if key in given}
        self.described, self.prefix = has(described, _TABLE | optional), prefix
        self.categories = [has(category, _CATEGORY) for category in described["categories"]]
        self.n_columns, self.dtype = described["n_columns"], described["dtype"]
        self.n_words = [category["n_words"] for category in self.categories]
        self.n_slots = [category["n_slots"] for category in self.categories]
        self.n_bins: list[int] = described.get("n_bins", [])
        self.periodic = tuple(described.get("periodic", ()))
        self._check(layout)
        budget.spend(50 * self.n_columns + _PER_COLUMN * len(self.categories))
        budget.spend(_PER_BIN * sum(self.n_bins))
        embedded = set(described["embedded"])
        self.n_codes = tuple(self.n_slots[j] for j in described["embedded"])
        one_hot = sum(n - 1 for j, n in enumerate(self.n_slots) if j not in embedded)
        self.n_encoded = (
            self.n_columns - len(self.categories) + len(described["indicators"])
            + sum(self.n_bins) + one_hot + len(embedded)
        )  # fmt: skip

    def _check(self, layout: Layout) -> None:
        """Compare the sizes with each other and with the header of the file."""
        described, n_categories = self.described, len(self.categories)
        n_numbers = self.n_columns - n_categories
        columns = [category["column"] for category in self.categories]
        _require(all(a < b for a, b in pairwise([-1, *columns, self.n_columns])), "columns")
        _require(_are_distinct(described["indicators"], n_numbers), "indicators")
        _require(_are_distinct(described["embedded"], n_categories), "embedded columns")
        _require(_are_distinct(self.periodic, n_numbers), "periodic columns")
        _require(self.periodic or "periodic" not in described, "periodic columns")
        _require(self.dtype in _DTYPES, "dtype")
        # each slot but the last belongs to a word, to unknown words or to gaps
        sizes = zip(self.n_words, self.n_slots, strict=True)
        _require(all(n >= 0 and 1 <= slots <= n + 3 for n, slots in sizes), "slots")
        texts = [category["n_words"] for category in self.categories if category["words"] is None]
        n_texts = sum(texts) + (self.n_columns if described["named"] else 0)
        expected = dict.fromkeys(_NUMBERS, (torch.float64, (n_numbers,))) | {
            "lookup": (torch.int64, (sum(self.n_words) + 2 * n_categories,)),
            "lengths": (torch.int32, (n_texts,)),
        }
        if "n_bins" in described:
            _require(len(self.n_bins) == n_numbers, "number of bins")
            _require(all(type(n) is int and n >= 0 for n in self.n_bins), "number of bins")
            _require(any(self.n_bins), "number of bins")
            expected["edges"] = (torch.float64, (sum(n + 1 for n in self.n_bins if n),))
        found = {name: layout.get(f"{self.prefix}{name}") for name in expected}
        _require(found == expected, "shapes of the tensors")
        dtype, shape = layout.get(f"{self.prefix}quantiles", (None, ()))
        of_numbers = len(shape) == 2 and shape[0] == n_numbers and shape[1] != 1
        _require(dtype == torch.float64 and of_numbers, "quantiles")
        dtype, shape = layout.get(f"{self.prefix}text", (None, ()))
        _require(dtype == torch.uint8 and len(shape) == 1, "text")

    def restore(self, reader: Reader) -> TableEncoder:
        """Build the encoder.

        Parameters
        ----------
        reader : Reader
            Reader of the tensors of the file.

        Returns
        -------
        TableEncoder
            The encoder.

        Raises
        ------
        FileFormatError
            If a tensor has values that do not fit.
        """
        names = (*_NUMBERS, "quantiles", "lookup", "text", "lengths")
        tensors = {name: reader.take(f"{self.prefix}{name}") for name in names}
        for name in (*_NUMBERS, "quantiles"):
            _require(tensors[name].isfinite().all(), f"values of {name}")
        texts = _unpacked(tensors["text"], tensors["lengths"], reader.budget)
        centre, factor, fill, quantiles = (
            tensors[name].numpy() for name in (*_NUMBERS, "quantiles")
        )
        return TableEncoder(
            self._columns(texts, reader),
            centre,
            factor,
            fill,
            self.described["indicators"],
            self._slots(tensors["lookup"].numpy()),
            self.n_slots,
            self.described["embedded"],
            clips=self.described["clips"],
            quantiles=quantiles if quantiles.shape[1] else None,
            edges=self._edges(reader) if self.n_bins else None,
            periodic=self.periodic,
            dtype=_DTYPES[self.dtype],
        )

    def _edges(self, reader: Reader) -> list[NDArray[np.float64]]:
        """Return the edges of the bins of each column of numbers."""
        edges = reader.take(f"{self.prefix}edges").numpy()
        _require((np.abs(edges) <= LARGEST).all(), "edges of bins")  # NaN is refused, too
        ends = np.cumsum([0, *(n + 1 if n else 0 for n in self.n_bins)])
        columns = [edges[start:stop] for start, stop in pairwise(ends.tolist())]
        _require(all((np.diff(column) > 0).all() for column in columns), "edges of bins")
        return columns

    def _slots(self, lookup: NDArray[np.int64]) -> list[NDArray[Any]]:
        ends = np.cumsum([0, *(n + 2 for n in self.n_words)])
        slots = [lookup[start:stop] for start, stop in pairwise(ends.tolist())]
        for here, n_slots in zip(slots, self.n_slots, strict=True):
            _require(here.min() >= 0 and here.max() < n_slots, "slots")
            is_used = np.bincount(here, minlength=n_slots) > 0
            _require(is_used[:-1].all(), "slots")  # the last one may stand for nothing
        return slots

    def _columns(self, texts: Iterator[str], reader: Reader) -> TableColumns:
        names = None
        if self.described["named"]:
            names = tuple(next(texts) for _ in range(self.n_columns))
            _require(len(set(names)) == len(names), "names of the columns, one of which is twice")
        vocabulary = {}
        for category in self.categories:
            if category["words"] is None:
                words = np.empty(category["n_words"], dtype=object)
                words[:] = [next(texts) for _ in range(category["n_words"])]
            else:
                words = reader.decode(category["words"])
                _check_numbers(words, category["n_words"])
            _require(all(a < b for a, b in pairwise(words)), "categories, which must be sorted")
            vocabulary[category["column"]] = words
        _require(next(texts, None) is None, "text")
        return TableColumns(self.n_columns, names, vocabulary)


def _check_numbers(words: Any, n_words: int) -> None:
    """Check that categories are one array of numbers or booleans."""
    is_array = isinstance(words, np.ndarray) and words.shape == (n_words,)
    _require(is_array and words.dtype.kind in "biufO", "categories")
    if words.dtype.kind == "O":
        known = all(isinstance(w, _NUMBER) and abs(float(w)) < 2.0**64 for w in words)
    else:
        known = bool(np.isfinite(words).all())
    _require(known, "categories, which must be finite numbers")


def _unpacked(text: Tensor, lengths: Tensor, budget: Budget) -> Iterator[str]:
    """Check the lengths of texts, and return the texts one by one."""
    _require(not len(lengths) or int(lengths.min()) >= 0, "lengths of texts")
    ends = lengths.to(torch.int64).cumsum(0)
    _require((int(ends[-1]) if len(ends) else 0) == len(text), "lengths of texts")
    letters: Any = text.numpy()
    return _decoded(memoryview(letters), ends.numpy(), budget)


def _decoded(letters: memoryview, ends: NDArray[np.int64], budget: Budget) -> Iterator[str]:
    start = 0
    for end in ends:
        text = str(letters[start:end], "utf-8")
        budget.spend(sys.getsizeof(text) + _PER_WORD)
        yield text
        start = end


def _are_distinct(positions: Sequence[Any], stop: int) -> bool:
    """Return whether values are different positions below ``stop``."""
    known = all(type(position) is int and 0 <= position < stop for position in positions)
    return known and len(set(positions)) == len(positions)


def _require(condition: Any, what: str) -> None:
    if not condition:
        raise FileFormatError(f"the encoder of the columns has invalid {what}.")
