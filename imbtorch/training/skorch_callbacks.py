"""Check the callbacks that a user gives to the skorch net."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from skorch.callbacks import Callback, EarlyStopping

__all__ = ["advice_on_callback", "check_callbacks", "check_monitored"]

_PARAMETERS = {
    "earlystopping": "early_stopping=True, patience=5",
    "modelcheckpoint": "checkpoint='folder'",
    "checkpoint": "checkpoint='folder'",
    "progressbar": "verbose=1",
    "tqdm": "verbose=1",
    "lrscheduler": "lr_schedule='cosine'",
    "reducelronplateau": "lr_schedule='one_cycle'",
    "gradientnormclipping": "gradient_clipping=1.0",
}


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Raise an error for callbacks that skorch cannot call, or that have nothing to look at.

    Parameters
    ----------
    callbacks : sequence
        Callbacks of skorch, their classes, or pairs of a name and a callback.

    Raises
    ------
    TypeError
        If something else is among them; the message names the parameter that does the same.

    Examples
    --------
    >>> from imbtorch.training.skorch_callbacks import check_callbacks
    >>> check_callbacks(["early_stopping"])
    Traceback (most recent call last):
        ...
    TypeError: callbacks must be objects of skorch.callbacks, ...; got 'early_stopping'. The ...
    """
    for given in callbacks:
        callback = given[1] if isinstance(given, tuple) and len(given) == 2 else given
        is_class = isinstance(callback, type) and issubclass(callback, Callback)
        if not is_class and not isinstance(callback, Callback):
            raise TypeError(
                "callbacks must be objects of skorch.callbacks, such as "
                f"[skorch.callbacks.EpochScoring('f1')]; got {callback!r}. "
                f"{advice_on_callback(callback)}".rstrip()
            )


def advice_on_callback(callback: Any) -> str:
    """Say which parameters of the estimator do what a callback of this name does elsewhere."""
    name = callback if isinstance(callback, str) else type(callback).__name__
    same = _PARAMETERS.get("".join(c for c in name.lower() if c.isalnum()))
    return f"The estimator has parameters for this: {same}." if same else ""


def check_monitored(callbacks: Iterable[tuple[str, Any]]) -> None:
    """Raise ValueError if an ``EarlyStopping`` monitors validation rows where there are none.

    Parameters
    ----------
    callbacks : iterable of (str, Callback)
        Callbacks of a net that holds no validation rows out.

    Raises
    ------
    ValueError
        If there is one; the message says how to hold rows out.
    """
    for _, callback in callbacks:
        is_skorchs = getattr(type(callback), "on_epoch_end", None) is EarlyStopping.on_epoch_end
        if is_skorchs and callback.monitor == "valid_loss":
            raise ValueError(
                "skorch's EarlyStopping monitors 'valid_loss', but no rows are held out for "
                "validation. Use the parameters early_stopping=True, patience=5 of the estimator "
                "in its place, or hold rows out: validation_fraction=0.1."
            )
