"""The commands of docs/from_file_to_model.md run as they stand."""

import re
import shlex
from pathlib import Path

import pytest

from imbtorch._commands import main
from tests.test_docs import python_blocks

pytest.importorskip("pandas")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from_file_to_model.md"
OPTION = re.compile(r"`(?:--[\w-]+)")


@pytest.mark.slow
def test_commands_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    exec(python_blocks(text)[0][1], {})
    commands = re.findall(r"^\$ imbtorch (.*)$", text, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["fit", "evaluate", "predict", "card"]
    for command in commands:
        assert main(shlex.split(command)) == 0, command
    output = capsys.readouterr().out
    for note in re.findall(r"^note: .*", text, re.MULTILINE):
        assert note in output
    header = (tmp_path / "scores.csv").read_text().splitlines()[0]
    assert header == "payment,prediction,probability_0,probability_1"


def test_options_of_the_page_exist(capsys):
    known = ""
    for command in ("compare", "fit", "predict", "evaluate", "card"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        known += capsys.readouterr().out
    for option in set(OPTION.findall(PAGE.read_text("utf-8"))):
        assert option.removeprefix("`") in known
