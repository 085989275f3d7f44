"""Log-space helpers that stay finite where probabilities round to 0 or 1."""

from __future__ import annotations

import torch
from torch import Tensor

_MINUS_INF = float("-inf")


def pick(values: Tensor, index: Tensor) -> Tensor:
    """Take one column per row: ``values[i, index[i]]``, shape ``(n, c), (n,) -> (n,)``."""
    return values.gather(1, index.unsqueeze(1)).squeeze(1)


def log_not_target(log_proba: Tensor, target: Tensor) -> Tensor:
    """``log(1 - p_t)`` for the true class, shape ``(n, c), (n,) -> (n,)``.

    ``log1p(-p_t)`` is minus infinity once ``p_t`` rounds to 1, and its gradient then is NaN;
    the sum over the *other* classes keeps full precision.
    """
    if log_proba.shape[1] == 2:
        return pick(log_proba, 1 - target)
    others = log_proba.scatter(1, target.unsqueeze(1), _MINUS_INF)
    return torch.logsumexp(others, dim=1)


def log_not_each(log_proba: Tensor) -> Tensor:
    """``log(1 - p_c)`` for every class, shape ``(n, c) -> (n, c)``."""
    if log_proba.shape[1] == 2:
        return log_proba.flip(1)
    # Only the largest probability of a row can be close to 1; for the rest log1p is exact. It is
    # taken out before, not after: the gradient of log1p at -1 is infinite, and 0 times it NaN.
    top = log_proba.argmax(dim=1)
    rest = torch.log1p(-log_proba.scatter(1, top.unsqueeze(1), -1.0).exp())
    return rest.scatter(1, top.unsqueeze(1), log_not_target(log_proba, top).unsqueeze(1))
