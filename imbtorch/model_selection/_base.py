"""Base class of the meta-estimators: input checks, tags, and the model fitted to all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import column_or_1d, get_tags, indexable
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.inputs import as_inputs
from imbtorch._common.sklearn_private import HasMethods, StrOptions, _check_sample_weight
from imbtorch._data.datasets_as_rows import own_targets, refuse_dataset
from imbtorch._data.folds import as_folds
from imbtorch._data.targets import encode_label_matrix, split_unknown
from imbtorch.model_selection._cross_fit import (
    fit_folds,
    fold_predictions,
    out_of_fold,
    positive_proba,
)

__all__ = ["BaseProbabilityMetaClassifier", "if_inner_has"]

Floats = NDArray[np.float64]
Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True)
class Predictions:
    """Probabilities of rows by models that were not trained on them.

    Attributes
    ----------
    proba : ndarray of shape (m, n_classes) or (m, n_labels)
        Probabilities.
    rows : ndarray of int, shape (m,)
        Positions of the rows.
    estimator : classifier or None
        The fitted classifier, if there is one already; None if it is yet to be fitted.
    """

    proba: Floats
    rows: NDArray[np.intp]
    estimator: BaseEstimator | None


def _is_gap(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a label is not known."""
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=bool)


def if_inner_has(name: str) -> Callable[[Method], Method]:
    """Decorate a method that exists only if the inner estimator has the attribute ``name``."""

    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), name)  # its AttributeError says why
        return True

    decorator: Callable[[Method], Method] = available_if(check)
    return decorator


class BaseProbabilityMetaClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Base class of meta-estimators that learn from out-of-fold predictions of a classifier."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "cv": ["cv_object", StrOptions({"prefit", "oof"})],
        "n_jobs": [int, np.integer, None],
        "random_state": ["random_state"],
    }

    estimator: BaseEstimator
    cv: int | str | BaseCrossValidator | Iterable[Any] | None
    n_jobs: int | None
    random_state: int | np.random.RandomState | None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.non_deterministic = inner.non_deterministic
        if inner.classifier_tags is not None:
            tags.classifier_tags = inner.classifier_tags
            tags.target_tags = inner.target_tags
        return tags

    @property
    def n_features_in_(self) -> int:
        """Number of columns of ``X``, if the inner estimator has ``n_features_in_``."""
        check_is_fitted(self, "estimator_")
        n: int = self.estimator_.n_features_in_
        return n

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of the columns of ``X``, if the columns have names."""
        check_is_fitted(self, "estimator_")
        names: NDArray[Any] = self.estimator_.feature_names_in_
        return names

    def _check_input(
        self, X: Any, y: Any, sample_weight: ArrayLike | None
    ) -> tuple[Any, NDArray[Any], Floats | None]:
        """Check ``y`` and the weights; the inner estimator checks ``X``.

        A matrix of labels of which some are not known stays one of floats, with NaN there.
        """
        refuse_dataset(X, type(self).__name__)
        X, y, sample_weight = own_targets(as_inputs(X), y, sample_weight, self.estimator)
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None."
            )
        found = split_unknown(y)
        y = y if found is None else found[0]
        X, y = indexable(X, y.toarray() if issparse(y) else y)
        kind = "unknown labels"
        if found is None:
            check_classification_targets(y)
            kind = type_of_target(y, input_name="y")
        if kind == "unknown labels":
            encode_label_matrix(y)  # raises ValueError for other numbers than 0 and 1
        elif kind == "multilabel-indicator":
            y = np.asarray(y).astype(np.intp)
        elif kind in {"binary", "multiclass"}:
            y = column_or_1d(y, warn=True)
            self._check_classes(y)
        else:
            raise ValueError(
                f"y must hold one label per row, or 0 and 1 for each of several labels; got a "
                f"{kind} target of shape {np.shape(y)}."
            )
        if sample_weight is None:
            return X, y, None
        weights: Floats = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True
        )
        if y.ndim == 1:
            self._check_classes(y[weights > 0])
        return X, y, weights

    def _check_classes(self, y: NDArray[Any]) -> None:
        if len(classes := np.unique(y)) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of at least two classes; y has one class, "
                f"{classes.tolist()}."
            )

    def _predictions(
        self, X: Any, y: NDArray[Any], sample_weight: Any, groups: Any = None
    ) -> Predictions:
        """Return probabilities of rows by models that were not trained on them."""
        if isinstance(self.cv, str) and self.cv == "prefit":
            check_is_fitted(self.estimator)
            proba = self._as_proba(self.estimator.predict_proba(X), y)
            return Predictions(proba, np.arange(len(y)), self.estimator)
        if isinstance(self.cv, str) and self.cv == "oof":
            return self._brought_along(X, y, sample_weight)
        folds = fit_folds(
            self.estimator,
            X,
            y,
            cv=as_folds(self.cv, y, self.random_state),
            groups=groups,
            n_jobs=self.n_jobs,
            sample_weight=sample_weight,
        )
        proba, rows = out_of_fold(folds, fold_predictions(folds, X, y), len(y))
        self._check_predicted(y, rows)
        return Predictions(proba[rows], rows, None)

    def _check_predicted(self, y: NDArray[Any], rows: NDArray[np.intp]) -> None:
        """Raise ValueError if no row of some class is in a test part."""
        if y.ndim > 1:
            return
        lacking = np.setdiff1d(y, y[rows]).tolist()
        if lacking:
            raise ValueError(
                f"No row of the classes {lacking} is in a test part of cv={self.cv!r}, so that "
                f"{type(self).__name__} has nothing to learn from. Use other splits, such as "
                "StratifiedKFold, or fewer of them."
            )

    def _as_proba(self, proba: Any, y: NDArray[Any]) -> Floats:
        values = [np.unique(column[~_is_gap(column)]) for column in np.atleast_2d(y.T)]
        found = positive_proba(proba, values)
        width = y.shape[1] if y.ndim == 2 else len(values[0])
        if found.shape[1] != width:
            raise ValueError(
                f"The estimator predicts {found.shape[1]} classes, but y holds {width}: the rows "
                "for which decisions or scales are learned need every class of the training data."
            )
        return found

    def _brought_along(self, X: Any, y: NDArray[Any], sample_weight: Any) -> Predictions:
        """Return the out-of-fold predictions that a cross-fitted estimator has."""
        fitted = self.estimator
        if not hasattr(fitted, "oof_predict_proba_"):
            fitted = self._fit_estimator(X, y, sample_weight)
        if not hasattr(fitted, "oof_predict_proba_"):
            raise ValueError(
                f"cv='oof' needs an estimator with out-of-fold predictions; "
                f"{type(fitted).__name__} has no oof_predict_proba_. Give "
                "imbtorch.model_selection.cross_fit(estimator, X, y), or a number of folds as cv."
            )
        proba = np.asarray(fitted.oof_predict_proba_, dtype=np.float64)
        if len(proba) != len(y):
            raise ValueError(
                f"The estimator has out-of-fold predictions of {len(proba)} rows, but X has "
                f"{len(y)}: give the rows on which it was fitted."
            )
        rows = np.flatnonzero(np.isfinite(proba).all(axis=1))
        self._check_predicted(y, rows)
        return Predictions(self._as_proba(proba[rows], y[rows]), rows, fitted)

    def _fitted(self, known: Predictions, X: Any, y: NDArray[Any], sample_weight: Any) -> Any:
        """Return the fitted estimator that made the predictions, or fit a clone to all rows."""
        if known.estimator is not None:
            return known.estimator
        return self._fit_estimator(X, y, sample_weight)

    def _fit_estimator(
        self, X: Any, y: NDArray[Any], sample_weight: Any, estimator: Any = None
    ) -> Any:
        """Fit a clone to all rows, of the user's estimator unless another one is given."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        chosen = self.estimator if estimator is None else estimator
        return clone(chosen).fit(X, y, **weights)
