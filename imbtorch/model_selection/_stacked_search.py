"""scikit-learn's searches, with all candidates and folds trained as one stack of nets."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import joblib
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.html import table
from imbtorch._common.inputs import as_inputs
from imbtorch._common.sklearn_private import Interval
from imbtorch._publish.notebook import NotebookMixin
from imbtorch.model_selection._stack_backend import StackBackend
from imbtorch.model_selection._stacked_tasks import can_be_stacked, final_step

__all__ = ["StackedGridSearchCV", "StackedHalvingGridSearchCV", "StackedRandomizedSearchCV"]

_BUDGET = 2**30
_MAX_MEMORY: dict[str, list[Any]] = {
    "max_memory": [Interval(Integral, 1, None, closed="left"), None]
}


_SHOWN = 5  # candidates, in a notebook


class _StackedSearchMixin(NotebookMixin):
    """Run a search of scikit-learn in a joblib backend that trains stacks."""

    estimator: BaseEstimator
    max_memory: int | None
    n_jobs: int | None
    refit: bool | str

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Search, and refit the best candidate.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        **params : dict
            Metadata such as ``sample_weight`` and ``groups`` for the estimator, the scorer and the
            splitter, as in scikit-learn's searches.

        Returns
        -------
        search estimator
            The fitted search.

        Raises
        ------
        TypeError
            If the estimator, or the last step of a pipeline, is not an imbtorch estimator.
        ValueError
            If a parameter is unknown, the data are invalid, or ``max_memory`` is less than one net
            takes.
        """
        if not can_be_stacked(self.estimator):
            last = type(final_step(self.estimator)).__name__
            raise TypeError(
                f"{type(self).__name__} trains nets of imbtorch as a stack: estimator must be an "
                "ImbalancedNetClassifier, ImbalancedNetRegressor, NetEnsembleClassifier, "
                f"NetEnsembleRegressor or a Pipeline that ends in one of them; got {last}. Use "
                f"sklearn.model_selection.{type(self).__name__.removeprefix('Stacked')} instead."
            )
        with joblib.parallel_config(backend=StackBackend(self.max_memory, self.n_jobs)):
            return super().fit(as_inputs(X), y, **params)  # type: ignore[misc]

    def _notebook_parts(self) -> list[str]:
        """Return pieces of HTML about the fitted search: the best candidates."""
        check_is_fitted(self)
        found: dict[str, Any] = vars(self)["cv_results_"]
        metric = self.refit if isinstance(self.refit, str) else "score"
        if f"rank_test_{metric}" not in found:  # several metrics, none of which decides
            return []
        names = list(dict.fromkeys(name for params in found["params"] for name in params))
        rank, mean, deviation = (
            found[f"{kind}_test_{metric}"].tolist() for kind in ("rank", "mean", "std")
        )
        rows = [
            (rank[i], *(str(found["params"][i].get(n, "")) for n in names), mean[i], deviation[i])
            for i in np.argsort(rank, kind="stable")[:_SHOWN].tolist()
        ]
        titles = ["rank", *names, f"mean {metric}", "standard deviation"]
        n_candidates = len(found["params"])
        caption = f"The best {len(rows)} of {n_candidates} candidates, by mean score on the folds."
        return [table(titles, rows, caption)]


