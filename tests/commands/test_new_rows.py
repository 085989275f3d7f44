"""New rows mean what the rows of training meant, or the error names the option that helps."""

from pathlib import Path

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


def read(content, others=None, *, verbatim=False, **options):
    Path("new.csv").write_text(content)
    model, path = load_model(Path("m")), Path("new.csv")
    return read_for(model, path, Options(**options), [], others or {}, verbatim=verbatim)


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


IDS = ["9007199254740993", "", "1E5", "007", "True", "1.50 ", "-999", "?"]


@pytest.mark.parametrize("named", ["id", "1"])
def test_columns_are_copied_as_they_are_written(folder, capsys, named):
    fit(lambda n: f"{n % 4},{n % 7}.5,{int(n % 5 == 0)}", "a,b,y")
    rows = [f"{key},{n},{n}.5" for n, key in enumerate(IDS)]
    Path("new.csv").write_text("\n".join(["id,a,b", *rows]))
    options = ["--missing", "-999", "--quiet"]
    code, output, errors = run(capsys, "predict", "m", "new.csv", "--copy", named, *options)
    assert code == 0, errors
    assert [line.split(",")[0] for line in output.splitlines()[1:]] == IDS


def test_features_are_copied_as_they_are_written_and_read_as_in_training(folder, capsys):
    fit(lambda n: f"{n % 4},{'xyz'[n % 3]},{n % 2 == 0},{int(n % 5 == 0)}", "a,b,c,y")
    content = "a,b,c\n1E0,x,True\n-999,-999,\n02,z ,False\n"
    plain = read(content, missing=["-999"]).X
    copied = read(content, {name: name for name in "abc"}, missing=["-999"], verbatim=True)
    assert [copied.others[name].tolist()[0] for name in "abc"] == ["1E0", "x", "True"]
    assert copied.others["a"].tolist() == ["1E0", "-999", "02"]
    for name in "abc":
        assert copied.X[name].isna().tolist() == plain[name].isna().tolist()
    assert copied.X["a"].fillna(-1).tolist() == [1, -1, 2]
    assert copied.X["c"].fillna(-1).tolist() == [1, -1, 0]
    Path("new.csv").write_text(content)
    written = {}
    for options in [[], ["--copy", "a", "b", "c"]]:
        code, output, errors = run(capsys, "predict", "m", "new.csv", "--missing", "-999", *options)
        assert code == 0, errors
        written[len(options)] = [line.split(",")[-2:] for line in output.splitlines()]
    assert written[0] == written[4]


def test_a_copied_feature_without_a_value(folder, capsys):
    fit(lambda n: f"{n % 4 if n % 9 else ''},{n % 7}.5,{int(n % 5 == 0)}", "a,b,y")
    Path("new.csv").write_text("a,b\n,1.5\n,2.5\n")
    code, _, errors = run(capsys, "predict", "m", "new.csv", "--copy", "a")
    assert code == 0, errors


def test_gaps_are_found_however_the_number_is_written(folder):
    fit(lambda n: f"{n % 4}.5,{'xyz'[n % 3]},{int(n % 5 == 0)}", "a,b,y")
    X = read("a;b\n-999 ;x\n-999,0;-999 \n1,5;-999\n", missing=["-999"]).X
    assert X["a"].isna().tolist() == [True, True, False]
    assert X["b"].isna().tolist() == [False, True, True]


def test_a_model_of_categories_only(folder):
    fit(lambda n: f"{'xyz'[n % 3]},{'uv'[n % 2]},{int(n % 5 == 0)}", "a,b,y")
    assert read("a,b\nx ,-9\n-9,v\n", missing=["-9"]).X.fillna("").to_numpy().tolist() == [
        ["x", ""],
        ["", "v"],
    ]


def test_blanks_around_categories_that_are_stated_do_not_matter(folder):
    fit(
        lambda n: f"{'AB'[n % 2]}{' ' * (1 + n % 2)},{n % 7}.5,{int(n % 5 == 0)}",
        "a,b,y", "--categorical", "a",
    )  # fmt: skip
    rows = read("a,b\nA  ,1.5\nB,2.5\n")
    assert rows.X["a"].tolist() == ["A", "B"]
    assert not any("categories that training did not have" in note for note in rows.notes)


@pytest.mark.parametrize("content", ["a\n1.5\n2.5\n", '\n"a"\n1,5\n2,5\n', "# new\na\n1.5\n2.5\n"])
def test_a_file_with_the_only_column_of_the_model(folder, capsys, content):
    fit(lambda n: f"{n % 7}.5,{int(n % 5 == 0)}", "a,y")
    assert read(content).X["a"].tolist() == [1.5, 2.5]


def test_a_file_with_another_only_column(folder):
    fit(lambda n: f"{n % 7}.5,{int(n % 5 == 0)}", "a,y")
    with pytest.raises(TableError, match="one column only"):
        read("b\n1.5\n2.5\n")


def test_blank_lines_of_one_column_are_noted(folder):
    fit(lambda n: f"{n % 7}.5,{int(n % 5 == 0)}", "a,y")
    rows = read('a\n1.5\n\n""\n2.5\n')
    assert len(rows.X) == 3
    assert any("1 blank line left out" in note for note in rows.notes)
