"""The encoder of tables as a transformer: against scikit-learn's, and in its corner cases."""

import datetime
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from imbtorch.features import TableFeatures
from tests.features.tables import rare_buyers


def encoded(frame, **params):
    features = TableFeatures(**params).fit(frame)
    return pd.DataFrame(features.transform(frame), columns=features.get_feature_names_out())


@parametrize_with_checks([TableFeatures()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# -- numbers -------------------------------------------------------------------------------------


def test_standard_scaling_is_that_of_scikit_learn():
    X = np.random.default_rng(0).lognormal(size=(200, 3)) * [1, 1e3, 1e-5]
    np.testing.assert_allclose(
        TableFeatures().fit_transform(X), StandardScaler().fit_transform(X), atol=1e-12
    )


def test_quantile_scaling_is_near_to_that_of_scikit_learn():
    X = np.random.default_rng(0).lognormal(size=(3000, 2))
    ours = TableFeatures(scaling="quantile").fit_transform(X)
    theirs = QuantileTransformer(output_distribution="normal", n_quantiles=128).fit_transform(X)
    inner = np.abs(theirs) < 2
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=0.02)


def test_robust_scaling_divides_by_the_interquartile_range_and_bends_outliers():
    x = np.arange(101.0)[:, None]
    z = (x - 50) / 50
    np.testing.assert_allclose(
        TableFeatures(scaling="robust").fit_transform(x), z / np.sqrt(1 + (z / 3) ** 2)
    )
    assert TableFeatures(scaling="robust").fit(x).transform([[1e12]])[0, 0] == pytest.approx(3)


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
@pytest.mark.parametrize("fill", ["mean", "median"])
def test_a_weight_is_a_row_given_so_many_times(scaling, fill):
    rng = np.random.default_rng(0)
    X = rng.lognormal(size=(80, 3))
    X[rng.random(X.shape) < 0.1] = np.nan
    weights = rng.integers(0, 4, 80)
    features = TableFeatures(scaling=scaling, fill=fill)
    weighted = features.fit(X, sample_weight=weights).transform(X)
    repeated = features.fit(np.repeat(X, weights, axis=0)).transform(X)
    np.testing.assert_allclose(weighted, repeated, atol=1e-10)


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile", None])
def test_extreme_columns_stay_finite(scaling):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 5))
    X[0, 0] = 1e30
    X[:, 1] = 7.3
    X[:, 2] = np.nan
    X[:, 3] *= 1e200
    X[:, 4] *= 1e-200
    features = TableFeatures(scaling=scaling).fit(X)
    there = features.transform(X)
    assert np.isfinite(there).all()
    assert np.abs(there).max() <= 1e6
    later = features.transform(np.full((1, 5), 1e300))
    assert np.isfinite(later).all()
    if scaling is not None:
        np.testing.assert_array_equal(there[:, 1], 0)


@pytest.mark.parametrize("fill", ["mean", "median"])
def test_columns_whose_sum_is_no_float_stay_finite(fill):
    X = np.array([[1.7e308], [1.7e308], [1.6e308], [-1.7e308], [np.nan]])
    there = TableFeatures(fill=fill).fit(X).transform(X)
    assert np.isfinite(there).all()
    assert len(np.unique(there[:4, 0])) == 3


def test_seconds_since_1970_keep_their_digits():
    seconds = 1.7e9 + np.arange(100.0)[:, None]
    z = TableFeatures().fit_transform(seconds)
    np.testing.assert_allclose(np.diff(z[:, 0]), np.diff(z[:, 0])[0], rtol=1e-6)


def test_half_precision_and_integers():
    X = np.random.default_rng(0).integers(0, 100, size=(30, 2))
    expected = StandardScaler().fit_transform(X)
    for dtype in (np.float16, np.int8, np.uint64, np.float32):
        np.testing.assert_allclose(TableFeatures().fit_transform(X.astype(dtype)), expected)


# -- gaps ----------------------------------------------------------------------------------------


