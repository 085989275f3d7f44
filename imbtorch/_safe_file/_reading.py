"""Read a file from an unknown source safely."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch

from imbtorch._safe_file._digest import CHUNK, Digest
from imbtorch._safe_file._foreign import BEGINNING, advice_on_foreign
from imbtorch._safe_file._header import MAX_HEADER, Header, Layout
from imbtorch.exceptions import FileFormatError

__all__ = ["SafeFile", "read_file"]


class SafeFile:
    """An open file whose header has been checked; use it in a ``with`` statement.

    Attributes
    ----------
    document : dict
        The JSON document.
    layout : dict of str to (torch.dtype, tuple of int)
        Types and shapes of the tensors, by name. They come from the header, before any tensor is
        read.
    """

    def __init__(self, file: io.FileIO, size: int) -> None:
        self._file = file
        self._start, self._header = _read_header(file, size)
        self.document = self._header.document
        self.layout: Layout = self._header.layout

    def __enter__(self) -> SafeFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def tensors(
        self, *, finite: bool = False, into: Mapping[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """Read the tensors, each into separate memory, and verify the checksum.

        Parameters
        ----------
        finite : bool, default=False
            Whether to reject floats that are NaN or infinite.
        into : mapping of str to Tensor or None, default=None
            Tensors to read into, by name: contiguous, on the CPU, with the dtypes and shapes of
            ``layout``. All other tensors get new memory.

        Returns
        -------
        dict of str to Tensor
            The tensors on the CPU, by name.

        Raises
        ------
        FileFormatError
            If the checksum is wrong or a value is not valid.
        """
        tensors = {}
        digest = self._header.digest()
        self._file.seek(self._start)
        for name, (dtype, shape) in self.layout.items():
            given = None if into is None else into.get(name)
            tensor = _empty(shape, dtype) if given is None else given.detach()
            if tensor.numel():  # torch cannot view every empty tensor as bytes
                _fill(tensor.reshape(-1).view(torch.uint8).numpy().data, self._file, digest)
            tensors[name] = tensor
        if not secrets.compare_digest(digest.hexdigest(), self._header.checksum):
            raise FileFormatError("the checksum is wrong: the file is damaged.")
        for name, tensor in tensors.items():
            _check_values(name, tensor, finite)
        return tensors


def read_file(path: str | os.PathLike[str]) -> SafeFile:
    """Open a file that :func:`write_file` wrote, and check its header.

    Parameters
    ----------
    path : str or os.PathLike
        Name of the file.

    Returns
    -------
    SafeFile
        The open file with its ``document``, ``layout`` and ``tensors()``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If the file cannot be opened, or no file can have this name.
    FileFormatError
        If it is not a regular file, is damaged, or was not written by imbtorch.
    """
    name = os.fspath(path)
    try:
        _check_regular(os.stat(name), name)
    except FileFormatError:
        raise
    except ValueError as error:  # a zero byte, or characters that file names cannot have
        raise OSError(errno.EINVAL, f"no file can have this name ({error})", repr(name)) from error
    # O_NONBLOCK: if a pipe has replaced the file since the check, open must not wait for a writer
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = io.FileIO(name, opener=lambda path, _: os.open(path, flags))
    try:
        status = os.fstat(file.fileno())
        _check_regular(status, name)
        _check_stored(status)
        return SafeFile(file, status.st_size)
    except FileFormatError as error:
        with file:
            advice = _advice(file)
        raise FileFormatError(f"{name!r}: {advice or error}") from error
    except BaseException:
        file.close()
        raise


def _advice(file: io.FileIO) -> str:
    """Say what reads a file that could not be read; empty where nothing is known."""
    try:
        file.seek(0)
        start = file.read(BEGINNING)
        file.seek(max(file.seek(0, os.SEEK_END) - BEGINNING, 0))
        return advice_on_foreign(start or b"", file.read(BEGINNING) or b"")
    except OSError:
        return ""


def _check_regular(status: os.stat_result, name: Any) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise FileFormatError(
            f"{name!r} is a folder, not a regular file: a model is one file. A "
            "folder of checkpoints is read by fit: ImbalancedNetClassifier(checkpoint=folder)"
            ".fit(X, y, resume=True), with the parameters and data of the training."
        )
    if not stat.S_ISREG(status.st_mode):
        raise FileFormatError(f"{name!r} is not a regular file.")


def _check_stored(status: os.stat_result) -> None:
    """Raise FileFormatError if a large file holds next to nothing but the size that it claims."""
    stored = 512 * getattr(status, "st_blocks", 0)  # 0 where the file system does not say
    if 0 < 16 * stored < status.st_size - 64 * 2**20:
        raise FileFormatError(
            f"the file claims {status.st_size} bytes, but only {stored} are on the disk: it is "
            "not complete."
        )


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    try:
        return torch.empty(shape, dtype=dtype)
    except (MemoryError, RuntimeError) as error:
        raise FileFormatError(
            f"a tensor of shape {shape} and dtype {dtype} takes more memory than there is."
        ) from error


def _read_header(file: io.FileIO, size: int) -> tuple[int, Header]:
    """Return the position of the data, and the header."""
    length = int.from_bytes(_read(file, 8), "little")
    if length > MAX_HEADER:
        raise FileFormatError(f"the header has {length} bytes, more than {MAX_HEADER}.")
    if length > size - 8:
        raise FileFormatError(
            f"the header has {length} bytes, but the whole file has only {size} bytes."
        )
    return 8 + length, Header(_read(file, length), size - 8 - length)


def _read(file: io.FileIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise FileFormatError("the file ends too early.")
    return data


def _fill(memory: memoryview, file: io.FileIO, digest: Digest) -> None:
    start = 0
    while start < len(memory):
        n_read = file.readinto(memory[start : start + CHUNK])
        if not n_read:
            raise FileFormatError("the file ends too early.")
        digest.update(memory[start : start + n_read])
        start += n_read


def _check_values(name: str, tensor: torch.Tensor, finite: bool) -> None:
    if not tensor.numel():
        return
    if tensor.dtype == torch.bool and tensor.view(torch.uint8).max() > 1:
        raise FileFormatError(f"tensor {name[:80]!r} has booleans that are neither 0 nor 1.")
    if finite and (tensor.is_floating_point() or tensor.is_complex()):
        if tensor.element_size() == 1:  # torch supports few operations on 8-bit floats
            tensor = tensor.float()
        # minimum and maximum are NaN if any value is NaN; unlike isfinite, they need no memory
        values = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        if not all(bound.isfinite() for bound in values.aminmax()):
            raise FileFormatError(f"tensor {name[:80]!r} has values that are not finite.")
