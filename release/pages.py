"""Run the code of all pages, and all examples, with the installed package and the extras they name.

    python release/pages.py
    python release/pages.py docs/tables.md plot_rare_text.py

Each page runs in an environment of its own. It holds links to those packages of this environment
that ``imbtorch[...]`` brings with the extras which the page names, and those that the page installs
by their names (``pip install pandas``). There is no other package, and no checkout. So a page that
needs a package without saying so fails here.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from time import perf_counter

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
GENERATED = {"_build", "api", "auto_examples"}
BLOCK = re.compile(r"^[ \t]*```python[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)
# pip install "imbtorch[onnx]", pip install ".[plot]"; the extra `tables`, the extras `a` and `b`
BRACKETS = re.compile(r"""(?:imbtorch|["' ]\.)\[([a-z, ]+)\]""")
# what pip is told in a sentence or in a console: `pip install dask`, $ pip install pandas  # here
BY_HAND = re.compile(r"(?:`|^\$ )pip install ([^`#\n]+)", re.MULTILINE)
OPTIONAL = {"transformers", "wandb"}  # blocks that import one of these are left out
IMPORTS_OPTIONAL = re.compile(rf"^(?:from|import) (?:{'|'.join(OPTIONAL)})\b", re.MULTILINE)
FILES = re.compile(r" -[cr] \S+")  # -c constraints.txt
NAME = re.compile(r"[a-z][a-z0-9._-]*")
WORDS = re.compile(r"\bextras? ((?:`[a-z]+`(?:, | and | or )?)+)")
SECONDS = 1800


def extras_of(text: str) -> set[str]:
    """Return the extras that a page names."""
    names = [*BRACKETS.findall(text), *WORDS.findall(text)]
    return {extra for part in names for extra in re.findall(r"[a-z]+", part)} - {"and", "or"}


def names_of(text: str) -> set[str]:
    """Return the packages that a page installs by their names, beside imbtorch and its extras."""
    lines = (FILES.sub(" ", f" {line}") for line in BY_HAND.findall(text))
    words = {word for line in lines for word in line.split()}
    return {word for word in words if NAME.fullmatch(word)} - {"imbtorch"}


def packages_of(text: str, extras: set[str]) -> dict[str, Distribution]:
    """Return the installed packages that a page has: what it tells the reader to install."""
    found = needed("imbtorch", extras)
    for name in names_of(text):
        found |= needed(name, set())
    return found


def code_of(path: Path) -> str:
    """Return the Python code of a page, or of an example."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        return text
    blocks = [textwrap.dedent(code) for code in BLOCK.findall(text)]
    return "\n".join(code for code in blocks if not IMPORTS_OPTIONAL.search(code))


def needed(name: str, extras: set[str]) -> dict[str, Distribution]:
    """Return the installed packages that a package needs with these extras, itself included."""
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (canonicalize_name(name), extra) in asked:
            continue
        asked.add((canonicalize_name(name), extra))
        package = found.setdefault(canonicalize_name(name), distribution(name))
        for line in package.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(requirement.name, more) for more in ("", *requirement.extras)]
    return found


def link_packages(packages: dict[str, Distribution], place: Path) -> None:
    """Put links to the files of the packages into a folder that Python imports from."""
    for package in packages.values():
        for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            source = Path(package.locate_file(name))
            if source.exists() and not (place / name).exists():
                (place / name).symlink_to(source)


def make_environment(folder: Path, packages: dict[str, Distribution]) -> Path:
    """Make an environment that has these packages; return its Python."""
    builder = venv.EnvBuilder(with_pip=False, symlinks=True)
    builder.create(folder)
    python = folder / "bin" / "python"
    place = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([python, "-c", place], check=True, capture_output=True, text=True)
    link_packages(packages, Path(found.stdout.strip()))
    return python


def run(path: Path, extras: set[str]) -> subprocess.CompletedProcess[str]:
    """Run the code of one page outside of the checkout."""
    with tempfile.TemporaryDirectory() as folder:
        packages = packages_of(path.read_text("utf-8"), extras)
        python = make_environment(Path(folder) / "environment", packages)
        work = Path(folder) / "work"
        work.mkdir()
        # the name must not hide a package, such as torch from the page torch.md
        script = work / (path.name if path.suffix == ".py" else f"page_{path.stem}.py")
        script.write_text(code_of(path), "utf-8")
        arguments = ["--quick"] if path.suffix == ".py" else []
        env = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "MPLBACKEND": "Agg",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            [python, script.name, *arguments], cwd=work, env=env, timeout=SECONDS,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip


def pages() -> Iterator[tuple[Path, set[str]]]:
    """Yield the pages that have Python code, and the examples, each with its extras."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if not GENERATED.intersection(path.relative_to(ROOT).parts) and code_of(path):
            yield path, extras_of(path.read_text("utf-8"))
    for path in sorted((ROOT / "examples").glob("plot_*.py")):
        yield path, {"demo"} | extras_of(path.read_text("utf-8"))


def main() -> int:
    """Run the pages that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="ends of paths: docs/tables.md plot_rare_text.py")
    names = tuple(parser.parse_args().names)
    failed = []
    for path, extras in pages():
        name = path.relative_to(ROOT).as_posix()
        if names and not name.endswith(names):
            continue
        begin = perf_counter()
        done = run(path, extras)
        brought = f"imbtorch[{','.join(sorted(extras))}]" if extras else "imbtorch"
        verdict = "failed" if done.returncode else "runs"
        print(f"{verdict:<6} {perf_counter() - begin:5.0f} s  {name} with {brought}", flush=True)
        if done.returncode:
            failed.append(name)
            print(textwrap.indent(done.stdout[-2000:], "    "), flush=True)
    print(f"{len(failed)} failed" + (": " + ", ".join(failed) if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