def test_gaps_are_filled_and_indicated_where_training_had_some():
    X = np.array([[1.0, 1.0], [np.nan, 2.0], [3.0, 3.0]])
    features = TableFeatures().fit(X)
    assert features.get_feature_names_out().tolist() == ["x0", "x1", "x0_missing"]
    there = features.transform([[np.nan, np.nan]])
    np.testing.assert_allclose(there, [[0, 0, 1]])
    assert TableFeatures(add_indicator=False).fit(X).transform(X).shape == (3, 2)


def test_median_fill():
    X = np.array([[0.0], [1.0], [np.nan], [1.0], [10.0], [1.0]])
    features = TableFeatures(scaling=None, fill="median").fit(X)
    assert features.transform([[np.nan]])[0, 0] == 1


def test_infinity_is_an_error_that_names_the_column():
    X = np.array([[1.0, 2.0], [np.inf, 3.0]])
    with pytest.raises(ValueError, match=r"infinity.*'x0'"):
        TableFeatures(categorical_features=[0]).fit(X)
    with pytest.raises(ValueError, match=r"infinity.*'b'"):
        TableFeatures().fit(pd.DataFrame({"a": ["x", "y"], "b": [1.0, np.inf]}))


# -- categories ----------------------------------------------------------------------------------


def test_few_categories_are_zeros_and_ones():
    frame = pd.DataFrame({"job": ["b", "a", None, "b"]})
    there = encoded(frame)
    assert there.columns.tolist() == ["job_a", "job_b", "job_missing"]
    np.testing.assert_array_equal(there, [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]])


def test_unknown_categories_are_infrequent_ones_or_nothing():
    frame = pd.DataFrame({"job": ["a"] * 5 + ["b"] * 5 + ["c"]})
    new = pd.DataFrame({"job": ["other", None]})
    plain = TableFeatures().fit(frame)
    np.testing.assert_array_equal(plain.transform(new), np.zeros((2, 3)))
    rare = TableFeatures(min_frequency=2).fit(frame)
    assert rare.get_feature_names_out().tolist() == ["job_a", "job_b", "job_infrequent"]
    np.testing.assert_array_equal(rare.transform(new), [[0, 0, 1], [0, 0, 0]])


def test_the_rarest_categories_share_one_place():
    words = [w for i, w in enumerate("abcdef") for _ in range(10 - i)]
    frame = pd.DataFrame({"c": words})
    few = encoded(frame, max_categories=3)
    assert few.columns.tolist() == ["c_a", "c_b", "c_infrequent"]
    assert encoded(frame, max_categories=6).shape[1] == 6
    share = encoded(frame, min_frequency=0.19)
    assert share.columns.tolist() == ["c_a", "c_b", "c_infrequent"]


def test_frequencies_are_weighted():
    frame = pd.DataFrame({"c": ["a", "a", "a", "b", "c"]})
    weights = [1, 1, 1, 5, 1]
    kept = TableFeatures(min_frequency=3).fit(frame, sample_weight=weights)
    assert kept.get_feature_names_out().tolist() == ["c_a", "c_b", "c_infrequent"]
    without = TableFeatures().fit(frame, sample_weight=[1, 1, 1, 1, 0])
    assert without.get_feature_names_out().tolist() == ["c_a", "c_b"]


def test_many_categories_are_codes_for_an_embedding():
    frame = pd.DataFrame({"c": [f"w{i % 40:02d}" for i in range(200)], "n": np.arange(200.0)})
    there = encoded(frame)
    assert there.columns.tolist() == ["n", "c"]
    np.testing.assert_array_equal(there["c"], np.arange(200) % 40)
    assert encoded(frame, embedding_size=None).shape[1] == 41
    features = TableFeatures().fit(frame)
    later = features.transform(pd.DataFrame({"c": ["new", None], "n": [0.0, 0.0]}))
    np.testing.assert_array_equal(later[:, 1], [40, 40])
    assert [features.size_of_embedding(n) for n in (33, 81, 82, 256, 257)] == [3, 3, 4, 4, 5]


