"""The import of pandas, which only reading tables and comparing strategies need."""

from __future__ import annotations

from typing import Any

__all__ = ["import_pandas"]


def import_pandas(purpose: str = "reading tables") -> Any:
    """Import pandas.

    Parameters
    ----------
    purpose : str, default="reading tables"
        What pandas is needed for, in words.

    Raises
    ------
    ImportError
        If it is not installed; the message names the purpose and the extra.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs pandas, which is not installed: pip install 'imbtorch[compare]'"
        ) from error
    return pandas
