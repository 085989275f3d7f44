"""Whole-batch iteration over whatever holds the rows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from imbtorch.training.data import rows as batches
from imbtorch.training.data.features import as_features
from imbtorch.training.data.rows import ArrayRows
from tests.toy import steady

CPU = torch.device("cpu")
F32 = torch.float32
KINDS = [
    "float32",
    "float64",
    "fortran",
    "read-only",
    "memmap32",
    "memmap64",
    "float16",
    "big-endian",
    "reversed",
    "csr_array",
    "csr_matrix",
]


def whole_numbers(n=37, width=6):
    """Numbers that every type holds exactly."""
    return np.arange(n * width, dtype=np.float64).reshape(n, width) % 97


def stored_as(kind, X, folder):
    if kind.startswith("memmap"):
        np.save(folder / "X.npy", X.astype("f" + str(int(kind[6:]) // 8)))
        return np.load(folder / "X.npy", mmap_mode="r")
    if kind == "read-only":
        X = X.astype(np.float32)
        X.flags.writeable = False
        return X
    if kind == "reversed":
        return X[::-1].astype(np.float32)[::-1]
    if kind.startswith("csr"):
        return getattr(sparse, kind)(X)
    kinds = {"fortran": "f4", "big-endian": ">f4"}
    return X.astype(kinds.get(kind, kind), order="F" if kind == "fortran" else "C")


def rows_of(X, codes=None, weights=None, **options):
    codes = np.arange(X.shape[0]) % 3 if codes is None else codes
    return ArrayRows(as_features(X, F32, CPU, **options), codes, weights, F32, CPU)


def gathered(rows, order, size):
    parts = list(rows.batches(torch.as_tensor(order), size))
    return [torch.cat(column) for column in zip(*parts, strict=True)]


@pytest.fixture
def tiny_blocks(monkeypatch):
    monkeypatch.setattr(batches, "BLOCK_BYTES", 100)


# -- which rows ------------------------------------------------------------------------------------


@steady
@given(st.integers(1, 80), st.integers(1, 20), st.integers(0, 3))
def test_batches_cover_each_row_once(n, size, seed):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    X = whole_numbers(n)
    x, codes, _ = gathered(rows_of(X), order, size)
    np.testing.assert_array_equal(x.numpy(), X[order.numpy()].astype(np.float32))
    np.testing.assert_array_equal(codes.numpy(), (np.arange(n) % 3)[order.numpy()])


@steady
@given(st.integers(2, 80), st.integers(2, 20))
def test_no_batch_is_a_single_row(n, size):
    sizes = [len(x) for x, _, _ in rows_of(whole_numbers(n)).batches(torch.arange(n), size)]
    assert min(sizes) >= 2
    assert max(sizes) <= size + 1
    assert sum(sizes) == n


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("n", [20, 21, 22, 24, 25])
def test_last_single_row_joins_its_neighbour(n):
    sizes = [len(x) for x, _, _ in rows_of(whole_numbers(n)).batches(torch.arange(n), 4)]
    rest = {0: [4], 1: [5], 2: [4, 2]}[n % 4]
    assert sizes == [4] * (n // 4 - 1) + rest


def test_a_single_row_alone_is_a_batch():
    assert [len(x) for x, _, _ in rows_of(whole_numbers(1)).batches(torch.arange(1), 4)] == [1]


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("kind", ["float32", "memmap64", "csr_array"])
def test_rows_come_in_order_across_blocks(kind, tmp_path):
    X = whole_numbers(50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    x, codes, _ = gathered(rows_of(stored_as(kind, X, tmp_path)), order, 4)
    np.testing.assert_array_equal(x.numpy(), X[order])
    np.testing.assert_array_equal(codes.numpy(), (np.arange(50) % 3)[order])


def test_only_rows_in_the_order_are_seen():
    X = whole_numbers()
    x, _, _ = gathered(rows_of(X), [5, 1, 30], 2)
    np.testing.assert_array_equal(x.numpy(), X[[5, 1, 30]])


@pytest.mark.parametrize("order_type", [torch.int32, torch.int64])
def test_codes_come_as_class_indices_whatever_they_are_stored_in(order_type):
    for kind in (np.uint8, np.int16, np.int32, np.int64):
        rows = rows_of(whole_numbers(10), np.arange(10).astype(kind))
        (batch,) = rows.batches(torch.arange(10, dtype=order_type), 10)
        assert batch[1].dtype == torch.int64
        assert batch[1].tolist() == list(range(10))


# -- shares ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [32, 33, 35])
def test_shares_without_weights_sum_to_one_per_batch(n):
    for _, _, share in rows_of(whole_numbers(n)).batches(torch.arange(n), 8):
        assert share.sum().item() == pytest.approx(1)
        assert share.dtype == F32


def test_share_is_weight_over_batch_size_not_over_weights():
    weights = np.arange(1.0, 11.0, dtype=np.float32)
    for x, _, share in rows_of(whole_numbers(10), weights=weights).batches(torch.arange(10), 4):
        first = int(x[0, 0]) // 6  # the row number
        expected = weights[first : first + len(x)] / len(x)
        np.testing.assert_allclose(share.numpy(), expected, rtol=1e-6)


def test_shares_follow_the_order():
    weights = np.arange(1.0, 11.0, dtype=np.float32)
    order = [9, 0, 4, 7]
    _, _, share = gathered(rows_of(whole_numbers(10), weights=weights), order, 4)
    np.testing.assert_allclose(share.numpy(), weights[order] / 4)


# -- how rows are stored ---------------------------------------------------------------------------


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_equal_however_X_is_stored(kind, resident, tmp_path):
    X = whole_numbers()
    features = as_features(stored_as(kind, X, tmp_path), F32, CPU, resident=resident)
    assert len(features) == 37
    order = torch.tensor([3, 36, 0, 3, 17])
    (x,) = features.gather(order).split([5])
    assert x.dtype == F32
    np.testing.assert_array_equal(x.numpy(), X[order])
    np.testing.assert_array_equal(features.slice(30, 37).numpy(), X[30:37])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64"])
def test_numbers_that_are_not_floats_are_cast(dtype):
    X = (whole_numbers() % 2).astype(dtype)
    np.testing.assert_array_equal(as_features(X, F32, CPU).slice(0, 37).numpy(), X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5)])
def test_rows_of_more_dimensions_keep_their_shape(shape, dtype):
    X = np.arange(7 * np.prod(shape), dtype=dtype).reshape(7, *shape)
    features = as_features(X, F32, CPU)
    (x,) = features.gather(torch.tensor([6, 2])).split(2)
    np.testing.assert_array_equal(x.numpy(), X[[6, 2]])
    assert features.row_bytes == 4 * np.prod(shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contiguous_X_of_the_right_type_is_not_copied(dtype):
    X = whole_numbers().astype(str(dtype).removeprefix("torch."))
    for resident in (True, False):
        features = as_features(X, dtype, CPU, resident=resident)
        assert np.shares_memory(features.tensor.numpy(), X)
        assert not np.shares_memory(features.slice(0, 37).numpy(), X)  # a module may write to it


def test_read_only_X_is_neither_copied_nor_warned_about(recwarn, tmp_path):
    X = stored_as("read-only", whole_numbers(), tmp_path)
    assert np.shares_memory(as_features(X, F32, CPU).tensor.numpy(), X)
    assert not recwarn.list


def test_memmap_of_another_type_stays_on_the_disk(tmp_path):
    features = as_features(stored_as("memmap64", whole_numbers(), tmp_path), F32, CPU)
    assert isinstance(features.features.array, np.memmap)


def test_view_of_a_memmap_is_known_to_be_on_the_disk(tmp_path):
    X = np.asarray(stored_as("memmap64", whole_numbers(), tmp_path))[5:]
    features = as_features(X, F32, CPU)
    assert np.shares_memory(features.features.array, X)


# -- overflow --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("kind", ["float64", "memmap64", "csr_array"])
def test_number_too_large_for_float32_is_an_error(kind, resident, tmp_path):
    X = whole_numbers()
    X[20, 3] = 1e300
    with pytest.raises(ValueError, match='float32.*StandardScaler.*dtype="float64"'):
        list(rows_of(stored_as(kind, X, tmp_path), resident=resident).batches(torch.arange(37), 8))


def test_large_number_that_fits_is_no_error():
    X = whole_numbers()
    X[:, 0] = 3e38  # the sum of a column does not fit
    assert as_features(X, F32, CPU).slice(0, 1)[0, 0] == np.float32(3e38)


def test_float64_holds_what_float32_does_not():
    X = whole_numbers()
    X[20, 3] = 1e300
    assert as_features(X, torch.float64, CPU).slice(20, 21)[0, 3] == 1e300
