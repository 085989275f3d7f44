"""The shift from the population of a loss to the one that ``target_prior`` names, as a tensor.

For a single row it takes as long as the net, so shifts are remembered: by all the numbers that they
follow from, and not by the objects that hold these, which may change.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imbtorch._tasks.base import ClassificationTask

__all__ = ["target_shift"]

Floats = NDArray[np.float64]
_MOST = 64  # shifts that are remembered
_remembered: dict[Hashable, Tensor] = {}


def target_shift(
    task: ClassificationTask,
    loss: Any,
    target_prior: Any,
    effective_prior: Floats,
    class_prior: Floats,
    device: str,
    dtype: torch.dtype,
) -> Tensor | None:
    """Return :meth:`ClassificationTask.log_target_shift` as a tensor, which nobody may change.

    Parameters
    ----------
    task : ClassificationTask
        Task of the net.
    loss : BaseLoss
        Prepared loss of the net.
    target_prior : object
        Parameter of the estimator.
    effective_prior, class_prior : ndarray of shape (n_outputs,)
        Population of the loss, and of the training data.
    device : str
        Device of the net.
    dtype : torch.dtype
        Dtype of its outputs.

    Returns
    -------
    Tensor of shape (n_outputs,) or None
        None without a target prior.

    Raises
    ------
    ValueError
        As :meth:`ClassificationTask.log_target_shift`.
    """
    if target_prior is None:
        return None
    numbers, key = _numbers(target_prior), None
    if numbers is not None and loss.has_posterior_for(task):
        key = (
            type(task),
            numbers,
            effective_prior.tobytes(),
            class_prior.tobytes(),
            device,
            dtype,
        )
        known = _remembered.get(key)
        if known is not None:
            return known
    shift = task.log_target_shift(loss, target_prior, effective_prior, class_prior)
    with torch.inference_mode(False):  # a later caller may need a tensor that autograd takes
        moved = torch.from_numpy(shift).to(device, dtype)
    if key is not None:
        if len(_remembered) >= _MOST:
            _remembered.clear()
        _remembered[key] = moved
    return moved


def _numbers(target_prior: Any) -> Hashable | None:
    """Return a name, or the shares of the classes in their order; None for shares by label."""
    if isinstance(target_prior, str):
        return target_prior
    if type(target_prior) is np.ndarray and target_prior.dtype == np.float64:
        return tuple(target_prior.tolist()) if target_prior.ndim == 1 else None
    is_list = type(target_prior) in (list, tuple)
    return tuple(target_prior) if is_list and {*map(type, target_prior)} == {float} else None
