"""Losses of continuous targets, usable by name in a regressor and alone in any training loop.

Some names, such as ``MSELoss``, are also names of losses of classes; so they stay in this
namespace.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from imbtorch.losses._base import BaseLoss
from imbtorch.losses.regression._balanced_mse import BalancedMSELoss
from imbtorch.losses.regression._base import REGRESSION_LOSSES, BaseRegressionLoss
from imbtorch.losses.regression._elementwise import HuberLoss, L1Loss, MSELoss, QuantileLoss
from imbtorch.losses.regression._focal_r import FocalRLoss
from imbtorch.losses.regression._torch import TorchRegressionLoss, adapt

__all__ = [
    "BalancedMSELoss",
    "BaseRegressionLoss",
    "FocalRLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "QuantileLoss",
    "TorchRegressionLoss",
    "all_regression_losses",
    "as_regression_loss",
    "get_regression_loss",
]


def all_regression_losses() -> dict[str, type[BaseRegressionLoss]]:
    """List every loss of continuous targets that can be given by name.

    Returns
    -------
    dict
        Names mapped to classes, in alphabetical order.

    Examples
    --------
    >>> from imbtorch.losses.regression import all_regression_losses
    >>> "balanced_mse" in all_regression_losses()
    True
    """
    return REGRESSION_LOSSES.sorted_by_name()


def get_regression_loss(name: str) -> BaseRegressionLoss:
    """Build the loss of this name with its default hyper-parameters.

    Parameters
    ----------
    name : str
        One of the keys of :func:`all_regression_losses`.

    Returns
    -------
    BaseRegressionLoss
        A new object.

    Raises
    ------
    ValueError
        If there is no such loss; the message lists those that exist.

    Examples
    --------
    >>> from imbtorch.losses.regression import get_regression_loss
    >>> get_regression_loss("huber")
    HuberLoss()
    """
    return REGRESSION_LOSSES[name]()


def as_regression_loss(loss: Any) -> BaseRegressionLoss:
    """Turn a name, an imbtorch loss or an elementwise module into a new loss object.

    Parameters
    ----------
    loss : str, BaseRegressionLoss, torch.nn.Module, or a class of the last two
        What the user gave.

    Returns
    -------
    BaseRegressionLoss
        A new, unprepared object: the user's own stays as it is.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If it is something else.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses.regression import as_regression_loss
    >>> as_regression_loss(torch.nn.SmoothL1Loss)
    TorchRegressionLoss(SmoothL1Loss())
    """
    if isinstance(loss, str):
        return get_regression_loss(loss)
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        loss = loss()
    if isinstance(loss, BaseRegressionLoss):
        return loss.__sklearn_clone__()
    if isinstance(loss, nn.Module) and not isinstance(loss, BaseLoss):
        return adapt(loss)
    raise TypeError(
        f"loss must be a name ({', '.join(map(repr, sorted(REGRESSION_LOSSES)))}), an object from "
        f"imbtorch.losses.regression or an elementwise loss of torch; got {loss!r}."
    )
