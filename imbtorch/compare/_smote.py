"""SMOTE for tables of any columns, and for classes of any number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from imbtorch.features import TableEncoder

__all__ = ["AtMostNeighbors", "smote"]

_NEIGHBORS = 5


class AtMostNeighbors(NearestNeighbors):
    """Nearest neighbours: as many as asked for, or all rows where there are fewer.

    SMOTE fails where a class has no more rows than it takes neighbours, which happens to rare
    classes in folds of folds. A single row is its own neighbour, so that SMOTE repeats it.
    """

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """Find the nearest neighbours, the rows themselves included.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or None, default=None
            Rows; None for those of the fit.
        n_neighbors : int or None, default=None
            Number of neighbours; None for that of the constructor.
        return_distance : bool, default=True
            Whether to return distances, too.
        """
        wanted = min(n_neighbors or self.n_neighbors, self.n_samples_fit_)
        found = super().kneighbors(X, wanted, return_distance)
        if self.n_samples_fit_ > 1:
            return found
        parts = found if return_distance else [found]
        twice = tuple(np.repeat(part, 2, axis=1) for part in parts)
        return twice if return_distance else twice[0]


def smote(encoder: TableEncoder | None, seed: int) -> Any:
    """Return SMOTE for numbers, SMOTENC where there are categories, too, or SMOTEN for these alone.

    Parameters
    ----------
    encoder : TableEncoder or None
        Encoder that knows the columns; None if all of them are numbers.
    seed : int
        Seed of the synthetic rows.
    """
    from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC

    neighbors = AtMostNeighbors(n_neighbors=_NEIGHBORS + 1)  # of which one is the row itself
    if encoder is None or not encoder.categories:
        return SMOTE(k_neighbors=neighbors, random_state=seed)
    if encoder.numbers:
        return SMOTENC(categorical_features="auto", k_neighbors=neighbors, random_state=seed)
    return SMOTEN(k_neighbors=neighbors, random_state=seed)
