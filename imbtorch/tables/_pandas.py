"""The import of pandas, which only the reader of tables needs."""

from __future__ import annotations

from typing import Any

__all__ = ["import_pandas"]


def import_pandas() -> Any:
    """Import pandas, or raise an ImportError that names the extra."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "reading tables needs pandas, which is not installed: pip install 'imbtorch[compare]'"
        ) from error
    return pandas
