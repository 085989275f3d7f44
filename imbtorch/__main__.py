"""``python -m imbtorch``."""

from __future__ import annotations

import sys

from imbtorch.compare._command import main

if __name__ == "__main__":
    sys.exit(main())
