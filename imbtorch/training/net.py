"""A net: what it is made of, how it is built, and what skorch asks of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping
from skorch.history import History
from skorch.utils import to_tensor
from torch import Tensor, nn

from imbtorch._common.inputs import Inputs, RowDtype
from imbtorch._common.seed import private_torch_rng
from imbtorch._common.training_length import TrainingLength
from imbtorch._tasks.base import Task, link_each_member
from imbtorch.features import FeatureEncoder, TableEncoder
from imbtorch.losses import BaseLoss
from imbtorch.losses._members import batch_loss_of_members
from imbtorch.modules import build_module, set_output_bias
from imbtorch.modules._build import (
    copied_module,
    first_outputs,
    input_dtypes,
    replace_inference_tensors,
    without_graph,
)
from imbtorch.modules._embedding import behind_embeddings, embeddings_of
from imbtorch.modules._input_tables import InputTables
from imbtorch.modules._lookups import Lookup
from imbtorch.modules._several_inputs import in_float32
from imbtorch.training.data.features import Features, first_rows
from imbtorch.training.data.mixing import MixedTargets
from imbtorch.training.data.sequences import with_padding
from imbtorch.training.data.several import on_device
from imbtorch.training.half_precision import HalfPrecision, half_precision
from imbtorch.training.net_spec import NetSpec
from imbtorch.training.optimizers import build_optimizer
from imbtorch.training.parameter_groups import grouped, names_of
from imbtorch.training.skorch_callbacks import batch_hooks

__all__ = ["Net", "NetHistory", "NetSpec", "StopTraining", "build_net", "half_of", "new_net"]

_TRAINED = ("module_", "criterion_", "optimizer_", "history_", "half")


class StopTraining(Exception):  # noqa: N818 - a signal, not an error
    """A skorch callback asked for an orderly end."""


class _Siblings(Protocol):
    """Nets that compute their outputs together."""

    def outputs(self, net: Net, features: Features) -> Tensor: ...


class NetHistory(History):
    """History of skorch whose single records are read without a copy of all of them."""

    def __init__(self, records: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__(records)
        # For each loss: how many finished epochs have been looked at, and the lowest value.
        self.lowest: dict[str, tuple[int, float]] = dict(getattr(records, "lowest", {}))

    def record_loss(self, name: str, value: float) -> None:
        """Record a loss and, for skorch's checkpoints, whether it is the lowest so far.

        Each earlier record is looked at only once, however many epochs follow.
        """
        present = len(self) - 1
        seen, lowest = self.lowest.get(name, (0, math.inf))
        if seen > present:  # records have been removed
            seen, lowest = 0, math.inf
        for epoch in range(seen, present):
            lowest = min(lowest, self[epoch].get(name, math.inf))
        self.lowest = {**self.lowest, name: (present, lowest)}  # shallow copies share the old dict
        self[-1].update({name: value, f"{name}_best": value < lowest})

    def __getitem__(self, i: Any) -> Any:
        """Return a record, or whatever else skorch's history returns."""
        return list.__getitem__(self, i) if isinstance(i, int) else super().__getitem__(i)


