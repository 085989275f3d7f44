"""Feature encoders: named components between the user's table and the module."""

from __future__ import annotations

from imbtorch.features._base import FEATURES, FeatureEncoder, get_features
from imbtorch.features._columns import TableColumns, find_columns
from imbtorch.features._encoded import EncodedRows, encoded
from imbtorch.features._encoder import TableEncoder, behind_encoder
from imbtorch.features._reading import as_table, needs_reading, stand_in
from imbtorch.features._table import TableFeatures

__all__ = [
    "FEATURES",
    "EncodedRows",
    "FeatureEncoder",
    "TableColumns",
    "TableEncoder",
    "TableFeatures",
    "as_table",
    "behind_encoder",
    "encoded",
    "find_columns",
    "get_features",
    "needs_reading",
    "stand_in",
]
