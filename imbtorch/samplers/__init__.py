"""Samplers, which decide which rows an epoch sees, and mixing of rows.

A new sampler is one subclass of ``BaseSampler``, imported here.
"""

from __future__ import annotations

from imbtorch.samplers._base import SAMPLERS, BaseSampler, Plan
from imbtorch.samplers._class_draws import (
    ClassBalancedSampler,
    PowerSampler,
    ProgressiveSampler,
    SquareRootSampler,
)
from imbtorch.samplers._cycles import ClassAwareSampler, ExactBatchSampler, UnderSampler
from imbtorch.samplers._imblearn import resample
from imbtorch.samplers._mixing import Mixed, Mixup, Remix
from imbtorch.samplers._repeat_factor import RepeatFactorSampler
from imbtorch.samplers._subsets import BalancedSubsetSampler, BootstrapSampler

__all__ = [
    "BalancedSubsetSampler",
    "BaseSampler",
    "BootstrapSampler",
    "ClassAwareSampler",
    "ClassBalancedSampler",
    "ExactBatchSampler",
    "Mixed",
    "Mixup",
    "Plan",
    "PowerSampler",
    "ProgressiveSampler",
    "Remix",
    "RepeatFactorSampler",
    "SquareRootSampler",
    "UnderSampler",
    "all_samplers",
    "get_sampler",
    "resample",
]


def all_samplers() -> dict[str, type[BaseSampler]]:
    """List every sampler that can be given by name.

    Returns
    -------
    dict
        Names mapped to classes, in alphabetical order.

    Examples
    --------
    >>> from imbtorch.samplers import all_samplers
    >>> "class_balanced" in all_samplers()
    True
    """
    return SAMPLERS.sorted_by_name()


def get_sampler(name: str) -> BaseSampler:
    """Build the sampler of this name with its default parameters.

    Parameters
    ----------
    name : str
        One of the keys of :func:`all_samplers`.

    Returns
    -------
    BaseSampler
        A new object.

    Raises
    ------
    ValueError
        If there is no such sampler; the message lists those that exist.

    Examples
    --------
    >>> from imbtorch.samplers import get_sampler
    >>> get_sampler("repeat_factor")
    RepeatFactorSampler()
    """
    return SAMPLERS[name]()
