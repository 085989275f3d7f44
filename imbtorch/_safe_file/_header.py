"""The header of a file: its limits, and the checks of a header from an unknown source."""

from __future__ import annotations

import json
import math
from typing import Any

import torch

from imbtorch._safe_file._digest import Digest
from imbtorch.exceptions import FileFormatError

__all__ = [
    "FORMAT",
    "MAX_CONTAINERS",
    "MAX_DOCUMENT",
    "MAX_HEADER",
    "MAX_TENSORS",
    "NAMES",
    "Entries",
    "Header",
    "Layout",
    "compact_json",
    "is_too_wide",
    "digest_of",
    "printable",
]

FORMAT = 1
MAX_HEADER = 8 * 2**20
MAX_WIDE = 2 * 2**20  # Python stores one wide character as four bytes, and all others with it
MAX_DOCUMENT = 2**20
MAX_CONTAINERS = 100_000  # lists and objects in the document, the slowest parts to parse
MAX_TENSORS = 10_000
MAX_DIMENSIONS = 16

DTYPES = {
    "F64": torch.float64,
    "C64": torch.complex64,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F32": torch.float32,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}

Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]
Entries = dict[str, dict[str, Any]]  # entries of the header, by name of the tensor


class Header:
    """A header that has been checked.

    Parameters
    ----------
    data : bytes
        Bytes of the header in the file.
    size : int
        Number of bytes of data that follow the header.

    Attributes
    ----------
    checksum : str
        Checksum that the file states, in hexadecimal digits.
    document : dict
        The parsed JSON document.
    layout : dict of str to (torch.dtype, tuple of int)
        Types and shapes of the tensors, in the order of their data.

    Raises
    ------
    FileFormatError
        If the header is not valid.
    """

    def __init__(self, data: bytes, size: int) -> None:
        if not data.startswith(b"{"):
            raise FileFormatError("the header is not a JSON object.")
        if is_too_wide(data):
            raise FileFormatError(
                f"the header has {len(data)} bytes and characters beyond ASCII, for which at most "
                f"{MAX_WIDE} bytes are allowed."
            )
        _check_complexity(data)
        self.checksum, self._text, self._entries = _split_header(_strict_json(data))
        self.document = _parse_document(self._text)
        self.layout = _check_entries(self._entries, size)

    def digest(self) -> Digest:
        """Return a checksum that has begun with the header, to be continued with the data."""
        return digest_of(self._text, self._entries)


def is_too_wide(header: bytes) -> bool:
    """Return whether a header may take many times its size as text, because of wide characters."""
    return len(header) > MAX_WIDE and not (header.isascii() and rb"\u" not in header)


def _check_complexity(header: bytes) -> None:
    """Raise FileFormatError if the parsed header would take many times its size in memory.

    A file from imbtorch has five strings for each tensor, and less than 100 bytes outside strings.
    """
    plain = header.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') > 2 * (5 * MAX_TENSORS + 5):
        raise FileFormatError(f"the header lists more than {MAX_TENSORS} tensors.")
    if sum(map(len, plain.split(b'"')[::2])) > 100 * MAX_TENSORS:
        raise FileFormatError("the header is too complex.")


