"""Find the estimator inside a pipeline, a search or another meta-estimator."""

from __future__ import annotations

from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

__all__ = ["check_fitted", "compared_proba", "decision_maker", "innermost", "votes"]


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


def votes(estimator: Any) -> bool:
    """Return whether the models of folds decide by a majority."""
    return bool(getattr(decision_maker(estimator), "_votes", False))


def compared_proba(estimator: Any, X: Any) -> Any:
    """Return the probabilities that thresholds are compared with, behind searches and steps."""
    while hasattr(estimator, "best_estimator_") or hasattr(estimator, "steps"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
            continue
        X = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
        estimator = estimator.steps[-1][1]
    return estimator._compared_proba(X)


def check_fitted(estimator: Any) -> None:
    """Raise NotFittedError if an estimator is not fitted, or a search has no best estimator."""
    if hasattr(estimator, "cv_results_") and not hasattr(estimator, "best_estimator_"):
        raise NotFittedError(
            f"this {type(estimator).__name__} was fitted with refit=False, so it holds no fitted "
            "estimator; fit it with refit=True."
        )
    check_is_fitted(estimator)
