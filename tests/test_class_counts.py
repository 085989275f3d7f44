"""Class counts that add up: chunk by chunk, in any order, as if everything were counted at once."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from imbtorch._data.class_counts import as_class_counts
from imbtorch.weights import (
    ClassCounts,
    class_counts,
    class_weight_from_counts,
    class_weights,
    label_weights,
)
from tests.toy import steady

LABELS = st.one_of(
    st.lists(st.lists(st.integers(-5, 300), max_size=9), max_size=5),
    st.lists(st.lists(st.booleans(), max_size=9), max_size=5),
    st.lists(st.lists(st.sampled_from(["", "a", "b", "bb"]), max_size=9), max_size=5),
)
Y = np.array(["no", "yes", "no", "maybe", "no"])
W = np.array([1.0, 2.0, 0.0, 0.5, 1.5])


class Items(Dataset):
    def __init__(self, *columns):
        self.columns = columns

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, i):
        return tuple(column[i] for column in self.columns)


class Passing(IterableDataset):
    def __init__(self, *columns):
        self.columns = columns

    def __iter__(self):
        return zip(*self.columns, strict=True)


@steady
@given(LABELS, st.randoms())
def test_parts_add_up_in_any_order(chunks, random):
    whole = class_counts(np.array([label for chunk in chunks for label in chunk]))
    parts = [class_counts(np.array(chunk)) for chunk in chunks if chunk]
    random.shuffle(parts)
    assert sum(parts, ClassCounts()) == whole
    assert whole.total == whole.n_rows == sum(map(len, chunks))


@steady
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=1), st.integers(0, 20))
def test_weighted_parts_add_up(rows, cut):
    y, w = np.array(rows).T
    a, b = class_counts(y[:cut], w[:cut] / 8), class_counts(y[cut:], w[cut:] / 8)
    assert a + b == b + a == class_counts(y, w / 8)  # eighths are exact


@steady
@given(st.lists(st.integers(0, 7), min_size=1), st.integers(0, 20))
def test_parts_of_several_labels_add_up(numbers, cut):
    y = (np.array(numbers)[:, None] >> np.arange(3)) & 1
    a, b = class_counts(y[:cut]), class_counts(sparse.csr_array(y[cut:]))
    assert a + b == class_counts(y)
    np.testing.assert_array_equal((a + b).counts, np.stack([(1 - y).sum(0), y.sum(0)], axis=1))


@pytest.mark.parametrize(
    "y",
    [[0, 0, 1, 5], ["b", "a", "a"], [True, False, False], [1.0, 2.0, 2.0], [-1, 1, 1, 1]],
    ids=str,
)
def test_balanced_weights_are_those_of_scikit_learn(y):
    weights = class_weight_from_counts(class_counts(y))
    classes = np.unique(y)
    assert list(weights) == classes.tolist()
    expected = compute_class_weight("balanced", classes=classes, y=y)
    np.testing.assert_allclose(list(weights.values()), expected, rtol=1e-15)


@pytest.mark.parametrize("strategy", ["effective_number", "sqrt", "log", {"yes": 3}, None])
def test_other_weights_are_those_of_the_estimators(strategy):
    counts = class_counts(Y)
    weights = class_weight_from_counts(counts, strategy)
    expected = class_weights(strategy, [1, 3, 1], ["maybe", "no", "yes"])
    np.testing.assert_array_equal([weights[label] for label in counts], expected)


def test_weights_of_several_labels():
    y = np.array([[0, 1], [1, 1], [0, 0], [0, 1]])
    found = class_weight_from_counts(class_counts(y))
    np.testing.assert_array_equal(found, label_weights("balanced", [[3, 1], [1, 3]]))


KINDS = {
    "list": lambda: class_counts(Y.tolist(), W.tolist()),
    "chunks": lambda: class_counts((np.ones((2, 3)), Y[i], W[i]) for i in (slice(2), slice(2, 5))),
    "map-style": lambda: class_counts(Items(np.ones((5, 2)), Y, W)),
    "iterable": lambda: class_counts(Passing(np.ones((5, 2)), Y, W)),
    "loader": lambda: class_counts(DataLoader(Items(np.ones((5, 2)), Y, W), batch_size=2)),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_all_ways_to_count_agree(kind):
    counts = KINDS[kind]()
    assert dict(counts) == {"maybe": 0.5, "no": 2.5, "yes": 2.0}
    assert (counts.n_rows, counts.total) == (4, 5.0)  # a row of weight 0 is absent


@pytest.mark.parametrize(
    "y",
    [
        torch.tensor([0, 1, 1]),
        [torch.tensor([0, 1]), torch.tensor([1])],
        TensorDataset(torch.zeros(3, 2), torch.tensor([0, 1, 1])),
        DataLoader(TensorDataset(torch.zeros(3, 2), torch.tensor([0, 1, 1])), batch_size=2),
        ([0], [1, 1]),
    ],
    ids=["tensor", "tensors", "dataset", "loader", "lists"],
)
def test_tensors_and_lists_are_counted(y):
    assert dict(class_counts(y)) == {0: 1.0, 1: 2.0}


def test_counts_show_their_labels_and_survive_pickle():
    counts = class_counts(Y)
    assert counts["no"] == 3.0
    assert counts.classes.tolist() == ["maybe", "no", "yes"]
    np.testing.assert_array_equal(counts.counts, [1, 3, 1])
    assert pickle.loads(pickle.dumps(counts)) == counts
    with pytest.raises(KeyError):
        counts["never"]


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (lambda: class_counts([0.5, 1.5]), "continuous"),
        (lambda: class_counts([np.nan, 1.0]), "missing"),
        (lambda: class_counts(np.array(["a", 1], dtype=object)), "sorted"),
        (lambda: class_counts([1, 2]) + class_counts(["a"]), "sorted"),
        (lambda: class_counts([1, 2]) + class_counts(np.eye(2)), "Cannot add counts"),
        (lambda: class_counts(np.eye(3)) + class_counts(np.eye(2)), "Cannot add counts"),
        (lambda: class_counts([[1, 2], [3, 4]]) and class_counts(np.array([[1, 2]])), "0 or 1"),
        (lambda: class_counts([0, 1], [1.0]), "shape"),
        (lambda: class_counts([0, 1], [1.0, -1.0]), ">= 0"),
        (lambda: class_counts(iter([[0, 1]]), [1.0, 1.0]), "hold their own"),
        (lambda: class_counts(3), "iterable of chunks"),
        (lambda: class_counts(Items(np.ones((2, 2)))), r"\(X, y\)"),
        (lambda: class_weight_from_counts(class_counts([])), "no row"),
        (lambda: class_weight_from_counts({"a": 1.5}), "whole numbers"),
        (lambda: class_weight_from_counts([3, 4]), "class_counts returns"),
    ],
)
def test_bad_counts_are_clear_errors(count, message):
    with pytest.raises(ValueError, match=message):
        count()


def test_series_of_counts_is_read_by_its_index():
    labels = pd.Series(["ok", "fraud", "ok", "ok"])
    assert dict(as_class_counts(labels.value_counts())) == {"fraud": 1.0, "ok": 3.0}
