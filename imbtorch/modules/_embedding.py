"""Embeddings of the columns of categories, which the net learns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["CategoryEmbeddings"]


class CategoryEmbeddings(nn.Module):
    """Replace the codes of categories by vectors that are learned, for all columns at once.

    Parameters
    ----------
    n_numbers : int
        Columns before the codes, which pass unchanged.
    n_codes : sequence of int
        Number of codes of each column of categories. The last code of each column stands for what
        training does not have: its vector starts at zero, and stays there.
    size : int
        Numbers of each vector.

    Notes
    -----
    Vectors start at normal random numbers of variance ``1 / size``, so that a category weighs as
    much as a scaled number.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules import CategoryEmbeddings
    >>> layer = CategoryEmbeddings(n_numbers=1, n_codes=[4, 20], size=3)
    >>> layer(torch.tensor([[0.5, 3, 0], [0.1, 0, 19]])).shape
    torch.Size([2, 7])
    """

    starts: Tensor

    def __init__(self, n_numbers: int, n_codes: Sequence[int], size: int) -> None:
        super().__init__()
        self.n_numbers, self.n_codes, self.size = n_numbers, tuple(n_codes), size
        ends = torch.tensor(self.n_codes).cumsum(0)
        self.register_buffer("starts", ends - torch.tensor(self.n_codes), persistent=False)
        self.weight = nn.Parameter(torch.randn(int(ends[-1]), size) / size**0.5)
        with torch.no_grad():
            self.weight[ends - 1] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Replace the codes.

        Parameters
        ----------
        x : Tensor of shape (n, n_numbers + len(n_codes))
            Numbers, and codes in the same dtype.

        Returns
        -------
        Tensor of shape (n, n_numbers + len(n_codes) * size)
            Numbers, and the vector of each code.
        """
        codes = x[:, self.n_numbers :].to(torch.int64) + self.starts
        vectors = F.embedding(codes, self.weight).flatten(1)
        return torch.cat([x[:, : self.n_numbers], vectors], dim=1)

    def extra_repr(self) -> str:
        """Say how many numbers, columns and codes there are."""
        return f"{self.n_numbers}, n_codes={list(self.n_codes)}, size={self.size}"
