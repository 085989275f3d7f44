"""Tables among several inputs: their encoders, and the embeddings of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy import sparse
from torch import nn

from imbtorch._common.inputs import InputBatch, Inputs, Key, given_form, shapes_by_key
from imbtorch.features import FeatureEncoder, TableEncoder
from imbtorch.features._encoder import EncodedRows, encoded
from imbtorch.modules._build import build_module
from imbtorch.modules._embedding import Embeddings, embeddings_of, own_prefix, rename_parts

__all__ = ["LAYERS", "BehindEmbeddings", "InputTables", "embeddings_in"]

LAYERS = "_embeddings_of_inputs"  # name of the layers among those of a module of the user


@dataclass(frozen=True)
class InputTables:
    """The tables among several inputs of a net, whose columns are encoded.

    Attributes
    ----------
    encoders : dict of str or int to TableEncoder
        What was learned of each table, by the name or the position of the input.
    features : dict of str or int to FeatureEncoder
        What has learned it, and knows the sizes of the embeddings; empty for a net from a file.
    """

    encoders: Mapping[Key, TableEncoder]
    features: Mapping[Key, FeatureEncoder]

    def builder(self, module: Any) -> Any:
        """Return the parameter ``module`` of an estimator, behind embeddings if columns have them.

        The layers take their initial values from torch's current random state when the module is
        built.
        """
        if not any(encoder.needs_embeddings for encoder in self.encoders.values()):
            return module
        return _NewEmbeddings(self, module)

    def encoded(self, X: Inputs, *, late: bool = False) -> Inputs:
        """Encode the tables among the inputs.

        Parameters
        ----------
        X : Inputs
            Checked inputs; tables as :meth:`imbtorch.features.TableColumns.read` makes them.
        late : bool, default=False
            Whether the rows are encoded only when they are asked for, for a single pass.

        Returns
        -------
        Inputs
            The same inputs, in which tables are encoded.
        """
        return X.map(lambda key, part: _encoded(part, self.encoders.get(key), late=late))

    def row_shape(self, input_shape: Any) -> Any:
        """Return the shape of a row of each input after the tables were encoded.

        Parameters
        ----------
        input_shape : dict or tuple of tuple of int
            Shape of a row of each input as the user gave it.
        """
        shapes = shapes_by_key(input_shape) or {}
        widths = {key: (encoder.n_encoded,) for key, encoder in self.encoders.items()}
        return given_form({**shapes, **widths})


def _encoded(part: Any, encoder: TableEncoder | None, *, late: bool) -> Any:
    """Encode one input, if it has an encoder."""
    if encoder is None:
        return part
    if sparse.issparse(part) and not encoder.keeps_zeros:
        return EncodedRows(part, encoder)
    return encoded(part, encoder, stays=late)


class BehindEmbeddings:
    """Builder of a module with several inputs, some of which have columns that are embedded.

    Parameters
    ----------
    module : str, builder, callable, torch.nn.Module class or instance
        Parameter ``module`` of an estimator.
    layers : dict of str or int to list of CategoryEmbeddings or PeriodicEmbeddings
        Layers of each table that has some. They become a part of the module, but do not change
        what its ``forward`` is called with, besides the values.
    """

    def __init__(self, module: Any, layers: Mapping[Key, Sequence[Embeddings]]) -> None:
        self.module, self.layers = module, layers

    def build(self, input_shape: Any, n_outputs: int) -> nn.Module:
        """Build the module for the embedded rows, and let it embed the columns first.

        Parameters
        ----------
        input_shape : dict or tuple of tuple of int
            Shape of an encoded row of each input.
        n_outputs : int
            Number of outputs.

        Returns
        -------
        torch.nn.Module
            The module of the user, which has the layers as a part.

        Raises
        ------
        ValueError
            If it is a module that calls all of its parts in turn.
        """
        shapes = shapes_by_key(input_shape) or {}
        for key, layers in self.layers.items():
            (width,) = shapes[key]
            shapes[key] = (width + sum(layer.added_columns for layer in layers),)
        built = build_module(self.module, given_form(shapes), n_outputs)
        if isinstance(built, nn.Sequential):
            raise ValueError(
                f"{type(built).__name__} calls all of its parts one after the other, so that it "
                "cannot get embeddings of the columns of a table. Call it in forward of a module "
                "around it; or use TableFeatures(numeric_embedding=None, embedding_size=None), "
                "which needs no embeddings."
            )
        _embed_first(built, self.layers)
        return built


class _NewEmbeddings:
    """Builder of a module behind new embeddings of the tables among its inputs."""

    def __init__(self, tables: InputTables, module: Any) -> None:
        self.tables, self.module = tables, module

    def build(self, input_shape: Any, n_outputs: int) -> nn.Module:
        """Make the layers, then the module, as for a table that is the only input."""
        layers = {
            key: embeddings_of(encoder, self.tables.features[key])
            for key, encoder in self.tables.encoders.items()
            if encoder.needs_embeddings
        }
        return BehindEmbeddings(self.module, layers).build(input_shape, n_outputs)


@dataclass(frozen=True)
class _EmbedColumns:
    """Forward pre-hook of a module: columns of the tables in a batch are embedded.

    Attributes
    ----------
    keys : tuple of str or int
        Tables with embeddings, in the order of the layers.
    """

    keys: tuple[Key, ...]

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """Return the batch in which columns are embedded; other arguments as they are."""
        if len(args) != 1 or not isinstance(args[0], InputBatch):
            return None
        parts = dict(args[0].parts)
        for key, layer in zip(self.keys, getattr(module, LAYERS), strict=True):
            parts[key] = layer(parts[key])
        return (InputBatch(parts),)


def _embed_first(module: nn.Module, layers: Mapping[Key, Sequence[Embeddings]]) -> None:
    """Give a module these layers, which its batches pass first."""
    hooks = module._forward_pre_hooks
    for number in [number for number, hook in hooks.items() if isinstance(hook, _EmbedColumns)]:
        del hooks[number]  # of a module that was trained on other inputs
    parameter = next(module.parameters(), torch.empty(()))
    together = nn.ModuleList(nn.Sequential(*of_table) for of_table in layers.values())
    module.add_module(LAYERS, together.to(parameter.device))
    own = {
        f"{LAYERS}.{place}.{number}.": own_prefix(key, layer)
        for place, (key, of_table) in enumerate(layers.items())
        for number, layer in enumerate(of_table)
    }
    rename_parts(module, own)
    module.register_forward_pre_hook(_EmbedColumns(tuple(layers)), prepend=True)


def embeddings_in(module: nn.Module) -> dict[Key, nn.Sequential]:
    """Return the layers that embed columns of tables among the inputs of a module, by table."""
    hooks = module._forward_pre_hooks.values()
    keys = next((hook.keys for hook in hooks if isinstance(hook, _EmbedColumns)), ())
    return dict(zip(keys, getattr(module, LAYERS, ()), strict=True))
