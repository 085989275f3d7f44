"""Which rows an epoch sees: samplers by index, mixing of rows, and imbalanced-learn's samplers.

A new sampler is one subclass of ``BaseSampler``, imported here.
"""

from __future__ import annotations

from imbtorch._common.registry import unknown_name
from imbtorch.samplers._base import BaseSampler, Plan
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
    classes = (cls for cls in BaseSampler.__subclasses__() if cls.name)
    return {cls.name: cls for cls in sorted(classes, key=lambda cls: cls.name)}


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
    samplers = all_samplers()
    if name not in samplers:
        otherwise = "give a sampler of imbalanced-learn, such as imblearn.over_sampling.SMOTE()"
        raise ValueError(unknown_name("sampler", name, samplers, otherwise))
    return samplers[name]()
