"""Validation rows of the user's own: given beside the training rows, or chosen by a splitter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import indexable
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from imbtorch._common.inputs import Inputs, as_inputs
from imbtorch._common.sequences import Sequences
from imbtorch._data.dataset_rows import DatasetRows
from imbtorch._data.datasets_as_rows import own_targets
from imbtorch._fit.several_inputs import as_fitted

__all__ = ["ValidationRows", "chosen_rows", "joined", "refuse_validation"]

Positions = NDArray[np.integer[Any]]


class Splitter(Protocol):
    """What scikit-learn's splitters have."""

    def split(self, X: Any, y: Any, groups: Any) -> Iterable[tuple[Any, Any]]: ...


@dataclass(frozen=True)
class ValidationRows:
    """Which rows are held out for validation.

    Attributes
    ----------
    positions : ndarray of int or None
        Positions of the rows; None where a splitter chooses them.
    training : ndarray of int or None
        Positions of the rows to train on; None for all others.
    splitter : object with ``split`` or None
        Splitter of scikit-learn; its last split counts.
    groups : ndarray of shape (n,) or None
        Group of each row, for the splitter.
    smoothing : int
        Number of scored epochs whose mean score decides which epoch is the best.
    growth : float
        Factor from one epoch that is scored to the next; 1 scores every epoch.
    """

    positions: Positions | None = None
    training: Positions | None = None
    splitter: Splitter | None = None
    groups: NDArray[Any] | None = None
    smoothing: int = 1
    growth: float = 1.0

    @property
    def judged(self) -> tuple[int, float]:
        """Which epochs are scored and compared: smoothing and growth."""
        return self.smoothing, self.growth

    def split(self, y: Any, chosen: Positions) -> tuple[Positions, Positions]:
        """Divide the rows of a fit.

        Parameters
        ----------
        y : array of shape (n, ...)
            Targets of all rows.
        chosen : ndarray of int
            Positions of the rows of the fit.

        Returns
        -------
        train, valid : ndarray of int
            Positions of the two parts.

        Raises
        ------
        ValueError
            If one of the parts is empty, or the splitter cannot divide the rows.
        """
        if self.positions is not None:
            valid = np.intersect1d(chosen, self.positions)
            others = np.setdiff1d(chosen, self.positions)
            train = others if self.training is None else np.intersect1d(others, self.training)
        else:
            groups = None if self.groups is None else self.groups[chosen]
            targets = y[chosen]
            targets = targets.toarray() if sparse.issparse(targets) else targets
            assert self.splitter is not None
            splits = list(self.splitter.split(np.zeros((len(chosen), 1)), targets, groups))
            train, valid = (chosen[np.asarray(part)] for part in splits[-1])
        if not len(train) or not len(valid):
            raise ValueError(
                f"The validation rows leave {len(train)} rows to train on and {len(valid)} to "
                "validate on (rows of weight 0 do not count); each part needs one or more."
            )
        return train, valid


def chosen_rows(validation: Any, groups: Any, y: Any) -> ValidationRows | None:
    """Return the rows that a splitter holds out; None without a splitter.

    Raises
    ------
    ValueError
        If there are groups, but no splitter that keeps them together, or no splitter was given.
    """
    if validation is None:
        if groups is not None:
            raise ValueError(
                "groups are used by a splitter, which validation= names: for example "
                "validation=GroupShuffleSplit(1, test_size=0.2, random_state=0)."
            )
        return None
    if isinstance(validation, str | Tensor):  # which have a method split of their own
        raise ValueError(
            f"The parameter validation must be a splitter of scikit-learn, such as "
            f"GroupShuffleSplit(1); got {validation!r}."
        )
    if groups is None:
        return ValidationRows(splitter=validation)
    indexable(y, groups)
    return ValidationRows(splitter=validation, groups=np.asarray(groups))


def refuse_validation(validation: ValidationRows | None) -> None:
    """Raise ValueError if rows of a stream should be held out."""
    if validation is not None:
        raise ValueError(
            "validation= chooses rows by position, which an IterableDataset does not have. Score "
            "another dataset in a callback instead, or use a map-style Dataset."
        )


