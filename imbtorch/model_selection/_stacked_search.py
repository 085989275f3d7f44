"""scikit-learn's searches, whose candidates and folds are trained as one stack of nets."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import joblib
import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV

from imbtorch._common.sklearn_private import Interval
from imbtorch.model_selection._stack_backend import StackBackend
from imbtorch.model_selection._stacked_tasks import can_be_stacked, final_step

__all__ = ["StackedGridSearchCV", "StackedHalvingGridSearchCV", "StackedRandomizedSearchCV"]

_BUDGET = 2**30
_MAX_MEMORY: dict[str, list[Any]] = {
    "max_memory": [Interval(Integral, 1, None, closed="left"), None]
}


class _StackedSearchMixin:
    """Run a search of scikit-learn under a backend that trains stacks."""

    estimator: Any
    max_memory: int | None
    n_jobs: int | None

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Search, and refit the best candidate.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        **params : dict
            As for scikit-learn's searches: passed to the estimator, the scorer and the splitter
            (``sample_weight``, ``groups``).

        Returns
        -------
        search estimator
            The fitted search.

        Raises
        ------
        TypeError
            If the estimator, or what a pipeline ends in, is none of ours.
        ValueError
            If a parameter is unknown, the data are invalid, or ``max_memory`` is less than one net
            takes.
        """
        if not can_be_stacked(self.estimator):
            last = type(final_step(self.estimator)).__name__
            raise TypeError(
                f"{type(self).__name__} trains nets of imbtorch as a stack: it searches over "
                "ImbalancedNetClassifier, ImbalancedNetRegressor, BalancedNetEnsembleClassifier or "
                f"a Pipeline that ends in one of them; got {last}. Use "
                f"sklearn.model_selection.{type(self).__name__.removeprefix('Stacked')} for it."
            )
        with joblib.parallel_config(backend=StackBackend(self.max_memory, self.n_jobs)):
            return super().fit(X, y, **params)  # type: ignore[misc]


class StackedGridSearchCV(_StackedSearchMixin, GridSearchCV):
    """Grid search that trains all candidates on all folds at once, as a stack of nets.

    Parameters
    ----------
    estimator : estimator object
        One of ours, or a Pipeline (of scikit-learn or imbalanced-learn) that ends in one; other
        steps are fitted once for each fold and each setting of them.
    param_grid : dict or list of dict
        Parameter names mapped to lists of values, such as ``{"loss__gamma": [0, 1, 2]}``.
    scoring : str, callable, list, tuple, dict or None, default=None
        As for scikit-learn, several metrics included.
    n_jobs : int or None, default=None
        Workers that stacks are divided among. A stack uses all cores by itself: worth it for
        searches over several architectures, or on a cluster.
    refit : bool, str or callable, default=True
        Whether, and by which metric, to fit the best candidate to all data.
    cv : int, cross-validation generator, iterable or None, default=None
        Folds.
    verbose : int, default=0
        As for scikit-learn.
    pre_dispatch : int or str, default="2*n_jobs"
        Taken for compatibility; a stack needs all of its tasks at once.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails, for example by :class:`imbtorch.DivergenceError`. Its
        neighbours in the stack go on.
    return_train_score : bool, default=False
        Whether to score training rows too.
    max_memory : int or None, default=2**30
        Bytes that the nets of a stack may take together, as estimated; more nets are trained stack
        after stack. None sets no bound.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_
        As of :class:`sklearn.model_selection.GridSearchCV`.
        ``fit_time`` is an equal share of the training of a stack.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : The same for any estimator, fit by fit.

    Notes
    -----
    Candidates that differ in numbers of the loss (``loss__gamma``), class weights, samplers,
    learning rates, weight decay, seeds or early stopping share a stack with all folds; those that
    differ in architecture, batch size, epochs, optimizer or the class of the loss have stacks of
    their own. In float64 and without dropout scores are those of scikit-learn's search up to
    rounding.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import ImbalancedNetClassifier
    >>> from imbtorch.model_selection import StackedGridSearchCV
    >>> X, y = make_classification(600, weights=[0.9], random_state=0)
    >>> net = ImbalancedNetClassifier(loss="focal", random_state=0)
    >>> search = StackedGridSearchCV(
    ...     net, {"loss__gamma": [0, 1, 2], "class_weight": [None, "balanced"]}, cv=3
    ... )
    >>> len(search.fit(X, y).cv_results_["params"])
    6
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GridSearchCV._parameter_constraints,
        **_MAX_MEMORY,
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        max_memory: int | None = _BUDGET,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_memory = max_memory


class StackedRandomizedSearchCV(_StackedSearchMixin, RandomizedSearchCV):
    """Randomised search that trains all candidates on all folds at once, as a stack of nets.

    Parameters
    ----------
    estimator : estimator object
        One of ours, or a Pipeline (of scikit-learn or imbalanced-learn) that ends in one; other
        steps are fitted once for each fold and each setting of them.
    param_distributions : dict or list of dict
        Parameter names mapped to distributions (with ``rvs``) or lists.
    n_iter : int, default=10
        Candidates to draw.
    scoring : str, callable, list, tuple, dict or None, default=None
        As for scikit-learn, several metrics included.
    n_jobs : int or None, default=None
        Workers that stacks are divided among. A stack uses all cores by itself: worth it for
        searches over several architectures, or on a cluster.
    refit : bool, str or callable, default=True
        Whether, and by which metric, to fit the best candidate to all data.
    cv : int, cross-validation generator, iterable or None, default=None
        Folds.
    verbose : int, default=0
        As for scikit-learn.
    pre_dispatch : int or str, default="2*n_jobs"
        Taken for compatibility; a stack needs all of its tasks at once.
    random_state : int, RandomState or None, default=None
        Seed of the draws.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails, for example by :class:`imbtorch.DivergenceError`. Its
        neighbours in the stack go on.
    return_train_score : bool, default=False
        Whether to score training rows too.
    max_memory : int or None, default=2**30
        Bytes that the nets of a stack may take together, as estimated; more nets are trained stack
        after stack. None sets no bound.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_
        As of :class:`sklearn.model_selection.RandomizedSearchCV`.
        ``fit_time`` is an equal share of the training of a stack.

    See Also
    --------
    sklearn.model_selection.RandomizedSearchCV : The same for any estimator, fit by fit.

    Notes
    -----
    Candidates that differ in numbers of the loss (``loss__gamma``), class weights, samplers,
    learning rates, weight decay, seeds or early stopping share a stack with all folds; those that
    differ in architecture, batch size, epochs, optimizer or the class of the loss have stacks of
    their own. In float64 and without dropout scores are those of scikit-learn's search up to
    rounding.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import ImbalancedNetClassifier
    >>> from imbtorch.model_selection import StackedRandomizedSearchCV
    >>> X, y = make_classification(600, weights=[0.9], random_state=0)
    >>> net = ImbalancedNetClassifier(loss="focal", random_state=0)
    >>> from scipy.stats import loguniform
    >>> search = StackedRandomizedSearchCV(
    ...     net, {"lr": loguniform(1e-4, 1e-1)}, cv=3, random_state=0
    ... )
    >>> len(search.fit(X, y).cv_results_["params"])
    10
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RandomizedSearchCV._parameter_constraints,
        **_MAX_MEMORY,
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        max_memory: int | None = _BUDGET,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_memory = max_memory


