"""Periodic embeddings of numbers: cosines of learned frequencies beside each number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["PeriodicEmbeddings"]


class PeriodicEmbeddings(nn.Module):
    r"""Put functions of single numbers beside the rows, made of waves that are learned.

    A number :math:`x` stays, and is followed by :math:`W \cos(2 \pi f x + p) + b`, where each
    column has frequencies :math:`f`, phases :math:`p`, weights :math:`W` and biases :math:`b` of
    its own. This is the embedding "PBLD" (periodic, bias, linear, densenet) of RealMLP [1]_.

    Parameters
    ----------
    columns : sequence of int
        Places of the numbers in a row.
    n_frequencies : int, default=16
        Number of waves of each number.
    size : int, default=4
        How many columns a number has in the result, its own column included.
    frequency_scale : float, default=0.1
        Standard deviation of the frequencies at the beginning, in periods per unit of the numbers.

    Attributes
    ----------
    added_columns : int
        By how many columns a row becomes wider.

    Notes
    -----
    Frequencies start at normal random numbers, phases are spread evenly over a period, and weights
    and biases start as in a linear layer of torch. All of them learn with the rate and the weight
    decay of the other layers. The authors let the embedding learn at a tenth of the rate of the
    other layers, whose weights they scale differently: their 0.004 is close to the default rate of
    an estimator.

    References
    ----------
    .. [1] Holzmüller et al. (2024). "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on
           Tabular Data". :arxiv:`2407.04491`, appendix A

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules import PeriodicEmbeddings
    >>> layer = PeriodicEmbeddings(columns=[0, 2])
    >>> layer(torch.zeros(5, 3)).shape
    torch.Size([5, 9])
    """

    places: Tensor

    def __init__(
        self,
        columns: Sequence[int],
        n_frequencies: int = 16,
        size: int = 4,
        *,
        frequency_scale: float = 0.1,
    ) -> None:
        super().__init__()
        self.columns, self.n_frequencies, self.size = tuple(columns), n_frequencies, size
        self.register_buffer(
            "places", torch.tensor(self.columns, dtype=torch.int64), persistent=False
        )
        waves, added = (len(self.columns), n_frequencies), (len(self.columns), size - 1)
        bound = n_frequencies**-0.5
        self.frequency = nn.Parameter(frequency_scale * torch.randn(waves))
        self.phase = nn.Parameter(torch.empty(waves).uniform_(-math.pi, math.pi))
        self.weight = nn.Parameter(torch.empty(*added, n_frequencies).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(added).uniform_(-bound, bound))

    @property
    def added_columns(self) -> int:
        """By how many columns a row becomes wider."""
        return len(self.columns) * (self.size - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Put the functions of the numbers behind the rows.

        Parameters
        ----------
        x : Tensor of shape (n, n_columns)
            Rows, in which the columns of numbers are scaled.

        Returns
        -------
        Tensor of shape (n, n_columns + added_columns)
            The rows, then the further columns of the first number, of the second, and so on.
        """
        numbers = x.index_select(1, self.places).t().unsqueeze(1)
        angles = 2 * math.pi * self.frequency.unsqueeze(2) * numbers + self.phase.unsqueeze(2)
        functions = torch.baddbmm(self.bias.unsqueeze(2), self.weight, angles.cos())
        return torch.cat([x, functions.flatten(0, 1).t()], dim=1)

    def extra_repr(self) -> str:
        """Say which columns there are, and how many waves and results each of them has."""
        return f"{list(self.columns)}, n_frequencies={self.n_frequencies}, size={self.size}"
