"""Labels to codes and back, and the stratified hold-out."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imbtorch._data.targets import stratified_holdout
from imbtorch._tasks.classes import encode_known_labels, encode_labels
from tests.toy import steady

LABELS = {
    "strings": ["b", "a", "b", "c"],
    "objects": np.array(["b", "a", "b"], dtype=object),
    "booleans": [True, False, True],
    "ints with a gap": [5, 3, 5],
    "signs": [-1, 1, -1],
    "whole floats": [0.0, 1.0, 2.0, 0.0],
    "unsigned": np.array([7, 200, 7], dtype=np.uint8),
}


@pytest.mark.parametrize("name", sorted(LABELS))
def test_codes_lead_back_to_the_labels(name):
    y = np.asarray(LABELS[name])
    classes, codes = encode_labels(y)
    np.testing.assert_array_equal(classes, sorted(set(y.tolist())))
    np.testing.assert_array_equal(classes[codes], y)


@pytest.mark.parametrize("name", sorted(LABELS))
def test_known_labels_get_the_same_codes(name):
    y = np.asarray(LABELS[name])
    classes, codes = encode_labels(y)
    np.testing.assert_array_equal(encode_known_labels(y, classes), codes)


@pytest.mark.parametrize(
    ("n_classes", "kind"), [(2, np.uint8), (256, np.uint8), (257, np.int16), (40_000, np.int32)]
)
def test_codes_are_as_small_as_they_can_be(n_classes, kind):
    y = np.tile(np.arange(n_classes), 3)
    _, codes = encode_labels(y)
    assert codes.dtype == kind
    np.testing.assert_array_equal(codes, y)


def test_known_labels_may_lack_some_classes():
    codes = encode_known_labels(np.array(["c", "c"]), np.array(["a", "b", "c"]))
    np.testing.assert_array_equal(codes, [2, 2])


def test_unknown_labels_are_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"\['x'\].*\['a', 'b'\]"):
        encode_known_labels(np.array(["a", "x"]), np.array(["a", "b"]))


@pytest.mark.parametrize("encode", [encode_labels, lambda y: encode_known_labels(y, np.arange(3))])
@pytest.mark.parametrize(
    "y", [np.array([0.1, 0.7, 1.3]), np.array([[0, 1], [1, 1]]), np.array([[0, 2], [1, 1]])],
    ids=["continuous", "indicators", "several outputs"],
)  # fmt: skip
def test_target_that_is_not_one_label_per_row_is_an_error(encode, y):
    with pytest.raises(ValueError, match="(?i)continuous|one label per row"):
        encode(y)


# -- hold-out --------------------------------------------------------------------------------------


def split(codes, fraction=0.2, seed=0, classes=None):
    codes = np.asarray(codes)
    classes = np.arange(codes.max() + 1) if classes is None else classes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return stratified_holdout(codes, fraction, seed, classes)


code_lists = st.lists(st.integers(0, 4), min_size=1, max_size=60)
fractions = st.floats(0.01, 0.99)


@steady
@given(code_lists, fractions)
def test_parts_are_disjoint_complete_and_sorted(codes, fraction):
    train, valid = split(codes, fraction)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, valid])), np.arange(len(codes)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(valid) > 0).all()


@steady
@given(code_lists, fractions)
def test_class_with_two_rows_or_more_is_on_both_sides(codes, fraction):
    train, valid = split(codes, fraction)
    codes = np.asarray(codes)
    for code in np.flatnonzero(np.bincount(codes) >= 2):
        assert code in codes[train]
        assert code in codes[valid]


@steady
@given(code_lists, fractions)
def test_class_with_a_single_row_stays_in_the_training_part(codes, fraction):
    _, valid = split(codes, fraction)
    codes = np.asarray(codes)
    assert not np.isin(np.flatnonzero(np.bincount(codes) == 1), codes[valid]).any()


def test_every_class_gives_its_share():
    codes = np.repeat([0, 1, 2], [1000, 100, 10])
    _, valid = split(codes, 0.2)
    np.testing.assert_array_equal(np.bincount(codes[valid]), [200, 20, 2])


def test_seed_decides_the_draw():
    codes = np.repeat([0, 1], [80, 20])
    first, again, other = split(codes, seed=1)[1], split(codes, seed=1)[1], split(codes, seed=2)[1]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rows_are_drawn_from_everywhere():
    codes = np.zeros(1000, dtype=int)
    _, valid = split(codes, 0.5)
    assert 400 < valid.mean() < 600


def test_single_rows_are_named_in_the_warning():
    codes = np.array([0, 0, 0, 1, 2, 2, 3])
    with pytest.warns(UserWarning, match=r"\['b', 'd'\].*training part"):
        stratified_holdout(codes, 0.3, 0, np.array(["a", "b", "c", "d"]))


def test_classes_with_two_rows_raise_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stratified_holdout(np.array([0, 0, 1, 1]), 0.1, 0, np.arange(2))


def test_class_without_rows_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stratified_holdout(np.array([0, 0, 2, 2]), 0.5, 0, np.arange(3))
