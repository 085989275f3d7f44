"""A batch that does not fit into the memory is computed in parts, with the same gradient."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from imbtorch.training.net import Net
from imbtorch.training.single.divisible import indivisible_because

__all__ = ["InParts", "check_divisible", "is_out_of_memory"]

Gradients = Callable[[Any, Any, Tensor], Tensor]


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on an accelerator or on the CPU.

    Parameters
    ----------
    error : BaseException
        As raised by torch.

    Returns
    -------
    bool
        True also where torch has no class of its own for it and only the message tells.
    """
    told = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return told or isinstance(error, torch.OutOfMemoryError | MemoryError)


def check_divisible(net: Net, *, hooked: bool) -> None:
    """Complain of a net whose gradient is not the sum of those of parts of the batch.

    Parameters
    ----------
    net : Net
        To be trained.
    hooked : bool
        Whether callbacks look at batches.

    Raises
    ------
    ValueError
        If the module or the loss looks at the whole batch, or a callback does.
    """
    reason = indivisible_because(net, hooked=hooked)
    if reason is not None:
        raise ValueError(
            f'on_oom="split" would change the model: {reason}. Use on_oom="raise" and a smaller '
            "batch_size."
        )


class InParts:
    """Compute the gradients of a batch whole or, once memory has run out, in parts.

    Every row keeps its share of the whole batch, so that the gradients of the parts add up to the
    gradient of the batch. The number of parts doubles whenever memory runs out, and stays.

    Parameters
    ----------
    params : list of Tensor
        What is trained.

    Attributes
    ----------
    gradients : callable(x, target, share) -> Tensor
        Writes the gradients of a batch into the parameters and returns its loss.
    n_parts : int
        How many parts a batch has now.
    """

    gradients: Gradients

    def __init__(self, params: list[Tensor]) -> None:
        self.params, self.n_parts = params, 1

    def __call__(self, x: Any, target: Any, share: Tensor) -> Tensor:
        """Write the gradients of a batch and return its loss."""
        while True:
            try:
                return self._computed(x, target, share)
            except Exception as error:
                if not is_out_of_memory(error) or self.n_parts >= len(x):
                    raise
            # outside of the handler, where the error holds what had been computed so far
            self.n_parts = min(2 * self.n_parts, len(x))
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            warnings.warn(
                f"Memory ran out on a batch of {len(x)} rows; it is computed in {self.n_parts} "
                "parts, with the same gradient. A smaller batch_size trains another model.",
                UserWarning,
                stacklevel=2,
            )

    def _computed(self, x: Any, target: Any, share: Tensor) -> Tensor:
        if self.n_parts == 1:
            return self.gradients(x, target, share)
        bounds = [len(x) * i // self.n_parts for i in range(self.n_parts + 1)]
        total, sums = share.new_zeros(()), [None] * len(self.params)
        for start, stop in zip(bounds, bounds[1:], strict=False):
            if start == stop:
                continue
            part = slice(start, stop)
            total = total + self.gradients(x[part], target[part], share[part])
            sums = [_plus(s, p.grad) for s, p in zip(sums, self.params, strict=True)]
        for param, gradient in zip(self.params, sums, strict=True):
            if param.grad is None:
                param.grad = gradient
            elif gradient is not None:
                param.grad.copy_(gradient)
        return total


def _plus(total: Any, gradient: Tensor | None) -> Any:
    """Add a gradient, which the next part will overwrite, to a sum of its own."""
    if gradient is None:
        return total
    return gradient.clone() if total is None else total.add_(gradient)