@pytest.mark.parametrize("backend", ["object", "category", "string", "pyarrow", "polars", "array"])
def test_every_kind_of_frame_gives_the_same(backend):
    frame, _ = rare_buyers(200)
    expected = TableFeatures().fit_transform(frame)
    if backend == "polars":
        polars = pytest.importorskip("polars")
        table = polars.from_pandas(frame)
    elif backend == "pyarrow":
        pytest.importorskip("pyarrow")
        table = frame.convert_dtypes(dtype_backend="pyarrow")
    elif backend == "array":
        table = frame.to_numpy(dtype=object)
    else:
        table = frame.astype({"job": backend, "town": backend})
    np.testing.assert_allclose(TableFeatures().fit_transform(table), expected)


def test_lists_that_hold_text_and_numbers():
    there = TableFeatures().fit([["a", 1.0], ["b", 3.0]]).transform([["b", 1.0]])
    np.testing.assert_allclose(there, [[-1, 0, 1]])


def test_columns_of_numbers_can_be_categories():
    X = np.array([[3.0, 1.5], [7.0, 2.5], [3.0, 3.5], [np.nan, 1.0]])
    for chosen in ([0], [True, False], [-2]):
        features = TableFeatures(categorical_features=chosen).fit(X)
        assert features.get_feature_names_out().tolist() == ["x1", "x0_3.0", "x0_7.0", "x0_missing"]
    frame = pd.DataFrame(X, columns=["zone", "price"])
    assert TableFeatures(categorical_features=["zone"]).fit(frame).transform(frame).shape == (4, 4)


@pytest.mark.parametrize("dtype", ["int64", "Int64", object, "category", "uint64"])
def test_long_identifiers_are_told_apart(dtype):
    ids = pd.DataFrame({"id": [2**60, 2**60 + 1, 2**60 + 2] * 4}).astype(dtype)
    features = TableFeatures(categorical_features=["id"]).fit(ids)
    there = features.transform(ids[:3])
    np.testing.assert_array_equal(there, np.eye(3))
    later = pd.DataFrame({"id": [2**60 + 3]}).astype(dtype)
    np.testing.assert_array_equal(features.transform(later), np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["zoo"], "which X does not have"),
        ([5], "no column of X"),
        ([True], "mask of 1 values"),
        ("dtype", "from_dtype"),
        ([1], "'a' holds text"),
        (None, "'a' holds text"),
    ],
)
def test_wrong_columns_of_categories(chosen, message):
    frame = pd.DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]})
    with pytest.raises(ValueError, match=message):
        TableFeatures(categorical_features=chosen).fit(frame)


# -- what is no column of numbers or categories ----------------------------------------------------


def test_identifiers_are_an_error_that_names_them():
    frame = pd.DataFrame({"id": [f"user {i}" for i in range(200)], "n": np.arange(200)})
    with pytest.raises(ValueError, match=r"nearly all different: \['id'\].*drop\(columns=\['id'\]"):
        TableFeatures().fit(frame)
    assert TableFeatures(max_categories=5).fit(frame).transform(frame).shape[1] == 6


@pytest.mark.parametrize(
    "dates",
    [
        pd.date_range("2020-01-01", periods=3),
        pd.timedelta_range("1 day", periods=3),
        [datetime.date(2020, 1, day) for day in (1, 2, 3)],
    ],
)
def test_dates_are_an_error_that_names_them(dates):
    with pytest.raises(ValueError, match=r"dates or durations: \['when'\]"):
        TableFeatures().fit(pd.DataFrame({"when": dates, "job": ["a", "b", "a"]}))


