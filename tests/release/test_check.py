"""Files that name the version agree, and the check before a release finds what does not."""

import shutil
import subprocess

import pytest

from tests.release.tools import ROOT, load

address, check = load("address"), load("check")


@pytest.fixture
def ready(tmp_path):
    """A copy of the files that the check reads, ready to be released."""
    for name in (*address.HOLDERS, "imbtorch/_version.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tests/persistence/golden" / check.version()).mkdir(parents=True)
    changelog = tmp_path / "CHANGELOG.md"
    text = (
        changelog.read_text("utf-8").replace(check.unreleased(), "") if check.unreleased() else ""
    )
    changelog.write_text(text or changelog.read_text("utf-8"), "utf-8")
    address.write_address("https://host.org/owner/imbtorch", tmp_path)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    return tmp_path


def found(root, tag=None):
    return "\n".join([*check.contradictions(root), *check.left_to_do(root, tag)])


def test_the_files_of_this_project_agree():
    assert list(check.contradictions()) == []


def test_nothing_is_left_to_do(ready):
    assert found(ready) == ""
    assert found(ready, f"v{check.version()}") == ""


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("imbtorch/_version.py", '= "', '= "9', "expected 9"),
        ("CITATION.cff", "\nversion: ", "\nversion: 9", "CITATION.cff: version is 9"),
        ("CITATION.cff", 'released: "20', 'released: "19', "CITATION.cff: date-released is 19"),
        ("CITATION.cff", 'url: "https://', 'url: "https://x.', "CITATION.cff: url is https://x."),
        ("CITATION.cff", "repository-code:", "# ", "repository-code is nothing"),
        ("recipe/recipe.yaml", '  version: "', '  version: "9', "recipe.yaml: version is 9"),
        ("CHANGELOG.md", "] - 20", "] 20", "newest section with a date"),
        ("CHANGELOG.md", "\n[Unreleased]: ", "\n[x]: ", "no line '[Unreleased]: https://host"),
        ("CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n* x\n", "is not empty"),
        ("pyproject.toml", "[build-system]", "[build-system] ", "not committed"),
        (
            "pyproject.toml",
            'Repository = "https://host.org/owner/imbtorch"',
            f'Repository = "{address.PLACEHOLDER}"',
            "make address ADDRESS=",
        ),
    ],
)
def test_what_is_left_to_do_is_named(ready, name, old, new, message):
    text = (ready / name).read_text("utf-8")
    assert old in text
    (ready / name).write_text(text.replace(old, new), "utf-8")
    assert message in found(ready)


def test_missing_files_of_the_version_and_another_tag_are_named(ready):
    shutil.rmtree(ready / "tests/persistence/golden")
    assert "tests.persistence.golden.make" in found(ready)
    assert "the tag is v0.0.1" in found(ready, "v0.0.1")
