"""No row is lost and no number changes in silence: quotes, headers, marks of numbers."""

import pytest

from imbtorch.tables import TableError, read_table
from imbtorch.tables._options import Options
from imbtorch.tables._typed_file import _excel_names

pd = pytest.importorskip("pandas")

N = 60


def read(tmp_path, content, target="y", **options):
    path = tmp_path / "data.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, target, **options)


def lines(row, header="a,b,y", n=N):
    return "\n".join([header, *map(row, range(n))])


# Quotes ------------------------------------------------------------------------------------


def test_stray_quotes_swallow_no_rows(tmp_path):
    words = {10: '"word1', 20: '"word2'}
    content = lines(lambda n: f"{words.get(n, f'w{n % 3}')},{n % 7}.5,{n % 2}")
    with pytest.raises(TableError, match="in line 22 .*a quote is opened and not closed"):
        read(tmp_path, content)


def test_quotes_that_are_closed_hold_separators_quotes_and_ends_of_lines(tmp_path):
    words = ['"one, two"', '"a ""b"" c"', '"two\nlines"']
    table = read(tmp_path, lines(lambda n: f"{words[n % 3]},{n % 7}.5,{n % 2}"))
    assert len(table.y) == N
    assert set(table.X["a"]) == {"one, two", 'a "b" c', "two\nlines"}


def test_a_row_that_pandas_does_not_read_is_an_error(tmp_path, monkeypatch):
    real = pd.read_csv
    monkeypatch.setattr(pd, "read_csv", lambda *args, **options: real(*args, **options)[1:])
    with pytest.raises(TableError, match="60 rows were counted, but 59 were read"):
        read(tmp_path, lines(lambda n: f"{n % 7}.5,{n % 5}.5,{n % 2}"))


def test_a_gap_in_quotes_is_a_row_of_a_file_with_one_column(tmp_path):
    with pytest.raises(TableError, match="no column is left"):
        read(tmp_path, 'y\n1\n""\n\n0\n1\n', sep=",", drop_unlabelled=True)


# Names -------------------------------------------------------------------------------------

NAMES = {"names": ["a", "b", "y"]}
NO_HEADER = "\n".join(f"{n}.5,{n % 7}.5,{n % 2}" for n in range(N))


def test_names_do_not_replace_a_row_of_data(tmp_path):
    with pytest.raises(TableError, match="--names.*looks like data.*0.5.*--header or --no-header"):
        read(tmp_path, NO_HEADER, **NAMES)
    assert len(read(tmp_path, NO_HEADER, header=False, **NAMES).y) == N
    assert len(read(tmp_path, NO_HEADER, header=True, **NAMES).y) == N - 1


def test_names_that_replace_a_header_are_noted(tmp_path):
    table = read(tmp_path, f"amount,rate,class\n{NO_HEADER}", **NAMES)
    assert len(table.y) == N
    assert "the header amount, rate, class is replaced by --names" in table.notes


def test_a_place_is_no_name_in_a_row_of_data(tmp_path):
    with pytest.raises(TableError, match="looks like data"):
        read(tmp_path, "\n".join(f"{n % 7}.25,{n}.5,{3 - n % 2}" for n in range(N)), target="3")


def test_names_in_excel():
    cells = pd.DataFrame([[n + 0.5, n % 7 + 0.5, n % 2] for n in range(N)])
    with pytest.raises(TableError, match="--header or --no-header"):
        _excel_names(cells, Options(**NAMES), ["y"], [])
    notes = []
    assert _excel_names(cells, Options(**NAMES, header=True), ["y"], notes) == NAMES["names"]
    assert notes == ["the header 0.5, 0.5, 0.0 is replaced by --names"]
    assert _excel_names(cells, Options(**NAMES, header=False), ["y"], []) == NAMES["names"]


