"""Class probabilities of the draws, and rows within a class."""

import numpy as np
import pytest
from scipy import stats

from imbtorch.samplers import (
    ClassBalancedSampler,
    PowerSampler,
    ProgressiveSampler,
    SquareRootSampler,
)

COUNTS = np.array([100, 20, 5])
CODES = np.random.default_rng(1).permutation(np.repeat(np.arange(3), COUNTS))
DRAWS = 100_000


def shares(sampler, epoch=0, n_epochs=1):
    sampler.set_params(epoch_size=DRAWS)
    order = sampler.plan(CODES, 3, batch_size=32, seed=3).order(epoch, n_epochs)
    assert len(order) == DRAWS
    return np.bincount(CODES[order], minlength=3), order


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (ClassBalancedSampler(), [1 / 3, 1 / 3, 1 / 3]),
        (SquareRootSampler(), [0.598508376, 0.267661083, 0.133830541]),
        (PowerSampler(power=1), [0.8, 0.16, 0.04]),
        (PowerSampler(power=0.5), [0.598508376, 0.267661083, 0.133830541]),
        (PowerSampler(power=-1), np.array([1, 5, 20]) / 26),
    ],
    ids=repr,
)
def test_draws_follow_the_formula(sampler, expected):
    drawn, _ = shares(sampler)
    plan = sampler.plan(CODES, 3, batch_size=32, seed=3)
    np.testing.assert_allclose(plan.expected_counts() / DRAWS, expected, rtol=1e-8)
    assert stats.chisquare(drawn, plan.expected_counts()).pvalue > 1e-3


def test_progressive_goes_from_given_to_balanced():
    sampler = ProgressiveSampler()
    for epoch, expected in [
        (0, [0.8, 0.16, 0.04]),
        (1, [0.683333333, 0.203333333, 0.113333333]),
        (2, [0.566666667, 0.246666667, 0.186666667]),
    ]:
        drawn, _ = shares(sampler, epoch, 4)
        expected = np.array(expected) / np.sum(expected)
        assert stats.chisquare(drawn, DRAWS * expected).pvalue > 1e-3
    # the mean of t/T over 4 epochs is 3/8
    np.testing.assert_allclose(
        sampler.plan(CODES, 3, batch_size=8, seed=0).expected_counts(4) / DRAWS,
        0.625 * np.array([0.8, 0.16, 0.04]) + 0.375 / 3,
    )


def test_rows_of_a_class_are_equally_likely():
    _, order = shares(ClassBalancedSampler())
    for code in range(3):
        drawn = np.bincount(order[CODES[order] == code], minlength=len(CODES))[code == CODES]
        assert stats.chisquare(drawn).pvalue > 1e-3


def test_draws_do_not_depend_on_the_one_before():
    _, order = shares(ClassBalancedSampler())
    drawn = CODES[order]
    table = np.zeros((3, 3))
    np.add.at(table, (drawn[:-1], drawn[1:]), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_more_classes_than_cells_of_the_table_have_edges():
    """Edges that cut cells are searched: 5000 classes of very different size."""
    counts = np.random.default_rng(0).integers(1, 9, 5000)
    codes = np.repeat(np.arange(5000), counts)
    sampler = PowerSampler(power=-1, epoch_size=500_000)
    plan = sampler.plan(codes, 5000, batch_size=32, seed=0)
    drawn = np.bincount(codes[plan.order(0, 1)], minlength=5000)
    assert stats.chisquare(drawn, plan.expected_counts()).pvalue > 1e-3


def test_extreme_ratio_stays_in_range():
    codes = np.repeat(np.array([0, 1], dtype=np.uint8), [1_000_000, 1])
    for power in (-1, 0, 1):
        plan = PowerSampler(power=power).plan(codes, 2, batch_size=32, seed=0)
        drawn = np.bincount(codes[plan.order(0, 1)], minlength=2)
        assert abs(drawn[1] - plan.expected_counts()[1]) < 5 * 500 + 5
