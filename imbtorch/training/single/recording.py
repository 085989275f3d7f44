"""What a module computes from a batch, as the calls of torch's functions that it makes.

A recording is made while the module computes an ordinary batch: ``forward`` is called as often as
without it, on the same rows, and with the same random numbers. The calls become the layers of a
net, if a known function makes every value, from the input and from parameters that are used once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from imbtorch.training.single.operations import (
    ColumnConcatenation,
    ElementwiseSum,
    Flattening,
    Scaling,
)

__all__ = ["KNOWN_FUNCTIONS", "Recorded", "Recording", "layers_of", "recorded_layers"]

_tensor: Any = Tensor
# what is the same for all batches
_HARMLESS = {Tensor.dim, _tensor.ndim.__get__, _tensor.dtype.__get__, _tensor.device.__get__}


class _UnknownError(Exception):
    """A call that no layer stands for."""


class Recorded(NamedTuple):
    """A value that a module computes: the places of the values that are read, and by what.

    Attributes
    ----------
    sources : tuple of int
        Places of the values that are read: 0 is the input.
    part : torch.nn.Module or operation
        What computes the value; its parameters are those of the module.
    """

    sources: tuple[int, ...]
    part: nn.Module | Scaling | Flattening | ElementwiseSum | ColumnConcatenation

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters that compute the value."""
        return list(self.part.parameters()) if isinstance(self.part, nn.Module) else []


class Recording(TorchFunctionMode):
    """Note each call of a function of torch inside the block.

    Attributes
    ----------
    calls : list of (function, args, kwargs, result)
        The calls, in their order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the function, and note it."""
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result


def recorded_layers(
    recording: Recording, x: Tensor, output: Any, module: nn.Module
) -> list[Recorded] | None:
    """Find the layers of a net in the calls that computed its output.

    Parameters
    ----------
    recording : Recording
        The calls.
    x, output : Tensor
        Input and output of the module.
    module : torch.nn.Module
        The module, whose parameters and batch normalisations the calls use.

    Returns
    -------
    list of Recorded or None
        The values in the order of their computation, of which the last is the output and all
        others are read; None if anything else was computed.
    """
    reader = _Reader(x, module)
    try:
        for function, args, kwargs, result in recording.calls:
            reader.read(function, args, kwargs, result)
    except _UnknownError:
        return None
    values = reader.values
    read = [source for value in values for source in value.sources]
    is_net = bool(values) and not reader.counted and reader.places.get(id(output)) == len(values)
    owned = [id(p) for value in values for p in value.parameters()]
    once = len(set(owned)) == len(owned)  # the gradients of a shared parameter add up
    return values if is_net and once and set(read) == set(range(len(values))) else None


def layers_of(values: list[Recorded]) -> list[list[Recorded]]:
    """Divide values into sequences, in which each value is read by the next one alone.

    Parameters
    ----------
    values : list of Recorded
        Values of :func:`recorded_layers`.

    Returns
    -------
    list of list of Recorded
        The sequences; a sum or a concatenation is one of its own.
    """
    readers = [source for value in values for source in value.sources]
    sequences: list[list[Recorded]] = []
    for place, value in enumerate(values):
        follows = place > 0 and value.sources == (place,) and readers.count(place) == 1
        if follows and len(sequences[-1][-1].sources) == 1:
            sequences[-1].append(value)
        else:
            sequences.append([value])
    return sequences


