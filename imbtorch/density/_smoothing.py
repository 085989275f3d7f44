"""Label distribution smoothing, and the window that is used for the smoothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import convolve1d, gaussian_filter1d

from imbtorch.density._checks import Floats, checked, mean_one

__all__ = ["kernel_window", "lds_weights"]

_MAX_BINS = 1 << 20


def kernel_window(kernel: str = "gaussian", kernel_size: int = 5, sigma: float = 2.0) -> Floats:
    """Compute the window that label and feature distributions are smoothed with.

    Parameters
    ----------
    kernel : {"gaussian", "triangular", "laplace"}, default="gaussian"
        Shape of the window. The Gaussian is computed as in the authors' code: it is reflected at
        the ends of the window, so it is flatter than the Gaussian formula.
    kernel_size : int, default=5
        Number of bins of the window; odd.
    sigma : float > 0, default=2.0
        Width of the window in bins; not used by the triangular window.

    Returns
    -------
    ndarray of shape (kernel_size,)
        Symmetric window with maximum 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> from imbtorch.density import kernel_window
    >>> kernel_window("triangular", kernel_size=3)
    array([0.5, 1. , 0.5])
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be an odd number of bins; got {kernel_size!r}.")
    if not sigma > 0:
        raise ValueError(f"sigma must be > 0; got {sigma!r}.")
    half = kernel_size // 2
    distance = np.abs(np.arange(-half, half + 1, dtype=np.float64))
    if kernel == "gaussian":
        window: Floats = gaussian_filter1d((distance == 0).astype(np.float64), sigma)
    elif kernel == "triangular":
        window = 1 - distance / (half + 1)
    elif kernel == "laplace":
        window = np.exp(-distance / sigma)
    else:
        raise ValueError(f"kernel must be 'gaussian', 'triangular' or 'laplace'; got {kernel!r}.")
    scaled: Floats = window / window.max()
    return scaled


def lds_weights(
    y: ArrayLike,
    *,
    n_bins: int = 100,
    bin_width: float | None = None,
    kernel: str = "gaussian",
    kernel_size: int = 5,
    sigma: float = 2.0,
    reweight: str = "sqrt_inverse",
    count_range: tuple[float, float] | None = None,
    sample_weight: ArrayLike | None = None,
) -> Floats:
    """Compute weights by label distribution smoothing: inverse smoothed counts of target bins.

    A bin next to bins with many rows counts as less rare, because a net also learns from
    neighbouring targets.

    Parameters
    ----------
    y : array-like of shape (n,)
        Targets.
    n_bins : int, default=100
        Number of bins of equal width over the range of ``y``; not used with ``bin_width``.
    bin_width : float > 0 or None, default=None
        Width of the bins, whose edges are its multiples: 1 for whole numbers such as ages.
    kernel, kernel_size, sigma : str, int, float
        Window of the smoothing; see :func:`kernel_window`.
    reweight : {"inverse", "sqrt_inverse"}, default="sqrt_inverse"
        Weights are one over the smoothed counts, or one over the smoothed square roots of the
        counts.
    count_range : tuple (low, high) or None, default=None
        Range to clip the counts to before smoothing; the authors use (5, 1000) with ``"inverse"``.
    sample_weight : array-like of shape (n,), optional
        How often each row counts.

    Returns
    -------
    ndarray of shape (n,)
        Weights with (weighted) mean 1; positive for every row whose ``sample_weight`` is positive.

    Raises
    ------
    ValueError
        If ``y`` is constant or not finite, or a parameter is out of range.

    Notes
    -----
    Bins beyond the first and the last bin count as empty. So the weights of bins at the edges are
    larger than those of inner bins with the same counts. All weights are finite, because the bin of
    a row is never empty.

    References
    ----------
    .. [1] Yang et al. (2021). "Delving into Deep Imbalanced Regression". :arxiv:`2102.09554`

    Examples
    --------
    >>> from imbtorch.density import lds_weights
    >>> lds_weights([0, 0, 0, 0, 1, 9], bin_width=1, kernel="triangular").round(3)
    array([0.768, 0.768, 0.768, 0.768, 0.878, 2.049])
    """
    values, counted = checked(y, sample_weight)
    index = _bin_index(values, n_bins, bin_width)
    counts = np.bincount(index, weights=counted)
    if count_range is not None:
        counts = counts.clip(*count_range)
    if reweight == "sqrt_inverse":
        counts = np.sqrt(counts)
    elif reweight != "inverse":
        raise ValueError(f"reweight must be 'inverse' or 'sqrt_inverse'; got {reweight!r}.")
    smoothed = convolve1d(counts, kernel_window(kernel, kernel_size, sigma), mode="constant")
    present = smoothed > 0  # 0 if all rows of the bin have weight 0
    inverse = np.divide(1, smoothed, out=np.zeros_like(smoothed), where=present)
    return mean_one(inverse[index], counted)


def _bin_index(y: Floats, n_bins: int, bin_width: float | None) -> NDArray[np.intp]:
    low, high = y.min(), y.max()
    if bin_width is None:
        if n_bins < 1:
            raise ValueError(f"n_bins must be >= 1; got {n_bins!r}.")
        position = np.floor((y - low) / (high - low) * n_bins).clip(max=n_bins - 1)
    else:
        if not bin_width > 0:
            raise ValueError(f"bin_width must be > 0; got {bin_width!r}.")
        position = np.floor(y / bin_width) - np.floor(low / bin_width)
        if position.max() > _MAX_BINS:
            raise ValueError(
                f"bin_width={bin_width} divides the range {low} to {high} of y into more than "
                f"{_MAX_BINS} bins; use a larger bin_width."
            )
    index: NDArray[np.intp] = position.astype(np.intp)
    return index
