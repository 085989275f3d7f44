"""New rows mean what the rows of training meant, or the error names the option that helps."""

from pathlib import Path

import numpy as np
import pytest

from imbtorch._commands import main
from imbtorch._commands.model import load_model, read_for
from imbtorch.tables import TableError
from imbtorch.tables._options import Options

pd = pytest.importorskip("pandas")

N = 80


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit(row, header, *options):
    Path("past.csv").write_text("\n".join([header, *map(row, range(N))]))
    quick = ["--module", "mlp", "--epochs", "1", "--quiet"]
    assert main(["fit", "past.csv", "--target", "y", "--out", "m", *quick, *options]) == 0


def read(content, others=None, **options):
    Path("new.csv").write_text(content)
    return read_for(load_model(Path("m")), Path("new.csv"), Options(**options), [], others or {})


def run(capsys, *arguments):
    capsys.readouterr()
    return main(list(arguments)), *capsys.readouterr()


def test_points_that_may_separate_thousands(folder):
    fit(lambda n: f"{n * 37.25},{n % 7}.5,{int(n % 5 == 0)}", "amount,rate,y")
    content = "amount;rate\n1.500;0,5\n2.501;1,5\n"
    with pytest.raises(TableError, match="a point in 'amount' may separate thousands"):
        read(content)
    assert read(content, decimal=",").X["amount"].tolist() == [1500, 2501]


ROWS = [(n % 4, n % 7, n % 5 == 0) for n in range(N)]


@pytest.mark.parametrize("marks", [[], ["--decimal", ","], ["--thousands", "."]])
@pytest.mark.parametrize("word", [int, bool])
@pytest.mark.parametrize("blank", ["", " "])
def test_labels_are_found_again(folder, capsys, marks, word, blank):
    fit(lambda n: f"{ROWS[n][0]},{ROWS[n][1]}.5,{word(ROWS[n][2])}", "a,b,y")
    rows = [f"{a};{b},5;{word(y)}{blank}" for a, b, y in ROWS]
    Path("later.csv").write_text("\n".join(["a;b;y", *rows]))
    code, _, errors = run(capsys, "evaluate", "m", "later.csv", "--target", "y", *marks)
    assert code == 0, errors


@pytest.mark.parametrize("gap", ["", "?"])
def test_truth_values_with_gaps(folder, capsys, gap):
    fit(lambda n: f"{n % 2 == 0},{n % 7}.5,{n % 5 == 0}", "a,b,y")
    X = read(f"a;b\nTrue;1,5\n{gap};2,5\nFalse ;3,5\n", decimal=",").X
    assert X["a"].astype(float).fillna(-1).tolist() == [1, -1, 0]
    rows = [f"{n % 2 == 0},{n % 7}.5,{n % 5 == 0 if n % 7 else gap}" for n in range(N)]
    Path("later.csv").write_text("\n".join(["a,b,y", *rows]))
    options = ["--target", "y", "--drop-unlabelled", "--missing", "?"]
    code, _, errors = run(capsys, "evaluate", "m", "later.csv", *options)
    assert code == 0, errors


def test_classes_of_fit_do_not_depend_on_marks(folder):
    fit(lambda n: f"{n % 4};{n % 7},5;{int(n % 5 == 0)}", "a;b;y", "--decimal", ",")
    assert load_model(Path("m")).classes_.tolist() == [0, 1]


def test_digits_that_begin_with_0_are_numbers_if_they_were_in_training(folder):
    fit(lambda n: f"{n * 331 % 9000:05},{n % 7}.5,{int(n % 5 == 0)}", "zip,b,y", "--numeric", "zip")
    new = "zip;b\n00123;1,5\n{};2,5\n+07;3,5\n"
    assert read(new.format("04567")).X["zip"].tolist() == [123, 4567, 7]
    assert read(new.format("?")).X["zip"].fillna(-1).tolist() == [123, -1, 7]
