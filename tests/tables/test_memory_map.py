"""Parquet files that become memory maps."""

import os
from pathlib import Path

import numpy as np
import pytest

from imbtorch import ImbalancedNetClassifier
from imbtorch.tables import TableError, _memory_map, parquet_to_memmap

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

N = 500


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    return {
        "a": rng.normal(size=N),
        "label": np.where(rng.random(N) < 0.2, "rare", "common"),
        "b": rng.integers(-9, 9, N),
        "c": rng.random(N) < 0.5,
    }


@pytest.fixture
def write(tmp_path):
    def write_file(columns, name="rows.parquet", **options):
        pq.write_table(pa.table(columns), tmp_path / name, **options)
        return tmp_path / name

    return write_file


def test_rows_and_labels_are_those_of_the_file(columns, write, tmp_path):
    source = write(columns, row_group_size=64)
    X, y = parquet_to_memmap(source, tmp_path / "X.npy", "label")
    assert isinstance(X, np.memmap)
    assert X.mode == "r"
    assert X.dtype == np.float32
    assert X.flags.c_contiguous
    expected = np.column_stack([columns[name] for name in "abc"]).astype(np.float32)
    np.testing.assert_array_equal(X, expected)
    np.testing.assert_array_equal(y, columns["label"])
    assert y.dtype.kind == "U"


def test_several_files_follow_each_other(columns, write, tmp_path):
    parts = [{k: v[part] for k, v in columns.items()} for part in (slice(0, 99), slice(99, None))]
    files = [write(part, f"{i}.parquet") for i, part in enumerate(parts)]
    X, y = parquet_to_memmap(files, tmp_path / "X.npy", "b", columns=["c", "a"], dtype="float64")
    np.testing.assert_array_equal(X, np.column_stack([columns["c"], columns["a"]]))
    np.testing.assert_array_equal(y, columns["b"])


def test_gaps_are_nan_and_several_targets_a_matrix(write, tmp_path):
    source = write({"x": [1, None, 3], "z": [True, False, None], "l": [0, 1, 1], "m": [1, 1, 0]})
    X, y = parquet_to_memmap(source, str(tmp_path / "X.npy"), ["m", "l"])
    np.testing.assert_array_equal(X, [[1, 1], [np.nan, 0], [3, np.nan]])
    assert y.tolist() == [[1, 0], [1, 1], [0, 1]]
    assert parquet_to_memmap(source, tmp_path / "X.npy")[1] is None


def test_categories_are_labels(write, tmp_path):
    kinds = pa.array(["no", "yes", "no"]).dictionary_encode()
    _, y = parquet_to_memmap(write({"x": [1.0, 2, 3], "y": kinds}), tmp_path / "X.npy", "y")
    assert y.tolist() == ["no", "yes", "no"]


def test_model_is_that_of_the_rows_in_memory(columns, write, tmp_path):
    X, y = parquet_to_memmap(write(columns), tmp_path / "X.npy", "label")
    net = ImbalancedNetClassifier("mlp", max_epochs=2, random_state=0)
    on_disk = net.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(net.fit(np.array(X), y).predict_proba(X), on_disk)


