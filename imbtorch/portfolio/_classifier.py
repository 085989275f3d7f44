"""A portfolio of classifying nets."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imbtorch._data.targets import split_unknown
from imbtorch._fit.estimator import explains_arguments
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.ensemble import NetEnsembleClassifier
from imbtorch.ensemble._classifying import ClassifyingMembers, fold_targets
from imbtorch.portfolio._base import NetPortfolio
from imbtorch.portfolio._recipes import CLASSIFIER_RECIPES, Recipes
from imbtorch.portfolio._scores import (
    OutOfFold,
    Scorer,
    by_loss,
    classifying_scorer,
    log_loss,
    weights_of,
)

__all__ = ["NetPortfolioClassifier"]

Floats = NDArray[np.float64]


class NetPortfolioClassifier(ClassifyingMembers, NetPortfolio):
    """Recipes of nets that are trained on the same folds; a blend of the best ones predicts.

    No recipe is the best on every table: bins of numbers help on some and overfit on others, and so
    do longer training, dropout and other modules. The portfolio tries a list of recipes that were
    found on other data. The nets of the folds of each recipe are trained as one stack. Recipes that
    score worst are dropped early (successive halving). Shares of the others are found by greedy
    selection on their out-of-fold predictions [1]_.

    Parameters
    ----------
    estimator : ImbalancedNetClassifier or None, default=None
        What all recipes start from: loss, weights, prior, sampler, device. None is one with default
        parameters.
    recipes : {"default"} or dict of str to dict, default="default"
        Parameters of the estimator for each recipe, by its name. ``"default"`` are those of
        :data:`imbtorch.portfolio.CLASSIFIER_RECIPES`, which name the module and the embedding of
        numbers, and find the length of their training.
    scoring : str, callable or None, default=None
        Scorer of scikit-learn that the blend is good at, on out-of-fold probabilities, such as
        ``"average_precision"``. None for the log-loss. The length of each training, and which
        recipes are dropped early, depend on ``scoring`` of the estimator.
    cv : int, splitter, iterable of splits or None, default=None
        Folds, the same for all recipes. None for four, shuffled and stratified by class.
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
        predictions, greater is better: minus the mean log-loss, or what ``scoring`` says; NaN for
        recipes that are not trained to their end; ``"share"`` in the blend; ``"epochs"``, the mean
        over the folds of the epochs that were kept; ``"seconds"`` of training; and ``"status"``:
        "trained", "cut short" by the time limit, "dropped", "not begun", or why it failed.
        ``pandas.DataFrame(clf.leaderboard_)`` shows it as a table.
    best_recipe_ : str
        The recipe with the best score.
    best_params_ : dict
        Parameters of ``estimator`` for a single net by this recipe.
    estimators_ : list of ImbalancedNetClassifier
        Nets of the folds of all recipes that have a share; with ``refit``, one net of each recipe.
    member_shares_ : ndarray of shape (n_members,)
        Share of each of these nets in the predictions; they sum to 1.
    nets_per_recipe_ : int
        Number of folds; 1 with ``refit``. The nets of a recipe are neighbours, in the order of the
        folds.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    class_counts_, class_prior_ : ndarray of shape (n_classes,)
        Rows of each class in the training data as given, means over the members.
    effective_prior_ : ndarray of shape (n_classes,)
        The population that predictions describe where ``target_prior`` of the estimator is None.
    n_features_in_ : int
        Columns of ``X``.
    feature_names_in_ : ndarray of str
        Names of the columns, where ``X`` has them.
    oof_predict_proba_ : ndarray of shape (n, n_classes) or (n, n_labels)
        Probabilities of each row by the nets that were not trained on it, blended by the same
        shares; NaN for rows that are in no fold.
    oof_decision_function_ : ndarray of shape (n,), (n, n_classes) or (n, n_labels)
        The same as ``decision_function`` returns it.
    interrupted_ : bool
        Whether the training was cut short by Ctrl-C.

    See Also
    --------
    imbtorch.NetEnsembleClassifier : Nets of one recipe.
    NetPortfolioRegressor : The same for continuous targets.

    Notes
    -----
    The shares are chosen by probabilities for the population of the training data, whatever
    weights, sampler and loss the estimator has, unless the loss has no posterior.

    Out-of-fold predictions serve as for :class:`~imbtorch.NetEnsembleClassifier`: thresholds and
    promises by ``TunedDecisionClassifierCV(cv="oof")``, and, unless the nets are fitted again, sets
    by :meth:`predict_set`. The shares
    and the length of the training have seen the rows of the folds, which makes these predictions a
    little better than those of new rows.

    References
    ----------
    .. [1] Caruana et al. (2004). "Ensemble Selection from Libraries of Models".
           :doi:`10.1145/1015330.1015432`

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import NetPortfolioClassifier
    >>> X, y = make_classification(1000, weights=[0.9], random_state=0)
    >>> recipes = {
    ...     "default": {},
    ...     "bins": {"features__numeric_embedding": "piecewise_linear"},
    ... }
    >>> clf = NetPortfolioClassifier(recipes=recipes, random_state=0).fit(X, y)
    >>> sorted(clf.leaderboard_["recipe"])
    ['bins', 'default']
    >>> clf.predict_proba(X).shape, clf.oof_predict_proba_.shape
    ((1000, 2), (1000, 2))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NetPortfolio._parameter_constraints,
        "estimator": [ImbalancedNetClassifier, None],
    }
    _ensemble = NetEnsembleClassifier
    _default_recipes: ClassVar[Recipes] = CLASSIFIER_RECIPES

    estimator: ImbalancedNetClassifier | None

    @explains_arguments
    def __init__(
        self,
        estimator: ImbalancedNetClassifier | None = None,
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
    ) -> NetPortfolioClassifier:
        """Train the recipes, and blend the best ones.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels; of several labels per row, 0 and 1. NaN is a label that is not known, see
            :meth:`ImbalancedNetClassifier.fit`.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Finite weights >= 0.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, for the splitter ``cv``.

        Returns
        -------
        NetPortfolioClassifier
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
        return None if self.scoring is None else classifying_scorer(self.scoring, fold_targets(y))

    def _out_of_fold_of(
        self,
        ensembles: Sequence[Any],
        data: tuple[Any, Any, Any],
        tests: Sequence[Any],
        scorer: Scorer | None,
    ) -> OutOfFold:
        X, y, sample_weight = data
        targets = self._fold_targets(y)
        several = targets.ndim == 2
        codes = _codes(targets, ensembles[0].classes_)
        proba = np.array([_as_they_came(e, X, y, tests) for e in ensembles])
        if scorer is not None:
            strata = np.zeros(len(codes), dtype=np.intp) if several else codes
            return scorer.out_of_fold(proba, X, targets, sample_weight, strata)
        if several:  # the probability of the value that each label has
            own = np.where(codes == 1, proba, 1 - proba)
        else:
            own = np.take_along_axis(proba, np.maximum(codes, 0)[None, :, None], axis=2)
            codes = codes[:, None]
        weights = weights_of(sample_weight, codes.shape)
        known = (codes >= 0) & np.isfinite(own[0]) & (weights > 0)
        return OutOfFold(
            own[:, known],
            by_loss(log_loss, weights[known]),
            (codes + 2 * np.arange(codes.shape[1]) if several else codes)[known],
        )


def _codes(targets: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.intp]:
    """Return the place of each label among the classes, or the values of labels; -1 for others."""
    if targets.ndim == 2:
        found = split_unknown(targets)
        matrix = np.asarray(targets if found is None else found[0], dtype=np.float64)
        return np.where(np.isfinite(matrix), matrix, -1).astype(np.intp)
    places = np.minimum(np.searchsorted(classes, targets), len(classes) - 1)
    return np.where(classes[places] == targets, places, -1)


def _as_they_came(ensemble: Any, X: Any, y: Any, tests: Sequence[Any]) -> Floats:
    """Return out-of-fold probabilities for the population of the training data."""
    if not ensemble.estimators_[0].loss_.has_posterior_for(ensemble._task):
        return np.asarray(ensemble.oof_predict_proba_)
    view = copy.copy(ensemble)
    view.estimator = copy.copy(ensemble._base)
    view.estimator.target_prior = "train"
    view._predict_folds(X, y, None, tests)
    return np.asarray(view.oof_predict_proba_)
