"""Say what is left to do before a release; exit with 1 if anything is.

Run it on the commit that becomes the release (RELEASING.md)::

    python release/check.py
    python release/check.py v1.2.3  # and this tag is that of the version
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from address import PLACEHOLDER, ROOT, read_address


def _value(root: Path, name: str, pattern: str) -> str:
    found = re.search(pattern, (root / name).read_text("utf-8"), re.MULTILINE)
    return found[1] if found else "nothing"


def version(root: Path = ROOT) -> str:
    """Return the version of the package."""
    return _value(root, "imbtorch/_version.py", r'^__version__ = "(.+)"$')


def unreleased(root: Path = ROOT) -> str:
    """Return the text of the section of the changelog that has no date yet."""
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    return re.sub(r".*^## \[Unreleased\]$|^## \[\d.*", "", changelog, flags=re.M | re.S).strip()


def contradictions(root: Path = ROOT) -> Iterator[str]:
    """Yield what differs between the files that name the version and its date.

    These are mistakes at any time, and the tests look for them too.
    """
    now = version(root)
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## \[(\d\S*)\] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    if newest is None or newest[1] != now:
        yield f"CHANGELOG.md: the newest section with a date is not '## [{now}] - YYYY-MM-DD'"
    address = read_address(root)
    for link in (f"[Unreleased]: {address}/compare/v{now}...HEAD", f"[{now}]: {address}/"):
        if link not in changelog:
            yield f"CHANGELOG.md: there is no line '{link}'"
    expected = {
        ("CITATION.cff", "version"): now,
        ("CITATION.cff", "date-released"): newest[2] if newest else "the date of CHANGELOG.md",
        ("CITATION.cff", "url"): address,
        ("CITATION.cff", "repository-code"): address,
        ("recipe/recipe.yaml", "  version"): now,
    }
    for (name, key), value in expected.items():
        found = _value(root, name, rf'^{key}: "?([^"\n]+)"?$')
        if found != value:
            yield f"{name}: {key.strip()} is {found}, expected {value}"
    if not (root / "tests/persistence/golden" / now).is_dir():
        yield f"tests/persistence/golden/{now} is missing: python -m tests.persistence.golden.make"


def left_to_do(root: Path = ROOT, tag: str | None = None) -> Iterator[str]:
    """Yield what must be done before a release, besides mistakes."""
    if tag is not None and tag != f"v{version(root)}":
        yield f"the tag is {tag}, that of the version in imbtorch/_version.py is v{version(root)}"
    if read_address(root) == PLACEHOLDER:
        yield "the address of the project is not set: make address ADDRESS=https://host/owner/imbtorch"
    if unreleased(root):
        yield "CHANGELOG.md: [Unreleased] is not empty; move its lines to the new version"
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.strip()
    if changed:
        yield f"there are changes that are not committed:\n{changed}"


def main(tag: str | None = None) -> int:
    """Print everything that is left to do."""
    found = [*contradictions(), *left_to_do(tag=tag)]
    for line in found:
        print(f"* {line}")
    print(f"imbtorch {version()}: {len(found)} left to do" if found else f"ready: {version()}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
