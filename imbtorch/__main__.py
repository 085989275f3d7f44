"""``python -m imbtorch``."""

from __future__ import annotations

import sys

from imbtorch._commands import main

if __name__ == "__main__":
    sys.exit(main())
