"""From what users hold, a pipeline or a search, to what they want to see: the estimator inside."""

from __future__ import annotations

from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

__all__ = ["check_fitted", "decision_maker", "innermost"]


def innermost(estimator: Any) -> Any:
    """Return the estimator at the heart of searches, pipelines and decision makers."""
    estimator = decision_maker(estimator)
    while hasattr(estimator, "estimator_"):
        estimator = decision_maker(estimator.estimator_)
    return estimator


def decision_maker(estimator: Any) -> Any:
    """Return the estimator whose ``predict`` decides, inside searches and pipelines."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        else:
            return estimator


def check_fitted(estimator: Any) -> None:
    """Raise NotFittedError, also for a search that kept no best estimator."""
    if hasattr(estimator, "cv_results_") and not hasattr(estimator, "best_estimator_"):
        raise NotFittedError(
            f"this {type(estimator).__name__} was fitted with refit=False, so there is no "
            "estimator to look at; refit it."
        )
    check_is_fitted(estimator)
