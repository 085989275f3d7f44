"""Thresholds that do not hang on single rows: averages over bootstrap resamples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from imbtorch._common.counted import Counted
from imbtorch.model_selection._offset_search import (
    OffsetSearch,
    margins,
    pick_from_plateau,
    thinned_cuts,
)

__all__ = ["BootstrapCuts", "averaged_offsets", "bootstrap_cuts"]

Floats = NDArray[np.float64]
_TRIMMED = 0.1  # share of resamples at each end that an average leaves out
_BLOCK = 2**24  # numbers of a block of resamples, which bounds the memory


@dataclass(frozen=True)
class BootstrapCuts:
    """Best cuts of bootstrap resamples.

    Attributes
    ----------
    cuts : ndarray of shape (n_cuts,)
        Increasing cuts that were tried.
    best : ndarray of int, shape (n_resamples,)
        Position of the best cut of each resample.
    """

    cuts: Floats
    best: NDArray[np.intp]

    @property
    def centre(self) -> float:
        """Mean of the best cuts, without the lowest and the highest tenth.

        Positions are averaged, not values: so a monotone transformation of the scores, such as a
        calibration, does not change the decisions, and far away scores do not pull.
        """
        place = trim_mean(self.best, _TRIMMED)
        return float(np.interp(place, np.arange(len(self.cuts)), self.cuts))

    def interval(self, coverage: float) -> Floats:
        """Return the limits of the central share ``coverage`` of the best cuts."""
        tail = (1 - coverage) / 2
        limits = np.quantile(self.best, [tail, 1 - tail])
        return np.asarray(np.interp(limits, np.arange(len(self.cuts)), self.cuts))


def averaged_offsets(
    search: OffsetSearch,
    offsets: Floats,
    best: float,
    score: Counted,
    *,
    n_resamples: int,
    seed: int,
) -> tuple[Floats, float, list[BootstrapCuts | None]]:
    """Replace the best offset of two classes, or of each label, by its average over resamples.

    Parameters
    ----------
    search : OffsetSearch
        Scores and classes of the rows.
    offsets : ndarray of shape (n_columns,)
        The best offsets for the rows themselves.
    best : float
        Score of these offsets.
    score : callable
        Score of a single decision as a function of counts.
    n_resamples, seed : int
        Number of resamples, and seed of the random numbers.

    Returns
    -------
    offsets : ndarray of shape (n_columns,)
        The averages. An offset stays 0 where nothing is better, and all of them stay as they were
        where the averages are no better than no offsets.
    score : float
        Score of these offsets.
    resamples : list of BootstrapCuts or None
        Cuts of the second class, or of each label; None for a label that has one value only.
    """
    averaged = offsets.copy()
    resamples: list[BootstrapCuts | None] = []
    n_columns = search.scores.shape[1]
    for column in range(n_columns) if search.multilabel else [1]:
        weight = search.weight
        weight = weight[:, column] if weight is not None and weight.ndim == 2 else weight
        truth = search.truth[:, column]
        counted = truth if weight is None else truth[weight > 0]
        if counted.all() or not counted.any():
            resamples.append(None)
            continue
        found = bootstrap_cuts(
            margins(search.scores, offsets, column, multilabel=search.multilabel),
            truth,
            score,
            n_candidates=search.n_candidates,
            n_resamples=n_resamples,
            seed=seed,
            weight=weight,
        )
        resamples.append(found)
        if offsets[column] != 0:
            averaged[column] = -found.centre
    reached = search.score_of(averaged)
    untuned = search.score_of(np.zeros(n_columns))
    if pick_from_plateau(np.array([reached]), untuned) is None:
        return offsets, best, resamples
    return averaged, reached, resamples


def bootstrap_cuts(
    values: Floats,
    positive: NDArray[np.bool_],
    score: Counted,
    *,
    n_candidates: int,
    n_resamples: int,
    seed: int,
    weight: Floats | None = None,
) -> BootstrapCuts:
    """Find the best cut of scores in each of many resamples of the rows.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Scores.
    positive : ndarray of bool, shape (n,)
        Which rows should be above the cut; of both kinds there is one at least.
    score : callable
        Function of true positives, false positives, false negatives and true negatives, each
        ``(n_resamples, n_cuts)``; greater is better, NaN is 0.
    n_candidates : int
        Largest number of cuts to try.
    n_resamples : int
        Number of resamples. Each has as many positive and as many other rows as there are.
    seed : int
        Seed of the random numbers.
    weight : ndarray of shape (n,) or None, default=None
        Weights of the rows; rows of weight 0 are left out.

    Returns
    -------
    BootstrapCuts
        The cuts, and which of them is best in each resample.

    Examples
    --------
    >>> from imbtorch._common.counted import COUNTED
    >>> values, positive = np.arange(20.0), np.arange(20) >= 15
    >>> found = bootstrap_cuts(
    ...     values, positive, COUNTED["accuracy"], n_candidates=100, n_resamples=50, seed=0
    ... )
    >>> 14 < found.centre < 16
    True
    """
    weight = np.ones(len(values)) if weight is None else weight
    counted = weight > 0
    values, positive, weight = values[counted], positive[counted], weight[counted]
    cuts = thinned_cuts(values, positive, n_candidates, weight)
    places = np.searchsorted(cuts, values)  # cuts that are below each row
    rng = np.random.default_rng(seed)
    (tp, n_positive), (fp, n_negative) = (
        _above(_resampled(places[rows], weight[rows], len(cuts) + 1, n_resamples, rng))
        for rows in (positive, ~positive)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.nan_to_num(score(tp, fp, n_positive - tp, n_negative - fp))
    best = [pick_from_plateau(curve, -np.inf) for curve in scores]
    return BootstrapCuts(cuts, np.array(best, dtype=np.intp))


def _resampled(
    places: NDArray[np.intp],
    weight: Floats,
    n_places: int,
    n_resamples: int,
    rng: np.random.Generator,
) -> Floats:
    """Return the weight of the resampled rows at each place, ``(n_resamples, n_places)``."""
    # rows of the same place and weight need not be told apart
    kinds, counts = np.unique(np.stack([places, weight]), axis=1, return_counts=True)
    n_rows, n_kinds = len(places), len(counts)
    at, starts = np.unique(kinds[0].astype(np.intp), return_index=True)
    masses = np.zeros((n_resamples, n_places))
    step = max(1, _BLOCK // n_kinds)
    for first in range(0, n_resamples, step):
        block = masses[first : first + step]
        drawn = rng.multinomial(n_rows, counts / n_rows, size=len(block)) * kinds[1]
        block[:, at] = np.add.reduceat(drawn, starts, axis=1)
    return masses


def _above(masses: Floats) -> tuple[Floats, Floats]:
    """Return the mass above each cut, and the whole mass, of each resample."""
    reverse = masses[:, ::-1].cumsum(axis=1)[:, ::-1]
    return reverse[:, 1:], reverse[:, :1]
