"""Learning rates, weight decays and freezing of parameters, by patterns of their names."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor, nn

from imbtorch.modules._embedding import own_name
from imbtorch.training.optimizers import begin_momentum
from imbtorch.training.schedules import Schedule

__all__ = ["Freezing", "check_groups", "grouped", "has_rates", "names_of", "unfreezes"]

Groups: TypeAlias = Mapping[str, Mapping[str, Any]]
Names: TypeAlias = Mapping[Tensor, list[str]]

_MOST_PATTERNS = 1_000  # a file that names more of them would take long to load
_SHOWN = 20  # names in a message


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


# each setting: what it may be, and how a message says it
_SETTINGS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "lr": (lambda v: _is_number(v) and v > 0, "a learning rate > 0, such as 1e-4"),
    "weight_decay": (lambda v: _is_number(v) and v >= 0, "a number >= 0, such as 0.0"),
    "frozen": (
        lambda v: isinstance(v, bool | np.bool_) or (_is_number(v) and 0 < v < 1),
        "True, False, or a share of the epochs in (0, 1), such as 0.5",
    ),
}


def check_groups(groups: Groups) -> None:
    """Raise ValueError if ``param_groups`` does not map patterns to known settings.

    Parameters
    ----------
    groups : mapping of str to mapping
        Value of the estimator's ``param_groups``.

    Raises
    ------
    ValueError
        If a pattern is not text, or a setting is unknown or out of range.

    Examples
    --------
    >>> check_groups({"*.bias": {"weight_decay": 0.0}})
    >>> check_groups({"*.bias": {"decay": 0.0}})
    Traceback (most recent call last):
    ...
    ValueError: param_groups['*.bias'] has the unknown setting 'decay'; the settings are ['lr', ...
    """
    if len(groups) > _MOST_PATTERNS:
        raise ValueError(
            f"param_groups has {len(groups)} patterns, more than {_MOST_PATTERNS}. Let one pattern "
            "stand for many names, as in 'backbone.*'."
        )
    for pattern, settings in groups.items():
        if not isinstance(pattern, str) or not isinstance(settings, Mapping):
            raise ValueError(
                "param_groups must map patterns of names to settings, such as {'backbone.*': "
                f"{{'lr': 1e-4}}}}; got {pattern!r}: {settings!r}."
            )
        for name, value in settings.items():
            if name not in _SETTINGS:
                raise ValueError(
                    f"param_groups[{pattern!r}] has the unknown setting {name!r}; the settings are "
                    f"{list(_SETTINGS)}."
                )
            is_valid, expected = _SETTINGS[name]
            if not is_valid(value):
                raise ValueError(
                    f"Invalid value for param_groups[{pattern!r}][{name!r}]: got {value!r}, "
                    f"expected {expected}."
                )


def has_rates(groups: Groups | None) -> bool:
    """Return whether some parameters have a learning rate or a weight decay of their own."""
    return any({"lr", "weight_decay"} & settings.keys() for settings in (groups or {}).values())


def unfreezes(groups: Groups | None) -> bool:
    """Return whether some parameters are frozen for a share of the epochs only."""
    shares = [settings.get("frozen", False) for settings in (groups or {}).values()]
    return any(0 < share < 1 for share in shares)


def names_of(module: nn.Module, loss: nn.Module) -> dict[Tensor, list[str]]:
    """Return the names of each parameter as the user knows them.

    Parameters
    ----------
    module : torch.nn.Module
        Module of a net; layers of embeddings in front of it are named ``"table..."``.
    loss : torch.nn.Module
        Loss of the net; its parameters are named ``"loss..."``.

    Returns
    -------
    dict of Tensor to list of str
        Several names of a parameter that several layers share.
    """
    names: dict[Tensor, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(own_name(module, name))
    for name, parameter in loss.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(f"loss.{name}")
    return names


def _matches(pattern: str, names: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _settings_of(groups: Groups, names: list[str]) -> dict[str, Any]:
    """Return the settings of a parameter: those of all its patterns, of which a later one wins."""
    merged: dict[str, Any] = {}
    for pattern, settings in groups.items():
        if _matches(pattern, names):
            merged.update(settings)
    return merged


def grouped(
    groups: Groups, names: Names, *, lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Divide the trained parameters into groups of one rate and one decay, for an optimizer.

    Parameters
    ----------
    groups : mapping of str to mapping
        Settings by pattern.
    names : mapping of Tensor to list of str
        Names of all parameters; see :func:`names_of`.
    lr, weight_decay : float
        Learning rate and weight decay of parameters whose patterns do not name them.

    Returns
    -------
    list of dict
        Groups as optimizers of torch take them. That with ``lr`` and ``weight_decay`` comes first;
        if it would be the only one, there are none.
    """
    check_groups(groups)
    own = (float(lr), float(weight_decay))
    parts: dict[tuple[float, float], list[Tensor]] = {own: []}
    for parameter, called in names.items():
        if parameter.requires_grad:
            settings = {"lr": lr, "weight_decay": weight_decay, **_settings_of(groups, called)}
            key = float(settings["lr"]), float(settings["weight_decay"])
            parts.setdefault(key, []).append(parameter)
    if len(parts) == 1:
        return []
    return [
        {"params": params, "lr": rate, "weight_decay": decay}
        for (rate, decay), params in parts.items()
        if params
    ]


class Freezing(Schedule):
    """Freeze parameters for the whole training, or for a share of its epochs at the start.

    A frozen parameter has ``requires_grad=False``: it has no gradient, and optimizers leave it
    alone. It is frozen as soon as this monitor is made, so that a stack knows which parameters of
    its nets are trained, until the end of the training.

    Parameters
    ----------
    net : Net
        Net that is about to be trained.
    groups : mapping of str to mapping
        Settings by pattern.
    is_chunk : bool
        Whether the training is that of a chunk, which has no share of its epochs.

    Raises
    ------
    ValueError
        If a pattern matches no parameter, or none that it could change, or if no parameter is left
        to train.
    """

    def __init__(self, net: Any, groups: Groups, *, is_chunk: bool) -> None:
        if is_chunk and unfreezes(groups):
            raise ValueError(
                f"param_groups={groups!r} freezes parameters for a share of the epochs of a fit, "
                "but partial_fit trains for one epoch on each chunk. Use frozen=True, and change "
                "it by set_params before the chunk from which the parameters shall be trained."
            )
        names = names_of(net.module_, net.criterion_)
        for pattern in groups:
            _check_pattern(pattern, groups[pattern], names)
        found = (
            (p, _settings_of(groups, called).get("frozen", False)) for p, called in names.items()
        )
        # the share of the epochs for which a parameter is frozen
        self.shares = {p: float(share) for p, share in found if share and p.requires_grad}
        if not any(p.requires_grad and p not in self.shares for p in names):
            raise ValueError(
                f"param_groups={groups!r} freezes all parameters, so that the first epoch has "
                "nothing to train. Leave some of them out, such as those of the last layer."
            )
        if unfreezes(groups):
            self.single_net_because = "param_groups unfreezes parameters during the training"
        self.apply(net, 0.0)

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """Start to count the epochs; warn if a share ends after the last epoch has begun."""
        super().begin(net, epochs, n_rows)
        last = (epochs - 1) / epochs
        never = sorted({share for share in self.shares.values() if last < share < 1})
        if never:
            warnings.warn(
                f"param_groups freezes parameters for {never[0]} of the epochs, but the last of "
                f"{epochs} epochs begins after {last:.3g} of them, so that they "
                "are never trained. Use a smaller share, more epochs, or frozen=True.",
                UserWarning,
                stacklevel=2,
            )

    def apply(self, net: Any, progress: float) -> None:
        """Let the parameters be trained whose share of the epochs is over."""
        thawed = {p for p, share in self.shares.items() if progress >= share}
        begin_momentum(net.optimizer_, thawed)
        for parameter in self.shares:
            parameter.requires_grad_(parameter in thawed)

    def end(self, net: Any, completed: bool) -> None:
        """Let all parameters be trained by whatever follows."""
        for parameter in self.shares:
            parameter.requires_grad_(True)


def _check_pattern(pattern: str, settings: Mapping[str, Any], names: Names) -> None:
    """Raise ValueError if a pattern matches no parameter, or its settings could change none."""
    matching = [p for p, called in names.items() if _matches(pattern, called)]
    if not matching:
        known = [name for called in names.values() for name in called]
        near = known if len(known) <= _SHOWN else get_close_matches(pattern, known, _SHOWN, 0.0)
        raise ValueError(
            f"param_groups has the pattern {pattern!r}, which matches no parameter. "
            + (
                "The parameters are "
                if near is known
                else f"Of {len(known)} names the nearest are "
            )
            + f"{', '.join(near)}."
        )
    only_frozen = set(settings) == {"frozen"} and settings["frozen"] == 1
    if not only_frozen and not any(p.requires_grad for p in matching):
        raise ValueError(
            f"param_groups[{pattern!r}]={dict(settings)!r} matches only parameters that the module "
            "itself does not train: their requires_grad is False. Let the module set it to True, "
            "and freeze them here."
        )
