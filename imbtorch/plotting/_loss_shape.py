"""Plot the loss and the gradient of a row against the probability of its true class."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from imbtorch.losses import BaseLoss, as_loss
from imbtorch.losses._one_vs_rest import OneVsRestMixin
from imbtorch.plotting._style import (
    LINES,
    add_grid,
    as_axes,
    check_matplotlib,
    legend_beside,
    panels,
    style,
)
from imbtorch.plotting._unwrap import innermost

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

__all__ = ["LossCurve", "LossShapeDisplay", "loss_values"]

Floats = NDArray[np.float64]
_LOG_ODDS = np.linspace(-6.5, 6.5, 261)
_BATCH = 20  # number of rows of the batch for losses of whole batches


@dataclass(frozen=True)
class LossCurve:
    """Value and derivative of one loss for one true class, both of shape ``(n,)``.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.plotting import LossCurve, LossShapeDisplay
    >>> p = np.linspace(0.01, 0.99, 99)
    >>> curve = LossCurve("squared miss", None, (1 - p) ** 2, -2 * p * (1 - p) ** 2)
    >>> LossShapeDisplay(p, [curve]).curves[0].name
    'squared miss'
    """

    name: str
    true_class: object
    value: Floats
    gradient: Floats


class LossShapeDisplay:
    """Plot of loss and gradient against the probability of the true class.

    Create a display with :meth:`from_losses` or :meth:`from_estimator`.

    Parameters
    ----------
    proba : ndarray of shape (n,)
        Probability of the true class, in (0, 1).
    curves : list of LossCurve
        Curves to draw. Each has a ``name``, ``true_class`` (None if all classes have the same
        curve), ``value``, and ``gradient``, the derivative by the log-odds of the true class.

    Attributes
    ----------
    lines_ : dict of str to (Line2D, Line2D)
        Curves of the loss and of the gradient, by the label in the legend.
    ax_ : ndarray of Axes, shape (2,)
        Axes of the loss, and Axes of the gradient.
    figure_ : Figure
        The figure of the Axes.

    See Also
    --------
    imbtorch.losses.all_losses : All losses with a name.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from imbtorch.losses import FocalLoss
    >>> from imbtorch.plotting import LossShapeDisplay
    >>> display = LossShapeDisplay.from_losses(
    ...     {"gamma 0": FocalLoss(0.0), "gamma 2": FocalLoss(2.0)}, proba=[0.1, 0.5, 0.9]
    ... )
    >>> display.curves[1].value.round(2)
    array([1.87, 0.17, 0.  ])
    >>> plt.close(display.figure_)
    """

    def __init__(self, proba: Floats, curves: list[LossCurve]) -> None:
        self.proba = proba
        self.curves = curves

    @classmethod
    def from_losses(
        cls,
        losses: Any,
        *,
        class_counts: ArrayLike = (1, 1),
        proba: ArrayLike | None = None,
        ax: Any = None,
    ) -> LossShapeDisplay:
        """Draw losses that are given by name, as loss objects or as torch losses.

        All other classes have the same probability. A loss of one label against the rest is
        evaluated for one label. A loss of whole batches is evaluated for a batch of 20 rows, which
        all have the same probability, with the classes in the proportions of ``class_counts``.

        Parameters
        ----------
        losses : str, loss, sequence of them, or mapping of str to one
            Losses to draw; the keys of a mapping are the names in the legend.
        class_counts : array-like of shape (n_classes,), default=(1, 1)
            Number of training rows of each class, for losses that depend on it.
        proba : array-like of shape (n,) or None, default=None
            Probabilities of the true class, in (0, 1), at which the losses are evaluated.
        ax : Axes, two Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        LossShapeDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If a name is unknown, or a hyper-parameter, ``class_counts`` or ``proba`` is invalid.
        TypeError
            If an object is not a loss.
        """
        check_matplotlib(f"{cls.__name__}.from_losses")
        counts = np.asarray(class_counts, dtype=np.float64)
        if counts.ndim != 1 or len(counts) < 2:
            raise ValueError(
                f"class_counts has shape {counts.shape}, expected (n_classes,): the number of "
                "training rows of each of at least two classes."
            )
        p = _check_proba(proba)
        curves: list[LossCurve] = []
        for name, given in _named(losses).items():
            loss = as_loss(given)
            loss.reduction = "none"
            labels = isinstance(loss, OneVsRestMixin)
            loss.prepare([[counts[0], counts[1:].sum()]] if labels else counts)
            curves += _curves_of(loss, name, p, counts, labels=labels)
        return cls(p, curves).plot(ax=ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, proba: ArrayLike | None = None, ax: Any = None
    ) -> LossShapeDisplay:
        """Draw the loss that a fitted classifier was trained with, and cross-entropy.

        Class weights and sample weights are not included.

        Parameters
        ----------
        estimator : ImbalancedNetClassifier, or a pipeline or search around one
            Classifier fitted on one label per row. The loss is drawn for the most and for the
            least frequent class.
        proba : array-like of shape (n,) or None, default=None
            Probabilities of the true class, in (0, 1), at which the losses are evaluated.
        ax : Axes, two Axes or None, default=None
            Axes to draw on; None creates a figure.

        Returns
        -------
        LossShapeDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the estimator has no loss over classes.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        net = innermost(estimator)
        check_is_fitted(net)
        if not isinstance(getattr(net, "loss_", None), BaseLoss) or np.ndim(net.class_counts_) != 1:
            raise ValueError(
                f"{type(net).__name__} has no loss over classes to draw. Draw losses over labels "
                "by name: LossShapeDisplay.from_losses('bce')."
            )
        p = _check_proba(proba)
        loss = copy.deepcopy(net.loss_).cpu().double()
        loss.reduction, loss.weight = "none", None
        counts = np.asarray(net.class_counts_, dtype=np.float64)
        curves = _curves_of(loss, loss.name or type(loss).__name__, p, counts, net.classes_)
        curves.append(LossCurve("cross-entropy", None, -np.log(p), p - 1))
        return cls(p, curves).plot(ax=ax)

    def plot(self, ax: Any = None) -> LossShapeDisplay:
        """Draw the loss and the gradient side by side.

        Parameters
        ----------
        ax : Axes, two Axes or None, default=None
            Axes to draw on: two Axes, or one that is divided; None creates a figure.

        Returns
        -------
        LossShapeDisplay
            The display.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        left, right = axes = panels(ax, 2, figsize=(9.5, 3.6))
        looks = self._looks()
        self.lines_: dict[str, tuple[Line2D, Line2D]] = {}
        for curve, look in zip(self.curves, looks, strict=True):
            of_class = "" if curve.true_class is None else f", true class {curve.true_class}"
            label = f"{curve.name}{of_class}"
            (loss,) = left.plot(self.proba, curve.value, label=label, **look)
            (slope,) = right.plot(self.proba, -curve.gradient, label=label, **look)
            self.lines_[label] = loss, slope
        left.set(ylabel="loss")
        right.set(ylabel="-d loss / d log-odds of the true class")
        for panel in axes:
            panel.set(xlabel="probability of the true class", xlim=(0, 1))
            add_grid(panel)
        legend_beside(right)
        self.ax_, self.figure_ = as_axes(axes), left.figure
        return self

    def _looks(self) -> list[dict[str, Any]]:
        """Choose colours by loss, and line styles by loss or, for several classes, by class."""
        names = list(dict.fromkeys(curve.name for curve in self.curves))
        classes = list(dict.fromkeys(c.true_class for c in self.curves if c.true_class is not None))
        if len(classes) < 2:
            return [style(names.index(curve.name)) for curve in self.curves]
        looks = []
        for curve in self.curves:
            place = 0 if curve.true_class is None else classes.index(curve.true_class)
            look = style(names.index(curve.name), markersize=4.5)
            looks.append({**look, "linestyle": LINES[place], "markevery": 0.12})
        return looks


def _named(losses: Any) -> dict[str, Any]:
    if isinstance(losses, Mapping):
        named = {str(name): loss for name, loss in losses.items()}
    else:
        several = isinstance(losses, Sequence) and not isinstance(losses, str)
        listed = list(losses) if several else [losses]
        named = {loss if isinstance(loss, str) else repr(loss): loss for loss in listed}
    if not named:
        raise ValueError("losses is empty; give at least one, such as 'focal'.")
    return named


def _check_proba(proba: ArrayLike | None) -> Floats:
    if proba is None:
        grid: Floats = 1 / (1 + np.exp(-_LOG_ODDS))
        return grid
    p = np.asarray(proba, dtype=np.float64)
    if p.ndim != 1 or p.size == 0 or not ((p > 0) & (p < 1)).all():
        raise ValueError(
            "proba must be a vector of probabilities between 0 and 1, both excluded, where the "
            f"loss is finite; got {p.tolist() if p.size < 10 else f'an array of shape {p.shape}'}."
        )
    return p


def _curves_of(
    loss: BaseLoss,
    name: str,
    proba: Floats,
    counts: Floats,
    classes: NDArray[Any] | None = None,
    *,
    labels: bool = False,
) -> list[LossCurve]:
    """Return a curve for the most and one for the least frequent class; one if they are equal."""
    if not loss.sums_over_rows:
        return [LossCurve(name, None, *_of_batch(loss, proba, counts))]
    if labels:
        found = {i: loss_values(loss, proba, i, 2, labels=True) for i in (0, 1)}
    else:
        ends = (int(counts.argmax()), len(counts) - 1 - int(counts[::-1].argmin()))
        found = {i: loss_values(loss, proba, i, len(counts)) for i in dict.fromkeys(ends)}
    results = list(found.values())
    if all(np.allclose(results[0], other) for other in results[1:]):
        return [LossCurve(name, None, *results[0])]
    names = range(len(counts)) if classes is None else classes
    return [LossCurve(name, names[i], *values) for i, values in found.items()]


def loss_values(
    loss: BaseLoss, proba: Floats, true_class: int, n_classes: int = 2, *, labels: bool = False
) -> tuple[Floats, Floats]:
    """Evaluate a prepared loss with ``reduction="none"``; return values and derivatives."""
    log_odds = torch.logit(torch.as_tensor(proba, dtype=torch.float64)).requires_grad_()
    if labels:
        logits = (log_odds if true_class else -log_odds).unsqueeze(1)
        target = torch.full_like(logits, float(true_class))
    else:
        logits = _logits(log_odds, torch.full((len(proba),), true_class), n_classes)
        target = torch.full((len(proba),), true_class)
    values = loss(logits, target).reshape(-1)
    (gradient,) = torch.autograd.grad(values.sum(), log_odds)
    return values.detach().double().numpy(), gradient.numpy()


def _logits(log_odds: Tensor, target: Tensor, n_classes: int) -> Tensor:
    """Return logits that are 0 except for the true class, so that all others are equally likely."""
    is_true = torch.nn.functional.one_hot(target, n_classes)
    return is_true * (log_odds + math.log(n_classes - 1)).unsqueeze(1)


def _of_batch(loss: BaseLoss, proba: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Evaluate a loss of whole batches, in which all rows have the same probability."""
    loss.eval()  # a loss with a memory must not remember scores from point to point
    loss.reduction = "mean"
    rows = np.maximum(1, np.round(_BATCH * counts / counts.sum())).astype(int)
    target = torch.as_tensor(np.repeat(np.arange(len(counts)), rows))
    values, gradients = [], []
    for p in proba:
        log_odds = torch.logit(torch.tensor(p, dtype=torch.float64)).requires_grad_()
        value = loss(_logits(log_odds.expand(len(target)), target, len(counts)), target)
        (gradient,) = torch.autograd.grad(value, log_odds)
        values.append(value.item())
        gradients.append(gradient.item())
    return np.array(values), np.array(gradients)