class Net(ClassifierMixin, NeuralNet):
    """A skorch net whose loss weighs rows; :mod:`imbtorch.training.loop` trains it.

    Parameters are skorch's; ``module`` and ``criterion`` are instances. ``optimizer``,
    ``weight_decay``, ``param_groups``, ``dtype`` and ``task`` are those of :class:`NetSpec`.
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
        task: Task,
        callbacks: Any,
        param_groups: Mapping[str, Mapping[str, Any]] | None,
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
        self.weight_decay, self.param_groups = weight_decay, param_groups
        self.dtype, self.task = dtype, task

    # Whether training will be continued, so that a pickle must hold the state of the optimizer.
    length: TrainingLength | None = None  # None where the number of epochs was stated
    keeps_optimizer = False

    # Most threads of torch on the CPU.
    n_threads: int | str | None = "auto"

    # What encodes the rows of a table for the module; it lies on the CPU.
    encoder_: TableEncoder | None = None
    # What does so for tables among several inputs.
    tables: InputTables | None = None
    # Dtype in which the module gets rows of X, or that of each input; None until a trial has
    # decided it.
    input_dtype: RowDtype | None = None

    # Half precision in which the module computes; None for ``dtype``.
    half: HalfPrecision | None = None

    # What the module looks up in embeddings, as far as a trial has found.
    lookups: Sequence[Lookup] = ()

    # Nets that will be asked for their outputs on the same rows: the first one asks for all.
    siblings: _Siblings | None = None

    @property
    def n_outputs(self) -> int:
        """Number of classes, labels or values."""
        return self.task.n_outputs

    @property
    def limits_threads(self) -> bool:
        """Whether torch may get fewer threads for this net: on the CPU, where it has several."""
        is_wanted = self.n_threads is not None and self.device == "cpu"
        return is_wanted and torch.get_num_threads() > 1

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context for the forward pass of the module, which may use half precision."""
        return nullcontext() if self.half is None else self.half.autocast(self.device)

    def read(self, output: Tensor) -> Tensor:
        """Read outputs of the module for the loss: one column may stand for two classes.

        Outputs of several members keep their shape ``(n, k, n_outputs)``.
        """
        return self.task.read(output).to(self.dtype)

    def dtype_of(self, X: Any) -> Any:
        """Return the dtype in which the module gets rows of ``X``, or that of each input.

        A net that was built in a fit knows it. One that comes from a file tries two rows of the
        first ``X``, if its module may want integers.

        Raises
        ------
        ValueError
            If the module cannot compute these rows.
        """
        if self.input_dtype is None and not _may_want_integers(self.module_, self.dtype):
            self.input_dtype = self.dtype
        if self.input_dtype is None:
            few = X[:2].cpu().numpy() if isinstance(X, Tensor) else X[:2]
            rows = partial(first_rows, few, device=torch.device(self.device))
            integers: Any = few.integers() if isinstance(few, Inputs) else few.dtype.kind in "iub"
            tried = first_outputs(self.module_, rows, self.task, self.dtype, integers=integers)
            _, self.input_dtype, self.lookups = tried
        return self.input_dtype

    # -- skorch's hooks --------------------------------------------------------------------

    def initialize_history(self) -> Net:
        """Begin an empty history."""
        self.history_ = NetHistory()
        return self

    @property
    def _default_callbacks(self) -> list[Any]:
        return []  # they work per batch; the loop below records loss and duration itself

    def initialize_optimizer(self, triggered_directly: Any = None) -> Net:
        """Build the optimizer from the estimator's own four parameters."""
        params = [p for _, p in self.get_all_learnable_params() if p.requires_grad]
        rates = {"lr": self.lr, "weight_decay": self.weight_decay}
        needs_names = callable(self.optimizer) or self.param_groups
        names = names_of(self.module_, self.criterion_) if needs_names else {}
        self.optimizer_ = build_optimizer(
            self.optimizer,
            params,
            **rates,
            groups=grouped(self.param_groups, names, **rates) if self.param_groups else [],
            named=[(names[p][0], p) for p in params] if names else [],
            module=self.module_,
        )
        # Schedules change the rates of the groups; a training that continues needs those of before.
        self.group_settings: list[dict[str, Any]] = []
        for group in self.optimizer_.param_groups:
            known = {"lr", "weight_decay"} & group.keys()
            self.group_settings.append(dict(zip(known, map(group.get, known), strict=True)))
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
        with torch.inference_mode(False):  # tensors made under it could not be trained
            copied_module(self.module_, memo)
            fork.__dict__.update(copy.deepcopy({n: vars(self)[n] for n in _TRAINED}, memo))
        return fork

    def fork(self) -> Net:
        """Copy the net to train the copy further; records of finished epochs do not change."""
        history = NetHistory(self.history_)  # a stream of many chunks must not copy each record
        return copy.deepcopy(self, {id(self.history_): history})

    def portable(self) -> Net:
        """Copy what predicts, to the CPU and to float32."""
        fork = object.__new__(type(self))
        fork.__dict__.update(self.__dict__, device="cpu", dtype=torch.float32, half=None)
        fork.input_dtype = in_float32(self.input_dtype)
        for name in ("module_", "criterion_"):
            fork.__dict__[name] = copied_module(vars(self)[name]).cpu().float().train(False)
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
        zeros = output.new_zeros(len(output), self.n_outputs, dtype=self.dtype)
        target, share = self.task.example_targets(zeros), self.task.even_share(output)
        self.batch_loss(target, share, output)

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return the batches of a dataset, as skorch's callbacks ask for them."""
        return with_padding(super().get_iterator(dataset, training=training), self.module_)

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Compute the logits of a batch, as skorch's callbacks ask for them."""
        if self.encoder_ is not None:
            x = self.encoder_(to_tensor(x, device="cpu"))
        x = on_device(x, self.device)
        x = x.to(self.dtype_of(x))
        with self.autocast():
            if fit_params or torch.is_grad_enabled():
                output = self.module_(x.clone(), **fit_params)
            else:
                output = without_graph(self.module_, x.clone)  # it may write into its input
        return self.read(output)

    def _get_predict_nonlinearity(self) -> Callable[[Tensor], Tensor]:
        return link_each_member(self.task.predicted(self.criterion_), partial(torch.mean, dim=0))

    def get_loss(self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False) -> Any:
        """Unweighted mean loss of a batch, for skorch's own validation step."""
        target = to_tensor(y_true, device=self.device)
        return self.unweighted(y_pred, target.to(self.task.target_dtype(self.dtype)))

    @property
    def classes_(self) -> NDArray[np.intp]:
        """Class codes, for scikit-learn scorers inside skorch callbacks."""
        return np.arange(self.n_outputs)

    def predict(self, X: Any) -> NDArray[Any]:
        """Class codes, labels or values, for scikit-learn scorers inside skorch callbacks."""
        return self.task.decided(self.predict_proba(X))

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

    def observing_layers(self) -> list[Any]:
        """Return the layers that look at the targets: they have ``observe`` and ``end_epoch``."""
        return [
            layer
            for layer in self.module_.modules()
            if callable(getattr(layer, "observe", None))
            and callable(getattr(layer, "end_epoch", None))
        ]

    def requested_hooks(self) -> frozenset[str]:
        """Batch hooks that some callback really implements: only those cost."""
        return batch_hooks(self.callbacks_) if self.callbacks_ else frozenset()

    def resume(self, loss: Any, callbacks: Any) -> None:
        """Take the present loss and callbacks of a net that is trained further."""
        replace_inference_tensors(loss)
        with self._current_init_context("criterion"):
            self.criterion_ = loss
        self.callbacks = callbacks
        self.initialize_callbacks()

    # -- the loss ---------------------------------------------------------------------------

    def batch_loss(self, target: Tensor | MixedTargets, share: Tensor, output: Tensor) -> Tensor:
        """Loss of a batch, given outputs of the module; the mean over members if it has several."""
        read = self.read(output)
        if read.ndim > 2:
            of: Callable[..., Tensor] = partial(batch_loss_of_members, self.criterion_)
        else:
            of = self.criterion_.batch_loss
        if isinstance(target, MixedTargets):
            own, partner = (of(read, *part) for part in target.parts())
            return own + partner
        return of(read, target, share)

    def closed_form(self, target: Any, output: Tensor) -> tuple[Tensor, Tensor] | None:
        """Loss of each row, or label, and its gradient; None where autograd must find it."""
        if isinstance(target, MixedTargets) or output.ndim > 2:
            return None
        return self.task.closed_form(self.criterion_, target, output)

    def unweighted(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean loss of rows that all weigh the same."""
        return self.batch_loss(target, self.task.even_share(output), output)


def build_net(
    spec: NetSpec,
    builder: Any,
    loss: Any,
    bias: Tensor | None,
    X: Any,
    seed: int,
    features: FeatureEncoder | None = None,
    encoder: TableEncoder | None = None,
) -> Net:
    """Build a net for rows like those of ``X``, under a seed of its own.

    Parameters
    ----------
    spec : NetSpec
        What the net is made of, besides module and loss.
    builder : str, builder, callable, torch.nn.Module class or instance
        Parameter ``module`` of the estimator.
    loss : BaseLoss or BaseRegressionLoss
        Prepared loss, held by the net.
    bias : Tensor of shape (n_outputs,) or None
        Output bias at which a module of this package starts.
    X : array, DatasetReader or DatasetStream
        Features with ``shape``, and rows at ``X[:2]``.
    seed : int
        Seed of the initial weights.
    features : FeatureEncoder or None, default=None
        What says how large embeddings are.
    encoder : TableEncoder or None, default=None
        What has encoded the rows of ``X``.

    Raises
    ------
    TypeError
        If ``builder`` makes no module.
    ValueError
        If the module cannot compute the first rows, or returns another shape; or the device has
        not the half precision that is asked for.
    """
    half = half_of(spec)
    # tensors that are made in the inference mode of a caller could not be trained
    with torch.inference_mode(False), private_torch_rng(seed, spec.device):
        n_outputs = spec.task.n_outputs
        if encoder is not None and features is not None and encoder.needs_embeddings:
            layers, width = embeddings_of(encoder, features), encoder.n_encoded
            module = behind_embeddings(builder, layers, width, n_outputs, spec.dtype)
        else:
            shape = getattr(X, "input_shape", None) or tuple(X.shape[1:])
            module = build_module(builder, shape, n_outputs, spec.dtype)
        if bias is not None:
            set_output_bias(builder, module, bias)
        module.to(spec.device).train(False)
        few = X[:2]
        rows = partial(first_rows, few, device=spec.device)
        integers: Any = few.integers() if isinstance(few, Inputs) else few.dtype.kind in "iub"
        with nullcontext() if half is None else half.autocast(spec.device):
            tried = first_outputs(module, rows, spec.task, spec.dtype, integers=integers)
        output, input_dtype, lookups = tried
        replace_inference_tensors(loss)
        loss.to(spec.device, spec.dtype).train(False)
        net = new_net(module, loss, spec)
        net.__dict__["encoder_"] = encoder  # skorch would take it for a module to be trained
        net.input_dtype, net.lookups, net.half = input_dtype, lookups, half
        with torch.no_grad():
            net.try_loss(output)
    return net


def _may_want_integers(module: nn.Module, dtype: torch.dtype) -> bool:
    return input_dtypes(module, dtype, integers=True) != (dtype,)


def half_of(spec: NetSpec) -> HalfPrecision | None:
    """Return the half precision in which a net computes, or None."""
    if spec.precision is None:
        return None
    return half_precision(spec.precision, spec.dtype, spec.device)


def new_net(module: nn.Module, loss: BaseLoss, spec: NetSpec) -> Net:
    """Make a net with a new optimizer.

    Parameters
    ----------
    module, loss : torch.nn.Module
        Held as they are; they lie on the device of ``spec``, in its dtype.
    spec : NetSpec
        What else the net is made of.

    Returns
    -------
    Net
        An initialised net.
    """
    net = Net(
        module,
        loss,
        optimizer=spec.optimizer,
        lr=spec.lr,
        weight_decay=spec.weight_decay,
        batch_size=spec.batch_size,
        max_epochs=spec.max_epochs,
        dtype=spec.dtype,
        device=spec.device,
        task=spec.task,
        callbacks=spec.callbacks,
        param_groups=spec.param_groups,
    )
    net.initialize()
    net.half, net.n_threads = None, spec.n_threads
    return net
