"""Check that links inside the built pages lead somewhere: the page exists, and so does the anchor.

Nothing is fetched::

    python docs/check_links.py docs/_build/html
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors = {""}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src") and value:
                self.links.add(value)


@cache
def page(path: Path) -> Page:
    return Page(path)


def broken_links(root: Path) -> list[str]:
    """Return ``page: link`` of each link that leads nowhere, sorted."""
    broken = []
    for path in sorted(set(root.rglob("*.html")) - set(root.glob("_*/**/*"))):
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:  # external
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            known = target.is_file() and (
                target.suffix != ".html" or unquote(parts.fragment) in page(target).anchors
            )
            if not known:
                broken.append(f"{path.relative_to(root)}: {link}")
    return sorted(broken)


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    if not (root / "index.html").is_file():
        sys.exit(f"{root} has no index.html; run make docs")
    broken = broken_links(root)
    if broken:
        sys.exit("\n".join(["links that lead nowhere:", *broken]))


if __name__ == "__main__":
    main()
