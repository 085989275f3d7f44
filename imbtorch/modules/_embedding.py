"""Embeddings of the columns of categories, which the net learns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from imbtorch.features import FeatureEncoder, TableEncoder
from imbtorch.modules._build import build_module

__all__ = ["CategoryEmbeddings", "behind_embeddings", "embeddings_of"]


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
    Codes of each column run from 0 to their number - 1, as
    :class:`imbtorch.features.TableEncoder` makes them; others are not looked for, and would read
    the vector of another column. Vectors start at normal random numbers of variance ``1 / size``,
    so that a category weighs as much as a scaled number.

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
        starts = [0, *accumulate(self.n_codes)]  # also known on torch's meta device
        self.register_buffer("starts", torch.tensor(starts[:-1]), persistent=False)
        self.weight = nn.Parameter(torch.randn(starts[-1], size) / size**0.5)
        with torch.no_grad():
            self.weight[[end - 1 for end in starts[1:]]] = 0.0

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


def embeddings_of(encoder: TableEncoder, features: FeatureEncoder) -> CategoryEmbeddings:
    """Make the layer of embeddings that an encoder asks for.

    Parameters
    ----------
    encoder : TableEncoder
        Encoder that leaves codes of categories in the last columns of a row.
    features : FeatureEncoder
        What has learned it, and knows the size of an embedding.

    Returns
    -------
    CategoryEmbeddings
        A new layer.
    """
    n_codes = [encoder.n_slots[j] for j in encoder.embedded]
    size = features.size_of_embedding(max(n_codes) - 1)
    return CategoryEmbeddings(encoder.n_encoded - len(n_codes), n_codes, size)


def behind_embeddings(
    builder: Any, layer: CategoryEmbeddings, n_outputs: int, dtype: torch.dtype
) -> nn.Module:
    """Build a module behind a layer of embeddings.

    Parameters
    ----------
    builder : str, builder, callable, torch.nn.Module class or instance
        Parameter ``module`` of an estimator.
    layer : CategoryEmbeddings
        First layer.
    n_outputs : int
        Number of outputs.
    dtype : torch.dtype
        Dtype to compute in.

    Returns
    -------
    torch.nn.Sequential
        The layer, and the module or its parts.
    """
    width = layer.n_numbers + len(layer.n_codes) * layer.size
    body = build_module(builder, (width,), n_outputs, dtype)
    parts = list(body) if type(body) is nn.Sequential else [body]
    return nn.Sequential(layer.to(dtype), *parts)
