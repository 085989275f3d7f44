"""The Python blocks of the README and of the pages in docs/ run as they stand."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.limits import PROCESS_SECONDS

ROOT = Path(__file__).resolve().parents[1]
GENERATED = {"_build", "api", "auto_examples"}
PAGES = [ROOT / "README.md"] + [
    path
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if not GENERATED.intersection(path.relative_to(ROOT / "docs").parts)
]
QUICK = {"README.md", "adding_a_loss.md", "weights.md"}  # the blocks of other pages are slow
OPTIONAL = {"transformers", "wandb"}  # blocks that import one of these run where it is installed
NEEDS = {  # pages that run where all of these are installed, as they are by the extra dev
    "optuna.md": ("optuna_integration",),
    "serving.md": ("fastapi", "httpx2"),
    "tracking.md": ("mlflow", "tensorboard"),
}
BLOCK = re.compile(r"^[ \t]*```python[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)


def python_blocks(text):
    """Return ``(line of the first statement, code)`` of each fenced Python block."""
    return [
        (text.count("\n", 0, match.start(1)) + 1, textwrap.dedent(match[1]))
        for match in BLOCK.finditer(text)
    ]


def run_page(path):
    """Execute the blocks of a page in order, in one namespace; return how many there are."""
    namespace = {"__name__": "__main__"}
    blocks = python_blocks(path.read_text("utf-8")) if path.exists() else []
    for line, code in blocks:
        # the empty lines in front make tracebacks point into the page
        try:
            exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)
        except ModuleNotFoundError as error:
            if error.name not in OPTIONAL:
                raise
    return len(blocks)


@pytest.fixture
def quiet_plots(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.mark.usefixtures("quiet_plots")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.relative_to(ROOT).as_posix(), marks=marks)
        for path in PAGES
        for marks in [() if path.name in QUICK else pytest.mark.slow]
    ],
)
def test_blocks_of_page_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for package in NEEDS.get(path.name, ()):
        pytest.importorskip(package)
    if run_page(path) == 0:
        pytest.skip(f"{path.name} has no Python block")


def words(text, number=float):
    """Return the words of each line, and its numbers as what ``number`` makes of them."""
    return [
        [number(word) if re.fullmatch(r"[\d.]+", word) else word for word in line.split()]
        for line in text.replace(",", " ").strip().splitlines()
    ]


def rounded(word):
    """Return a number that may differ as far as machines do after a training."""
    return pytest.approx(float(word), abs=0.03)


@pytest.mark.slow
def test_first_block_of_the_readme_prints_what_it_shows_in_a_new_process(tmp_path):
    pytest.importorskip("pandas")
    _, code = python_blocks((ROOT / "README.md").read_text("utf-8"))[0]
    shown = re.search(r"(^# .*\n)+\Z", code, re.MULTILINE)[0]
    (tmp_path / "first.py").write_text(code, "utf-8")
    done = subprocess.run(
        [sys.executable, "first.py"], env=dict(os.environ, OMP_NUM_THREADS="1"),
        cwd=tmp_path, timeout=PROCESS_SECONDS, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = words(re.sub(r"^#", "", shown, flags=re.MULTILINE), rounded)
    assert len(expected) == 5
    assert words(done.stdout) == expected


def test_blocks_are_found_and_share_a_namespace(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n```python\nx = 1\n```\n```console\n$ y\n```\n- b\n  ```python\n  x + 1\n  ```\n"
    )
    assert python_blocks(page.read_text()) == [(3, "x = 1\n"), (10, "x + 1\n")]
    assert run_page(page) == 2


def test_only_blocks_of_optional_packages_are_left_out(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("```python\nimport no_such_package\n```\n```python\nx = 1\n```\n")
    with pytest.raises(ModuleNotFoundError):
        run_page(page)
    monkeypatch.setattr("tests.test_docs.OPTIONAL", {"no_such_package"})
    assert run_page(page) == 2


def test_a_broken_block_fails_at_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nx = 1\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        run_page(page)
    assert (caught.traceback[-1].lineno + 1, caught.traceback[-1].path) == (5, page)
