"""Samplers that walk: nothing comes again before its turn."""

import numpy as np
import pytest

from imbtorch.samplers import ClassAwareSampler, ExactBatchSampler, UnderSampler

COUNTS = np.array([100, 20, 5])
CODES = np.random.default_rng(1).permutation(np.repeat(np.arange(3), COUNTS))


def orders(sampler, n_epochs, batch_size=32, seed=5):
    plan = sampler.plan(CODES, 3, batch_size=batch_size, seed=seed)
    return [plan.order(epoch, n_epochs) for epoch in range(n_epochs)]


# -- class-aware -----------------------------------------------------------------------------------


def test_every_round_has_every_class_in_changing_order():
    order = orders(ClassAwareSampler(epoch_size=300), 1)[0]
    rounds = CODES[order].reshape(100, 3)
    np.testing.assert_array_equal(np.sort(rounds, axis=1), np.tile([0, 1, 2], (100, 1)))
    assert len(np.unique(rounds, axis=0)) == 6


def test_full_epoch_sees_all_rows_of_the_largest_class_once():
    order = orders(ClassAwareSampler(epoch_size="full"), 1)[0]
    assert len(order) == 300
    times = np.bincount(order, minlength=len(CODES))
    np.testing.assert_array_equal(times[CODES == 0], 1)
    np.testing.assert_array_equal(times[CODES == 1], 5)
    np.testing.assert_array_equal(times[CODES == 2], 20)


def test_rows_of_a_small_class_come_in_passes():
    order = orders(ClassAwareSampler(epoch_size="full"), 1)[0]
    for code, n in [(1, 20), (2, 5)]:
        passes = order[CODES[order] == code].reshape(-1, n)
        assert (np.sort(passes, axis=1) == np.flatnonzero(code == CODES)).all()
        assert len(np.unique(passes, axis=0)) > 1


def test_large_class_is_seen_over_the_epochs():
    seen = np.concatenate(orders(ClassAwareSampler(epoch_size=75), 4))
    np.testing.assert_array_equal(np.bincount(seen, minlength=125)[CODES == 0], 1)


# -- exact batches ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_class", "batch_size", "expected"),
    [
        (None, 30, [10, 10, 10]),
        (4, 12, [4, 4, 4]),
        ([20, 10, 2], 32, [20, 10, 2]),
        (np.array([6, 0, 2]), 8, [6, 0, 2]),
    ],
)
def test_every_batch_is_exact(per_class, batch_size, expected):
    for order in orders(ExactBatchSampler(per_class), 5, batch_size):
        assert len(order) == 125 // batch_size * batch_size
        for batch in order.reshape(-1, batch_size):
            np.testing.assert_array_equal(np.bincount(CODES[batch], minlength=3), expected)


@pytest.mark.parametrize("batch_size", [4, 5, 11, 32])
def test_left_over_slots_go_to_different_classes(batch_size):
    totals = np.zeros(3)
    for order in orders(ExactBatchSampler(), 50, batch_size):
        for batch in order.reshape(-1, batch_size):
            counts = np.bincount(CODES[batch], minlength=3)
            assert np.ptp(counts) <= 1
            totals += counts
    np.testing.assert_allclose(totals / totals.sum(), 1 / 3, atol=0.02)


def test_no_row_twice_in_a_batch_where_the_class_has_enough():
    for order in orders(ExactBatchSampler(per_class=[20, 10, 5]), 10, 35):
        for batch in order.reshape(-1, 35):
            assert len(np.unique(batch[CODES[batch] != 1])) == 25


def test_batch_larger_than_the_data_is_one_batch():
    order = orders(ExactBatchSampler(), 1, 300)[0]
    np.testing.assert_array_equal(np.bincount(CODES[order]), [100, 100, 100])


@pytest.mark.parametrize(
    ("per_class", "batch_size", "match"),
    [
        (None, 2, "batch_size=2 is less than the number of classes, 3"),
        (5, 32, "set batch_size=15"),
        ([1, 2], 3, "each of the 3 classes"),
        ([1, 2, -1], 2, ">= 0"),
        ([1.5, 2, 1], 4, "one integer"),
        ([0, 0, 0], 4, "set batch_size=0"),
    ],
)
def test_batches_that_cannot_be(per_class, batch_size, match):
    with pytest.raises(ValueError, match=match):
        orders(ExactBatchSampler(per_class), 1, batch_size)


def test_rows_of_an_empty_class_cannot_be_asked_for():
    with pytest.raises(ValueError, match=r"have none: \[3\]"):
        ExactBatchSampler([1, 1, 1, 1]).plan(CODES, 4, batch_size=4, seed=0)


# -- under-sampling --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(1, [5, 5, 5]), (3, [15, 15, 5]), (0.4, [2, 2, 5]), (100, [100, 20, 5])],
)
def test_sizes_follow_the_ratio_and_no_row_is_there_twice(ratio, expected):
    for order in orders(UnderSampler(ratio), 20):
        np.testing.assert_array_equal(np.bincount(CODES[order]), expected)
        assert len(np.unique(order)) == len(order)
        assert np.isin(np.flatnonzero(CODES == 2), order).all()


@pytest.mark.parametrize("ratio", [1, 3, 0.4, 7.7])
def test_every_row_is_seen_before_a_round_ends(ratio):
    size = max(1, round(ratio * 5))
    n_epochs = -(-100 // size)
    epochs = orders(UnderSampler(ratio), 2 * n_epochs)
    for start in (0, n_epochs):
        times = np.bincount(np.concatenate(epochs[start : start + n_epochs]), minlength=125)
        assert times[CODES == 0].min() == 1
        assert times[CODES == 0].sum() == n_epochs * size
    # none comes again before the last epoch of a round
    before_last = np.concatenate(epochs[: n_epochs - 1])
    assert np.bincount(before_last, minlength=125)[CODES == 0].max() == 1


def test_next_round_has_other_parts():
    epochs = orders(UnderSampler(), 40)
    first, second = ({frozenset(order) for order in part} for part in (epochs[:20], epochs[20:]))
    assert not first & second
