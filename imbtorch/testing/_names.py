"""Names for the length of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from imbtorch._common.registry import Registry
from imbtorch.losses._base import LOSSES
from imbtorch.losses.regression._base import REGRESSION_LOSSES
from imbtorch.modules._build import MODULES
from imbtorch.samplers._base import SAMPLERS

__all__ = ["temporary_names"]


@contextmanager
def temporary_names() -> Iterator[None]:
    """Forget at the end all names that were registered inside the ``with`` statement.

    A loss, sampler or module builder with a ``name`` is known by it as long as the process lives. A
    test that defines such a class defines it inside of this, so that other tests do not find it.

    Examples
    --------
    >>> from imbtorch.losses import BaseLoss, all_losses
    >>> from imbtorch.testing import temporary_names
    >>> with temporary_names():
    ...
    ...     class ToyLoss(BaseLoss):
    ...         name = "toy"
    ...
    ...     "toy" in all_losses()
    True
    >>> "toy" in all_losses()
    False
    """
    registries: tuple[Registry[Any], ...] = (LOSSES, REGRESSION_LOSSES, SAMPLERS, MODULES)
    before = [dict(registry) for registry in registries]
    try:
        yield
    finally:
        for registry, names in zip(registries, before, strict=True):
            registry.clear()
            registry.update(names)
