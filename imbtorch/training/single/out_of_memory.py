"""Compute a batch that does not fit into the memory in parts, with the same gradient."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from imbtorch._common.log import logger
from imbtorch.training.net import Net
from imbtorch.training.single.accumulation import gradients_of_parts
from imbtorch.training.single.divisible import indivisible_because

__all__ = ["InParts", "check_divisible", "is_out_of_memory"]

Gradients = Callable[[Any, Any, Tensor], Tensor]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on an accelerator or on the CPU.

    Parameters
    ----------
    error : BaseException
        Error that torch raised.

    Returns
    -------
    bool
        Whether memory ran out. On the CPU only the text of torch's error shows it.
    """
    is_from_cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return is_from_cpu or isinstance(error, torch.OutOfMemoryError | MemoryError)


def check_divisible(net: Net, *, hooked: bool) -> None:
    """Raise ValueError if the gradient of a batch is not the sum of the gradients of its parts.

    Parameters
    ----------
    net : Net
        Net to be trained.
    hooked : bool
        Whether callbacks look at batches.

    Raises
    ------
    ValueError
        If the module, the loss or a callback looks at whole batches.
    """
    reason = indivisible_because(net, hooked=hooked)
    if reason is not None:
        raise ValueError(
            f'on_oom="split" would change the model: {reason}. Use on_oom="raise" and a smaller '
            "batch_size."
        )


class InParts:
    """Compute the gradients of a whole batch or, after memory has run out, of its parts.

    Every row keeps its share in the whole batch, so that the gradients of the parts add up to the
    gradient of the batch. The number of parts doubles whenever memory runs out, and never falls.

    Parameters
    ----------
    params : list of Tensor
        Parameters that are trained.

    Attributes
    ----------
    gradients : callable(x, target, share) -> Tensor
        Function that writes the gradients of a batch into the parameters and returns its loss.
    n_parts : int
        Present number of parts of a batch.
    """

    gradients: Gradients

    def __init__(self, params: list[Tensor]) -> None:
        self.params, self.n_parts = params, 1

    def __call__(self, x: Any, target: Any, share: Tensor) -> Tensor:
        """Write the gradients of a batch into the parameters, and return its loss."""
        while True:
            try:
                return self._computed(x, target, share)
            except Exception as error:
                if not is_out_of_memory(error) or self.n_parts >= len(x):
                    raise
            # outside the except block: inside it, the error would keep tensors in memory
            self.n_parts = min(2 * self.n_parts, len(x))
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            logger.info("Memory ran out: batches are computed in %d parts", self.n_parts)
            warnings.warn(
                f"Memory ran out on a batch of {len(x)} rows; it is computed in {self.n_parts} "
                "parts, with the same gradient. A smaller batch_size would train another model.",
                UserWarning,
                stacklevel=2,
            )

    def _computed(self, x: Any, target: Any, share: Tensor) -> Tensor:
        if self.n_parts == 1:
            return self.gradients(x, target, share)
        bounds = [len(x) * i // self.n_parts for i in range(self.n_parts + 1)]
        sizes = [stop - start for start, stop in pairwise(bounds) if stop > start]
        return gradients_of_parts(self.gradients, self.params, sizes, x, target, share)
