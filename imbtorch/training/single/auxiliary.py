"""Losses that a module computes besides its logits, added to the loss of the logits."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from imbtorch.modules._structured import entry_of, in_dtype, module_with_logits, names_in
from imbtorch.training.data.mixing import MixedTargets
from imbtorch.training.run import Auxiliary, Run

__all__ = ["AuxiliaryLoss", "auxiliary_of", "check_aux_loss"]


def check_aux_loss(aux_loss: Any) -> None:
    """Check the parameter ``aux_loss`` of an estimator, before the data are looked at.

    Parameters
    ----------
    aux_loss : str, dict or callable
        Value of the parameter.

    Raises
    ------
    ValueError
        If it is a module, whose parameters nobody would train; or a dict that does not map names
        to finite factors.

    Examples
    --------
    >>> from imbtorch.training.single.auxiliary import check_aux_loss
    >>> check_aux_loss({"reconstruction": 0.1})
    """
    if isinstance(aux_loss, nn.Module):
        raise ValueError(
            f"aux_loss={aux_loss!r} is a torch.nn.Module, whose parameters would be "
            "neither trained nor saved. Give a function that calls it, such as "
            "aux_loss=lambda output, target: loss(output['extra'], target); or make it a part of "
            "the module, which then returns the value under a name."
        )
    if not isinstance(aux_loss, dict):
        return
    factors = aux_loss.values()
    is_known = all(isinstance(name, str) for name in aux_loss) and all(
        isinstance(f, Real) and not isinstance(f, bool) and math.isfinite(f) for f in factors
    )
    if not aux_loss or not is_known:
        raise ValueError(
            f"aux_loss={aux_loss!r} is an invalid value: a dict maps names of what the module "
            'returns to finite factors, as in {"reconstruction": 0.1}. None adds nothing.'
        )


class AuxiliaryLoss:
    """What is added to the loss of a batch: values that the module returns, or values of them.

    Parameters
    ----------
    aux_loss : str, dict of str to float, or callable(output, target) -> Tensor
        Name of a value in the output of the module; names and their factors; or a function of the
        whole output and of the targets.
    module : torch.nn.Module
        Module that is trained.
    dtype : torch.dtype
        Dtype of the losses.
    n_labels : int
        Number of labels of a row; 0 where a row has no several labels.
    half : bool, default=False
        Whether the module computes in half precision.
    parts : str or None, default=None
        The setting that divides a batch into parts, as in ``"accumulate=4"``: one number for the
        batch is then an error, because those of the parts do not add up to it.

    Notes
    -----
    A value of shape ``(b,)`` is multiplied by the weights that the rows have in the loss, so that a
    weight of 2 is a row given twice here, too. A single number is added as it is.
    """

    def __init__(
        self,
        aux_loss: Auxiliary,
        module: nn.Module,
        dtype: torch.dtype,
        n_labels: int,
        *,
        half: bool = False,
        parts: str | None = None,
    ) -> None:
        self.factors = {aux_loss: 1.0} if isinstance(aux_loss, str) else aux_loss
        self.module, self.dtype, self.n_labels = module, dtype, n_labels
        self.half, self.parts = half, parts
        self.source = module_with_logits(module)

    def outputs(self, x: Any) -> tuple[Tensor, Any]:
        """Compute a batch.

        Parameters
        ----------
        x : Tensor or InputBatch
            Batch of rows.

        Returns
        -------
        logits : Tensor
            The logits, as the module without further losses returns them.
        whole : object
            Everything that the module returns.
        """
        if isinstance(self.source, torch.jit.ScriptModule):  # it returns a tensor alone
            logits: Tensor = self.module(x)
            return logits, logits
        kept: list[Any] = []

        def keep(module: nn.Module, args: Any, output: Any) -> None:
            kept.append(output)

        # only for this call: a copy or a pickle between two batches must not hold its tensors
        handle = self.source.register_forward_hook(keep, prepend=True)
        try:
            logits = self.module(x)
        finally:
            handle.remove()
        return logits, kept[-1]

    def added(
        self, loss: Tensor, whole: Any, target: Tensor | MixedTargets, share: Tensor
    ) -> Tensor:
        """Add the further losses of a batch.

        Parameters
        ----------
        loss : Tensor
            Loss of the logits, a single number.
        whole : object
            Everything that the module returns for the batch.
        target, share
            Targets and weights of the rows, in the form of :meth:`Rows.batches`.

        Returns
        -------
        Tensor of shape (2,)
            The loss with everything that was added, and what was added.

        Raises
        ------
        ValueError
            If the output lacks a name, or a value is no tensor of the right shape.
        """
        rows = self._weights_of_rows(target, share)
        if callable(self.factors):
            output = in_dtype(whole, self.dtype) if self.half else whole
            assert isinstance(target, Tensor)  # mixed targets are refused before the training
            extra = self._summed("aux_loss(output, target)", self.factors(output, target), rows)
        else:
            extra = loss.new_zeros(())
            for name, factor in self.factors.items():
                value = self._summed(f"aux_loss={name!r}", self._entry(whole, name), rows)
                extra = extra + factor * value
        return torch.stack([loss + extra, extra])

    def _weights_of_rows(self, target: Tensor | MixedTargets, share: Tensor) -> Tensor:
        """Return the weight of each row in the loss: the sum over its labels and targets."""
        if isinstance(target, MixedTargets):
            share = target.own_share + target.partner_share
        return share.expand(-1, self.n_labels).sum(dim=1) if share.ndim > 1 else share

    def _entry(self, whole: Any, name: str) -> Any:
        found = entry_of(whole, name)
        if found is not None:
            return found
        names, kind = names_in(whole), type(whole).__name__
        if names:
            has = (
                f"a {kind} in which it is missing or None; there are {', '.join(map(repr, names))}"
            )
        else:
            has = f"a {kind}, which has no names"
        raise ValueError(
            f"aux_loss={name!r} names a value that the module returns beside its logits, but "
            f"{type(self.source).__name__} returns {has}. In training it must return a mapping or "
            f"an object with 'logits' and {name!r}; or give a function, "
            "aux_loss=callable(output, target)."
        )

    def _summed(self, where: str, value: Any, rows: Tensor) -> Tensor:
        """Return one number for the batch, in the dtype of the losses."""
        shapes = f"one number, or one value for each row of the batch, ({len(rows)},)"
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else repr(value)[:80]
            raise ValueError(
                f"{where} must be a tensor of floats, {shapes}; got {kind}. A constant is "
                "torch.zeros(())."
            )
        if value.shape == rows.shape:
            return (value.to(self.dtype) * rows).sum()
        if value.ndim:
            raise ValueError(
                f"{where} has shape {tuple(value.shape)}, but must be {shapes}. Take the mean or "
                "the sum over the other axes."
            )
        if self.parts is not None:
            raise ValueError(
                f"{where} is one number for a whole batch, but {self.parts} computes a batch in "
                "parts, whose numbers do not add up to it. Return one value for each row, "
                f"({len(rows)},), or leave out {self.parts}."
            )
        return value.to(self.dtype)


def auxiliary_of(run: Run) -> AuxiliaryLoss:
    """Return what is added to the loss of a run.

    Parameters
    ----------
    run : Run
        A training of a single net, with an ``aux_loss``.

    Raises
    ------
    ValueError
        If a function of the targets would get mixed targets.
    """
    net, recipe = run.net, run.recipe
    assert recipe.aux_loss is not None
    mixing = getattr(run.rows, "mixing", None)
    if callable(recipe.aux_loss) and mixing is not None:
        raise ValueError(
            f"aux_loss gets the target of each row, but {type(mixing.sampler).__name__} mixes two "
            "targets. Return the value from the module and name it, aux_loss='name', or use a "
            "sampler that draws rows."
        )
    dividing = {
        f"accumulate={recipe.accumulate}": recipe.accumulate > 1,
        'on_oom="split"': recipe.on_oom == "split",
        "data_parallel=True": run.processes.size > 1,
    }
    return AuxiliaryLoss(
        recipe.aux_loss,
        net.module_,
        net.dtype,
        net.task.n_labels,
        half=net.half is not None,
        parts=next((setting for setting, divides in dividing.items() if divides), None),
    )
