"""Redraw the pictures of docs/plotting.md, from the code on that page.

Each picture shows the ``display`` that the Python block before it has made::

    python docs/make_plots.py
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl

PAGE = Path(__file__).resolve().with_name("plotting.md")
PART = re.compile(r"^```python\n(.*?)^```$|^!\[[^\]]*\]\(([^)]+\.png)\)$", re.MULTILINE | re.DOTALL)
DPI = 80


def parts(text: str) -> list[tuple[str, str]]:
    """Return ``(code, "")`` and ``("", picture)``, in the order of the page."""
    return [(match[1] or "", match[2] or "") for match in PART.finditer(text)]


def main() -> None:
    """Run the page and write its pictures."""
    mpl.use("Agg")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for code, picture in parts(PAGE.read_text("utf-8")):
        if code:
            exec(compile(code, str(PAGE), "exec"), namespace)
            continue
        path = PAGE.parent / picture
        path.parent.mkdir(parents=True, exist_ok=True)
        figure = namespace["display"].figure_  # type: ignore[attr-defined]
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
        print(f"{picture}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
