"""Shares of recipes in a blend: greedy selection on out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scores", "blend_shares"]

Floats = NDArray[np.float64]
Positions = NDArray[np.intp]
# (predictions of some rows, their positions, how often each counts) -> score of each recipe
Scores = Callable[[Floats, Positions, Floats], Floats]

_PICKS = 20  # picks of one selection; a recipe may be picked several times
_SELECTIONS = 20  # selections, each on other rows, whose shares are averaged
_MOST_ROWS = 20_000  # rows of a selection
_LEAST_SHARE = 0.03  # recipes with a smaller share are left out


def blend_shares(predictions: Floats, scores: Scores, strata: Positions, seed: int) -> Floats:
    """Find shares of recipes in a blend that has a good score on out-of-fold predictions.

    A selection starts with nothing, and picks again and again the recipe which makes the mean of
    the picks best; the same recipe may be picked several times [1]_. Selections on bootstrap
    samples of the rows are averaged, because on few positives a single one overfits.

    Parameters
    ----------
    predictions : ndarray of shape (n_recipes, n, ...)
        Prediction of each row by each recipe.
    scores : callable(predictions, rows, times) -> scores
        Score of each recipe on some rows; greater is better. It gets the predictions of these rows,
        ``(n_recipes, n_rows, ...)``, their positions, and how often each of them counts.
    strata : ndarray of int, shape (n,)
        Class of each row; samples keep the number of rows of each class. Zeros for no classes.
    seed : int
        Seed of the samples.

    Returns
    -------
    ndarray of shape (n_recipes,)
        Shares, which sum to 1.

    References
    ----------
    .. [1] Caruana et al. (2004). "Ensemble Selection from Libraries of Models".
           :doi:`10.1145/1015330.1015432`

    Examples
    --------
    >>> import numpy as np
    >>> proba = np.array([np.full(100, 0.9), np.full(100, 0.2)])  # of the class of each row
    >>> strata = np.zeros(100, dtype=int)
    >>> blend_shares(proba, lambda p, rows, times: np.log(p) @ times, strata, 0).tolist()
    [1.0, 0.0]
    """
    rng = np.random.default_rng([seed])
    shares = np.zeros(len(predictions))
    for _ in range(_SELECTIONS):
        rows, times = _sample(strata, rng)
        shares += _selection(predictions[:, rows], scores, rows, times)
    shares /= shares.sum()
    shares[shares < min(_LEAST_SHARE, shares.max())] = 0
    return np.asarray(shares / shares.sum())


def _selection(predictions: Floats, scores: Scores, rows: Positions, times: Floats) -> Floats:
    """Return how often one selection picks each recipe."""
    picks = np.zeros(len(predictions))
    total = np.zeros(predictions.shape[1:])
    for n_picked in range(_PICKS):
        found = scores((total + predictions) / (n_picked + 1), rows, times)
        best = int(np.argmax(np.nan_to_num(found, nan=-np.inf)))
        picks[best] += 1
        total += predictions[best]
    return picks


def _sample(strata: Positions, rng: np.random.Generator) -> tuple[Positions, Floats]:
    """Draw rows with replacement within each class; of large classes only a part.

    Returns
    -------
    rows : ndarray of int, shape (n_drawn,)
        Positions of the rows.
    times : ndarray of shape (n_drawn,)
        How many rows of its class a row stands for.
    """
    rows, times = [], []
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        n_drawn = min(len(own), _MOST_ROWS)
        rows.append(own[rng.integers(0, len(own), n_drawn)])
        times.append(np.full(n_drawn, len(own) / n_drawn))
    return np.concatenate(rows), np.concatenate(times)
