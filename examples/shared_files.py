"""Where the examples and the tests find data that are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Return the folder that ``$IMBTORCH_DATA`` names, else ``../shared/data`` by the checkout."""
    named = os.environ.get("IMBTORCH_DATA")
    checkout = Path(__file__).resolve().parents[1]
    return Path(named) if named else checkout.parent / "shared" / "data"


def shared_file(name: str) -> Path | None:
    """Return the path of a file in the data folder, or None if there is no such file."""
    path = data_folder() / name
    return path if path.is_file() else None
