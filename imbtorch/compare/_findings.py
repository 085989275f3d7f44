"""The numbers of a comparison that the report and the figures show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imbtorch.compare._alarms import alarms_for
from imbtorch.compare._code import code
from imbtorch.compare._metrics import ALARMS_RECALL, Predictions
from imbtorch.compare._run import ComparisonRun
from imbtorch.compare._words import best_of, finished, recommend

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["INTERRUPTED", "Findings", "has_intervals"]

INTERRUPTED = "Interrupted: "  # how the sentence about an interruption begins


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
    run: ComparisonRun | None = None

    @property
    def interruption(self) -> str:
        """Sentence that says that the comparison was interrupted; empty if it was not."""
        if not self.interrupted:
            return ""
        n_done, n_all = len(finished(self.table)), len(self.table)
        shown = "strategies were finished. The tables show these only."
        return f"{INTERRUPTED}{n_done} of {n_all} {shown}"

    @property
    def recommendation(self) -> str:
        """Recommendation that the numbers support, in a few sentences."""
        return recommend(self.table, self.scoring, self.reference)

    @property
    def code(self) -> str:
        """Python code that fits the strategy with the best mean; empty if none is finished."""
        if self.run is None or not len(finished(self.table)):
            return ""
        best = best_of(self.table, self.scoring)
        folds = self.predictions.get(best)
        threshold = alarms_for(folds, ALARMS_RECALL).threshold if folds else None
        return code(self.run, best, threshold)


def has_intervals(comparison: Findings) -> bool:
    """Return whether the folds can test any difference."""
    return bool(finished(comparison.table)["p_value"].notna().any())
