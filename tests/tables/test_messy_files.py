"""Files as they come: each is read as it was meant, or the error names the option that helps."""

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pytest

from imbtorch.tables import Table, TableError, read_table

pd = pytest.importorskip("pandas")

N = 60
RNG = np.random.default_rng(0)
AMOUNT = RNG.normal(size=N).round(4)
CITY = [("Zürich", "Ulm", "Pau")[n % 3] for n in range(N)]
LABEL = ["fraud" if n % 5 == 0 else "fine" for n in range(N)]
FRAME = pd.DataFrame({"amount": AMOUNT, "city": CITY, "label": LABEL})
CLEAN = FRAME.to_csv(index=False)
LINES = CLEAN.splitlines()


def write(tmp_path, content, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def csv(frame=FRAME, **options):
    return frame.to_csv(index=False, **options)


def with_column(values, name="x"):
    return csv(FRAME.assign(**{name: values}))


# What a file means, although it is written in another way: all are the table of FRAME
SAME = {
    "plain": (CLEAN, {}),
    "semicolons": (csv(sep=";"), {}),
    "semicolons and decimal commas": (csv(sep=";", decimal=","), {}),
    "tabs": (csv(sep="\t"), {}),
    "bars": (csv(sep="|"), {}),
    "a separator that is named": (csv(sep="~"), {"sep": "~"}),
    "Excel's line of the separator": ("sep=;\n" + csv(sep=";"), {}),
    "all cells in quotes": (csv(quoting=1), {}),
    "Windows' line ends": (csv(lineterminator="\r\n"), {}),
    "old line ends": (csv(lineterminator="\r"), {}),
    "UTF-8 with a mark": (CLEAN.encode("utf-8-sig"), {}),
    "UTF-16": (CLEAN.encode("utf-16"), {}),
    "UTF-16 that is named": (CLEAN.encode("utf-16-le"), {"encoding": "utf-16-le"}),
    "Windows' encoding": (CLEAN.encode("cp1252"), {}),
    "UTF-8 with a mark that is named": (CLEAN.encode("utf-8-sig"), {"encoding": "utf-8"}),
    "UTF-16 with a mark that is named": (CLEAN.encode("utf-16"), {"encoding": "utf-16-le"}),
    "gzip": (gzip.compress(CLEAN.encode()), {}),
    "bzip2": (bz2.compress(CLEAN.encode()), {}),
    "xz": (lzma.compress(CLEAN.encode()), {}),
    "zip": (zipped(**{"folder/data.csv": CLEAN}), {}),
    "comments and blank lines": ("# exported\n# by hand, twice\n\n" + CLEAN, {}),
    "a quote in a comment": ('# a "quote\n' + CLEAN, {}),
    "a header that is a comment": ("#" + CLEAN.replace("\n", "\n", 1), {}),
    "lines before the table": (f"Report\n\nof May\n{CLEAN}", {"skip_lines": 3}),
    "no header": (csv(header=False), {"header": False, "target": "-1"}),
    "names that are given": (csv(header=False), {"header": False, "names": list(FRAME)}),
    "names that replace the header": (CLEAN, {"names": list(FRAME)}),
    "a header that lacks a name": ("\n".join(["amount,city", *LINES[1:]]), {"names": list(FRAME)}),
    "separators at the ends of the rows": ("\n".join(f"{line}," for line in LINES), {}),
    "... but not of the header": ("\n".join([LINES[0], *(f"{x}," for x in LINES[1:])]), {}),
    "... and of a bad row, left out": (
        "\n".join([LINES[0], *(f"{x}," for x in LINES[1:]), "1,Ulm"]), {"skip_bad_rows": True}),
    "... of some rows": (
        "\n".join([LINES[0], *(f"{x}," if len(x) % 2 else x for x in LINES[1:])]), {}),
    "... several, with names of the columns": (
        "\n".join(f"{x},,," for x in LINES), {"names": list(FRAME)}),
    "... without a header": (
        "\n".join(f"{x}," for x in LINES[1:]), {"header": False, "target": "-1"}),
    "... of the header only": ("\n".join([f"{LINES[0]},", *LINES[1:]]), {"target": "-1"}),
    "the header again, with a separator at its end": (
        "\n".join([*LINES[:30], f"{LINES[0]},", *LINES[30:]]), {}),
    "a short row below names that are given, left out": (
        "\n".join(["amount,city", *LINES[1:], "1,Ulm"]),
        {"names": list(FRAME), "skip_bad_rows": True}),
    "the header again": ("\n".join([*LINES[:30], LINES[0], *LINES[30:]]), {}),
    "blanks around names and cells": (
        "\n".join(line.replace(",", " , ") for line in LINES), {}
    ),
    "an index": (FRAME.to_csv(), {}),
    "an index of shuffled rows": (FRAME.set_index(RNG.permutation(N)).to_csv(), {"any_order": 1}),
    "a column that counts the rows": (csv(FRAME.assign(row=range(1, N + 1))), {}),
    "identifiers in text": (with_column([f"C{n:05}" for n in range(N)], "customer"), {}),
    "identifiers in numbers": (with_column(RNG.permutation(10**5)[:N], "CustomerID"), {}),
    "an empty column": (with_column([None] * N), {}),
    "a column that is left out": (with_column(["2026-01-31"] * N, "day"), {"drop": ["day"]}),
    "a name twice, one left out": (CLEAN.replace("label", "label,label", 1).replace(
        "fraud", "fraud,1").replace("fine", "fine,2"), {"drop": ["4"]}),
    "a row that is too long, left out": (CLEAN + "1,Ulm,fine,fine,fine\n", {"skip_bad_rows": True}),
    "names that replace a short header, without a row that is too long": (
        "\n".join(["amount,city", *LINES[1:], "1,Ulm,fine,fine"]),
        {"names": list(FRAME), "skip_bad_rows": True}),
    "identifiers with zeros": (with_column([f"{n:05}" for n in range(N)], "key"), {}),
    "a footer, left out": (CLEAN + "60 rows\n", {"skip_bad_rows": True}),
    "rows without a label, left out": (CLEAN + "1,Ulm,\n", {"drop_unlabelled": True}),
    "blanks around labels": (CLEAN.replace("fraud", "fraud "), {}),
    "labels in several cases": (CLEAN.replace("fraud", "FRAUD", 1), {"case": "merge"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", SAME)
def test_files_that_mean_the_same(tmp_path, kind):
    content, options = SAME[kind]
    any_order = options.get("any_order")
    options = {name: value for name, value in options.items() if name != "any_order"}
    table = read_table(write(tmp_path, content), **{"target": "label", **options})
    assert table.X.shape == (N, 2), table.notes
    assert not any_order or table.notes
    assert table.X.iloc[:, 0].astype(float).to_numpy() == pytest.approx(AMOUNT)
    assert table.X.iloc[:, 1].tolist() == CITY
    assert [str(label).lower() for label in table.y.tolist()] == LABEL


SEMICOLONS_IN_CELLS = "\n".join(["text;label", *(f"a,b;{n % 2}" for n in range(20))])
ENGLISH = [f"{1e4 * v:,.1f}" for v in AMOUNT]

# What is read of the column x
NUMBERS = {
    "one '?'": (["?", *AMOUNT[1:]], {}, [np.nan, *AMOUNT[1:]]),
    "several words": (["n/a", "-", "null", *AMOUNT[3:]], {}, [np.nan] * 3 + [*AMOUNT[3:]]),
    "a word that is named": (["X", *AMOUNT[1:]], {"missing": ["X"]}, [np.nan, *AMOUNT[1:]]),
    "a number that is named": ([-999, *range(7, N + 6)], {"missing": ["-999"]},
                               [np.nan, *range(7, N + 6)]),
    "thousands": (ENGLISH, {}, (1e4 * AMOUNT).round(1)),
    "decimal commas": ([str(v).replace(".", ",") for v in AMOUNT], {}, AMOUNT),
    "decimal commas and points": ([e.translate(str.maketrans(",.", ".,")) for e in ENGLISH], {},
                                  (1e4 * AMOUNT).round(1)),
    "blanks in thousands": ([e.replace(",", "\u00a0") for e in ENGLISH], {},
                            (1e4 * AMOUNT).round(1)),
    "percent": ([f"{100 * v:.2f} %" for v in AMOUNT], {}, AMOUNT),
    "thousands as in India": (["1,23,456", "12,34,567.5"] * 30, {}, [123456, 1234567.5] * 30),
    "a currency": ([f"${v}" for v in AMOUNT], {}, AMOUNT),
    "three digits and a comma": ([f"{n},{n + 100}" for n in range(1, N + 1)], {"decimal": ","},
                                 [float(f"{n}.{n + 100}") for n in range(1, N + 1)]),
    "... as thousands": ([f"{n},{n + 100}" for n in range(1, N + 1)], {"thousands": ","},
                         [1000 * n + n + 100 for n in range(1, N + 1)]),
    "a counter that is kept": (range(N), {"numeric": ["x"]}, range(N)),
    "years of one row each": (range(1900, 1900 + N), {}, range(1900, 1900 + N)),
    "digits that begin with 0": ([f"{n:04}" for n in range(N)], {"numeric": ["x"]}, range(N)),
}  # fmt: skip


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_that_are_written_as_text(tmp_path, kind):
    values, options, expected = NUMBERS[kind]
    frame = FRAME[["label"]].assign(x=[str(value) for value in values])
    table = read_table(write(tmp_path, csv(frame)), "label", **options)
    np.testing.assert_allclose(table.X["x"].to_numpy(), np.asarray(expected, dtype=float))


def mixed(words, n=N):
    return [words[0] if k < len(words[1]) else str(k * 1.5) for k in range(n)]


# Files that are refused, with the words that the error must have
REFUSED = {
    "a header that lacks a name": ("\n".join(["amount,city", *LINES[1:]]), "--names"),
    "a row that is too long": (CLEAN + "1,Ulm,fine,fine\n", "--skip-bad-rows", "62"),
    "a row that is too short": (CLEAN + "1,Ulm\n", "--skip-bad-rows", "62"),
    "no header": (csv(header=False), "--no-header"),
    "years as names": (csv(FRAME.rename(columns={"label": "2019"})), "2019", "--header"),
    "a title above": ("Report of May\n" + CLEAN, "--skip-lines"),
    "one column": ("a b c\n1 2 3\n", "--sep"),
    "a name twice": (CLEAN.replace("city", "amount "), "--drop 2", "'amount'"),
    "two separators": ("x,a;y\n" + "p,q;r\n" * 9, "--sep"),
    "numbers and words": (
        with_column(["high", *range(N - 1)]), "--missing high", "--categorical x"),
    "1,234": (with_column([f"{n},{n + 100}" for n in range(1, N + 1)]), "--decimal"),
    "percent and shares": (with_column(["12%", *AMOUNT[1:]]), "--missing 12%"),
    "points beside decimal commas": (
        csv(FRAME.assign(x=[f"{n}.{n + 100}" for n in range(1, N + 1)],
                         y=[f"{n},5" for n in range(N)])), "'y'", "--decimal"),
    "dates": (with_column([f"2026-01-{n % 28 + 1:02}" for n in range(N)]), "['x']", "--drop x"),
    "times": (with_column([f"{n % 24:02}:30" for n in range(N)]), "--drop x"),
    "numbers with units": (with_column([f"{abs(v)} kg" for v in AMOUNT]), "unit", "--drop x"),
    "negative numbers in brackets": (
        with_column([f"({-v})" if v < 0 else v for v in AMOUNT]), "--drop"),
    "free text": (with_column([f"parcel {n} is late" for n in range(N)]), "--drop"),
    "labels in several cases": (CLEAN.replace("fraud", "Fraud", 1), "--case merge"),
    "rows without a label": (CLEAN + "1,Ulm,\n", "--drop-unlabelled"),
    "a class that is missing in numbers": (
        csv(FRAME.assign(label=["?", *[n % 2 for n in range(N - 1)]])), "--drop-unlabelled"),
    "a target of numbers": (csv(FRAME.assign(label=AMOUNT)), "continuous"),
    "a target that is different in each row": (csv(FRAME.assign(label=range(N))), "different"),
    "a target of dates": (csv(FRAME.assign(label=["2026-01-31"] * N)), "dates"),
    "infinite numbers": (with_column([np.inf, *AMOUNT[1:]]), "--missing inf"),
    "zero bytes": (CLEAN.encode("utf-16-le"), "--encoding utf-16-le"),
    "damaged UTF-8": (CLEAN.encode() + b"1,\xff,fine\n", "--encoding", "line 62"),
    "a quote that is not closed": ('a,label\n"1,0\n' + "2,1\n" * 40000, "quote"),
    "an empty file": ("", "empty"),
    "a header alone": (LINES[0] + "\n", "no rows"),
    "comments alone": ("# nothing\n", "no lines"),
    "a web page": ("<!DOCTYPE html><html>", "web page"),
    "JSON": ('{"a": 1}', "JSON"),
    "a pickle": (b"\x80\x04abc", "pickle"),
    "a pointer of Git LFS": ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "zip with two files": (zipped(a=CLEAN, b=CLEAN), "2 files"),
    "half a gzip": (gzip.compress(CLEAN.encode())[:-20], "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_are_refused_with_the_way_out(tmp_path, kind):
    content, *words = REFUSED[kind]
    with pytest.raises(TableError) as caught:
        read_table(write(tmp_path, content), "label")
    assert all(word in str(caught.value) for word in words), caught.value
    assert len(str(caught.value)) < 500


def test_rows_that_are_left_out_are_few(tmp_path):
    """A header that lacks a name makes all rows too long, and those that end empty too few."""
    rows = [f"{line}," if n % 3 else f"{line},x" for n, line in enumerate(LINES[1:])]
    path = write(tmp_path, "\n".join([LINES[0], *rows[::3], *rows[1::6]]))
    with pytest.raises(TableError, match="would leave out 20 of 30 rows"):
        read_table(path, "label", skip_bad_rows=True)


@pytest.mark.parametrize("marked", ["utf-8-sig", "utf-16", "utf-32"])
def test_an_encoding_that_contradicts_the_mark(tmp_path, marked):
    path = write(tmp_path, CLEAN.encode(marked))
    with pytest.raises(TableError, match=rf"mark of {marked[:5]}.* --encoding latin-1 contradicts"):
        read_table(path, "label", encoding="latin-1")


def test_codes_are_found_in_rows_with_and_without_a_separator_at_the_end(tmp_path):
    codes = [f"0{n % 7},{label}{',' if n % 2 else ''}" for n, label in enumerate(LABEL)]
    X = read_table(write(tmp_path, "\n".join(["code,label", *codes])), "label").X
    assert set(X["code"]) == {f"0{n}" for n in range(7)}


def read(tmp_path, content, target="label", **options) -> Table:
    return read_table(write(tmp_path, content), target, **options)


def test_classes_may_be_called_as_gaps_are(tmp_path):
    labels = [("None", "NA", "yes")[n % 3] for n in range(N)]
    table = read(tmp_path, csv(FRAME.assign(label=labels)))
    assert sorted(set(table.y.tolist())) == ["NA", "None", "yes"]
    assert any("'NA' is a class of its own" in note for note in table.notes)


def test_a_column_of_text_keeps_words_such_as_none(tmp_path):
    words = ["None" if n % 2 else ("" if n % 3 else "gravel") for n in range(N)]
    table = read(tmp_path, with_column(words, "alley"))
    assert set(table.X["alley"].dropna()) == {"None", "gravel"}
    assert table.X["alley"].isna().sum() == words.count("")


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("day", [20260100 + n % 28 + 1 for n in range(N)], "may hold dates"),
        ("account", RNG.permutation(10**6)[:N] + 10**6, "may be an identifier"),
        ("patient_id", [n // 2 for n in range(N)], "--groups patient_id"),
        ("town", [("Ulm", "ulm")[n % 2] for n in range(N)], "upper and lower case"),
    ],
)
def test_columns_that_are_kept_with_a_note(tmp_path, name, values, words):
    table = read(tmp_path, with_column(values, name))
    assert name in table.X
    assert any(words in note for note in table.notes), table.notes


def test_codes_keep_their_zeros(tmp_path):
    table = read(tmp_path, with_column([f"0{n % 7}" for n in range(N)], "zip"))
    assert table.X["zip"].iloc[1] == "01"
    assert any("--numeric zip" in note for note in table.notes)


def test_a_cell_may_hold_the_separator_and_line_ends(tmp_path):
    frame = FRAME.assign(city=["Ulm, near\nBlaubeuren" if n == 3 else "Pau" for n in range(N)])
    table = read(tmp_path, csv(frame) + csv(frame, header=False))
    assert table.X["city"].iloc[3] == "Ulm, near\nBlaubeuren"
    assert len(table.y) == 2 * N


def test_columns_with_a_role_of_their_own(tmp_path):
    frame = FRAME.assign(
        weight=[1 + n % 2 for n in range(N)],
        patient=[n // 2 for n in range(N)],
        day=pd.date_range("2026-01-01", periods=N)[::-1].strftime("%Y-%m-%d"),
    )
    table = read(tmp_path, csv(frame), weight="weight", groups="patient", time="day")
    assert table.X["amount"].tolist() == AMOUNT[::-1].tolist()
    assert table.y.tolist() == LABEL[::-1]
    assert table.sample_weight.tolist() == [1 + n % 2 for n in range(N)][::-1]
    assert (np.diff(table.groups) != 0).sum() == N // 2 - 1
    assert table.is_in_order


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ({"weight": "amount"}, "at least 0"),
        ({"weight": "city"}, "not all numbers"),
        ({"weight": "label"}, "both the target and the weight"),
        ({"groups": "city", "drop": ["city"]}, "cannot be dropped"),
        ({"time": "city"}, "2026-01-31"),
        ({"drop": ["amount", "city"]}, "no column is left"),
        ({"drop": ["9"]}, "Places count from 1"),
        ({"numeric": ["city"]}, "no numbers"),
        ({"categorical": ["Amount"]}, "Did you mean 'amount'"),
        ({"sep": ",,"}, "--sep"),
        ({"encoding": "klingon"}, "--encoding"),
        ({"encoding": "ascii"}, "not ascii"),
        ({"decimal": ";"}, "--decimal"),
        ({"thousands": "1"}, "--thousands"),
        ({"decimal": ",", "thousands": ","}, "different"),
        ({"skip_lines": -1}, "--skip-lines"),
        ({"skip_lines": 99}, "no lines"),
        ({"names": ["a"]}, "gives 1 names"),
        ({"case": "lower"}, "--case"),
    ],
)
def test_options_that_do_not_fit(tmp_path, roles, words):
    with pytest.raises(TableError, match=words):
        read(tmp_path, CLEAN, **roles)


def test_parquet_and_its_index(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "any.name"
    FRAME.set_index(pd.Index(CITY, name="key")).to_parquet(path)
    table = read_table(path, "label")
    assert table.X.columns.tolist() == ["amount", "city"]
    assert table.notes[0] == "the index of the frame (key) is left out"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TableError, match="cannot be read as parquet"):
        read_table(path, "label")
    with pytest.raises(TableError, match="as parquet"):
        read_table(write(tmp_path, CLEAN, "data.parquet"), "label")


def test_names_and_options_of_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "data.parquet"
    FRAME.set_axis(["0", "1", "2"], axis=1).to_parquet(path)
    table = read_table(path, "label", names=list(FRAME))
    assert table.X.columns.tolist() == ["amount", "city"]
    assert table.notes[0] == "the names 0, 1, 2 are replaced by --names"
    for options, words in (
        ({"names": ["a"]}, "gives 1 names"),
        ({"header": False}, "always has names"),
        ({"sep": ";"}, "--sep does not fit a Parquet file"),
        ({"skip_lines": 2}, "--skip-lines"),
        ({"skip_bad_rows": True}, "--skip-bad-rows"),
        ({"encoding": "utf-8"}, "--encoding"),
    ):
        with pytest.raises(TableError, match=words):
            read_table(path, "2", **options)


def test_excel_needs_openpyxl(tmp_path):
    path = write(tmp_path, zipped(**{"[Content_Types].xml": "<Types/>"}), "book.xlsx")
    words = "openpyxl" if not has_openpyxl() else "cannot be read as Excel"
    with pytest.raises(TableError, match=words):
        read_table(path, "label")


def has_openpyxl():
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.skipif(not has_openpyxl(), reason="openpyxl is not installed")
def test_excel(tmp_path):
    path = tmp_path / "book.xlsx"
    with pd.ExcelWriter(path) as book:
        FRAME.assign(n=range(N), m=["?", *AMOUNT[1:]]).to_excel(book, sheet_name="data")
        FRAME.to_excel(book, sheet_name="more")
    table = read_table(path, "label")
    assert table.X.columns.tolist() == ["amount", "city", "m"]
    assert table.X["amount"].to_numpy() == pytest.approx(AMOUNT)
    assert table.X["m"].isna().sum() == 1
    assert "the first sheet, 'data'" in table.notes[0]


def test_a_folder_and_no_file(tmp_path):
    with pytest.raises(TableError, match="is a folder"):
        read_table(tmp_path, "label")
    with pytest.raises(TableError, match="there is no file"):
        read_table(tmp_path / "none.csv", "label")