def test_mixed_types_are_an_error_that_names_them():
    with pytest.raises(ValueError, match=r"'c' holds text and other values \(int and str\)"):
        TableFeatures().fit(pd.DataFrame({"c": ["a", 1, "b"]}))
    with pytest.raises(TypeError, match="string or a number"):
        TableFeatures().fit(np.array([[{}], [1]], dtype=object))


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ({"job": [1, 2]}, "held text in fit"),
        ({"n": ["a", "b"]}, "held numbers in fit"),
        ({"n": [1.0, np.inf]}, "infinity"),
    ],
)
def test_a_column_of_another_type_at_prediction(later, message):
    frame = pd.DataFrame({"job": ["a", "b"], "n": [1.0, 2.0]})
    features = TableFeatures().fit(frame)
    with pytest.raises(ValueError, match=message):
        features.transform(frame.assign(**later))


def test_columns_in_another_order_or_absent():
    frame, _ = rare_buyers(100)
    features = TableFeatures().fit(frame)
    for wrong in (frame[frame.columns[::-1]], frame.drop(columns="job"), frame.assign(more=1)):
        with pytest.raises(ValueError, match="feature names"):
            features.transform(wrong)


def test_a_table_is_never_changed():
    frame, _ = rare_buyers(100)
    before = frame.copy(deep=True)
    TableFeatures().fit_transform(frame)
    pd.testing.assert_frame_equal(frame, before)


# -- sparse --------------------------------------------------------------------------------------


def test_sparse_matrices_stay_sparse():
    X = sparse.random(50, 8, 0.3, format="csr", random_state=0, dtype=np.float64) * 1000
    features = TableFeatures().fit(X)
    there = features.transform(X)
    assert sparse.issparse(there)
    assert there.nnz == X.nnz
    np.testing.assert_allclose(np.square(there.data).mean(), 1, atol=0.2)
    factor = features.encoder_.factor.numpy()
    np.testing.assert_allclose(factor * X.toarray(), there.toarray())
    weights = np.random.default_rng(0).integers(0, 3, 50)
    repeated = TableFeatures().fit(X[np.repeat(np.arange(50), weights)])
    weighted = TableFeatures().fit(X, sample_weight=weights)
    np.testing.assert_allclose(weighted.encoder_.factor, repeated.encoder_.factor)
    with pytest.raises(ValueError, match="stays sparse"):
        TableFeatures(scaling="robust").fit(X)


def test_gaps_of_sparse_matrices_become_the_mean():
    X = sparse.csr_array(np.array([[1.0, 0], [np.nan, 2], [3, 0]]))
    there = TableFeatures(scaling=None).fit_transform(X).toarray()
    np.testing.assert_allclose(there, [[1, 0], [2, 2], [3, 0]])


def test_output_as_a_frame():
    frame, _ = rare_buyers(50)
    there = TableFeatures().set_output(transform="pandas").fit(frame).transform(frame)
    assert "job_nurse" in there.columns
    assert len(there) == 50


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "dates or durations"),
        (pd.interval_range(0, 2), "type Interval"),
        ([b"a", b"b"], "type bytes"),
    ],
)
def test_categories_that_are_neither_text_nor_numbers(words, message):
    with pytest.raises(ValueError, match=message):
        TableFeatures().fit(pd.DataFrame({"c": pd.Categorical(words)}))


@pytest.mark.parametrize("backend", ["pandas", "polars", "array"])
def test_numbers_written_as_text_are_told_unless_they_are_declared(backend):
    frame = pd.DataFrame({"code": ["10115", "80331"] * 5})
    table = frame.to_numpy() if backend == "array" else frame
    if backend == "polars":
        table = pytest.importorskip("polars").from_pandas(frame)
    with pytest.warns(UserWarning, match="numbers that are written as text, such as '10115'"):
        TableFeatures().fit(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TableFeatures(categorical_features=[0]).fit(table)
        TableFeatures().fit(frame.astype("category"))


def test_words_for_a_column_that_only_had_gaps():
    gaps = pd.DataFrame({"c": pd.Series([None] * 4, dtype="string"), "n": np.arange(4.0)})
    features = TableFeatures().fit(gaps)
    later = features.transform(gaps.assign(c=pd.Series(["x"] * 4, dtype="string")))
    assert np.isfinite(later).all()
