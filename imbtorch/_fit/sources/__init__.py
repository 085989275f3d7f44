"""Where the rows of a fit come from: one file per source, one base class."""

from __future__ import annotations

from imbtorch._fit.sources.arrays import ArraySource
from imbtorch._fit.sources.base import RowSource
from imbtorch._fit.sources.chunk import ChunkSource, ClassChunkSource
from imbtorch._fit.sources.stream import StreamSource

__all__ = ["ArraySource", "ChunkSource", "ClassChunkSource", "RowSource", "StreamSource"]
