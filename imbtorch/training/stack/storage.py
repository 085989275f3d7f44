"""Tensors that hold the parameters of many nets of one architecture, one row for each net."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Storage", "rows_of"]


class Storage:
    """Parameters, gradients and buffers of several modules, stacked in shared tensors.

    The modules' own tensors become views of the stacked ones. Code that reads a module (a monitor,
    a scorer, a snapshot) reads the stack, and code that writes to a module writes to the stack.

    Parameters
    ----------
    modules : sequence of torch.nn.Module
        Modules of one architecture on one device.

    Attributes
    ----------
    values, grads : dict of Tensor of shape (n_nets, *shape)
        Trained parameters and their gradients, by name. They are contiguous, which makes batched
        products fast.
    fixed : dict of Tensor of shape (n_nets, *shape)
        Buffers and frozen parameters, by name.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        named = [dict(module.named_parameters()) for module in modules]
        trained = [name for name, p in named[0].items() if p.requires_grad]
        self.values = {n: torch.stack([own[n].detach() for own in named]) for n in trained}
        self.grads = {name: torch.zeros_like(block) for name, block in self.values.items()}
        others = [_others(module, trained) for module in modules]
        self.fixed = {n: torch.stack([own[n].detach() for own in others]) for n in others[0]}
        self._attach()

    def __len__(self) -> int:
        """Count the nets."""
        return len(self.modules)

    def _attach(self) -> None:
        for row, module in enumerate(self.modules):
            for name, parameter in self.trained(row).items():
                parameter.data, parameter.grad = self.values[name][row], self.grads[name][row]
            for name, tensor in _others(module, self.values).items():
                tensor.data = self.fixed[name][row]

    def trained(self, row: int) -> dict[str, nn.Parameter]:
        """Return the trained parameters of one net's module, by name."""
        parameters = dict(self.modules[row].named_parameters())
        return {name: parameters[name] for name in self.values}

    def finite(self) -> Tensor:
        """Return for each net whether its parameters are finite, ``(n_nets,)``."""
        parts = [torch.isfinite(block).flatten(1).all(dim=1) for block in self.values.values()]
        return torch.stack(parts).all(dim=0)

    def keep(self, rows: list[int]) -> None:
        """Keep the nets at ``rows``; give all other modules separate copies of their tensors."""
        kept = set(rows)
        for row, module in enumerate(self.modules):
            if row not in kept:
                _detach(module, self.values)
        self.modules = [self.modules[row] for row in rows]
        self.values, self.grads, self.fixed = (
            rows_of(blocks, rows) for blocks in (self.values, self.grads, self.fixed)
        )
        self._attach()


def rows_of(blocks: dict[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Return copies of some rows of each block."""
    return {
        name: block.index_select(0, torch.tensor(rows, dtype=torch.int64, device=block.device))
        for name, block in blocks.items()
    }


def _others(module: nn.Module, trained: Iterable[str]) -> dict[str, Tensor]:
    """Return the buffers and frozen parameters of a module, by name."""
    frozen = {name: p for name, p in module.named_parameters() if name not in trained}
    return {**dict(module.named_buffers()), **frozen}


def _detach(module: nn.Module, trained: Iterable[str]) -> None:
    for tensor in [*module.parameters(), *_others(module, trained).values()]:
        tensor.data = tensor.data.clone()
        if tensor.grad is not None:
            tensor.grad = tensor.grad.clone()
