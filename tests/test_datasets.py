"""Data sets thinned to a known imbalance."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from imbtorch.datasets import make_long_tailed


def balanced(n_classes=10, rows=100, seed=0):
    """Return rows that name themselves, and shuffled labels."""
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(n_classes), rows))
    return np.arange(len(y))[:, None], y


def counts_of(y):
    return np.unique(np.asarray(y), return_counts=True)[1].tolist()


def test_counts_are_those_of_cifar_10_lt():
    # published for CIFAR-10 with imbalance 100: 12 406 images
    X, y = balanced(rows=5000)
    _, y_tail = make_long_tailed(X, y, 100, random_state=0)
    assert counts_of(y_tail) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


@pytest.mark.parametrize(
    ("n_classes", "fraction", "expected"),
    [(4, 0.5, [100, 100, 10, 10]), (3, 0.5, [100, 100, 10]), (5, 0.8, [100, 10, 10, 10, 10]),
     (3, 0.01, [100, 100, 10]), (2, 0.99, [100, 10])],
)  # fmt: skip
def test_counts_of_the_step_profile(n_classes, fraction, expected):
    X, y = balanced(n_classes)
    _, y_step = make_long_tailed(X, y, 10, profile="step", step_fraction=fraction, random_state=0)
    assert counts_of(y_step) == expected


@pytest.mark.parametrize("profile", ["exp", "step"])
@pytest.mark.parametrize("n_classes", [2, 7, 40])
@pytest.mark.parametrize("ratio", [1, 2.5, 10, 333])
def test_ratio_is_reached(profile, n_classes, ratio):
    X, y = balanced(n_classes, rows=1000)
    _, y_tail = make_long_tailed(X, y, ratio, profile=profile, random_state=0)
    numbers = counts_of(y_tail)
    rarest = int(1000 / ratio)
    assert (numbers[0], numbers[-1], min(numbers), max(numbers)) == (1000, rarest, rarest, 1000)
    assert numbers == sorted(numbers, reverse=True)


def test_ratio_of_one_keeps_everything_of_balanced_data():
    X, y = balanced()
    X_same, y_same = make_long_tailed(X, y, 1)
    np.testing.assert_array_equal(X_same, X)
    np.testing.assert_array_equal(y_same, y)


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_head_is_as_large_as_the_rows_allow(profile):
    rng = np.random.default_rng(1)
    for _ in range(50):
        available = rng.integers(1, 60, size=rng.integers(2, 8))
        ratio = rng.uniform(1, 30)
        y = np.repeat(np.arange(len(available)), available)
        _, kept = make_long_tailed(y, y, ratio, profile=profile, random_state=0)
        numbers = np.bincount(kept)
        n_classes = len(available)
        shares = ratio ** -(np.arange(n_classes) / (n_classes - 1))
        if profile == "step":
            shares = np.where(np.arange(n_classes) < n_classes - n_classes // 2, 1, 1 / ratio)
        wanted = [np.maximum(np.floor(n * shares + 1e-9), 1) for n in range(1, 61)]
        possible = [numbers for numbers in wanted if (numbers <= available).all()]
        np.testing.assert_array_equal(numbers, possible[-1])


def test_every_class_keeps_a_row():
    X, y = balanced(5, rows=8)
    assert min(counts_of(make_long_tailed(X, y, 1e6, random_state=0)[1])) == 1


def test_class_order_decides_who_is_frequent():
    X, y = balanced(3)
    y = np.array(["cat", "dog", "eel"])[y]
    _, y_tail = make_long_tailed(X, y, 100, class_order=["eel", "cat", "dog"], random_state=0)
    assert dict(zip(*np.unique(y_tail, return_counts=True), strict=True)) == {
        "eel": 100, "cat": 10, "dog": 1,
    }  # fmt: skip


def test_same_state_same_rows():
    X, y = balanced()
    first, again = (make_long_tailed(X, y, 10, random_state=3)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = make_long_tailed(X, y, 10, random_state=4)[0]
    assert not np.array_equal(first, other)
    stream = np.random.RandomState(3)
    one, two = (make_long_tailed(X, y, 10, random_state=stream)[0] for _ in range(2))
    assert not np.array_equal(one, two)


def test_global_random_state_is_left_alone():
    X, y = balanced()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_long_tailed(X, y, 10)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_rows_keep_their_order_and_their_labels():
    X, y = balanced()
    X_tail, y_tail, rows = make_long_tailed(X, y, 10, return_indices=True, random_state=0)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(X_tail, X[rows])
    np.testing.assert_array_equal(y_tail, y[rows])


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.tolist(),
        lambda X: X.reshape(-1, 1, 1),
        lambda X: pd.DataFrame(X, columns=["a"], index=np.arange(len(X))[::-1]),
        lambda X: pl.DataFrame({"a": X[:, 0]}),
        sparse.csr_matrix,
        sparse.csr_array,
        sparse.csc_array,
    ],
    ids=["list", "images", "pandas", "polars", "csr_matrix", "csr_array", "csc_array"],
)
def test_containers_come_back_as_they_are(convert):
    X, y = balanced()
    data = convert(X + 1)
    thinned, _, rows = make_long_tailed(data, y, 10, return_indices=True, random_state=0)
    assert type(thinned) is type(data)
    dense = thinned.toarray() if sparse.issparse(thinned) else np.asarray(thinned)
    np.testing.assert_array_equal(dense.ravel(), rows + 1)


def test_coo_becomes_csr():
    X, y = balanced()
    thinned, *_ = make_long_tailed(sparse.coo_array(X), y, 10, random_state=0)
    assert thinned.format == "csr"


@pytest.mark.parametrize("convert", [list, pd.Series, pl.Series], ids=["list", "pandas", "polars"])
def test_labels_come_back_as_they_are(convert):
    X, y = balanced(3)
    labels = convert(np.array(["cat", "dog", "eel"])[y].tolist())
    _, thinned = make_long_tailed(X, labels, 100, random_state=0)
    assert type(thinned) is type(labels)
    assert counts_of(thinned) == [100, 10, 1]


BAD = [
    ({"imbalance_ratio": 0.5}, ValueError, "imbalance_ratio"),
    ({"imbalance_ratio": np.nan}, ValueError, "imbalance_ratio"),
    ({"imbalance_ratio": np.inf}, ValueError, "imbalance_ratio"),
    ({"imbalance_ratio": "10"}, TypeError, "imbalance_ratio"),
    ({"profile": "linear"}, ValueError, "profile"),
    ({"profile": "step", "step_fraction": 0}, ValueError, "step_fraction"),
    ({"profile": "step", "step_fraction": 1.0}, ValueError, "step_fraction"),
    ({"class_order": [0, 1]}, ValueError, "class_order"),
    ({"class_order": [0, 1, 1]}, ValueError, "class_order"),
    ({"class_order": [0, 1, "2"]}, ValueError, "class_order"),
    ({"y": np.zeros(300)}, ValueError, "one class"),
    ({"y": np.zeros(299)}, ValueError, "inconsistent"),
    ({"y": np.linspace(0.1, 1, 300)}, ValueError, "continuous"),
    ({"y": np.array([np.nan] * 150 + [1.0] * 150)}, ValueError, "NaN"),
    ({"y": ["a", "b", None] * 100}, ValueError, "None"),
    ({"y": np.zeros((300, 2))}, ValueError, "1d"),
]


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # of NaN, in scikit-learn
@pytest.mark.parametrize(("wrong", "error", "message"), BAD)
def test_bad_input_is_named(wrong, error, message):
    X, y = balanced(3)
    arguments = {"X": X, "y": y, "imbalance_ratio": 10, **wrong}
    with pytest.raises(error, match=message):
        make_long_tailed(**arguments)
