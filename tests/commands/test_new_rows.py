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
