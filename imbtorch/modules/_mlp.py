"""The multilayer perceptron, for tables."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from numbers import Integral, Real
from typing import Any, ClassVar

from torch import nn

from imbtorch._common.sklearn_private import Interval, StrOptions
from imbtorch.modules._build import ModuleBuilder
from imbtorch.modules._cosine import CosineLinear

__all__ = ["MLP", "check_table", "layer_sizes"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
_NORMALIZATIONS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
_HEADS: dict[str, type[nn.Module]] = {"linear": nn.Linear, "cosine": CosineLinear}


class MLP(ModuleBuilder):
    """Builder of a multilayer perceptron for tables.

    Parameters
    ----------
    hidden_sizes : int or sequence of int, default=(128, 64)
        Width of each hidden layer; a number is one layer. ``()`` is a linear model.
    activation : {"silu", "relu", "gelu", "elu", "selu", "leaky_relu", "tanh"}, default="silu"
        Non-linearity after each hidden layer.
    dropout : float in [0, 1), default=0.0
        Probability of zeroing a hidden unit during training.
    normalization : {"batch", "layer"} or None, default=None
        Normalisation before each activation.
    head : {"linear", "cosine"}, default="linear"
        Last layer; :class:`CosineLinear` for losses with a margin and a scale.

    Examples
    --------
    >>> from imbtorch import MLP
    >>> MLP(hidden_sizes=(8,), activation="relu").build(input_shape=(3,), n_outputs=2)
    Sequential(
      (0): Linear(in_features=3, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=2, bias=True)
    )
    """

    name = "mlp"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_sizes": ["array-like", Integral],
        "activation": [StrOptions(set(_ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "normalization": [StrOptions(set(_NORMALIZATIONS)), None],
        "head": [StrOptions(set(_HEADS))],
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"hidden_sizes": ()},
        {"hidden_sizes": (8, 4), "activation": "relu", "dropout": 0.2, "normalization": "batch"},
        {"hidden_sizes": 8, "normalization": "layer", "head": "cosine"},
    )

    def __init__(
        self,
        hidden_sizes: int | Sequence[int] = (128, 64),
        *,
        activation: str = "silu",
        dropout: float = 0.0,
        normalization: str | None = None,
        head: str = "linear",
    ) -> None:
        self.hidden_sizes = hidden_sizes
        self.activation = activation
        self.dropout = dropout
        self.normalization = normalization
        self.head = head

    def build(self, input_shape: tuple[int, ...], n_outputs: int) -> nn.Sequential:
        """Build the network, randomly initialised from torch's current state.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of one row of ``X``; must have one dimension.
        n_outputs : int
            Number of logits.

        Returns
        -------
        torch.nn.Sequential
            Maps ``(n, n_features)`` to ``(n, n_outputs)``.

        Raises
        ------
        ValueError
            If a parameter is out of range, or a row has more than one dimension.
        """
        check_table(self, input_shape)
        sizes = layer_sizes(self.hidden_sizes)
        self._validate_parameters()
        layers: list[nn.Module] = []
        width = input_shape[0]
        for size in sizes:
            layers.append(nn.Linear(width, size))
            if self.normalization is not None:
                layers.append(_NORMALIZATIONS[self.normalization](size))
            layers.append(_ACTIVATIONS[self.activation]())
            if self.dropout > 0:
                layers.append(nn.Dropout(self.dropout))
            width = size
        layers.append(_HEADS[self.head](width, n_outputs))
        return nn.Sequential(*layers)

    def smallest_size(self, n_outputs: int) -> tuple[int, int]:
        """Return lower bounds of the size of the network: each layer has weights and biases.

        Parameters
        ----------
        n_outputs : int
            Number of outputs of the network.

        Returns
        -------
        n_tensors, n_numbers : int
            At least so many tensors, and so many numbers in all of them, are in ``state_dict``.
        """
        sizes = layer_sizes(self.hidden_sizes)
        return 2 * len(sizes), sum(sizes) + n_outputs


def check_table(builder: Any, input_shape: Sequence[int]) -> None:
    """Raise ValueError if a row of ``X`` has more than one dimension."""
    if len(input_shape) != 1:
        raise ValueError(
            f"{type(builder).__name__} works on tables of shape (n, features), but a row of X has "
            f"shape {tuple(input_shape)}. Flatten X with X.reshape(len(X), {prod(input_shape)}), "
            "or give a module for sequences or images."
        )


def layer_sizes(hidden_sizes: int | Sequence[int]) -> list[int]:
    """Return the width of each hidden layer; a number is one layer.

    Raises
    ------
    ValueError
        If a width is no positive integer.

    Examples
    --------
    >>> from imbtorch.modules._mlp import layer_sizes
    >>> layer_sizes(64), layer_sizes((128, 64))
    ([64], [128, 64])
    """
    sizes: Any = [hidden_sizes] if isinstance(hidden_sizes, Integral) else hidden_sizes
    is_list = hasattr(sizes, "__iter__") and not isinstance(sizes, str)
    if not is_list or any(not isinstance(size, Integral) or size < 1 for size in sizes):
        raise ValueError(
            f"hidden_sizes must be positive integers, one per layer, such as (128, 64); got "
            f"{hidden_sizes!r}."
        )
    return [int(size) for size in sizes]