# Marks of numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1200])
def test_points_that_may_separate_thousands_are_found_in_all_rows(tmp_path, first):
    def row(n):
        return f"{n % 900 if n < first else f'1.{100 + n % 800}'};{n % 7},5;{n % 2}"

    with pytest.raises(TableError, match="a point in 'a' may separate thousands"):
        read(tmp_path, lines(row, "a;b;y", 1400))


def test_whole_numbers_with_a_gap_may_be_thousands_too(tmp_path):
    content = lines(lambda n: f"{'?' if n == 5 else f'{1 + n}.000'};{n % 7},5;{n % 2}", "a;b;y")
    with pytest.raises(TableError, match="a point in 'a' may separate thousands"):
        read(tmp_path, content)


def test_weights_with_points_are_in_doubt_too(tmp_path):
    content = lines(lambda n: f"1.{100 + n};{n % 7},5;{n % 2}", "w;b;y")
    with pytest.raises(TableError, match="a point in 'w' may separate thousands"):
        read(tmp_path, content, weight="w")


@pytest.mark.parametrize("cell", ["0.500", "1.25", "1234.500"])
def test_points_that_cannot_separate_thousands(tmp_path, cell):
    content = lines(lambda n: f"{cell if n == 1100 else '1.500'};{n % 7},5;{n % 2}", "a;b;y", 1200)
    assert read(tmp_path, content).X["a"].iloc[1100] == float(cell)


@pytest.mark.parametrize("options", [{}, {"header": False, "target": "-1"}])
def test_codes_are_found_in_all_rows(tmp_path, options):
    def row(n):
        return f"{'01234' if n == place else 2000 + n % 9},{n % 7}.5,{n % 2}"

    place = 0 if options else 1300
    body = "\n".join(map(row, range(1400)))
    table = read(tmp_path, body if options else f"a,b,y\n{body}", **options)
    assert "01234" in set(table.X.iloc[:, 0])


def test_codes_with_a_word_for_a_gap_stay_codes(tmp_path):
    content = lines(lambda n: f"{'-999' if n % 9 == 1 else f'0{n % 4}'},{n % 7}.5,{n % 2}")
    found = read(tmp_path, content, missing=["-999"]).X["a"].dropna()
    assert set(found) == {"00", "01", "02", "03"}


# Marks that are stated ---------------------------------------------------------------------

STATED = [{"decimal": ","}, {"thousands": "."}, {"decimal": ",", "thousands": "."}]


def test_weights_follow_the_marks(tmp_path):
    content = lines(lambda n: f"1.{100 + n};{n % 7},5;{n % 2}", "w;b;y")
    for marks in STATED:
        weights = read(tmp_path, content, weight="w", **marks).sample_weight
        assert weights[:2].tolist() == [1100, 1101]
    with pytest.raises(TableError, match="the weights in 'w' are not all numbers"):
        read(tmp_path, content.replace(".", ",0"), weight="w", decimal=".")


@pytest.mark.parametrize(
    "times", [lambda n: 9000 + 100 * n, lambda n: f"1.{100 + n}", lambda n: f"{n},5"]
)
def test_times_follow_the_marks(tmp_path, times):
    content = lines(lambda n: f"{times(N - n)};{n},25;{n % 2}", "t;b;y")
    for marks in STATED:
        assert read(tmp_path, content, time="t", **marks).X["b"].tolist() == [
            n + 0.25 for n in range(N - 1, -1, -1)
        ]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(["0", "1"], "i"), (["True", "False"], "b"), (["0,5", "1,5"], "f"), (["1.000", "2.000"], "i"),
     (["01", "02"], "U"), (["1.a", "2.a"], "U"), (["1,0 %", "2,0 %"], "U")],
)  # fmt: skip
def test_labels_follow_the_marks(tmp_path, labels, kind):
    content = lines(lambda n: f"{n},25;x;{labels[n % 2]}", "a;b;y")
    if kind == "f":  # which are no classes, except where they are known
        with pytest.raises(TableError, match="continuous"):
            read(tmp_path, content, decimal=",")
        return
    y = read(tmp_path, content, decimal=",").y
    assert (y.dtype.kind, len(set(y.tolist()))) == (kind, 2)
    if labels[0] == "1.000":
        assert set(y.tolist()) == {1000, 2000}


