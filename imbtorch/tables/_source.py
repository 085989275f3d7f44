"""The content of a file, decompressed, and what kind of table it is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from imbtorch.tables._words import TableError, some

__all__ = ["Source", "open_source"]

_COMPRESSED = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ": lzma.decompress}
_ZIP = b"PK\x03\x04"
_ADVICE = "Write the table as CSV or Parquet."
# What often lies under the name of a table, recognised by its first bytes
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; decompress it first (zstd -d)",
    b"\xd0\xcf\x11\xe0": "is an old Excel file (.xls). Save it as .xlsx or CSV",
    b"ARROW1": f"is an Arrow (Feather) file. {_ADVICE}",
    b"\x89HDF": f"is an HDF5 file. {_ADVICE}",
    b"SQLite format": f"is a SQLite database. {_ADVICE}",
    b"\x80": f"is not a table but looks like a pickle, which is not opened. {_ADVICE}",
    b"version https://git-lfs": "is a pointer of Git LFS; fetch the file itself: git lfs pull",
    b"<": "is a web page or XML, and not a table. Download the file itself",
    b"{": f"is JSON. {_ADVICE}",
    b"[": f"is JSON. {_ADVICE}",
    b"@": f"is an ARFF file. {_ADVICE}",
}


@dataclass(frozen=True)
class Source:
    """A file in memory.

    Parameters
    ----------
    path : Path
        Where it came from.
    kind : {"text", "parquet", "excel"}
        What it holds.
    data : bytes
        Its content, decompressed.
    """

    path: Path
    kind: str
    data: bytes


def open_source(path: Path) -> Source:
    """Read a file, and decompress it if its first bytes say that it is compressed.

    Raises
    ------
    TableError
        If there is no such file, it is empty or damaged, or it holds no table.
    """
    if path.is_dir():
        raise TableError(f"{path} is a folder; give a file.")
    if not path.is_file():
        raise TableError(f"there is no file {path}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be opened: {error.strerror or error}.") from error
    data = _decompressed(path, data)
    if data.startswith(b"PAR1"):
        return Source(path, "parquet", data)
    if path.suffix.lower() in {".parquet", ".pq"}:
        raise TableError(f"{path} cannot be read as parquet: its first bytes are not those of one.")
    if data.startswith(_ZIP):
        return Source(path, "excel", data)
    for start, what in _OTHERS.items():
        if data.removeprefix(b"\xef\xbb\xbf").lstrip()[: len(start)] == start:
            raise TableError(f"{path} {what}.")
    if not data.strip():
        raise TableError(f"{path} cannot be read as CSV: it is empty.")
    return Source(path, "text", data)


def _decompressed(path: Path, data: bytes) -> bytes:
    try:
        for start, decompress in _COMPRESSED.items():
            if data.startswith(start):
                return decompress(data)
        if data.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if "[Content_Types].xml" in archive.namelist():  # an Excel file
                    return data
                return archive.read(_only_member(path, archive.namelist()))
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise TableError(f"{path} is a damaged compressed file: {error}.") from error
    except (RuntimeError, NotImplementedError) as error:  # a password, or an unknown method
        raise TableError(f"{path} cannot be decompressed: {error}.") from error
    return data


def _only_member(path: Path, names: list[str]) -> str:
    files = [name for name in names if not name.endswith("/") and "__MACOSX" not in name]
    if len(files) != 1:
        raise TableError(
            f"{path} holds {len(files)} files ({some(files)}); unpack it and give one of them."
        )
    return files[0]
