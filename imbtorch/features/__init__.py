"""Feature encoders: named components between the user's table and the module."""

from __future__ import annotations

from imbtorch.features._base import FeatureEncoder, get_features
from imbtorch.features._columns import TableColumns
from imbtorch.features._encoder import TableEncoder
from imbtorch.features._table import TableFeatures

__all__ = ["FeatureEncoder", "TableColumns", "TableEncoder", "TableFeatures", "get_features"]
