"""What the rows are that a net in a file gets, and so how its module is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from imbtorch._common.inputs import InputShape, Key
from imbtorch._publish.model_file.tables import SavedTable
from imbtorch._safe_file import Layout
from imbtorch.exceptions import FileFormatError
from imbtorch.modules import CategoryEmbeddings, PeriodicEmbeddings, build_module
from imbtorch.modules._embedding import Embeddings, behind_embeddings
from imbtorch.modules._input_tables import BehindEmbeddings, embeddings_in
from imbtorch.training.net import Net

__all__ = ["NetInput"]


@dataclass(frozen=True)
class NetInput:
    """What the rows are that a net gets, and so how its module is built.

    Attributes
    ----------
    shape : tuple of int, or dict or tuple of these
        Shape of a row, or of that of each input; of an encoded row, if there is an encoder.
    n_codes : tuple of int
        Number of codes of each column of categories that the net embeds; these columns are the
        last ones.
    size : int
        Numbers of the embedding of a category.
    periodic : tuple of int
        Columns of numbers that get periodic embeddings.
    n_frequencies, periodic_size : int
        Number of waves of each of these columns, and how many columns it becomes.
    dtypes : dict or None
        Dtypes in which a module gets several inputs; None for a single one.
    names : dict or None
        Names of the columns of several inputs.
    given_shape : dict or tuple, or None
        Shape of a row of each of several inputs as the user gives it, before tables are encoded.
    tables : dict of str or int to NetInput
        What the rows are of each table among several inputs that is encoded.
    """

    shape: InputShape
    n_codes: tuple[int, ...] = ()
    size: int = 0
    periodic: tuple[int, ...] = ()
    n_frequencies: int = 0
    periodic_size: int = 0
    dtypes: dict[Any, torch.dtype] | None = None
    names: dict[Any, Any] | None = None
    given_shape: Any = None
    tables: Mapping[Key, NetInput] = field(default_factory=dict)

    @classmethod
    def of_net(cls, net: Net, shape: Any) -> NetInput:
        """Return the input of a fitted net, whose rows had this shape before an encoder."""
        encoder = net.encoder_
        if encoder is None:
            return cls(shape)
        rows, layers = cls((encoder.n_encoded,)), list(net.module_.children())
        if encoder.embedded:
            layer = layers.pop(0)
            assert isinstance(layer, CategoryEmbeddings)
            rows = replace(rows, n_codes=layer.n_codes, size=layer.size)
        if encoder.periodic:
            first = layers[0]
            assert isinstance(first, PeriodicEmbeddings)
            rows = rows._with_waves(first.columns, first.n_frequencies, first.size)
        return rows

    @classmethod
    def of_file(cls, table: SavedTable, layout: Layout, prefix: str) -> NetInput:
        """Return the input of a net in a file, from the shapes of the embeddings in its header.

        Parameters
        ----------
        table : SavedTable
            Encoder of the rows.
        layout : Layout
            Dtypes and shapes of the tensors in the file.
        prefix : str
            Prefix of the names of the tensors of the module.

        Raises
        ------
        FileFormatError
            If the net should embed columns, but the file has no embeddings for them.
        """
        rows = cls((table.n_encoded,))
        if table.n_codes:
            _, shape = layout.get(f"{prefix}0.weight", (None, ()))
            if len(shape) != 2 or shape[0] != sum(table.n_codes):
                raise FileFormatError("the file lacks the embeddings of the categories.")
            rows = replace(rows, n_codes=table.n_codes, size=shape[1])
        if table.periodic:
            _, shape = layout.get(f"{prefix}{int(bool(table.n_codes))}.weight", (None, ()))
            if len(shape) != 3 or shape[0] != len(table.periodic) or 0 in shape:
                raise FileFormatError("the file lacks the periodic embeddings of the numbers.")
            rows = rows._with_waves(table.periodic, shape[2], shape[1] + 1)
        return rows

    def _with_waves(self, columns: tuple[int, ...], n_frequencies: int, size: int) -> NetInput:
        """Return this input with periodic embeddings of these columns."""
        return replace(self, periodic=columns, n_frequencies=n_frequencies, periodic_size=size)

    def build(self, module: object, n_outputs: int, dtype: torch.dtype) -> nn.Module:
        """Build a module for these rows, behind layers of embeddings if columns have them."""
        of_tables = {key: layers for key, rows in self.tables.items() if (layers := rows._layers())}
        if of_tables:
            module = BehindEmbeddings(module, of_tables)
        layers = self._layers()
        if not layers:
            return build_module(module, self.shape, n_outputs, dtype)
        return behind_embeddings(module, layers, self._width, n_outputs, dtype)

    @property
    def _width(self) -> int:
        """Number of columns of an encoded row of a table."""
        return cast("tuple[int]", self.shape)[0]

    def _layers(self) -> list[Embeddings]:
        """Make the layers of embeddings of a table."""
        layers: list[Embeddings] = []
        if self.n_codes:
            n_numbers = self._width - len(self.n_codes)
            layers.append(CategoryEmbeddings(n_numbers, self.n_codes, self.size))
        if self.periodic:
            layers.append(PeriodicEmbeddings(self.periodic, self.n_frequencies, self.periodic_size))
        return layers

    def check(self, module: nn.Module) -> None:
        """Raise FileFormatError if the file has changed which columns or rows embeddings read."""
        for key, of_table in embeddings_in(module).items():
            self.tables[key].check(of_table)
        layers = list(module.children())
        if self.n_codes:
            layer, begins = layers.pop(0), np.cumsum([0, *self.n_codes[:-1]])
            assert isinstance(layer, CategoryEmbeddings)
            if not torch.equal(layer.starts.cpu(), torch.from_numpy(begins)):
                raise FileFormatError("the embeddings of the categories have invalid starts.")
        if self.periodic:
            first = layers[0]
            assert isinstance(first, PeriodicEmbeddings)
            if not torch.equal(first.places.cpu(), torch.tensor(self.periodic)):
                raise FileFormatError("the periodic embeddings of the numbers have other columns.")
