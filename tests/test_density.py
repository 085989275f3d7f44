"""Row weights of continuous targets: the authors' numbers, invariants, bad input."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import trapezoid
from scipy.stats import gaussian_kde

from imbtorch.density import (
    DENSITY_WEIGHTS,
    dense_weights,
    density_weights,
    kernel_window,
    lds_weights,
    relevance_weights,
)
from imbtorch.density._dense import _density, _falling

COUNTS = [0, 4, 16, 9, 1, 0, 0, 1]  # the catalogue's fixture
Y = np.repeat(np.arange(8.0), COUNTS)


def skewed(n=2000, seed=0):
    return np.random.default_rng(seed).lognormal(0, 1, n)


# -- label distribution smoothing ----------------------------------------------------------------


def test_windows():
    assert_allclose(kernel_window(), [0.858285238, 0.945827649, 1, 0.945827649, 0.858285238])
    assert_allclose(kernel_window("triangular"), [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    half = np.exp([-1, -0.5])
    assert_allclose(kernel_window("laplace"), [*half, 1, *half[::-1]])
    for kernel in ("gaussian", "triangular", "laplace"):
        assert kernel_window(kernel, 1).tolist() == [1]


@pytest.mark.parametrize(
    ("reweight", "expected"),
    [
        ("inverse", [0.561280833, 0.51707315, 0.528712898, 0.648516477, 15.074773709]),
        ("sqrt_inverse", [0.875209967, 0.762994403, 0.774441672, 1.006124173, 7.315150458]),
    ],
)
def test_lds_of_the_catalogue(reweight, expected):
    weights = lds_weights(Y, bin_width=1, reweight=reweight)
    rows = np.searchsorted(Y, [1, 2, 3, 4, 7])
    assert_allclose(weights[rows], expected, rtol=1e-8)


def test_lds_without_neighbours_is_inverse_frequency():
    weights = lds_weights(Y, bin_width=1, kernel_size=1, reweight="inverse")
    expected = 1 / np.array(COUNTS)[Y.astype(int)]
    assert_allclose(weights, expected / expected.mean())


def test_lds_clips_counts_as_the_authors_do():
    weights = lds_weights(Y, bin_width=1, kernel_size=1, reweight="inverse", count_range=(5, 10))
    expected = 1 / np.clip(COUNTS, 5, 10)[Y.astype(int)]
    assert_allclose(weights, expected / expected.mean())


def test_bins():
    edges = lds_weights([0.0, 0.9, 1.0, 2.0], bin_width=1, kernel_size=1, reweight="inverse")
    assert_allclose(edges, np.array([1, 1, 2, 2]) * 4 / 6)
    # multiples of the width, wherever the data begins
    assert_allclose(lds_weights([0.5, 0.9, 1.2], bin_width=1, kernel_size=1)[:2], 0.87868, 1e-5)
    n_bins = lds_weights(Y, n_bins=6, kernel_size=1, reweight="inverse")
    assert_allclose(n_bins, lds_weights(Y, bin_width=1, kernel_size=1, reweight="inverse"))


# -- DenseWeight ---------------------------------------------------------------------------------


def test_dense_weight_of_the_catalogue():
    scaled = np.array([1, 0.6, 0.1, 0])
    for alpha, expected in (
        (1, [1.739128176e-06, 0.695651872, 1.565216711, 1.739129679]),
        (0.5, [0.634920635, 0.888888889, 1.206349206, 1.26984127]),
    ):
        weights = _falling(scaled, alpha, 1e-6)
        assert_allclose(weights / weights.mean(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["normal", "lognormal", "student"])
def test_density_on_a_grid_is_the_kernel_density(name):
    rng = np.random.default_rng(0)
    draw = {"normal": rng.normal, "lognormal": rng.lognormal, "student": rng.standard_normal}
    y = draw[name](size=1000)
    if name == "student":
        y /= np.sqrt(rng.chisquare(2, 1000) / 2)
    exact = gaussian_kde(y, bw_method=lambda kde: 1.06 * kde.n**-0.2)(y)
    ours = _density(y, np.ones(len(y)))
    assert_allclose(ours / ours.max(), exact / exact.max(), atol=2e-3)


def test_dense_weights_follow_the_density():
    y = skewed()
    weights = dense_weights(y)
    assert weights[np.argmax(y)] == weights.max()
    assert np.corrcoef(weights, gaussian_kde(y)(y))[0, 1] < -0.95
    assert np.ptp(dense_weights(y, alpha=0.5)) < np.ptp(weights)
    assert_allclose(dense_weights(y, alpha=0), 1)


def test_equally_dense_rows_weigh_alike():
    assert_allclose(dense_weights([0.0, 1.0]), 1)


# -- relevance -----------------------------------------------------------------------------------


def test_sera_is_a_weighted_squared_error():
    error, phi = np.array([0.2, -0.5, 1.0]), np.array([0, 0.3, 1])
    weights = relevance_weights([0.0, 1.5, 2.0], phi)
    thresholds = np.arange(0, 1.0005, 0.001)
    area = trapezoid([(error**2)[phi >= t].sum() for t in thresholds], thresholds)
    assert_allclose(weights @ error**2 * phi.mean(), 1.075, rtol=1e-12)
    assert_allclose(weights @ error**2 * phi.mean(), area, atol=2e-3)


def test_extremes_of_a_skewed_target_lie_on_one_side():
    y = skewed(1999)
    weights = relevance_weights(y)
    first, median, third = np.quantile(y, (0.25, 0.5, 0.75))
    top = third + 1.5 * (third - first)
    assert (weights[y < median] == 0).all()
    assert (weights[y > top] == weights.max()).all()
    order = np.argsort(y)
    assert (np.diff(weights[order]) >= 0).all()
    mirrored = relevance_weights(-y)
    assert_allclose(mirrored, weights)


def test_extremes_on_both_sides():
    y = np.r_[np.linspace(-1, 1, 101), -9, 9]
    weights = relevance_weights(y)
    assert weights[-1] == weights[-2] == weights[0] == weights[100] == weights.max()
    assert weights[50] == 0
    assert_allclose(weights[75], weights.max() / 2)


def test_floor_keeps_every_row():
    y = skewed()
    assert relevance_weights(y, floor=0.1).min() > 0
    assert relevance_weights(y).min() == 0


def test_relevance_may_be_a_function():
    y = np.array([0.0, 1.0, 2.0])
    assert_allclose(relevance_weights(y, lambda values: values / 2), [0, 1, 2])
    assert_allclose(relevance_weights(y, [0, 0.5, 1]), [0, 1, 2])


# -- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DENSITY_WEIGHTS)
class TestEach:
    def test_mean_is_one(self, name):
        y, counted = skewed(), np.random.default_rng(1).integers(0, 4, 2000)
        weights = density_weights(name, y)
        assert weights.shape == y.shape
        assert (weights >= 0).all()
        assert_allclose(weights.mean(), 1)
        weighted = density_weights(name, y, sample_weight=counted)
        assert_allclose(np.average(weighted, weights=counted), 1)

    def test_sample_weight_is_repetition(self, name):
        y, counted = skewed(), 1 + np.random.default_rng(1).integers(0, 3, 2000)
        weighted = density_weights(name, y, sample_weight=counted)
        repeated = density_weights(name, np.repeat(y, counted))
        assert_allclose(np.repeat(weighted, counted), repeated, rtol=1e-6, atol=1e-9)

    def test_units_do_not_matter(self, name):
        y = skewed()
        assert_allclose(density_weights(name, 8 * y), density_weights(name, y), rtol=1e-6)

    def test_order_of_the_rows_does_not_matter(self, name):
        y, order = skewed(), np.random.default_rng(1).permutation(2000)
        assert_allclose(density_weights(name, y[order]), density_weights(name, y)[order], rtol=1e-9)

    def test_constant_target(self, name):
        with pytest.raises(ValueError, match=r"constant \(3.5\)"):
            density_weights(name, [3.5, 3.5, 3.5])
        with pytest.raises(ValueError, match="constant"):
            density_weights(name, [3.5, 3.5, 1.0], sample_weight=[1, 1, 0])

    def test_several_targets_give_their_mean(self, name):
        first, second = skewed(), skewed(seed=1)
        expected = (density_weights(name, first) + density_weights(name, second)) / 2
        assert_allclose(density_weights(name, np.c_[first, second]), expected)
        with pytest.raises(ValueError, match="target 1: y is constant"):
            density_weights(name, np.c_[first, np.ones(2000)])

    def test_bad_input(self, name):
        for wrong in ([1.0, np.nan], [np.inf, 0.0], []):
            with pytest.raises(ValueError, match="finite"):
                density_weights(name, wrong)
        for wrong in ([1.0], [1.0, -1.0], [0.0, 0.0]):
            with pytest.raises(ValueError, match="sample_weight"):
                density_weights(name, [0.0, 1.0], sample_weight=wrong)


def test_dispatcher():
    y = skewed()
    assert_allclose(density_weights(None, y), 1)
    assert_allclose(density_weights(("dense_weight", {"alpha": 0.5}), y), dense_weights(y, 0.5))
    assert_allclose(density_weights(("lds", {"n_bins": 9}), y), lds_weights(y, n_bins=9))
    assert_allclose(density_weights(lambda v: v, y), y / y.mean())
    phi = y / y.max()
    assert_allclose(density_weights(phi, y), relevance_weights(y, phi))
    assert_allclose(density_weights(tuple(phi), y), relevance_weights(y, phi))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: density_weights("no such name", Y), "dense_weight"),
        (lambda: density_weights(lambda y: y[:3], Y), "one per row"),
        (lambda: density_weights(lambda y: y - 5, Y), ">= 0"),
        (lambda: density_weights(lambda y: 0 * y, Y), "All weights are 0"),
        (lambda: density_weights(2 + Y, Y), r"\[0, 1\]"),
        (lambda: relevance_weights(Y, "typo"), "typo"),
        (lambda: relevance_weights(Y, floor=1), "floor"),
        (lambda: relevance_weights([0.0, 1.0, 2.0]), "no outliers"),
        (lambda: lds_weights(Y, n_bins=0), "n_bins"),
        (lambda: lds_weights(Y, bin_width=0), "bin_width"),
        (lambda: lds_weights(Y, bin_width=1e-9), "more than"),
        (lambda: lds_weights(Y, reweight="typo"), "typo"),
        (lambda: lds_weights(Y, kernel="typo"), "typo"),
        (lambda: lds_weights(Y, kernel_size=4), "odd"),
        (lambda: lds_weights(Y, sigma=0), "sigma"),
        (lambda: dense_weights(Y, alpha=-1), "alpha"),
        (lambda: dense_weights(Y, eps=0), "eps"),
    ],
)
def test_bad_parameters(function, message):
    with pytest.raises(ValueError, match=message):
        function()
