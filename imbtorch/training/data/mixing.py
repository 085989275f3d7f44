"""Batches of mixed rows: each row has its own target and the target of its mixing partner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imbtorch._common.inputs import InputBatch

__all__ = ["MixedTargets", "Mixing"]


@dataclass(frozen=True)
class MixedTargets:
    """Two targets of each row, with the factor of each in the loss.

    Attributes
    ----------
    own, partner : Tensor of shape (b,) or (b, l)
        Targets of the row and of its partner.
    own_share, partner_share : Tensor
        Factors of the two targets in the loss of the batch; they replace the batch's ``share``.
    """

    own: Tensor
    partner: Tensor
    own_share: Tensor
    partner_share: Tensor

    def __getitem__(self, rows: slice) -> MixedTargets:
        """Return the targets of neighbouring rows."""
        fields = self.own, self.partner, self.own_share, self.partner_share
        return MixedTargets(*(field[rows] for field in fields))

    def parts(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return two pairs of target and share."""
        return (self.own, self.own_share), (self.partner, self.partner_share)


class Mixing:
    """Mix the rows of the batches, epoch after epoch.

    Parameters
    ----------
    sampler : object with ``mix(x, codes, counts, rng)``
        Sampler that mixes rows, such as :class:`imbtorch.samplers.Mixup`.
    counts : ndarray of shape (n_classes,)
        Number of training rows of each class.
    seed : int
        Seed of the random numbers.
    """

    def __init__(self, sampler: Any, counts: Any, seed: int) -> None:
        self.sampler, self.counts, self.seed = sampler, torch.as_tensor(counts), seed
        self.epoch = 0

    def __call__(
        self, batches: Iterator[tuple[Tensor, Tensor, Tensor]]
    ) -> Iterator[tuple[Tensor, MixedTargets, Tensor]]:
        """Yield the batches of the next epoch with their rows mixed.

        Raises
        ------
        ValueError
            If the rows are integers, which cannot be mixed, or have several inputs.
        """
        rng = np.random.default_rng([self.seed, self.epoch, 1])  # the row order uses [seed, epoch]
        self.epoch += 1
        for x, target, share in batches:
            if isinstance(x, InputBatch):
                raise ValueError(
                    f"{type(self.sampler).__name__} mixes the rows of one array, but X has several "
                    "inputs, or sequences of unequal length. Use a sampler that draws rows, or mix "
                    "them in forward of the module."
                )
            if not x.is_floating_point():
                raise ValueError(
                    f"{type(self.sampler).__name__} mixes rows, which makes values in between, but "
                    "the module gets integers. Use a sampler that draws rows, or mix the features "
                    "of the embedding in the module."
                )
            counts = self.counts.to(target.device)
            mixed = self.sampler.mix(x, target, counts, rng)
            own = mixed.own_share.reshape(-1, *[1] * (share.ndim - 1)).to(share.dtype)
            partner_share = share[mixed.partner] * (1 - own)
            targets = MixedTargets(target, mixed.partner_codes, share * own, partner_share)
            yield mixed.x, targets, share
