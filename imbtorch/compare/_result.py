"""The result of a comparison: a table, a recommendation in words and a report."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from imbtorch._common.html import fragment, paragraph
from imbtorch.compare._findings import Findings
from imbtorch.compare._report import html, html_tables
from imbtorch.compare._text import as_text

__all__ = ["StrategyComparison"]


@dataclass(frozen=True)
class StrategyComparison(Findings):
    """Result of :func:`imbtorch.compare_strategies`; ``print`` shows a table and a recommendation.

    Parameters
    ----------
    table : DataFrame
        One row per strategy. For each metric the mean over the folds and, in a column whose name
        ends with ``_se``, its standard error; ``difference`` to the reference in ``scoring``
        (positive if the strategy is better) with ``difference_se``, the ends ``difference_low`` and
        ``difference_high`` of its 95% interval and ``p_value``, adjusted for the number of
        strategies (NaN where the folds cannot give them); ``epochs`` of a fit (trees of gradient
        boosting; NaN where they are not known) and its ``seconds``; ``status``, which is ``"ok"``,
        ``"not run"`` or ``"failed: "`` with the reason.
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
    run : ComparisonRun or None
        How the comparison was run: date, versions, seed, folds and length of the training.

    Attributes
    ----------
    interruption : str
        Sentence that says how many strategies were finished before Ctrl-C; empty if all were.
    recommendation : str
        Recommendation that the numbers support, in a few sentences.
    code : str
        Python code that fits the strategy with the best mean to the whole table, and predicts. It
        uses ``X`` and ``y`` as they were given to the comparison, and repeats what was decided
        about columns and labels. A comment lists the names that its reader must define, because
        code cannot write what they stand for, such as a module with its weights.

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
    'Logistic is better than nothing learnt in average precision'
    >>> comparison.to_html("report.html")  # doctest: +SKIP
    """

    def __str__(self) -> str:
        """Show the data, the tables and the recommendation."""
        return as_text(self)

    def _repr_html_(self) -> str:
        """Show the same in a notebook, as HTML without figures."""
        parts = [
            paragraph(f"{self.data} Reference: {self.reference}."),
            paragraph(self.run.warning) if self.run is not None and self.run.reduced else "",
            paragraph(self.interruption) if self.interrupted else "",
            html_tables(self, heading="h4"),
            paragraph(self.recommendation),
        ]
        return fragment(parts)

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write a report with tables, figures and code to one HTML file without scripts.

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
