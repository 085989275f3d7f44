"""What a fit asks of the source of its rows."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from imbtorch._common.inputs import Key
from imbtorch._fit.parameters import NetParameters
from imbtorch._fit.validation_rows import ValidationRows
from imbtorch._tasks import Balance, ClassificationTask, RowWeights, Task
from imbtorch.features import FeatureEncoder, TableEncoder
from imbtorch.modules._input_tables import InputTables
from imbtorch.samplers import BaseSampler
from imbtorch.training.data.features import Features
from imbtorch.training.data.rows import RowOrder, Rows
from imbtorch.training.data.validation import Validation
from imbtorch.training.net import Net
from imbtorch.training.run import Plan
from imbtorch.weights import labels_without_class

__all__ = [
    "RowSource",
    "Scored",
    "Seeds",
    "in_order_given",
    "refuse_ignored_class",
]

Floats = NDArray[np.float64]
Seeds = dict[str, int]


class HasFitResample(Protocol):
    """A sampler of imbalanced-learn."""

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]: ...


class HasRows(Protocol):
    """Features, as far as a fit asks for them before the training."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: Any) -> Any: ...


@dataclass(frozen=True)
class Scored:
    """Validation rows, as a scorer needs them.

    Attributes
    ----------
    X : Features or array
        Features: an array for a scorer of the user's own, which may look at it.
    y : array
        Targets as the user gave them.
    targets : array
        Encoded targets, in the units in which the loss sees them.
    weights : ndarray or None
        Weight of each row.
    """

    X: Features | NDArray[Any]
    y: NDArray[Any]
    targets: NDArray[Any]
    weights: Floats | None


class RowSource(ABC):
    """The rows of one fit.

    There are three sources: arrays (and map-style Datasets) of which ``fit`` sees everything,
    chunks of ``partial_fit``, and streams (an IterableDataset), of which only the class counts are
    known before the first row. The recipe in :mod:`imbtorch._fit.fit` is the same for all. It asks
    the source in the order of the methods below; a source that cannot do a step leaves it out, or
    raises an error in ``read`` where the user asks for it.

    Attributes
    ----------
    given : tuple
        ``X`` and ``y`` as the user gave them.
    sample_weight : ndarray of shape (n,) or None
        Checked weights of all rows.
    n_given : int
        Number of rows given, from which the automatic batch size follows; known after ``read``.
    task : Task
        What the targets are; known after ``read``.
    X : array, DatasetReader or DatasetStream
        Checked features, with ``shape``, and rows at ``X[:2]``; known after ``read``.
    at_least : int
        Classes that must have rows of a weight above 0.
    is_chunk : bool
        Whether the rows are a part of a larger data set, on which training continues later.
    resumed : bool
        Whether the fit continues with the estimator's present net.
    sampler : object or None
        Sampler that has chosen or made the rows; None without any.
    features : FeatureEncoder, dict or None
        What encodes the columns of a table, or of each table among several inputs; None where the
        module gets the rows as they are.
    encoder : TableEncoder or None
        What ``features`` has learned of a table; known after ``encode``.
    tables : InputTables or None
        What they have learned of tables among several inputs.
    valid : ndarray of int or None
        Positions of the validation rows; None where nothing is held out.
    validation_rows : ValidationRows or None
        Which rows are held out; None where none are, or where they are drawn.
    plan : callable(epoch, n_epochs) -> ndarray of int, or None
        Which training rows an epoch sees, in this order; None shuffles all of them.
    """

    at_least: ClassVar[int] = 2
    is_chunk: ClassVar[bool] = False
    resumed: bool = False
    sampler: BaseSampler | HasFitResample | None = None
    features: FeatureEncoder | dict[Key, FeatureEncoder] | None = None
    encoder: TableEncoder | None = None
    tables: InputTables | None = None
    plan: Plan | None = None
    valid: NDArray[np.integer[Any]] | None = None
    validation_rows: ValidationRows | None = None
    sample_weight: Floats | None = None
    given: tuple[Any, Any]
    n_given: int
    task: Task
    X: HasRows

    # -- the steps of a fit, in their order ----------------------------------------------------

    @abstractmethod
    def read(self, estimator: NetParameters) -> None:
        """Validate the data and encode the targets.

        Raises
        ------
        ValueError
            If the data are invalid, or the estimator has parameters that this source cannot serve.
        """

    def all_labels(self) -> list[Any] | None:
        """Return every label of the data; None if the rows may be a part of more data."""
        return None

    def check_labels(self, parameter: str, named: Any) -> None:
        """Check the labels that a parameter names: labels without rows, as a fold may have, pass.

        Raises
        ------
        ValueError
            If no row of the data has such a label, and all of the data are known.

        Warns
        -----
        UserWarning
            If no row has such a label, and the rows may be a part of more data.
        """
        if not isinstance(self.task, ClassificationTask) or self.task.n_labels:
            return
        absent = labels_without_class(named, self.task.classes)
        if not absent:
            return
        everything = self.all_labels()
        message = (
            f"{parameter} names {absent}, which are not among the classes "
            f"{self.task.classes.tolist() if everything is None else everything}."
        )
        if everything is None:
            warnings.warn(
                f"{message} They are left out, as in a fold that lacks a class; if this is no fold,"
                " key it by the labels that y holds.",
                UserWarning,
                stacklevel=2,
            )
        elif labels_without_class(dict.fromkeys(absent), everything):
            raise ValueError(f"{message} Key it by the labels that y holds.")

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Describe the data, so that a checkpoint or another process can compare them."""

    @abstractmethod
    def hold_out(self, fraction: float, seed: int) -> None:
        """Hold out validation rows."""

    @abstractmethod
    def encode(self, dtype: torch.dtype) -> None:
        """Learn from the training part how the columns of a table are encoded, and encode them."""

    @abstractmethod
    def counts(self) -> Floats:
        """Count the rows of the training part, before any sampler."""

    @abstractmethod
    def sample(self, estimator: NetParameters, batch_size: int, seeds: Seeds) -> Floats:
        """Let the estimator's sampler choose or make the rows to train on.

        Returns
        -------
        ndarray
            Counts of the rows that the loss will see.
        """

    @abstractmethod
    def weigh(self, balance: Any, dtype: str) -> RowWeights:
        """Weigh the rows."""

    @abstractmethod
    def rows(
        self, net: Net, balance: Balance, weights: RowWeights, seed: int
    ) -> tuple[Rows, RowOrder]:
        """Return the weighted rows to train ``net`` on, and their order."""

    def validation(self, estimator: NetParameters, net: Net, balance: Balance) -> Scored:
        """Return the validation rows for the scorer, if ``hold_out`` has held out some."""
        raise ValueError("No rows are held out.")

    def shown(self, net: Net) -> Validation | None:
        """Return the data as skorch's callbacks see them; None where they see none."""
        return None

    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes that follow from the source."""
        return {}


def refuse_ignored_class(classes: NDArray[Any], ignored: Any) -> None:
    """Raise ValueError if the label of rows that are not known is among the stated classes."""
    if classes.dtype.kind in "iufO" and (classes == ignored).any():
        raise ValueError(
            f"The classes {classes.tolist()} hold {ignored}, the ignore_index of the loss, whose "
            "rows are not known and are no class. Leave it out of classes and class_counts (and "
            "its rows out of an IterableDataset), or give a loss with another ignore_index."
        )


def in_order_given(n_rows: int) -> Plan:
    """Return a plan in which each epoch sees the rows in the order in which they were given."""
    return lambda epoch, n_epochs: np.arange(n_rows)
