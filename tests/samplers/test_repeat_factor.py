"""Repeat factors of classes and of labels."""

import numpy as np
import pytest
from scipy import sparse

from imbtorch.samplers import RepeatFactorSampler

COUNTS = np.array([100, 20, 5])
CODES = np.random.default_rng(1).permutation(np.repeat(np.arange(3), COUNTS))
LABELS = sparse.csr_array(
    np.array([[1, 0, 0]] * 60 + [[1, 1, 0]] * 30 + [[0, 1, 1]] * 2 + [[0, 0, 0]] * 8)
)


def repeats(targets, n_classes, n_epochs, threshold):
    plan = RepeatFactorSampler(threshold).plan(targets, n_classes, batch_size=8, seed=0)
    orders = (plan.order(epoch, n_epochs) for epoch in range(n_epochs))
    return np.array([np.bincount(order, minlength=targets.shape[0]) for order in orders]), plan


def test_factors_of_classes():
    _, plan = repeats(CODES, 3, 1, 0.1)
    np.testing.assert_allclose(plan.expected_counts() / COUNTS, [1, 1, 1.58113883])


def test_rows_are_repeated_by_their_factor_rounded_at_random():
    times, _ = repeats(CODES, 3, 500, 0.1)
    assert (times[:, CODES < 2] == 1).all()
    assert set(np.unique(times[:, CODES == 2])) == {1, 2}
    np.testing.assert_allclose(times[:, CODES == 2].mean(), 1.58113883, atol=0.04)


def test_whole_part_of_a_factor_is_certain():
    times, _ = repeats(CODES, 3, 300, 1.0)
    np.testing.assert_allclose(times[:, CODES == 1].mean(), np.sqrt(125 / 20), atol=0.05)
    assert set(np.unique(times[:, CODES == 2])) == {5}  # sqrt(125 / 5) exactly
    assert set(np.unique(times[:, CODES == 1])) == {2, 3}


def test_row_of_labels_follows_its_rarest_label():
    times, plan = repeats(LABELS, 3, 2000, 0.5)
    mean = times.mean(axis=0)
    np.testing.assert_allclose(mean[:60], 1)
    np.testing.assert_allclose(mean[60:90].mean(), np.sqrt(0.5 / 0.32), atol=0.01)
    assert set(np.unique(times[:, 90:92])) == {5}  # sqrt(0.5 / 0.02)
    np.testing.assert_allclose(mean[92:], 1)  # without labels
    expected = plan.expected_counts()
    np.testing.assert_allclose(expected[:, 1], LABELS.T @ mean, rtol=0.01)
    np.testing.assert_allclose(expected.sum(axis=1), mean.sum(), rtol=0.01)


def test_explicit_zeros_and_duplicates_do_not_count():
    clean = sparse.csr_array(np.array([[1, 0], [0, 1], [1, 0]]))
    messy = sparse.csr_array(
        (np.array([1, 0, 1, 1]), np.array([0, 1, 1, 0]), np.array([0, 2, 3, 4])), shape=(3, 2)
    )
    plans = [
        RepeatFactorSampler(1.0).plan(labels, 2, batch_size=2, seed=0) for labels in (clean, messy)
    ]
    np.testing.assert_array_equal(plans[0].expected_counts(), plans[1].expected_counts())
    assert messy.nnz == 4
    doubled = sparse.csr_array(
        (np.ones(2), np.array([0, 0]), np.array([0, 2])),
        shape=(1, 2),
    )
    with pytest.raises(ValueError, match="0 and 1"):
        RepeatFactorSampler().plan(doubled, 2, batch_size=2, seed=0)


def test_matrix_without_any_label_and_labels_without_rows():
    plan = RepeatFactorSampler(0.5).plan(sparse.csr_array((4, 3)), 3, batch_size=2, seed=0)
    np.testing.assert_array_equal(np.sort(plan.order(0, 1)), np.arange(4))
    np.testing.assert_array_equal(plan.expected_counts(), [[4, 0]] * 3)
