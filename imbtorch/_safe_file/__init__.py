"""Files of tensors and one JSON document, which run no code when they are read.

The layout is that of safetensors, so that its other readers understand the tensors: eight bytes
with the length of a JSON header, the header, the data. The document is text in the header's
``__metadata__``. We read the header ourselves: the library's own reader takes seconds and hundreds
of megabytes for a hostile one, maps all tensors into one piece of memory, and checks no sums.

The checksum finds damage. It proves nothing about who wrote the file.
"""

from __future__ import annotations

from imbtorch._safe_file._header import Layout
from imbtorch._safe_file._reading import SafeFile, read_file
from imbtorch._safe_file._writing import replacing, write_file

__all__ = ["Layout", "SafeFile", "read_file", "replacing", "write_file"]
