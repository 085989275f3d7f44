"""A grid search in which the length of the training is not found for every candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid

from imbtorch.model_selection import StackedGridSearchCV

__all__ = ["ShorterGridSearchCV"]


class ShorterGridSearchCV(StackedGridSearchCV):
    """Grid search whose candidates have settings that the refit of the best one does not have.

    To find ``max_epochs="auto"`` anew for each candidate on each fold would cost several times as
    much as the search itself. So the candidates are compared at a stated number of epochs, and
    the best one is then refitted with the length that folds find for it.

    Parameters
    ----------
    estimator : estimator object
        What is refitted with the best parameters, as for ``StackedGridSearchCV``.
    param_grid : dict or list of dict
        Parameter names mapped to lists of values.
    in_search : dict or None, default=None
        Settings of the candidates only, such as ``{"max_epochs": 20}``. They are not part of
        ``best_params_``.
    scoring : str, callable or None, default=None
        Metric, as in scikit-learn.
    cv : int, splitter, iterable or None, default=None
        Cross-validation, as in scikit-learn.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_
        As those of :class:`imbtorch.model_selection.StackedGridSearchCV`; columns ``param_...`` of
        ``cv_results_`` show the settings of the candidates, too.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import ImbalancedNetClassifier
    >>> from imbtorch.compare._search import ShorterGridSearchCV
    >>> X, y = make_classification(300, weights=[0.9], random_state=0)
    >>> net = ImbalancedNetClassifier(loss="focal", max_epochs=3, random_state=0)
    >>> search = ShorterGridSearchCV(net, {"loss__gamma": [0, 2]}, in_search={"max_epochs": 1})
    >>> search.fit(X, y).best_estimator_.n_iter_
    3
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        in_search: Mapping[str, Any] | None = None,
        scoring: Any = None,
        cv: Any = None,
        error_score: float | str = np.nan,
    ) -> None:
        super().__init__(estimator, param_grid, scoring=scoring, cv=cv, error_score=error_score)
        self.in_search = in_search

    def _run_search(
        self, evaluate_candidates: Callable[[Iterable[dict[str, Any]]], dict[str, Any]]
    ) -> None:
        """Evaluate all candidates; scikit-learn calls this method of its searches."""
        settings = dict(self.in_search or {})
        results = evaluate_candidates([{**c, **settings} for c in ParameterGrid(self.param_grid)])
        for candidate in results["params"]:  # of which one becomes best_params_
            for name in settings:
                del candidate[name]
