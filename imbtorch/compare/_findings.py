"""The numbers of a comparison that the report and the figures show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imbtorch.compare._metrics import Predictions
from imbtorch.compare._words import recommend

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Findings"]


@dataclass(frozen=True)
class Findings:
    """The fields of :class:`imbtorch.compare.StrategyComparison`, where they are documented."""

    table: pd.DataFrame
    folds: pd.DataFrame
    scoring: str
    reference: str
    data: str
    interrupted: bool = False
    predictions: dict[str, list[Predictions]] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)

    @property
    def recommendation(self) -> str:
        """Recommendation that the numbers support, in a few sentences."""
        return recommend(self.table, self.scoring, self.reference)
