"""DenseWeight: row weights from a kernel density of the targets."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d

from imbtorch.density._checks import Floats, checked, mean_one

__all__ = ["dense_weights"]

_GRID = (1 << 10, 1 << 20)  # smallest and largest number of steps of the grid
_STEPS_PER_BANDWIDTH = 8


def dense_weights(
    y: ArrayLike,
    alpha: float = 1.0,
    eps: float = 1e-6,
    *,
    sample_weight: ArrayLike | None = None,
) -> Floats:
    """Compute DenseWeight: weights that decrease linearly with the density of the targets.

    A Gaussian kernel density estimate (bandwidth ``1.06 sd n**-0.2``), evaluated on a grid, is
    scaled to [0, 1] over the rows as ``p``; weights are ``max(1 - alpha p, eps)``.

    Parameters
    ----------
    y : array-like of shape (n,)
        Targets.
    alpha : float >= 0, default=1.0
        Strength of the weights; 0 gives all rows the same weight, 1 or more gives the densest rows
        the weight ``eps``.
    eps : float > 0, default=1e-6
        Smallest weight, before the weights are scaled to mean 1.
    sample_weight : array-like of shape (n,), optional
        How often each row counts.

    Returns
    -------
    ndarray of shape (n,)
        Positive weights with (weighted) mean 1.

    Raises
    ------
    ValueError
        If ``y`` is constant or not finite, or a parameter is out of range.

    References
    ----------
    .. [1] Steininger et al. (2021). "Density-based weighting for imbalanced regression".
           :doi:`10.1007/s10994-021-06023-5`

    Examples
    --------
    >>> from imbtorch.density import dense_weights
    >>> dense_weights([0.0, 0.1, 0.2, 0.3, 2.0], alpha=0.5).round(2)
    array([0.85, 0.83, 0.82, 0.85, 1.65])
    """
    if not alpha >= 0:
        raise ValueError(f"alpha must be >= 0; got {alpha!r}.")
    if not eps > 0:
        raise ValueError(f"eps must be > 0; got {eps!r}.")
    values, counted = checked(y, sample_weight)
    density = _density(values, counted)
    counts = counted > 0
    low, high = density[counts].min(), density[counts].max()
    if high - low <= 1e-6 * high:  # equal densities: scaling would only enlarge rounding errors
        return np.ones(len(values))
    scaled = ((density - low) / (high - low)).clip(0, 1)
    return mean_one(_falling(scaled, alpha, eps), counted)


def _falling(scaled: Floats, alpha: float, eps: float) -> Floats:
    """Return DenseWeight of densities that are scaled to [0, 1], before scaling to mean 1."""
    return np.maximum(1 - alpha * scaled, eps)


def _density(y: Floats, counted: Floats) -> Floats:
    """Compute a kernel density at each row, up to a factor, by smoothing counts on a grid."""
    n = counted.sum()
    mean = y @ counted / n
    variance = np.square(y - mean) @ counted / n
    if n > 1:
        variance *= n / (n - 1)
    bandwidth = 1.06 * np.sqrt(variance) * n**-0.2
    low, high = y.min(), y.max()
    wanted = _STEPS_PER_BANDWIDTH * (high - low) / bandwidth
    n_steps = int(np.clip(wanted, *_GRID))
    position = (y - low) / (high - low) * n_steps
    left = np.floor(position).astype(np.intp).clip(max=n_steps - 1)
    share = position - left
    grid = np.bincount(left, counted * (1 - share), minlength=n_steps + 1)
    grid += np.bincount(left + 1, counted * share, minlength=n_steps + 1)
    sigma = bandwidth / (high - low) * n_steps
    smooth = gaussian_filter1d(grid, sigma, mode="constant", truncate=5.0)
    density: Floats = smooth[left] * (1 - share) + smooth[left + 1] * share
    return density