class _Reader:
    """Values of a recording, found call by call.

    A tensor that is changed in place stands for its new value from then on.
    """

    def __init__(self, x: Tensor, module: nn.Module) -> None:
        self.values: list[Recorded] = []
        self.x, self.places = x, {id(x): 0}
        self.parameters = {id(p) for p in module.parameters()}
        norms = [layer for layer in module.modules() if type(layer) is nn.BatchNorm1d]
        # what is looked up by an object that the layer holds, and nothing else
        self.norms = {id(layer.weight): layer for layer in norms if layer.weight is not None}
        self.norms |= {id(n.running_mean): n for n in norms if n.running_mean is not None}
        self.counters = {id(layer.num_batches_tracked): layer for layer in norms}
        self.counted: set[int] = set()  # counters that were read for a call that is still to come

    def read(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        """Read one call.

        Raises
        ------
        _UnknownError
            If no layer stands for it.
        """
        if function in _HARMLESS or (args and self._counts(function, args[0])):
            return
        if function not in KNOWN_FUNCTIONS:
            raise _UnknownError
        read = KNOWN_FUNCTIONS[function]
        try:
            signature(read).bind(self, *args, **kwargs)
        except TypeError:  # an argument that is not known
            raise _UnknownError from None
        made = read(self, *args, **kwargs)
        if made is None:  # it does nothing: the result is the value that it got
            self.places[id(result)] = self.place(args[0])
            return
        sources, part = made
        if type(result) is not Tensor or result is self.x or result.dtype != self.x.dtype:
            raise _UnknownError
        self.values.append(Recorded(sources, part))
        self.places[id(result)] = len(self.values)

    def _counts(self, function: Any, counter: Any) -> bool:
        """Return whether a batch normalisation counts its batches, as torch's own code does.

        It reads the number once before it normalises, if it takes the mean of all batches. Whoever
        else reads it gets another number for each batch.
        """
        layer = self.counters.get(id(counter))
        if layer is None or function not in (Tensor.add_, _tensor.__float__):
            return False
        if function is _tensor.__float__:
            if layer.momentum is not None or id(counter) in self.counted:
                raise _UnknownError
            self.counted.add(id(counter))
        return True

    def place(self, value: Any) -> int:
        """Return the place of a value that is known."""
        if id(value) not in self.places:
            raise _UnknownError
        return self.places[id(value)]

    def own(self, parameter: Any) -> Any:
        """Return a parameter that is trained plainly, or None."""
        if parameter is None:
            return None
        fits = id(parameter) in self.parameters and type(parameter) is nn.Parameter
        if not fits or not parameter.requires_grad or parameter.dtype != self.x.dtype:
            raise _UnknownError
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise _UnknownError
        return parameter


_Made = tuple[tuple[int, ...], Any] | None


def _activation(cls: type[nn.Module], *names: str) -> Callable[..., _Made]:
    """Return what reads the calls of an activation function, which has these settings."""

    def made(reader: _Reader, input: Tensor, *args: Any, **kwargs: Any) -> _Made:
        kwargs.pop("inplace", False)
        settings = dict(zip(names, args, strict=False))
        if len(args) > len(names) or not kwargs.keys() <= set(names):
            raise _UnknownError
        return (reader.place(input),), cls(**settings, **kwargs)

    return made


def _linear(reader: _Reader, input: Tensor, weight: Any, bias: Any = None) -> _Made:
    if input.ndim != 2 or weight is None:
        raise _UnknownError
    place = reader.place(input)
    part = nn.Linear.__new__(nn.Linear)  # without weights of its own
    nn.Module.__init__(part)
    part.out_features, part.in_features = weight.shape
    part.weight, part.bias = reader.own(weight), reader.own(bias)
    return (place,), part


def _dropout(
    reader: _Reader, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> _Made:
    if not training or p == 0:
        return None
    if p >= 1:
        raise _UnknownError
    return (reader.place(input),), nn.Dropout(p)


def _layer_norm(
    reader: _Reader,
    input: Tensor,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> _Made:
    part = nn.LayerNorm(normalized_shape, eps, elementwise_affine=False)
    part.weight, part.bias = reader.own(weight), reader.own(bias)
    return (reader.place(input),), part


def _batch_norm(
    reader: _Reader, input: Tensor, running_mean: Any, running_var: Any, **others: Any
) -> _Made:
    key = id(running_mean) if running_mean is not None else id(others.get("weight"))
    layer = reader.norms.get(key)
    if layer is None or not layer.training or input.ndim != 2:
        raise _UnknownError
    for parameter in layer.parameters():
        reader.own(parameter)
    reader.counted.discard(id(layer.num_batches_tracked))
    return (reader.place(input),), layer


def _flatten(reader: _Reader, input: Tensor, start_dim: int = 0, end_dim: int = -1) -> _Made:
    if start_dim != 1 or end_dim != -1:
        raise _UnknownError
    return ((reader.place(input),), Flattening()) if input.ndim > 2 else None


def _sum(reader: _Reader, input: Tensor, other: Any) -> _Made:
    sources = reader.place(input), reader.place(other)
    if input.shape != other.shape:
        raise _UnknownError
    return sources, ElementwiseSum()


def _product(reader: _Reader, input: Tensor, other: Any) -> _Made:
    if type(other) not in (int, float):
        raise _UnknownError
    return (reader.place(input),), Scaling(other)


def _quotient(reader: _Reader, input: Tensor, other: Any) -> _Made:
    if type(other) not in (int, float) or not other:
        raise _UnknownError
    return (reader.place(input),), Scaling(1 / other)


def _concatenation(reader: _Reader, tensors: Any, dim: int = 0) -> _Made:
    sources = tuple(map(reader.place, tensors))
    if len(sources) < 2 or any(t.ndim != 2 for t in tensors) or dim not in (1, -1):
        raise _UnknownError
    return sources, ColumnConcatenation()


# what reads the calls of each function of torch
KNOWN_FUNCTIONS: dict[Any, Callable[..., _Made]] = {
    F.linear: _linear,
    F.dropout: _dropout,
    F.layer_norm: _layer_norm,
    F.batch_norm: _batch_norm,
    torch.flatten: _flatten,
    Tensor.flatten: _flatten,
    torch.add: _sum,
    Tensor.add: _sum,
    Tensor.add_: _sum,
    torch.cat: _concatenation,
    torch.mul: _product,
    Tensor.mul: _product,
    torch.div: _quotient,
    Tensor.div: _quotient,
    **dict.fromkeys(
        (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), _activation(nn.ReLU)
    ),
    **dict.fromkeys((F.tanh, torch.tanh, Tensor.tanh), _activation(nn.Tanh)),
    **dict.fromkeys((F.sigmoid, torch.sigmoid, Tensor.sigmoid), _activation(nn.Sigmoid)),
    F.softplus: _activation(nn.Softplus, "beta", "threshold"),
    F.mish: _activation(nn.Mish),
    F.hardswish: _activation(nn.Hardswish),
    F.silu: _activation(nn.SiLU),
    F.gelu: _activation(nn.GELU, "approximate"),
    F.elu: _activation(nn.ELU, "alpha"),
    F.selu: _activation(nn.SELU),
    F.leaky_relu: _activation(nn.LeakyReLU, "negative_slope"),
}
