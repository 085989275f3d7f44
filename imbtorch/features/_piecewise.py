"""Piecewise-linear encoding: each number becomes its progress through a few bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["PiecewiseLinear", "edges_between"]

Floats = NDArray[np.float64]


class PiecewiseLinear(nn.Module):
    """Encode each number by one column per bin: 0 before the bin, 1 behind it, linear inside.

    Below the first bin and above the last one the encoding goes on along the same line, below 0 and
    above 1, as in the paper [1]_, equation (1).

    Parameters
    ----------
    edges : sequence of ndarray of shape (n_bins + 1,)
        Increasing edges of the bins of each column of numbers; an empty array for a column without
        bins.

    Attributes
    ----------
    n_bins : list of int
        Number of bins of each column of numbers.

    Raises
    ------
    ValueError
        If the edges of a column are not finite and increasing, or only one edge is given.

    References
    ----------
    .. [1] Gorishniy, Rubachev and Babenko (2022). "On Embeddings for Numerical Features in Tabular
           Deep Learning". :arxiv:`2203.05556`

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> encode = PiecewiseLinear([np.array([0.0, 1.0, 3.0]), np.array([])])
    >>> encode(torch.tensor([[0.5, 7.0], [2.0, 7.0], [5.0, 7.0]])).tolist()
    [[0.5, 0.0], [1.0, 0.5], [1.0, 2.0]]
    """

    edges: Tensor
    column: Tensor
    low: Tensor
    width: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, edges: Sequence[Floats]) -> None:
        super().__init__()
        for j, here in enumerate(edges):
            if len(here) == 1 or not (np.isfinite(here).all() and (np.diff(here) > 0).all()):
                raise ValueError(
                    f"The edges of the bins of column {j} are {here}, but must be finite and "
                    "increasing, and two or more; give an empty array for a column without bins."
                )
        self.n_bins = [max(len(here) - 1, 0) for here in edges]
        joined = np.concatenate([np.zeros(0), *edges]).astype(np.float64)
        self.register_buffer("edges", torch.from_numpy(joined))
        with_bins = [here for here in edges if len(here)]
        low = np.concatenate([np.zeros(0), *(here[:-1] for here in with_bins)])
        width = np.concatenate([np.zeros(0), *(np.diff(here) for here in with_bins)])
        least, most = np.zeros(len(low)), np.ones(len(low))
        ends = np.cumsum([len(here) - 1 for here in with_bins], dtype=np.intp)
        most[ends - 1] = np.inf
        least[np.append(0, ends[:-1])[: len(ends)]] = -np.inf
        column = np.repeat(np.arange(len(edges)), self.n_bins)
        derived = {"column": column, "low": low, "width": width, "least": least, "most": most}
        for name, values in derived.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """Encode numbers.

        Parameters
        ----------
        numbers : Tensor of shape (n, n_numbers)
            Numbers without gaps, in the units of the edges.

        Returns
        -------
        Tensor of shape (n, sum(n_bins))
            The bins of the first column, then those of the second, and so on.
        """
        progress = (numbers[:, self.column] - self.low) / self.width
        return torch.minimum(torch.maximum(progress, self.least), self.most)

    def steepness(self) -> Floats:
        """Return the largest slope of the encoding of each column, 0 without bins."""
        slopes = np.zeros(len(self.n_bins))
        np.maximum.at(slopes, self.column.cpu().numpy(), 1 / self.width.cpu().numpy())
        return slopes


def edges_between(values: NDArray[Any], n_bins: int) -> Floats:
    """Return the edges of bins which hold equally many distinct values of a column.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Numbers; NaN is left out. How often a value occurs does not matter, so that a value which
        many rows have takes one edge, and weights have no effect.
    n_bins : int
        Largest number of bins.

    Returns
    -------
    ndarray of shape (n_bins + 1,)
        Quantiles of the distinct values, interpolated linearly, from the smallest to the largest
        value. With few distinct values each of them is an edge, and the rest of the array is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> edges_between(np.array([0, 0, 0, 0, 1, 2, 3, 8]), 2).tolist()
    [0.0, 2.0, 8.0]
    >>> edges_between(np.array([5, 5, 7]), 2).tolist()
    [5.0, 7.0, nan]
    """
    edges = np.full(n_bins + 1, np.nan)
    distinct = np.unique(values[~np.isnan(values)]).astype(np.float64)
    n_edges = min(n_bins + 1, len(distinct))
    if n_edges:
        # of halves, because the difference of the largest floats is infinite
        edges[:n_edges] = 2 * np.quantile(distinct / 2, np.linspace(0, 1, n_edges))
    return edges
