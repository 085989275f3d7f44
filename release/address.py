"""The address of the project: read it, or write another one into every file that holds it.

The address is ``Repository`` of ``[project.urls]`` in pyproject.toml. Some files cannot read it
there, and hold a copy::

    python release/address.py https://host.org/owner/imbtorch
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
PLACEHOLDER = "https://address-not-set.example/imbtorch"
HOLDERS = (
    ".github/ISSUE_TEMPLATE/config.yml",
    "CHANGELOG.md",
    "CITATION.cff",
    "pyproject.toml",
    "recipe/recipe.yaml",
)


def read_address(root: Path = ROOT) -> str:
    """Return the address that pyproject.toml names."""
    text = (root / "pyproject.toml").read_text("utf-8")
    found = re.search(r'^Repository = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError("pyproject.toml has no line 'Repository = \"...\"' in [project.urls].")
    return found[1]


def check_address(address: str) -> str:
    """Return the address without a slash at its end; raise ValueError if it is none."""
    parts = urlsplit(address)
    if (
        parts.scheme != "https"
        or not parts.netloc
        or not parts.path.strip("/")
        or re.search(r"[^\w\-./~:]", address)
        or address.endswith(".git")
    ):
        raise ValueError(
            f"invalid value for the address: {address!r}. It is the page of the repository, for "
            "instance https://host.org/owner/imbtorch."
        )
    return address.rstrip("/")


def write_address(address: str, root: Path = ROOT) -> None:
    """Replace the address in all files that hold it."""
    new, old = check_address(address), read_address(root)
    for name in HOLDERS:
        path = root / name
        path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")


def main() -> None:
    """Write the address that the command line gives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="for instance https://host.org/owner/imbtorch")
    address = parser.parse_args().address
    try:
        write_address(address)
    except ValueError as error:
        parser.error(str(error))
    print(f"{read_address()} is in: {', '.join(HOLDERS)}")


if __name__ == "__main__":
    main()
