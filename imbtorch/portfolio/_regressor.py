"""A portfolio of regressing nets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from imbtorch._fit.estimator import explains_arguments
from imbtorch.ensemble import NetEnsembleRegressor
from imbtorch.ensemble._regressing import RegressingMembers, as_matrix
from imbtorch.portfolio._base import NetPortfolio
from imbtorch.portfolio._recipes import REGRESSOR_RECIPES, Recipes
from imbtorch.portfolio._scores import (
    OutOfFold,
    Scorer,
    by_loss,
    regressing_scorer,
    weights_of,
)
from imbtorch.regressor import ImbalancedNetRegressor

__all__ = ["NetPortfolioRegressor"]


class NetPortfolioRegressor(RegressingMembers, NetPortfolio):
    """Recipes of regressing nets that are trained on the same folds; a blend of the best predicts.

    It is :class:`NetPortfolioClassifier` for continuous targets: the shares are chosen by the
    squared error of the out-of-fold predictions [1]_, each target in units of its standard
    deviation.

    Parameters
    ----------
    estimator : ImbalancedNetRegressor or None, default=None
        What all recipes start from: loss, density weights, device. None is one with default
        parameters.
    recipes : {"default"} or dict of str to dict, default="default"
        Parameters of the estimator for each recipe, by its name. ``"default"`` are those of
        :data:`imbtorch.portfolio.REGRESSOR_RECIPES`, which name the module and the embedding of
        numbers, and find the length of their training.
    scoring : str, callable or None, default=None
        Scorer of scikit-learn that the blend is good at, on out-of-fold predictions, such as
        ``"neg_mean_absolute_error"``. None for the squared error. The length of each training, and
        which recipes are dropped early, depend on ``scoring`` of the estimator.
    cv : int, splitter, iterable of splits or None, default=None
        Folds, the same for all recipes. None for four of shuffled rows.
    refit : bool, default=False
        False: the nets of the folds predict. True: one net on all rows for each recipe that has a
        share, as long as its nets of the folds were trained. This makes a smaller and faster model
        than the mean over the folds.
    time_limit : float or None, default=None
        Seconds after which the training ends. Recipes that were not begun by then are left out. At
        least one epoch of the first recipe is trained. The nets of ``refit`` come after it. None
        for no limit.
    max_memory : int or None, default=2**30
        Bytes that the nets of a stack may take together, as estimated. Where the encoded rows of
        all recipes would take more than this, recipes are trained one after the other, each to its
        end. None for no limit.
    verbose : bool or int, default=0
        Whether to show a progress bar with the best score so far.
    random_state : int, RandomState or None, default=None
        Seed of the folds, the nets and the blend.

    Attributes
    ----------
    leaderboard_ : dict of str to list
        One row for each recipe, the best one first: ``"recipe"``; ``"score"`` of its out-of-fold
        predictions, greater is better: minus the mean squared error in units of the variance, or
        what ``scoring`` says; NaN for recipes that are not trained to their end; ``"share"`` in the
        blend; ``"epochs"``, the mean over the folds of the epochs that were kept; ``"seconds"`` of
        training; and ``"status"``: "trained", "cut short" by the time limit, "dropped", "not
        begun", or why it failed.
    best_recipe_ : str
        The recipe with the best score.
    best_params_ : dict
        Parameters of ``estimator`` for a single net by this recipe.
    estimators_ : list of ImbalancedNetRegressor
        Nets of the folds of all recipes that have a share; with ``refit``, one net of each recipe.
    member_shares_ : ndarray of shape (n_members,)
        Share of each of these nets in the predictions; they sum to 1.
    nets_per_recipe_ : int
        Number of folds; 1 with ``refit``. The nets of a recipe are neighbours, in the order of the
        folds.
    n_features_in_ : int
        Columns of ``X``.
    feature_names_in_ : ndarray of str
        Names of the columns, where ``X`` has them.
    oof_predict_ : ndarray of shape (n,) or (n, n_targets)
        Prediction of each row by the nets that were not trained on it, blended by the same shares;
        NaN for rows that are in no fold.
    interrupted_ : bool
        Whether the training was cut short by Ctrl-C.

    See Also
    --------
    NetPortfolioClassifier : The same for classes and labels.

    References
    ----------
    .. [1] Caruana et al. (2004). "Ensemble Selection from Libraries of Models".
           :doi:`10.1145/1015330.1015432`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch import NetPortfolioRegressor
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> y = 20 + np.exp(X[:, 0])
    >>> recipes = {"default": {}, "wide": {"module__hidden_sizes": (256,)}}
    >>> reg = NetPortfolioRegressor(recipes=recipes, random_state=0).fit(X, y)
    >>> reg.predict(X).shape, reg.oof_predict_.shape
    ((500,), (500,))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetPortfolio._parameter_constraints,
        "estimator": [ImbalancedNetRegressor, None],
    }
    _ensemble = NetEnsembleRegressor
    _default_recipes: ClassVar[Recipes] = REGRESSOR_RECIPES

    estimator: ImbalancedNetRegressor | None

    @explains_arguments
    def __init__(
        self,
        estimator: ImbalancedNetRegressor | None = None,
        *,
        recipes: Any = "default",
        scoring: Any = None,
        cv: Any = None,
        refit: bool = False,
        time_limit: float | None = None,
        max_memory: int | None = 2**30,
        verbose: bool | int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.recipes = recipes
        self.scoring = scoring
        self.cv = cv
        self.refit = refit
        self.time_limit = time_limit
        self.max_memory = max_memory
        self.verbose = verbose
        self.random_state = random_state

    @explains_arguments
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> NetPortfolioRegressor:
        """Train the recipes, and blend the best ones.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Finite numbers, no column of which is constant.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Finite weights >= 0.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, for the splitter ``cv``.

        Returns
        -------
        NetPortfolioRegressor
            The fitted portfolio.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid. The portfolio stays as it was.

        Warns
        -----
        UserWarning
            If a recipe cannot be trained on these data, and is left out.
        """
        self._fit(X, y, sample_weight, groups)
        return self

    def _scorer(self, y: Any) -> Scorer | None:
        return None if self.scoring is None else regressing_scorer(self.scoring)

    def _out_of_fold_of(
        self,
        ensembles: Sequence[Any],
        data: tuple[Any, Any, Any],
        tests: Sequence[Any],
        scorer: Scorer | None,
    ) -> OutOfFold:
        X, y, sample_weight = data
        read = self._fold_targets(y)
        if scorer is not None:
            predictions = np.array([e.oof_predict_ for e in ensembles])
            strata = np.zeros(len(read), dtype=np.intp)
            return scorer.out_of_fold(predictions, X, read, sample_weight, strata)
        targets = as_matrix(read)
        scale = np.maximum(targets.std(axis=0), np.finfo(np.float64).tiny)
        errors = np.array([(as_matrix(e.oof_predict_) - targets) / scale for e in ensembles])
        weights = weights_of(sample_weight, targets.shape)
        known = np.isfinite(errors[0]) & (weights > 0)
        return OutOfFold(
            errors[:, known],  # the error of a mean is the mean of the errors
            by_loss(np.square, weights[known]),
            np.zeros(int(known.sum()), dtype=np.intp),
        )
