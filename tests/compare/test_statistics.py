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


def test_shared_training_rows_widen_the_error():
    plain = paired_difference(VALUES, OTHERS, test_share=0.0)
    corrected = paired_difference(VALUES, OTHERS, test_share=0.25)
    assert corrected.error == pytest.approx(plain.error * np.sqrt((1 / 5 + 1 / 4) * 5))
    assert corrected.p_value > plain.p_value


@pytest.mark.parametrize(
    ("values", "others", "p_value"), [([0.5, 0.6], [0.5, 0.6], 1.0), ([0.5], [0.4], 1.0)]
)
def test_equal_or_single_folds_show_nothing(values, others, p_value):
    assert paired_difference(values, others, 0.25).p_value == p_value


def test_holm_on_a_worked_example():
    # sorted: .005 * 4, .01 * 3, .03 * 2, max(.04 * 1, .06)
    adjusted = holm([0.01, 0.04, 0.03, np.nan, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, np.nan, 0.02])
    assert holm([0.6, 0.7]).max() == 1
