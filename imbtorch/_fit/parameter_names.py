"""What to say about names of parameters that cannot be set."""

from __future__ import annotations

from typing import Any

from imbtorch._fit.argument_advice import advice_on_argument

__all__ = ["check_names"]

_INSTEAD = {  # what skorch sets by such names
    "optimizer": "Give a callable, such as functools.partial(torch.optim.SGD, momentum=0.9); rates "
    "and decays of some parameters are set by param_groups.",
    "callbacks": "Give callbacks that have been set up, such as [EpochScoring('roc_auc')].",
}


def check_names(estimator: Any, params: dict[str, Any]) -> None:
    """Raise ValueError for names of other libraries, and for parameters of what has none.

    Parameters
    ----------
    estimator : estimator instance
        The estimator whose parameters are set.
    params : dict of str to object
        What is given to ``set_params``.
    """
    named = estimator.get_params(deep=False)
    for name in {name.partition("__")[0] for name in params} - named.keys():
        if advice := advice_on_argument(type(estimator), name):
            raise ValueError(
                f"Invalid parameter {name!r} for estimator {type(estimator).__name__}. {advice}"
            )
    for name in params:
        key, is_nested, _ = name.partition("__")
        value = params.get(key, named.get(key))
        if not is_nested or key not in named or key in estimator._components:
            continue
        if not hasattr(value, "set_params"):
            raise ValueError(
                f"{name} cannot be set, because {key}={value!r} has no parameters. "
                + _INSTEAD.get(key, f"Set {key} itself.")
            )
