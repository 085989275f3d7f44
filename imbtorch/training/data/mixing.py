"""Batches of mixtures: each row has two targets, its own and that of the row it was mixed with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["MixedTargets", "Mixing"]


@dataclass(frozen=True)
class MixedTargets:
    """Two targets of each row, with what each counts in the loss.

    Attributes
    ----------
    own, partner : Tensor of shape (b,) or (b, l)
        Targets.
    own_share, partner_share : Tensor
        Shares of the rows in the loss of the batch; they take the place of its ``share``.
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
        """Pairs of target and share."""
        return (self.own, self.own_share), (self.partner, self.partner_share)


class Mixing:
    """Mix the batches of one epoch after the other.

    Parameters
    ----------
    sampler : object with ``mix(x, codes, counts, rng)``
        Such as :class:`imbtorch.samplers.Mixup`.
    counts : ndarray of shape (n_classes,)
        Rows of each class in the training part.
    seed : int
        Seed of the draws.
    """

    def __init__(self, sampler: Any, counts: Any, seed: int) -> None:
        self.sampler, self.counts, self.seed = sampler, torch.as_tensor(counts), seed
        self.epoch = 0

    def __call__(
        self, batches: Iterator[tuple[Tensor, Tensor, Tensor]]
    ) -> Iterator[tuple[Tensor, MixedTargets, Tensor]]:
        """Yield the batches of the next epoch with their rows mixed."""
        rng = np.random.default_rng([self.seed, self.epoch, 1])  # the order has [seed, epoch]
        self.epoch += 1
        for x, target, share in batches:
            counts = self.counts.to(target.device)
            mixed = self.sampler.mix(x, target, counts, rng)
            own = mixed.own_share.reshape(-1, *[1] * (share.ndim - 1)).to(share.dtype)
            partner_share = share[mixed.partner] * (1 - own)
            targets = MixedTargets(target, mixed.partner_codes, share * own, partner_share)
            yield mixed.x, targets, share
