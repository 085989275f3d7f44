"""Training rows that a sampler of imbalanced-learn makes or draws, once before the epochs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray
from scipy import sparse

from imbtorch._common.inputs import Inputs
from imbtorch._data.datasets_as_rows import DatasetReader
from imbtorch.samplers import resample
from imbtorch.samplers._imblearn import drawn_rows
from imbtorch.samplers._tables import in_one_line

__all__ = ["UNREAD", "resampled_split"]

UNREAD = "is a Dataset, whose rows are read batch by batch"


def resampled_split(source: Any, sampler: Any, seed: int, names: NDArray[Any] | None) -> Any:
    """Let an imbalanced-learn sampler make a new training split.

    Parameters
    ----------
    source : ArraySource
        Rows, of which the validation part has been held out.
    sampler : object with fit_resample
        Sampler, see :func:`imbtorch.samplers.resample`.
    seed : int
        Seed for a sampler that has none.
    names : ndarray of shape (n_features,) or None
        Names of the columns of a table.

    Returns
    -------
    TrainingSplit
        New rows; rows of a Dataset are not read, but drawn by their positions.

    Raises
    ------
    ValueError
        If rows have several labels, or as for :func:`imbtorch.samplers.resample`.
    """
    task, split = source.task, source.split
    if task.n_labels:
        raise ValueError(
            f"sampler {in_one_line(sampler)} works on one label per row, but y has {task.n_labels} "
            "labels; use RepeatFactorSampler from imbtorch.samplers."
        )
    codes, classes = split.targets[split.chosen], task.classes
    n_held_out = 0 if source.valid is None else len(source.valid)
    if isinstance(source.read_X, DatasetReader):
        rows = drawn_rows(sampler, codes, classes, seed, what=UNREAD, n_held_out=n_held_out)
        return replace(split, index=rows if split.index is None else split.index[rows])
    # what stays as the net sees it
    is_encoded = sparse.issparse(source.X) or isinstance(source.X, Inputs)
    X = source.X if is_encoded else source.read_X
    weights = None if split.sample_weight is None else split.sample_weight[split.chosen]
    X, codes, weights = resample(
        sampler,
        X[split.chosen],
        codes,
        weights,
        classes,
        seed,
        names=names,
        n_held_out=n_held_out,
        encoder=None if is_encoded else source.encoder,
    )
    return replace(split, X=X, targets=codes, sample_weight=weights, index=None)
