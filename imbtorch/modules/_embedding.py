"""Embeddings of columns of a table, which the net learns: categories, and numbers if asked for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from imbtorch._common.inputs import Key
from imbtorch.features import FeatureEncoder, TableEncoder
from imbtorch.modules._build import build_module
from imbtorch.modules._periodic import PeriodicEmbeddings

__all__ = [
    "CategoryEmbeddings",
    "Embeddings",
    "behind_embeddings",
    "embeddings_of",
    "own_name",
    "own_prefix",
    "rename_parts",
]


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

    Attributes
    ----------
    added_columns : int
        By how many columns a row becomes wider.

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

    @property
    def added_columns(self) -> int:
        """By how many columns a row becomes wider."""
        return len(self.n_codes) * (self.size - 1)

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


Embeddings: TypeAlias = CategoryEmbeddings | PeriodicEmbeddings


def embeddings_of(encoder: TableEncoder, features: FeatureEncoder) -> list[Embeddings]:
    """Make the layers of embeddings that an encoder asks for.

    Parameters
    ----------
    encoder : TableEncoder
        Encoder that leaves codes of categories in the last columns of a row.
    features : FeatureEncoder
        What has learned it, and knows the sizes of the embeddings.

    Returns
    -------
    list of CategoryEmbeddings or PeriodicEmbeddings
        New layers, at most one of each class; the codes are replaced first.
    """
    layers: list[Embeddings] = []
    if encoder.embedded:
        n_codes = [encoder.n_slots[j] for j in encoder.embedded]
        size = features.size_of_embedding(max(n_codes) - 1)
        layers.append(CategoryEmbeddings(encoder.n_encoded - len(n_codes), n_codes, size))
    if encoder.periodic:
        n_frequencies, scale = int(features.n_frequencies), float(features.frequency_scale)
        layers.append(PeriodicEmbeddings(encoder.periodic, n_frequencies, frequency_scale=scale))
    return layers


def behind_embeddings(
    builder: Any, layers: Sequence[Embeddings], width: int, n_outputs: int, dtype: torch.dtype
) -> nn.Module:
    """Build a module behind layers of embeddings.

    Parameters
    ----------
    builder : str, builder, callable, torch.nn.Module class or instance
        Parameter ``module`` of an estimator.
    layers : sequence of CategoryEmbeddings or PeriodicEmbeddings
        First layers, one or more.
    width : int
        Number of columns of a row in front of the layers.
    n_outputs : int
        Number of outputs.
    dtype : torch.dtype
        Dtype to compute in.

    Returns
    -------
    torch.nn.Sequential
        The layers, and the module or its parts.
    """
    width += sum(layer.added_columns for layer in layers)
    body = build_module(builder, (width,), n_outputs, dtype)
    parts = list(body) if type(body) is nn.Sequential else [body]
    together = nn.Sequential(*(layer.to(dtype) for layer in layers), *parts)
    # how the user calls each layer: the module that was given does not know of the embeddings
    own = [""] if parts == [body] else [f"{place}." for place in range(len(parts))]
    prefixes = [*(own_prefix("table", layer) for layer in layers), *own]
    rename_parts(together, {f"{place}.": prefix for place, prefix in enumerate(prefixes)})
    return together


def own_prefix(table: Key, layer: Embeddings) -> str:
    """Return with what the names of the parameters of a layer begin for the user."""
    what = "categories" if isinstance(layer, CategoryEmbeddings) else "numbers"
    return f"{table}.{what}."


def rename_parts(module: nn.Module, prefixes: dict[str, str]) -> None:
    """State how the user calls parameters whose names begin with these prefixes."""
    vars(module)["own_prefixes"] = prefixes


def own_name(module: nn.Module, name: str) -> str:
    """Return the name of a parameter of a module as the user knows it.

    Parameters
    ----------
    module : torch.nn.Module
        Module of a net, which may come from :func:`behind_embeddings`, or have embeddings of the
        tables among its inputs.
    name : str
        Name among ``module.named_parameters()``.

    Returns
    -------
    str
        Name in the module that was put behind the embeddings; names of the embeddings begin with
        ``"table.categories."`` and ``"table.numbers."``, or with the name of the input in place of
        ``"table"``.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules._embedding import behind_embeddings, own_name
    >>> layers = [CategoryEmbeddings(n_numbers=1, n_codes=[4], size=3)]
    >>> module = behind_embeddings(torch.nn.Linear(4, 2), layers, 2, 2, torch.float32)
    >>> [own_name(module, name) for name, _ in module.named_parameters()]
    ['table.categories.weight', 'weight', 'bias']
    """
    for prefix, own in vars(module).get("own_prefixes", {}).items():
        if name.startswith(prefix):
            return f"{own}{name.removeprefix(prefix)}"
    return name
