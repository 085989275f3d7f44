"""Where the examples find data that are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path


def shared_file(name: str) -> Path | None:
    """Look in ``$IMBTORCH_DATA``, or in ``../shared/data`` beside the checkout; None if absent."""
    named = os.environ.get("IMBTORCH_DATA")
    checkout = Path(__file__).resolve().parents[1]
    path = (Path(named) if named else checkout.parent / "shared" / "data") / name
    return path if path.is_file() else None
