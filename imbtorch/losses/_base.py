"""The contract of a loss: write the formula per row, inherit everything else."""

from __future__ import annotations

from abc import ABC
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from torch import Tensor, nn

from imbtorch._sklearn import StrOptions, validate_parameter_constraints

__all__ = ["BaseLoss"]


class BaseLoss(nn.Module, ABC):
    r"""Base class of every loss: a torch module with scikit-learn's parameters.

    A subclass writes ``per_sample`` (and ``per_label`` where a sigmoid form exists) for
    two-dimensional logits. Extra dimensions, ``ignore_index``, reductions, class weights and row
    weights are handled here. Standalone it is a drop-in for torch's own losses.

    Parameters
    ----------
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class (per label in the sigmoid form), used as given.
    ignore_index : int, default=-100
        Rows with this target count for nothing (softmax form only).
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        ``"mean"`` divides the weighted sum by the number of rows, which keeps the balance that
        the weights ask for whatever a batch holds; ``"weighted_mean"`` divides by the sum of the
        weights, as ``torch.nn.CrossEntropyLoss`` does.

    Notes
    -----
    Subclasses set ``name`` (the key of the registry), ``_parameter_constraints``,
    ``_neutral_params`` (values at which the loss is plain cross-entropy, or None) and
    ``_test_params`` (settings that the common tests sweep).
    """

    name: ClassVar[str] = ""
    has_posterior: bool = True
    _neutral_params: ClassVar[dict[str, Any] | None] = None
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    _base_constraints: ClassVar[dict[str, list[Any]]] = {
        "weight": [Tensor, None],
        "ignore_index": [Integral],
        "reduction": [StrOptions({"mean", "sum", "none", "weighted_mean"})],
    }

    weight: Tensor | None

    def __init__(
        self, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.register_buffer("weight", None)
        self.weight = weight
        self.ignore_index = ignore_index
        self.reduction = reduction

    # scikit-learn's parameter contract, borrowed rather than inherited: BaseEstimator would also
    # bring its repr, its pickling and its tags, which belong to torch here.
    _get_param_names: Any = classmethod(BaseEstimator._get_param_names.__func__)
    get_params = BaseEstimator.get_params
    set_params = BaseEstimator.set_params

    def __setattr__(self, name: str, value: Any) -> None:
        """Store ``weight`` as a tensor, so that it follows ``.to()`` and ``state_dict``."""
        if name == "weight" and value is not None and not isinstance(value, Tensor):
            value = torch.as_tensor(np.asarray(value, dtype=np.float64)).to(
                torch.get_default_dtype()
            )
        super().__setattr__(name, value)

    def __sklearn_clone__(self) -> BaseLoss:
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

        Optional: for a small net on a table autograd's walk through the loss is a good part of a
        training step. Not differentiable itself.
        """
        return None

    def _prepare(self, class_counts: Tensor) -> None:
        """Learn priors or margins, as buffers, from the class counts of shape ``(c,)``."""

    def log_posterior(self, logits: Tensor) -> Tensor:
        """Inverse link: log-probabilities of the classes, ``(n, c) -> (n, c)``.

        They describe the population that the loss was trained for, see
        :meth:`log_prior_shift`.
        """
        return torch.log_softmax(logits, dim=1)

    def log_prior_shift(self) -> Tensor | None:
        """Log factors, shape ``(c,)``, by which the loss itself moves the training prior."""
        return None

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Output bias, shape ``(c,)``, at which an uninformed net predicts ``log_prior``.

        Starting there spares the first epochs the work of learning the class frequencies.
        """
        shift = self.log_prior_shift()
        return log_prior if shift is None else log_prior + shift

    # -- what every loss inherits ----------------------------------------------------------

    def prepare(self, class_counts: Any) -> BaseLoss:
        """Check the hyper-parameters and learn what the loss needs from the class counts.

        Parameters
        ----------
        class_counts : array-like of shape (n_classes,)
            Rows (or total weight) of each class in the data that the loss will see.

        Returns
        -------
        BaseLoss
            The loss itself.

        Raises
        ------
        ValueError
            If a hyper-parameter is out of range, or the counts are not finite, negative or all 0.
        """
        validate_parameter_constraints(
            {**self._base_constraints, **self._parameter_constraints},
            self.get_params(deep=False),
            caller_name=type(self).__name__,
        )
        counts = torch.as_tensor(np.asarray(class_counts, dtype=np.float64))
        valid = counts.ndim == 1 and bool(torch.isfinite(counts).all() and (counts >= 0).all())
        if not valid or counts.sum() == 0:
            raise ValueError(
                "class_counts must be a vector of finite, non-negative numbers that are not all "
                f"zero; got {class_counts!r}."
            )
        if self.weight is not None:
            self._check_weight(len(counts))
        self._prepare(counts)
        return self

    def _check_weight(self, n_classes: int) -> None:
        weight = self.class_weight
        assert weight is not None
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
        if target.shape == logits.shape:
            values, weights, n_terms = self._sigmoid_form(logits, target)
        else:
            values, weights, n_terms = self._softmax_form(logits, target)
        if weight is not None:
            weights = weights * _row_weights(weight, target).to(weights.dtype)
        return self._reduce(values * weights, weights, n_terms)

    def _sigmoid_form(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, int]:
        n_labels = logits.shape[1] if logits.ndim > 1 else 1
        rows, labels = (
            (values if values.ndim > 1 else values.unsqueeze(1)).movedim(1, -1)
            for values in (logits, target.to(logits.dtype))
        )
        values = self.per_label(rows.reshape(-1, n_labels), labels.reshape(-1, n_labels))
        weights = torch.ones_like(values) * self._class_factors(n_labels, values)
        values, weights = (
            flat.reshape(rows.shape).movedim(-1, 1).reshape(logits.shape)
            for flat in (values, weights)
        )
        return values, weights, target.numel()

    def _softmax_form(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Any]:
        expected = (logits.shape[0], *logits.shape[2:])
        if logits.ndim < 2 or tuple(target.shape) != expected:
            raise ValueError(
                f"logits of shape {tuple(logits.shape)} need class indices of shape {expected} "
                f"(softmax form) or a target of their own shape (sigmoid form); got a target of "
                f"shape {tuple(target.shape)}."
            )
        if target.is_floating_point():
            raise ValueError(
                f"Class indices must be integers; got a target of dtype {target.dtype}. "
                "Use target.long(), or a target of the logits' shape for the sigmoid form."
            )
        n_classes = logits.shape[1]
        rows = logits.movedim(1, -1).reshape(-1, n_classes)
        index = target.reshape(-1).long()
        kept = index != self.ignore_index
        index = torch.where(kept, index, 0)
        _check_range(index, n_classes)
        values = torch.where(kept, self.per_sample(rows, index), 0)
        weights = kept.to(values.dtype)
        factors = self._class_factors(n_classes, values)
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

    def _reduce(self, weighted: Tensor, weights: Tensor, n_terms: Any) -> Tensor:
        if self.reduction == "none":
            return weighted
        if self.reduction == "sum":
            return weighted.sum()
        if self.reduction == "mean":
            mean: Tensor = weighted.sum() / n_terms
            return mean
        if self.reduction == "weighted_mean":
            return weighted.sum() / weights.sum()
        raise ValueError(
            f"reduction must be 'mean', 'sum', 'none' or 'weighted_mean'; got {self.reduction!r}."
        )


def _row_weights(weight: Tensor, target: Tensor) -> Tensor:
    """One weight for all, per row, or per element of the target; nothing else broadcasts."""
    pairs = zip(weight.shape, target.shape, strict=False)
    fits = weight.ndim == target.ndim and all(w in (1, t) for w, t in pairs)
    if weight.ndim == 0 or fits:
        return weight
    if weight.shape == target.shape[:1]:
        return weight.reshape(-1, *[1] * (target.ndim - 1))
    raise ValueError(
        f"weight has shape {tuple(weight.shape)}, but the target has shape {tuple(target.shape)}: "
        "give one weight per row, or one per element of the target."
    )


def _check_range(index: Tensor, n_classes: int) -> None:
    """Find class indices out of range, where looking costs no wait for a device."""
    if index.device.type != "cpu" or not index.numel() or torch.compiler.is_compiling():
        return
    low, high = index.aminmax()
    if low < 0 or high >= n_classes:
        wrong = int(low if low < 0 else high)
        raise ValueError(
            f"Target has class {wrong}, but the logits have {n_classes} columns (classes 0 to "
            f"{n_classes - 1})."
        )
