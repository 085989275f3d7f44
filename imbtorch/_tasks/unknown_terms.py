"""Check and warn where some labels of some rows are not known."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imbtorch.losses import BaseLoss

__all__ = ["check_leaves_out", "tell_of_untrained"]


def check_leaves_out(loss: BaseLoss, n_labels: int) -> None:
    """Raise ValueError if a loss trains an output though its label is not known.

    A copy of the loss is tried on a small batch, in which the first label of the first row has the
    share 0, as labels have that are not known.

    Parameters
    ----------
    loss : BaseLoss
        Prepared loss, which is not changed.
    n_labels : int
        Number of labels.

    Raises
    ------
    ValueError
        If the output of that label has a gradient.
    """
    tried = copy.deepcopy(loss).train()
    with torch.inference_mode(False), torch.enable_grad():
        logits = torch.linspace(-1, 1, 4 * n_labels, dtype=torch.float64).reshape(4, -1)
        logits.requires_grad_()
        places = torch.arange(4).unsqueeze(1) + torch.arange(n_labels)
        target = places.remainder(2).double()  # both values in each row and each column
        share = torch.full_like(logits, 1 / logits.numel(), requires_grad=False)
        share[0, 0] = 0
        tried.batch_loss(logits, target, share).backward()
    if logits.grad is None or logits.grad[0, 0] != 0:
        raise ValueError(
            f"y has labels that are not known (NaN), and loss={loss} cannot leave out single "
            "labels of a row: it gives a label of share 0 a gradient. Use a loss that weighs each "
            "label, such as 'bce' or 'focal', multiply by share in batch_loss of your own loss, or "
            "leave out the rows with unknown labels."
        )


def tell_of_untrained(labels: NDArray[np.integer[Any]], n_labels: int) -> None:
    """Warn of labels that no row knows.

    Parameters
    ----------
    labels : ndarray of int
        Numbers of these labels.
    n_labels : int
        Number of all labels.

    Raises
    ------
    ValueError
        If these are all labels.

    Warns
    -----
    UserWarning
        If these are some of the labels.
    """
    if len(labels) == n_labels:
        raise ValueError(
            "No label of y is known in any row of the training part: every value is NaN. Give 0 or "
            "1 where a label is known."
        )
    shown = ", ".join(map(str, labels[:10].tolist())) + (", ..." if len(labels) > 10 else "")
    warnings.warn(
        f"{len(labels)} of {n_labels} labels are not known in any row of the training part (every "
        f"value is NaN): {shown}, counted from 0. Their outputs are not trained, and start at "
        "'absent': do not use their predictions. Leave these columns out of y, or add rows in "
        "which the labels are known.",
        UserWarning,
        stacklevel=2,
    )
