"""Find the estimator inside a pipeline, a search or another meta-estimator."""

from __future__ import annotations

from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

__all__ = ["check_fitted", "decision_maker", "innermost"]


def innermost(estimator: Any) -> Any:
    """Return the innermost estimator of searches, pipelines and meta-estimators."""
    estimator = decision_maker(estimator)
    while hasattr(estimator, "estimator_"):
        estimator = decision_maker(estimator.estimator_)
    return estimator


def decision_maker(estimator: Any) -> Any:
    """Return the estimator inside searches and pipelines whose ``predict`` makes the decisions."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        else:
            return estimator


def check_fitted(estimator: Any) -> None:
    """Raise NotFittedError if an estimator is not fitted, or a search has no best estimator."""
    if hasattr(estimator, "cv_results_") and not hasattr(estimator, "best_estimator_"):
        raise NotFittedError(
            f"this {type(estimator).__name__} was fitted with refit=False, so it holds no fitted "
            "estimator; fit it with refit=True."
        )
    check_is_fitted(estimator)
