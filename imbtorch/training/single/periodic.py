"""Back-propagation through periodic embeddings, without an autograd graph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from imbtorch.modules import PeriodicEmbeddings

__all__ = ["PERIODIC_PARAMETERS", "Periodic"]

PERIODIC_PARAMETERS = ("frequency", "phase", "weight", "bias")
_PERIOD = 2 * math.pi


class Periodic:
    """Periodic embeddings of numbers, for one net or for each net of a stack.

    Parameters
    ----------
    layer : PeriodicEmbeddings
        The layer, or that of the first net.
    values : sequence of Tensor
        Parameters in the order of ``PERIODIC_PARAMETERS``, contiguous; with one more dimension in
        front for the nets of a stack.
    gradients : sequence of Tensor or None, default=None
        Tensors like ``values`` that get the gradients; None for predictions alone.
    """

    def __init__(
        self,
        layer: PeriodicEmbeddings,
        values: Sequence[Tensor],
        gradients: Sequence[Tensor] | None = None,
    ) -> None:
        self.places, self.n_added = layer.places, layer.added_columns
        frequency, phase, self.weight, bias = _together(layer, values)
        self.frequency, self.phase, self.bias = (
            part.unsqueeze(2) for part in (frequency, phase, bias)
        )
        self.gradients = None if gradients is None else _together(layer, gradients)

    def forward(self, x: Tensor) -> Tensor:
        """Put the functions of the numbers behind the rows, and keep the angles of the waves."""
        numbers = x.index_select(-1, self.places).mT
        self.numbers = numbers.reshape(-1, 1, x.shape[-2])
        self.angles = torch.addcmul(self.phase, _PERIOD * self.frequency, self.numbers)
        self.waves = self.angles.cos()
        functions = torch.baddbmm(self.bias, self.weight, self.waves)
        functions = functions.view(*x.shape[:-2], self.n_added, x.shape[-2])
        return torch.cat([x, functions.mT], dim=-1)

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Write the gradients of the parameters; numbers have none, because they come first."""
        assert self.gradients is not None
        frequency, phase, weight, bias = self.gradients
        width = gradient.shape[-1] - self.n_added
        of_functions = gradient[..., width:].mT.reshape(*bias.shape, -1)
        torch.bmm(of_functions, self.waves.mT, out=weight)
        torch.sum(of_functions, 2, out=bias)
        # the derivative of the cosine is minus the sine: the few sums get its sign
        of_angles = torch.bmm(self.weight.mT, of_functions).mul_(self.angles.sin_())
        torch.sum(of_angles, 2, out=phase).neg_()
        torch.sum(of_angles.mul_(self.numbers), 2, out=frequency).mul_(-_PERIOD)
        return gradient[..., :width]


def _together(layer: PeriodicEmbeddings, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Show the columns of all nets as one sequence of columns."""
    own = [getattr(layer, name).shape[1:] for name in PERIODIC_PARAMETERS]
    return [tensor.view(-1, *shape) for tensor, shape in zip(tensors, own, strict=True)]
