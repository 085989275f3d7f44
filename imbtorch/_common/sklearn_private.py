"""All private names of scikit-learn that imbtorch depends on, in one place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from inspect import signature
from typing import Any, TypeVar

from sklearn.base import BaseEstimator, _fit_context
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _fit_and_score
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import _check_method_params, _check_sample_weight

Method = TypeVar("Method", bound=Callable[..., Any])


def fit_context(method: Method) -> Method:
    """Validate parameters before ``fit`` or ``partial_fit``; end sklearn's callbacks after it."""
    decorated: Method = _fit_context(prefer_skip_nested_validation=False)(method)
    return decorated


def accepts_sample_weight(scorer: Callable[..., Any]) -> bool:
    """Return whether a scorer takes ``sample_weight``."""
    # the signature of an object of make_scorer has it even if its metric does not accept it
    ask = getattr(scorer, "_accept_sample_weight", None)
    return bool(ask()) if ask else "sample_weight" in signature(scorer).parameters


def asks_for_labels(scorer: Callable[..., Any]) -> bool:
    """Return whether a scorer is known to use only predicted labels."""
    return getattr(scorer, "_response_method", None) == "predict"


def metric_of(scorer: Any) -> tuple[Callable[..., Any], dict[str, Any]] | None:
    """Return the metric of predicted labels that a scorer computes, and its arguments.

    None if this is not known, or if smaller values of the metric are better.
    """
    if not asks_for_labels(scorer) or getattr(scorer, "_sign", None) != 1:
        return None
    return scorer._score_func, dict(scorer._kwargs)


try:  # scikit-learn >= 1.9; it is experimental, so imbtorch must work without it
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback._callback_support import callback_management_context
except ImportError:  # pragma: no cover - depends on the installed scikit-learn

    class CallbackSupportMixin:  # type: ignore[no-redef] # only one of the two exists
        """Stand-in for scikit-learn before 1.9, which has no callbacks."""

    callback_management_context = nullcontext


# attribute of an estimator that holds what `set_callbacks` of scikit-learn was given
CALLBACKS = "_skl_callbacks"
# attributes that hold what `set_output`, requests of metadata and `set_callbacks` have set
_BESIDE_PARAMETERS = ("_sklearn_output_config", "_metadata_request", CALLBACKS)


def is_known_by_its_parameters(value: Any) -> bool:
    """Return whether the parameters of an object are all that ``sklearn.base.clone`` keeps of it.

    They are not after ``set_output``, requests of metadata or ``set_callbacks``, and not for
    estimators of other packages that decide by themselves what their clone is, such as
    ``FrozenEstimator``.
    """
    if any(name in getattr(value, "__dict__", {}) for name in _BESIDE_PARAMETERS):
        return False
    usual = (None, getattr(BaseEstimator, "__sklearn_clone__", None))
    is_usual = getattr(type(value), "__sklearn_clone__", None) in usual
    return is_usual or type(value).__module__.startswith("imbtorch.")  # clones by parameters, too


__all__ = [
    "CALLBACKS",
    "BaseSearchCV",
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "StrOptions",
    "_check_method_params",
    "_check_partial_fit_first_call",
    "_check_sample_weight",
    "_fit_and_score",
    "_safe_indexing",
    "_safe_split",
    "accepts_sample_weight",
    "asks_for_labels",
    "callback_management_context",
    "fit_context",
    "is_known_by_its_parameters",
    "metric_of",
    "validate_parameter_constraints",
]
