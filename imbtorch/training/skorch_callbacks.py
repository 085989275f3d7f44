"""What the callbacks of skorch that a user gives need of a training: checks, and hooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sklearn.base import clone
from skorch.callbacks import (
    Callback,
    MlflowLogger,
    NeptuneLogger,
    SacredLogger,
    TensorBoard,
    WandbLogger,
)

__all__ = [
    "advice_on_callback",
    "batch_hooks",
    "check_callbacks",
    "check_monitored",
    "refuse_to_copy",
]

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")
# Loggers of skorch whose hook for batches does nothing unless their `log_on_batch_end` is true.
_LOGGERS = {
    logger.on_batch_end for logger in (MlflowLogger, NeptuneLogger, SacredLogger, TensorBoard)
}
# What is in the history only if rows are held out.
_OF_VALIDATION = {"valid_loss", "valid_loss_best", "valid_score", "valid_score_best"}
_WITHOUT_VALIDATION = {
    "EarlyStopping": "Or use the parameters early_stopping=True, patience=5 of the estimator.",
    "WandbLogger": "Or do not let it save weights: WandbLogger(run, save_model=False).",
}

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
    """Raise ValueError if a callback reads what only a net with validation rows records.

    Parameters
    ----------
    callbacks : iterable of (str, Callback)
        Callbacks of a net that holds no validation rows out.

    Raises
    ------
    ValueError
        If there is one; the message says how to hold rows out.
    """
    pairs = list(callbacks)
    own = {getattr(callback, name, None) for _, callback in pairs for name in ("name", "name_")}
    for _, callback in pairs:
        name = type(callback).__name__
        # the callback of optuna keeps its argument under a private name
        monitor = getattr(callback, "monitor", getattr(callback, "_monitor", None))
        if _has_own_end_of_epoch(type(callback)):
            monitor = None
        if isinstance(callback, WandbLogger) and callback.save_model:
            monitor = "valid_loss_best"  # it saves the weights of these epochs
        if isinstance(monitor, str) and monitor in _OF_VALIDATION - own:
            advice = _WITHOUT_VALIDATION.get(name, "")
            raise ValueError(
                f"{name} monitors {monitor!r}, but no rows are held out for validation. Hold rows "
                f"out: validation_fraction=0.1. {advice}".rstrip()
            )


def _has_own_end_of_epoch(kind: type) -> bool:
    """Return whether a class takes its arguments from a base, but not what it does with them."""
    first = {}
    for name in ("on_epoch_end", "__init__"):
        first[name] = next(base for base in kind.__mro__ if name in vars(base))
    return first["on_epoch_end"] is not first["__init__"] and issubclass(
        first["on_epoch_end"], first["__init__"]
    )


def refuse_to_copy(callbacks: Iterable[Any], error: Exception) -> None:
    """Raise TypeError if a callback cannot be copied, as ``sklearn.base.clone`` copies it.

    Parameters
    ----------
    callbacks : iterable
        Callbacks of an estimator that could not be cloned.
    error : Exception
        What went wrong.

    Raises
    ------
    TypeError
        If a callback is the reason; the message names it, and says what to do.
    """
    for given in callbacks:
        callback = given[1] if isinstance(given, tuple) and len(given) == 2 else given
        try:
            clone(callback, safe=False)
        except Exception:
            raise TypeError(
                f"The callback {type(callback).__name__} cannot be copied ({error}). Searches, "
                "cross-validation and ensembles fit copies of an estimator, with its callbacks. "
                "Give a callback that opens files and connections in on_train_begin, not in its "
                "constructor, or use callbacks=None."
            ) from error


def batch_hooks(callbacks: Iterable[tuple[str, Any]]) -> frozenset[str]:
    """Return the hooks for batches in which a callback does something.

    Parameters
    ----------
    callbacks : iterable of (str, Callback)
        Callbacks of a net.

    Returns
    -------
    frozenset of str
        Names of the hooks. With any of them, a training computes its batches one by one for the
        callbacks, which takes longer.
    """
    return frozenset(
        hook for hook in _BATCH_HOOKS for _, callback in callbacks if _acts(callback, hook)
    )


def _acts(callback: Any, hook: str) -> bool:
    method = getattr(type(callback), hook)
    if method in _LOGGERS:
        return bool(getattr(callback, "log_on_batch_end", False))
    return method is not getattr(Callback, hook)
