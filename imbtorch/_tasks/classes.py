"""One class per row: the task, and how much each class weighs at every stage of a fit.

Training prior x sampler x class weights x loss adjustment = effective prior, the population that
the raw posterior describes. Below this file nothing knows about class weights: a loss sees one
weight per row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from torch import Tensor, nn

from imbtorch._data.targets import class_ranks, stratified_holdout
from imbtorch._tasks.base import Balance, ClassificationTask, Link, RowWeights, log_mean
from imbtorch._tasks.double_correction import check_double_correction
from imbtorch.losses import BaseLoss, as_loss
from imbtorch.metrics import mean_average_precision
from imbtorch.modules import check_width, logits_of
from imbtorch.priors import log_prior_ratio, resolve_target_prior
from imbtorch.priors._resolve import by_label
from imbtorch.weights import class_weights

__all__ = ["ClassBalance", "Classes", "encode_known_labels", "encode_labels"]

Floats = NDArray[np.float64]
Positions = NDArray[np.integer[Any]]
Codes = NDArray[np.integer[Any]]


def encode_labels(y: NDArray[Any]) -> tuple[NDArray[Any], Codes]:
    """Convert labels to codes, which are positions among the sorted distinct labels.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels of any type that can be sorted.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        The distinct labels, sorted.
    codes : ndarray of int, shape (n,)
        ``classes[codes]`` is ``y``.

    Raises
    ------
    ValueError
        If ``y`` is continuous, or not one label per row.
    """
    _check_labels(y)
    classes = np.unique(y)
    # searching few classes is several times faster than the sort behind return_inverse
    return classes, _compact(np.searchsorted(classes, y), len(classes))


def encode_known_labels(y: NDArray[Any], classes: NDArray[Any]) -> Codes:
    """Convert labels to codes, which are positions in the sorted ``classes``.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels.
    classes : ndarray of shape (n_classes,)
        Sorted labels; not all of them need to occur in ``y``.

    Returns
    -------
    ndarray of int, shape (n,)
        ``classes[codes]`` is ``y``.

    Raises
    ------
    ValueError
        If ``y`` holds a label that is not among ``classes``.
    """
    _check_labels(y)
    unknown = np.setdiff1d(y, classes)
    if unknown.size:
        raise ValueError(
            f"y holds the labels {unknown.tolist()}, which are not among the known classes "
            f"{classes.tolist()}."
        )
    return _compact(np.searchsorted(classes, y), len(classes))


def _check_labels(y: NDArray[Any]) -> None:
    try:
        kind = type_of_target(y, input_name="y")
    except TypeError:  # labels that cannot be compared with each other
        _refuse_missing(y)
        raise
    if kind == "unknown":
        _refuse_missing(y)
    if kind.startswith("continuous"):
        raise ValueError(
            "Unknown label type: continuous. y holds continuous values; use "
            "imbtorch.ImbalancedNetRegressor for them, or cut them into classes."
        )
    check_classification_targets(y)
    if kind not in {"binary", "multiclass"}:
        raise ValueError(
            f"y must hold one label per row (binary or multiclass); got a {kind} target of shape "
            f"{np.shape(y)}."
        )


def _refuse_missing(y: NDArray[Any]) -> None:
    """Raise ValueError if labels are missing, which cannot be sorted among words."""
    missing = [i for i, label in enumerate(y.flat) if str(label) in ("None", "nan", "<NA>", "NaT")]
    if missing:
        raise ValueError(
            f"y contains missing labels (None or NaN) in {len(missing)} rows: {missing[:5]}. Leave "
            "these rows out, or encode the labels as numbers and state that of the missing ones as "
            "ignore_index of the loss. Input contains NaN."
        )


def _compact(codes: NDArray[Any], n_classes: int) -> Codes:
    """Store codes in the smallest of uint8, int16 and int32 that holds every class."""
    if n_classes <= 256:
        return codes.astype(np.uint8)
    return codes.astype(np.int16 if n_classes <= 2**15 else np.int32)


def _everywhere(codes: Codes, rows: Positions, n_rows: int) -> Codes:
    """Put the codes at the positions of their rows; all other rows have the code 0."""
    everywhere = np.zeros(n_rows, dtype=codes.dtype)
    everywhere[rows] = codes
    return everywhere


class Classes(ClassificationTask):
    """One class per row.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The labels of the user, sorted.
    """

    name = "classes"
    form = "softmax"
    noun = "classes"
    singular = "class"
    weight_title = "class weight"

    def __init__(self, classes: NDArray[Any]) -> None:
        self.classes = classes
        self.n_outputs = len(classes)

    # -- targets ---------------------------------------------------------------------------

    @classmethod
    def encode(cls, y: NDArray[Any], rows: Positions | None) -> tuple[Classes, NDArray[Any]]:
        """Encode the classes of the rows at these positions; other rows have the code 0."""
        if rows is None:
            classes, codes = encode_labels(y)
            return cls(classes), codes
        classes, codes = encode_labels(y[rows])
        return cls(classes), _everywhere(codes, rows, len(y))

    def attributes(self) -> dict[str, Any]:
        """Return the classes."""
        return {"classes_": self.classes}

    @classmethod
    def restored(cls, n_outputs: int, attributes: dict[str, Any]) -> Classes:
        """Make the task of a net from its fitted attributes."""
        return cls(attributes["classes_"])

    @classmethod
    def counts_shape(cls, n_outputs: int) -> tuple[int, ...]:
        """One count per class."""
        return (n_outputs,)

    def encode_known(self, y: Any, rows: Positions | None = None) -> NDArray[Any]:
        """Encode classes that are known already; rows at other positions have the code 0."""
        if rows is None:
            return encode_known_labels(y, self.classes)
        return _everywhere(encode_known_labels(y[rows], self.classes), rows, len(y))

    def order_classes(self, loss: Any, y: Any) -> None:
        """Tell the loss the order of the classes, where it is not that of the sorted labels.

        Raises
        ------
        ValueError
            If the classes are words without an order, or the loss cannot take another order.
        """
        ranks = class_ranks(y, self.classes)
        if ranks == sorted(ranks):
            return
        if not hasattr(loss, "set_class_order"):
            raise ValueError(
                f"{loss} takes classes in the order of the sorted labels only; encode them as "
                "whole numbers 0, 1, 2, ... in your order, or give the loss a method "
                "set_class_order."
            )
        loss.set_class_order(ranks)

    def batch_of(self, y: Any, dtype: torch.dtype) -> Tensor:
        """Class codes of a batch, ``(n,)``."""
        return torch.from_numpy(self.encode_known(y.ravel())).to(torch.int64)

    def factors(self, weights: Tensor, target: Tensor) -> Tensor:
        """Pick the weight of the class of each row."""
        return weights[target]

    def hold_out(self, targets: Any, fraction: float, seed: int) -> tuple[Positions, Positions]:
        """Hold out a share of each class."""
        return stratified_holdout(targets, fraction, seed, self.classes)

    def counts(self, targets: Any, weights: Floats | None) -> Floats:
        """Count the rows of each class, ``(n_classes,)``."""
        counted = np.bincount(targets, weights=weights, minlength=self.n_outputs)
        return counted.astype(np.float64)

    def masses(self, labelled: dict[Any, float], total: float) -> Floats:
        """Arrange counts in the order of the classes."""
        return np.array([labelled.get(label, 0.0) for label in self.classes.tolist()])

    def present(self, counts: Floats) -> Floats:
        """Return the counts themselves."""
        return counts

    def total(self, counts: Floats) -> float:
        """Add up the classes."""
        return float(counts.sum())

    def shown_weight(self, class_weight: Floats) -> Floats:
        """Return the class weights themselves."""
        return class_weight

    def scorer(
        self, estimator: Any, X: Any, targets: Any, weights: Floats | None
    ) -> Callable[[], float]:
        """Average precision, averaged over the classes where there are more than two."""
        return lambda: mean_average_precision(targets, estimator.decision_function(X), weights)

    def balance(
        self, counts: Floats, seen: Floats, class_weight: Any, loss: Any, *, at_least: int
    ) -> ClassBalance:
        """Compute weights from the training data, and prepare the loss for what it will see."""
        return ClassBalance.of(self.classes, counts, seen, class_weight, loss, at_least=at_least)

    # -- outputs and loss --------------------------------------------------------------------

    def read(self, output: Tensor) -> Tensor:
        """Read one column as the logits of two classes."""
        return logits_of(output) if output.shape[-1] == 1 else output

    def check_outputs(self, output: object, n_rows: int, module: nn.Module) -> None:
        """Raise ValueError unless there is a column per class, or one column for two classes."""
        check_width(output, n_rows, self.n_outputs, module)

    def target_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of class codes."""
        return torch.int64

    def example_targets(self, values: Tensor) -> Tensor:
        """One class after the other."""
        return torch.arange(len(values), device=values.device) % self.n_outputs

    def closed_form(self, loss: Any, target: Any, output: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return loss and gradient of each row, unless one column stands for two classes."""
        if output.shape[-1] != self.n_outputs:
            return None
        known: tuple[Tensor, Tensor] | None = loss.with_gradient(output, target)
        return known

    def even_share(self, output: Tensor) -> Tensor:
        """Return equal shares of all rows, ``(n,)``."""
        return output.new_full((len(output),), 1 / len(output))

    def predicted(self, loss: Any) -> Link:
        """From logits to probabilities, or normalised scores."""
        return lambda logits: loss.log_scores(logits).exp()

    def decided(self, predicted: NDArray[Any]) -> NDArray[Any]:
        """Choose the most probable class."""
        return np.asarray(predicted.argmax(axis=1))

    # -- from outputs to probabilities ---------------------------------------------------------

    def resolve_prior(self, target_prior: Any, class_prior: Floats) -> Floats:
        """Turn ``target_prior`` into one probability per class."""
        return resolve_target_prior(target_prior, self.classes, class_prior)

    def log_shift(self, source: Floats, target: Floats) -> Floats:
        """Return the logarithms of the factors between two priors."""
        return log_prior_ratio(source, target)

    def link(self, loss: Any, log_shift: Tensor | None) -> Link:
        """From logits to log-probabilities, ``(n, c) -> (n, c)``."""
        if log_shift is None:
            scores: Link = loss.log_scores
            return scores
        return lambda logits: torch.log_softmax(loss.log_posterior(logits) + log_shift, dim=1)

    def log_proba(self, linked: Tensor) -> Tensor:
        """Return what the link gives, which are log-probabilities."""
        return linked

    def proba(self, linked: Tensor) -> Tensor:
        """Exponentiate log-probabilities."""
        return linked.exp()

    def mean_scores(self, linked: Tensor, shares: Tensor | None = None) -> Tensor:
        """Logarithm of the mean probabilities."""
        return log_mean(linked, shares)

    def decision(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Log-odds of two classes, ``(n,)``; log-probabilities of more, ``(n, c)``."""
        if scores.shape[1] > 2:
            return scores
        log_odds: NDArray[Any] = scores[:, 1] - scores[:, 0]
        return log_odds

    def decide(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Choose the class with the largest probability, by its label."""
        return np.asarray(self.classes[np.exp(scores).argmax(axis=1)])


@dataclass(frozen=True)
class ClassBalance(Balance):
    """How much each class weighs, from the data to the loss.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The labels of the user.
    counts : ndarray of shape (n_classes,)
        Weighted rows of each class in the training part.
    seen : ndarray of shape (n_classes,)
        Weighted rows of each class that the loss sees, after the sampler.
    class_weight : ndarray of shape (n_classes,)
        Weight of each class, ``weight`` of the loss included.
    loss : BaseLoss
        Prepared for ``seen``.
    """

    classes: NDArray[Any]
    counts: Floats
    seen: Floats
    class_weight: Floats
    loss: BaseLoss

    @classmethod
    def of(
        cls,
        classes: NDArray[Any],
        counts: Floats,
        seen: Floats,
        class_weight: Any,
        loss: Any,
        *,
        at_least: int = 2,
    ) -> ClassBalance:
        """Compute weights from the training data, and prepare the loss for what it will see.

        ``class_weight`` is a statement about the data that the user gave, so it is computed from
        ``counts``; the prior inside a loss is that of the rows it is trained on, so it is
        computed from ``seen``.

        Raises
        ------
        ValueError
            If fewer than ``at_least`` classes have rows of a weight above 0, or a weight is
            invalid.
        """
        weights = np.ones(len(classes))
        if class_weight is not None:
            weights = class_weights(class_weight, counts, classes, strict=False)
        prepared = as_loss(loss).prepare(seen)
        if prepared.weight is not None:
            weights = weights * class_weights(prepared.class_weight, counts, classes)
        present = classes[seen * weights > 0].tolist()
        if len(present) < at_least:
            raise ValueError(
                f"A classifier needs rows of at least {at_least} classes with a weight above 0; "
                f"got {len(present)} class(es): {present}."
            )
        return cls(classes, counts, seen, weights, prepared)

    def weigh(self, split: Any, dtype: str, n_rows: int | None = None) -> RowWeights:
        """Weigh each row by its class and its sample weight."""
        mean = None if n_rows is None else float(self.counts @ self.class_weight) / n_rows
        return RowWeights(split.weigh(self.class_weight, dtype, mean), None)

    def stream_factors(self, n_rows: int, total: float, dtype: str) -> RowWeights:
        """Return the factor of ``sample_weight`` of each class, for ``n_rows`` rows of a stream."""
        if total == n_rows and np.ptp(self.class_weight) == 0:
            return RowWeights(None, None)
        mean = float(self.counts @ self.class_weight) / n_rows
        return RowWeights((self.class_weight / mean).astype(dtype), None)

    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes that follow from the balance."""
        return {
            "class_counts_": self.counts,
            "class_prior_": self.prior,
            "effective_prior_": self.effective_prior,
            "class_weight_": self.class_weight,
        }

    @property
    def prior(self) -> Floats:
        """Class frequencies of the training data."""
        return _shares(self.counts)

    @property
    def weighted_prior(self) -> Floats:
        """Class frequencies in the weighted sum that is minimised."""
        return _shares(self.seen * self.class_weight)

    @property
    def _log_shift(self) -> Floats:
        shift = self.loss.log_prior_shift()
        return np.zeros(len(self.classes)) if shift is None else shift.double().cpu().numpy()

    @property
    def effective_prior(self) -> Floats:
        """The population that the raw posterior describes."""
        shift = self._log_shift
        return _shares(self.weighted_prior * np.exp(shift - shift.max()))

    @property
    def initial_bias(self) -> Tensor | None:
        """Output bias at which the net starts, where the loss calls for one."""
        prior = self.weighted_prior
        floor = prior[prior > 0].min() / 2  # for classes that partial_fit has not met yet
        log_prior = torch.from_numpy(np.log(np.maximum(prior, floor)))
        return self.loss.initial_bias(log_prior)

    def at_power(self, class_weight: Any, power: float) -> ClassBalance:
        """Return the balance under a power of the class weights; a weight of 0 stays 0."""
        stated = class_weights(class_weight, self.counts, self.classes, strict=False)
        own = class_weights(self.loss.class_weight, self.counts, self.classes)
        return replace(self, class_weight=np.where(stated > 0, stated**power, 0.0) * own)

    def before_sampler(self) -> ClassBalance:
        """Return the balance of epochs in which the sampler does not act yet."""
        return replace(self, seen=self.counts)

    def check_double_correction(self, sampler: Any, class_weight: Any) -> None:
        """Warn if sampler, weights and loss correct the same imbalance more than once."""
        if sampler is None and class_weight is None and self.loss.weight is None:
            return  # one correction at the most: that of the loss itself
        own = class_weights(self.loss.class_weight, self.counts, self.classes)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_effects = {
                "sampler={.__class__.__name__}": (
                    sampler,
                    np.log(_shares(self.seen) / self.prior),
                ),
                "class_weight={!r}": (by_label(class_weight), np.log(self.class_weight / own)),
                "weight of {}": (self.loss, np.log(own)),
                "loss={}": (self.loss, self._log_shift),
            }
        check_double_correction(self.prior, log_effects)


def _shares(masses: Floats) -> Floats:
    shares: Floats = masses / masses.sum()
    return shares
