"""Networks sized from the data, and whatever else may stand for one."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from math import prod
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from imbtorch._common.registry import unknown_name
from imbtorch._common.sklearn_private import Interval, StrOptions, validate_parameter_constraints

__all__ = [
    "MLP",
    "CosineLinear",
    "build_module",
    "check_width",
    "get_module",
    "logits_of",
    "set_output_bias",
]

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


class CosineLinear(nn.Module):
    r"""Last layer whose logits are cosines, in [-1, 1].

    .. math:: z_j = \frac{w_j^\top x}{\lVert w_j \rVert \, \lVert x \rVert}

    Classes cannot gain by longer weights, which those of frequent classes have. Losses with a
    margin and a scale, such as :class:`imbtorch.losses.LDAMLoss`, are made for it.

    Parameters
    ----------
    in_features : int
        Width of the features.
    out_features : int
        Number of logits.

    References
    ----------
    .. [1] Cao et al. (2019). "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
           Loss". :arxiv:`1906.07413`

    Examples
    --------
    >>> import torch
    >>> from imbtorch import CosineLinear
    >>> bool((CosineLinear(4, 3)(torch.randn(5, 4)).abs() <= 1).all())
    True
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Compute cosines: ``(n, in_features) -> (n, out_features)``."""
        return F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


_HEADS: dict[str, type[nn.Module]] = {"linear": nn.Linear, "cosine": CosineLinear}


class MLP(BaseEstimator):
    """Builder of a multilayer perceptron for tables.

    Parameters
    ----------
    hidden_sizes : sequence of int, default=(128, 64)
        Width of each hidden layer. ``()`` is a linear model.
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_sizes": ["array-like"],
        "activation": [StrOptions(set(_ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "normalization": [StrOptions(set(_NORMALIZATIONS)), None],
        "head": [StrOptions(set(_HEADS))],
    }

    def __init__(
        self,
        hidden_sizes: Sequence[int] = (128, 64),
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
        self._validate()
        if len(input_shape) != 1:
            raise ValueError(
                f"MLP works on tables of shape (n, features), but a row of X has shape "
                f"{tuple(input_shape)}. Flatten X with X.reshape(len(X), {prod(input_shape)}), or "
                "give a module for sequences or images."
            )
        layers: list[nn.Module] = []
        width = input_shape[0]
        for size in self.hidden_sizes:
            layers.append(nn.Linear(width, size))
            if self.normalization is not None:
                layers.append(_NORMALIZATIONS[self.normalization](size))
            layers.append(_ACTIVATIONS[self.activation]())
            if self.dropout > 0:
                layers.append(nn.Dropout(self.dropout))
            width = size
        layers.append(_HEADS[self.head](width, n_outputs))
        return nn.Sequential(*layers)

    def _validate(self) -> None:
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), caller_name="MLP"
        )
        for size in self.hidden_sizes:
            if not isinstance(size, Integral) or size < 1:
                raise ValueError(
                    f"hidden_sizes must be positive integers, one per layer; got "
                    f"{self.hidden_sizes!r}."
                )


_MODULES: dict[str, type[MLP]] = {"mlp": MLP}


def get_module(name: str) -> MLP:
    """Build the module builder of this name with its defaults.

    Parameters
    ----------
    name : str
        ``"mlp"``.

    Returns
    -------
    MLP
        A new builder.

    Raises
    ------
    ValueError
        If there is no such builder; the message lists those that exist.

    Examples
    --------
    >>> from imbtorch.modules import get_module
    >>> get_module("mlp")
    MLP()
    """
    if name not in _MODULES:
        otherwise = (
            "give a builder, a callable(input_shape, n_outputs), a torch.nn.Module class or an "
            "instance"
        )
        raise ValueError(unknown_name("module", name, _MODULES, otherwise))
    return _MODULES[name]()


def build_module(module: Any, input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """Turn whatever stands for a module into one of the right size.

    Parameters
    ----------
    module : str, builder, callable, torch.nn.Module class or torch.nn.Module
        A builder has ``build(input_shape, n_outputs)``; a callable takes the same two arguments; a
        class is called with those of ``input_shape`` and ``n_outputs`` that its constructor
        names; an instance is deep-copied.
    input_shape : tuple of int
        Shape of one row of ``X``.
    n_outputs : int
        Number of logits wanted.

    Returns
    -------
    torch.nn.Module
        Nobody else's object: training it changes nothing of the user's.

    Raises
    ------
    TypeError
        If no module comes out of it.

    Examples
    --------
    >>> from torch import nn
    >>> from imbtorch.modules import build_module
    >>> build_module(lambda input_shape, n_outputs: nn.Linear(*input_shape, n_outputs), (4,), 3)
    Linear(in_features=4, out_features=3, bias=True)
    """
    if isinstance(module, str):
        module = get_module(module)
    if isinstance(module, type) and hasattr(module, "build"):
        module = module()  # MLP stands for MLP()
    if isinstance(module, nn.Module):
        return copy.deepcopy(module)
    if isinstance(module, type) and issubclass(module, nn.Module):
        built = _instantiate(module, input_shape, n_outputs)
    elif hasattr(module, "build"):
        built = module.build(input_shape, n_outputs)
    elif callable(module):
        built = module(input_shape, n_outputs)
    else:
        built = module
    if not isinstance(built, nn.Module):
        raise TypeError(
            "module must be a name, a builder with build(input_shape, n_outputs), a callable of "
            f"these two arguments, a torch.nn.Module class or instance; {module!r} gave "
            f"{type(built).__name__}."
        )
    return built


def _instantiate(cls: type[nn.Module], input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    sizes = {"input_shape": input_shape, "n_outputs": n_outputs}
    parameters = inspect.signature(cls).parameters.values()
    wanted = {p.name: sizes[p.name] for p in parameters if p.name in sizes}
    named = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind in named and p.name not in wanted
    ]
    if missing:
        raise TypeError(
            f"{cls.__name__} needs the arguments {missing}, but only input_shape and n_outputs "
            f"can be filled in. Give an instance, or a callable such as lambda input_shape, "
            f"n_outputs: {cls.__name__}(...)."
        )
    return cls(**wanted)


def set_output_bias(builder: Any, module: nn.Module, bias: Tensor) -> None:
    """Start the output layer of a network of ours at ``bias``, shape ``(n_outputs,)``.

    Parameters
    ----------
    builder : str, MLP or other
        What the module was built from. Modules of the user's making are left as they made them.
    module : torch.nn.Module
        The built module.
    bias : Tensor of shape (n_outputs,)
        New bias; not finite entries are left at 0.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules import build_module, set_output_bias
    >>> module = build_module("mlp", (4,), 2)
    >>> set_output_bias("mlp", module, torch.tensor([0.0, -2.0]))
    >>> module[-1].bias.tolist()
    [0.0, -2.0]
    """
    if not isinstance(builder, str | MLP):
        return
    output = module[-1]  # type: ignore[index]
    if isinstance(output, nn.Linear):
        with torch.no_grad():
            output.bias.copy_(torch.nan_to_num(bias, posinf=0.0, neginf=0.0))


_OUTPUTS = {"classes": "classes", "labels": "labels", "values": "columns"}


def check_width(
    output: Any, n_rows: int, n_outputs: int, module: nn.Module, task: str = "classes"
) -> None:
    """Check that a module returned one row of outputs per row, of a width that fits the targets.

    Parameters
    ----------
    output : object
        What ``module`` returned for ``n_rows`` rows.
    n_rows : int
        Rows that it was given.
    n_outputs : int
        Number of classes, labels or values: as many columns, or one column for two classes.
    module : torch.nn.Module
        For the message.
    task : {"classes", "labels", "values"}, default="classes"
        What the outputs are for.

    Raises
    ------
    ValueError
        If the output is not a tensor of one of these shapes.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from imbtorch.modules import check_width
    >>> module = nn.Linear(4, 5)
    >>> check_width(module(torch.zeros(2, 4)), n_rows=2, n_outputs=3, module=module)
    Traceback (most recent call last):
        ...
    ValueError: Linear returned (2, 5) for 2 rows; y has 3 classes, so its outputs must have ...
    """
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    wanted = [(n_rows, n_outputs)]
    if task == "classes" and n_outputs == 2:
        wanted.append((n_rows, 1))
    if got not in wanted:
        raise ValueError(
            f"{type(module).__name__} returned {got} for {n_rows} rows; y has {n_outputs} "
            f"{_OUTPUTS[task]}, so its outputs must have shape {' or '.join(map(str, wanted))}."
        )


def logits_of(output: Tensor) -> Tensor:
    """Read one column as the logits ``[0, z]`` of two classes.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules import logits_of
    >>> logits_of(torch.tensor([[1.5]])).tolist()
    [[0.0, 1.5]]
    """
    if output.shape[1] == 1:
        return torch.cat([torch.zeros_like(output), output], dim=1)
    return output
