"""Evaluate the losses of many nets at once; their hyper-parameters and priors may differ."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Number
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import vmap

from imbtorch.losses import BaseLoss
from imbtorch.losses._members import sums_over_members
from imbtorch.losses._shapes import fold_members
from imbtorch.training.net import Net

__all__ = ["Losses", "losses_of"]

_RTOL, _ATOL = 1e-4, 1e-6  # tolerances of a trial in float32; a wrong formula is off by far more


class Losses(Protocol):
    """The losses of the nets of a stack."""

    def __call__(
        self, nets: slice, output: Tensor, target: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of each net, ``(n,)``, and its gradient by the outputs.

        Parameters
        ----------
        nets : slice
            Positions of the nets in the stack.
        output : Tensor of shape (n, b, c) or (n, b, k, c)
            Outputs of their modules, detached; k is the number of members of a net.
        target : Tensor of shape (n, b), (n, b, l) or (n, b, k)
            Class codes, labels or values.
        share : Tensor of shape (n, b); with labels (n, b, 1) or (n, b, l)
            Factor of each row, or of each label, in the loss of its batch.
        """

    def of(self, nets: Sequence[Net]) -> Losses:
        """Return an object that evaluates the losses of other nets in the same way."""


class _Way:
    """Base class of the ways to evaluate the losses of a stack."""

    def __init__(self, nets: Sequence[Net]) -> None:
        self.nets = list(nets)

    def of(self, nets: Sequence[Net]) -> Any:
        return type(self)(nets)


