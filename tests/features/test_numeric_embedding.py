"""Numbers as progress through bins: against the formula of the paper, and through whole fits."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.over_sampling import SMOTE, SMOTENC, RandomOverSampler
from scipy import sparse
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from imbtorch import MLP, ImbalancedNetClassifier, ImbalancedNetRegressor
from imbtorch.features import TableEncoder, TableFeatures
from imbtorch.features._piecewise import PiecewiseLinear, edges_between
from imbtorch.model_selection import StackedGridSearchCV
from tests.features.tables import rare_buyers
from tests.features.test_in_estimators import Rows, Stream

FRAME, Y = rare_buyers()
NEW = rare_buyers(50, seed=1)[0].assign(town="a town that training did not have")


def binned(**params):
    return TableFeatures(numeric_embedding="piecewise_linear", **params)


def classifier(features=None, **params):
    params = {"random_state": 0, "max_epochs": 2, **params}
    return ImbalancedNetClassifier(features=features or binned(), **params)


def bins_of(features, X):
    """Return the columns of the bins."""
    names = features.get_feature_names_out()
    return features.transform(X)[:, ["_bin_" in name for name in names]]


def formula(x, edges):
    """Equation (1) of the paper, component by component."""
    n_bins = len(edges) - 1
    encoded = []
    for t in range(1, n_bins + 1):
        if x < edges[t - 1] and t > 1:
            encoded.append(0.0)
        elif x >= edges[t] and t < n_bins:
            encoded.append(1.0)
        else:
            encoded.append((x - edges[t - 1]) / (edges[t] - edges[t - 1]))
    return encoded


@parametrize_with_checks([binned()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# -- the encoding --------------------------------------------------------------------------------

EDGES = [np.array([0.0, 1.0, 1.5, 4.0]), np.array([]), np.array([-2.0, 3.0]), np.array([0, 1, 9.0])]


def test_numbers_are_encoded_as_the_paper_says():
    rows = torch.linspace(-3, 10, 53, dtype=torch.float64)[:, None].expand(-1, 4)
    found = PiecewiseLinear(EDGES)(rows)
    expected = [sum((formula(x, e) for e in EDGES if len(e)), []) for x in rows[:, 0].tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=1e-15)


def test_numbers_are_encoded_as_the_authors_package_does():
    theirs = pytest.importorskip("rtdl_num_embeddings")
    X = torch.from_numpy(np.random.default_rng(0).lognormal(size=(500, 3)))  # all values differ
    X[:, 1] = X[:, 1].round().clamp(max=4)
    bins = theirs.compute_bins(X.float(), n_bins=6)
    encode = theirs.PiecewiseLinearEncoding(bins)
    ours = PiecewiseLinear([edges.double().numpy() for edges in bins])
    assert len(set(ours.n_bins)) > 1
    rows = 2 * X - 1  # also outside of the bins
    torch.testing.assert_close(ours(rows).float(), encode(rows.float()), rtol=1e-4, atol=1e-4)
    for j in (0, 2):
        edges = edges_between(X[:, j].float().numpy(), 6)
        np.testing.assert_allclose(edges, bins[j], rtol=1e-5)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=8, unique=True),
    st.lists(st.floats(-2e3, 2e3), min_size=2, max_size=20),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_encoding_is_continuous_and_rises_by_one_in_each_bin(edges, numbers):
    edges = np.sort(edges)
    edges = edges[np.append(True, np.diff(edges) > 1e-6)]
    if len(edges) < 2:
        return
    encode = PiecewiseLinear([edges])
    x = torch.tensor(sorted({*numbers, *edges}), dtype=torch.float64)[:, None]
    there = encode(x)
    assert (there.diff(dim=0) >= 0).all()
    steepest = encode.steepness()[0]
    assert (there.diff(dim=0).abs() <= steepest * x.diff(dim=0) * (1 + 1e-9) + 1e-9).all()
    at_edges = encode(torch.from_numpy(edges)[:, None])
    np.testing.assert_array_equal(at_edges.diff(dim=0), np.eye(len(edges) - 1))
    # the widths of the bins and the progress through them give the number back
    back = edges[0] + there @ torch.from_numpy(np.diff(edges))
    np.testing.assert_allclose(back, x[:, 0], rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("edges", [[1.0], [0, 0, 1.0], [1.0, 0], [0, np.nan], [0, np.inf]])
def test_edges_must_increase(edges):
    with pytest.raises(ValueError, match="finite and increasing"):
        PiecewiseLinear([np.array([0.0, 1.0]), np.array(edges)])
    columns = TableFeatures().fit([[1.0], [2.0]]).columns_
    with pytest.raises(ValueError, match="finite and increasing"):
        TableEncoder(
            columns, np.zeros(1), np.ones(1), np.zeros(1), [], [], [], [], edges=[np.array(edges)]
        )


# -- the edges -----------------------------------------------------------------------------------


def test_edges_are_quantiles_of_the_distinct_values():
    x = np.r_[np.zeros(500), np.arange(17.0)]
    features = binned(scaling=None, n_bins=4).fit(x[:, None])
    np.testing.assert_array_equal(features.encoder_.bins.edges, [0, 4, 8, 12, 16])
    np.testing.assert_array_equal(
        features.transform([[6.0], [20.0], [-2.0]]),
        [[6, 1, 0.5, 0, 0], [20, 1, 1, 1, 2], [-2, -0.5, 0, 0, 0]],
    )


def test_bins_stand_behind_the_scaled_column():
    X = np.random.default_rng(0).lognormal(size=(200, 3))
    plain, more = TableFeatures().fit(X), binned(n_bins=5).fit(X)
    there = more.transform(X)
    np.testing.assert_array_equal(there[:, :3], plain.transform(X))
    assert there.shape == (200, 3 + 3 * 5)
    assert more.encoder_.n_encoded == len(more.get_feature_names_out()) == 18
    assert more.get_feature_names_out()[3:5].tolist() == ["x0_bin_0", "x0_bin_1"]
    names = binned().fit(FRAME).get_feature_names_out().tolist()
    assert names.index("visits_missing") < names.index("age_bin_0") < names.index("job_clerk")


def test_columns_of_few_values_have_few_bins_or_none():
    n = np.arange(40)
    X = np.stack([np.full(40, 7.3), n % 2, n % 3, n % 6, n, np.full(40, np.nan)], axis=1)
    assert binned().fit(X).encoder_.bins.n_bins == [0, 0, 2, 5, 8, 0]
    assert binned(n_bins=3).fit(X).encoder_.bins.n_bins == [0, 0, 2, 3, 3, 0]
    np.testing.assert_array_equal(
        bins_of(binned().fit(X[:, [2]]), [[0.0], [1.0], [2.0]]), [[0, 0], [1, 0], [1, 1]]
    )
    without = binned().fit(X[:, :2])
    assert without.encoder_.bins is None
    np.testing.assert_array_equal(
        without.transform(X[:, :2]), TableFeatures().fit_transform(X[:, :2])
    )


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile", None])
def test_weights_only_say_which_rows_are_there(scaling):
    rng = np.random.default_rng(0)
    X = rng.lognormal(size=(80, 3)).round(1)
    X[rng.random(X.shape) < 0.1] = np.nan
    weights = rng.integers(0, 4, 80)
    features = binned(scaling=scaling)
    weighted = features.fit(X, sample_weight=weights).transform(X)
    repeated = features.fit(np.repeat(X, weights, axis=0)).transform(X)
    np.testing.assert_allclose(weighted, repeated, atol=1e-8)
    odd = np.concatenate([X, 1e4 * X[:9]])
    left_out = features.fit(odd, sample_weight=np.r_[weights, np.zeros(9)]).transform(X)
    np.testing.assert_allclose(left_out, weighted, atol=1e-12)
    if scaling is None:
        heavier = features.fit(X, sample_weight=7 * weights**2).transform(X)
        has_value = ~np.isnan(X).any(axis=1)  # the mean, which fills gaps, is another one
        np.testing.assert_array_equal(heavier[has_value], weighted[has_value])


@pytest.mark.parametrize("fill", ["mean", "median"])
def test_a_gap_has_the_bins_of_the_number_that_fills_it(fill):
    X = np.array([[0.0], [1.0], [np.nan], [2.0], [4.0], [13.0]])
    features = binned(fill=fill, n_bins=2).fit(X)
    filled = {"mean": 4.0, "median": 2.0}[fill]
    gap, number = features.transform([[np.nan], [filled]])
    names = features.get_feature_names_out().tolist()
    assert names == ["x0", "x0_missing", "x0_bin_0", "x0_bin_1"]
    assert [gap[1], number[1]] == [1, 0]
    np.testing.assert_allclose(np.delete(gap, 1), np.delete(number, 1), atol=1e-15)
    later = binned(n_bins=2).fit(X[[0, 1, 3, 4, 5]])
    np.testing.assert_array_equal(later.transform([[np.nan]]), later.transform([[4.0]]))


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile", None])
def test_extreme_columns_stay_finite(scaling):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 7))
    X[0, 0] = 1e30
    X[:, 1] = 7.3
    X[:, 2] = np.nan
    X[:, 3] *= 1e200
    X[:, 4] *= 1e-200
    X[:, 5] = np.linspace(-8e307, 8e307, 50)
    X[:, 6] = np.nextafter(5, 6 + np.arange(50))  # neighbours of few floats
    features = binned(scaling=scaling).fit(X)
    for rows in (X, np.full((1, 7), 1e300), np.full((1, 7), -1e300)):
        there = features.transform(rows)
        assert np.isfinite(there).all()
        assert np.abs(there).max() <= 1e6


def test_edges_between_the_largest_floats_are_finite():
    largest = np.finfo(np.float64).max
    edges = edges_between(np.array([-largest, largest, 0.0, np.nan, 0.0]), 2)
    np.testing.assert_array_equal(edges, [-largest, 0, largest])
    between = edges_between(largest * np.array([-1, -0.9, 0.8, 1]), 2)
    np.testing.assert_allclose(between / largest, [-1, -0.05, 1], atol=1e-12)
    assert np.isnan(edges_between(np.array([np.nan]), 2)).all()


def test_heavy_tails_have_bins_that_float32_could_not_tell_apart():
    x = np.exp(np.linspace(0, 60, 300))[:, None]
    clf = classifier(max_epochs=1).fit(x, np.arange(300) % 5 == 0)
    bins = clf.net_.encoder_(torch.from_numpy(x))[:, 1:]
    assert bins.shape[1] >= 4
    assert bins.dtype == torch.float32
    assert clf.net_.encoder_.bins.steepness()[0] < 1e9  # narrower bins would show rounding
    exact = binned().fit(x)  # in float64
    np.testing.assert_allclose(bins, bins_of(exact, x), atol=1e-6)
    sampled = classifier(max_epochs=1, sampler=RandomOverSampler(random_state=0))
    sampled.fit(x, np.arange(300) % 5 == 0)
    torch.testing.assert_close(sampled.net_.encoder_(torch.from_numpy(x))[:, 1:], bins)
    without = clf.net_.encoder_.without_bins(torch.from_numpy(x))  # what a sampler gets
    assert without.dtype == torch.float64
    torch.testing.assert_close(clf.net_.encoder_.with_bins(without)[:, 1:], bins, rtol=0, atol=0)


def test_bins_of_bent_and_ranked_numbers_have_the_same_edges():
    x = np.random.default_rng(0).lognormal(size=(999, 1))
    edges = np.quantile(x, np.linspace(0, 1, 5))[1:-1, None]
    for scaling in ("standard", "robust", "quantile", None):
        there = bins_of(binned(scaling=scaling, n_bins=4).fit(x), edges)
        np.testing.assert_allclose(there, [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]], atol=1e-9)


def test_sparse_rows_are_an_error():
    X = sparse.random(50, 8, 0.3, format="csr", random_state=0)
    with pytest.raises(ValueError, match=r"numeric_embedding='piecewise_linear'.*toarray\(\)"):
        binned().fit(X)
    there = binned().fit(X.toarray())
    assert not there.encoder_.keeps_zeros
    clf = classifier(binned(scaling=None), max_epochs=1).fit(X.toarray(), np.arange(50) % 5 == 0)
    np.testing.assert_array_equal(clf.predict_proba(X), clf.predict_proba(X.toarray()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"numeric_embedding": "periodical"},
        {"numeric_embedding": True},
        {"n_bins": 1},
        {"n_bins": 2.5},
        {"n_bins": None},
    ],
)
def test_wrong_parameters(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TableFeatures(**wrong).fit([[1.0], [2.0]])


# -- in estimators -------------------------------------------------------------------------------


def test_none_is_the_encoder_without_bins():
    plain = TableFeatures(n_bins=3).fit(FRAME).encoder_
    assert plain.bins is None
    assert set(plain.state_dict()) == {"centre", "factor", "fill", "lookup", "quantiles", "scores"}
    rows = torch.from_numpy(plain.columns.read(NEW)).double()
    assert torch.equal(plain(rows), plain.without_bins(rows))
    assert plain.compact(rows).dtype == plain.dtype
    narrow = ImbalancedNetClassifier(max_epochs=1, random_state=0).fit(FRAME, Y).net_.encoder_
    assert narrow.compact(rows).dtype == narrow.without_bins(rows).dtype == torch.float32


def test_the_parameter_can_be_set_and_searched():
    clf = ImbalancedNetClassifier(max_epochs=2, random_state=0)
    clf.set_params(features__numeric_embedding="piecewise_linear", features__n_bins=4)
    clf.fit(FRAME, Y)
    assert clf.net_.encoder_.bins.n_bins == [4, 4, 0, 4]
    grid = {"features__numeric_embedding": [None, "piecewise_linear"], "lr": [1e-3, 1e-2]}
    how = {"cv": 2, "scoring": "average_precision"}
    net = ImbalancedNetClassifier(max_epochs=2, random_state=0)
    stacked = StackedGridSearchCV(net, grid, **how).fit(FRAME, Y)
    plain = GridSearchCV(net, grid, **how).fit(FRAME, Y)
    np.testing.assert_allclose(
        stacked.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-6
    )
    assert len(np.unique(plain.cv_results_["mean_test_score"])) == 4


def test_the_net_is_that_behind_a_transformer():
    features = binned(embedding_size=None)
    inside = classifier(features, dtype="float64").fit(FRAME, Y)
    outside = ImbalancedNetClassifier(
        features=None, max_epochs=2, random_state=0, dtype="float64"
    ).fit(features.fit_transform(FRAME), Y)
    np.testing.assert_allclose(
        inside.predict_proba(NEW),
        outside.predict_proba(features.transform(NEW)),
        rtol=0,
        atol=1e-12,
    )


def test_a_step_is_learned_that_a_line_cannot_follow():
    x = np.random.default_rng(0).uniform(size=(600, 1))
    y = np.where((x[:, 0] > 0.25) & (x[:, 0] < 0.5), 1.0, 0.0)

    def error(features):
        reg = ImbalancedNetRegressor(MLP(()), features=features, max_epochs=60, random_state=0)
        return np.square(reg.fit(x, y).predict(x) - y).mean()

    assert error(binned(n_bins=16)) < 0.4 * error(TableFeatures(numeric_embedding=None))


def test_what_is_learned_lies_in_the_module():
    clf = classifier().fit(FRAME, Y)
    rows = torch.from_numpy(clf._check_X(NEW, reset=False))
    logits, encoder = clf.module_(rows), clf.net_.encoder_
    assert torch.equal(logits, clf.net_.module_(encoder(rows)))
    assert clf.module_[0].bins.edges.dtype == torch.float64
    assert clf.features_.transform(NEW).shape == (50, encoder.n_encoded)
    assert "bins" in clf.features_._repr_html_()


def test_memory_maps_datasets_and_streams(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) * [1, 1e4, 1] + [0, 0, 1.7e9]
    X[rng.random(X.shape) < 0.1] = np.nan
    y = (np.nan_to_num(X[:, 0]) > 1).astype(int)
    np.save(tmp_path / "X.npy", X)
    expected = classifier().fit(X, y)
    proba, edges = expected.predict_proba(X), expected.net_.encoder_.bins.edges
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for fitted, rows in (
        (classifier().fit(mapped, y), mapped),
        (classifier().fit(Rows(X, y)), Rows(X, y)),
    ):
        np.testing.assert_allclose(fitted.predict_proba(rows), proba, atol=1e-6)
        assert torch.equal(fitted.net_.encoder_.bins.edges, edges)
    counts = dict(enumerate(np.bincount(y).tolist()))
    streamed = classifier().fit(Stream(X, y), class_counts=counts)
    torch.testing.assert_close(streamed.net_.encoder_.bins.edges, edges)
    assert streamed.predict_proba(X).shape == (400, 2)


@pytest.mark.parametrize(
    ("sampler", "size"),
    [
        (SMOTE(random_state=0), None),
        (SMOTENC("auto", random_state=0), "auto"),
        (RandomOverSampler(random_state=0), "auto"),
    ],
    ids=["SMOTE", "SMOTENC", "RandomOverSampler"],
)
def test_rows_that_a_sampler_makes_have_the_bins_of_their_numbers(sampler, size, monkeypatch):
    seen = []
    with_bins = TableEncoder.with_bins

    def spy(encoder, rows):
        seen.append((encoder, rows, with_bins(encoder, rows)))
        return seen[-1][-1]

    monkeypatch.setattr(TableEncoder, "with_bins", spy)
    classifier(binned(embedding_size=size), sampler=sampler, max_epochs=1).fit(FRAME, Y)
    encoder, rows, made = next(found for found in seen if len(found[1]) == 2 * (Y == 0).sum())
    assert rows.shape[1] + encoder.n_bins == made.shape[1] == encoder.n_encoded
    n_numbers, first = len(encoder.numbers), len(encoder.numbers) + len(encoder.indicators)
    expected = encoder.bins(rows[:, :n_numbers].double())
    torch.testing.assert_close(made[:, first : first + encoder.n_bins], expected.float())


def test_frames_without_numbers():
    words = pd.DataFrame({"c": ["a", "b", "c", "a"] * 10})
    clf = classifier().fit(words, [0, 0, 1, 0] * 10)
    assert clf.net_.encoder_.bins is None
