"""A walk through the command line with messy files: no exception escapes from it."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from imbtorch import compare_strategies
from imbtorch._commands import compare, main
from tests.commands.test_fit_and_predict import MISTAKES
from tests.tables.test_messy_files import REFUSED, SAME, write

pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def result():
    y = np.arange(20) % 2
    return compare_strategies(y[:, None], y, strategies={"a": DummyClassifier()}, cv=2)


@pytest.fixture
def without_training(monkeypatch, result):
    monkeypatch.setattr(compare, "compare_strategies", lambda *_, **__: result)


def as_options(given):
    """Write arguments of read_table as options of the command line."""
    words = ["--target", given.get("target", "label")]
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if name in ("target", "any_order"):
            continue
        if name == "header":
            words.append("--header" if value else "--no-header")
        elif value is True:
            words.append(option)
        else:
            words += [option, *(map(str, value) if isinstance(value, list) else [str(value)])]
    return words


def test_the_walk_is_long_enough():
    assert len(SAME) >= 30
    assert len(REFUSED) >= 30
    assert len(MISTAKES) >= 25


@pytest.mark.parametrize("kind", SAME)
def test_files_that_can_be_read(kind, tmp_path, capsys, without_training):
    content, options = SAME[kind]
    code = main(["compare", str(write(tmp_path, content)), *as_options(options)])
    assert code == 0, capsys.readouterr().err


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_are_refused(kind, tmp_path, capsys, without_training):
    content, *words = REFUSED[kind]
    code = main(["compare", str(write(tmp_path, content)), "--target", "label"])
    errors = capsys.readouterr().err
    assert code == 2
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1
    assert all(word in errors for word in words)


@pytest.mark.parametrize("seed", range(40))
def test_files_that_were_damaged_by_chance(seed, tmp_path, capsys, without_training):
    rng = np.random.default_rng(seed)
    contents = [content for content, _ in SAME.values()]
    content = contents[rng.integers(len(contents))]
    data = bytearray(content if isinstance(content, bytes) else content.encode())
    for place in rng.integers(0, len(data), 4).tolist():
        marks = [b",", b";", b'"', b"\n", b"\r", b"\0", b"\xff", b"1,234", b"nan", b"label"]
        data[place : place + int(rng.integers(0, 9))] = marks[rng.integers(len(marks))]
    code = main(["compare", str(write(tmp_path, bytes(data))), "--target", "label"])
    assert code in (0, 2), capsys.readouterr().err
