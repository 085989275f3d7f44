"""The loss of modules that return several outputs for each row: the mean over their members."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from imbtorch.losses._base import BaseLoss
from imbtorch.losses._shapes import fold_members
from imbtorch.losses.regression import BaseRegressionLoss

__all__ = ["batch_loss_of_members", "sums_over_members"]


def batch_loss_of_members(loss: Any, output: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Mean over the members of ``loss.batch_loss(output of a member, target, share)``.

    Parameters
    ----------
    loss : BaseLoss or BaseRegressionLoss
        Prepared loss.
    output : Tensor of shape (n, k, c)
        Outputs of k members for each row.
    target, share : Tensor
        Targets and shares of the rows, as ``loss.batch_loss`` takes them.

    Returns
    -------
    Tensor
        A scalar.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import CrossEntropyLoss
    >>> from imbtorch.losses._members import batch_loss_of_members
    >>> loss, output = CrossEntropyLoss(), torch.tensor([[[0.0, 0.0], [0.0, 50.0]]])
    >>> round(batch_loss_of_members(loss, output, torch.tensor([1]), torch.ones(1)).item(), 4)
    0.3466
    """
    if sums_over_members(loss):
        value: Tensor = loss.batch_loss(*fold_members(output, target, share))
        return value
    if hasattr(loss, "batch_loss_of_members"):
        of_members: Tensor = loss.batch_loss_of_members(output, target, share)
        return of_members
    values = [loss.batch_loss(own, target, share) for own in output.unbind(1)]
    return torch.stack(values).mean()


def sums_over_members(loss: Any) -> bool:
    """Return whether a batch loss is a sum over rows, so that members may be rows of one batch.

    A loss with a ``batch_loss`` of its own may do anything with the rows of a batch.
    """
    inherited = (BaseLoss.batch_loss, BaseRegressionLoss.batch_loss)
    return bool(loss.sums_over_rows) and type(loss).batch_loss in inherited
