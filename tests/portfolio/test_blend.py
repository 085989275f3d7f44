"""Shares of recipes in a blend: known optima, and what must not matter."""

import numpy as np
import pytest

from imbtorch.portfolio import _blend
from imbtorch.portfolio._blend import blend_shares
from imbtorch.portfolio._scores import by_loss

N = 400
RNG = np.random.default_rng(0)
STRATA = np.arange(N) % 20 == 0
PREDICTIONS = RNG.uniform(0.1, 0.95, size=(5, N))


def log_loss(p):
    return -np.log(p)


def shares_of(predictions, weights=None, strata=STRATA, seed=0, loss=log_loss):
    weights = np.ones(N) if weights is None else weights
    scores = by_loss(loss, weights)
    return blend_shares(np.asarray(predictions), scores, np.asarray(strata, dtype=np.intp), seed)


def test_the_better_one_of_two_gets_everything():
    good = RNG.uniform(0.7, 0.9, size=N)
    assert shares_of([good * 0.8, good, good * 0.5]).tolist() == [0, 1, 0]


def test_two_that_know_different_rows_share():
    first = np.where(np.arange(N) % 2, 0.9, 0.3)
    shares = shares_of([first, 1.2 - first], strata=np.zeros(N))
    np.testing.assert_allclose(shares, [0.5, 0.5], atol=0.03)


def test_shares_are_near_the_optimum():
    first = np.where(np.arange(N) % 4, 0.8, 0.1)
    second = np.where(np.arange(N) % 4, 0.5, 0.6)
    grid = np.linspace(0, 1, 1001)
    losses = [log_loss(a * first + (1 - a) * second).mean() for a in grid]
    best = grid[int(np.argmin(losses))]
    assert 0.2 < best < 0.95
    np.testing.assert_allclose(shares_of([first, second], strata=np.zeros(N))[0], best, atol=0.06)


def test_blend_is_not_worse_than_the_best_one():
    shares = shares_of(PREDICTIONS)
    np.testing.assert_allclose(shares.sum(), 1)
    assert log_loss(shares @ PREDICTIONS).mean() <= log_loss(PREDICTIONS).mean(axis=1).min()


def test_order_of_the_recipes_does_not_matter():
    order = np.array([3, 0, 4, 2, 1])
    np.testing.assert_allclose(shares_of(PREDICTIONS)[order], shares_of(PREDICTIONS[order]))


def test_rows_of_weight_zero_do_not_count():
    spoilt = PREDICTIONS.copy()
    spoilt[0, ::3] = 1e-9
    weights = np.where(np.arange(N) % 3, 1.0, 0.0)
    assert shares_of(spoilt, weights).tolist() == shares_of(PREDICTIONS, weights).tolist()
    assert shares_of(spoilt).tolist() != shares_of(PREDICTIONS).tolist()


def test_samples_keep_the_number_of_rare_rows(monkeypatch):
    strata = STRATA.astype(np.intp)
    rows, times = _blend._sample(strata, np.random.default_rng(0))
    assert strata[rows].sum() == strata.sum()
    assert len(rows) == N
    assert set(times) == {1}
    monkeypatch.setattr(_blend, "_MOST_ROWS", 50)
    rows, times = _blend._sample(strata, np.random.default_rng(0))
    assert strata[rows].sum() == strata.sum() == 20
    assert len(rows) == 70
    assert times.sum() == N


def test_a_large_class_that_is_sampled_counts_as_many_rows(monkeypatch):
    rare, frequent = np.where(STRATA, 0.9, 0.6), np.where(STRATA, 0.3, 0.8)
    whole = shares_of([rare, frequent])
    monkeypatch.setattr(_blend, "_MOST_ROWS", 50)
    np.testing.assert_allclose(shares_of([rare, frequent]), whole, atol=0.05)


def test_few_positives_do_not_decide_alone():
    # one lucky positive makes the second recipe better on these rows
    first = np.full(N, 0.9)
    second = np.where(np.arange(N) == 0, 0.99, 0.895)
    strata = np.arange(N) < 2
    assert shares_of([first, second], strata=strata)[0] > 0.9


def test_squared_error_of_two_with_opposite_errors():
    errors = RNG.normal(size=N)
    shares = shares_of([errors, -errors, 3 * errors], strata=np.zeros(N), loss=np.square)
    assert np.square(shares @ np.array([errors, -errors, 3 * errors])).mean() < 0.01


@pytest.mark.parametrize("seed", [0, 1])
def test_same_seed_same_shares(seed):
    assert shares_of(PREDICTIONS, seed=seed).tolist() == shares_of(PREDICTIONS, seed=seed).tolist()
