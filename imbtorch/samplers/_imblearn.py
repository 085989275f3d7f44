"""Samplers of imbalanced-learn inside the estimator: they make new rows once, before the epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from imbtorch._common.inputs import Inputs, is_one_sequence
from imbtorch.features import TableEncoder
from imbtorch.samplers._tables import SampledTable, in_one_line

__all__ = ["drawn_rows", "refuse_looking", "resample"]


def resample(
    sampler: Any,
    X: Any,
    codes: NDArray[Any],
    weights: NDArray[Any] | None,
    classes: NDArray[Any],
    seed: int,
    *,
    names: NDArray[Any] | None = None,
    n_held_out: int = 0,
    encoder: TableEncoder | None = None,
) -> tuple[Any, NDArray[Any], NDArray[Any] | None]:
    """Apply an imbalanced-learn sampler to the training part.

    Parameters
    ----------
    sampler : object with fit_resample
        Cloned first; a ``random_state`` of None is replaced by ``seed``.
    X : ndarray or CSR matrix of shape (n, ...), or Inputs
        Features. Dimensions after the second are flattened for the sampler and restored. The
        sampler gets integers and booleans as floats, because what it makes lies between the rows.
        Rows of several inputs can only be drawn.
    codes : ndarray of int, shape (n,)
        Class of each row.
    weights : ndarray of shape (n,) or None
        ``sample_weight`` of each row.
    classes : ndarray of shape (n_classes,)
        The labels: a ``sampling_strategy`` is keyed by them.
    seed : int
        Seed for a sampler that has none.
    names : ndarray of shape (n_features,) or None, default=None
        Names of the columns: the sampler gets a DataFrame with them.
    n_held_out : int, default=0
        Number of rows that were held out for validation, for messages.
    encoder : TableEncoder or None, default=None
        Encoder of a table ``X``; the rows that are returned are encoded, too.

    Returns
    -------
    X, codes, weights
        Features, codes and weights of the resampled rows.

    Raises
    ------
    ValueError
        If there are sample weights and the sampler makes up rows that have none, if a sampler that
        looks at the features gets several inputs, if a class
        disappears, or if the sampler fails; the message tells the rows of each class.

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
    if isinstance(X, Inputs):
        one_sequence = is_one_sequence(X.input_shape)
        what = "holds sequences of unequal length" if one_sequence else "has several inputs"
        drawn = drawn_rows(sampler, codes, classes, seed, what=what, n_held_out=n_held_out)
        return X[drawn], codes[drawn], None if weights is None else weights[drawn]
    sampler = clone(sampler)
    if encoder is not None:
        table, names = SampledTable(encoder, sampler), None
        X = table.rows(X)
    if "random_state" in sampler.get_params() and sampler.random_state is None:
        sampler.set_params(random_state=seed)
    shape = X.shape[1:]
    flat = X if len(shape) == 1 else X.reshape(len(X), -1)
    if flat.dtype.kind in "iub":  # float32 holds integers of up to two bytes
        flat = flat.astype(np.float32 if flat.dtype.itemsize <= 2 else np.float64)
    try:
        X_new, y_new = sampler.fit_resample(_named(flat, names), classes[codes])
    except ValueError as error:
        raise ValueError(_failure(sampler, codes, classes, n_held_out, error)) from error
    if hasattr(X_new, "to_numpy"):
        X_new, y_new = X_new.to_numpy(dtype=flat.dtype), np.asarray(y_new)
    codes_new = np.searchsorted(classes, y_new)
    source = getattr(sampler, "sample_indices_", None)
    is_drawn = source is not None and len(source) == len(codes_new)
    if is_drawn and X.dtype.kind in "iub" and not _differs(X_new, flat[source]):
        X_new = X[source]  # the rows themselves, whose integers a float may not hold
    lost = np.setdiff1d(codes, codes_new)
    if lost.size:
        raise ValueError(
            f"sampler {in_one_line(sampler)} removed every row of the classes "
            f"{classes[lost].tolist()}; training needs rows of each."
        )
    if weights is not None:
        if not is_drawn:
            raise ValueError(
                f"sampler {in_one_line(sampler)} makes rows that have no sample_weight. Use one "
                "that selects or repeats rows (RandomUnderSampler, RandomOverSampler), or leave "
                "out one of sampler and sample_weight."
            )
        weights = weights[source]
    if len(shape) > 1:
        X_new = X_new.reshape(-1, *shape)
    if encoder is not None:
        X_new = table.encoded(X_new)
    return X_new, codes_new.astype(codes.dtype), weights


