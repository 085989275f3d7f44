"""Samplers that draw once: parts for the members of an ensemble."""

import numpy as np
import pytest
from scipy import sparse

from imbtorch.samplers import BalancedSubsetSampler, BootstrapSampler, UnderSampler, get_sampler

COUNTS = [500, 90, 0, 20]
CODES = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [500, 90, 20])).astype(np.uint8)
LABELS = sparse.csr_array(np.random.default_rng(0).random((300, 4)) < [0.5, 0.1, 0.03, 0.0])


def plan_of(sampler, codes=CODES, n_classes=4, seed=0):
    return sampler.plan(codes, n_classes, batch_size=32, seed=seed)


def counts_of(order, codes=CODES):
    return np.bincount(codes[order], minlength=4).tolist()


@pytest.mark.parametrize(
    ("ratio", "counts"),
    [
        (1, [20, 20, 0, 20]),
        (3, [60, 60, 0, 20]),
        (4.5, [90, 90, 0, 20]),
        (10, [200, 90, 0, 20]),
        (1000, COUNTS),
        (0.5, [10, 10, 0, 20]),
        (0.001, [1, 1, 0, 20]),
    ],
)
def test_balanced_part_has_the_rarest_class_and_so_many_of_each_other(ratio, counts):
    plan = plan_of(BalancedSubsetSampler(ratio))
    assert counts_of(plan.order(0, 1)) == counts
    assert plan.expected_counts().tolist() == counts
    assert set(np.flatnonzero(CODES == 3)) <= set(plan.order(0, 1))


def test_classes_as_rare_as_the_rarest_are_kept():
    codes = np.repeat([0, 1, 2], [10, 10, 50])
    order = plan_of(BalancedSubsetSampler(0.3), codes, 3).order(0, 1)
    assert np.bincount(codes[order]).tolist() == [10, 10, 3]


def test_balanced_part_repeats_no_row():
    for seed in range(5):
        order = plan_of(BalancedSubsetSampler(2), seed=seed).order(0, 1)
        assert len(np.unique(order)) == len(order)


@pytest.mark.parametrize("name", ["balanced_subset", "bootstrap"])
def test_epochs_see_the_same_rows_in_another_order(name):
    plan = plan_of(get_sampler(name))
    orders = [plan.order(epoch, 5) for epoch in range(5)]
    for order in orders[1:]:
        np.testing.assert_array_equal(np.sort(order), np.sort(orders[0]))
        assert (order != orders[0]).any()


def test_epochs_of_undersampling_see_others():
    plan = plan_of(UnderSampler())
    assert set(plan.order(0, 2)) != set(plan.order(1, 2))


@pytest.mark.parametrize("name", ["balanced_subset", "bootstrap"])
def test_seeds_draw_other_rows(name):
    drawn = [np.sort(plan_of(get_sampler(name), seed=s).order(0, 1)) for s in range(4)]
    assert all((drawn[i] != drawn[j]).any() for i in range(4) for j in range(i))


def test_every_frequent_row_is_as_likely():
    rows = [plan_of(BalancedSubsetSampler(5), seed=s).order(0, 1) for s in range(200)]
    times = np.bincount(np.concatenate(rows), minlength=len(CODES))
    assert (times[CODES == 3] == 200).all()
    frequent = times[CODES == 0]  # 100 of 500 each time
    assert frequent.mean() == pytest.approx(40)
    assert frequent.std() == pytest.approx(np.sqrt(200 * 0.2 * 0.8), rel=0.15)


def test_bootstrap_keeps_the_size_of_each_class_and_misses_a_third_of_the_rows():
    plan = plan_of(BootstrapSampler())
    order = plan.order(0, 1)
    assert counts_of(order) == COUNTS
    assert plan.expected_counts().tolist() == COUNTS
    missed = [
        1 - len(np.unique(plan_of(BootstrapSampler(), seed=s).order(0, 1))) / len(CODES)
        for s in range(20)
    ]
    assert np.mean(missed) == pytest.approx(np.exp(-1), abs=0.01)


def test_bootstrap_of_labels_draws_from_all_rows():
    plan = plan_of(BootstrapSampler(), LABELS)
    order = plan.order(0, 1)
    assert order.shape == (300,)
    drawn = LABELS[order].toarray().sum(axis=0)
    np.testing.assert_array_equal(plan.expected_counts()[:, 1], drawn)
    np.testing.assert_array_equal(plan.expected_counts().sum(axis=1), 300)
    missed = 1 - len(np.unique(order)) / 300
    assert missed == pytest.approx(np.exp(-1), abs=0.1)


def test_counts_of_a_plan_are_no_view():
    plan = plan_of(BalancedSubsetSampler())
    plan.expected_counts()[:] = 0
    assert plan.expected_counts().sum() == 60


@pytest.mark.parametrize("ratio", [0, -1, np.inf, np.nan, "1"])
def test_bad_ratio_is_named(ratio):
    with pytest.raises(ValueError, match="ratio"):
        plan_of(BalancedSubsetSampler(ratio))
