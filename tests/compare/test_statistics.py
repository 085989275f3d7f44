"""Paired differences and their adjustment for being many."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from imbtorch.compare._statistics import holm, paired_difference, standard_error

VALUES = np.array([0.62, 0.58, 0.66, 0.61, 0.60])
OTHERS = np.array([0.55, 0.57, 0.59, 0.60, 0.52])


def test_without_shared_rows_it_is_the_paired_t_test():
    found = paired_difference(VALUES, OTHERS, test_share=0.0)
    expected = ttest_rel(VALUES, OTHERS)
    assert found.mean == pytest.approx(0.048)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.error == pytest.approx(standard_error(VALUES - OTHERS))
    ends = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_shared_training_rows_widen_the_error():
    plain = paired_difference(VALUES, OTHERS, test_share=0.0)
    corrected = paired_difference(VALUES, OTHERS, test_share=0.25)
    assert corrected.error == pytest.approx(plain.error * np.sqrt((1 / 5 + 1 / 4) * 5))
    assert corrected.p_value > plain.p_value
    assert corrected.low < plain.low < plain.high < corrected.high
    at_the_end = paired_difference(VALUES - corrected.low, OTHERS, test_share=0.25)
    assert at_the_end.p_value == pytest.approx(0.05)  # the interval is that of the test


@pytest.mark.parametrize(
    ("values", "others"), [([0.5], [0.4]), ([0.6, 1.1], [0.5, 1.0]), ([0.5], [0.5])]
)
def test_folds_that_do_not_vary_test_nothing(values, others):
    found = paired_difference(values, others, 0.25)
    assert found.mean == pytest.approx(values[0] - others[0])
    assert np.isnan([found.low, found.high, found.p_value]).all()


@pytest.mark.parametrize("n_folds", [1, 2])
def test_fewer_than_three_folds_have_no_interval_and_no_p(n_folds):
    found = paired_difference(VALUES[:n_folds], OTHERS[:n_folds], 0.25)
    assert found.mean == pytest.approx((VALUES - OTHERS)[:n_folds].mean())
    assert np.isnan([found.low, found.high, found.p_value]).all()
    assert np.isnan(paired_difference(VALUES[:n_folds], VALUES[:n_folds], 0.25).p_value)
    more = paired_difference(VALUES[:3], OTHERS[:3], 0.25)
    assert np.isfinite([more.low, more.high, more.p_value]).all()


def test_equal_results_show_no_difference():
    found = paired_difference(VALUES, VALUES, 0.25)
    assert (found.mean, found.p_value) == (0, 1)


def test_holm_on_a_worked_example():
    # sorted: .005 * 4, .01 * 3, .03 * 2, max(.04 * 1, .06)
    adjusted = holm([0.01, 0.04, 0.03, np.nan, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, np.nan, 0.02])
    assert holm([0.6, 0.7]).max() == 1