class StackedHalvingGridSearchCV(_StackedSearchMixin, HalvingGridSearchCV):
    """Successive halving, each iteration of which trains its candidates as a stack of nets.

    Parameters
    ----------
    estimator : estimator object
        One of ours, or a Pipeline (of scikit-learn or imbalanced-learn) that ends in one; other
        steps are fitted once for each fold and each setting of them.
    param_grid : dict or list of dict
        Parameter names mapped to lists of values.
    factor : float, default=3
        Share of the candidates that an iteration keeps is ``1 / factor``.
    resource : "n_samples" or str, default="n_samples"
        What grows from iteration to iteration: rows, or a parameter such as ``"max_epochs"``.
    max_resources, min_resources : int or str, default="auto", "exhaust"
        Bounds of it.
    aggressive_elimination : bool, default=False
        As for scikit-learn.
    scoring : str, callable, list, tuple, dict or None, default=None
        As for scikit-learn, several metrics included.
    n_jobs : int or None, default=None
        Workers that stacks are divided among. A stack uses all cores by itself: worth it for
        searches over several architectures, or on a cluster.
    refit : bool, str or callable, default=True
        Whether, and by which metric, to fit the best candidate to all data.
    cv : int, cross-validation generator or iterable, default=5
        Folds.
    verbose : int, default=0
        As for scikit-learn.
    random_state : int, RandomState or None, default=None
        Seed of the subsamples.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails, for example by :class:`imbtorch.DivergenceError`. Its
        neighbours in the stack go on.
    return_train_score : bool, default=True
        Whether to score training rows too.
    max_memory : int or None, default=2**30
        Bytes that the nets of a stack may take together, as estimated; more nets are trained stack
        after stack. None sets no bound.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_
        As of :class:`sklearn.model_selection.HalvingGridSearchCV`.
        ``fit_time`` is an equal share of the training of a stack.

    See Also
    --------
    sklearn.model_selection.HalvingGridSearchCV : The same for any estimator, fit by fit.

    Notes
    -----
    Candidates that differ in numbers of the loss (``loss__gamma``), class weights, samplers,
    learning rates, weight decay, seeds or early stopping share a stack with all folds; those that
    differ in architecture, batch size, epochs, optimizer or the class of the loss have stacks of
    their own. In float64 and without dropout scores are those of scikit-learn's search up to
    rounding.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import ImbalancedNetClassifier
    >>> from imbtorch.model_selection import StackedHalvingGridSearchCV
    >>> X, y = make_classification(600, weights=[0.9], random_state=0)
    >>> net = ImbalancedNetClassifier(loss="focal", random_state=0)
    >>> search = StackedHalvingGridSearchCV(
    ...     net, {"loss__gamma": [0, 1, 2, 3]}, resource="max_epochs", max_resources=9, cv=3
    ... )
    >>> search.fit(X, y).n_iterations_
    2
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **HalvingGridSearchCV._parameter_constraints,
        **_MAX_MEMORY,
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: int | str = "auto",
        min_resources: int | str = "exhaust",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        error_score: float | str = np.nan,
        return_train_score: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        max_memory: int | None = _BUDGET,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.max_memory = max_memory
