"""Recurrent layers over any number of steps in an ONNX file.

torch.export writes out the steps of a recurrent layer one by one, so that their number would be
fixed, and cannot pack sequences. Here GRU, LSTM and RNN of torch become the operators of ONNX with
these names, which take the lengths of the rows; packed sequences stay padded in between.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["RecurrentLayers", "has_recurrent_layers", "recurrent_translations"]

# of each function of torch: operator of ONNX, and the order in which ONNX has the gates of torch
_OPERATORS = {
    "gru": ("GRU", (1, 0, 2)),
    "lstm": ("LSTM", (0, 3, 1, 2)),
    "rnn_tanh": ("RNN", (0,)),
    "rnn_relu": ("RNN", (0,)),
}


def has_recurrent_layers(module: nn.Module) -> bool:
    """Return whether a module has layers that :class:`RecurrentLayers` writes."""
    return any(isinstance(layer, nn.RNNBase) for layer in module.modules())


class RecurrentLayers(TorchFunctionMode):
    """Context in which recurrent layers are traced as one operator each.

    Parameters
    ----------
    module : torch.nn.Module
        Copy of a module that will be written. Its recurrent layers no longer compare the shapes of
        their arguments, because that would fix the number of rows.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for layer in module.modules():
            if isinstance(layer, nn.RNNBase):
                vars(layer)["check_forward_args"] = lambda *arguments: None
        # batch sizes of packed sequences, by identity: these, number of rows, their lengths
        self._packed: dict[int, tuple[Tensor, Any, Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace functions of recurrent layers and of packed sequences; call all others."""
        name = getattr(func, "__name__", "")
        if name in _OPERATORS:
            return (
                self._packed_layers(name, *args)
                if self._is_packed(args[1])
                else _padded_layers(name, *args)
            )
        if name == "_pack_padded_sequence":
            return self._pack(*args)
        if name == "_pad_packed_sequence":
            return self._pad(*args)
        if name == "__getitem__" and self._is_packed(args[0]) and args[1] == 0:
            return self._packed[id(args[0])][1]
        return func(*args, **(kwargs or {}))

    def _is_packed(self, value: Any) -> bool:
        return isinstance(value, Tensor) and id(value) in self._packed

    def _pack(self, rows: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:  # noqa: FBT001
        """Return all steps of the padded rows, and how many rows have each step."""
        rows = rows if batch_first else rows.transpose(0, 1)
        steps = torch.arange(rows.shape[1]).unsqueeze(1)
        sizes = (lengths > steps).sum(dim=1)
        self._packed[id(sizes)] = sizes, rows.shape[0], lengths
        return rows, sizes

    def _pad(
        self,
        data: Tensor,
        sizes: Tensor,
        batch_first: bool,
        padding: float,
        n_steps: Any,  # noqa: FBT001
    ) -> tuple[Tensor, Tensor]:
        """Return padded rows, and their lengths."""
        lengths = self._packed[id(sizes)][2]
        is_step = torch.arange(data.shape[1]) < lengths.unsqueeze(1)
        rows = torch.where(is_step.unsqueeze(2), data, padding)
        return rows if batch_first else rows.transpose(0, 1), lengths

    def _packed_layers(
        self, name: str, data: Tensor, sizes: Tensor, hidden: Any, weights: Any, *settings: Any
    ) -> tuple[Tensor, ...]:
        """Compute layers over packed rows."""
        lengths = self._packed[id(sizes)][2]
        rows, *states = _layers(name, data.transpose(0, 1), lengths, hidden, weights, *settings)
        return rows.transpose(0, 1), *states


def _padded_layers(
    name: str, rows: Tensor, hidden: Any, weights: Any, *settings: Any
) -> tuple[Tensor, ...]:
    """Compute layers over rows of one length; the last setting says whether rows come first."""
    *settings_of_layers, batch_first = settings
    rows = rows.transpose(0, 1) if batch_first else rows
    lengths = torch.full((rows.shape[1],), rows.shape[0])
    rows, *states = _layers(name, rows, lengths, hidden, weights, *settings_of_layers)
    return rows.transpose(0, 1) if batch_first else rows, *states


def _layers(
    name: str,
    rows: Tensor,
    lengths: Tensor,
    hidden: Any,
    weights: list[Tensor],
    has_bias: bool,  # noqa: FBT001
    n_layers: int,
    dropout: float,
    train: bool,  # noqa: FBT001
    bidirectional: bool,  # noqa: FBT001
) -> tuple[Tensor, ...]:
    """Compute layers over padded rows ``(n_steps, n_rows, width)``, as torch's functions do."""
    operator, order = _OPERATORS[name]
    n_directions, n_weights = 1 + bidirectional, 4 if has_bias else 2
    if len(weights) != n_layers * n_directions * n_weights:
        raise ValueError("A recurrent layer with projections has no operator in ONNX.")
    states = list(hidden) if operator == "LSTM" else [hidden]
    ends: list[list[Tensor]] = [[] for _ in states]
    compute = _operators()[name]
    for layer in range(n_layers):
        here = slice(layer * n_directions, (layer + 1) * n_directions)
        own = [weights[i * n_weights : (i + 1) * n_weights] for i in range(here.start, here.stop)]
        matrices = _in_onnx_order(own, order)
        begins = [state[here] for state in states]
        result = compute(rows, *matrices, lengths.to(torch.int32), *begins)
        rows = result[0].transpose(1, 2).flatten(2)
        for end, state in zip(ends, result[1:], strict=True):
            end.append(state)
    return rows, *(torch.cat(end) for end in ends)


def _in_onnx_order(weights: list[list[Tensor]], order: tuple[int, ...]) -> list[Tensor]:
    """Return weights of the input, of the state, and biases of a layer, with all its directions."""

    def ordered(values: Tensor) -> Tensor:
        size = values.shape[0] // len(order)
        return torch.cat([values[place * size : (place + 1) * size] for place in order])

    of_input = torch.stack([ordered(direction[0]) for direction in weights])
    of_state = torch.stack([ordered(direction[1]) for direction in weights])
    zeros = of_input.new_zeros(2 * of_input.shape[1])
    biases = [
        torch.cat([ordered(bias) for bias in direction[2:]]) if direction[2:] else zeros
        for direction in weights
    ]
    return [of_input, of_state, torch.stack(biases)]


@cache
def _operators() -> dict[str, Any]:
    """Register one operator for each function of torch, which can only be traced."""
    made = {}
    for name, (operator, _) in _OPERATORS.items():
        states = ["h", "c"] if operator == "LSTM" else ["h"]
        given = ["x", "weight", "recurrence", "bias", "lengths", *states]
        results = ", ".join(["Tensor"] * (1 + len(states)))
        schema = f"({', '.join(f'Tensor {value}' for value in given)}) -> ({results})"
        made[name] = torch.library.custom_op(
            f"imbtorch::{name}", _only_traced, mutates_args=(), schema=schema
        )
        made[name].register_fake(_shapes)
    return made


def _only_traced(*arguments: Tensor) -> Any:
    raise RuntimeError("This operator stands for one of ONNX, and is never computed by torch.")


def _shapes(
    x: Tensor, weight: Tensor, recurrence: Tensor, bias: Tensor, lengths: Tensor, *states: Tensor
) -> tuple[Tensor, ...]:
    n_directions, _, size = recurrence.shape
    outputs = x.new_empty(x.shape[0], n_directions, x.shape[1], size)
    return outputs, *(torch.empty_like(state) for state in states)


def recurrent_translations() -> dict[Any, Callable[..., Any]]:
    """Return what the operators become in an ONNX file, for torch.onnx.export."""
    return {getattr(torch.ops.imbtorch, name).default: _translation(name) for name in _operators()}


def _translation(name: str) -> Callable[..., Any]:
    """Return a function that makes the operator of ONNX."""
    operator, _ = _OPERATORS[name]

    def settings(recurrence: Any) -> dict[str, Any]:
        n_directions, _, size = recurrence.shape
        activation = {"rnn_tanh": ["Tanh"], "rnn_relu": ["Relu"]}.get(name)
        return {
            "hidden_size": int(size),
            "direction": "bidirectional" if n_directions == 2 else "forward",
            **({"linear_before_reset": 1} if name == "gru" else {}),
            **({"activations": activation * int(n_directions)} if activation else {}),
        }

    def made(*given: Any) -> Any:
        from onnxscript import opset18

        return getattr(opset18, operator)(*given, **settings(given[2]))

    if operator == "LSTM":
        return lambda x, weight, recurrence, bias, lengths, h, c: made(
            x, weight, recurrence, bias, lengths, h, c
        )
    return lambda x, weight, recurrence, bias, lengths, h: made(
        x, weight, recurrence, bias, lengths, h
    )
