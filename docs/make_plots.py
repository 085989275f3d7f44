"""Redraw the pictures of some pages, such as docs/plotting.md, from the code on these pages.

Each picture shows the ``figure``, or the ``display``, that the Python block before it has made::

    python docs/make_plots.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib as mpl

DOCS = Path(__file__).resolve().parent
PAGES = (
    "plotting.md", "drift.md", "costs.md", "training_length.md", "promises.md", "which_net.md",
)  # fmt: skip
PART = re.compile(r"^```python\n(.*?)^```$|^!\[[^\]]*\]\(([^)]+\.png)\)$", re.MULTILINE | re.DOTALL)
DPI = 80


def parts(text: str) -> list[tuple[str, str]]:
    """Return ``(code, "")`` and ``("", picture)``, in the order of the page."""
    return [(match[1] or "", match[2] or "") for match in PART.finditer(text)]


def draw(page: Path) -> None:
    """Run a page and write its pictures."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for code, picture in parts(page.read_text("utf-8")):
        if code:
            namespace.pop("figure", None)
            exec(compile(code, str(page), "exec"), namespace)
            continue
        path = page.parent / picture
        path.parent.mkdir(parents=True, exist_ok=True)
        figure = namespace.get("figure") or namespace["display"].figure_  # type: ignore[attr-defined]
        figure.savefig(path, dpi=DPI, metadata={"Software": None})  # type: ignore[attr-defined]
        print(f"{picture}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Draw the pictures of all pages, or of those that the command line names."""
    mpl.use("Agg")
    for page in sys.argv[1:] or PAGES:
        draw(DOCS / page)


if __name__ == "__main__":
    main()
