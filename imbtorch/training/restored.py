"""Put a net together from parts that were trained elsewhere."""

from __future__ import annotations

from typing import Any

from torch import nn

from imbtorch.losses import BaseLoss
from imbtorch.training.net import Net, NetHistory, half_of, new_net
from imbtorch.training.net_spec import NetSpec

__all__ = ["restored_net"]


def restored_net(
    module: nn.Module, loss: BaseLoss, spec: NetSpec, records: list[dict[str, Any]]
) -> Net:
    """Make a net of parts that were trained elsewhere, with a new optimizer.

    Parameters
    ----------
    module, loss : torch.nn.Module
        Trained parts, in the dtype of ``spec``.
    spec : NetSpec
        What else the net is made of.
    records : list of dict
        What the history tells of each epoch.

    Returns
    -------
    Net
        The net as training left it, but for the state of the optimizer.
    """
    net = new_net(module.to(spec.device), loss.to(spec.device), spec)
    net.module_.train(False)
    net.half = half_of(spec)
    net.history_ = NetHistory(records)
    return net
