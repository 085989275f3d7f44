"""Losses with parameters of their own, in a net that is trained further."""

from __future__ import annotations

import torch

from imbtorch.training.net import Net

__all__ = ["train_loss_parameters"]


def train_loss_parameters(net: Net, *, keep: bool) -> None:
    """Make the optimizer train the parameters of the present loss in place of the former one's.

    Parameters
    ----------
    net : Net
        A fitted net that has resumed with another loss.
    keep : bool
        Whether the present loss goes on from the values of the former one, which is its equal.
    """
    optimizer = net.optimizer_
    own = {id(p) for p in net.module_.parameters()}
    former = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in own]
    present = [p for p in net.criterion_.parameters() if p.requires_grad]
    states = {p: optimizer.state.pop(p) for p in former if p in optimizer.state}
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) in own]
    optimizer.param_groups[0]["params"] += present
    if keep:
        for old, new in zip(former, present, strict=True):
            with torch.no_grad():
                new.copy_(old)
            if old in states:
                optimizer.state[new] = states[old]
