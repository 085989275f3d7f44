"""The contract of a loss: write the formula per row, inherit everything else."""

from __future__ import annotations

from abc import ABC
from numbers import Integral
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from torch import Tensor, nn

from imbtorch._common.registry import Registered, Registry
from imbtorch._common.sklearn_private import StrOptions, validate_parameter_constraints
from imbtorch.losses._shapes import (
    as_index_rows,
    as_label_rows,
    from_label_rows,
    reduce,
    row_weights,
    single_precision,
)

__all__ = ["LOSSES", "BaseLoss", "LossModule"]

Loss = TypeVar("Loss", bound="LossModule")

LOSSES: Registry[BaseLoss] = Registry(
    "loss",
    "give a module of torch",
    elsewhere={
        "binarycrossentropy": "bce",
        "binarycrossentropywithlogits": "bce",
        "bcewithlogits": "bce",
        "brier": "mse",
        "categoricalcrossentropy": "cross_entropy",
        "ce": "cross_entropy",
        "crossentropyloss": "cross_entropy",
        "deviance": "cross_entropy",
        "logloss": "cross_entropy",
        "mae": "l1",
        "nll": "cross_entropy",
        "softmax": "cross_entropy",
        "sparsecategoricalcrossentropy": "cross_entropy",
        "squarederror": "mse",
    },
)


class _HasForm(Protocol):
    """A task of which only the form of its targets matters here."""

    @property
    def form(self) -> str:
        """``"softmax"``: one class per row; ``"sigmoid"``: several labels per row."""