def drawn_rows(
    sampler: Any,
    codes: NDArray[Any],
    classes: NDArray[Any],
    seed: int,
    *,
    what: str,
    n_held_out: int = 0,
) -> NDArray[np.intp]:
    """Let an imbalanced-learn sampler draw rows by their positions.

    Parameters
    ----------
    sampler, codes, classes, seed, n_held_out
        As for :func:`resample`.
    what : str
        What is true of ``X``, so that the sampler cannot look at features, for messages.

    Returns
    -------
    ndarray of int, shape (m,)
        Positions of the drawn rows, among those of ``codes``.

    Raises
    ------
    ValueError
        If the sampler looks at features.
    """
    refuse_looking(sampler, what)
    positions = np.arange(len(codes)).reshape(-1, 1)
    drawn, *_ = resample(sampler, positions, codes, None, classes, seed, n_held_out=n_held_out)
    return np.asarray(drawn, dtype=np.intp).ravel()


def refuse_looking(sampler: Any, what: str) -> None:
    """Raise ValueError if a sampler does more than draw rows without a look at them.

    Parameters
    ----------
    sampler : object with fit_resample
        Sampler of imbalanced-learn.
    what : str
        What is true of ``X``, so that the sampler cannot look at features, for messages.
    """
    kind = type(sampler)
    draws = kind.__name__ in {"RandomOverSampler", "RandomUnderSampler"}
    if (
        draws
        and kind.__module__.startswith("imblearn.")
        and not getattr(sampler, "shrinkage", None)
    ):
        return
    raise ValueError(
        f"sampler {in_one_line(sampler)} computes with the columns of one table, but X {what}. "
        "Use one that only draws rows: RandomOverSampler or RandomUnderSampler of "
        "imbalanced-learn without shrinkage, or one of imbtorch.samplers."
    )


def _differs(made: Any, drawn: Any) -> bool:
    """Return whether a sampler has changed the rows that it has drawn."""
    return bool((made != drawn).sum())


def _named(X: Any, names: NDArray[Any] | None) -> Any:
    """Return a DataFrame with the names of the columns, which some samplers ask for."""
    if names is None or not isinstance(X, np.ndarray):
        return X
    try:
        import pandas as pd
    except ImportError:
        return X
    return pd.DataFrame(X, columns=names, copy=False)


def _failure(
    sampler: Any, codes: NDArray[Any], classes: NDArray[Any], n_held_out: int, error: Exception
) -> str:
    """Say why a sampler may have failed: the rows that it got, and its neighbours."""
    counts = np.bincount(codes, minlength=len(classes))
    rows = dict(zip(classes.tolist(), counts.tolist(), strict=True))
    message = f"sampler {in_one_line(sampler)} failed on a training part with these rows of each "
    message += f"class: {rows}"
    if n_held_out:
        message += (
            f" ({n_held_out} rows were held out for validation before: state sampling_strategy as "
            "a ratio or a name, or less than these numbers)"
        )
    message += f". Its error was: {error}"
    wanted = [name for name in ("k_neighbors", "n_neighbors") if hasattr(sampler, name)]
    rare = {label: count for label, count in rows.items() if count == counts.min()}
    if wanted and isinstance(getattr(sampler, wanted[0]), int):
        needed = getattr(sampler, wanted[0])
        if counts.min() <= needed:
            message += (
                f" {wanted[0]}={needed} needs more than {needed} rows of a class: {rare} are too "
                f"few. Use {wanted[0]}={max(1, int(counts.min()) - 1)}, or RandomOverSampler, "
                "which needs no neighbours."
            )
    return message
