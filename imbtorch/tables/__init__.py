"""Read tables from files, and decide what their columns are."""

from __future__ import annotations

from imbtorch.tables._memory_map import parquet_to_memmap
from imbtorch.tables._table import Table, read_table
from imbtorch.tables._words import TableError

__all__ = ["Table", "TableError", "parquet_to_memmap", "read_table"]
