"""Prepare a classifier so that its probabilities describe the training data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from imbtorch._fit.estimator import BaseNetEstimator
from imbtorch._fit.fit import Stackable
from imbtorch.losses import as_loss
from imbtorch.model_selection._scaling import ScaledClassifierCV

__all__ = ["describing_training_data"]


def describing_training_data(estimator: Any, calibrated: Callable[[Any], Any]) -> Any:
    """Return an unfitted classifier whose probabilities describe the training data.

    It looks at the nets inside the classifier, also inside pipelines, searches and ensembles.

    Parameters
    ----------
    estimator : classifier
        Classifier of the user, which is not changed.
    calibrated : callable(classifier) -> classifier
        Wraps a classifier so that its scores are calibrated on the training data.

    Returns
    -------
    classifier
        A clone in which each net with ``target_prior=None`` has ``target_prior="train"``. It is
        calibrated if a net has a loss without a posterior, or if something outside of the nets
        changes the class frequencies: a resampler of imbalanced-learn, or ``class_weight``.

    Raises
    ------
    ValueError
        If a frozen net would have to be changed.
    """
    honest = clone(estimator)
    parts = _parts(honest)
    if any(map(_is_calibrated, parts.values())):
        return honest
    nets = {name: part for name, part in parts.items() if _is_net(part)}
    is_known = True
    for net in nets.values():
        if not as_loss(net.loss).has_posterior:
            is_known = False
        elif net.target_prior is None:
            net.target_prior = "train"
    for name, part in parts.items():
        if isinstance(part, FrozenEstimator):
            _check_frozen(part.estimator)
        elif name not in nets and not _is_inside(name, nets) and _changes_frequencies(part):
            is_known = False
    return honest if is_known else calibrated(honest)


def _parts(estimator: Any) -> dict[str, Any]:
    """Return the estimator and everything inside of it, by the names of ``set_params``."""
    parts = {"": estimator, **estimator.get_params(deep=True)}
    for name, part in list(parts.items()):
        if isinstance(part, Stackable) and getattr(part, "estimator", part) is None:
            base: Any = part
            base.estimator = base._base  # an ensemble that was given no net has one by default
            parts[f"{name}__estimator".removeprefix("__")] = base.estimator
    frozen = {name for name, part in parts.items() if isinstance(part, FrozenEstimator)}
    return {name: part for name, part in parts.items() if not _is_inside(name, frozen)}


def _is_net(part: Any) -> bool:
    return isinstance(part, BaseNetEstimator) and hasattr(part, "target_prior")


def _is_calibrated(part: Any) -> bool:
    # one temperature makes scores less extreme, but leaves the population as it is
    is_calibrator = isinstance(part, CalibratedClassifierCV | ScaledClassifierCV)
    return is_calibrator and part.method != "temperature"


def _is_inside(name: str, owners: Iterable[str]) -> bool:
    """Return whether a part is inside of one of its owners; "" is the whole estimator."""
    return any(name.startswith(f"{owner}__") if owner else name != "" for owner in owners)


def _changes_frequencies(part: Any) -> bool:
    resamples = hasattr(part, "fit_resample") or hasattr(part, "sampling_strategy")
    return resamples or getattr(part, "class_weight", None) is not None


def _check_frozen(estimator: Any) -> None:
    """Raise ValueError if a frozen net describes another population than the training data."""
    for part in _parts(clone(estimator)).values():
        if not _is_net(part) or part.target_prior is not None:
            continue
        if as_loss(part.loss).has_posterior:
            remedy = "call set_params(target_prior='train') on the net before you freeze it"
        else:
            remedy = "wrap it in ScaledClassifierCV(method='vector') first"
        raise ValueError(
            f"cost_matrix needs probabilities that describe the training data. The frozen "
            f"{type(part).__name__} with loss={part.loss!r} and target_prior=None has others, and "
            f"a frozen estimator is not changed: {remedy}."
        )
