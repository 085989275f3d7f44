"""Read and write files of tensors and one JSON document; reading a file never runs code from it.

The files have the safetensors format, so that other readers of it understand the tensors: eight
bytes with the length of a JSON header, the header, the data. The document is text in the header's
``__metadata__``. This package reads the header itself: for a malicious header the reader of the
safetensors library needs seconds and hundreds of megabytes; it also maps all tensors into one
piece of memory, and verifies no checksum.

The checksum finds damage. It does not prove who wrote the file.
"""

from __future__ import annotations

from imbtorch._safe_file._header import NAMES, Layout, printable
from imbtorch._safe_file._reading import SafeFile, read_file
from imbtorch._safe_file._writing import replacing, write_file

__all__ = ["NAMES", "Layout", "SafeFile", "printable", "read_file", "replacing", "write_file"]
