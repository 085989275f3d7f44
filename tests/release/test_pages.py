"""Pages run in an environment that has what their extras bring, and nothing else."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.release.tools import ROOT, load
from tests.test_docs import OPTIONAL

canonicalize_name = pytest.importorskip("packaging.utils").canonicalize_name
pages = load("pages")


def install(folder, name, *requires):
    """Write an installed package that consists of one file."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    lines = [f"Requires-Dist: {line}" for line in requires]
    head = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1", *lines]
    (info / "METADATA").write_text("\n".join(head) + "\n")
    (info / "RECORD").write_text(f"{name}.py,,\n{info.name}/METADATA,,\n../../bin/{name},,\n")
    (folder / f"{name}.py").touch()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    folder = tmp_path / "installed"
    install(folder, "lion", "bee>=1", "ant[hill]; extra == 'x'", "no-such; python_version < '3'")
    install(folder, "bee", "lion")
    install(folder, "ant", "wasp; extra == 'hill'")
    install(folder, "wasp")
    monkeypatch.syspath_prepend(folder)
    return folder


def test_needed_packages_follow_extras_and_markers(installed):
    assert set(pages.needed("lion", set())) == {"lion", "bee"}
    assert set(pages.needed("lion", {"x"})) == {"lion", "bee", "ant", "wasp"}


def test_environment_has_the_needed_packages_only(installed, tmp_path):
    python = pages.make_environment(tmp_path / "environment", pages.needed("lion", set()))
    code = "import lion, bee, importlib.metadata as m; print(m.version('bee')); import ant"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "1\n"
    assert "No module named 'ant'" in done.stderr


@pytest.mark.parametrize(
    ("text", "extras"),
    [
        ('pip install "imbtorch[onnx]" and imbtorch[plot, tables]', {"onnx", "plot", "tables"}),
        ('pip install ".[demo]"', {"demo"}),
        ("imbtorch.load(paths[0]), clf[-1]", set()),
        ("the extra `parquet`", {"parquet"}),
        ("the extras `parquet` and `excel`", {"parquet", "excel"}),
    ],
)
def test_extras_that_a_page_names(text, extras):
    assert pages.extras_of(text) == extras


@pytest.mark.parametrize(
    "text",
    [
        "(`pip install ant wasp2`)",
        "$ pip install ant wasp2  # here: pip install bee",
        '$ pip install "imbtorch[onnx]" ant wasp2',
        "$ pip install imbtorch ant wasp2\n$ python -m ant",
        'It needs `pip install "imbtorch[a, b]" ant wasp2`, and `bee`.',
        '$ pip install -c constraints.txt ".[demo]"\n$ pip install . ant wasp2',
    ],
)
def test_packages_that_a_page_installs_by_name(monkeypatch, text):
    assert pages.names_of(text) == {"ant", "wasp2"}
    monkeypatch.setattr(pages, "needed", lambda name, extras: {name: extras})
    assert {"imbtorch", "ant", "wasp2"} <= set(pages.packages_of(text, set()))


def test_every_extra_that_a_page_names_is_installed_by_make():
    named = set().union(*(extras for _, extras in pages.pages()))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    line = next(line for line in makefile.splitlines() if line.startswith("WHEEL_EXTRAS := "))
    assert named <= set(line.partition(" := ")[2].split(","))


def test_every_package_that_a_page_names_is_installed_by_make():
    named = set().union(*(pages.names_of(path.read_text("utf-8")) for path, _ in pages.pages()))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    line = next(line for line in makefile.splitlines() if line.startswith("WHEEL_MORE := "))
    assert named <= set(line.partition(" := ")[2].split())


OURS = {  # names of this package that need a package of an extra
    "make_payments": "pandas",
    "compare_strategies": "pandas",
    "to_onnx": "onnx",
    "Display": "matplotlib",
}


def test_every_page_names_what_its_code_needs():
    brings = packages_distributions()
    for path, extras in pages.pages():
        code, text = pages.code_of(path), path.read_text("utf-8")
        wanted = set(re.findall(r"^\s*(?:from|import) (\w+)", code, re.MULTILINE))
        wanted |= {package for name, package in OURS.items() if name in code}
        wanted -= {"imbtorch"} | sys.stdlib_module_names
        has = set(pages.packages_of(text, extras))
        lacking = {
            name
            for name in wanted
            if not has & {canonicalize_name(found) for found in brings.get(name, [])}
        }
        assert not lacking, f"{path.name}, imbtorch{sorted(extras)}: name an extra for {lacking}"


def test_code_of_a_page_and_of_an_example(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n```python\nx = 1\n```\n```console\n$ y\n```\n- b\n  ```python\n  z\n  ```\n"
    )
    assert pages.code_of(page) == "x = 1\n\nz\n"
    example = tmp_path / "plot_a.py"
    example.write_text("a = 1\n")
    assert pages.code_of(example) == "a = 1\n"


def test_blocks_that_need_an_optional_package_are_left_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n```python\nx\nfrom wandb import y\n```\n")
    assert pages.code_of(page) == "x = 1\n"
    assert pages.OPTIONAL == OPTIONAL
