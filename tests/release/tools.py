"""The scripts of release/, which are no package."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    """Import a script of the folder release/."""
    sys.path.insert(0, str(ROOT / "release"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "release"))
