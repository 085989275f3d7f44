"""The rows that an estimator trains on, from the hold-out to the weight of each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from imbtorch._data.targets import stratified_holdout
from imbtorch.samplers import resample

__all__ = ["TrainingSplit"]

Floats = NDArray[np.float64]
Positions = NDArray[np.integer[Any]]


@dataclass
class TrainingSplit:
    """Rows to train on: those of ``X`` at ``index``, or all.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n, ...)
        Features; never copied to select rows.
    targets : ndarray of int, shape (n,), CSR matrix of shape (n, l), or ndarray of float (n, k)
        Class of each row; labels of 0 and 1; or values.
    sample_weight : ndarray of shape (n,) or None
        Row weights >= 0.
    index : ndarray of int or None
        Positions of the rows of the part; None for all.
    """

    X: Any
    targets: Any
    sample_weight: Floats | None
    index: Positions | None = None

    def __post_init__(self) -> None:
        """Leave out rows of weight 0: they are the same as absent."""
        if self.sample_weight is None:
            return
        weights = self.sample_weight[self.chosen]
        if not weights.all():
            rows = np.arange(len(weights)) if self.index is None else self.index
            self.index = rows[weights > 0]
        if not self.n_rows:
            raise ValueError("sample_weight is zero for every row; at least one row must weigh.")

    @property
    def chosen(self) -> Any:
        """What selects the rows of the part from an array."""
        return slice(None) if self.index is None else self.index

    @property
    def n_rows(self) -> int:
        """Number of rows of the part."""
        return int(self.targets.shape[0]) if self.index is None else len(self.index)

    def identity(self) -> dict[str, str]:
        """Describe the data: shape, hashes of some rows and of all targets and weights."""
        n = int(self.targets.shape[0])
        some = np.unique(np.linspace(0, n - 1, 64).astype(np.intp))
        told = {"X": self.X[some], "y": self.targets, "sample_weight": self.sample_weight}
        hashes = {name: joblib.hash(value) for name, value in told.items()}
        return {**hashes, "shape of X": str(self.X.shape), "rows": joblib.hash(self.index)}

    def counts(self, n_classes: int) -> Floats:
        """Weighted rows of each class, ``(n_classes,)``; of labels without and with it, (l, 2)."""
        weights = None if self.sample_weight is None else self.sample_weight[self.chosen]
        chosen = self.targets[self.chosen]
        if not sparse.issparse(chosen):
            counts = np.bincount(chosen, weights=weights, minlength=n_classes)
            return counts.astype(np.float64)
        masses = np.ones(chosen.shape[0]) if weights is None else weights
        present = np.asarray(chosen.astype(np.float64).T @ masses)
        return np.stack([masses.sum() - present, present], axis=1)

    def hold_out(self, fraction: float, classes: NDArray[Any], seed: int) -> Positions:
        """Take a stratified share of the rows out of the part and return their positions.

        Raises
        ------
        ValueError
            If no row can be held out.
        """
        train: Positions
        valid: Positions
        codes, classes = _strata(self.targets[self.chosen], classes)
        train, valid = stratified_holdout(codes, fraction, seed, classes)
        if not len(valid):
            raise ValueError(
                f"No row is left to validate on: each class needs two rows or more, got "
                f"{self.n_rows} rows of {len(classes)} classes. Use validation_fraction=None and "
                "early_stopping=False."
            )
        self.index, valid = (
            (train, valid) if self.index is None else (self.index[train], self.index[valid])
        )
        return valid

    def hold_out_at_random(self, fraction: float, seed: int) -> Positions:
        """Take a random share of the rows out of the part and return their positions.

        Raises
        ------
        ValueError
            If no row can be held out.
        """
        rows: Positions = np.arange(self.n_rows) if self.index is None else self.index
        if len(rows) < 2:
            raise ValueError(
                f"No row is left to validate on: got {len(rows)} sample (n_samples={len(rows)}). "
                "Use validation_fraction=None and early_stopping=False."
            )
        size = int(np.clip(np.rint(fraction * len(rows)), 1, len(rows) - 1))
        held_out = np.zeros(len(rows), dtype=bool)
        held_out[np.random.default_rng(seed).choice(len(rows), size, replace=False)] = True
        self.index = rows[~held_out]
        return rows[held_out]

    def resampled(self, sampler: Any, classes: NDArray[Any], seed: int) -> TrainingSplit:
        """Let an imbalanced-learn sampler make a new part; None leaves this one."""
        if sampler is None or hasattr(sampler, "plan"):  # ours choose rows epoch by epoch
            return self
        if sparse.issparse(self.targets):
            raise ValueError(
                f"sampler {sampler!r} works on one label per row, but y has "
                f"{self.targets.shape[1]} labels; use RepeatFactorSampler from imbtorch.samplers."
            )
        weights = None if self.sample_weight is None else self.sample_weight[self.chosen]
        X, codes = self.X[self.chosen], self.targets[self.chosen]
        return TrainingSplit(*resample(sampler, X, codes, weights, classes, seed))

    def plan(self, sampler: Any, n_classes: int, batch_size: int, seed: int) -> Any:
        """Let a sampler of ours plan which rows each epoch sees; None for any other."""
        if not hasattr(sampler, "plan"):
            return None
        targets = self.targets[self.chosen]
        return sampler.plan(targets, n_classes, batch_size=batch_size, seed=seed)

    def seen(self, plan: Any, n_classes: int, epochs: int | None = None) -> Floats:
        """Weighted rows of each class in an epoch; of labels without and with it, (l, 2)."""
        counts = self.counts(n_classes)
        if plan is None:
            return counts
        rows = TrainingSplit(self.X, self.targets, None, self.index).counts(n_classes)
        mean_weight = np.divide(counts, rows, out=np.ones_like(counts), where=rows > 0)
        drawn: Floats = plan.expected_counts(epochs) * mean_weight
        return drawn

    def weigh(
        self, class_weight: Floats, dtype: str, mean: float | None = None
    ) -> NDArray[Any] | None:
        """Combine class and sample weights into one weight per row, shape ``(n,)``.

        Parameters
        ----------
        class_weight : ndarray of shape (n_classes,)
            Weight of each class. Rows of classes with weight 0 leave the part.
        dtype : {"float32", "float64"}
            Type of the result.
        mean : float or None, default=None
            What to divide by; None is the mean over the part.

        Returns
        -------
        ndarray of shape (n,) or None
            None where all rows weigh the same.
        """
        if self.sample_weight is None and np.ptp(class_weight) == 0:
            return None
        weights: Floats = class_weight[self.targets]
        if self.sample_weight is not None:
            weights *= self.sample_weight
        if not weights[self.chosen].all():
            rows = np.arange(len(weights)) if self.index is None else self.index
            self.index = rows[weights[rows] > 0]
        weights /= weights[self.chosen].mean() if mean is None else mean
        return weights.astype(dtype, copy=False)

    def weigh_rows(
        self, dtype: str, factor: Floats | None = None, mean: float | None = None
    ) -> NDArray[Any] | None:
        """Scale the sample weights to mean 1 over the part, ``(n,)``; None without any.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            Type of the result.
        factor : ndarray of shape (n,) or None, default=None
            Multiplies them. Rows of factor 0 leave the part.
        mean : float or None, default=None
            What to divide by; None is the mean over the part.
        """
        if self.sample_weight is None and factor is None:
            return None
        weights: Floats = np.ones(self.targets.shape[0]) if factor is None else factor
        if self.sample_weight is not None:
            weights = weights * self.sample_weight
        if not weights[self.chosen].all():
            rows = np.arange(len(weights)) if self.index is None else self.index
            self.index = rows[weights[rows] > 0]
        weights = weights / (weights[self.chosen].mean() if mean is None else mean)
        scaled: NDArray[Any] = weights.astype(dtype, copy=False)
        return scaled


def _strata(targets: Any, classes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Classes to stratify by; rows of several labels by their rarest one."""
    if not sparse.issparse(targets):
        return targets, classes
    counts = np.asarray(targets.astype(np.int64).sum(axis=0)).ravel()
    rank = np.empty(len(counts), dtype=np.intp)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    labelled = np.diff(targets.indptr) > 0
    codes = np.full(targets.shape[0], len(counts), dtype=np.intp)
    starts = targets.indptr[:-1][labelled]
    codes[labelled] = np.minimum.reduceat(rank[targets.indices], starts)
    names, codes = np.unique(codes, return_inverse=True)
    # labels of a single row go to training without a warning for each of hundreds
    alone = np.bincount(codes, minlength=len(names)) < 2
    codes = np.where(alone[codes], np.flatnonzero(~alone)[0] if (~alone).any() else 0, codes)
    names, codes = np.unique(codes, return_inverse=True)
    return codes, names
