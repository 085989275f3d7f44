"""The contract of a task: what differs between classes, labels and values is asked here."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imbtorch.losses._base import LossModule
from imbtorch.modules import check_width

__all__ = [
    "Balance",
    "ClassificationTask",
    "Link",
    "RowWeights",
    "Task",
    "link_each_member",
    "log_mean",
]

Floats = NDArray[np.float64]
Positions = NDArray[np.integer[Any]]
Link = Callable[[Tensor], Tensor]


def log_mean(log_values: Tensor, shares: Tensor | None = None) -> Tensor:
    """Return the logarithm of the mean over the first axis of values that come as logarithms.

    Parameters
    ----------
    log_values : Tensor of shape (m, ...)
        Logarithms of the values.
    shares : Tensor of shape (m,) or None, default=None
        Share of each value in the mean, in any unit; None if all have the same share.
    """
    if shares is None:
        return torch.logsumexp(log_values, dim=0) - math.log(len(log_values))
    log_shares = shares.to(log_values).log().log_softmax(dim=0)
    return torch.logsumexp(log_values + log_shares.reshape(-1, *[1] * (log_values.ndim - 1)), dim=0)


def link_each_member(link: Link, mean: Link) -> Link:
    """Extend a link to modules that return several outputs for each row.

    Parameters
    ----------
    link : callable(outputs) -> Tensor
        From outputs ``(n, c)`` to what is wanted of them, of the same shape.
    mean : callable(linked) -> Tensor
        Mean over the members of what the link gives, ``(k, n, c) -> (n, c)``.

    Returns
    -------
    callable(outputs) -> Tensor
        From outputs ``(n, c)`` or ``(n, k, c)`` to ``(n, c)``. Outputs of one member are linked as
        they are; those of several members are linked first, and then averaged.
    """

    def linked(outputs: Tensor) -> Tensor:
        if outputs.ndim < 3:
            return link(outputs)
        members = link(outputs.flatten(0, 1))
        return mean(members.reshape(-1, *outputs.shape[1:]).transpose(0, 1))

    return linked


class RowWeights(NamedTuple):
    """Weights of the training rows, and of the terms of each label.

    Attributes
    ----------
    rows : ndarray or None
        One weight per row, ``(n,)``; None where all rows weigh the same.
    labels : ndarray of shape (n_labels, 2) or None
        Factors of the absence and the presence of each label; None where all are equal. The terms
        of labels that are not known have the factor 0 besides, in each batch.
    """

    rows: NDArray[Any] | None
    labels: NDArray[Any] | None


class Task(ABC):
    """What the targets of a net are.

    There is one subclass for each kind of targets: :class:`imbtorch._tasks.classes.Classes` (one
    class per row), :class:`imbtorch._tasks.labels.Labels` (several labels per row) and
    :class:`imbtorch._tasks.values.Values` (continuous targets). Whatever depends on the kind is a
    method here, so that no other code compares names of tasks.

    Attributes
    ----------
    name : str
        Name of the task in saved files.
    noun : str
        What one column of the outputs stands for, in the plural, for messages.
    outputs_are_logits : bool
        Whether the module returns logits, so that a softmax or sigmoid at its end is a mistake.
    saved : tuple of str
        Fitted attributes that a saved file holds.
    loss_kind : str
        Kind of losses that a saved file may name for the task.
    n_outputs : int
        Number of classes, labels or values.
    n_labels : int
        Number of labels per row; 0 for every other task.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    outputs_are_logits: ClassVar[bool] = True
    saved: ClassVar[tuple[str, ...]] = ("n_features_in_", "feature_names_in_", "interrupted_")
    loss_kind: ClassVar[str] = "loss"
    n_outputs: int
    n_labels: int = 0

    @property
    def kind(self) -> tuple[str, int]:
        """What two nets must have in common to be trained in one stack."""
        return self.name, self.n_outputs

    # -- targets ---------------------------------------------------------------------------

    @abstractmethod
    def check_continues(self, former: Task, where: str) -> None:
        """Raise ValueError if a net that was trained for ``former`` cannot be trained further.

        ``where`` says where the targets were found: in ``"y"``, or in ``"class_counts"``.
        """

    @abstractmethod
    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes that follow from the targets."""

    @classmethod
    @abstractmethod
    def restored(cls, n_outputs: int, attributes: dict[str, Any]) -> Task:
        """Make the task of a net from its fitted attributes."""

    @classmethod
    @abstractmethod
    def counts_shape(cls, n_outputs: int) -> tuple[int, ...]:
        """Return the shape of what :meth:`counts` returns."""

    @abstractmethod
    def hold_out(self, targets: Any, fraction: float, seed: int) -> tuple[Positions, Positions]:
        """Divide the rows of encoded targets into a training and a validation part.

        Returns
        -------
        train, valid : ndarray of int
            Row numbers.

        Raises
        ------
        ValueError
            If no row can be held out.
        """

    @abstractmethod
    def counts(self, targets: Any, weights: Floats | None) -> Floats:
        """Count the rows of encoded targets, each with its weight.

        Returns
        -------
        ndarray of float64
            Rows of each class, ``(n_classes,)``; rows without and with each label, as far as it
            is known, ``(n_labels, 2)``; or the number of rows and their total weight, ``(2,)``.
        """

    @abstractmethod
    def scorer(
        self, estimator: Any, X: Any, targets: Any, weights: Floats | None
    ) -> Callable[[], float]:
        """Return a function that scores the present weights of ``estimator`` on these rows.

        Greater is better. It is the default of early stopping; NaN where there is nothing to score.
        """

    # -- outputs and loss, for the engine ----------------------------------------------------

    def read(self, output: Tensor) -> Tensor:
        """Read the outputs of a module, of one or several members, as ``n_outputs`` columns."""
        return output

    def check_outputs(self, output: object, n_rows: int, module: nn.Module) -> None:
        """Raise ValueError if ``module`` did not return ``n_outputs`` columns for each row."""
        check_width(output, n_rows, self.n_outputs, module, noun=self.noun, one_column=False)

    def target_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of a batch of targets, for a net that computes in ``dtype``."""
        return dtype

    def example_targets(self, values: Tensor) -> Tensor:
        """Make valid targets from any numbers of shape ``(n, n_outputs)``, for trials of a loss."""
        return values

    @abstractmethod
    def even_share(self, output: Tensor) -> Tensor:
        """Return the shares of the rows of ``output`` in a batch loss, if all weigh the same."""

    def closed_form(self, loss: Any, target: Any, output: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return loss and gradient of each row, or label; None where autograd must find it."""
        return None

    def mean_scores(self, linked: Tensor, shares: Tensor | None = None) -> Tensor:
        """Return the mean over members of what a link gives, ``(m, n, c) -> (n, c)``.

        ``shares`` are those of the members in the mean, ``(m,)``; None if all have the same share.
        """
        if shares is None:
            return linked.mean(dim=0)
        shares = shares.to(linked)
        mean: Tensor = torch.tensordot(shares / shares.sum(), linked, dims=1)
        return mean

    def over_members(self, link: Link) -> Link:
        """Extend a link to the outputs of several members, ``(n, k, c) -> (n, c)``."""
        return link_each_member(link, self.mean_scores)

    def predicted(self, loss: Any) -> Link:
        """Return what makes skorch's ``predict_proba`` of the outputs."""
        return lambda output: output

    def decided(self, predicted: NDArray[Any]) -> NDArray[Any]:
        """Return what skorch's ``predict`` makes of its ``predict_proba``."""
        return np.asarray(predicted)


class ClassificationTask(Task):
    """What the tasks of a classifier have in common: priors, and links to probabilities.

    Attributes
    ----------
    form : {"softmax", "sigmoid"}
        Form of the loss that the task needs.
    singular : str
        What one column of the outputs stands for, for messages.
    weight_title : str
        What a model card calls the numbers of :meth:`shown_weight`.
    classes : ndarray of shape (n_outputs,)
        The labels of the user, or the numbers of the columns of ``y``.
    """

    form: ClassVar[str]
    singular: ClassVar[str]
    weight_title: ClassVar[str]
    saved = (
        *Task.saved,
        "classes_",
        "class_counts_",
        "class_prior_",
        "effective_prior_",
        "class_weight_",
        "_n_rows_seen",
        "_counts_are_stated_",
    )
    classes: NDArray[Any]

    # -- targets ---------------------------------------------------------------------------

    def check_continues(self, former: Task, where: str) -> None:
        """Raise ValueError if the classes are not those that the net was trained for."""
        known = former.classes.tolist() if isinstance(former, ClassificationTask) else []
        if self.classes.tolist() != known:
            raise ValueError(
                f"warm_start=True continues with the classes {known}, but {where} has "
                f"{self.classes.tolist()}. Use warm_start=False to start anew."
            )

    @abstractmethod
    def encode_known(self, y: Any, rows: Positions | None = None) -> Any:
        """Encode targets of which the classes are known already.

        Only the rows at the positions ``rows`` need to hold known classes; None means all.

        Raises
        ------
        ValueError
            If ``y`` holds anything else.
        """

    def order_classes(self, loss: Any, y: Any) -> None:
        """Tell a loss that needs it the order of the classes, which ``y`` as given may state."""

    @abstractmethod
    def batch_of(self, y: Any, dtype: torch.dtype) -> Tensor:
        """Encode the targets of a batch as a tensor on the CPU."""

    @abstractmethod
    def factors(self, weights: Tensor, target: Tensor) -> Tensor:
        """Pick the factor of each row of a batch from the weights of a stream."""

    @abstractmethod
    def masses(self, labelled: dict[Any, float], total: float) -> Floats:
        """Arrange counts by label, of ``total`` rows, as :meth:`counts` returns them."""

    @abstractmethod
    def present(self, counts: Floats) -> Floats:
        """Return the rows with each class, or label, ``(n_outputs,)``."""

    @abstractmethod
    def total(self, counts: Floats) -> float:
        """Return the number of rows, or their total weight, that ``counts`` come from."""

    @abstractmethod
    def shown_weight(self, class_weight: Floats) -> Floats:
        """Return one number per class, or label, that says how much it weighs."""

    @abstractmethod
    def balance(
        self, counts: Floats, seen: Floats, class_weight: Any, loss: Any, *, at_least: int
    ) -> Balance:
        """Compute weights from the training data, and prepare the loss for what it will see."""

    # -- from outputs to probabilities ---------------------------------------------------------

    @abstractmethod
    def resolve_prior(self, target_prior: Any, class_prior: Floats) -> Floats:
        """Turn ``target_prior`` of an estimator into one probability per class, or label."""

    @abstractmethod
    def log_shift(self, source: Floats, target: Floats) -> Floats:
        """Return the log factors, or log-odds, that lead from one prior to another."""

    @abstractmethod
    def link(self, loss: Any, log_shift: Tensor | None) -> Link:
        """Return what makes log-probabilities, or log-odds of labels, of the outputs of one member.

        ``log_shift`` leads to the wanted population; None leaves the population of the loss.
        """

    @abstractmethod
    def log_proba(self, linked: Tensor) -> Tensor:
        """From what :meth:`link` returns to log-probabilities."""

    @abstractmethod
    def proba(self, linked: Tensor) -> Tensor:
        """From what :meth:`link` returns to probabilities."""

    @abstractmethod
    def mean_scores(self, linked: Tensor, shares: Tensor | None = None) -> Tensor:
        """Return what a link would give for the mean probabilities, ``(m, n, c) -> (n, c)``."""

    @abstractmethod
    def decision(self, scores: NDArray[Any]) -> NDArray[Any]:
        """From linked outputs to what ``decision_function`` returns."""

    @abstractmethod
    def decide(self, scores: NDArray[Any]) -> NDArray[Any]:
        """From linked outputs to what ``predict`` returns."""

    def log_target_shift(
        self, loss: Any, target_prior: Any, effective_prior: Floats, class_prior: Floats
    ) -> Floats | None:
        """Return the log factors from the effective to the target prior.

        Returns
        -------
        ndarray of shape (n_outputs,) or None
            For each class the logarithm of a factor, for each label a difference of log-odds; None
            without a target prior.

        Raises
        ------
        ValueError
            If the outputs of the loss do not determine probabilities, or the prior is invalid.
        """
        if target_prior is None:
            return None
        if not loss.has_posterior_for(self):
            raise ValueError(
                f"target_prior={target_prior!r} needs a loss whose outputs determine class "
                f"probabilities, and {loss} is not one. Use target_prior=None and wrap the "
                "estimator in sklearn.calibration.CalibratedClassifierCV, or choose another loss."
            )
        return self.log_shift(effective_prior, self.resolve_prior(target_prior, class_prior))


class Balance(ABC):
    """How much the rows weigh in a fit, and the loss that was prepared for them.

    Attributes
    ----------
    loss : BaseLoss or BaseRegressionLoss
        Prepared for the rows that it will see.
    """

    loss: LossModule

    @property
    @abstractmethod
    def initial_bias(self) -> Tensor | None:
        """Output bias at which the net starts, where the loss calls for one."""

    @abstractmethod
    def weigh(self, split: Any, dtype: str, n_rows: int | None = None) -> RowWeights:
        """Weigh the rows of a training split; its targets are as the loss sees them from now on.

        Parameters
        ----------
        split : TrainingSplit
            Rows of weight 0 leave it.
        dtype : {"float32", "float64"}
            Dtype of the weights.
        n_rows : int or None, default=None
            Weights have mean 1 over so many rows, of which the split is a part; None is the split.
        """

    @abstractmethod
    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes that follow from the balance."""

    def validation_weights(self, sample_weight: Floats | None, valid: Positions) -> Floats | None:
        """Return the weights with which the validation rows are scored."""
        return None if sample_weight is None else sample_weight[valid]

    @abstractmethod
    def check_double_correction(self, sampler: Any, class_weight: Any) -> None:
        """Warn if several settings correct the same imbalance."""
