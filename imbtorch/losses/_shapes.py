"""From any shape of logits and target to rows, columns and weights; and back to one number."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "as_index_rows",
    "as_label_rows",
    "fold_members",
    "reduce",
    "row_weights",
    "single_precision",
]


def single_precision(logits: Tensor) -> Tensor:
    """Raise half precision to single, as torch's own losses do under autocast.

    A margin of ``1e4`` overflows float16, and bfloat16 has three digits.
    """
    return logits.float() if logits.dtype in {torch.float16, torch.bfloat16} else logits


def as_index_rows(
    logits: Tensor, target: Tensor, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Flatten the softmax form to logits ``(m, c)``, class indices ``(m,)`` and which to keep.

    Raises
    ------
    ValueError
        If shapes do not fit, the target is not of integers, or a class is out of range.
    """
    expected = (logits.shape[0], *logits.shape[2:])
    if logits.ndim < 2 or tuple(target.shape) != expected:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} need class indices of shape {expected} "
            f"(softmax form) or a target of their own shape (sigmoid form); got a target of "
            f"shape {tuple(target.shape)}."
        )
    if target.is_floating_point():
        raise ValueError(
            f"Class indices must be integers; got a target of dtype {target.dtype}. "
            "Use target.long(), or a target of the logits' shape for the sigmoid form."
        )
    rows = logits.movedim(1, -1).reshape(-1, logits.shape[1])
    index = target.reshape(-1).long()
    kept = index != ignore_index
    index = torch.where(kept, index, 0)
    _check_range(index, logits.shape[1])
    return rows, index, kept


def as_label_rows(values: Tensor) -> Tensor:
    """Flatten the sigmoid form, labels on axis 1, to ``(m, l)``; one label for a vector."""
    columns = values.unsqueeze(1) if values.ndim == 1 else values
    return columns.movedim(1, -1).reshape(-1, columns.shape[1])


def from_label_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """Undo :func:`as_label_rows`."""
    if len(shape) == 1:
        return rows.reshape(shape)
    return rows.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def fold_members(output: Tensor, target: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Make rows of the outputs of several members, ``(n, k, c) -> (n * k, c)``.

    Each row of ``target`` and ``share`` is repeated k times, and the shares are divided by k, so
    that a sum over all rows is the mean over the members.
    """
    n_members = output.shape[1]

    def repeated(rows: Tensor) -> Tensor:
        return rows.unsqueeze(1).expand(-1, n_members, *rows.shape[1:]).flatten(0, 1)

    return output.flatten(0, 1), repeated(target), repeated(share / n_members)


def row_weights(weight: Tensor, target: Tensor) -> Tensor:
    """One weight for all, per row, or per element of the target; nothing else broadcasts."""
    pairs = zip(weight.shape, target.shape, strict=False)
    fits = weight.ndim == target.ndim and all(w in (1, t) for w, t in pairs)
    if weight.ndim == 0 or fits:
        return weight
    if weight.shape == target.shape[:1]:
        return weight.reshape(-1, *[1] * (target.ndim - 1))
    raise ValueError(
        f"weight has shape {tuple(weight.shape)}, but the target has shape {tuple(target.shape)}: "
        "give one weight per row, or one per element of the target."
    )


def reduce(weighted: Tensor, weights: Tensor, n_terms: Tensor | int, reduction: str) -> Tensor:
    """Turn weighted values into what ``reduction`` asks for."""
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    if reduction == "mean":
        mean: Tensor = weighted.sum() / n_terms
        return mean
    if reduction == "weighted_mean":
        return weighted.sum() / weights.sum()
    raise ValueError(
        f"reduction must be 'mean', 'sum', 'none' or 'weighted_mean'; got {reduction!r}."
    )


def _check_range(index: Tensor, n_classes: int) -> None:
    """Find class indices out of range, where looking costs no wait for a device."""
    if index.device.type != "cpu" or not index.numel() or torch.compiler.is_compiling():
        return
    low, high = index.aminmax()
    if low < 0 or high >= n_classes:
        wrong = int(low if low < 0 else high)
        raise ValueError(
            f"Target has class {wrong}, but the logits have {n_classes} columns (classes 0 to "
            f"{n_classes - 1})."
        )
