"""Tune decisions so that they maximise a metric or minimise the expected cost."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import get_scorer_names
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.sklearn_private import Interval, StrOptions, _safe_indexing, fit_context
from imbtorch.model_selection._base import (
    BaseProbabilityMetaClassifier,
    Predictions,
    if_inner_has,
)
from imbtorch.model_selection._constraints import Constraint, constrained_threshold
from imbtorch.model_selection._cross_fit import positive_proba
from imbtorch.model_selection._label_scorer import label_scorer, log_probabilities
from imbtorch.model_selection._offset_search import OffsetSearch, decide
from imbtorch.model_selection._population import check_frozen, describing_training_data
from imbtorch.model_selection._row_costs import as_costs, cheapest, refuse_labels
from imbtorch.model_selection._scaling import ScaledClassifierCV

__all__ = ["TunedDecisionClassifierCV"]

Floats = NDArray[np.float64]
_TINY = float(np.finfo(np.float64).tiny)  # replaces probabilities of 0 in logarithms


class TunedDecisionClassifierCV(BaseProbabilityMetaClassifier):
    """Learn how to turn probabilities into labels, for any metric or cost matrix.

    ``predict`` is ``classes_[argmax(log p + offsets_)]``. The offsets maximise ``scoring`` on
    out-of-fold predictions of all rows together; for two classes this is one threshold, for
    multi-label targets one threshold per label. Tuning does not change the probabilities.

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
    constraint : str or None, default=None
        A promise for the positive class, ``classes_[1]``, or for each of several labels:
        ``"precision>=0.9"`` maximises the recall of the decisions that keep it, ``"recall>=0.8"``
        the precision. ``"alarms<=100"`` flags the rows with the highest scores, and never more.
        ``scoring`` is not used then.
    confidence : float in (0, 1) or None, default=None
        Probability with which the promised precision or recall holds on new data; None promises it
        only for the rows on which it was tuned.
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
    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time.
    random_state : int, RandomState or None, default=None
        Seed that shuffles the rows before they are divided into a number of folds; None keeps
        their order. Multi-label rows are always shuffled, with seed 0 if it is None. The search
        itself is deterministic.

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
    thresholds_ : ndarray of shape (1,) or (n_labels,)
        With a ``constraint`` on precision or recall, the probabilities from which a row is flagged.
    best_score_ : float or None
        Score of the tuned decisions on the out-of-fold predictions, which is somewhat optimistic.
        It is never less than the score of the untuned decisions. None with ``cost_matrix``.
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
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseProbabilityMetaClassifier._parameter_constraints,
        "scoring": [StrOptions(set(get_scorer_names())), callable],
        "cost_matrix": ["array-like", None],
        "constraint": [str, None],
        "confidence": [Interval(Real, 0, 1, closed="neither"), None],
        "per": [Interval(Integral, 1, None, closed="left"), None],
        "n_candidates": [Interval(Integral, 2, None, closed="left")],
        "max_passes": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        scoring: str | Callable[..., float] = "balanced_accuracy",
        cost_matrix: ArrayLike | None = None,
        constraint: str | None = None,
        confidence: float | None = None,
        per: int | None = None,
        cv: Any = None,
        n_candidates: int = 100,
        max_passes: int = 10,
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
        promise = self._check_promise(y, sample_weight, costs)
        for name in ("_costs", "thresholds_"):
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
            tune = self._tune if promise is None else self._keep_promise
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
        return (offsets if multilabel else offsets - offsets[0]), best

    @property
    def _promise(self) -> Constraint | None:
        return None if self.constraint is None else Constraint.parse(self.constraint)

    def _check_promise(self, y: NDArray[Any], sample_weight: Any, costs: Any) -> Constraint | None:
        if self.constraint is None:
            unused = [name for name in ("confidence", "per") if getattr(self, name) is not None]
            if unused:
                raise ValueError(f"{', '.join(unused)} needs a constraint, such as 'recall>=0.8'.")
            return None
        promise = self._promise
        assert promise is not None
        if self.cost_matrix is not None or costs is not None:
            raise ValueError(
                "Decisions either minimise costs or keep a constraint; leave out one of costs and "
                f"constraint={self.constraint!r}."
            )
        if y.ndim == 1 and len(np.unique(y)) > 2:
            raise ValueError(
                f"constraint={self.constraint!r} is about the positive one of two classes, or "
                f"about each of several labels; y has {len(np.unique(y))} classes. Make a "
                "column of each class: sklearn.preprocessing.label_binarize(y, classes=...)."
            )
        if promise.measure == "alarms" and self.confidence is not None:
            raise ValueError("The number of alarms always holds; leave out confidence.")
        if promise.measure != "alarms" and self.per is not None:
            raise ValueError(f"per is the unit of alarms; {promise.measure} has none.")
        if self.confidence is not None and sample_weight is not None and np.ptp(sample_weight) > 0:
            raise ValueError(
                "confidence counts rows, so that it needs rows of equal weight; leave out "
                "sample_weight or confidence."
            )
        return promise

    def _keep_promise(
        self, X: Any, y: NDArray[Any], sample_weight: Any, known: Predictions
    ) -> tuple[Floats, float | None]:
        """Return the offsets of the best decisions that keep the constraint."""
        multilabel, promise, proba = y.ndim == 2, self._promise, known.proba
        y = y[known.rows]
        sample_weight = None if sample_weight is None else sample_weight[known.rows]
        assert promise is not None
        if promise.measure == "alarms":  # ``predict`` ranks the rows
            return np.zeros(y.shape[1] if multilabel else 2), None
        scores = proba if multilabel else proba[:, 1:]
        truth = y if multilabel else (y == np.unique(y)[1])[:, None]
        found = []
        for column, labels in zip(scores.T, truth.T, strict=True):
            told = ~_is_unknown(labels)
            weights = None if sample_weight is None else sample_weight[told]
            parts = column[told], labels[told] == 1, None if self.confidence else weights
            found.append(constrained_threshold(promise, *parts, self.confidence))
        thresholds, counterparts = map(np.asarray, zip(*found, strict=True))
        self.thresholds_ = thresholds
        below = np.nextafter(thresholds, 0)  # decisions are strict, rows at the threshold count
        offsets = np.log1p(-below) - np.log(np.maximum(below, _TINY))
        return offsets if multilabel else np.array([0.0, offsets[0]]), float(counterparts.mean())

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
        proba = self.estimator_.predict_proba(X)
        if costs is not None or self.offsets_ is None:
            return self._cheapest(X, np.asarray(proba, dtype=np.float64), costs)
        if self._multilabel:
            proba = positive_proba(proba, self._values)
        if self._promise is not None:
            return self._promised(np.asarray(proba, dtype=np.float64))
        scores = _as_scores(np.asarray(proba, dtype=np.float64), multilabel=self._multilabel)
        codes = decide(scores, self.offsets_, multilabel=self._multilabel)
        return codes if self._multilabel else np.asarray(self.classes_[codes])

    def _promised(self, proba: Floats) -> NDArray[Any]:
        """Return the labels that keep the constraint."""
        promise = self._promise
        assert promise is not None
        scores = proba if self._multilabel else proba[:, 1:]
        if promise.measure != "alarms":
            flagged = scores >= self.thresholds_
        else:
            n = len(scores)
            n_alarms = int(promise.bound if self.per is None else promise.bound * n / self.per)
            order = np.argsort(-scores, axis=0, kind="stable")
            flagged = np.zeros(scores.shape, dtype=bool)
            np.put_along_axis(flagged, order[:n_alarms], True, axis=0)
        codes = flagged.astype(np.intp)
        return codes if self._multilabel else np.asarray(self.classes_[codes[:, 0]])

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


def _is_unknown(labels: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(labels) if labels.dtype.kind == "f" else np.zeros(len(labels), dtype=bool)


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
