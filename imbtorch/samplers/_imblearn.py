"""Samplers of imbalanced-learn inside the estimator: they make new rows once, before the epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

__all__ = ["resample"]


def resample(
    sampler: Any,
    X: Any,
    codes: NDArray[Any],
    weights: NDArray[Any] | None,
    classes: NDArray[Any],
    seed: int,
) -> tuple[Any, NDArray[Any], NDArray[Any] | None]:
    """Apply an imbalanced-learn sampler to the training part.

    Parameters
    ----------
    sampler : object with fit_resample
        Cloned first; a ``random_state`` of None is replaced by ``seed``.
    X : ndarray or CSR matrix of shape (n, ...)
        Features. Dimensions after the second are flattened for the sampler and restored.
    codes : ndarray of int, shape (n,)
        Class of each row.
    weights : ndarray of shape (n,) or None
        ``sample_weight`` of each row.
    classes : ndarray of shape (n_classes,)
        The labels: a ``sampling_strategy`` is keyed by them.
    seed : int
        Seed for a sampler that has none.

    Returns
    -------
    X, codes, weights
        Features, codes and weights of the resampled rows.

    Raises
    ------
    ValueError
        If there are sample weights and the sampler makes up rows that have none, or if a class
        disappears.

    Examples
    --------
    >>> import numpy as np
    >>> from imblearn.over_sampling import RandomOverSampler
    >>> from imbtorch.samplers import resample
    >>> X, codes, classes = np.arange(4.0)[:, None], np.array([0, 0, 0, 1]), np.array(["a", "b"])
    >>> _, resampled, _ = resample(RandomOverSampler(), X, codes, None, classes, seed=0)
    >>> np.bincount(resampled).tolist()
    [3, 3]
    """
    sampler = clone(sampler)
    if "random_state" in sampler.get_params() and sampler.random_state is None:
        sampler.set_params(random_state=seed)
    shape = X.shape[1:]
    flat = X if len(shape) == 1 else X.reshape(len(X), -1)
    X_new, y_new = sampler.fit_resample(flat, classes[codes])
    codes_new = np.searchsorted(classes, y_new)
    lost = np.setdiff1d(codes, codes_new)
    if lost.size:
        raise ValueError(
            f"sampler {sampler!r} removed every row of the classes {classes[lost].tolist()}; "
            "training needs rows of each."
        )
    if weights is not None:
        source = getattr(sampler, "sample_indices_", None)
        if source is None or len(source) != len(codes_new):
            raise ValueError(
                f"sampler {sampler!r} makes rows that have no sample_weight. Use one that selects "
                "or repeats rows (RandomUnderSampler, RandomOverSampler), or leave out one of "
                "sampler and sample_weight."
            )
        weights = weights[source]
    if len(shape) > 1:
        X_new = X_new.reshape(-1, *shape)
    return X_new, codes_new.astype(codes.dtype), weights
