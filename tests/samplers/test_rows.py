"""Grouping and shuffling, also of more rows than are worked on at a time."""

import numpy as np
import pytest
from scipy import stats

from imbtorch.samplers._rows import ClassRows, count_classes, permutation, shuffled


@pytest.mark.parametrize(("n", "n_classes"), [(0, 3), (1, 1), (1000, 7), (2_200_000, 300)])
def test_rows_are_grouped_by_class_in_order(n, n_classes):
    codes = np.random.default_rng(0).integers(0, n_classes, n).astype(np.uint16)
    groups = ClassRows(codes, n_classes + 1)
    np.testing.assert_array_equal(groups.rows, np.argsort(codes, kind="stable"))
    np.testing.assert_array_equal(groups.counts, np.bincount(codes, minlength=n_classes + 1))
    np.testing.assert_array_equal(count_classes(codes, n_classes + 1), groups.counts)
    assert groups.rows.dtype == np.int32
    assert n_classes not in groups.present
    np.testing.assert_array_equal(codes[groups.of(0)], 0)


def test_large_permutation_is_uniform():
    n = 200_000
    order = permutation(n, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    # where rows go, in a grid of 10 x 10, and whether neighbours stay in order
    places = np.histogram2d(np.arange(n), order, bins=10)[0]
    assert stats.chisquare(places.ravel()).pvalue > 1e-3
    assert abs((np.diff(order) > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(n)


def test_shuffled_keeps_repeats():
    parts = [np.arange(90_000, dtype=np.int32), np.full(50, 3, dtype=np.int32)]
    rows = shuffled(parts, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(rows), np.sort(np.concatenate(parts)))
    assert rows.dtype == np.int32
