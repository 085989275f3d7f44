"""A warning of columns that are not scaled, where no encoder of a table scales them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from torch import nn

from imbtorch._common.memory_maps import every_nth_row
from imbtorch.training.net import Net

__all__ = ["warn_of_scale"]

_ROWS = 1000  # that are looked at
_LARGE = 100.0  # root mean square of a column; that of a standardised one is 1
_NORMALIZING = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.Embedding,
    nn.EmbeddingBag,
)


def warn_of_scale(X: Any, net: Net, names: Any = None) -> None:
    """Warn of columns of large numbers that the net gets as they are.

    Parameters
    ----------
    X : object
        Checked features of all rows. Only arrays of two dimensions are looked at, and of these at
        most 1,000 rows, evenly spread.
    net : Net
        New net. Nothing is said if its first layer with parameters normalises or embeds.
    names : sequence of str or None, default=None
        Names of the columns, for the message.

    Warns
    -----
    UserWarning
        If the root mean square of a column is above 100; the message says what scales columns.
    """
    is_table = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiu"
    if not is_table or net.lookups or _normalizes(net.module_):
        return
    step = max(len(X) // _ROWS, 1)
    rows = (X[::step] if X.base is None else every_nth_row(X, step)).astype(np.float64)
    if np.abs(rows).max(initial=0.0) > np.finfo(np.float32).max:
        return  # numbers that float32 does not hold are refused when the rows are read
    sizes = np.sqrt(np.mean(np.square(rows), axis=0))
    large = np.flatnonzero(sizes > _LARGE)
    if len(large):
        shown = [str(j if names is None else names[j]) for j in large[:5].tolist()]
        more = f" and {len(large) - 5} more" if len(large) > 5 else ""
        warnings.warn(
            f"The columns {shown}{more} of X hold large numbers (root mean square above "
            f"{_LARGE:.0f}), and no feature encoder scales them. A net learns badly from such "
            "columns: use features='table', or scale X before, for example by "
            "make_pipeline(StandardScaler(), estimator).",
            UserWarning,
            stacklevel=2,
        )


def _normalizes(module: nn.Module) -> bool:
    """Return whether the first layer that has parameters or statistics normalises or embeds."""
    for layer in module.modules():
        own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        if own or isinstance(layer, _NORMALIZING):
            return isinstance(layer, _NORMALIZING)
    return False