class _Looped(_Way):
    """Evaluate the losses one after the other; works with any loss, even one with a memory."""

    def __call__(
        self, nets: slice, output: Tensor, target: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        leaf = output.detach().requires_grad_()
        with torch.enable_grad():  # a loss may change the outputs that it gets, or keep them
            rows = zip(self.nets[nets], target, share, leaf, strict=True)
            values = torch.stack([net.batch_loss(t, s, z.clone()) for net, t, s, z in rows])
            values.sum().backward()
        assert leaf.grad is not None
        return values.detach(), leaf.grad


class _Varied:
    """The values in which the losses of the nets differ, and a net that computes with them."""

    def __init__(self, nets: Sequence[Net]) -> None:
        first = nets[0]
        self.net = _fork(first)
        self.loss: BaseLoss = copy.copy(first.criterion_)
        self.loss._buffers = dict(self.loss._buffers)
        self.loss.training = True
        self.net.__dict__["criterion_"] = self.loss
        losses = [net.criterion_ for net in nets]
        self.numbers = {
            name: torch.tensor(
                [getattr(loss, name) for loss in losses], dtype=first.dtype, device=first.device
            )
            for name in numeric_parameters(losses[0])
            if len({getattr(loss, name) for loss in losses}) > 1
        }
        buffers = {name: [loss._buffers[name] for loss in losses] for name in losses[0]._buffers}
        self.buffers: dict[str, Tensor] = {
            name: torch.stack([tensor for tensor in tensors if tensor is not None])
            for name, tensors in buffers.items()
            if not _all_equal(tensors)
        }

    def set(self, numbers: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        """Set parameters and buffers of the loss."""
        self.loss._buffers.update(buffers)
        for name, value in numbers.items():
            setattr(self.loss, name, value)

    def values(self, output: Tensor, target: Tensor, share: Tensor) -> tuple[Tensor, Tensor] | None:
        """Compute the loss of each row or label times its share, and the gradients.

        Return None if the loss has no closed form.
        """
        known = self.net.closed_form(target, output)
        if known is None:
            return None
        values, gradient = known
        return values * share, gradient * (share if share.ndim == 2 else share.unsqueeze(-1))


class _Flat(_Way):
    """Evaluate the rows of all nets as one long batch; each row has the parameters of its net."""

    def __init__(self, nets: Sequence[Net]) -> None:
        super().__init__(nets)
        self.varied = _Varied(nets)
        if self.varied.buffers:
            raise ValueError("values of classes cannot be given row by row")
        self.by_row: dict[tuple[int, int, int], dict[str, Tensor]] = {}

    def __call__(
        self, nets: slice, output: Tensor, target: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        n, b = share.shape[:2]
        self.varied.set(self._numbers(nets, b, share.ndim), {})
        with torch.no_grad():
            known = self.varied.values(
                output.flatten(0, 1), target.flatten(0, 1), share.flatten(0, 1)
            )
        if known is None:
            raise ValueError("no closed form")
        values, gradient = known
        return values.reshape(n, -1).sum(1), gradient.reshape(output.shape)

    def _numbers(self, nets: slice, b: int, ndim: int) -> dict[str, Tensor]:
        """Return the loss parameters of each row, for batches of ``b`` rows."""
        key = nets.start, nets.stop, b
        if key not in self.by_row:
            shape = (-1,) if ndim == 2 else (-1, 1)
            self.by_row[key] = {
                name: value[nets].repeat_interleave(b).reshape(shape)
                for name, value in self.varied.numbers.items()
            }
        return self.by_row[key]


class _Mapped(_Way):
    """Map the loss over the nets with ``torch.func.vmap``, in closed form or by autograd."""

    def __init__(self, nets: Sequence[Net]) -> None:
        super().__init__(nets)
        self.varied = varied = _Varied(nets)

        def closed(numbers: Any, buffers: Any, z: Tensor, t: Tensor, s: Tensor) -> Any:
            varied.set(numbers, buffers)
            known = varied.values(z, t, s)
            if known is None:
                raise ValueError("no closed form")
            return known[0].sum(), known[1]

        def plain(numbers: Any, buffers: Any, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
            varied.set(numbers, buffers)
            return varied.net.batch_loss(t, s, z)

        self.closed, self.plain = vmap(closed), vmap(plain)
        self.has_closed_form = True

    def __call__(
        self, nets: slice, output: Tensor, target: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        numbers = {name: value[nets] for name, value in self.varied.numbers.items()}
        buffers = {name: value[nets] for name, value in self.varied.buffers.items()}
        if self.has_closed_form:
            try:
                with torch.no_grad():
                    values, gradient = self.closed(numbers, buffers, output, target, share)
                return values, gradient
            except ValueError:
                self.has_closed_form = False
        leaf = output.detach().requires_grad_()
        with torch.enable_grad():
            values = self.plain(numbers, buffers, leaf.clone(), target, share)
            values.sum().backward()
        assert leaf.grad is not None
        return values.detach(), leaf.grad


class _Folded:
    """Evaluate the losses of nets with members, whose outputs become rows of their batch."""

    def __init__(self, losses: Losses) -> None:
        self.losses = losses

    def of(self, nets: Sequence[Net]) -> Losses:
        return _Folded(self.losses.of(nets))

    def __call__(
        self, nets: slice, output: Tensor, target: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        values, gradient = self.losses(nets, *_folded(output, target, share))
        return values, gradient.reshape(output.shape)


_folded = vmap(fold_members)


def numeric_parameters(loss: BaseLoss) -> list[str]:
    """Return the names of the parameters of a loss that may differ within a stack."""
    params = loss.get_params(deep=False)
    return [
        name
        for name, value in params.items()
        if isinstance(value, Number) and not isinstance(value, bool) and name != "ignore_index"
    ]


def losses_of(nets: Sequence[Net], output: Tensor, target: Tensor, share: Tensor) -> Losses:
    """Choose the fastest correct way to evaluate the losses of a stack.

    Parameters
    ----------
    nets : sequence of Net
        Nets whose losses have the same class; numeric parameters and prepared data may differ.
    output, target, share : Tensor
        Batch to try each way on, in the form that :class:`Losses` takes.

    Returns
    -------
    Losses
        Object that evaluates the losses of any slice of the nets.
    """
    if output.ndim == 4 and sums_over_members(nets[0].criterion_):
        return _Folded(losses_of(nets, *_folded(output, target, share)))
    looped = _Looped([_trial(net) for net in nets])
    everything = slice(0, len(nets))
    expected = looped(everything, output, target, share)
    if not _remembers(nets[0], output[0], target[0], share[0]):
        for way in (_Flat, _Mapped):
            try:
                losses: Losses = way(nets)
                found = losses(everything, output, target, share)
            except Exception:  # the loss does not support this way: try the next one
                continue
            if all(map(_close, found, expected)):
                return losses
    return _Looped(nets)


def _trial(net: Net) -> Net:
    """Copy a net and its loss, so that a trial changes neither."""
    fork = _fork(net)
    fork.__dict__["criterion_"] = copy.deepcopy(net.criterion_).train()
    return fork


def _fork(net: Net) -> Net:
    """Make a shallow copy of a net: both share the same module, loss and optimizer."""
    fork = object.__new__(Net)
    fork.__dict__.update(net.__dict__)
    return fork


def _remembers(net: Net, output: Tensor, target: Tensor, share: Tensor) -> bool:
    """Return whether a loss changes its own state when it is evaluated in training mode."""
    trial = _trial(net)
    loss = trial.criterion_
    before = copy.deepcopy((loss._buffers, _plain(loss)))
    with torch.no_grad():
        trial.batch_loss(target, share, output.clone())  # which the loss may change
    after = loss._buffers, _plain(loss)
    same = before[1] == after[1] and before[0].keys() == after[0].keys()
    return not (same and all(_all_equal([before[0][k], after[0][k]]) for k in before[0]))


def _plain(loss: BaseLoss) -> dict[str, Any]:
    return {k: v for k, v in vars(loss).items() if isinstance(v, Number | str | bool)}


def _all_equal(tensors: Sequence[Tensor | None]) -> bool:
    first = tensors[0]
    if first is None:
        return all(tensor is None for tensor in tensors)
    return all(tensor is not None and torch.equal(tensor, first) for tensor in tensors)


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(
        found.double(), expected.double(), rtol=_RTOL, atol=_ATOL, equal_nan=True
    )
