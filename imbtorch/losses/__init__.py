"""Losses for imbalanced data, usable by name in an estimator and alone in any training loop.

A new loss is one class in one family file: it is found here because its file is star-imported.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from imbtorch.losses._auc import *
from imbtorch.losses._base import LOSSES, BaseLoss
from imbtorch.losses._cross_entropy import *
from imbtorch.losses._focal import *
from imbtorch.losses._hinge import *
from imbtorch.losses._label_rebalancing import *
from imbtorch.losses._logit_adjustment import *
from imbtorch.losses._margin import *
from imbtorch.losses._multilabel import *
from imbtorch.losses._ordinal import *
from imbtorch.losses._overlap import *
from imbtorch.losses._robust import *
from imbtorch.losses._top_ranking import *
from imbtorch.losses._torch import TorchLoss, adapt

from imbtorch.losses import (  # isort: skip
    _auc,
    _cross_entropy,
    _focal,
    _hinge,
    _label_rebalancing,
    _logit_adjustment,
    _margin,
    _multilabel,
    _ordinal,
    _overlap,
    _robust,
    _top_ranking,
)

__all__ = ["BaseLoss", "TorchLoss", "all_losses", "as_loss", "get_loss"]
__all__ += _auc.__all__
__all__ += _cross_entropy.__all__
__all__ += _focal.__all__
__all__ += _hinge.__all__
__all__ += _label_rebalancing.__all__
__all__ += _logit_adjustment.__all__
__all__ += _margin.__all__
__all__ += _multilabel.__all__
__all__ += _ordinal.__all__
__all__ += _overlap.__all__
__all__ += _robust.__all__
__all__ += _top_ranking.__all__


def all_losses() -> dict[str, type[BaseLoss]]:
    """List every loss that can be given by name.

    Returns
    -------
    dict
        Names mapped to classes, in alphabetical order.

    Examples
    --------
    >>> from imbtorch.losses import all_losses
    >>> "focal" in all_losses()
    True
    """
    return LOSSES.sorted_by_name()


def get_loss(name: str) -> BaseLoss:
    """Build the loss of this name with its default hyper-parameters.

    Parameters
    ----------
    name : str
        One of the keys of :func:`all_losses`.

    Returns
    -------
    BaseLoss
        A new object.

    Raises
    ------
    ValueError
        If there is no such loss; the message lists those that exist.

    Examples
    --------
    >>> from imbtorch.losses import get_loss
    >>> get_loss("focal")
    FocalLoss()
    """
    return LOSSES[name]()


def as_loss(loss: Any) -> BaseLoss:
    """Turn a name, an imbtorch loss or one of torch's losses into a new loss object.

    Parameters
    ----------
    loss : str, BaseLoss, torch.nn.Module, or a class of the last two
        What the user gave.

    Returns
    -------
    BaseLoss
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
    >>> from imbtorch.losses import as_loss
    >>> as_loss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    CrossEntropyLoss(label_smoothing=0.1)
    """
    if isinstance(loss, str):
        return get_loss(loss)
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        loss = loss()
    if isinstance(loss, BaseLoss):
        return loss.__sklearn_clone__()
    if isinstance(loss, nn.Module):
        return adapt(loss)
    raise TypeError(
        f"loss must be a name ({', '.join(map(repr, sorted(LOSSES)))}), an object from "
        f"imbtorch.losses or one of torch's losses; got {loss!r}."
    )