WRONG = {
    "unknown target": ({"target": "kind"}, "no column kind.*columns are: a, label, b, c"),
    "unknown column": ({"columns": ["a", "z"]}, "no column z"),
    "column named twice": ({"columns": ["a", "a"]}, "twice: a"),
    "target among the features": ({"columns": ["a", "label"]}, "twice: label"),
    "text": ({"target": "a"}, r"do not hold numbers: label \(string\).*columns="),
    "no columns": ({"columns": []}, "no column is left"),
    "dtype": ({"dtype": "float16"}, "dtype: 'float16'; use 'float32'"),
    "destination": ({"destination": "X.parquet"}, r"must end in \.npy"),
    "no folder": ({"destination": "none/X.npy"}, "no folder .*none; make it"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument_is_an_error_that_leaves_no_file(case, columns, write, tmp_path):
    changed, message = WRONG[case]
    given = {"target": "label", **changed}
    destination = tmp_path / given.pop("destination", "X.npy")
    source = write(columns)
    with pytest.raises(TableError, match=message):
        parquet_to_memmap(source, destination, **given)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


BAD = {
    "label with gaps": ({"x": [1.0, 2.0], "y": ["a", None]}, "target y has gaps"),
    "whole number that float32 rounds": ({"x": [1, 2**24 + 1], "y": [0, 1]}, 'dtype="float64"'),
    "too large": ({"x": [1.0, 1e300], "y": [0, 1]}, "column x holds infinity.*too large"),
    "number that is a gap": ({"x": [1.0, 2.0], "y": [0.0, float("nan")]}, "target y has gaps"),
    "decimals as labels": (
        {"x": [1.0, 2.0], "y": pa.array([1, 0], pa.decimal128(5, 2))},
        r"target y of .* holds decimal128\(5, 2\), neither",
    ),
    "no rows": ({"x": pa.array([], "f4"), "y": pa.array([], "i4")}, "no rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_an_error_and_the_former_file_stays(case, write, tmp_path):
    content, message = BAD[case]
    former = tmp_path / "X.npy"
    np.save(former, np.ones(3))
    with pytest.raises(TableError, match=message):
        parquet_to_memmap(write(content), former, "y")
    assert np.load(former).tolist() == [1, 1, 1]
    assert not list(tmp_path.glob("*.part"))


def test_bad_files_are_named(columns, write, tmp_path):
    good, other = write(columns), write({"a": [1.0], "d": [2]}, "other.parquet")
    (damaged := tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    for files, message in {
        (tmp_path / "none.parquet",): "no file .*none.parquet",
        (good, damaged): "damaged.parquet cannot be read as parquet",
        (good, other): "other.parquet has other columns.*b, c, d, label",
        (good, good): "named twice",
        (): "no rows in no files",
    }.items():
        with pytest.raises(TableError, match=message):
            parquet_to_memmap(files, tmp_path / "X.npy", "label")


def test_targets_have_one_type(write, tmp_path):
    numbers, text = ({"x": [1.0], "y": labels, "z": [0]} for labels in ([1], ["1"]))
    files = [write(numbers, "one.parquet"), write(text, "other.parquet")]
    message = r"more than one type: int64 \(y of .*one\.parquet\), text \(y of .*other\.parquet\)"
    with pytest.raises(TableError, match=message):
        parquet_to_memmap(files, tmp_path / "X.npy", "y", columns=["x"])
    with pytest.raises(TableError, match="more than one type"):
        parquet_to_memmap(files[1], tmp_path / "X.npy", ["y", "z"])
    categories = write({"x": [1.0], "y": pa.array(["1"]).dictionary_encode()}, "third.parquet")
    _, y = parquet_to_memmap(categories, tmp_path / "X.npy", "y")
    assert y.tolist() == ["1"]


def open_files(folder):
    """Return the names of the files in a folder that this process holds open."""
    held = []
    for descriptor in Path("/proc/self/fd").iterdir():
        if descriptor.is_symlink():  # that of this listing is gone
            held.append(Path(os.readlink(descriptor)))
    return [path.name for path in held if path.parent == folder]


needs_linux = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs Linux")


def test_destination_that_is_a_folder_is_an_error(columns, write, tmp_path):
    (tmp_path / "X.npy").mkdir()
    with pytest.raises(TableError, match="X.npy is not a regular file; choose another name"):
        parquet_to_memmap(write(columns), tmp_path / "X.npy", "label")


@pytest.mark.parametrize("fails", [False, True])
def test_a_file_of_the_user_with_a_similar_name_stays(fails, write, tmp_path):
    names = ("X.npy.part", "X.npy.tmp", ".X.npy.part")
    for name in names:
        (tmp_path / name).write_text("of the user")
    source = write({"x": [1.0, 1e300 if fails else 2.0]})
    if fails:
        with pytest.raises(TableError, match="too large"):
            parquet_to_memmap(source, tmp_path / "X.npy")
    else:
        parquet_to_memmap(source, tmp_path / "X.npy")
    assert [(tmp_path / name).read_text() for name in names] == ["of the user"] * 3
    output = [] if fails else ["X.npy"]
    assert {path.name for path in tmp_path.iterdir()} == {*names, source.name, *output}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no space left"), MemoryError])
@pytest.mark.parametrize("former", [False, True])
def test_interruption_leaves_what_was_there(error, former, columns, write, tmp_path, monkeypatch):
    source, destination = write(columns, row_group_size=64), tmp_path / "X.npy"
    if former:
        np.save(destination, np.ones(3))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    calls, numbers = [], _memory_map._numbers

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 8:  # three columns a row group: in the third
            raise error
        return numbers(*arguments)

    monkeypatch.setattr(_memory_map, "_numbers", interrupted)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        parquet_to_memmap(source, destination, "label")
    assert len(calls) == 8
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@needs_linux
@pytest.mark.parametrize("case", ["written", "too large", "text", "other columns", "damaged"])
def test_parquet_files_are_closed(case, write, tmp_path):
    second = {
        "too large": {"x": [1e300]},
        "text": {"x": ["a"]},
        "other columns": {"z": [1.0]},
    }
    files = [write({"x": [1.0]}), write(second.get(case, {"x": [2.0]}), "other.parquet")]
    if case == "damaged":
        files[1].write_bytes(b"PAR1 and no more")
    if case == "written":
        X, _ = parquet_to_memmap(files, tmp_path / "X.npy")
        assert X.tolist() == [[1], [2]]
    else:
        # the error is alive, as in a notebook, and with it the frames that it went through
        with pytest.raises(TableError) as held:
            parquet_to_memmap(files, tmp_path / "X.npy")
        assert held.value.__traceback__ is not None
    assert not [name for name in open_files(tmp_path) if name.endswith(".parquet")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_file_has_the_permissions_of_any_new_file(mask, write, tmp_path):
    former = os.umask(mask)
    try:
        parquet_to_memmap(write({"x": [1.0]}), tmp_path / "X.npy")
        (tmp_path / "new").touch()
    finally:
        os.umask(former)
    modes = [(tmp_path / name).stat().st_mode for name in ("X.npy", "new")]
    assert modes[0] == modes[1]
