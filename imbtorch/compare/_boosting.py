"""Gradient boosting on the table that the nets get, without scaling and filling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from imbtorch.compare._trees import BoostingOfFoundLength
from imbtorch.features import TableFeatures
from imbtorch.features._reading import read_table

__all__ = ["CategoryCodes", "boosting"]

_MOST_CATEGORIES = 250  # gradient boosting takes at most 255 categories, with those of gaps


class CategoryCodes(TransformerMixin, BaseEstimator):
    """Turn a table into numbers as they are, gaps included, and categories as codes.

    Columns, categories, and the errors about columns that hold neither numbers nor categories are
    those of :class:`imbtorch.features.TableFeatures`, so that gradient boosting and the nets are
    compared on the same table. The rarest categories of a column that has very many become one.
    """

    def fit(self, X: Any, y: Any = None) -> CategoryCodes:
        """Learn the categories.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, n_features)
            Table.
        y : None
            Not used.

        Returns
        -------
        CategoryCodes
            The fitted transformer.
        """
        features = TableFeatures().fit(X)
        if max(features.encoder_.n_slots, default=0) > _MOST_CATEGORIES:
            features = clone(features).set_params(max_categories=_MOST_CATEGORIES).fit(X)
        self.features_ = features
        return self

    def transform(self, X: Any) -> Any:
        """Encode rows.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, n_features)
            Table with the columns of the fit.

        Returns
        -------
        DataFrame of shape (n, n_features)
            Columns of numbers, with NaN as gaps, and of the type ``category``. A sparse matrix is
            returned as it is.
        """
        import pandas

        encoder = self.features_.encoder_
        matrix, columns = read_table(
            self.features_, X, self.features_.categorical_features, self.features_.columns_
        )
        if sparse.issparse(matrix):
            return matrix
        table = pandas.DataFrame(matrix).add_prefix("x")
        if not columns.vocabulary:
            return table
        compact = encoder.compact(torch.from_numpy(np.array(matrix, dtype=np.float64))).numpy()
        codes = compact[:, encoder.n_compact - len(encoder.n_slots) :].astype(np.int64)
        for code, position in zip(codes.T, columns.vocabulary, strict=True):
            table[f"x{position}"] = code
        return table.astype({f"x{position}": "category" for position in columns.vocabulary})


def boosting(
    class_weight: str | None, seed: int, *, n_trees: int | str = "auto", cv: Any = None
) -> Pipeline:
    """Return gradient boosting of scikit-learn for tables with categories and gaps.

    Parameters
    ----------
    class_weight : "balanced" or None
        Weights of the classes.
    seed : int
        Seed of all random numbers.
    n_trees : int or "auto", default="auto"
        Number of trees; ``"auto"`` finds it by folds.
    cv : splitter or None, default=None
        Folds that find the number of trees; None makes three, stratified by class.
    """
    trees: BoostingOfFoundLength | HistGradientBoostingClassifier
    if n_trees == "auto":
        trees = BoostingOfFoundLength(class_weight=class_weight, cv=cv, random_state=seed)
    else:
        trees = HistGradientBoostingClassifier(
            categorical_features="from_dtype",
            class_weight=class_weight,
            early_stopping=False,
            max_iter=n_trees,
            random_state=seed,
        )
    return Pipeline([("codes", CategoryCodes()), ("trees", trees)])
