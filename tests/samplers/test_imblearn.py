"""imbalanced-learn samplers applied to the training part."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from scipy import sparse
from sklearn.base import BaseEstimator

from imbtorch.samplers import get_sampler, resample

X = np.arange(40, dtype=np.float32).reshape(20, 2)
CODES = np.repeat(np.array([0, 1], dtype=np.uint8), [15, 5])
CLASSES = np.array(["no", "yes"])


class Halving(BaseEstimator):
    """Keeps the first half of the rows; has neither random_state nor sample_indices_."""

    def fit_resample(self, X, y):
        return X[: len(y) // 2], y[: len(y) // 2]


def test_under_sampling_selects_rows_with_their_codes():
    X_new, codes, weights = resample(RandomUnderSampler(), X, CODES, None, CLASSES, 0)
    np.testing.assert_array_equal(np.bincount(codes), [5, 5])
    np.testing.assert_array_equal(X_new[codes == 1], X[15:])
    assert np.isin(X_new[codes == 0, 0], X[:15, 0]).all()
    assert weights is None


def test_sampling_strategy_is_keyed_by_the_labels_of_the_user():
    sampler = RandomUnderSampler(sampling_strategy={"no": 8})
    _, codes, _ = resample(sampler, X, CODES, None, CLASSES, 0)
    np.testing.assert_array_equal(np.bincount(codes), [8, 5])


def test_codes_keep_their_type():
    assert resample(SMOTE(k_neighbors=2), X, CODES, None, CLASSES, 0)[1].dtype == CODES.dtype


def test_seed_stands_in_for_a_missing_random_state():
    def draw(seed):
        return resample(RandomUnderSampler(), X, CODES, None, CLASSES, seed)[0]

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_random_state_of_the_user_goes_before_the_seed():
    sampler = RandomUnderSampler(random_state=3)
    np.testing.assert_array_equal(
        resample(sampler, X, CODES, None, CLASSES, 1)[0],
        resample(sampler, X, CODES, None, CLASSES, 2)[0],
    )


def test_sampler_of_the_user_is_left_alone():
    sampler = RandomOverSampler()
    resample(sampler, X, CODES, None, CLASSES, 0)
    assert sampler.random_state is None
    assert not hasattr(sampler, "sample_indices_")


@pytest.mark.parametrize("sampler", [RandomUnderSampler(), RandomOverSampler()])
def test_sample_weight_follows_the_rows(sampler):
    X_new, _, weights = resample(sampler, X, CODES, X[:, 0].astype(float), CLASSES, 0)
    np.testing.assert_array_equal(weights, X_new[:, 0])


@pytest.mark.parametrize("sampler", [SMOTE(k_neighbors=2), Halving()])
def test_rows_without_sample_weight_are_a_clear_error(sampler):
    mixed = np.tile(np.array([0, 0, 1, 0], dtype=np.uint8), 5)
    with pytest.raises(ValueError, match=r"sample_weight.*RandomUnderSampler"):
        resample(sampler, X, mixed, np.ones(20), CLASSES, 0)


def test_class_that_disappears_is_an_error_that_names_the_sampler():
    with pytest.raises(ValueError, match=r"Halving\(\) removed every row.*yes"):
        resample(Halving(), X, CODES, None, CLASSES, 0)


def test_rows_of_more_dimensions_come_back_in_shape():
    images = X.reshape(20, 2, 1, 1) * np.ones((1, 1, 3, 2), dtype=np.float32)
    new, codes, _ = resample(RandomOverSampler(), images, CODES, None, CLASSES, 0)
    assert new.shape == (30, 2, 3, 2)
    np.testing.assert_array_equal(new[:20], images)
    np.testing.assert_array_equal(np.bincount(codes), [15, 15])


def test_sparse_rows_stay_sparse():
    new, codes, _ = resample(RandomUnderSampler(), sparse.csr_array(X), CODES, None, CLASSES, 0)
    assert sparse.issparse(new)
    assert new.shape == (len(codes), 2)


def test_unknown_name_says_what_is_known():
    with pytest.raises(ValueError, match=r"'smote'.*SMOTE\(\)"):
        get_sampler("smote")
