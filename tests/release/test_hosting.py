"""Files for the hosts of the code: they can be read, and agree with the project."""

import re
import shlex
import shutil
import subprocess
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


# what a runner has before the first command of a job
OF_THE_RUNNER = {"make", "python", "apt-get", "mkdir", "cp", "pip"}


def jobs(name):
    """Yield each job of a file as its name and its commands, one program each, in their order."""
    content = read(name)
    if name == ".readthedocs.yaml":
        found = {"build": content["build"]["commands"]}
    elif name == ".gitlab-ci.yml":
        first = content["default"]["before_script"]
        found = {
            job: [*given.get("before_script", first), *given["script"]]
            for job, given in content.items()
            if isinstance(given, dict) and "script" in given
        }
    else:
        found = {
            job: [step["run"] for step in given["steps"] if "run" in step]
            for job, given in content["jobs"].items()
        }
    for job, lines in found.items():
        yield job, [part for line in lines for part in re.split(r"&&|;|\n", line) if part.strip()]


def of_extra(extra):
    """Return the names of the packages that an extra of this package brings."""
    listed = re.search(rf"^{extra} = \[(.*?)\]$", PYPROJECT, re.MULTILINE | re.DOTALL)[1]
    names = set()
    for requirement in re.findall(r'"(.+?)"', listed):
        if extras := re.match(r"imbtorch\[(.+)\]", requirement):
            names |= set().union(*map(of_extra, extras[1].split(",")))
        else:
            names.add(re.match(r"[\w-]+", requirement)[0])
    return names


def installed_by_make(arguments):
    """Return the programs that targets of make install, as their paths, from a clean checkout."""
    done = subprocess.run(
        ["make", "--dry-run", "VENV=.no-such-folder", *arguments],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    extras = re.findall(r"\.no-such-folder/bin/python -m pip install .*'\.\[(.+?)\]'", done.stdout)
    names = set().union(*(of_extra(extra) for part in extras for extra in part.split(",")))
    return {f".venv/bin/{name}" for name in names | ({"python"} if extras else set())}


def programs_that_are_missing(commands):
    """Return the programs and modules that commands run before the job has installed them."""
    has, missing = set(OF_THE_RUNNER), []
    for command in commands:
        words = shlex.split(command)
        module = words[2] if words[:2] == ["python", "-m"] else None
        missing += [word for word in (words[0], module) if word not in has | {None}]
        if words[0] == "make":
            has |= installed_by_make(words[1:])
        elif words[:4] == ["python", "-m", "pip", "install"]:
            has |= set(words[4:])
    return missing


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("name", WORKFLOWS)
def test_jobs_install_the_programs_that_they_run(name):
    found = dict(jobs(name))
    assert found
    assert {job: programs_that_are_missing(commands) for job, commands in found.items()} == {
        job: [] for job in found
    }


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("commands", "missing"),
    [
        (["make release-check TAG=v1", ".venv/bin/twine upload dist/*"], [".venv/bin/twine"]),
        (["make docs", ".venv/bin/twine upload dist/*"], [".venv/bin/twine"]),
        (["make build", ".venv/bin/twine upload dist/*"], []),
        (["make lint", ".venv/bin/ruff check", ".venv/bin/python x.py"], []),
        (["python -m twine upload", "python -m pip install twine"], ["twine"]),
        (["python -m pip install twine", "python -m twine upload"], []),
        (["ruff check"], ["ruff"]),
    ],
)
def test_missing_programs_are_found(commands, missing):
    assert programs_that_are_missing(commands) == missing


def test_files_that_are_published_come_from_the_job_that_built_them():
    gitlab = read(".gitlab-ci.yml")
    publish = gitlab["release"]
    assert any("twine upload" in command and "dist/*" in command for command in publish["script"])
    built = [path for job in publish["needs"] for path in gitlab[job]["artifacts"]["paths"]]
    assert built == ["dist/"]
    # twine reads the token of the audience "pypi" from this variable
    assert publish["id_tokens"] == {"PYPI_ID_TOKEN": {"aud": "pypi"}}
