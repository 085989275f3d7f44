"""Tune decisions so that they maximise a metric or minimise the expected cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.metrics import get_scorer_names
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.seed import draw_seeds
from imbtorch._common.sklearn_private import Interval, StrOptions, _safe_indexing, fit_context
from imbtorch.model_selection._base import (
    BaseProbabilityMetaClassifier,
    Predictions,
    if_inner_has,
)
from imbtorch.model_selection._bootstrap import averaged_offsets
from imbtorch.model_selection._constrained import ConstrainedDecisions
from imbtorch.model_selection._constraints import Constraint
from imbtorch.model_selection._counted_score import counted_score
from imbtorch.model_selection._cross_fit import positive_proba
from imbtorch.model_selection._label_scorer import label_scorer, log_probabilities
from imbtorch.model_selection._offset_search import OffsetSearch, decide
from imbtorch.model_selection._population import check_frozen, describing_training_data
from imbtorch.model_selection._row_costs import as_costs, cheapest, refuse_labels
from imbtorch.model_selection._scaling import ScaledClassifierCV
from imbtorch.model_selection._votes import by_vote, can_vote

__all__ = ["TunedDecisionClassifierCV"]

Floats = NDArray[np.float64]
_COVERAGE = 0.9  # of the best thresholds of resamples, in the interval
_TINY = float(np.finfo(np.float64).tiny)  # replaces probabilities of 0 in logarithms


class TunedDecisionClassifierCV(BaseProbabilityMetaClassifier):
    """Learn how to turn probabilities into labels, for any metric or cost matrix.

    ``predict`` is ``classes_[argmax(log p + offsets_)]``. The offsets maximise ``scoring`` on
    out-of-fold predictions of all rows together; for two classes this is one threshold, for
    multi-label targets one threshold per label. Tuning does not change the probabilities. With
    ``cv="oof"``, thresholds are compared with the median of the models of the folds: each model
    decides, as it did on the rows that it had not seen, and the majority counts.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Classifier to tune; clones of it are fitted, but never the object itself.
    scoring : str or callable, default="balanced_accuracy"
        scikit-learn scorer: a name, an object of :func:`sklearn.metrics.make_scorer`, or a
        callable ``(estimator, X, y)`` that returns a number, greater for better. A scorer that
        does not depend on the predicted labels, such as ``"roc_auc"``, leaves the offsets at 0.
        Multi-label targets need a scorer that accepts them, such as ``"f1_macro"``.
    cost_matrix : array-like of shape (n_classes, n_classes) or None, default=None
        ``cost_matrix[i, j]`` is the cost of predicting ``classes_[j]`` when the truth is
        ``classes_[i]``. A DataFrame is read by its labels, in any order: the true class in the
        index, the predicted class in the columns. With a cost matrix nothing is tuned and
        ``scoring`` is not used: ``predict`` minimises the expected cost, which needs probabilities
        of the population in which the costs arise (see Notes).
    constraint : str, Constraint, mapping or None, default=None
        A promise for the positive class, ``classes_[1]``, or for each of several labels:
        ``"precision>=0.9"`` maximises the recall of the decisions that keep it, ``"recall>=0.8"``
        the precision. ``"alarms<=100"`` flags the rows with the highest scores, and never more.
        ``scoring`` is not used then. A mapping such as ``{"fraud": "precision>=0.9"}`` is about the
        classes that it names (see Notes), or about labels, by their position.
    confidence : float in (0, 1) or None, default=None
        Probability with which the promised precision or recall holds on new data, for each class or
        label separately; None promises it only for the rows on which it was tuned.
    per : int or None, default=None
        Number of predicted rows for which ``"alarms<=100"`` is stated; None for all rows that are
        predicted at once.
    cv : int, splitter, iterable of splits, "prefit", "oof" or None, default=None
        Cross-validation. A number of folds is stratified by class, or by the rarest label of each
        row if a row has several labels; None is 5 folds. Decisions are tuned on the rows that are
        in a test part: time splits leave out the first rows, a single split all but its test part.
        ``"prefit"``: ``estimator`` is fitted already, and ``fit`` gets other rows than it has been
        trained on. ``"oof"``: it brings its out-of-fold predictions, such as the result of
        :func:`cross_fit` on the same rows.
    n_candidates : int, default=100
        Largest number of offsets to try for one class at a time.
    max_passes : int, default=10
        Largest number of passes over the classes, if there are more than two.
    n_resamples : int, default=200
        Number of bootstrap resamples over which a threshold is averaged (see Notes); 0 takes the
        best threshold itself.
    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time.
    random_state : int, RandomState or None, default=None
        Seed that shuffles the rows before they are divided into a number of folds; None keeps
        their order. Multi-label rows are always shuffled, with seed 0 if it is None. It also draws
        the resamples, with seed 0 if it is None.

    Attributes
    ----------
    estimator_ : classifier
        The classifier fitted to all rows; with ``cost_matrix`` as the Notes say.
    classes_ : ndarray of shape (n_classes,), or list
        The labels, in the form of the inner estimator's ``classes_``.
    offsets_ : ndarray of shape (n_classes,) or (n_labels,), or None
        Numbers that are added to the log-probabilities of the classes, or to the log-odds of each
        label if a row has several labels. The offset of the first class is 0. None with
        ``cost_matrix``.
    thresholds_ : ndarray of shape (1,), (n_labels,) or (n_classes,)
        With a ``constraint`` on precision or recall, the probabilities from which a row is flagged:
        of the positive class, of each label, or of each class if the constraint is a mapping; 0
        for classes that it does not bound.
    thresholds_interval_ : ndarray of shape (1, 2) or (n_labels, 2)
        Probabilities between which the best threshold is in 90% of the resamples; NaN for a label
        that has one value only. It exists if thresholds were averaged.
    best_score_ : float or None
        Score of the tuned decisions on the out-of-fold predictions, which is somewhat optimistic.
        It is never less than the score of the untuned decisions. None with ``cost_matrix``. With a
        constraint the mean of the recalls, or precisions, that belong to the bounds.
    n_features_in_ : int
        Number of columns of ``X``, if the inner estimator has this attribute.
    feature_names_in_ : ndarray of str
        Names of the columns of ``X``, if the columns have names.

    See Also
    --------
    sklearn.model_selection.TunedThresholdClassifierCV : Two classes only, averages over folds.
    ScaledClassifierCV : Calibrates probabilities.

    Notes
    -----
    The score is a step function of the offsets. For one offset it can change only midway between
    neighbouring predictions. These values are tried in turn, at most ``n_candidates`` of them; in
    a range of equally good values the middle one is chosen. Several offsets are improved one at a
    time until none changes, from two starts: 0, and minus the log class frequencies. Offsets that
    are no better than 0 stay 0.

    The best threshold for few positives hangs on single rows. So the threshold of two classes, or
    of each label, is averaged: the rows are resampled within each class, and the positions of the
    best cuts among all cuts are averaged [3]_, without the lowest and the highest tenth. This needs
    a score that follows from counts: accuracy, balanced accuracy, precision, recall, F-measures,
    Jaccard and Matthews' coefficient, as names or objects of ``make_scorer``; for labels their
    averages ``"macro"``. Other scores, and offsets of more than two classes, are not averaged.

    A mapping as ``constraint`` bounds some classes of two or more. A row gets the first of these
    classes, in the order of the mapping, whose threshold its probability reaches, and else the most
    probable one of the classes that are not in the mapping; one class must be left out of it.
    Precision and recall are those of these decisions: rows that went to a class before are lost for
    the classes after it. Bounds of alarms come after all others.

    With ``cost_matrix`` the probabilities must describe the training data, or a population that
    the user names. So each net inside ``estimator``, also in pipelines, searches and ensembles,
    gets ``target_prior="train"`` if its ``target_prior`` is None. The whole estimator is calibrated
    by :class:`ScaledClassifierCV` with ``method="vector"`` if a net has a loss without a
    posterior, if a step of imbalanced-learn resamples the rows, or if another classifier has a
    ``class_weight``; ``cv``, ``n_jobs`` and ``random_state`` are those of this estimator.

    References
    ----------
    .. [1] Elkan (2001). "The Foundations of Cost-Sensitive Learning". IJCAI, pp. 973-978.
           (``cost_matrix``)
    .. [2] Menon et al. (2021). "Long-tail learning via logit adjustment". :arxiv:`2007.07314`
           (offsets of minus the log class frequencies)
    .. [3] Thiele and Hirschfeld (2021). "cutpointr: Improved Estimation and Validation of Optimal
           Cutpoints in R". :arxiv:`2002.09209` (averages over resamples)

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from imbtorch.model_selection import TunedDecisionClassifierCV
    >>> X, y = make_classification(1000, weights=[0.9], random_state=0)
    >>> tuned = TunedDecisionClassifierCV(LogisticRegression()).fit(X, y)
    >>> bool(tuned.predict(X).sum() > tuned.estimator_.predict(X).sum())
    True

    A missed positive costs 20 times a false alarm:

    >>> costs = [[0, 1], [20, 0]]
    >>> tuned = TunedDecisionClassifierCV(LogisticRegression(), cost_matrix=costs).fit(X, y)
    >>> bool((tuned.predict(X) == (tuned.predict_proba(X)[:, 1] > 1 / 21)).all())
    True

    Nine of ten rows that are predicted as ``1`` shall have this class:

    >>> promise = {1: "precision>=0.9"}
    >>> tuned = TunedDecisionClassifierCV(LogisticRegression(), constraint=promise).fit(X, y)
    >>> tuned.thresholds_.shape
    (2,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseProbabilityMetaClassifier._parameter_constraints,
        "scoring": [StrOptions(set(get_scorer_names())), callable],
        "cost_matrix": ["array-like", None],
        "constraint": [str, Constraint, Mapping, None],
        "confidence": [Interval(Real, 0, 1, closed="neither"), None],
        "per": [Interval(Integral, 1, None, closed="left"), None],
        "n_candidates": [Interval(Integral, 2, None, closed="left")],
        "max_passes": [Interval(Integral, 1, None, closed="left")],
        "n_resamples": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        scoring: str | Callable[..., float] = "balanced_accuracy",
        cost_matrix: ArrayLike | None = None,
        constraint: str | Constraint | Mapping[Any, str | Constraint] | None = None,
        confidence: float | None = None,
        per: int | None = None,
        cv: Any = None,
        n_candidates: int = 100,
        max_passes: int = 10,
        n_resamples: int = 200,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.scoring = scoring
        self.cost_matrix = cost_matrix
        self.constraint = constraint
        self.confidence = confidence
        self.per = per
        self.cv = cv
        self.n_candidates = n_candidates
        self.max_passes = max_passes
        self.n_resamples = n_resamples
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        costs: ArrayLike | Callable[[Any], Any] | None = None,
    ) -> TunedDecisionClassifierCV:
        """Tune the decisions on out-of-fold predictions, then fit the estimator to all rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features, whatever the inner estimator accepts.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels; or 0 and 1 for each of several labels, and NaN where a label is not known. An
            unknown label counts as absent and decided so, which F-measures, precision and recall
            do not see.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Row weights, which are passed to the fits, and to the scorer if it takes weights.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, for splitters that keep groups together.
        costs : array-like of shape (n_samples, n_classes, n_classes), callable or None, \
default=None
            Costs of each row: ``costs[k, i, j]`` is the cost of predicting ``classes_[j]`` for row
            ``k`` when the truth is ``classes_[i]``. As with ``cost_matrix`` nothing is tuned, and
            ``predict`` minimises the expected cost: give it the costs of the rows to predict. A
            callable gets ``X`` and returns the costs of its rows, in ``fit`` and in ``predict``.

        Returns
        -------
        TunedDecisionClassifierCV
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or ``y`` is invalid, or no decision has a score.
        """
        X, y, sample_weight = self._check_input(X, y, sample_weight)
        self._check_promise(y, sample_weight, costs)
        for name in ("_costs", "thresholds_", "thresholds_interval_"):
            self.__dict__.pop(name, None)
        if self.cost_matrix is not None:
            self._costs: Any = self._check_costs(y)
        if costs is not None:
            refuse_labels(y)
            as_costs(costs, X, len(y), np.unique(y).tolist())
            if callable(costs):
                self._costs = costs
        self._multilabel = y.ndim == 2
        self._values = [np.unique(column) for column in np.atleast_2d(y.T)]
        if self.cost_matrix is not None or costs is not None:
            self.offsets_, self.best_score_ = None, None
            self.estimator_ = self._fitted_for_costs(X, y, sample_weight)
        else:
            known = self._predictions(X, y, sample_weight, groups)
            tune = self._tune if self.constraint is None else self._keep_promise
            self.offsets_, self.best_score_ = tune(X, y, sample_weight, known)
            self.estimator_ = self._fitted(known, X, y, sample_weight)
        self.classes_ = self.estimator_.classes_
        return self

    def _fitted_for_costs(self, X: Any, y: Any, sample_weight: Any) -> Any:
        brings = isinstance(self.cv, str) and hasattr(self.estimator, "oof_predict_proba_")
        if brings or (isinstance(self.cv, str) and self.cv == "prefit"):
            check_is_fitted(self.estimator)
            check_frozen(self.estimator)
            return self.estimator
        return self._fit_estimator(X, y, sample_weight, self._with_honest_proba())

    def _tune(
        self, X: Any, y: NDArray[Any], sample_weight: Any, known: Predictions
    ) -> tuple[Floats, float]:
        multilabel = y.ndim == 2
        proba = known.proba
        if len(known.rows) < len(y):  # a splitter that leaves rows out, such as of the past
            X, y = _safe_indexing(X, known.rows), y[known.rows]
            sample_weight = None if sample_weight is None else sample_weight[known.rows]
        truth = y == 1 if multilabel else y[:, None] == np.unique(y)
        weight = sample_weight
        if multilabel and np.isnan(y).any():
            is_known = ~np.isnan(y)
            weight = is_known * (1.0 if sample_weight is None else sample_weight[:, None])
        search = OffsetSearch(
            _as_scores(proba, multilabel=multilabel),
            truth,
            label_scorer(self.scoring, X, y, proba, sample_weight),
            multilabel=multilabel,
            n_candidates=self.n_candidates,
            max_passes=self.max_passes,
            weight=weight,
        )
        offsets, best = search.best(_starts(truth, weight, multilabel=multilabel))
        if np.isnan(best):
            raise ValueError(
                f"scoring={self.scoring!r} gave NaN for every decision that was tried; choose a "
                "metric that is defined for these labels."
            )
        if self.n_resamples:
            offsets, best = self._averaged(search, offsets, best, np.unique(y).tolist())
        return (offsets if multilabel else offsets - offsets[0]), best

    def _averaged(
        self, search: OffsetSearch, offsets: Floats, best: float, classes: list[Any]
    ) -> tuple[Floats, float]:
        """Average single thresholds over resamples, where the score is a function of counts."""
        if search.scores.shape[1] > 2 and not search.multilabel:
            return offsets, best
        score = counted_score(self.scoring, classes, multilabel=search.multilabel)
        if score is None:
            return offsets, best
        (seed,) = draw_seeds(0 if self.random_state is None else self.random_state, 1)
        offsets, best, resamples = averaged_offsets(
            search, offsets, best, score, n_resamples=self.n_resamples, seed=seed
        )
        unknown = np.full(2, np.nan)
        limits = [unknown if one is None else one.interval(_COVERAGE) for one in resamples]
        self.thresholds_interval_ = expit(np.stack(limits))
        return offsets, best

    def _rules(self, names: list[Any], *, multilabel: bool) -> ConstrainedDecisions | None:
        """Return which class or label keeps which constraint; None without a constraint."""
        if self.constraint is None:
            return None
        return ConstrainedDecisions.of(self.constraint, names, multilabel=multilabel, per=self.per)

    @property
    def _constrained(self) -> ConstrainedDecisions | None:
        """What the fitted decisions keep."""
        names = list(range(len(self._values))) if self._multilabel else self._values[0].tolist()
        return self._rules(names, multilabel=self._multilabel)

    def _check_promise(self, y: NDArray[Any], sample_weight: Any, costs: Any) -> None:
        if self.constraint is None:
            unused = [name for name in ("confidence", "per") if getattr(self, name) is not None]
            if unused:
                raise ValueError(f"{', '.join(unused)} needs a constraint, such as 'recall>=0.8'.")
            return
        if self.cost_matrix is not None or costs is not None:
            raise ValueError(
                "Decisions either minimise costs or keep a constraint; leave out one of costs and "
                f"constraint={self.constraint!r}."
            )
        names = list(range(y.shape[1])) if y.ndim == 2 else np.unique(y).tolist()
        rules = self._rules(names, multilabel=y.ndim == 2)
        assert rules is not None
        rules.check(self.confidence, sample_weight)

    def _keep_promise(
        self, X: Any, y: NDArray[Any], sample_weight: Any, known: Predictions
    ) -> tuple[Floats, float | None]:
        """Find the thresholds of the best decisions that keep the constraint."""
        multilabel, rules = self._multilabel, self._constrained
        assert rules is not None
        y = y[known.rows]
        weight = None if sample_weight is None else sample_weight[known.rows]
        truth = y if multilabel else (y[:, None] == self._values[0]).astype(np.float64)
        thresholds, counterpart = rules.fit(known.proba, truth, weight, self.confidence)
        if counterpart is None and not isinstance(self.constraint, Mapping):
            return np.zeros(len(rules.names)), None  # alarms: ``predict`` ranks the rows
        below = np.nextafter(thresholds, 0)  # decisions are strict, rows at the threshold count
        offsets = np.log1p(-below) - np.log(np.maximum(below, _TINY))
        if not multilabel:  # offsets cannot express the thresholds of more than two classes
            free = np.setdiff1d(np.arange(len(offsets)), list(rules.constraints))
            offsets[free if len(offsets) == 2 else slice(None)] = 0.0
            offsets = offsets - offsets[0]
        one = not multilabel and not isinstance(self.constraint, Mapping)
        self.thresholds_ = thresholds[1:] if one else thresholds
        return offsets, counterpart

    def _check_costs(self, y: NDArray[Any]) -> Floats:
        refuse_labels(y)
        classes = np.unique(y).tolist()
        given: Any = self.cost_matrix
        if hasattr(given, "index") and hasattr(given, "columns"):
            given = _in_order_of_classes(given, classes)
        costs = np.asarray(given, dtype=np.float64)
        if costs.shape != (len(classes), len(classes)):
            raise ValueError(
                f"cost_matrix has shape {costs.shape}, expected {(len(classes), len(classes))}: "
                f"a row for each true class and a column for each predicted one of {classes}."
            )
        if not np.isfinite(costs).all():
            raise ValueError(f"cost_matrix must be finite; got {costs.tolist()}.")
        return costs

    def _with_honest_proba(self) -> Any:
        """Return the estimator with probabilities that describe the training data."""
        options: dict[str, Any] = {
            "cv": self.cv,
            "n_jobs": self.n_jobs,
            "random_state": self.random_state,
        }
        return describing_training_data(
            self.estimator, lambda inner: ScaledClassifierCV(inner, method="vector", **options)
        )

    def predict(
        self, X: ArrayLike, *, costs: ArrayLike | Callable[[Any], Any] | None = None
    ) -> NDArray[Any]:
        """Predict the label of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features.
        costs : array-like of shape (n_samples, n_classes, n_classes), callable or None, \
default=None
            Costs of these rows, see ``fit``; None for those that ``fit`` knows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Predicted labels; 0 and 1 if a row has several labels.
        """
        check_is_fitted(self, "estimator_")
        if costs is not None or self.offsets_ is None:
            proba = np.asarray(self.estimator_.predict_proba(X), dtype=np.float64)
            return self._cheapest(X, proba, costs)
        proba = self._compared_proba(X)
        if self._multilabel:
            proba = positive_proba(proba, self._values)
        proba, rules = np.asarray(proba, dtype=np.float64), self._constrained
        if rules is not None:
            thresholds = vars(self).get("thresholds_", np.zeros(len(rules.names)))
            codes = rules.decide(proba, thresholds)
        else:
            scores = _as_scores(proba, multilabel=self._multilabel)
            codes = decide(scores, self.offsets_, multilabel=self._multilabel)
        return codes if self._multilabel else np.asarray(self.classes_[codes])

    def _compared_proba(self, X: Any) -> Any:
        """Return the probabilities that thresholds are compared with."""
        return by_vote(self.estimator_, X) if self._votes else self.estimator_.predict_proba(X)

    @property
    def _votes(self) -> bool:
        """Whether thresholds were found for single models of folds, so that these decide."""
        if self.offsets_ is None:  # costs are minimised by the mean probabilities
            return False
        rules = self._constrained
        is_ranked = rules is not None and all(
            one.measure == "alarms" for one in rules.constraints.values()
        )
        has_offsets = rules is None and not self._multilabel and len(self.classes_) > 2
        return can_vote(self.cv, self.estimator_) and not is_ranked and not has_offsets

    def _cheapest(self, X: Any, proba: Floats, costs: Any) -> NDArray[Any]:
        """Return the labels with the smallest expected cost."""
        if self.offsets_ is not None:
            raise ValueError(
                "This estimator was fitted without costs, so that its probabilities may describe "
                "another population than that of the rows. Give costs= to fit as well."
            )
        chosen = vars(self).get("_costs") if costs is None else costs
        if chosen is None:
            raise ValueError(
                "fit was given costs of its own rows; give predict(X, costs=...) those of the rows "
                "to predict, or give fit a callable that computes them from X."
            )
        matrix = as_costs(chosen, X, len(proba), list(self.classes_))
        return np.asarray(self.classes_[cheapest(proba, matrix)])

    @if_inner_has("predict_proba")
    def predict_proba(self, X: ArrayLike) -> Any:
        """Return the probabilities of the inner estimator, which are not changed by the tuning.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels), or list
            Result of ``estimator_.predict_proba``.
        """
        check_is_fitted(self, "estimator_")
        return self.estimator_.predict_proba(X)

    @if_inner_has("predict_set")
    def predict_set(self, X: ArrayLike, alpha: float = 0.1) -> NDArray[np.bool_]:
        """Return the sets of classes of the inner estimator, which tuning does not change.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features.
        alpha : float, default=0.1
            Largest share of the rows of each class whose set may lack this class.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_classes) or (n_samples, n_labels, 2)
            Result of ``estimator_.predict_set``, such as that of :func:`cross_fit`.
        """
        check_is_fitted(self, "estimator_")
        return np.asarray(self.estimator_.predict_set(X, alpha))

    @if_inner_has("predict_log_proba")
    def predict_log_proba(self, X: ArrayLike) -> Any:
        """Return the log-probabilities of the inner estimator.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels), or list
            Result of ``estimator_.predict_log_proba``.
        """
        check_is_fitted(self, "estimator_")
        return self.estimator_.predict_log_proba(X)

    @if_inner_has("decision_function")
    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Return the scores of the inner estimator, without the offsets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Result of ``estimator_.decision_function``. Its sign is not the decision of ``predict``.
        """
        check_is_fitted(self, "estimator_")
        return np.asarray(self.estimator_.decision_function(X))


def _in_order_of_classes(frame: Any, classes: list[Any]) -> Any:
    """Arrange the rows and columns of a labelled cost matrix as the classes."""
    for name, labels in (("index", frame.index), ("columns", frame.columns)):
        found = list(labels)
        if len(found) != len(classes) or set(found) != set(classes):
            raise ValueError(
                f"cost_matrix is a DataFrame whose {name} is {found}, expected the classes "
                f"{classes}, in any order: the true class in the index, the predicted class in the "
                "columns. Rename them, or give cost_matrix.to_numpy() in the order of the classes."
            )
    return frame.loc[classes, classes]


def _as_scores(proba: Floats, *, multilabel: bool) -> Floats:
    """Return the log-probabilities of classes, or the log-odds of labels."""
    scores = log_probabilities(proba, _TINY)
    return scores - log_probabilities(1 - proba, _TINY) if multilabel else scores


def _starts(truth: NDArray[np.bool_], weight: Floats | None, *, multilabel: bool) -> list[Floats]:
    """Return the starts of the search: no offsets, and offsets that balance the classes."""
    n_columns = truth.shape[1]
    start = np.zeros(n_columns)
    if n_columns == 2 and not multilabel:
        return [start]  # the search for a single offset does not depend on its start
    if weight is None:
        counts, total = truth.sum(axis=0), len(truth)
    elif weight.ndim == 1:
        counts, total = weight @ truth, weight.sum()
    else:  # of each label only the rows count in which it is known
        counts, total = (weight * truth).sum(axis=0), weight.sum(axis=0)
    share = (counts + 0.5) / (total + 1)
    balancing = -np.log(share) + (np.log(1 - share) if multilabel else 0.0)
    return [start, balancing]
