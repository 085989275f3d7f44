"""Compute the gradients of a step from several batches, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from imbtorch.training.data.rows import batch_sizes
from imbtorch.training.net import Net
from imbtorch.training.single.divisible import indivisible_because

__all__ = ["Accumulated", "check_accumulable", "gradients_of_parts"]

Gradients = Callable[[Any, Any, Tensor], Tensor]


def check_accumulable(net: Net, accumulate: int, *, hooked: bool) -> None:
    """Raise ValueError if the gradients of several batches do not add up to that of all their rows.

    Batch normalisation is allowed: it takes its statistics from each batch.

    Parameters
    ----------
    net : Net
        Net to be trained.
    accumulate : int
        Number of batches of a step.
    hooked : bool
        Whether callbacks look at batches.

    Raises
    ------
    ValueError
        If the loss, a layer or a callback looks at all rows of a step.
    """
    reason = indivisible_because(net, hooked=hooked, normalizes_parts=True)
    if reason is not None:
        raise ValueError(
            f"accumulate={accumulate} would not train the model of one large batch: {reason}. Use "
            "accumulate=1 and a larger batch_size."
        )


class Accumulated:
    """The gradients of a step: those of its batches, added up.

    Every row keeps its share in the whole step, so that the sum is the gradient of one large batch.

    Parameters
    ----------
    gradients : callable(x, target, share) -> Tensor
        Function that writes the gradients of a batch into the parameters and returns its loss.
    params : list of Tensor
        Parameters that are trained.
    batch_size : int
        Number of rows of a batch.
    """

    def __init__(self, gradients: Gradients, params: list[Tensor], batch_size: int) -> None:
        self.gradients, self.params, self.batch_size = gradients, params, batch_size

    def __call__(self, x: Any, target: Any, share: Tensor) -> Tensor:
        """Write the gradients of a step into the parameters, and return its loss."""
        sizes = batch_sizes(len(x), self.batch_size)
        return gradients_of_parts(self.gradients, self.params, sizes, x, target, share)


def gradients_of_parts(
    gradients: Gradients,
    params: Sequence[Tensor],
    sizes: Sequence[int],
    x: Any,
    target: Any,
    share: Tensor,
) -> Tensor:
    """Compute the gradients of a batch part by part.

    Parameters
    ----------
    gradients : callable(x, target, share) -> Tensor
        Function that writes the gradients of a part into the parameters and returns its loss.
    params : sequence of Tensor
        Parameters that get the sum of the gradients.
    sizes : sequence of int
        Number of rows of each part.
    x, target, share
        Batch, in the form of :meth:`Rows.batches`.

    Returns
    -------
    Tensor
        Sum of the losses of the parts.
    """
    total, sums, start = share.new_zeros(()), [None] * len(params), 0
    for size in sizes:
        part = slice(start, start + size)
        total = total + gradients(x[part], target[part], share[part])
        sums = [_plus(s, p.grad) for s, p in zip(sums, params, strict=True)]
        start += size
    for param, gradient in zip(params, sums, strict=True):
        if param.grad is None:
            param.grad = gradient
        elif gradient is not None:
            param.grad.copy_(gradient)
    return total


def _plus(total: Any, gradient: Tensor | None) -> Any:
    """Add a gradient to a separate sum, because the next part overwrites the gradient."""
    if gradient is None:
        return total
    return gradient.clone() if total is None else total.add_(gradient)