def test_columns_are_what_they_are_without_the_marks(tmp_path):
    content = lines(lambda n: f"{n % 7};{n},5;{n % 2 == 0};{n % 2}", "i;b;t;y")
    for marks in STATED:
        X = read(tmp_path, content, **marks).X
        assert [dtype.kind for dtype in X.dtypes] == ["i", "f", "b"]


def test_groups_do_not_differ_by_blanks(tmp_path):
    content = lines(lambda n: f"g{n // 2}{' ' * (n % 2)},{n % 7}.5,{n % 2}", "g,b,y")
    assert len(set(read(tmp_path, content, groups="g").groups.tolist())) == N // 2


@pytest.mark.parametrize("other", ["04711", "?", "", "12.5"])
def test_digits_that_begin_with_0_are_numbers_if_the_user_says_so(tmp_path, other):
    content = lines(lambda n: f"{other if n == 5 else f'0{n % 9}'},{n % 7}.5,{n % 2}")
    a = read(tmp_path, content, numeric=["a"]).X["a"]
    assert a.dtype.kind in "if"
    assert a[:5].tolist() == [0, 1, 2, 3, 4]


# Words for a gap ---------------------------------------------------------------------------

GAPS = {
    "a blank": ("-999 ", "{}", ","),
    "a decimal comma": ("-999,0", "{},5", ","),
    "a point": ("-999.0", "{}", "."),
    "an exponent": ("-9.99e2", "{}.5", "."),
    "a minus sign": ("\u2212999,0", "{},5", ","),
}


@pytest.mark.parametrize("other", ["5", "?"])
@pytest.mark.parametrize("kind", GAPS)
def test_gaps_are_found_however_the_number_is_written(tmp_path, kind, other):
    gap, usual, mark = GAPS[kind]

    def row(n):
        cell = gap if n % 9 == 0 else other if n == 1 else usual.format(n % 7)
        return f"{cell};{n % 7}{mark}5;{n % 2}"

    table = read(tmp_path, lines(row, "a;b;y"), missing=["-999"])
    assert table.X["a"].isna().sum() == 7 + (other == "?")
    assert table.X["a"].min() >= 0
    assert not any("read as nan" in note for note in table.notes)


@pytest.mark.parametrize("gap", ["none", "none "])
@pytest.mark.parametrize("options", [{}, {"categorical": ["a"]}])
def test_gaps_are_found_in_categories(tmp_path, gap, options):
    content = lines(lambda n: f"{gap if n % 9 == 0 else 'xyz'[n % 3]},{n % 7}.5,{n % 2}")
    assert read(tmp_path, content, missing=["none"], **options).X["a"].isna().sum() == 7


@pytest.mark.parametrize("gap", ["-9", "-9 ", "-9.0"])
def test_gaps_are_found_in_labels(tmp_path, gap):
    content = lines(lambda n: f"{n}.25,{n % 7}.5,{gap if n % 9 == 0 else n % 2}")
    y = read(tmp_path, content, missing=["-9"], drop_unlabelled=True).y
    assert (len(y), set(y.tolist())) == (N - 7, {0, 1})


def test_words_for_a_gap_leave_other_columns_as_they_are(tmp_path):
    content = lines(lambda n: f"{n % 7},{n % 2 == 0},{n % 2 + 3}")
    X = read(tmp_path, content, missing=["1", "-999"]).X
    assert [dtype.kind for dtype in X.dtypes] == ["f", "b"]
    X = read(tmp_path, content, missing=["-999"]).X
    assert [dtype.kind for dtype in X.dtypes] == ["i", "b"]
