"""The wheel and the source archive: what lies in them, and what a package index shows."""

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser

import pytest

import imbtorch
from tests.limits import PROCESS_SECONDS
from tests.release.tools import ROOT, load

pytest.importorskip("build")
pytest.importorskip("hatch_fancy_pypi_readme")
pytest.importorskip("twine")
pytestmark = pytest.mark.slow

CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def python(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT, timeout=PROCESS_SECONDS, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    python("build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def metadata(dist):
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("dist-info/METADATA"))
        return BytesParser().parsebytes(wheel.read(name))


def test_twine_finds_nothing(dist):
    files = sorted(dist.iterdir())
    assert [file.name for file in files] == [
        f"imbtorch-{imbtorch.__version__}-py3-none-any.whl",
        f"imbtorch-{imbtorch.__version__}.tar.gz",
    ]
    assert python("twine", "--no-color", "check", "--strict", *files).count("PASSED") == 2


def test_wheel_has_the_package_and_nothing_else(dist):
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    info = {name for name in names if ".dist-info/" in name}
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "imbtorch").rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    assert names - info == package
    assert {name.partition(".dist-info/")[2] for name in info} == {
        "METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE",
    }  # fmt: skip


def test_source_archive_has_what_its_tests_need_and_nothing_large(dist):
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        sizes = {member.name.partition("/")[2]: member.size for member in archive.getmembers()}
    assert {"LICENSE", "README.md", "CITATION.cff", "Makefile", "imbtorch/py.typed"} <= set(sizes)
    tops = {name.partition("/")[0] for name in sizes}
    assert {"imbtorch", "tests", "docs", "examples", "benchmarks"} <= tops
    assert not {".venv", ".venv-floor", ".venv-wheel", "dist", "demo_output", ".git"} & tops
    assert max(sizes.values()) < 300_000


def test_links_of_the_readme_lead_to_the_files_of_this_version(metadata):
    shown, own = metadata.get_payload(), (ROOT / "README.md").read_text("utf-8")
    assert CODE.findall(shown) == CODE.findall(own)
    address, version = load("address").read_address(), imbtorch.__version__
    text = CODE.sub("", shown)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    assert [link for link in links if not re.match(r"https://|#", link)] == []
    files = {f"{address}/{kind}/v{version}/" for kind in ("blob", "raw")}
    for link in links:
        start = next((start for start in files if link.startswith(start)), None)
        if start is not None:
            place = link.removeprefix(start).partition("#")[0]
            assert (ROOT / place).exists(), link
            is_picture = place.endswith((".png", ".svg"))
            assert ("/raw/" in start) == is_picture, link
    assert sum(link.startswith(address) for link in links) >= 10


def test_metadata_name_address_license_and_types(metadata):
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert set(urls) == {"Homepage", "Documentation", "Repository", "Issues", "Changelog"}
    assert urls["Repository"] == load("address").read_address()
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert "Typing :: Typed" in metadata.get_all("Classifier")


def test_dependencies_are_those_that_the_package_imports(metadata):
    imported = {
        name
        for path in (ROOT / "imbtorch").rglob("*.py")
        for name in re.findall(r"^(?:from|import) (\w+)", path.read_text("utf-8"), re.MULTILINE)
    } - set(sys.stdlib_module_names)
    required = {
        re.match(r"[\w-]+", line)[0]
        for line in metadata.get_all("Requires-Dist")
        if "extra ==" not in line
    }
    named = {"sklearn": "scikit-learn", "imblearn": "imbalanced-learn"}
    # imbalanced-learn is imported inside the functions that need it
    expected = {named.get(name, name) for name in imported - {"imbtorch"}} | {"imbalanced-learn"}
    assert required == expected
