"""Shares of recipes in a blend: greedy selection on out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["blend_shares"]

Floats = NDArray[np.float64]
Loss = Callable[[Floats], Floats]

_PICKS = 20  # picks of one selection; a recipe may be picked several times
_SELECTIONS = 20  # selections, each on other rows, whose shares are averaged
_MOST_ROWS = 20_000  # rows of a selection
_LEAST_SHARE = 0.03  # recipes with a smaller share are left out


def blend_shares(
    predictions: Floats, loss: Loss, weights: Floats, strata: NDArray[np.intp], seed: int
) -> Floats:
    """Find shares of recipes in a blend that has a small loss on out-of-fold predictions.

    A selection starts with nothing, and picks again and again the recipe which makes the mean of
    the picks best; the same recipe may be picked several times [1]_. Selections on bootstrap
    samples of the rows are averaged, because on few positives a single one overfits.

    Parameters
    ----------
    predictions : ndarray of shape (n_recipes, n)
        Prediction of each row by each recipe, such as the probability of its own class.
    loss : callable(mean predictions) -> losses
        Loss of each row, elementwise: ``(..., n) -> (..., n)``.
    weights : ndarray of shape (n,)
        Weights >= 0 of the rows.
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
    >>> good, bad = np.full(100, 0.9), np.full(100, 0.2)
    >>> rows = np.ones(100), np.zeros(100, dtype=int)
    >>> blend_shares(np.array([good, bad]), lambda p: -np.log(p), *rows, 0).tolist()
    [1.0, 0.0]
    """
    rng = np.random.default_rng([seed])
    shares = np.zeros(len(predictions))
    for _ in range(_SELECTIONS):
        rows, times = _sample(strata, rng)
        shares += _selection(predictions[:, rows], loss, weights[rows] * times)
    shares /= shares.sum()
    shares[shares < min(_LEAST_SHARE, shares.max())] = 0
    return np.asarray(shares / shares.sum())


def _selection(predictions: Floats, loss: Loss, weights: Floats) -> Floats:
    """Return how often one selection picks each recipe."""
    picks = np.zeros(len(predictions))
    total = np.zeros(predictions.shape[1])
    for n_picked in range(_PICKS):
        losses = loss((total + predictions) / (n_picked + 1)) @ weights
        best = int(np.argmin(losses))
        picks[best] += 1
        total += predictions[best]
    return picks


def _sample(strata: NDArray[np.intp], rng: np.random.Generator) -> tuple[NDArray[np.intp], Floats]:
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
