"""The numbers of many nets of one architecture, a row for each net."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import torch
from torch import Tensor, nn

__all__ = ["Storage"]


class Storage:
    """Parameters, gradients and buffers, of which the modules' own tensors are views.

    Whoever looks at a module (a monitor, a scorer, a snapshot) sees the numbers of the stack, and
    whoever writes to it writes to the stack.

    Parameters
    ----------
    modules : sequence of torch.nn.Module
        Of one architecture, on one device.

    Attributes
    ----------
    values, grads : Tensor of shape (n_nets, n_parameters)
        Trained parameters and their gradients.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        first = modules[0]
        trained = {n: p for n, p in first.named_parameters() if p.requires_grad}
        self.shapes = {name: tuple(p.shape) for name, p in trained.items()}
        sizes = [prod(shape) for shape in self.shapes.values()]
        ends = torch.tensor(sizes).cumsum(0).tolist()
        self.places = {
            name: slice(end - size, end)
            for name, end, size in zip(self.shapes, ends, sizes, strict=True)
        }
        rows = [[dict(m.named_parameters())[name] for name in trained] for m in modules]
        flat = [torch.cat([p.detach().reshape(-1) for p in row]) for row in rows]
        self.values = torch.stack(flat)
        self.grads = torch.zeros_like(self.values)
        others = [_others(m, trained) for m in modules]
        self.fixed = {
            name: torch.stack([tensors[name].detach() for tensors in others]) for name in others[0]
        }
        self._attach()

    def __len__(self) -> int:
        """Count the nets."""
        return len(self.modules)

    def _attach(self) -> None:
        for row, module in enumerate(self.modules):
            parameters = dict(module.named_parameters())
            for name, shape in self.shapes.items():
                parameters[name].data = self.values[row, self.places[name]].view(shape)
                parameters[name].grad = self.grads[row, self.places[name]].view(shape)
            for name, tensor in _others(module, self.shapes).items():
                tensor.data = self.fixed[name][row]

    def trained(self, row: int) -> dict[str, nn.Parameter]:
        """Trained parameters of one net by name, its own."""
        parameters = dict(self.modules[row].named_parameters())
        return {name: parameters[name] for name in self.shapes}

    def parameters(self, nets: slice) -> dict[str, Tensor]:
        """Parameters of some of the nets by name, ``(n, *shape)`` each, as views."""
        return self._by_name(self.values[nets])

    def gradients(self, nets: slice) -> dict[str, Tensor]:
        """Their gradients, likewise."""
        return self._by_name(self.grads[nets])

    def _by_name(self, rows: Tensor) -> dict[str, Tensor]:
        return {
            name: rows[:, self.places[name]].view(len(rows), *shape)
            for name, shape in self.shapes.items()
        }

    def buffers(self, nets: slice) -> dict[str, Tensor]:
        """Buffers and frozen parameters by name, ``(n, *shape)`` each, as views."""
        return {name: tensor[nets] for name, tensor in self.fixed.items()}

    def keep(self, rows: list[int]) -> None:
        """Let go of all nets but those at ``rows``; these get numbers of their own."""
        kept = set(rows)
        for row, module in enumerate(self.modules):
            if row not in kept:
                _detach(module, self.shapes)
        index = torch.tensor(rows, dtype=torch.int64, device=self.values.device)
        self.modules = [self.modules[row] for row in rows]
        self.values = self.values.index_select(0, index)
        self.grads = self.grads.index_select(0, index)
        self.fixed = {name: tensor.index_select(0, index) for name, tensor in self.fixed.items()}
        self._attach()


def _others(module: nn.Module, trained: Iterable[str]) -> dict[str, Tensor]:
    """Buffers and frozen parameters."""
    frozen = {name: p for name, p in module.named_parameters() if name not in trained}
    return {**dict(module.named_buffers()), **frozen}


def _detach(module: nn.Module, trained: Iterable[str]) -> None:
    for tensor in [*module.parameters(), *_others(module, trained).values()]:
        tensor.data = tensor.data.clone()
        if tensor.grad is not None:
            tensor.grad = tensor.grad.clone()
