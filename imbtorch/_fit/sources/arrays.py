"""Rows of arrays, or of a map-style Dataset: ``fit`` sees all of them.

The training split says which of the rows are trained on, from the hold-out to the row weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray

from imbtorch._common.inputs import Inputs
from imbtorch._common.memo import Memo, digest
from imbtorch._common.memory_maps import release_pages
from imbtorch._common.sklearn_private import _safe_indexing
from imbtorch._data.datasets_as_rows import DatasetReader
from imbtorch._data.target_scaling import read_values
from imbtorch._fit.input_checks import check_new_input, check_rows, check_weights
from imbtorch._fit.parameters import NetParameters
from imbtorch._fit.sources.base import HasRows, RowSource, Scored, Seeds
from imbtorch._fit.sources.resampled import UNREAD, resampled_split
from imbtorch._fit.sources.tables import encoded_inputs, learned_tables, vocabularies
from imbtorch._fit.table import chosen_features, learned_encoder
from imbtorch._fit.validation_rows import ValidationRows
from imbtorch._tasks import Balance, ClassificationTask, RowWeights, Task, Values
from imbtorch.samplers import Plan as SamplerPlan
from imbtorch.samplers import get_sampler
from imbtorch.samplers._imblearn import refuse_looking
from imbtorch.samplers._tables import refuse_mixed_codes
from imbtorch.training.data.features import ChosenFeatures, as_features, encoded_rows
from imbtorch.training.data.mixing import Mixing
from imbtorch.training.data.rows import ArrayRows, RowOrder, Rows, ShuffledOrder
from imbtorch.training.data.validation import Validation
from imbtorch.training.net import Net
from imbtorch.training.run import Plan
from imbtorch.training.schedules import deferred

__all__ = ["ArraySource", "TrainingSplit", "ignored_label", "labelled_rows"]

Floats = NDArray[np.float64]
Positions = NDArray[np.integer[Any]]


@dataclass
class TrainingSplit:
    """Rows to train on: those of ``X`` at ``index``, or all.

    Attributes
    ----------
    X : ndarray, CSR matrix or DatasetReader of shape (n, ...)
        Features of all rows; they are never copied to select some of them.
    targets : ndarray of int, shape (n,), CSR matrix of shape (n, l), or ndarray of float (n, k)
        Class of each row; labels of 0 and 1; or values.
    sample_weight : ndarray of shape (n,) or None
        Row weights >= 0.
    index : ndarray of int or None
        Positions of the rows to train on; None for all.
    """

    X: HasRows
    targets: NDArray[Any]
    sample_weight: Floats | None
    index: Positions | None = None

    def __post_init__(self) -> None:
        """Leave out rows of weight 0: they are the same as absent."""
        if self.sample_weight is None:
            return
        self._keep_weighted(self.sample_weight)
        if not self.n_rows:
            raise ValueError(
                "sample_weight is zero for every row; at least one row needs a weight > 0."
            )

    def _keep_weighted(self, weights: Floats) -> None:
        """Let rows of weight 0 leave the split; ``weights`` are those of all rows."""
        if not weights[self.chosen].all():
            rows = np.arange(len(weights)) if self.index is None else self.index
            self.index = rows[weights[rows] > 0]

    @property
    def chosen(self) -> slice | Positions:
        """What selects the rows to train on from an array."""
        return slice(None) if self.index is None else self.index

    @property
    def n_rows(self) -> int:
        """Number of rows to train on."""
        return int(self.targets.shape[0]) if self.index is None else len(self.index)

    @property
    def _chosen_weights(self) -> Floats | None:
        return None if self.sample_weight is None else self.sample_weight[self.chosen]

    def identity(self) -> dict[str, str]:
        """Describe the data: shape, and hashes of all features, targets and weights.

        Of a Dataset at most 10,000 items are read, evenly spread.
        """
        n = int(self.targets.shape[0])
        step = max(n // 10_000, 1) if isinstance(self.X, DatasetReader) else 1
        starts = range(0, n, 1000 * step)  # in blocks, so that a memory map stays on the disk
        rows = [
            _hash_of_rows(self.X, slice(start, min(start + 1000 * step, n), step))
            for start in starts
        ]
        content = {"X": rows, "y": self.targets, "sample_weight": self.sample_weight}
        hashes = {name: _hash(value) for name, value in content.items()}
        return {**hashes, "shape of X": str(self.X.shape), "rows": _hash(self.index)}

    def counts(self, task: Task) -> Floats:
        """Count the weighted rows, as :meth:`Task.counts` arranges them."""
        return task.counts(self.targets[self.chosen], self._chosen_weights)

    def hold_out(self, task: Task, fraction: float, seed: int) -> Positions:
        """Take a share of the rows out of the split and return their positions.

        Raises
        ------
        ValueError
            If no row can be held out.
        """
        train, valid = task.hold_out(self.targets[self.chosen], fraction, seed)
        if not len(valid):
            raise ValueError(
                f"No row is left to validate on: each class needs two rows or more, got "
                f"{self.n_rows} rows of {task.n_outputs} {task.noun}. Use "
                "validation_fraction=None and early_stopping=False."
            )
        if self.index is not None:
            train, valid = self.index[train], self.index[valid]
        self.index = train
        return valid

    def plan(self, sampler: Any, task: Task, batch_size: int, seed: int) -> SamplerPlan:
        """Let a sampler plan which rows each epoch sees."""
        targets = self.targets[self.chosen]
        plan: SamplerPlan = sampler.plan(targets, task.n_outputs, batch_size=batch_size, seed=seed)
        return plan

    def seen(self, plan: SamplerPlan, task: Task, epochs: int) -> Floats:
        """Count the weighted rows of an epoch that a sampler has planned."""
        counts = self.counts(task)
        rows = task.counts(self.targets[self.chosen], None)
        mean_weight = np.divide(counts, rows, out=np.ones_like(counts), where=rows > 0)
        drawn: Floats = plan.expected_counts(epochs) * mean_weight
        return drawn

    def weigh(
        self, class_weight: Floats, dtype: str, mean: float | None = None
    ) -> NDArray[Any] | None:
        """Combine class and sample weights into one weight per row, shape ``(n,)``.

        Parameters
        ----------
        class_weight : ndarray of shape (n_classes,)
            Weight of each class. Rows of classes with weight 0 leave the split.
        dtype : {"float32", "float64"}
            Dtype of the result.
        mean : float or None, default=None
            What to divide by; None is the mean over the split.

        Returns
        -------
        ndarray of shape (n,) or None
            None where all rows weigh the same.
        """
        if self.sample_weight is None and np.ptp(class_weight) == 0:
            return None
        return self._scaled(class_weight[self.targets], dtype, mean)

    def weigh_rows(
        self, dtype: str, factor: Floats | None = None, mean: float | None = None
    ) -> NDArray[Any] | None:
        """Scale the sample weights to mean 1 over the split, ``(n,)``; None without any.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            Dtype of the result.
        factor : ndarray of shape (n,) or None, default=None
            Factor of each row. Rows of factor 0 leave the split.
        mean : float or None, default=None
            What to divide by; None is the mean over the split.
        """
        if self.sample_weight is None and factor is None:
            return None
        factor = np.ones(self.targets.shape[0]) if factor is None else factor
        return self._scaled(factor, dtype, mean)

    def _scaled(self, factor: Floats, dtype: str, mean: float | None) -> NDArray[Any]:
        weights = factor if self.sample_weight is None else factor * self.sample_weight
        self._keep_weighted(weights)
        weights = weights / (weights[self.chosen].mean() if mean is None else mean)
        scaled: NDArray[Any] = weights.astype(dtype, copy=False)
        return scaled


class ArraySource(RowSource):
    """Rows of arrays.

    Parameters
    ----------
    X, y, sample_weight
        As the user gave them to ``fit``; ``X`` may be a map-style Dataset, read as DatasetReader.
    rows : ndarray of int or None, default=None
        Positions of the rows to fit on, such as those of a fold; None for all.
    memo : Memo or None, default=None
        Results that other fits on the same data have computed.
    validation : ValidationRows or None, default=None
        Which rows are held out; None draws them.
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        rows: Positions | None = None,
        memo: Memo | None = None,
        validation: ValidationRows | None = None,
    ) -> None:
        self._once = _compute if memo is None else memo.once
        self.given, self._given_weight, self._rows = (X, y), sample_weight, rows
        self._is_part = rows is not None
        self.validation_rows = validation

    def read(self, estimator: NetParameters) -> None:
        """Validate arrays and encode the targets."""
        X, y = self.given
        if isinstance(X, DatasetReader) and hasattr(estimator.sampler, "fit_resample"):
            refuse_looking(estimator.sampler, UNREAD)
        has_classes = Values not in estimator._tasks
        if not has_classes:
            y = self._once(read_values, (y,))
        if self.resumed:
            self.X, self.y = estimator._check_X(X, reset=False, y=y)
        else:
            self.features = chosen_features(estimator, X)
            given = (type(estimator), X, y)
            self.X, self.y, learned = self._once(
                check_new_input, (*given, self.features), lambda: (*given, digest(self.features))
            )
            estimator._note(learned)
        self.columns, self.read_X = estimator._columns, self.X
        if self._given_weight is not None:
            self.sample_weight = self._once(check_weights, (self._given_weight, self.X))
        if has_classes:
            arguments = (self.y, self._rows, ignored_label(estimator.loss))
            self._rows = self._once(labelled_rows, arguments)
        self.task, targets = self._once(estimator._encode, (self.y, self.given[1], self._rows))
        if self.resumed:
            self.task.check_continues(estimator.net_.task, "y")
        self.split = TrainingSplit(self.X, targets, self.sample_weight, self._rows)
        self.trained = self.split
        self.n_given = int(self.X.shape[0]) if self._rows is None else len(self._rows)

    def all_labels(self) -> list[Any] | None:
        """Return every label of ``y``, if the rows of the fit are a part of it."""
        return self._once(np.unique, (self.y,)).tolist() if self._is_part else None

    def identity(self) -> dict[str, str]:
        """Describe the data by hashes."""
        words = {} if self.columns is None else {"categories": _hash(vocabularies(self.columns))}
        if (held := self.validation_rows) is not None:
            words["validation"] = _hash((held.positions, held.groups))
        return {**self.split.identity(), **words}

    def hold_out(self, fraction: float, seed: int) -> None:
        """Take validation rows out of the training split."""
        if self.validation_rows is None:
            self.valid = self.split.hold_out(self.task, fraction, seed)
            return
        chosen = np.arange(self.split.targets.shape[0])[self.split.chosen]
        self.split.index, self.valid = self.validation_rows.split(self.split.targets, chosen)

    def encode(self, dtype: torch.dtype) -> None:
        """Learn from the training split how the columns of a table are encoded, and encode them."""
        if self.columns is None:
            return
        X, split = self.read_X, self.split
        arguments = (self.features, self.columns, X, split.index, self.sample_weight, dtype)
        if isinstance(self.columns, dict):
            self.tables = self.tables or learned_tables(arguments, self._once)
            self.X = self._once(encoded_inputs, (X, self.tables))
        else:
            if self.encoder is None:
                self.encoder = self._once(
                    learned_encoder,
                    arguments,
                    lambda: (X, *map(digest, (arguments[0], split.index)), *arguments[4:]),
                )
            self.X = self._once(encoded_rows, (X, self.encoder))
        self.split = self.trained = replace(split, X=self.X)

    def counts(self) -> Floats:
        """Count the rows of the training split."""
        return self.split.counts(self.task)

    # -- samplers ------------------------------------------------------------------------------

    def sample(self, estimator: NetParameters, batch_size: int, seeds: Seeds) -> Floats:
        """Let imbalanced-learn make rows, or a sampler of this package plan the epochs."""
        assert isinstance(self.task, ClassificationTask)  # regressors have no sampler
        sampler: Any = estimator.sampler
        self.sampler = sampler = get_sampler(sampler) if isinstance(sampler, str) else sampler
        self._batch_size, self._seeds = batch_size, seeds
        if hasattr(self.sampler, "plan"):
            self._deferral = estimator.sampler_schedule
            plan = self.split.plan(self.sampler, self.task, batch_size, seeds["plan"])
            self.plan = self._scheduled(plan.order)
            seen = self.split.seen(plan, self.task, int(estimator.max_epochs))
        else:
            names = getattr(estimator, "feature_names_in_", None)
            self.trained = resampled_split(self, sampler, seeds["resampling"], names)
            seen = self.trained.counts(self.task)
        return seen

    def _scheduled(self, plan: Plan) -> Plan:
        return plan if self._deferral is None else deferred(plan, self._deferral)

    def weigh(self, balance: Any, dtype: str) -> RowWeights:
        """Weigh the rows; those of weight 0 leave, and the sampler plans without them."""
        before = self.trained.n_rows
        weights: RowWeights = balance.weigh(self.trained, dtype)
        if self.plan is not None and self.trained.n_rows < before:
            plan = self.trained.plan(self.sampler, self.task, self._batch_size, self._seeds["plan"])
            self.plan = self._scheduled(plan.order)
        return weights

    # -- what the net sees -----------------------------------------------------------------------

    def rows(
        self, net: Net, balance: Balance, weights: RowWeights, seed: int
    ) -> tuple[Rows, RowOrder]:
        """Return the rows of the split, and their order in each epoch."""
        split, device = self.trained, torch.device(net.device)
        dtype = net.input_dtype or net.dtype_of(self.X)
        X, given = self.read_X, self.given[0]
        kind = getattr(X, "dtype", np.dtype(float)).kind
        if hasattr(given, "columns") or kind in "iu" or net.lookups or isinstance(X, Inputs):
            check_rows(X, given, net, self._once)
        features = self._once(as_features, (split.X, dtype, device))
        order: RowOrder = self._once(ShuffledOrder, (split.index, split.n_rows, seed, device))
        rows = ArrayRows(features, split.targets, weights.rows, net.dtype, device, weights.labels)
        if hasattr(self.sampler, "mix"):
            refuse_mixed_codes(self.sampler, self.encoder)
            counts = split.counts(self.task)
            rows.mixing = Mixing(self.sampler, counts, self._seeds["plan"])
        return rows, order

    def validation(self, estimator: NetParameters, net: Net, balance: Balance) -> Scored:
        """Return the validation rows, which are not copied."""
        if self.valid is None:
            return super().validation(estimator, net, balance)
        if callable(estimator.scoring):
            # a scorer of the user's own may look at it
            given = self.X if self.columns is None else self.given[0]
            X = _safe_indexing(given, self.valid)
        else:
            device, dtype = torch.device(net.device), net.input_dtype or net.dtype
            if self.trained.X is self.X:
                features = self._once(as_features, (self.X, dtype, device))
            else:
                features = as_features(self.X, dtype, device, resident=False)
            X = ChosenFeatures(features, self.valid, device)
        weights = balance.validation_weights(self.sample_weight, self.valid)
        return Scored(X, self.y[self.valid], self.split.targets[self.valid], weights)

    def shown(self, net: Net) -> Validation | None:
        """Return the data as skorch's callbacks see them."""
        split, device = self.split, torch.device(net.device)
        X = self.X if self.encoder is None else self.read_X
        parts = split.targets, split.index, self.valid
        return Validation(X, *parts, net.dtype, device, net.input_dtype, self.X)

    def attributes(self) -> dict[str, Any]:
        """Return what a classifier remembers of its rows."""
        if not isinstance(self.task, ClassificationTask):
            return {}
        return {"_n_rows_seen": self.split.n_rows, "_counts_are_stated_": False}


