"""Files for the hosts of the code: they can be read, and agree with the project."""

import re
from pathlib import Path

import pytest

from tests.release.tools import ROOT

yaml = pytest.importorskip("yaml")

YAML = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [
        *ROOT.glob(".*.y*ml"),
        *(ROOT / ".github").rglob("*.yml"),
        ROOT / "recipe/recipe.yaml",
        ROOT / "CITATION.cff",
    ]
)
WORKFLOWS = [name for name in YAML if "workflows" in name or name.startswith((".gitlab", ".read"))]
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")


def read(name):
    # GitHub's key "on" is a boolean for YAML 1.1; nothing here depends on it
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def strings(value):
    """Yield all text in a document."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def block(name):
    """Return the strings of a list in pyproject.toml."""
    found = re.search(rf"^{name} = \[\n(.*?)^\]", PYPROJECT, re.MULTILINE | re.DOTALL)
    return re.findall(r'^    "(.+)",$', found[1], re.MULTILINE)


def pythons():
    """Return the versions of Python that the classifiers name."""
    return [line.split(" :: ")[-1] for line in block("classifiers") if re.search(r":: 3\.\d", line)]


@pytest.mark.parametrize("name", YAML)
def test_file_can_be_read(name):
    assert isinstance(read(name), dict)


def test_all_hosts_are_there():
    assert {Path(name).name for name in YAML} >= {
        ".gitlab-ci.yml", ".pre-commit-config.yaml", ".readthedocs.yaml", "CITATION.cff",
        "bug_report.yml", "config.yml", "dependabot.yml", "docs.yml", "feature_request.yml",
        "recipe.yaml", "release.yml", "test.yml",
    }  # fmt: skip
    assert (ROOT / ".github/PULL_REQUEST_TEMPLATE.md").exists()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_make_targets_and_variables_exist(name):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    commands = [text for text in strings(read(name)) if re.match(r"make ", text)]
    assert commands
    for word in " ".join(commands).replace("make ", "").split():
        variable, is_set, _ = word.partition("=")
        assert re.search(
            rf"\$\({variable}\)" if is_set else rf"^{variable}:", makefile, re.MULTILINE
        ), f"the Makefile has no {variable}"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_secret_is_needed(name):
    assert not [text for text in strings(read(name)) if re.search(r"(?i)secrets\.|passw", text)]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_command_contains_what_others_write(name):
    # a branch or a tag can be called like a command; variables of the shell are safe
    assert not [text for text in strings(read(name)) if "make " in text and "${{" in text]


@pytest.mark.parametrize("name", ["test", "docs", "release"])
def test_only_the_job_that_publishes_may_do_more_than_read(name):
    workflow = read(f".github/workflows/{name}.yml")
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        if name == "publish":
            assert set(job["permissions"]) <= {"id-token", "pages"}
        else:
            assert "permissions" not in job
            assert "timeout-minutes" in job


def test_every_python_of_the_classifiers_is_tested():
    github = read(".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    gitlab = read(".gitlab-ci.yml")["test"]["parallel"]["matrix"][0]["PYTHON_VERSION"]
    assert github == gitlab == pythons()
    assert f'requires-python = ">={pythons()[0]}"' in PYPROJECT


def test_form_of_a_bug_report_names_real_code():
    form = read(".github/ISSUE_TEMPLATE/bug_report.yml")
    codes = [
        part["attributes"]["value"]
        for part in form["body"]
        if part["attributes"].get("render") == "python"
    ]
    compile(codes[0], "bug_report", "exec")
    for name in ("bug_report", "feature_request"):
        form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
        assert {"name", "description", "body"} <= set(form)
        parts = [part for part in form["body"] if part["type"] != "markdown"]
        assert len({part["id"] for part in parts}) == len(parts)


def test_recipe_asks_for_the_dependencies_of_the_package():
    recipe = read("recipe/recipe.yaml")
    pip = {line.replace("torch>", "pytorch>") if line.startswith("torch>") else line
           for line in block("dependencies")}  # fmt: skip
    conda = {line.replace(" ", "") for line in recipe["requirements"]["run"]}
    assert conda - {"python>=${{python_min}}"} == pip
    assert f'requires-python = ">={recipe["context"]["python_min"]}"' in PYPROJECT
    backend = re.search(r"^requires = \[(.*)\]$", PYPROJECT, re.MULTILINE)[1]
    host = {line.replace(" ", "") for line in recipe["requirements"]["host"] if ">=" in line}
    assert set(re.findall(r'"(.+?)"', backend)) == host
    script = re.search(r'^imbtorch = "(.+)"$', PYPROJECT, re.MULTILINE)[1]
    assert recipe["build"]["python"]["entry_points"] == [f"imbtorch = {script}"]