def joined(
    given: tuple[Any, Any, Any],
    validation: tuple[Any, Any, Any],
    estimator: Any,
) -> tuple[Any, Any, Any, ValidationRows]:
    """Put validation rows behind the training rows.

    Parameters
    ----------
    given, validation : tuple of (X, y, sample_weight)
        The two parts, as the user gave them; weights may be None.
    estimator : estimator
        Net that is fitted; it decides how a Dataset is read.

    Returns
    -------
    X, y, sample_weight, rows
        All rows, and which of them are for validation.

    Raises
    ------
    ValueError
        If the parts do not fit together.
    """
    (X, y, w), (X_val, y_val, w_val) = given, validation
    X, X_val = as_inputs(X), as_inputs(X_val)
    if isinstance(X, Inputs) or isinstance(X_val, Inputs):
        X, X_val = _in_one_form(X, X_val), _in_one_form(X_val, X)
    _check_dataset("X", X, y, w)
    _check_dataset("X_val", X_val, y_val, w_val)
    X, y, w = own_targets(X, y, w, estimator)
    X_val, y_val, w_val = own_targets(X_val, y_val, w_val, estimator)
    if X_val is None or y_val is None:
        raise ValueError("X_val and y_val go together: give both, or neither.")
    if w_val is not None and w is None:
        w = np.ones(_length(X))
    weights = None
    if w is not None:
        w_val = np.ones(_length(X_val)) if w_val is None else w_val
        weights = np.concatenate([np.asarray(w), np.asarray(w_val)])
    n, m = _length(X), _length(X_val)
    return (
        _stacked("X", X, X_val),
        _stacked("y", y, y_val),
        weights,
        ValidationRows(np.arange(n, n + m)),
    )


def _in_one_form(X: Any, other: Any) -> Any:
    """Return arrays of one length as sequences, if they are beside sequences."""
    if not isinstance(other, Inputs) or X is None or isinstance(X, Dataset | DatasetRows):
        return X
    if not isinstance(X, Inputs):
        return as_fitted(X, other.input_shape)
    if X.parts.keys() == other.parts.keys():
        return as_fitted(X, other.input_shape)
    return X


def _check_dataset(name: str, X: Any, y: Any, sample_weight: Any) -> None:
    """Raise ValueError if a Dataset has no positions, or does not hold all targets and weights."""
    if not isinstance(X, Dataset):
        return
    if isinstance(X, IterableDataset):
        raise ValueError(
            f"{name} is an IterableDataset, whose rows cannot be put beside others: with X_val "
            "both X and X_val must be arrays or map-style Datasets."
        )
    if y is not None or sample_weight is not None:
        raise ValueError(
            f"The Dataset {name} holds its own targets and weights: leave them out, or give "
            f"imbtorch.DatasetRows({name}) beside them."
        )


def _length(rows: Any) -> int:
    return int(rows.shape[0]) if hasattr(rows, "shape") else len(rows)


def _stacked(name: str, one: Any, other: Any, key: str = "") -> Any:
    """Put the rows of two arrays or frames of the same kind behind each other.

    For messages, ``name + key`` is the first one, and ``key`` is where it lies in several inputs.
    """
    first, second = f"{name}{key}", f"{name}_val{key}"
    if isinstance(one, Inputs) or isinstance(other, Inputs):
        keys, held = ([*getattr(part, "parts", ())] for part in (one, other))
        if set(keys) != set(held):
            raise ValueError(f"{first} has the inputs {keys}, but {second} has {held}.")
        return one.map(lambda k, part: _stacked(name, part, other.parts[k], f"[{k!r}]"))
    if isinstance(one, DatasetRows) or isinstance(other, DatasetRows):
        if not (isinstance(one, DatasetRows) and isinstance(other, DatasetRows)):
            kinds = f"a {type(one).__name__}, but {second} a {type(other).__name__}"
            raise ValueError(f"{first} is {kinds}; give two Datasets, or arrays for both.")
        return one.joined(other)
    if isinstance(one, Sequences):
        return one.joined(other)
    if hasattr(one, "columns") or hasattr(one, "iloc"):
        if type(one) is not type(other):
            raise ValueError(
                f"{first} is a {type(one).__name__}, but {second} a {type(other).__name__}; give "
                "both as the same type."
            )
        if hasattr(one, "columns") and list(one.columns) != list(other.columns):
            raise ValueError(
                f"{first} has the columns {list(one.columns)}, but {second} {list(other.columns)}."
            )
        return _stacked_frames(one, other)
    if sparse.issparse(one) or sparse.issparse(other):
        return sparse.vstack([sparse.csr_array(one), sparse.csr_array(other)], format="csr")
    rows, more = np.asarray(one), np.asarray(other)
    if rows.shape[1:] != more.shape[1:]:
        raise ValueError(
            f"{first} has rows of shape {rows.shape[1:]}, but {second} of {more.shape[1:]}."
        )
    return np.concatenate([rows, more])


def _stacked_frames(one: Any, other: Any) -> Any:
    if hasattr(one, "iloc"):
        import pandas as pd

        return pd.concat([one, other], ignore_index=True)
    import polars as pl

    return pl.concat([one, other])
