"""Candidates, plateaus and the climb, without any classifier."""

import numpy as np
import pytest

from imbtorch.model_selection._offset_search import (
    OffsetSearch,
    decide,
    margins,
    pick_from_plateau,
    thinned_cuts,
)


def test_cuts_are_midway_and_beyond_both_ends():
    cuts = thinned_cuts(np.array([3.0, 1.0, 1.0, 2.0]), np.array([True, False, False, True]), 10)
    assert cuts.tolist() == [0, 1.5, 2.5, 4]


def test_cuts_of_equal_scores_are_the_two_ends():
    assert thinned_cuts(np.full(5, 2.0), np.arange(5) < 2, 10).tolist() == [1, 3]


@pytest.mark.parametrize("n_candidates", [2, 3, 10, 50])
def test_thinned_cuts_keep_both_ends_and_their_number(n_candidates):
    rng = np.random.default_rng(0)
    values, positive = rng.normal(size=1000), rng.random(1000) < 0.05
    values[positive] += 3
    cuts = thinned_cuts(values, positive, n_candidates)
    assert len(cuts) <= n_candidates
    assert (np.diff(cuts) > 0).all()
    assert cuts[0] < values.min()
    assert cuts[-1] > values.max()


def test_half_of_the_thinned_cuts_tell_positives_apart():
    values = np.arange(10_000.0)
    cuts = thinned_cuts(values, values >= 9900, 21)
    assert (cuts > 9899).sum() == pytest.approx(11, abs=1)


def test_weights_of_rows_are_repetitions():
    rng = np.random.default_rng(0)
    values, positive, weight = rng.normal(size=300), rng.random(300) < 0.1, rng.integers(0, 3, 300)
    np.testing.assert_array_equal(
        thinned_cuts(values, positive, 20, weight.astype(float)),
        thinned_cuts(np.repeat(values, weight), np.repeat(positive, weight), 20),
    )


@pytest.mark.parametrize(
    ("values", "baseline", "expected"),
    [
        ([1, 3, 3, 3, 1], 0, 2),
        ([3, 1, 3, 3, 3, 1, 3], 0, 3),  # the longest of three runs
        ([3, 3, 1], 0, 0),
        ([1, 2], 2, None),  # as good is not better
        ([1, 2 + 1e-15], 2, None),
        ([np.nan, 1, np.nan], 0, 1),
        ([np.nan, 1, np.nan], np.nan, 1),
        ([np.nan, np.nan], 0, None),
        ([np.nan, np.nan], np.nan, None),
        ([-np.inf, -np.inf], -np.inf, None),
        ([-5, -4], -np.inf, 1),
        ([np.inf, 1], 0, 0),
    ],
)
def test_plateau(values, baseline, expected):
    assert pick_from_plateau(np.array(values, dtype=float), baseline) == expected


def test_margin_is_where_the_decision_turns():
    rng = np.random.default_rng(0)
    scores, offsets = rng.normal(size=(50, 4)), rng.normal(size=4)
    margin = margins(scores, offsets, 2, multilabel=False)
    for row in range(50):
        for step, expected in ((1e-6, True), (-1e-6, False)):
            trial = offsets.copy()
            trial[2] = -margin[row] + step
            assert (decide(scores[[row]], trial, multilabel=False)[0] == 2) == expected


def test_climb_finds_what_one_start_does_not():
    scores = np.zeros((4, 3))
    truth = np.eye(3, dtype=bool)[[0, 1, 2, 2]]
    seen = []

    def score(codes):
        seen.append(codes)
        return float((codes == 2).all())

    search = OffsetSearch(scores, truth, score, multilabel=False, n_candidates=5, max_passes=3)
    offsets, best = search.best([np.zeros(3), np.array([0.0, 0.0, 5.0])])
    assert best == 1
    assert decide(scores, offsets, multilabel=False).tolist() == [2, 2, 2, 2]


def test_climb_ends_after_a_round_without_progress():
    calls = []

    def score(codes):
        calls.append(codes)
        return 0.0

    scores = np.random.default_rng(0).normal(size=(30, 3))
    truth = np.eye(3, dtype=bool)[np.arange(30) % 3]
    search = OffsetSearch(scores, truth, score, multilabel=False, n_candidates=5, max_passes=100)
    offsets, _ = search.best([np.zeros(3)])
    assert offsets.tolist() == [0, 0, 0]
    assert len(calls) <= 1 + 3 * 5
