"""The result of a comparison: a table, a recommendation in words and a report."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from imbtorch._common.html import fragment, paragraph
from imbtorch.compare._findings import Findings
from imbtorch.compare._report import html, html_table
from imbtorch.compare._words import format_table

__all__ = ["StrategyComparison"]


@dataclass(frozen=True)
class StrategyComparison(Findings):
    """Result of :func:`imbtorch.compare_strategies`; ``print`` shows a table and a recommendation.

    Parameters
    ----------
    table : DataFrame
        One row per strategy. For each metric the mean over the folds and, in a column whose name
        ends with ``_se``, its standard error; ``difference`` to the reference in ``scoring``
        (positive if the strategy is better), ``difference_se`` and ``p_value``, adjusted for the
        number of strategies; ``epochs`` of a fit (trees of gradient boosting; NaN where they are
        not known) and its ``seconds``; ``status``, which is ``"ok"``, ``"not run"`` or
        ``"failed: "`` with the reason.
    folds : DataFrame
        One row per strategy and fold: the metrics, ``seconds``, ``epochs``, and the parameters that
        an inner search chose.
    scoring : str
        The metric that decides.
    reference : str
        The strategy that the others are compared with.
    data : str
        Description of the data in words.
    interrupted : bool
        Whether Ctrl-C ended the comparison early.
    predictions : dict of list of Predictions
        Predictions of each strategy for the test rows of each fold.
    notes : list of str
        What was decided about the columns of the table, such as an index that was left out.

    Attributes
    ----------
    recommendation : str
        Recommendation that the numbers support, in a few sentences.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from imbtorch import compare_strategies
    >>> X, y = make_classification(400, weights=[0.9], random_state=0)
    >>> strategies = {"nothing learnt": DummyClassifier(), "logistic": LogisticRegression()}
    >>> comparison = compare_strategies(X, y, strategies=strategies, random_state=0)
    >>> comparison.recommendation.split(":")[0]
    'Logistic is clearly better than nothing learnt in average precision'
    >>> comparison.to_html("report.html")  # doctest: +SKIP
    """

    def __str__(self) -> str:
        """Show the data, the table and the recommendation."""
        advice = textwrap.fill(self.recommendation, 100)
        parts = [self.data, format_table(self.table, self.scoring), advice]
        if self.interrupted:
            parts.insert(1, "Interrupted: the table shows the strategies that were finished.")
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        """Show the same in a notebook, as HTML without figures."""
        cut = "Interrupted: the table shows the strategies that were finished."
        parts = [
            paragraph(f"{self.data} Reference: {self.reference}."),
            paragraph(cut) if self.interrupted else "",
            f'<div class="wide">{html_table(self)}</div>',
            paragraph(self.recommendation),
        ]
        return fragment(parts)

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write a report with the table and the figures to one HTML file without scripts.

        Parameters
        ----------
        path : str or path
            File to write.

        Raises
        ------
        ImportError
            If matplotlib, from the extra ``compare``, is not installed.
        ValueError
            If no strategy is finished.
        """
        Path(path).write_text(html(self), encoding="utf-8")
