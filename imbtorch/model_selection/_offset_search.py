"""Coordinate ascent over one offset per class, for scores that are step functions of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["OffsetSearch", "decide", "margins", "pick_from_plateau", "thinned_cuts"]

Floats = NDArray[np.float64]
_ROUNDING = 1e-12  # scores closer than this, relatively, are equal


def decide(scores: Floats, offsets: Floats, *, multilabel: bool) -> NDArray[np.intp]:
    """Turn scores and offsets into codes.

    Parameters
    ----------
    scores : ndarray of shape (n, n_classes) or (n, n_labels)
        Log-probabilities, or log-odds of each label.
    offsets : ndarray of shape (n_classes,) or (n_labels,)
        Added to the scores.
    multilabel : bool
        Whether every column is a decision of its own.

    Returns
    -------
    ndarray of shape (n,) or (n, n_labels)
        The greatest column of each row, or for each label whether it is positive.
    """
    shifted = scores + offsets
    return (shifted > 0).astype(np.intp) if multilabel else shifted.argmax(axis=1)


def margins(scores: Floats, offsets: Floats, column: int, *, multilabel: bool) -> Floats:
    """Compute for each row minus the offset from which on it belongs to ``column``."""
    if multilabel:
        return scores[:, column]
    rivals: Floats = np.delete(scores + offsets, column, axis=1).max(axis=1)
    return scores[:, column] - rivals


def thinned_cuts(
    values: Floats, positive: NDArray[np.bool_], n_candidates: int, weight: Floats | None = None
) -> Floats:
    """Choose places to cut a sorted list of scores.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Scores.
    positive : ndarray of bool, shape (n,)
        The rows that should be above the cut.
    n_candidates : int
        Most cuts to return, at least 2.
    weight : ndarray of shape (n,) or None, default=None
        How often each row counts; a row of weight 0 is as good as absent.

    Returns
    -------
    ndarray of shape (n_cuts,)
        Increasing, midway between neighbouring distinct scores, and one beyond each end. Of too
        many, those at quantiles of a population with as many positive rows as others: where
        positives are rare, few of the plain quantiles would tell them apart.
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
    """Choose the middle of the longest run of greatest values.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Scores along one coordinate; NaN is worse than any.
    baseline : float
        What must be beaten by more than rounding.

    Returns
    -------
    int or None
        An index, or None if nothing beats the baseline.
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
    """Search of the offsets whose decisions score best.

    Parameters
    ----------
    scores : ndarray of shape (n, n_classes) or (n, n_labels)
        Log-probabilities, or log-odds of each label.
    truth : ndarray of bool, shape of ``scores``
        Which rows belong to each class or label.
    score : callable
        Takes codes, as :func:`decide` returns them; greater is better.
    multilabel : bool
        Whether every column is a decision of its own.
    n_candidates : int
        Most offsets to try for one class at a time.
    max_passes : int
        Most passes over the classes.
    weight : ndarray of shape (n,) or None, default=None
        How often each row counts in the choice of candidates.
    """

    scores: Floats
    truth: NDArray[np.bool_]
    score: Callable[[NDArray[np.intp]], float]
    multilabel: bool
    n_candidates: int
    max_passes: int
    weight: Floats | None = None

    def score_of(self, offsets: Floats) -> float:
        """Score the decisions under ``offsets``."""
        return self.score(decide(self.scores, offsets, multilabel=self.multilabel))

    def best(self, starts: list[Floats]) -> tuple[Floats, float]:
        """Climb from each start; on a tie the first start wins.

        Parameters
        ----------
        starts : list of ndarray of shape (n_columns,)
            Offsets to start from.

        Returns
        -------
        offsets : ndarray of shape (n_columns,)
            No worse than any of the starts.
        score : float
            Their score.
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
                # one column alone is at its best at once; a round without progress ends the climb
                if unimproved == len(columns) or len(columns) == 1:
                    return offsets, best
        return offsets, best

    def _line(self, offsets: Floats, best: float, column: int) -> tuple[Floats, float] | None:
        """Improve one offset, or return None."""
        values = margins(self.scores, offsets, column, multilabel=self.multilabel)
        cuts = thinned_cuts(values, self.truth[:, column], self.n_candidates, self.weight)
        trials = np.tile(offsets, (len(cuts), 1))
        trials[:, column] = -cuts
        reached = np.array([self.score_of(trial) for trial in trials])
        index = pick_from_plateau(reached, best)
        return None if index is None else (trials[index], float(reached[index]))
