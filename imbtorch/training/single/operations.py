"""Operations without parameters that only recorded modules have, and their gradients.

:class:`Scaling` and :class:`Flattening` read one value, as the layers of a chain do.
:class:`ElementwiseSum` and :class:`ColumnConcatenation` read several values, in a
:class:`~imbtorch.training.single.layer_graph.LayerGraph`.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ColumnConcatenation", "ElementwiseSum", "Flattening", "Scaling"]


class Scaling:
    """Multiplication by a number that does not change.

    Parameters
    ----------
    factor : float
        The number.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the input."""
        return x * self.factor

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Multiply the gradient."""
        return gradient * self.factor


class Flattening:
    """Reshape ``(n, ...)`` to ``(n, n_numbers)``: all numbers of a row become one vector."""

    def forward(self, x: Tensor) -> Tensor:
        """Flatten all dimensions but the first."""
        self.shape = x.shape
        return x.flatten(1)

    def backward(self, gradient: Tensor, first: bool) -> Tensor:
        """Return the gradient in the shape of the input."""
        return gradient.reshape(self.shape)


class ElementwiseSum:
    """The sum of two tensors of equal shape, as in a residual connection."""

    def forward(self, values: list[Tensor]) -> Tensor:
        """Add the two tensors."""
        one, other = values
        return one + other

    def backward(self, gradient: Tensor) -> list[Tensor]:
        """Return the gradient of each tensor: the same numbers, each in memory of its own."""
        # the layers that get the gradients may write into them
        return [gradient, gradient.clone()]


class ColumnConcatenation:
    """The columns of several matrices side by side, as in the outputs of several heads."""

    def forward(self, values: list[Tensor]) -> Tensor:
        """Concatenate the matrices along their last dimension."""
        self.widths = [value.shape[-1] for value in values]
        return torch.cat(values, dim=-1)

    def backward(self, gradient: Tensor) -> list[Tensor]:
        """Return the columns of the gradient that belong to each matrix."""
        return list(gradient.split(self.widths, dim=-1))
