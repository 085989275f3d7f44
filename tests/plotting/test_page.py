"""docs/plotting.md has the pictures that its code draws (tests/test_docs.py runs that code)."""

import importlib.util
import re
from pathlib import Path

from imbtorch import plotting

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load():
    spec = importlib.util.spec_from_file_location("make_plots", DOCS / "make_plots.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_follows_code_that_draws_it():
    parts = load().parts((DOCS / "plotting.md").read_text("utf-8"))
    drawn = False
    for code, picture in parts:
        drawn = "display = " in code or (drawn and bool(picture))
        assert drawn or not picture, f"{picture} follows no display"
    pictures = [picture for _, picture in parts if picture]
    files = {f"images/plotting/{path.name}": path for path in (DOCS / "images/plotting").iterdir()}
    assert sorted(files) == sorted(pictures)
    assert max(path.stat().st_size for path in files.values()) < 60_000


def test_every_display_is_on_the_page():
    text = (DOCS / "plotting.md").read_text("utf-8")
    called = set(re.findall(r"plotting\.(\w+Display)\.", text))
    assert called == {name for name in plotting.__all__ if name.endswith("Display")}