def _strict_json(text: bytes | str) -> dict[str, Any]:
    """Parse a JSON object; reject duplicate keys, NaN, infinities and deep nesting."""
    try:
        value = json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
        )
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"the JSON text is not valid: {error}") from error
    if not isinstance(value, dict):
        raise FileFormatError("the JSON text is not an object.")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite_float(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is out of range")
    return value


def _split_header(header: dict[str, Any]) -> tuple[str, str, Entries]:
    """Split a header into the checksum, the text of the document and the entries of tensors."""
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or "imbtorch" not in metadata:
        raise FileFormatError(
            "this is a safetensors file, but imbtorch did not write it. It holds tensors only, "
            "which safetensors.torch.load_file reads: give them to load_state_dict of a module, "
            "and this module to an estimator."
        )
    if set(metadata) != {"sha256", "imbtorch"}:
        raise FileFormatError(f"__metadata__ has unexpected keys: {_shown(set(metadata))}.")
    digest, text = metadata["sha256"], metadata["imbtorch"]
    if not (isinstance(digest, str) and digest.isascii() and isinstance(text, str)):
        raise FileFormatError("__metadata__ must hold text only.")
    return digest, text, header


def _parse_document(text: str) -> dict[str, Any]:
    if len(text) > MAX_DOCUMENT or len(text.encode(errors="replace")) > MAX_DOCUMENT:
        raise FileFormatError(f"the document has more than {MAX_DOCUMENT} bytes.")
    if text.count("[") + text.count("{") > MAX_CONTAINERS:
        raise FileFormatError(f"the document has more than {MAX_CONTAINERS} lists and objects.")
    document = _strict_json(text)
    version = document.pop("format", None)
    if type(version) is not int or version < 1:
        raise FileFormatError(f"the format number is {_shown(version)}, expected {FORMAT}.")
    if version > FORMAT:
        raise FileFormatError(
            f"the file has format {_shown(version)}, but this version of imbtorch reads formats "
            f"up to {FORMAT}: upgrade imbtorch."
        )
    return document


def _check_entries(entries: Entries, size: int) -> Layout:
    """Return dtypes and shapes of the tensors; check that they fill exactly ``size`` bytes."""
    if len(entries) > MAX_TENSORS:
        raise FileFormatError(f"the file has {len(entries)} tensors, more than {MAX_TENSORS}.")
    layout: Layout = {}
    end = 0
    for name, entry in entries.items():
        dtype, shape, (begin, stop) = _check_entry(name, entry)
        n_bytes = math.prod(shape) * dtype.itemsize
        if begin != end or stop != begin + n_bytes:
            raise FileFormatError(
                f"tensor {name[:80]!r} lies at [{begin}, {stop}), expected [{end}, {end + n_bytes})"
            )
        end = stop
        layout[name] = dtype, shape
    if end != size:
        raise FileFormatError(f"the tensors have {end} bytes, the file has {size} for them.")
    return layout


def _check_entry(name: str, entry: Any) -> tuple[torch.dtype, tuple[int, ...], list[int]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FileFormatError(
            f"the entry of tensor {name[:80]!r} must have exactly the keys dtype, shape and "
            "data_offsets."
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise FileFormatError(f"tensor {name[:80]!r} has an unknown dtype: {_shown(dtype)}.")
    if not (_are_sizes(shape, MAX_DIMENSIONS) and _are_sizes(offsets, 2) and len(offsets) == 2):
        raise FileFormatError(f"tensor {name[:80]!r} has an invalid shape or invalid data_offsets.")
    return DTYPES[dtype], tuple(shape), offsets


def _are_sizes(values: Any, at_most: int) -> bool:
    """Return whether values are at most ``at_most`` sizes whose product torch can represent."""
    return (
        isinstance(values, list)
        and len(values) <= at_most
        and all(type(value) is int and 0 <= value < 2**60 for value in values)
        and (at_most == 2 or math.prod(max(value, 1) for value in values) < 2**60)
    )


def _shown(value: Any) -> str:
    """Describe a value from a file of an unknown source, in at most 80 characters."""
    return repr(value)[:80] if isinstance(value, str | int | float | set) else type(value).__name__


def printable(value: Any, at_most: int = 80) -> str:
    """Return the beginning of a text from a file, so that a terminal can show it safely.

    Characters that are not printable, such as those that begin the commands of a terminal, become
    their escape sequences.

    Parameters
    ----------
    value : object
        Text, or what ``str`` converts to text.
    at_most : int, default=80
        Number of characters to keep.
    """
    text = str(value)[:at_most]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def digest_of(text: str, entries: Entries) -> Digest:
    """Return a checksum that has begun with the whole header, except the checksum itself."""
    return Digest((text + compact_json(entries)).encode(errors="surrogatepass"))


def compact_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