class LossModule(Registered, nn.Module, ABC):
    """A torch module with scikit-learn's parameters, a name, and buffers that ``prepare`` makes.

    Subclasses set ``_base_constraints`` and ``_parameter_constraints``: the allowed values of the
    parameters that all losses of their base class have, and of their own hyper-parameters.

    Parameters
    ----------
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        How the values of rows become the value of a batch.
    """

    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    _neutral_params: ClassVar[dict[str, Any] | None] = None
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    _base_constraints: ClassVar[dict[str, list[Any]]] = {
        "reduction": [StrOptions({"mean", "sum", "none", "weighted_mean"})],
    }

    _home: Tensor

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        self.register_buffer("_home", torch.empty(0), persistent=False)  # knows the device
        self.reduction = reduction

    # -- scikit-learn's parameters -----------------------------------------------------------

    # borrowed rather than inherited: BaseEstimator would also bring its repr, its pickling and its
    # tags, which belong to torch here
    _get_param_names: Any = classmethod(BaseEstimator._get_param_names.__func__)
    get_params = BaseEstimator.get_params
    set_params = BaseEstimator.set_params

    def __sklearn_clone__(self: Loss) -> Loss:
        """Rebuild from the hyper-parameters; what ``prepare`` learned stays behind."""
        params = self.get_params(deep=False)
        return type(self)(**{key: clone(value, safe=False) for key, value in params.items()})

    def extra_repr(self) -> str:
        """Show the parameters that differ from their defaults."""
        defaults = type(self)().get_params(deep=False)
        params = self.get_params(deep=False)
        return ", ".join(
            f"{key}={value!r}"
            for key, value in params.items()
            if isinstance(value, Tensor) or value != defaults[key]
        )

    def _validate_parameters(self) -> None:
        """Raise ValueError if a hyper-parameter has a value that its constraints do not allow."""
        validate_parameter_constraints(
            {**self._base_constraints, **self._parameter_constraints},
            self.get_params(deep=False),
            caller_name=type(self).__name__,
        )

    # -- what the training loop calls --------------------------------------------------------

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, counted from 0, for losses that change during training."""

    # -- buffers that ``prepare`` makes ------------------------------------------------------

    def _move_buffers_home(self) -> None:
        """Move what was computed on the CPU to the device that the loss lies on."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(self._home.device)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Load what ``prepare`` has learned, also into a loss that is not prepared."""
        for name in self._buffers:
            saved = state_dict.get(prefix + name)
            if saved is not None:  # torch copies into a buffer of the saved shape and dtype
                self._buffers[name] = torch.empty_like(saved, device=self._home.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        try:
            return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        except TypeError:  # Apple's devices have no float64, the dtype that ``prepare`` computes in
            for name, buffer in self._buffers.items():
                if buffer is not None and buffer.dtype == torch.float64:
                    self._buffers[name] = buffer.float()
            return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


class BaseLoss(LossModule):
    r"""Base class of every loss: a torch module with scikit-learn's parameters.

    A subclass writes ``per_sample`` (and ``per_label`` where a sigmoid form exists) for
    two-dimensional logits. Extra dimensions, ``ignore_index``, reductions, class weights and row
    weights are handled here. Standalone it is a drop-in for torch's own losses.

    Parameters
    ----------
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class (per label in the sigmoid form), used as given.
    ignore_index : int, default=-100
        Rows with this target are ignored (softmax form only). In an estimator it is a label of
        ``y``: rows with it are not known, they count for nothing and are no class.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        ``"mean"`` divides the weighted sum by the number of rows, which keeps the balance of the
        weights whatever rows a batch holds; ``"weighted_mean"`` divides by the sum of the weights,
        as ``torch.nn.CrossEntropyLoss`` does.

    Notes
    -----
    Subclasses set ``name`` (the key of the registry), ``_parameter_constraints``,
    ``_neutral_params`` (values at which the loss is plain cross-entropy, or None),
    ``_test_params`` (settings that the common tests sweep) and ``_gradcheck_params`` (values at
    which no factor is held constant in the gradient).

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import BaseLoss
    >>> class SquaredMiss(BaseLoss):
    ...     def per_sample(self, logits, target):
    ...         p_true = torch.softmax(logits, dim=1).gather(1, target[:, None])[:, 0]
    ...         return (1 - p_true) ** 2
    >>> SquaredMiss(weight=[1, 3])(torch.zeros(2, 2), torch.tensor([0, 1]))
    tensor(0.5000)
    """

    _registry: ClassVar[Registry[Any]] = LOSSES
    has_posterior: bool = True
    has_label_posterior: bool | None = None  # None: as has_posterior
    sums_over_rows: bool = True  # else a row's part depends on the other rows of the batch
    _gradcheck_params: ClassVar[dict[str, Any]] = {}
    _ordered_classes: ClassVar[bool] = False
    _base_constraints: ClassVar[dict[str, list[Any]]] = {
        "weight": [Tensor, None],
        "ignore_index": [Integral],
        **LossModule._base_constraints,
    }

    weight: Tensor | None

    def __init__(
        self, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        self.register_buffer("weight", None)
        self.weight = weight
        self.ignore_index = ignore_index

    def __setattr__(self, name: str, value: Any) -> None:
        """Store ``weight`` as a tensor, so that it follows ``.to()`` and ``state_dict``."""
        if name == "weight" and value is not None and not isinstance(value, Tensor):
            value = torch.as_tensor(np.asarray(value, dtype=np.float64)).to(
                torch.get_default_dtype()
            )
        super().__setattr__(name, value)

    @property
    def _ignored_target(self) -> int:
        """Target of the rows that count for nothing; in an estimator a label of ``y``."""
        return self.ignore_index

    @property
    def class_weight(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """``weight`` as an array of shape ``(c,)``, or None."""
        return None if self.weight is None else self.weight.double().cpu().numpy()

    # -- what a subclass writes ------------------------------------------------------------

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row against its class index: ``(n, c), (n,) -> (n,)``."""
        raise NotImplementedError(
            f"{type(self).__name__} has no softmax form: give it targets of the logits' shape."
        )

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each label against 0 or 1: ``(n, l), (n, l) -> (n, l)``."""
        raise NotImplementedError(
            f"{type(self).__name__} has no sigmoid form: give it class indices of shape "
            "(n, ...) for logits of shape (n, n_classes, ...)."
        )

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Loss of each row and its gradient in closed form, ``(n,), (n, c)``; None: autograd.

        Optional: for a small net on a table, the backward pass of autograd through the loss takes a
        large part of a training step. The result is not differentiable itself. The next step may
        write into the memory of ``logits``: a loss that keeps them keeps a copy.
        """
        return None

    def with_label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Loss of each label and its derivative in closed form, ``(n, l)`` both; None: autograd."""
        return None

    def _prepare(self, class_counts: Tensor) -> None:
        """Learn priors or margins, as buffers, from counts of shape ``(c,)`` or ``(l, 2)``."""

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Inverse link: log-probabilities of the classes, ``(n, c) -> (n, c)``.

        They describe the population that the loss was trained for, see
        :meth:`log_prior_shift`.
        """
        return torch.log_softmax(logits, dim=1)

    def log_scores(self, logits: Tensor) -> Tensor:
        """Normalised log-scores to predict with when no population is asked for, ``(n, c)``.

        The posterior, except for losses whose authors predict from the raw logits.
        """
        return self.log_posterior(logits)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Inverse link of the sigmoid form: log-odds of each label, ``(n, l) -> (n, l)``."""
        return logits

    def log_prior_shift(self) -> Tensor | None:
        """Log factors by which the loss itself moves the training prior.

        Shape ``(c,)``; ``(l, 2)`` after counts per label.
        """
        return None

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Output bias, shape ``(c,)``, at which an uninformed net predicts ``log_prior``.

        A net that starts there need not learn the class frequencies first. None where the loss has
        no posterior: then no bias corresponds to them.
        """
        if not self.has_posterior:
            return None
        shift = self.log_prior_shift()
        return log_prior if shift is None else log_prior + shift

    # -- what a loss can do ----------------------------------------------------------------

    def has_form_for(self, task: _HasForm) -> bool:
        """Return whether the loss is written for targets of this form.

        Parameters
        ----------
        task : object with an attribute form
            ``form`` is ``"softmax"``, one class per row, or ``"sigmoid"``, several labels per row.

        Returns
        -------
        bool
            Whether ``per_sample`` (softmax) or ``per_label`` (sigmoid) is written. Losses of a
            whole batch have both forms.
        """
        cls = type(self)
        if task.form == "sigmoid":
            return cls.per_label is not BaseLoss.per_label
        return cls.per_sample is not BaseLoss.per_sample

    def has_posterior_for(self, task: _HasForm) -> bool:
        """Return whether probabilities follow from the logits of a net trained with this loss.

        Parameters
        ----------
        task : object with an attribute form
            ``form`` is ``"softmax"``, one class per row, or ``"sigmoid"``, several labels per row.

        Returns
        -------
        bool
            ``has_posterior``; in the sigmoid form ``has_label_posterior``, unless it is None.
        """
        if task.form == "sigmoid" and self.has_label_posterior is not None:
            return self.has_label_posterior
        return self.has_posterior

    # -- what every loss inherits ----------------------------------------------------------

    def prepare(self, class_counts: Any) -> BaseLoss:
        """Check the hyper-parameters and learn what the loss needs from the class counts.

        Parameters
        ----------
        class_counts : array-like of shape (n_classes,) or (n_labels, 2)
            Rows (or total weight) of each class in the data that the loss will see. For the
            sigmoid form: rows without and with each label.

        Returns
        -------
        BaseLoss
            The loss itself.

        Raises
        ------
        ValueError
            If a hyper-parameter is out of range, or the counts are not finite, negative or all 0.
        """
        self._validate_parameters()
        counts = _check_counts(class_counts)
        if self.weight is not None:
            self._check_weight(len(counts))
        self._prepare(counts)
        self._move_buffers_home()
        return self

    def _check_weight(self, n_classes: int) -> None:
        assert self.weight is not None
        if self.weight.is_meta:  # there are no numbers to look at
            return
        weight = self.weight.double().cpu().numpy()
        if weight.shape != (n_classes,) or not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError(
                f"weight must be {n_classes} finite numbers >= 0, one per class; got "
                f"{weight.tolist()} of length {weight.size}."
            )

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Reduce the loss over rows.

        Parameters
        ----------
        logits : Tensor of shape (n, c), (n, c, d1, ...), or of the target's shape
            Raw outputs of a module.
        target : Tensor of shape (n,), (n, d1, ...), or of the logits' shape
            Class indices (softmax form), or zeros and ones of the logits' shape (sigmoid form).
        weight : Tensor of the shape of ``target``, of shape (n,) or a scalar, optional
            Row weights, as given.

        Returns
        -------
        Tensor
            A scalar, or a tensor of the target's shape with ``reduction="none"``.

        Raises
        ------
        ValueError
            If shapes do not fit, or a class index is out of range.
        """
        logits = single_precision(logits)
        is_sigmoid = target.shape == logits.shape
        form = self._sigmoid_form if is_sigmoid else self._softmax_form
        values, weights, n_terms = form(logits, target)
        if weight is not None:
            weights = weights * row_weights(weight, target).to(weights.dtype)
        return reduce(values * weights, weights, n_terms, self.reduction)

    def _sigmoid_form(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Any]:
        rows, labels = as_label_rows(logits), as_label_rows(target.to(logits.dtype))
        values = self.per_label(rows, labels)
        weights = torch.ones_like(values) * self._class_factors(values.shape[1], values)
        values, weights = (from_label_rows(flat, logits.shape) for flat in (values, weights))
        return values, weights, target.numel()

    def _softmax_form(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Any]:
        rows, index, kept = as_index_rows(logits, target, self._ignored_target)
        values = torch.where(kept, self.per_sample(rows, index), 0)
        weights = kept.to(values.dtype)
        factors = self._class_factors(logits.shape[1], values)
        if isinstance(factors, Tensor):
            weights = weights * factors[index]
        return values.reshape(target.shape), weights.reshape(target.shape), kept.sum()

    def _class_factors(self, n_classes: int, values: Tensor) -> Tensor | float:
        if self.weight is None:
            return 1.0
        if tuple(self.weight.shape) != (n_classes,):
            raise ValueError(
                f"weight has shape {tuple(self.weight.shape)}, but the logits have {n_classes} "
                "columns: give one weight per class."
            )
        return self.weight.to(values.dtype)

    # -- what the training loop calls --------------------------------------------------------

    def batch_loss(self, logits: Tensor, target: Tensor, share: Tensor) -> Tensor:
        """Loss of a batch, a scalar: the values of its rows times their shares, summed.

        Parameters
        ----------
        logits : Tensor of shape (n, c)
            Outputs of the module.
        target : Tensor of shape (n,) or (n, l)
            Class indices, or labels of 0 and 1.
        share : Tensor of shape (n,); of labels (n, 1) or (n, l)
            Row weights divided by n, weights of labels divided by n l.
        """
        if target.ndim == 2:
            return (self.per_label(logits, target) * share).sum()
        return torch.dot(self.per_sample(logits, target).to(share.dtype), share)


def _check_counts(class_counts: Any) -> Tensor:
    counts = torch.as_tensor(np.asarray(class_counts, dtype=np.float64))
    per_label = counts.ndim == 2 and counts.shape[1] == 2
    valid = torch.isfinite(counts).all() and (counts >= 0).all() and (counts.sum(-1) > 0).all()
    if not (counts.ndim == 1 or per_label) or not valid:
        raise ValueError(
            "class_counts must be finite, non-negative numbers that are not all zero: one for "
            "each class, or for each label the rows without and with it, shape (n_labels, 2); "
            f"got {class_counts!r}."
        )
    return counts