def _hash_of_rows(X: Any, some: slice) -> str:
    found = _hash(X[some])
    release_pages(X)
    return found


def _hash(value: Any) -> str:
    return str(joblib.hash(value, hash_name="sha1", coerce_mmap=True))


def ignored_label(loss: Any) -> Any:
    """Return the label of rows that are not known, which the parameter ``loss`` names.

    It is the ``ignore_index`` of a loss object; a loss that is given by its name has the default,
    -100.
    """
    return getattr(loss, "_ignored_target", getattr(loss, "ignore_index", -100))


def labelled_rows(
    y: NDArray[Any], rows: NDArray[np.integer[Any]] | None, ignored: Any
) -> NDArray[np.integer[Any]] | None:
    """Leave out the rows whose label says that they are not known.

    Parameters
    ----------
    y : ndarray
        Checked targets; only one number per row can be the ignored label.
    rows : ndarray of int or None
        Positions of the rows to fit on; None for all.
    ignored : int
        The ``ignore_index`` of the loss.

    Returns
    -------
    ndarray of int or None
        Positions of the rows to fit on; None for all.

    Raises
    ------
    ValueError
        If no row is left.

    Warns
    -----
    UserWarning
        If rows have the label -100, which every loss ignores, whether asked to or not.
    """
    if y.ndim > 1 or y.dtype.kind not in "iufO":
        return rows
    is_ignored = y == ignored
    if not is_ignored.any():
        return rows
    if ignored == -100:
        warnings.warn(
            f"{np.count_nonzero(is_ignored)} rows of y have the label -100, the default "
            "ignore_index of every loss: they count for nothing. If -100 is a class, encode it as "
            "another number, or give a loss with another ignore_index.",
            UserWarning,
            stacklevel=2,
        )
    kept: NDArray[np.integer[Any]]
    kept = np.flatnonzero(~is_ignored) if rows is None else rows[~is_ignored[rows]]
    if not len(kept):
        raise ValueError(
            f"Every row of y has the label {ignored}, the ignore_index of the loss: no row is left."
            " Give labels of known rows, or a loss with another ignore_index."
        )
    return kept


def _compute(function: Callable[..., Any], arguments: tuple[Any, ...], key: Any = None) -> Any:
    """Call a function, where there is no other fit on the same data."""
    return function(*arguments)
