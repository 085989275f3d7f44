"""The address of the project is the same in all files, and one command sets it."""

import shutil
import subprocess

import pytest

from tests.release.tools import ROOT, load

address = load("address")


@pytest.fixture
def copies(tmp_path):
    """A folder with the files that hold the address."""
    for name in address.HOLDERS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_every_holder_has_the_address_of_pyproject():
    for name in address.HOLDERS:
        assert address.read_address() in (ROOT / name).read_text("utf-8"), name


def test_no_other_file_holds_it():
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(
        ["git", "grep", "-l", "--untracked", "-F", address.read_address()],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert set(listed) - {"release/address.py"} == set(address.HOLDERS)


def test_one_command_sets_it_everywhere(copies):
    before = {name: (copies / name).read_text("utf-8") for name in address.HOLDERS}
    old = address.read_address(copies)
    address.write_address("https://host.org/owner/imbtorch/", copies)
    assert address.read_address(copies) == "https://host.org/owner/imbtorch"
    for name, text in before.items():
        expected = text.replace(old, "https://host.org/owner/imbtorch")
        assert (copies / name).read_text("utf-8") == expected


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "host.org/owner/imbtorch",
        "http://host.org/owner/imbtorch",
        "https://host.org",
        "https://host.org/owner/imbtorch.git",
        'https://host.org/"owner"',
    ],
)
def test_what_is_no_address_changes_nothing(copies, wrong):
    with pytest.raises(ValueError, match="invalid value for the address"):
        address.write_address(wrong, copies)
    assert address.read_address(copies) == address.read_address()


def test_a_missing_line_is_named(copies):
    (copies / "pyproject.toml").write_text("[project.urls]\n")
    with pytest.raises(ValueError, match=r"no line 'Repository = "):
        address.read_address(copies)
