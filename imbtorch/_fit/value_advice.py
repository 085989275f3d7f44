"""Say how to write a parameter whose value is not allowed; asked only after a value was refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from numbers import Real
from typing import Any, NoReturn

import torch

from imbtorch._common.sklearn_private import InvalidParameterError, StrOptions
from imbtorch.training.skorch_callbacks import advice_on_callback

__all__ = ["advice_on_values", "refuse_boolean_threads"]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _class_weight(value: Any) -> str:
    if not _is_number(value):
        return ""
    return (
        "Give the weight of each class by the labels of y, such as class_weight={0: 1.0, 1: "
        f"{value!r}}}; labels that are left out weigh 1. 'balanced' weighs classes by their counts."
    )


def _target_prior(value: Any) -> str:
    if not _is_number(value):
        return "Classes that are equally frequent are target_prior='uniform'."
    rest = f"{1 - float(value):g}" if 0 <= value <= 1 else "..."
    return (
        "Give the share of each class by the labels of y, such as "
        f"target_prior={{0: {rest}, 1: {value!r}}}."
    )


def _optimizer(value: Any) -> str:
    if isinstance(value, torch.optim.Optimizer):
        cls = type(value).__name__
        return (
            f"The estimator builds the optimizer for a net that it builds itself: give the class, "
            f"optimizer=torch.optim.{cls}, or functools.partial(torch.optim.{cls}, ...)."
        )
    return "Other optimizers are given as classes of torch, such as torch.optim.RMSprop."


def _lr_schedule(value: Any) -> str:
    if value is None:
        return "A rate that does not change is lr_schedule='constant'."
    if isinstance(value, torch.optim.lr_scheduler.LRScheduler):
        return "Give a function of the share of the training that is done, in [0, 1]."
    return "A callable gets the share of the training, in [0, 1]."


def _features(value: Any) -> str:
    if isinstance(value, type):
        return f"It is a class: give an object of it, features={value.__name__}()."
    return "" if value is None else "features='auto' encodes tables, and None leaves X as it is."


def _early_stopping(value: Any) -> str:
    if _is_number(value):
        return f"Give the number of epochs as patience: early_stopping=True, patience={value!r}."
    return "Give early_stopping=True; the metric is a scorer: scoring='average_precision'."


def _validation(value: Any) -> str:
    if _is_number(value):
        return "A share of the rows is held out by validation_fraction=0.1."
    return "Validation rows of your own are given to fit: fit(X, y, X_val=X_val, y_val=y_val)."


def _callbacks(value: Any) -> str:
    if isinstance(value, str):
        return advice_on_callback(value)
    one = "..." if hasattr(value, "__len__") else f"{type(value).__name__}(...)"
    return f"Give a list of objects: callbacks=[{one}]."


def _dtype(value: Any) -> str:
    return "Give its name as a string, such as dtype='float32'."


def _precision(value: Any) -> str:
    return (
        "Mixed precision in 16 bits is precision='bfloat16' or 'float16'; None is full precision."
    )


def _n_threads(value: Any) -> str:
    return (
        "One thread is n_threads=1, all of torch's threads are n_threads=None, and 'auto' chooses "
        "between the two."
    )


def _auto(name: str) -> Callable[[Any], str]:
    return lambda value: f"The default is {name}='auto'." if value is None else ""


_ADVICE: dict[str, Callable[[Any], str]] = {
    "batch_size": _auto("batch_size"),
    "callbacks": _callbacks,
    "class_weight": _class_weight,
    "dtype": _dtype,
    "early_stopping": _early_stopping,
    "features": _features,
    "lr_schedule": _lr_schedule,
    "n_threads": _n_threads,
    "optimizer": _optimizer,
    "precision": _precision,
    "target_prior": _target_prior,
    "validation": _validation,
    "weight_decay": _auto("weight_decay"),
}


def advice_on_values(
    params: Mapping[str, Any], constraints: Mapping[str, list[Any]], refused: str
) -> str:
    """Say how to write the parameter that was refused.

    Parameters
    ----------
    params : mapping of str to object
        Parameters of the estimator.
    constraints : mapping of str to list
        Their allowed values, as scikit-learn writes them.
    refused : str
        Message about the value, which quotes the name of the parameter first.

    Returns
    -------
    str
        A sentence; empty if nothing is known.

    Examples
    --------
    >>> from imbtorch._fit.value_advice import advice_on_values
    >>> advice_on_values({"target_prior": 0.01}, {}, "The 'target_prior' parameter must be ...")
    'Give the share of each class by the labels of y, such as target_prior={0: 0.99, 1: 0.01}.'
    """
    name = refused.split("'")[1] if refused.count("'") > 1 else ""
    if name not in params:
        return ""
    value, allowed = params[name], constraints.get(name, ())
    if isinstance(value, str):
        words = [word for one in allowed if isinstance(one, StrOptions) for word in one.options]
        if near := get_close_matches(value.lower(), sorted(words), n=1):
            return f"Did you mean {name}={near[0]!r}?"
    advise = _ADVICE.get(name)
    return "" if advise is None else advise(value)


def refuse_boolean_threads(value: bool) -> NoReturn:
    """Raise InvalidParameterError for ``n_threads=True`` or False, which Python takes for integers.

    Parameters
    ----------
    value : bool
        The value.

    Raises
    ------
    InvalidParameterError
        Always.
    """
    raise InvalidParameterError(
        "The 'n_threads' parameter must be an int in the range [1, inf), 'auto' or None. Got "
        f"{value!r} instead. {_n_threads(value)}"
    )
