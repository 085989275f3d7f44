"""Prepare a classifier so that its probabilities describe the training data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from imbtorch._fit.estimator import BaseNetEstimator
from imbtorch._fit.fit import Stackable
from imbtorch.losses import as_loss
from imbtorch.model_selection._scaling import ScaledClassifierCV

__all__ = ["check_frozen", "describing_training_data"]


def describing_training_data(estimator: Any, calibrated: Callable[[Any], Any]) -> Any:
    """Return an unfitted classifier whose probabilities describe the training data.

    It looks at the nets inside the classifier, also inside pipelines, searches and ensembles, and
    at the values that a search tries.

    Parameters
    ----------
    estimator : classifier
        Classifier of the user, which is not changed.
    calibrated : callable(classifier) -> classifier
        Wraps a classifier so that its scores are calibrated on the training data.

    Returns
    -------
    classifier
        A clone in which each net with ``target_prior=None`` has ``target_prior="train"``, as have
        the grids of searches. It is calibrated if a net has a loss without a posterior, or if
        something outside of the nets changes the class frequencies: a resampler of
        imbalanced-learn, or ``class_weight``.

    Raises
    ------
    ValueError
        If a frozen net would have to be changed.
    """
    honest = clone(estimator)
    if not _restated(honest):
        return calibrated(honest)
    for search in _parts(honest).values():
        for grid in _grids(search):
            _restate_targets(grid)
    return honest


def _restated(estimator: Any) -> bool:
    """Restate the nets inside, and return whether the probabilities describe the training data."""
    parts = _parts(estimator)
    if any(map(_is_calibrated, parts.values())):
        return True
    is_known, left_alone = True, set()
    for name, part in parts.items():
        for candidate in _candidates(part):
            is_known = _restated(candidate) and is_known
            if not all(map(_has_posterior, _parts(candidate).values())):
                left_alone.add(name)  # target_prior="train" would be an error for this candidate
    nets = {name: part for name, part in parts.items() if _is_net(part)}
    for name, net in nets.items():
        if not _has_posterior(net):
            is_known = False
        elif net.target_prior is None and not _is_inside(name, left_alone):
            net.target_prior = "train"
    for name, part in parts.items():
        if isinstance(part, FrozenEstimator):
            check_frozen(part.estimator)
        elif name not in nets and not _is_inside(name, nets) and _changes_frequencies(part):
            is_known = False
    return is_known


def _grids(part: Any) -> list[dict[str, Any]]:
    """Return the grids of a search, from the names of parameters to their values."""
    given = getattr(part, "param_grid", getattr(part, "param_distributions", None)) or []
    return [given] if isinstance(given, dict) else list(given)


def _candidates(search: Any) -> Iterator[Any]:
    """Yield what a search tries, each time with one of the values of its grids set."""
    for grid in _grids(search):
        for name, values in grid.items():
            if isinstance(values, Iterable) and not _is_target(name):
                candidate = clone(search.estimator)
                for value in values:
                    yield candidate.set_params(**{name: value})


def _restate_targets(grid: dict[str, Any]) -> None:
    """Let ``target_prior=None`` in a grid mean the training data."""
    for name, values in grid.items():
        if isinstance(values, Iterable) and _is_target(name):
            grid[name] = ["train" if value is None else value for value in values]


def _is_target(name: str) -> bool:
    return name.rpartition("__")[2] == "target_prior"


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


def _has_posterior(part: Any) -> bool:
    return not _is_net(part) or as_loss(part.loss).has_posterior


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


def check_frozen(estimator: Any) -> None:
    """Raise ValueError if a fitted classifier describes another population than its training data.

    Parameters
    ----------
    estimator : classifier
        Fitted classifier, which is not changed.

    Raises
    ------
    ValueError
        If a net inside does not restate its probabilities, or a resampler or class weights have
        changed the class frequencies; unless the probabilities are calibrated.
    """
    parts = _parts(clone(estimator))
    if any(map(_is_calibrated, parts.values())):
        return
    nets = {name for name, part in parts.items() if _is_net(part)}
    for name, part in parts.items():
        if name not in nets and not _is_inside(name, nets) and _changes_frequencies(part):
            raise ValueError(
                f"Costs need probabilities that describe the training data. The fitted "
                f"{type(part).__name__} has class weights or resamples the rows, so that the "
                "probabilities describe other class frequencies. Calibrate them: "
                "ScaledClassifierCV(estimator, method='vector')."
            )
        if name not in nets or part.target_prior is not None:
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
