"""imbalanced-learn samplers applied to the training part."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE, SMOTENC, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from scipy import sparse
from sklearn.base import BaseEstimator

from imbtorch import ImbalancedNetClassifier
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


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_integers_and_booleans_are_floats_for_the_sampler(dtype):
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 2 if dtype is bool else 200, (60, 3)).astype(dtype)
    codes = np.repeat([0, 1], [45, 15])
    made = resample(SMOTE(random_state=0), whole, codes, None, CLASSES, 0)[0]
    expected = resample(SMOTE(random_state=0), whole.astype(float), codes, None, CLASSES, 0)[0]
    np.testing.assert_allclose(made, expected, rtol=1e-6)
    assert made.dtype.kind == "f"
    assert made.max() <= whole.max()


def test_categorical_columns_by_name():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "kind": rng.integers(0, 3, 60)})
    y = np.repeat([0, 1], [45, 15])
    smote = SMOTENC(categorical_features=["kind"], random_state=0)
    names = frame.columns.to_numpy()
    made, codes, _ = resample(smote, frame.to_numpy(), y, None, CLASSES, 0, names=names)
    assert isinstance(made, np.ndarray)
    assert np.bincount(codes).tolist() == [45, 45]
    assert set(np.unique(made[:, 1])) <= {0, 1, 2}
    clf = ImbalancedNetClassifier(loss="cross_entropy", sampler=smote, max_epochs=1).fit(frame, y)
    assert clf.feature_names_in_.tolist() == ["a", "kind"]


@pytest.mark.parametrize("named", [["kind"], [1], [-2], [False, True, False], ["kind", "word"]])
def test_numbers_that_the_user_names_are_categories_of_a_table(named, monkeypatch):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "kind": rng.integers(0, 3, 60)})
    frame["word"] = np.array(["x", "y"])[frame["kind"] % 2]
    seen = {}

    def fit_resample(self, X, y):
        seen.update(X=X, categorical=self.categorical_features)
        return X, y

    monkeypatch.setattr(SMOTENC, "fit_resample", fit_resample)
    clf = ImbalancedNetClassifier(sampler=SMOTENC(named), max_epochs=1, loss="cross_entropy")
    clf.fit(frame, np.repeat([0, 1], [45, 15]))
    assert seen["categorical"] == [1, 2]
    np.testing.assert_array_equal(seen["X"][:, 2], frame["kind"] % 2)


def test_class_that_is_too_rare_for_the_neighbours():
    codes = np.repeat([0, 1], [16, 4])
    with pytest.raises(
        ValueError, match=r"'no': 16, 'yes': 4.*k_neighbors=5 .*'yes': 4.*k_neighbors=3"
    ):
        resample(SMOTE(), X, codes, None, CLASSES, 0)


def test_rows_that_were_held_out_are_named():
    y = np.repeat([0, 1], [90, 10])
    sampler = RandomUnderSampler(sampling_strategy={0: 90, 1: 10})
    clf = ImbalancedNetClassifier(loss="cross_entropy", sampler=sampler, early_stopping=True)
    with pytest.raises(ValueError, match=r"10 rows were held out for validation"):
        clf.fit(np.random.default_rng(0).normal(size=(100, 2)), y)
