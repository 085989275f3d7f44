"""Base class of feature encoders: what stands between the user's table and the module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from imbtorch._common.registry import Registered, Registry
from imbtorch._common.sklearn_private import validate_parameter_constraints
from imbtorch.features._columns import TableColumns
from imbtorch.features._encoder import TableEncoder

__all__ = ["FEATURES", "FeatureEncoder", "get_features"]

FEATURES: Registry[FeatureEncoder] = Registry(
    "features", "give an object such as imbtorch.features.TableFeatures(), 'auto' or None"
)


class FeatureEncoder(Registered, TransformerMixin, BaseEstimator, ABC):
    """Base class of objects that hold parameters and learn an encoder from the training rows.

    A subclass that sets ``name`` can be given by this name, and its parameters can be searched:
    ``features__scaling`` is the parameter ``scaling`` of the object.

    Attributes
    ----------
    categorical_features : {"from_dtype"}, sequence of str, int or bool, or None
        Which columns hold categories; usually a parameter, as of :class:`TableFeatures`.
    n_frequencies : int
        Number of waves of each number that the net embeds; also a parameter there.
    frequency_scale : float
        Standard deviation of their frequencies at the beginning; also a parameter there.

    Examples
    --------
    A subclass learns a :class:`TableEncoder`. This one scales each number to between -1 and 1:

    >>> import numpy as np
    >>> from imbtorch.features import FeatureEncoder, TableEncoder
    >>> class LargestIsOne(FeatureEncoder):
    ...     categorical_features = None
    ...
    ...     def learn(self, columns, X, rows=None, sample_weight=None, *, dtype):
    ...         largest = np.abs(X if rows is None else X[rows]).max(axis=0)
    ...         zeros = np.zeros(len(largest))
    ...         return TableEncoder(columns, zeros, 1 / largest, zeros, [], [], [], [], dtype=dtype)
    >>> from imbtorch import ImbalancedNetClassifier
    >>> X, y = np.arange(1.0, 9.0)[:, None], [0, 0, 0, 0, 0, 0, 1, 1]
    >>> clf = ImbalancedNetClassifier(features=LargestIsOne(), random_state=0).fit(X, y)
    >>> clf.module_[0].factor.tolist()
    [0.125]
    """

    _registry: ClassVar[Registry[Any]] = FEATURES
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    categorical_features: str | Sequence[Any] | NDArray[Any] | None = "from_dtype"
    n_frequencies: int = 16
    frequency_scale: float = 0.1

    def validate(self) -> None:
        """Raise ValueError if a parameter has a value that its constraints do not allow."""
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )

    @abstractmethod
    def learn(
        self,
        columns: TableColumns,
        X: Any,
        rows: NDArray[Any] | None = None,
        sample_weight: NDArray[Any] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> TableEncoder:
        """Learn an encoder from the training rows of a matrix.

        Parameters
        ----------
        columns : TableColumns
            Columns of the table.
        X : ndarray of shape (n, n_columns), CSR matrix or DatasetReader
            The table as :meth:`TableColumns.read` made it.
        rows : ndarray of int or None, default=None
            Positions of the training rows; None for all.
        sample_weight : ndarray of shape (n,) or None, default=None
            Weights of all rows; those of the training rows are above 0.
        dtype : torch.dtype, default=torch.float32
            Dtype of the encoded rows.

        Returns
        -------
        TableEncoder
            What was learned.
        """

    def size_of_embedding(self, n_categories: int) -> int:
        """Return how many numbers stand for a category that the net embeds.

        Parameters
        ----------
        n_categories : int
            Number of categories of the column that has most of them.

        Returns
        -------
        int
            Size of the embedding: the fourth root of the number, rounded up.
        """
        return int(np.ceil(n_categories**0.25 - 1e-9))


def get_features(name: str) -> FeatureEncoder:
    """Build the feature encoder of this name with its defaults.

    Parameters
    ----------
    name : str
        A registered name, such as ``"table"``. ``"auto"`` stands for the one that tables get.

    Returns
    -------
    FeatureEncoder
        A new object.

    Raises
    ------
    ValueError
        If there is no such encoder; the message lists those that exist.

    Examples
    --------
    >>> from imbtorch.features import get_features
    >>> get_features("table")
    TableFeatures()
    """
    return FEATURES["table" if name == "auto" else name]()
