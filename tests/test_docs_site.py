"""The documentation hangs together: pages are reachable, links resolve, every name has a page.

Sphinx is not needed here; `make docs` builds the whole.
"""

import importlib
import inspect
import pkgutil
import re
import runpy
import sys
from pathlib import Path

import pytest

import imbtorch

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GENERATED = ("_build", "api", "auto_examples")
PAGES = {
    path.relative_to(DOCS).with_suffix("").as_posix(): path
    for path in DOCS.rglob("*.md")
    if path.relative_to(DOCS).parts[0] not in GENERATED
}
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES.values()]
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^][]*\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[([^]]*)\]\(([^)\s:]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LATER = ("auto_examples/", "api/")  # written by the build


def load(name):
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(DOCS / "_ext"))


api = load("api_pages")


def entries(page):
    """Pages that the toctrees of a page name."""
    folder = page.rpartition("/")[0]
    for tree in TOCTREE.findall(PAGES[page].read_text("utf-8")):
        for line in tree.splitlines():
            if line and not line.startswith(":"):
                name = re.sub(r".*<(.*)>", r"\1", line)
                yield f"{folder}/{name}" if folder else name


def reachable():
    found, todo = set(), ["index"]
    while todo:
        page = todo.pop()
        if page in PAGES and page not in found:
            found.add(page)
            todo += entries(page)
    return found


def anchors(path):
    """Return the anchors that GitHub and MyST give the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def broken(path):
    """Return the relative links of a page that lead nowhere."""
    for link in LINK.findall(CODE.sub("`x`", path.read_text("utf-8"))):
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        if re.match(r"\w+:", link) or (
            target.is_relative_to(DOCS) and str(target.relative_to(DOCS)).startswith(LATER)
        ):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def test_every_page_is_in_a_toctree():
    assert set(PAGES) - reachable() == set()


def test_toctrees_name_pages_that_exist():
    named = {entry for page in PAGES for entry in entries(page)}
    assert {entry for entry in named - set(PAGES) if not entry.startswith(LATER)} == set()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_resolve(path):
    assert list(broken(path)) == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pictures_are_there_small_and_described(path):
    for description, picture in PICTURE.findall(path.read_text("utf-8")):
        assert description
        assert (path.parent / picture).stat().st_size < 200_000


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Two words\n[a](#two-words) [b](#three) [c](gone.md) `[d](code.md)` [e](https://f.g)\n"
    )
    assert list(broken(page)) == ["#three", "gone.md"]


def test_configuration_runs():
    path = list(sys.path)
    try:
        settings = runpy.run_path(str(DOCS / "conf.py"))
    finally:
        sys.path[:] = path
    assert settings["release"] == imbtorch.__version__
    assert settings["nitpicky"]


def test_internal_modules_are_the_only_ones_without_a_page():
    importable = {
        info.name
        for info in pkgutil.walk_packages(imbtorch.__path__, "imbtorch.")
        if not any(part.startswith("_") for part in info.name.split("."))
    }
    inside = {name for name in importable for top in api.INTERNAL if name.startswith(top)}
    public = {
        name
        for name in importable - inside
        if getattr(importlib.import_module(name), "__all__", ())
    }
    assert public <= set(api.public_modules())


def test_every_public_name_has_a_page_once():
    pages = api.pages()
    named = api.names_by_module()
    listed = {id(api._get(name)) for name in api.public_names()}
    for module in api.public_modules():
        offered = importlib.import_module(module)
        missing = [name for name in offered.__all__ if id(getattr(offered, name)) not in listed]
        assert not missing, module
    assert {f"{name}.rst" for name in api.public_names()} <= set(pages)
    assert all(
        f"   {name}\n" in pages[f"{module}.rst"] for module in named for name in named[module]
    )


@pytest.mark.parametrize("name", api.public_names())
def test_public_name_has_an_example(name):
    thing = api._get(name)
    if callable(thing):
        assert "\nExamples\n--------\n" in inspect.getdoc(thing), f"{name} has no example"
        assert ">>> " in inspect.getdoc(thing)


def test_pages_leave_to_a_public_base_what_is_its():
    loss = importlib.import_module("imbtorch.losses")
    assert "predict_proba" in api.own_members(imbtorch.ImbalancedNetClassifier)
    assert "with_gradient" in api.own_members(loss.BaseLoss)
    assert api.own_members(loss.FocalLoss) == []
    assert "those of :class:`~imbtorch.losses.BaseLoss`" in api.object_page(
        "imbtorch.losses.FocalLoss", ""
    )


def test_used_in_is_there_only_where_an_example_uses_it():
    page = api.object_page("imbtorch.losses.FocalLoss", "loss = FocalLoss(2)")
    assert "minigallery" in page
    assert "minigallery" not in api.object_page("imbtorch.losses.FocalLoss", "FocalLosses")


def test_formulas_of_github_become_those_of_myst():
    pytest.importorskip("sphinx")
    assert load("github_math").translate("a $`x_1`$, `$b$`") == "a {math}`x_1`, `$b$`"


def test_links_in_built_pages_are_checked(tmp_path):
    check = runpy.run_path(str(DOCS / "check_links.py"))
    (tmp_path / "index.html").write_text(
        '<a href="b.html#there">1</a><a href="b.html#gone">2</a><img src="c.png">'
        '<a href="https://d.e">3</a><a href="#">4</a>'
    )
    (tmp_path / "b.html").write_text('<p id="there"></p>')
    assert check["broken_links"](tmp_path) == [
        "index.html: b.html#gone",
        "index.html: c.png",
    ]
