"""``python -m imbtorch compare`` and its report."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from imbtorch._commands import main
from imbtorch.tables import read_table as read
from tests.limits import PROCESS_SECONDS

pytest.importorskip("pandas")


@pytest.fixture
def write(tmp_path):
    def write(**columns):
        path = tmp_path / "table.csv"
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values()))]  # noqa: B905
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


RNG = np.random.default_rng(0)
CLASS = ["fraud" if row % 6 == 0 else "genuine" for row in range(120)]
AMOUNT = [round(RNG.normal() + 2 * (label == "fraud"), 3) for label in CLASS]
SHOP = [("a", "b", "")[row % 3] for row in range(120)]


def run(capsys, *arguments):
    code = main(["compare", *map(str, arguments)])
    output, errors = capsys.readouterr()
    return code, output, errors


@pytest.mark.slow
def test_table_report_and_notes(write, capsys, tmp_path):
    gaps = ["" if row % 40 == 1 else value for row, value in enumerate(AMOUNT)]
    path, out = write(amount=gaps, Shop=SHOP, Class=CLASS), tmp_path / "report.html"
    code, output, errors = run(
        capsys, path, "--target", "Class", "--strategies", "cross", "under", "--quick",
        "--folds", "3", "--module", "mlp", "--out", out,
    )  # fmt: skip
    assert code == 0, errors
    assert "categories, with the number of different ones: Shop (2)" in output
    assert "missing numbers become the mean of the training rows" in output
    assert "under-sampling" in output
    assert "epochs" in output
    page = out.read_text()
    assert page.count("data:image/png;base64,") == 5
    assert not re.search(r"<script|<link|https?://|@import", page)
    assert "of class fraud (16.67%)" in page
    assert page.count("<tr>") == 3 * 3  # three tables of a head and two strategies


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "clas"], ["no column 'clas'", "'Class'", "amount"]),
        (["--target", "Class", "--categorical", "shop"], ["no column 'shop'", "'Shop'"]),
        (["--target", "Class", "--drop", "shop"], ["no column 'shop'", "'Shop'"]),
        (["--target", "Class", "--drop", "Shop", "amount"], ["no column is left"]),
        (["--target", "Class", "--drop", "Class"], ["is the target"]),
        (["--target", "amount", "--drop", "Shop", "Class"], ["continuous"]),
        (["--target", "Class", "--drop", "Shop", "--folds", "1"], ["--folds"]),
        (["--target", "Class", "--drop", "Shop", "--folds", "30"], ["'fraud' has 20 rows"]),
        (["--target", "Class", "--drop", "Shop", "--strategies", "no"], ["is not a strategy"]),
        (["--target", "Class", "--drop", "Shop", "--scoring", "no"], ["'no'"]),
        (["--target", "Class", "--drop", "Shop", "--out", "/no/such/place/r.html"], ["--out"]),
        (["--target", "Class", "--drop", "Shop", "--out", "-"], ["--out", "name of a file"]),
    ],
)
def test_what_does_not_suit_is_explained_in_few_lines(write, capsys, arguments, words):
    path = write(amount=AMOUNT, Shop=SHOP, Class=CLASS)
    code, _, errors = run(capsys, path, *arguments)
    assert code == 2
    assert all(word in errors for word in words), errors
    assert len(errors.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no file"),
        (b"", "cannot be read as CSV"),
        (b"x,y\n", "has no rows"),
        (b"\xff\xfe\x00,\x01", "--encoding"),
        (b"x,y\n1,a\n4,a\n", "one class"),
        (b"x,y\n1,a\n2,\n", "there is no value of the target"),
        (b"x,z,y\n,,a\n,,b\n", "no column is left"),
        (b"x,y\ninf,a\n2,b\n", "infinite values: x"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, capsys, content, words):
    path = tmp_path / "data.csv"
    if content is not None:
        path.write_bytes(content)
    code, _, errors = run(capsys, path, "--target", "y")
    assert code == 2
    assert words in errors
    assert len(errors.strip().splitlines()) <= 2


def test_columns_of_text_are_categories_and_others_where_they_are_named(write):
    path = write(code=[row % 3 for row in range(120)], Shop=SHOP, amount=AMOUNT, Class=CLASS)
    as_they_come = read(path, "Class")
    assert as_they_come.notes == ["categories, with the number of different ones: Shop (2)"]
    named = read(path, "Class", categorical=["code", "auto"])
    assert named.notes == ["categories, with the number of different ones: code (3), Shop (2)"]
    assert str(named.X["code"].dtype) == "category"
    assert named.X["amount"].equals(as_they_come.X["amount"])


def test_columns_of_text_that_are_no_categories_are_named_with_the_option_that_helps(write, capsys):
    days = [f"2026-{1 + row // 28:02d}-{1 + row % 28:02d}" for row in range(120)]
    path = write(amount=AMOUNT, day=days, Class=CLASS)
    code, _, errors = run(capsys, path, "--target", "Class")
    assert code == 2
    assert "['day']" in errors
    assert "--drop day" in errors
    assert "DataFrame" not in errors
    assert len(errors.strip().splitlines()) == 1


def test_parquet_is_read_by_its_extension(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas as pd

    path = tmp_path / "table.parquet"
    pd.DataFrame({"amount": AMOUNT, "Class": CLASS}).to_parquet(path)
    table = read(path, "Class")
    assert table.X.columns.tolist() == ["amount"]
    assert set(table.y.tolist()) == {"fraud", "genuine"}


@pytest.mark.slow
def test_python_m_imbtorch(write):
    path = write(amount=AMOUNT, Class=CLASS)
    command = [sys.executable, "-m", "imbtorch", "compare", str(path), "--target", "Klass"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_SECONDS)
    assert done.returncode == 2
    assert "Did you mean 'Class'" in done.stderr
    assert "Traceback" not in done.stderr


# Files that are read are never written over -------------------------------------------------


def other_spelling(path):
    return path.parent / "sub" / ".." / path.name


def symbolic_link(path):
    (link := path.parent / "link.html").symlink_to(path)
    return link


def hard_link(path):
    os.link(path, link := path.parent / "link.html")
    return link


@pytest.mark.parametrize("named", [lambda path: path, other_spelling, symbolic_link, hard_link])
@pytest.mark.parametrize(
    ("command", "option", "what_is_read"),
    [
        ("compare", "--out", "table.csv"),
        ("fit", "--out", "table.csv"),
        ("fit", "--onnx", "table.csv"),
        ("predict", "--out", "table.csv"),
        ("predict", "--out", "model"),
        ("evaluate", "--out", "table.csv"),
        ("evaluate", "--out", "model"),
        ("card", "--out", "model"),
    ],
)
def test_a_file_that_is_read_is_not_written_over(
    write, capsys, tmp_path, named, command, option, what_is_read
):
    path, model = write(amount=AMOUNT, Class=CLASS), tmp_path / "model"
    (tmp_path / "sub").mkdir()
    model.write_bytes(b"not a model, which is looked at later")
    read_file = tmp_path / what_is_read
    before, out = read_file.read_bytes(), named(read_file)
    given = {"compare": [path], "fit": [path], "card": [model]}.get(command, [model, path])
    target = [] if command in ("predict", "card") else ["--target", "Class"]
    short = ["--module", "mlp", "--epochs", "1"] if command in ("compare", "fit") else []
    other = ["--out", tmp_path / "other"] if option == "--onnx" else []
    code = main([command, *map(str, [*given, *target, *short, *other, option, out])])
    _, errors = capsys.readouterr()
    assert code == 2
    assert f"{option} {out} is the file {read_file} that is read" in errors
    assert len(errors.strip().splitlines()) == 1
    assert read_file.read_bytes() == before
    assert not (tmp_path / "other").exists()


def test_a_missing_file_is_still_named_as_such(tmp_path, capsys):
    path = tmp_path / "no.csv"
    code, _, errors = run(capsys, path, "--target", "y", "--out", tmp_path / "report.html")
    assert code == 2
    assert "there is no file" in errors


# Weights ------------------------------------------------------------------------------------


def test_a_column_of_weights_counts_in_training_and_in_all_metrics(write, capsys):
    weight = [1 + row % 3 for row in range(120)]
    path = write(amount=AMOUNT, weight=weight, Class=CLASS)
    given = ["--target", "Class", "--strategies", "cross", "smote", "--module", "mlp", "--json"]
    options = [*given, "--epochs", "1", "--folds", "3"]
    code, output, errors = run(capsys, path, *options, "--weight", "weight")
    assert code == 0, errors
    weighted = json.loads(output)
    assert weighted["run"]["Rows"] == "120, 1 column, weighted"
    assert weighted["data"].endswith("each row counts with its weight.")
    assert weighted["strategies"]["cross-entropy"]["status"] == "ok"
    assert "no sample_weight" in weighted["strategies"]["SMOTE"]["status"]
    assert "classify__sample_weight=table.sample_weight" in weighted["code"]
    code, output, _ = run(capsys, path, *options, "--drop", "weight")
    plain = json.loads(output)
    assert code == 0
    numbers = [one["strategies"]["cross-entropy"]["brier"] for one in (weighted, plain)]
    assert abs(numbers[0] - numbers[1]) > 1e-6


def test_weights_that_cannot_be_used_are_explained(write, capsys):
    path = write(amount=AMOUNT, weight=[-1] * 120, Class=CLASS)
    code, _, errors = run(capsys, path, "--target", "Class", "--weight", "weight")
    assert code == 2
    assert "the weights in 'weight' must be finite, at least 0" in errors
    code, _, errors = run(capsys, path, "--target", "Class", "--weight", "Class")
    assert code == 2
    assert "cannot be both the target and the weight" in errors
    code, _, errors = run(capsys, path, "--target", "Class", "--weight", "Weight")
    assert code == 2
    assert "'weight'" in errors


# What --quick implies, and what is stated ---------------------------------------------------


@pytest.mark.parametrize(
    ("options", "budget"),
    [
        (["--quick"], "2 folds, network 'mlp', epochs 3"),
        (["--quick", "--folds", "3"], "3 folds, network 'mlp', epochs 3"),
        (["--quick", "--epochs", "1"], "2 folds, network 'mlp', epochs 1"),
        (["--folds", "4", "--epochs", "1", "--quick"], "4 folds, network 'mlp', epochs 1"),
        (["--epochs", "1"], "5 folds, network 'mlp', epochs 1"),
    ],
)
def test_stated_numbers_count_more_than_quick(write, capsys, options, budget):
    path = write(amount=AMOUNT, Class=CLASS)
    given = ["--target", "Class", "--strategies", "cross", "--module", "mlp", "--json"]
    code, output, errors = run(capsys, path, *given, *options)
    assert code == 0, errors
    assert budget in json.loads(output)["run"]["Budget"]


def test_the_help_says_what_quick_does_beside_folds_and_epochs(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    output = " ".join(capsys.readouterr().out.split())
    assert "2 folds and 3 epochs, unless --folds or --epochs states another number" in output
    assert "folds of the outer cross-validation (default: 5)" in output
