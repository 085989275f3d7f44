"""What skorch asks of a net: parameters, predictions, copies, callbacks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from skorch.history import History
from skorch.utils import to_tensor
from torch import Tensor, nn

from imbtorch.losses import BaseLoss
from imbtorch.modules import logits_of
from imbtorch.training.data.mixing import MixedTargets
from imbtorch.training.optimizers import build_optimizer

__all__ = ["StopTraining", "new_net", "restored_net"]

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")
_TRAINED = ("module_", "criterion_", "optimizer_", "history_")


class StopTraining(Exception):  # noqa: N818 - a signal, not an error
    """A skorch callback asked for an orderly end."""


class Net(ClassifierMixin, NeuralNet):
    """A skorch net whose loss weighs rows; the training is :mod:`imbtorch.training.loop`'s.

    Parameters are skorch's; ``module`` and ``criterion`` are instances. ``weight_decay`` and
    ``optimizer`` are those of the estimator. ``task`` says what the targets are: ``"classes"``,
    ``"labels"`` or ``"values"``.
    """

    def __init__(
        self,
        module: nn.Module,
        criterion: BaseLoss,
        *,
        optimizer: Any,
        lr: float,
        weight_decay: float,
        batch_size: int,
        max_epochs: int,
        dtype: torch.dtype,
        device: torch.device,
        task: str,
        n_outputs: int,
        callbacks: Any,
    ) -> None:
        super().__init__(
            module,
            criterion,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            train_split=None,
            callbacks=callbacks,
            verbose=0,
            device=str(device),
        )
        self.weight_decay = weight_decay
        self.dtype = dtype
        self.task = task
        self.n_outputs = n_outputs

    # Whether training is meant to go on, so that a pickle must hold what the optimizer remembers.
    keeps_optimizer = False

    # Nets that will be asked for their outputs on the same rows: the first one asks for all.
    siblings: Any = None

    def read(self, output: Tensor) -> Tensor:
        """Read outputs of the module for the loss: one column may stand for two classes."""
        output = logits_of(output) if self.task == "classes" else output
        return output.to(self.dtype)

    # -- skorch's hooks --------------------------------------------------------------------

    @property
    def _default_callbacks(self) -> list[Any]:
        return []  # they work per batch; the loop below records loss and duration itself

    def initialize_optimizer(self, triggered_directly: Any = None) -> Net:
        """Build the optimizer from the estimator's own three parameters."""
        params = [p for _, p in self.get_all_learnable_params() if p.requires_grad]
        self.optimizer_ = build_optimizer(self.optimizer, params, self.lr, self.weight_decay)
        return self

    def initialize(self) -> Net:
        """Build everything; drop the parameters that are instances, which are fitted now."""
        super().initialize()
        # skorch pickles module_ and criterion_ so that they load on a machine without the device,
        # but their parameters plainly: a second copy, tied to the device.
        self.module = self.criterion = None
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Net:
        """Copy what training changes; skorch's own way pickles, which local classes cannot."""
        fork = object.__new__(type(self))
        fork.__dict__.update(self.__dict__)
        trained = {name: vars(self)[name] for name in _TRAINED}
        fork.__dict__.update(copy.deepcopy(trained, memo))
        return fork

    def portable(self) -> Net:
        """Copy what predicts, to the CPU and to float32."""
        fork = object.__new__(type(self))
        fork.__dict__.update(self.__dict__, device="cpu", dtype=torch.float32)
        for name in ("module_", "criterion_"):
            fork.__dict__[name] = copy.deepcopy(vars(self)[name]).cpu().float().train(False)
        return fork

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the optimizer, twice as large as the weights, where nobody will need it."""
        kept = object.__new__(type(self))
        kept.__dict__.update(self.__dict__)
        if not self.keeps_optimizer:
            kept.__dict__.pop("optimizer_", None)
        state: dict[str, Any] = NeuralNet.__getstate__(kept)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the net, if need be with a new optimizer."""
        super().__setstate__(state)
        if hasattr(self, "module_") and not hasattr(self, "optimizer_"):
            self.initialize_optimizer()

    def try_loss(self, output: Tensor) -> None:
        """Evaluate the loss on outputs of the module, so that what does not fit shows early."""
        shape = (len(output),) if self.task == "classes" else (len(output), self.n_outputs)
        kind = torch.int64 if self.task == "classes" else self.dtype
        self.unweighted(output, torch.zeros(shape, dtype=kind, device=output.device))

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Compute the logits of a batch, as skorch's callbacks ask for them."""
        x = to_tensor(x, device=self.device).to(self.dtype)
        return self.read(self.module_(x, **fit_params))

    def _get_predict_nonlinearity(self) -> Callable[[Tensor], Tensor]:
        if self.task == "classes":
            return lambda logits: self.criterion_.log_scores(logits).exp()
        return torch.sigmoid if self.task == "labels" else lambda output: output

    def get_loss(self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False) -> Any:
        """Unweighted mean loss of a batch, for skorch's own validation step."""
        target = to_tensor(y_true, device=self.device)
        return self.unweighted(
            y_pred, target.long() if self.task == "classes" else target.to(self.dtype)
        )

    @property
    def classes_(self) -> NDArray[np.intp]:
        """Class codes, for scikit-learn scorers inside skorch callbacks."""
        return np.arange(self.n_outputs)

    def predict(self, X: Any) -> NDArray[Any]:
        """Class codes, labels or values, for scikit-learn scorers inside skorch callbacks."""
        result = self.predict_proba(X)
        if self.task == "classes":
            return np.asarray(result.argmax(axis=1))
        return (result > 0.5).astype(np.int64) if self.task == "labels" else np.asarray(result)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call the callbacks; skorch's EarlyStopping ends the training, Ctrl-C is not swallowed."""
        getattr(self, method_name)(self, **cb_kwargs)
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except KeyboardInterrupt:
                if isinstance(callback, EarlyStopping):  # this is how it says stop
                    raise StopTraining from None
                raise

    def requested_hooks(self) -> frozenset[str]:
        """Batch hooks that some callback really implements: only those cost."""
        return frozenset(
            hook
            for hook in _BATCH_HOOKS
            for _, callback in self.callbacks_
            if getattr(type(callback), hook) is not getattr(Callback, hook)
        )

    def resume(self, loss: BaseLoss, callbacks: Any) -> None:
        """Take the present loss and callbacks of a net that is trained further."""
        with self._current_init_context("criterion"):
            self.criterion_ = loss
        self.callbacks = callbacks
        self.initialize_callbacks()

    # -- the loss ---------------------------------------------------------------------------

    def batch_loss(self, target: Tensor | MixedTargets, share: Tensor, output: Tensor) -> Tensor:
        """Loss of a batch, given outputs of the module."""
        read = self.read(output)
        if isinstance(target, MixedTargets):
            own, partner = (self.criterion_.batch_loss(read, *part) for part in target.parts())
            mixed: Tensor = own + partner
            return mixed
        loss: Tensor = self.criterion_.batch_loss(read, target, share)
        return loss

    def closed_form(self, target: Any, output: Tensor) -> tuple[Tensor, Tensor] | None:
        """Loss of each row, or label, and its gradient; None where autograd must find it."""
        known: tuple[Tensor, Tensor] | None = None
        if isinstance(target, MixedTargets):
            return None
        if self.task == "labels":
            known = self.criterion_.with_label_gradient(output, target)
        elif self.task == "classes" and output.shape[-1] == self.n_outputs:
            known = self.criterion_.with_gradient(output, target)
        return known  # else values, or one column for two classes

    def unweighted(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean loss of rows that all weigh the same."""
        shape = (len(target), 1) if self.task == "labels" else (len(target),)
        n_terms = target.numel() if self.task == "labels" else len(target)
        return self.batch_loss(target, output.new_full(shape, 1 / n_terms), output)


def new_net(
    estimator: Any,
    module: nn.Module,
    loss: BaseLoss,
    task: str,
    n_outputs: int,
    batch_size: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Net:
    """Make a net with a new optimizer.

    Parameters
    ----------
    estimator : object
        Has the parameters of the training.
    module, loss : torch.nn.Module
        To be held as they are, in ``dtype`` and on ``device``.
    task : {"classes", "labels", "values"}
        What the outputs are for.
    n_outputs : int
        Number of classes, labels or values.
    batch_size : int
        Rows of a batch.
    dtype : torch.dtype
        Type to compute in.
    device : torch.device
        Where to compute.

    Returns
    -------
    Net
        Initialised.
    """
    net = Net(
        module,
        loss,
        optimizer=estimator.optimizer,
        lr=estimator.lr,
        weight_decay=estimator._resolved_weight_decay,
        batch_size=batch_size,
        max_epochs=estimator.max_epochs,
        dtype=dtype,
        device=device,
        task=task,
        n_outputs=n_outputs,
        callbacks=estimator.callbacks,
    )
    net.initialize()
    return net


def restored_net(
    module: nn.Module,
    loss: BaseLoss,
    estimator: Any,
    *,
    device: torch.device,
    dtype: torch.dtype,
    task: str,
    n_outputs: int,
    batch_size: int,
    records: list[dict[str, Any]],
) -> Net:
    """Make a net of parts that were trained elsewhere, with a new optimizer.

    Parameters
    ----------
    module, loss : torch.nn.Module
        Trained, in ``dtype``.
    estimator : object
        Has the parameters of the training.
    device : torch.device
        Where the net is to lie.
    dtype : torch.dtype
        To compute in.
    task : {"classes", "labels", "values"}
        What the outputs are for.
    n_outputs : int
        Number of classes, labels or values.
    batch_size : int
        Rows of a batch.
    records : list of dict
        What the history tells of each epoch.

    Returns
    -------
    Net
        As training left it, but for the optimizer.
    """
    parts = module.to(device), loss.to(device)
    net = new_net(estimator, *parts, task, n_outputs, batch_size, dtype, device)
    net.module_.train(False)
    net.history_ = History(records)
    return net