class StackedGridSearchCV(_StackedSearchMixin, GridSearchCV):
    """Grid search that trains all candidates on all folds at once, as a stack of nets.

    Parameters
    ----------
    estimator : estimator object
        An imbtorch estimator, or a Pipeline (of scikit-learn or imbalanced-learn) that ends in
        one; the other steps are fitted once for each fold and each setting of these steps.
    param_grid : dict or list of dict
        Parameter names mapped to lists of values, such as ``{"loss__gamma": [0, 1, 2]}``.
    scoring : str, callable, list, tuple, dict or None, default=None
        One or several metrics, as in scikit-learn.
    n_jobs : int or None, default=None
        Number of workers that stacks are divided among. A single stack uses all cores, so workers
        help only in searches over several architectures, or on a cluster.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate to all data, and by which metric it is the best.
    cv : int, cross-validation generator, iterable or None, default=None
        Cross-validation, as in scikit-learn.
    verbose : int, default=0
        How many messages to print, as in scikit-learn.
    pre_dispatch : int or str, default="2*n_jobs"
        Has no effect, because a stack needs all of its tasks at once; it exists for compatibility.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails, for example by :class:`imbtorch.DivergenceError`. The
        other nets of the stack are trained to their end.
    return_train_score : bool, default=False
        Whether to compute scores of the training rows, too.
    max_memory : int or None, default=2**30
        Largest number of bytes, by an estimate, that the nets of a stack may take together. If all
        nets need more, several stacks are trained one after the other. None for no limit.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_
        See :class:`sklearn.model_selection.GridSearchCV`.
        ``fit_time`` is an equal share of the training time of a stack.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : The same search for any estimator.

    Notes
    -----
    Candidates that differ in numbers of the loss (``loss__gamma``), class weights, samplers,
    learning rates, weight decay, seeds or early stopping share a stack with all folds. Candidates
    that differ in architecture, batch size, epochs, optimizer or the class of the loss are trained
    in different stacks. In float64 and without dropout the scores equal those of scikit-learn's
    search up to rounding.

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
        An imbtorch estimator, or a Pipeline (of scikit-learn or imbalanced-learn) that ends in
        one; the other steps are fitted once for each fold and each setting of these steps.
    param_distributions : dict or list of dict
        Parameter names mapped to distributions (with ``rvs``) or lists.
    n_iter : int, default=10
        Number of candidates to draw.
    scoring : str, callable, list, tuple, dict or None, default=None
        One or several metrics, as in scikit-learn.
    n_jobs : int or None, default=None
        Number of workers that stacks are divided among. A single stack uses all cores, so workers
        help only in searches over several architectures, or on a cluster.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate to all data, and by which metric it is the best.
    cv : int, cross-validation generator, iterable or None, default=None
        Cross-validation, as in scikit-learn.
    verbose : int, default=0
        How many messages to print, as in scikit-learn.
    pre_dispatch : int or str, default="2*n_jobs"
        Has no effect, because a stack needs all of its tasks at once; it exists for compatibility.
    random_state : int, RandomState or None, default=None
        Seed of the random choice of candidates.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails, for example by :class:`imbtorch.DivergenceError`. The
        other nets of the stack are trained to their end.
    return_train_score : bool, default=False
        Whether to compute scores of the training rows, too.
    max_memory : int or None, default=2**30
        Largest number of bytes, by an estimate, that the nets of a stack may take together. If all
        nets need more, several stacks are trained one after the other. None for no limit.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_
        See :class:`sklearn.model_selection.RandomizedSearchCV`.
        ``fit_time`` is an equal share of the training time of a stack.

    See Also
    --------
    sklearn.model_selection.RandomizedSearchCV : The same search for any estimator.

    Notes
    -----
    Candidates that differ in numbers of the loss (``loss__gamma``), class weights, samplers,
    learning rates, weight decay, seeds or early stopping share a stack with all folds. Candidates
    that differ in architecture, batch size, epochs, optimizer or the class of the loss are trained
    in different stacks. In float64 and without dropout the scores equal those of scikit-learn's
    search up to rounding.

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
    """Successive halving that trains the candidates of each iteration as a stack of nets.

    Parameters
    ----------
    estimator : estimator object
        An imbtorch estimator, or a Pipeline (of scikit-learn or imbalanced-learn) that ends in
        one; the other steps are fitted once for each fold and each setting of these steps.
    param_grid : dict or list of dict
        Parameter names mapped to lists of values.
    factor : float, default=3
        Each iteration keeps ``1 / factor`` of the candidates.
    resource : "n_samples" or str, default="n_samples"
        Resource that grows from iteration to iteration: the number of rows, or a parameter such as
        ``"max_epochs"``.
    max_resources, min_resources : int or str, default="auto", "exhaust"
        Bounds of the resource.
    aggressive_elimination : bool, default=False
        Whether to repeat the first iteration if there are too few resources, as in scikit-learn.
    scoring : str, callable, list, tuple, dict or None, default=None
        One or several metrics, as in scikit-learn.
    n_jobs : int or None, default=None
        Number of workers that stacks are divided among. A single stack uses all cores, so workers
        help only in searches over several architectures, or on a cluster.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate to all data, and by which metric it is the best.
    cv : int, cross-validation generator or iterable, default=5
        Cross-validation, as in scikit-learn.
    verbose : int, default=0
        How many messages to print, as in scikit-learn.
    random_state : int, RandomState or None, default=None
        Seed of the random subsamples.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails, for example by :class:`imbtorch.DivergenceError`. The
        other nets of the stack are trained to their end.
    return_train_score : bool, default=True
        Whether to compute scores of the training rows, too.
    max_memory : int or None, default=2**30
        Largest number of bytes, by an estimate, that the nets of a stack may take together. If all
        nets need more, several stacks are trained one after the other. None for no limit.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_
        See :class:`sklearn.model_selection.HalvingGridSearchCV`.
        ``fit_time`` is an equal share of the training time of a stack.

    See Also
    --------
    sklearn.model_selection.HalvingGridSearchCV : The same search for any estimator.

    Notes
    -----
    Candidates that differ in numbers of the loss (``loss__gamma``), class weights, samplers,
    learning rates, weight decay, seeds or early stopping share a stack with all folds. Candidates
    that differ in architecture, batch size, epochs, optimizer or the class of the loss are trained
    in different stacks. In float64 and without dropout the scores equal those of scikit-learn's
    search up to rounding.

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
