"""The first rows that a module sees: what does not fit shows here, before anything is trained."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from imbtorch.modules._modules import check_width

_TASKS_OF_LOGITS = {"classes", "labels"}


def try_module(module: nn.Module, rows: Tensor, n_outputs: int, task: str) -> Tensor:
    """Compute the outputs of a few rows, and check their width.

    Raises
    ------
    ValueError
        If the module cannot compute, with its own error as the cause, or returns another shape.

    Warns
    -----
    UserWarning
        If the outputs of a classifier look like probabilities.
    """
    try:
        output = module(rows)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(
            f"{type(module).__name__} failed on a batch of shape {tuple(rows.shape)}, dtype "
            f"{rows.dtype}: {error}. A module maps (n, {', '.join(map(str, rows.shape[1:]))}) to "
            f"(n, {n_outputs}). To size it from the data, give a class or function of "
            "(input_shape, n_outputs)."
        ) from error
    check_width(output, len(rows), n_outputs, module, task)
    if task in _TASKS_OF_LOGITS and _are_probabilities(module, output):
        warnings.warn(
            f"{type(module).__name__} seems to return probabilities, but losses take logits and "
            "predict_proba turns them into probabilities: leave out the softmax or sigmoid at the "
            "end of the module.",
            UserWarning,
            stacklevel=2,
        )
    return output  # type: ignore[no-any-return]


def _are_probabilities(module: nn.Module, output: Tensor) -> bool:
    if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.Softmax | nn.Sigmoid):
        return True
    if output.shape[1] < 2 or output.min() < 0:
        return False
    sums = output.sum(dim=1, dtype=torch.float64)
    return bool(torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-5))
