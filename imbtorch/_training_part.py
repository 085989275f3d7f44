"""The rows that a classifier trains on, from the hold-out to the weight of each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch.samplers import get_sampler, resample
from imbtorch.targets import stratified_holdout

__all__ = ["TrainingPart"]

Floats = NDArray[np.float64]
Positions = NDArray[np.integer[Any]]


@dataclass
class TrainingPart:
    """Rows to train on: those of ``X`` at ``index``, or all.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n, ...)
        Features; never copied to select rows.
    codes : ndarray of int, shape (n,)
        Class of each row.
    sample_weight : ndarray of shape (n,) or None
        Row weights >= 0.
    index : ndarray of int or None
        Positions of the rows of the part; None for all.
    """

    X: Any
    codes: NDArray[Any]
    sample_weight: Floats | None
    index: Positions | None = None

    def __post_init__(self) -> None:
        """Leave out rows of weight 0: they are the same as absent."""
        if self.sample_weight is not None and not self.sample_weight.all():
            self.index = np.flatnonzero(self.sample_weight)

    @property
    def chosen(self) -> Any:
        """What selects the rows of the part from an array."""
        return slice(None) if self.index is None else self.index

    @property
    def n_rows(self) -> int:
        """Number of rows of the part."""
        return len(self.codes) if self.index is None else len(self.index)

    def counts(self, n_classes: int) -> Floats:
        """Weighted rows of each class, shape ``(n_classes,)``."""
        weights = None if self.sample_weight is None else self.sample_weight[self.chosen]
        counts = np.bincount(self.codes[self.chosen], weights=weights, minlength=n_classes)
        return counts.astype(np.float64)

    def hold_out(self, fraction: float, classes: NDArray[Any], seed: int) -> Positions:
        """Take a stratified share of the rows out of the part and return their positions.

        Raises
        ------
        ValueError
            If no row can be held out.
        """
        train: Positions
        valid: Positions
        train, valid = stratified_holdout(self.codes[self.chosen], fraction, seed, classes)
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

    def resampled(self, sampler: Any, classes: NDArray[Any], seed: int) -> TrainingPart:
        """Let an imbalanced-learn sampler make a new part; None leaves this one."""
        if sampler is None:
            return self
        if isinstance(sampler, str):
            sampler = get_sampler(sampler)
        weights = None if self.sample_weight is None else self.sample_weight[self.chosen]
        X, codes = self.X[self.chosen], self.codes[self.chosen]
        return TrainingPart(*resample(sampler, X, codes, weights, classes, seed))

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
        weights: Floats = class_weight[self.codes]
        if self.sample_weight is not None:
            weights *= self.sample_weight
        if not weights[self.chosen].all():
            rows = np.arange(len(weights)) if self.index is None else self.index
            self.index = rows[weights[rows] > 0]
        weights /= weights[self.chosen].mean() if mean is None else mean
        return weights.astype(dtype, copy=False)
