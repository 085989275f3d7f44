"""The gradients of modules of the user's own without a graph, where this is verified.

The first batch of an epoch is computed by autograd, and the calls that the module makes are
recorded. If they are those of layers that a chain knows, the chain computes the batch again: its
output and all its gradients must be those of autograd, and so must be the random numbers that it
draws and the running statistics that it leaves. Then it computes the other batches of the epoch.
Anything else is computed by autograd as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from imbtorch.training.single.chain import Chain, embeddings_in_front
from imbtorch.training.single.layer_graph import LayerGraph, Node
from imbtorch.training.single.pure_forward import ImpureError, pure_state
from imbtorch.training.single.recording import (
    Recorded,
    Recording,
    layers_of,
    recorded_layers,
)

__all__ = ["RecordedChain"]

# how far gradients may differ, in units of the rounding error: of the largest gradient of a
# parameter, and of the largest of all (gradients may cancel each other, and leave rounding alone)
_OWN, _OVERALL = 1000, 32

Outputs = Callable[[Any], tuple[Tensor, Any]]


class RecordedChain:
    """The gradients of one epoch: by a chain that is recorded on its first batch, or by autograd.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class, in training mode.
    params : sequence of Tensor
        Parameters that are trained.
    by_autograd : callable(x, codes, share, outputs) -> Tensor
        Function that writes the gradients of a batch into the parameters and returns its loss,
        detached. ``outputs(x)``, if it is given, replaces the call of the module and returns
        ``(logits, None)``; None stands for values beside the logits, which are never recorded.
    by_chain : callable(chain, x, codes, share) -> Tensor
        Function that does the same by a chain instead of the module.
    """

    def __init__(
        self,
        module: nn.Module,
        params: Sequence[Tensor],
        by_autograd: Callable[..., Tensor],
        by_chain: Callable[[Chain, Any, Any, Tensor], Tensor],
    ) -> None:
        self.params, self.by_autograd, self.by_chain = params, by_autograd, by_chain
        self.front = embeddings_in_front(module)
        self.body = module
        if self.front:
            self.body = nn.Sequential(*list(cast(nn.Sequential, module))[len(self.front) :])
        self.is_first = True
        self.values: list[Recorded] | None = None  # those of the body, if they are verified
        self.chain: Chain | None = None

    def __call__(self, x: Any, codes: Any, share: Tensor) -> Tensor:
        """Write the gradients of a batch into the parameters, and return its loss, detached."""
        if self.chain is None and self.values is not None:
            self.chain = self._chain_of(self.values)
        if self.chain is not None:
            return self.by_chain(self.chain, x, codes, share)
        if self.is_first and type(x) is Tensor and x.is_floating_point():
            self.is_first = False
            with suppress(ImpureError):
                return self._watched(x, codes, share, pure_state(self.body))
        return self.by_autograd(x, codes, share)

    def _watched(self, x: Tensor, codes: Any, share: Tensor, state: tuple[Any, ...]) -> Tensor:
        """Compute a batch by autograd, and decide whether a chain computes the same."""
        trial = _Trial(self.body, self.params, x.device)

        def outputs(x: Tensor) -> tuple[Tensor, None]:
            for layer in self.front:
                x = layer(x)
            return trial.output(x), None

        loss = self.by_autograd(x, codes, share, outputs)
        with suppress(ImpureError):
            if trial.values and pure_state(self.body) == state:
                chain_of = partial(self._chain_of, trial.values)
                self.values = trial.values if trial.agrees(chain_of, x) else None
        return loss

    def _chain_of(self, values: list[Recorded]) -> Chain:
        """Make a chain of recorded values, whose parameters get new gradients."""
        sequences = layers_of(values)
        parts = [[value.part for value in own] for own in sequences]
        if len(parts) == 1:
            return Chain.made_of([*self.front, *parts[0]])
        nodes, node_at, place = [], {0: 0}, 0
        for sequence, own in zip(sequences, parts, strict=True):
            sources = tuple(node_at[source] for source in sequence[0].sources)
            nodes.append(Node(sources, own if len(sources) > 1 else Chain.made_of(own).layers))
            place += len(sequence)
            node_at[place] = len(nodes)
        return Chain.made_of([*self.front, LayerGraph(nodes)])


class _Trial:
    """A batch that autograd has computed, to be computed once more by a chain.

    Everything is as autograd has left it afterwards: gradients, buffers, random numbers.
    """

    def __init__(self, module: nn.Module, params: Sequence[Tensor], device: torch.device) -> None:
        self.module, self.params, self.device = module, params, device
        self.buffers = list(module.buffers())
        self.before = self._state()
        self.values: list[Recorded] | None = None

    def output(self, x: Tensor) -> Tensor:
        """Compute the module, and record how."""
        with Recording() as recording:
            output = self.module(x)
        self.values = recorded_layers(recording, x, output, self.module)
        if self.values is not None:
            self.wanted, self.graph = output.detach().clone(), output
            output.retain_grad()
        return cast(Tensor, output)

    def agrees(self, chain_of: Callable[[], Chain], x: Tensor) -> bool:
        """Return whether a chain gives the output and the gradients of autograd, and its state."""
        own = {id(p) for value in self.values or () for p in value.parameters()}
        gradients, after = [p.grad for p in self.params], self._state()
        self._restore(self.before)
        for param in self.params:
            param.grad = None
        try:
            output = self._by_chain(chain_of(), x)
            found = [p.grad for p in self.params]
            return (
                own <= set(map(id, self.params))
                and _all_close([output], [self.wanted])
                and _all_close(found, gradients)
                and _all_close(self._state(), after)
            )
        except RuntimeError:  # a layer does not fit the shapes
            return False
        finally:
            self._restore(after)
            for param, gradient in zip(self.params, gradients, strict=True):
                param.grad = gradient

    def _by_chain(self, chain: Chain, x: Tensor) -> Tensor:
        """Write the gradients of the chain, given that of the output; return the output."""
        outputs = []

        def given(output: Tensor) -> tuple[Tensor, Tensor]:
            outputs.append(output.clone())
            assert self.graph.grad is not None
            return output.new_zeros(len(output)), self.graph.grad.clone()

        chain.gradients(x, torch.sum, x.new_ones(len(x)), given)
        return outputs[0]

    def _state(self) -> list[Tensor]:
        draws = [torch.get_rng_state()]
        if self.device.type == "cuda":
            draws.append(torch.cuda.get_rng_state(self.device))
        return [buffer.clone() for buffer in self.buffers] + draws

    @torch.no_grad()
    def _restore(self, state: list[Tensor]) -> None:
        buffers, draws = state[: len(self.buffers)], state[len(self.buffers) :]
        for buffer, value in zip(self.buffers, buffers, strict=True):
            buffer.copy_(value)
        torch.set_rng_state(draws[0])
        if len(draws) > 1:
            torch.cuda.set_rng_state(draws[1], self.device)


def _all_close(found: Sequence[Any], wanted: Sequence[Any]) -> bool:
    """Return whether tensors are equal up to rounding; integers exactly, and None only to None."""
    sizes = [
        float(w.abs().max())
        for w in wanted
        if w is not None and w.is_floating_point() and w.numel()
    ]
    overall = max(sizes, default=0.0)
    for one, other in zip(found, wanted, strict=True):
        if one is None or other is None:
            if one is not other:
                return False
        elif one.shape != other.shape or one.dtype != other.dtype:
            return False
        elif not one.is_floating_point():
            if not torch.equal(one, other):
                return False
        else:
            own = float(other.abs().max()) if other.numel() else 0.0
            tolerance = torch.finfo(one.dtype).eps * (_OWN * own + _OVERALL * overall)
            if not torch.allclose(one, other, rtol=0, atol=tolerance):
                return False
    return True
