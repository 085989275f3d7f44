"""Continue the training of a fitted net, in a copy."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from imbtorch.training.net import Net

__all__ = ["continued_net"]


def continued_net(
    former: Net,
    loss: Any,
    *,
    batch_size: int,
    lr: float,
    weight_decay: float,
    callbacks: Sequence[Any] | None,
) -> Net:
    """Copy a fitted net, so that a failure cannot harm it, and give the copy new settings.

    Parameters
    ----------
    former : Net
        A fitted net; module, optimizer, dtype and device of the copy are its own.
    loss : BaseLoss or BaseRegressionLoss
        Prepared loss for the rows to come.
    batch_size : int
        Number of rows of a batch.
    lr, weight_decay : float
        Learning rate and weight decay from now on.
    callbacks : list of skorch callbacks or None
        Callbacks of the user.

    Returns
    -------
    Net
        The copy; the state of its optimizer is kept for further trainings.
    """
    # finished epochs do not change: a stream of many chunks must not copy them each time
    net = copy.deepcopy(former, {id(former.history_): copy.copy(former.history_)})
    net.resume(loss.to(torch.device(net.device), net.dtype), callbacks)
    net.batch_size, net.keeps_optimizer = batch_size, True
    for group in net.optimizer_.param_groups:
        group.update(lr=lr, weight_decay=weight_decay)
    _train_loss_parameters(net, former.criterion_)
    return net


def _train_loss_parameters(net: Net, former: Any) -> None:
    """Make the optimizer train the parameters of the new loss in place of the old ones.

    A new loss with the settings of the old one starts with the values of the old one.

    Parameters
    ----------
    net : Net
        A copy of a fitted net, which continues its training with a new loss object.
    former : BaseLoss or BaseRegressionLoss
        Loss with which the net was trained before.
    """
    if not any(True for loss in (former, net.criterion_) for _ in loss.parameters()):
        return
    keep = type(former) is type(net.criterion_) and (
        former.get_params() == net.criterion_.get_params()
    )
    optimizer = net.optimizer_
    own = {id(p) for p in net.module_.parameters()}
    old = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in own]
    new = [p for p in net.criterion_.parameters() if p.requires_grad]
    states = {p: optimizer.state.pop(p) for p in old if p in optimizer.state}
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) in own]
    optimizer.param_groups[0]["params"] += new
    if keep:
        for before, after in zip(old, new, strict=True):
            with torch.no_grad():
                after.copy_(before)
            if before in states:
                optimizer.state[after] = states[before]
