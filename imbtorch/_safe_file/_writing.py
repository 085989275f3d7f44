"""Write a file completely or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from imbtorch._safe_file._digest import CHUNK
from imbtorch._safe_file._header import (
    FORMAT,
    MAX_CONTAINERS,
    MAX_DOCUMENT,
    MAX_HEADER,
    MAX_TENSORS,
    NAMES,
    Entries,
    compact_json,
    digest_of,
    is_too_wide,
)

__all__ = ["replacing", "write_file"]

_NO_SUM = "0" * 64


def write_file(
    path: str | os.PathLike[str], document: dict[str, Any], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Write a document and tensors to one file, completely or not at all.

    The file appears under its name only when it is complete and on the disk. Until then, and after
    any failure, an earlier file of this name stays.

    Parameters
    ----------
    path : str or os.PathLike
        Name of the file.
    document : dict
        JSON document: dicts with string keys, lists, strings, finite numbers, booleans and None.
        At most 1 MB as text, with at most 100,000 lists and objects.
    tensors : mapping of str to Tensor
        At most 10,000 tensors of any shape, on any device.

    Raises
    ------
    ValueError
        If the document is not JSON, or if a value is too large or has a type that cannot be
        written.
    OSError
        If the file cannot be written, for instance because the disk is full.
    """
    text = _as_text(document)
    entries = _entries_of(tensors)
    # the checksum stands first, at a known place; it is filled in after the data are written
    metadata = {"sha256": _NO_SUM, "imbtorch": text}
    header = compact_json({"__metadata__": metadata, **entries}).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER:
        raise ValueError(f"the header has {len(header)} bytes, more than {MAX_HEADER}.")
    if is_too_wide(header):
        raise ValueError(
            f"the header has {len(header)} bytes, too many for names with characters beyond ASCII; "
            "use ASCII letters in the names of modules."
        )
    with replacing(path) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        digest = digest_of(text, entries)
        for name in entries:
            data = _bytes_of(tensors[name])
            for start in range(0, len(data), CHUNK):
                digest.update(data[start : start + CHUNK])
                file.write(data[start : start + CHUNK])
        file.seek(8 + header.index(_NO_SUM.encode()))
        file.write(digest.hexdigest().encode())


def _as_text(document: dict[str, Any]) -> str:
    if "format" in document:
        raise ValueError("the document must not have the key 'format', which imbtorch adds itself.")
    try:
        text = json.dumps({"format": FORMAT, **document}, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
        faithful = json.loads(text) == {"format": FORMAT, **document}
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the document is not JSON: {error}") from error
    if not faithful:  # json converts other keys to strings, and tuples to lists
        raise ValueError("the document is not JSON: use string keys, and lists instead of tuples.")
    if size > MAX_DOCUMENT:
        raise ValueError(f"the document has {size} bytes, more than {MAX_DOCUMENT}.")
    if text.count("[") + text.count("{") > MAX_CONTAINERS:
        raise ValueError(f"the document has more than {MAX_CONTAINERS} lists and objects.")
    return text


def _entries_of(tensors: Mapping[str, torch.Tensor]) -> Entries:
    if len(tensors) > MAX_TENSORS:
        raise ValueError(f"got {len(tensors)} tensors; a file holds at most {MAX_TENSORS}.")
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES:
            raise ValueError(
                f"tensor {name!r} has dtype {tensor.dtype}, which cannot be written to a file."
            )
        if name == "__metadata__":
            raise ValueError("no tensor may be named '__metadata__'.")
    entries: Entries = {}
    end = 0
    # widest elements first, so that every tensor begins at a multiple of its element size
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    return entries


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of the elements in order, without a copy if they are stored in order."""
    if not tensor.numel():  # torch cannot view every empty tensor as bytes
        return memoryview(b"")
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write to a new file in the same folder, which replaces ``path`` at the end."""
    target = Path(os.path.realpath(path))  # replace what a link points to, not the link
    if target.exists() and not target.is_file():
        raise ValueError(
            f"{os.fspath(path)!r} exists and is not a regular file; choose another name."
        )
    temporary = target.parent / f".imbtorch-{secrets.token_hex(8)}.tmp"
    with temporary.open("xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.close()
            temporary.replace(target)
        except BaseException:
            _close_and_remove(file, temporary)
            raise
    _sync_folder(target.parent)


def _close_and_remove(file: BinaryIO, path: Path) -> None:
    try:
        file.close()  # writes buffered data, which fails if the disk is full
    except OSError:
        pass
    finally:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
