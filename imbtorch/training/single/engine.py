"""Epochs of a single net: by the chain where it is one, by autograd where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from imbtorch.modules._lookups import explain_ids
from imbtorch.training.data.rows import batch_sizes
from imbtorch.training.half_precision import LossScaling
from imbtorch.training.optimizers import LearningRate, updates_in_place
from imbtorch.training.run import Run
from imbtorch.training.single.accumulation import Accumulated
from imbtorch.training.single.auxiliary import auxiliary_of
from imbtorch.training.single.chain import Chain
from imbtorch.training.single.out_of_memory import InParts, check_divisible
from imbtorch.training.single.recorded_chain import Outputs, RecordedChain
from imbtorch.training.steps import Steps

__all__ = ["SingleEngine"]

Batches = Iterator[tuple[Any, Any, Tensor]]

# With fewer steps in an epoch, what a recording saves would not pay for its trial.
_WORTH_RECORDING = 16


class SingleEngine:
    """Train one net, with everything that skorch's callbacks may ask for.

    Parameters
    ----------
    runs : sequence of one Run
        The training of the net.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        (self.run,) = runs
        self.net = net = self.run.net
        recipe = self.run.recipe
        self.in_parts: InParts | None = None
        if recipe.on_oom == "split":
            check_divisible(net, hooked=bool(self.run.hooks))
            self.in_parts = InParts([p for _, p in net.get_all_learnable_params()])
        self.auxiliary = None if recipe.aux_loss is None else auxiliary_of(self.run)
        scaler = None if net.half is None else net.half.begin()
        self.scaling = None if scaler is None else LossScaling(scaler, net.optimizer_)
        self.rate = LearningRate(net.optimizer_, self.run.lr_schedule, recipe.epochs)
        self.in_place = updates_in_place(net.optimizer_)
        self.takes_sparse = self.run.rows.can_stay_sparse and self._lays_out_for_sparse()
        self.steps = Steps(
            net.module_,
            net.optimizer_,
            recipe.epochs,
            clipping=recipe.clipping,
            sharpness=recipe.sharpness,
            averaging=recipe.averaging,
            scaling=self.scaling,
        )

    def epoch(self, runs: Sequence[Run], epoch: int) -> list[tuple[float, bool]]:
        """Train on the rows of the epoch.

        Returns
        -------
        list of (float, bool)
            Sum of the losses, and whether the weights are finite.
        """
        run = self.run
        self.rate.begin_epoch(epoch, len(batch_sizes(len(run.order), run.rows_per_step)))
        self.in_place = updates_in_place(self.net.optimizer_)  # callbacks may have added hooks
        self.takes_sparse = self.takes_sparse and self.in_place
        with self.steps.epoch():
            total = (self._hooked if run.hooks else self._lean)(self._batches())
        if self.auxiliary is not None:
            total, run.aux_total = total.tolist()
        weights = [
            p.detach()
            for p in self.net.module_.parameters()
            if p.is_floating_point() or p.is_complex()
        ]
        norms = torch.stack([w.norm() for w in weights]) if weights else torch.zeros(1)
        return [(float(total), bool(torch.isfinite(norms).all()))]

    def leave(self, runs: Sequence[Run]) -> None:
        """Put the learning rate back, so that training can be continued."""
        self.rate.reset()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the steps."""
        average, scaling = self.steps.average, self.scaling
        return {
            "average": None if average is None else average.state(),
            "n_parts": 1 if self.in_parts is None else self.in_parts.n_parts,
            "scale": None if scaling is None else scaling.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state from a checkpoint."""
        if self.steps.average is not None:
            self.steps.average.restore(state["average"])
        if self.in_parts is not None:
            self.in_parts.n_parts = state["n_parts"]
        if self.scaling is not None:
            self.scaling.restore(state["scale"])

    def averaged(self, run: Run) -> bool:
        """Return whether the net holds an average of its weights."""
        average = self.steps.average
        return average is not None and bool(average.count)

    def _batches(self) -> Batches:
        run = self.run
        return run.rows.batches(run.order, run.rows_per_step, sparse=self.takes_sparse)

    def _lean(self, batches: Batches) -> Tensor:
        step = self.steps.step
        gradients = self._gradients()
        total = self._no_loss()
        for x, codes, share in batches:
            self.rate()
            again = self._unscaled(partial(gradients, x, codes, share))
            value = again()
            step(again)
            total.add_(value, alpha=share.shape[0])
        return total

    def _no_loss(self) -> Tensor:
        """Return zeros to sum up losses in: one number, or two as :meth:`_losses` returns them."""
        shape = () if self.auxiliary is None else (2,)
        return torch.zeros(shape, dtype=self.net.dtype, device=self.net.device)

    def _outputs(self, x: Any) -> tuple[Tensor, Any]:
        """Compute a batch; the second value is all that the module returns, if it is needed."""
        with self.net.autocast():
            if self.auxiliary is None:
                return self.net.module_(x), None
            return self.auxiliary.outputs(x)

    def _losses(
        self, codes: Any, share: Tensor, output: Tensor, whole: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, and what is summed up over the epoch.

        That is the loss itself or, with auxiliary losses, the loss and the part that they add.
        """
        loss = self.net.batch_loss(codes, share, output)
        if self.auxiliary is None:
            return loss, loss
        both = self.auxiliary.added(loss, whole, codes, share)
        return both[0], both

    def _unscaled(self, gradients: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Let the gradients of a step be divided by the scale of the loss, if it has one."""
        return gradients if self.scaling is None else self.scaling.unscaled(gradients)

    def _gradients(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        gradients = self._gradients_of(self._chain(), record=True)
        if self.in_parts is not None:
            self.in_parts.gradients = gradients
            gradients = self.in_parts
        if self.run.recipe.accumulate > 1:
            own = -(-self.net.batch_size // self.run.processes.size)
            gradients = Accumulated(gradients, self._trained(), own)
        return gradients

    def _gradients_of(
        self, chain: Chain | None, *, record: bool = False
    ) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Return what writes the gradients of a batch and gives its loss, detached.

        Without a chain that is autograd, which may ``record`` a chain of what the module computes.
        """
        net, module = self.net, self.net.module_
        params = self._trained()
        backward = Tensor.backward if self.scaling is None else self.scaling.backward

        # a module may write into its input, and must find the same input when it is called again
        computed_again = self.run.recipe.sharpness > 0 or self.in_parts is not None

        def by_autograd(
            x: Tensor, codes: Tensor, share: Tensor, outputs: Outputs = self._outputs
        ) -> Tensor:
            for param in params:
                param.grad = None
            given = x.clone() if computed_again else None
            try:
                output, whole = outputs(x)
            except (IndexError, RuntimeError) as error:
                explain_ids(module, x, error)
                raise
            loss, summed = self._losses(codes, share, output, whole)
            backward(loss)
            if given is not None:
                x.detach().copy_(given)
            return summed.detach()

        def by_chain(chain: Chain, x: Tensor, codes: Tensor, share: Tensor) -> Tensor:
            loss = partial(net.batch_loss, codes, share)
            return chain.gradients(x, loss, share, partial(net.closed_form, codes))

        if chain is not None:
            return partial(by_chain, chain)
        if record and self._may_record():
            return RecordedChain(module, params, by_autograd, by_chain)
        return by_autograd

    def _trained(self) -> list[Tensor]:
        return [p for group in self.net.optimizer_.param_groups for p in group["params"]]

    def _lays_out_for_sparse(self) -> bool:
        chain = None if self.run.hooks else self._chain()
        return chain is not None and chain.store_by_feature(fresh=not self.net.optimizer_.state)

    def _chain(self) -> Chain | None:
        """Take the module apart for back-propagation without a graph, where that is possible."""
        return None if self._needs_graph() else Chain.of(self.net.module_)

    def _needs_graph(self) -> bool:
        """Return whether a chain, which holds tensors of the parameters, cannot be used."""
        learns = any(True for _ in self.net.criterion_.parameters())
        others = learns or self.net.half is not None or self.auxiliary is not None
        return others or not self.in_place

    def _may_record(self) -> bool:
        """Return whether a chain may be found in what the module computes, and pays if it is."""
        n_steps = len(batch_sizes(len(self.run.order), self.run.rows_per_step))
        needs_calls = self._needs_graph() or bool(self.net.observing_layers())
        return n_steps >= _WORTH_RECORDING and not needs_calls

    def _hooked(self, batches: Batches) -> Tensor:
        """Do the same as ``_lean``, telling skorch's callbacks about every batch."""
        net, step = self.net, self.steps.step
        gradients, scaling = self._gradients_of(None), self.scaling
        total = self._no_loss()
        for x, codes, share in batches:
            self.rate()
            net.optimizer_.zero_grad()
            net.notify("on_batch_begin", batch=(x, codes), training=True)
            given = x.clone()  # callbacks and further steps use x, into which the module may write
            output, whole = self._outputs(x)
            logits = net.read(output)
            loss, summed = self._losses(codes, share, logits, whole)
            if scaling is None:
                loss.backward()
            else:
                scaling.backward(loss)
                scaling.unscale()  # callbacks look at the gradients
            x.detach().copy_(given)
            named = list(net.get_all_learnable_params())
            net.notify("on_grad_computed", named_parameters=named, batch=(x, codes), training=True)
            step(self._unscaled(partial(gradients, x, codes, share)))
            total.add_(summed.detach(), alpha=len(x))
            net.history.record_batch("train_loss", float(loss.detach()))
            net.history.record_batch("train_batch_size", len(x))
            net.notify(
                "on_batch_end", batch=(x, codes), training=True, loss=loss, y_pred=logits.detach()
            )
        return total
