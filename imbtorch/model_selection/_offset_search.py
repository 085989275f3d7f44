"""Coordinate ascent over one offset per class, for scores that are step functions of offsets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["OffsetSearch", "decide", "margins", "pick_from_plateau", "thinned_cuts"]

Floats = NDArray[np.float64]
_ROUNDING = 1e-12  # scores with a smaller relative difference count as equal


def decide(scores: Floats, offsets: Floats, *, multilabel: bool) -> NDArray[np.intp]:
    """Compute decisions from scores and offsets.

    Parameters
    ----------
    scores : ndarray of shape (n, n_classes) or (n, n_labels)
        Log-probabilities, or log-odds of each label.
    offsets : ndarray of shape (n_classes,) or (n_labels,)
        Numbers to add to the scores.
    multilabel : bool
        Whether every column is a separate decision.

    Returns
    -------
    ndarray of shape (n,) or (n, n_labels)
        Column of the largest shifted score of each row; with several labels, 1 for each label whose
        shifted score is positive, else 0.
    """
    shifted = scores + offsets
    return (shifted > 0).astype(np.intp) if multilabel else shifted.argmax(axis=1)


def margins(scores: Floats, offsets: Floats, column: int, *, multilabel: bool) -> Floats:
    """Compute for each row the negative of the offset above which it belongs to ``column``."""
    if multilabel:
        return scores[:, column]
    rivals: Floats = np.delete(scores + offsets, column, axis=1).max(axis=1)
    return scores[:, column] - rivals


def thinned_cuts(
    values: Floats, positive: NDArray[np.bool_], n_candidates: int, weight: Floats | None = None
) -> Floats:
    """Choose values at which to cut a set of scores.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Scores.
    positive : ndarray of bool, shape (n,)
        Which rows should be above the cut.
    n_candidates : int
        Largest number of cuts to return, at least 2.
    weight : ndarray of shape (n,) or None, default=None
        How often each row counts; a row of weight 0 is ignored.

    Returns
    -------
    ndarray of shape (n_cuts,)
        Increasing cuts midway between neighbouring distinct scores, and one beyond each end. If
        there are too many, only those at quantiles of a population with equally many positive and
        other rows remain: if positives are rare, plain quantiles would leave few cuts among them.
    """
    weight = np.ones(len(values)) if weight is None else weight
    counted = weight > 0
    distinct, place = np.unique(values[counted], return_inverse=True)
    middle = distinct[:-1] + np.diff(distinct) / 2
    cuts = np.concatenate([[distinct[0] - 1], middle, [distinct[-1] + 1]])
    if len(cuts) <= n_candidates:
        return cuts
    below = np.zeros(len(cuts))
    for side in (positive[counted], ~positive[counted]):
        mass = np.cumsum(np.bincount(place[side], weight[counted][side], len(distinct)))
        below[1:] += mass / mass[-1] if mass[-1] > 0 else 0.0
    levels = np.linspace(0, below[-1], n_candidates)
    chosen = np.unique(np.searchsorted(below, levels - 1e-9).clip(max=len(cuts) - 1))
    thinned: Floats = cuts[chosen]
    return thinned


def pick_from_plateau(values: Floats, baseline: float) -> int | None:
    """Choose the middle of the longest run of largest values.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Scores along one coordinate; NaN is worse than any number.
    baseline : float
        Score that the result must exceed by more than rounding.

    Returns
    -------
    int or None
        Index of the chosen value, or None if no value exceeds the baseline.
    """
    known = np.where(np.isnan(values), -np.inf, values)
    best = known.max()
    slack = _ROUNDING * max(1.0, abs(best)) if np.isfinite(best) else 0.0
    if not (best > baseline + slack or (np.isnan(baseline) and best > -np.inf)):
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[0], known >= best - slack, [0]])))
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    return int(starts[longest] + ends[longest] - 1) // 2


@dataclass
class OffsetSearch:
    """Search for the offsets whose decisions have the best score.

    Parameters
    ----------
    scores : ndarray of shape (n, n_classes) or (n, n_labels)
        Log-probabilities, or log-odds of each label.
    truth : ndarray of bool, shape of ``scores``
        Which rows belong to each class or label.
    score : callable
        Function from the result of :func:`decide` to a score; greater is better.
    multilabel : bool
        Whether every column is a separate decision.
    n_candidates : int
        Largest number of offsets to try for one class at a time.
    max_passes : int
        Largest number of passes over the classes.
    weight : ndarray of shape (n,), (n, n_labels) or None, default=None
        How often each row counts in the choice of candidates, for all columns or for each.
    """

    scores: Floats
    truth: NDArray[np.bool_]
    score: Callable[[NDArray[np.intp]], float]
    multilabel: bool
    n_candidates: int
    max_passes: int
    weight: Floats | None = None

    def score_of(self, offsets: Floats) -> float:
        """Return the score of the decisions with these offsets."""
        return self.score(decide(self.scores, offsets, multilabel=self.multilabel))

    def best(self, starts: list[Floats]) -> tuple[Floats, float]:
        """Improve the offsets from each start; of equal scores the first start is used.

        Parameters
        ----------
        starts : list of ndarray of shape (n_columns,)
            Offsets to start from.

        Returns
        -------
        offsets : ndarray of shape (n_columns,)
            The best offsets; their score is at least that of each start.
        score : float
            Score of these offsets.
        """
        tops = [self._climb(start) for start in starts]
        offsets, score = tops[0]
        for other, value in tops[1:]:
            if pick_from_plateau(np.array([value]), score) is not None:
                offsets, score = other, value
        return offsets, score

    def _climb(self, start: Floats) -> tuple[Floats, float]:
        offsets, best = start.copy(), self.score_of(start)
        n_columns = self.scores.shape[1]
        two_classes = n_columns == 2 and not self.multilabel  # only the difference counts
        columns = [1] if two_classes else list(range(n_columns))
        unimproved = 0
        for _ in range(self.max_passes):
            for column in columns:
                better = self._line(offsets, best, column)
                unimproved = 0 if better else unimproved + 1
                if better:
                    offsets, best = better
                # a single column needs one step; a round without progress ends the search
                if unimproved == len(columns) or len(columns) == 1:
                    return offsets, best
        return offsets, best

    def _line(self, offsets: Floats, best: float, column: int) -> tuple[Floats, float] | None:
        """Improve one offset; return None if no other value has a better score."""
        values = margins(self.scores, offsets, column, multilabel=self.multilabel)
        weight = self.weight
        if weight is not None and weight.ndim == 2:
            weight = weight[:, column]
            if not weight.any():  # a label that no row knows
                return None
        cuts = thinned_cuts(values, self.truth[:, column], self.n_candidates, weight)
        trials = np.tile(offsets, (len(cuts), 1))
        trials[:, column] = -cuts
        reached = np.array([self.score_of(trial) for trial in trials])
        index = pick_from_plateau(reached, best)
        return None if index is None else (trials[index], float(reached[index]))
