"""The encoding of a text file."""

from __future__ import annotations

import codecs
import re

from imbtorch.tables._source import Source
from imbtorch.tables._words import TableError

__all__ = ["BYTE_ORDER_MARK", "find_encoding"]

BYTE_ORDER_MARK = "\ufeff"  # a character that is no part of the text

_MARKS = {  # the longest first: the mark of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UTF8 = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")


def find_encoding(source: Source, encoding: str | None) -> tuple[str, list[str]]:
    """Return the encoding of a text file, and notes about it.

    A byte order mark decides; else it is UTF-8 if all bytes are valid, else Windows' encoding of
    Western Europe (cp1252), with a note.

    Parameters
    ----------
    source : Source
        The file.
    encoding : str or None
        What the user states, which decides.

    Raises
    ------
    TableError
        If the file cannot be decoded, is not text, or begins with the mark of another encoding.
    """
    data, path = source.data, source.path
    if encoding is not None:
        _check_mark(source, encoding)
        return _stated(source, encoding), []
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return _stated(source, name), []
    if b"\0" in data:
        raise TableError(
            f"{path} cannot be read as CSV: it holds zero bytes. It is no text, or it is UTF-16 "
            "without a byte order mark: --encoding utf-16-le or --encoding utf-16-be."
        )
    try:
        data.decode("utf-8")
        return "utf-8", []
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    valid = sum(map(len, _UTF8.findall(data)))
    others = len(data.translate(None, bytes(range(128)))) - valid
    if valid > others:
        raise TableError(
            f"{path} is UTF-8 with invalid bytes, the first of them in line {line}. Repair them, "
            "or name the encoding: --encoding cp1252, for example."
        )
    _stated(source, "cp1252")
    example = data.splitlines()[line - 1].decode("cp1252").strip()[:60]
    return "cp1252", [
        f"the text is read as cp1252 (Western Europe), because it is not UTF-8: line {line} is "
        f"{example!r}. Another one: --encoding NAME"
    ]


def _check_mark(source: Source, encoding: str) -> None:
    """Raise TableError if a byte order mark says another encoding than the user."""
    for mark, name in _MARKS.items():
        if not source.data.startswith(mark):
            continue
        try:
            agrees = mark.decode(encoding) in ("", BYTE_ORDER_MARK)
        except (LookupError, UnicodeError):
            agrees = False
        if not agrees:
            raise TableError(
                f"{source.path} begins with the byte order mark of {name.removesuffix('-sig')}, "
                f"which --encoding {encoding} contradicts. Leave --encoding out."
            )
        return


def _stated(source: Source, encoding: str) -> str:
    try:
        codecs.lookup(encoding)
        source.data.decode(encoding)
    except LookupError as error:
        raise TableError(
            f"--encoding {encoding} is not known; examples: utf-8, utf-16, cp1252, latin-1."
        ) from error
    except UnicodeError as error:
        raise TableError(
            f"{source.path} cannot be read as CSV: its bytes are not {encoding} ({error}). Name "
            "the encoding that it has: --encoding NAME."
        ) from error
    return encoding
