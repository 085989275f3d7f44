"""How long a net is trained, and what decided it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TrainingLength"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingLength:
    """How many epochs a training takes, and the scores of the folds that decided it.

    Attributes
    ----------
    n_epochs : int
        Number of epochs of the training on all rows: :attr:`best_epoch` where ``lr_schedule`` is
        ``"constant"``, else twice as many, because the search has a constant rate.
    best_epoch : int
        Epoch of the search after which the mean score of the folds, averaged with the scored
        epochs before and after it, was highest.
    epochs : ndarray of int, shape (n_points,)
        Epochs, counted from 1, after which the folds were scored.
    scores : ndarray of shape (n_folds, n_points)
        Score of each fold on the rows that its net did not train on; greater is better. NaN where
        a fold could not be scored.
    """

    n_epochs: int
    best_epoch: int
    epochs: NDArray[np.intp]
    scores: Floats

    @property
    def mean_score(self) -> Floats:
        """Mean score of the folds after each of the epochs, ``(n_points,)``."""
        return np.asarray(np.nanmean(self.scores, axis=0))

    @property
    def score_error(self) -> Floats:
        """Standard error over the folds of the difference to the best epoch, ``(n_points,)``."""
        best = self.scores[:, self.epochs == self.best_epoch]
        difference = self.scores - best
        n_folds = np.isfinite(difference).sum(axis=0)
        with np.errstate(invalid="ignore"):  # a single fold has no spread
            spread = np.nanstd(difference, axis=0) / np.sqrt(n_folds - 1)
        return np.asarray(spread)
