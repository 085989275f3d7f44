"""What every estimator asks of its data: finite numbers, weights >= 0, rows of one shape."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_X_y
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.utils.data import Dataset

from imbtorch._common.inputs import Inputs, InputShape, Key, is_one_sequence
from imbtorch._common.memory_maps import map_is_finite
from imbtorch._common.sequences import Sequences
from imbtorch._common.sklearn_private import _check_sample_weight
from imbtorch._data.dataset_rows import DatasetRows
from imbtorch._data.datasets_as_rows import DatasetReader, refuse_dataset
from imbtorch._fit.input_advice import explain_features, explain_labels
from imbtorch._fit.several_inputs import as_fitted, checked_parts, refuse_shape
from imbtorch.features import FeatureEncoder, TableColumns
from imbtorch.features._columns import as_table, needs_reading
from imbtorch.features._reading import read_table, stand_in
from imbtorch.modules._lookups import bounds_of, check_ids
from imbtorch.training.data.loading import inexact
from imbtorch.training.net import Net

__all__ = [
    "InputMixin",
    "check_fitted",
    "check_integers",
    "check_new_input",
    "check_rows",
    "check_weights",
    "has_several_columns",
    "refuse_dates",
]


_TEMPORAL = (np.datetime64, np.timedelta64, datetime.date, datetime.time, datetime.timedelta)
_LEARNED = ("n_features_in_", "feature_names_in_", "_input_shape", "_columns", "_part_names")


def check_fitted(estimator: Any, holds: str) -> None:
    """Raise NotFittedError if an estimator lacks an attribute that every fit leaves behind.

    scikit-learn's own check takes a quarter of the time that a small net needs for a row.
    """
    if not hasattr(estimator, holds):
        check_is_fitted(estimator)


def check_new_input(
    cls: type[Any], X: Any, y: Any, features: FeatureEncoder | dict[Key, FeatureEncoder] | None
) -> tuple[Any, Any, dict[str, Any]]:
    """Validate features and targets for a new fit of an estimator of this class.

    Returns
    -------
    tuple
        Checked ``X`` and ``y``, and the attributes that the estimator learns from them.
    """
    checker = object.__new__(cls)  # other parameters have no say in it
    X, y = checker._check_X(X, reset=True, y=y, features=features)
    return X, y, {name: vars(checker)[name] for name in _LEARNED if name in vars(checker)}


def has_several_columns(y: Any) -> bool:
    """Return whether ``y`` is a matrix with several targets per row."""
    try:
        shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    except ValueError:  # rows of unequal length, which the validation of y reports
        return False
    return len(shape) > 1 and shape[1] > 1


class InputMixin:
    """Checks of features, targets and weights."""

    _input_shape: InputShape
    n_features_in_: int
    _way_out = "features='table'"  # what encodes columns that are not numbers
    # columns of a table that is encoded, or of each such table among several inputs
    _columns: TableColumns | dict[Key, TableColumns] | None = None
    _part_names: dict[Key, Any] | None = None  # columns of several inputs, where they have names
    num_workers: int = 0
    collate_fn: Callable[[list[Any]], Any] | None = None

    def _check_X(
        self,
        X: Any,
        *,
        reset: bool,
        y: Any = "no_validation",
        features: FeatureEncoder | dict[Key, FeatureEncoder] | None = None,
    ) -> Any:
        """Validate features (and target); they may have more than two dimensions.

        With ``features``, or in an estimator that was fitted with them, ``X`` is a table, or has
        tables among its inputs: they may have gaps, and columns of categories, which become codes.
        """
        has_y = not (isinstance(y, str) and y == "no_validation")
        if isinstance(X, Dataset | DatasetRows) and not has_y:
            X = self._read_by_position(X)
        if isinstance(X, Dataset):
            refuse_dataset(X, type(self).__name__)
        several = has_y and y is not None and has_several_columns(y)
        if not reset and self._part_names is not None and not isinstance(X, Inputs | DatasetReader):
            X = as_fitted(X, self._input_shape)
        if isinstance(X, Inputs):
            return self._check_inputs(X, y, features, reset=reset, has_y=has_y, several=several)
        if not reset and self._part_names is not None and not isinstance(X, DatasetReader):
            refuse_shape(type(self).__name__, tuple(np.shape(X)[1:]), self._input_shape)
        if isinstance(X, DatasetReader):  # which has seen that its rows are finite
            if has_y:
                y = validate_data(self, y=y, reset=reset, multi_output=several)
            if reset or not X.continues(self._input_shape):
                self._check_shape(X.input_shape, reset=reset)
            if features is not None:
                self._columns = TableColumns(X.shape[1])
            return (X, y) if has_y else X
        is_encoded = features is not None if reset else self._columns is not None
        X = as_table(X) if is_encoded else X
        columns = None if reset else self._columns
        assert not isinstance(features, dict)
        assert not isinstance(columns, dict)
        categorical = None if features is None else features.categorical_features
        try:
            if is_encoded and needs_reading(X, categorical, columns):
                return self._read_table(X, y, categorical, columns, several=several)
            # scikit-learn would read a memory map as a whole; its message is used where that fails
            is_view = getattr(X, "base", None) is not None
            is_finite = is_view and map_is_finite(X, allow_nan=is_encoded)
            checked = validate_data(
                self,
                X,
                y,
                reset=reset,
                accept_sparse="csr",
                allow_nd=True,
                dtype="numeric",
                ensure_all_finite=not is_finite and ("allow-nan" if is_encoded else True),
                accept_large_sparse=True,
                **({"multi_output": True} if several else {}),
            )
            rows = checked[0] if has_y else checked
            if hasattr(X, "columns") or getattr(X, "dtype", None) is np.dtype(object):
                refuse_dates(X)  # which would be read as nanoseconds
            if rows.dtype.kind not in "fiub":  # frames of mixed columns pass as objects
                refuse_dates(rows)
                rows = rows.astype(np.float64)
        except (AttributeError, ValueError, TypeError) as error:  # scikit-learn 1.6 and pandas.NA
            refuse_dates(X)
            _explain_targets(y, error)
            explain_features(X, error)
            if has_y:
                explain_labels(y, error)
            wrong = [] if is_encoded else _columns_without_numbers(X)
            if not wrong:
                raise
            raise ValueError(
                f"X has columns that are not numbers: {wrong}. Encode them first, for example "
                "with make_pipeline(ColumnTransformer([('categories', OneHotEncoder("
                f"handle_unknown='ignore'), {wrong})], remainder='passthrough'), "
                f"{type(self).__name__}()), or let the estimator do it: {self._way_out}."
            ) from error
        self._check_shape(rows.shape[1:], reset=reset)
        if reset and is_encoded:
            names = getattr(self, "feature_names_in_", None)
            self._columns = TableColumns.named(rows.shape[1], names)
        return (rows, checked[1]) if has_y else rows

    def _read_table(
        self, X: Any, y: Any, categorical: Any, columns: TableColumns | None, *, several: bool
    ) -> Any:
        """Read the columns of a table that does not only hold numbers, and check the target."""
        rows, self._columns = read_table(self, X, categorical, columns)
        self._check_shape(rows.shape[1:], reset=columns is None)
        if isinstance(y, str) and y == "no_validation":
            return rows
        return rows, check_X_y(stand_in(rows), y, multi_output=several, estimator=self)[1]

    def _read_by_position(self, X: Any) -> DatasetReader:
        """Return the rows of a Dataset, to predict them."""
        dataset = X.items if isinstance(X, DatasetRows) else X
        return DatasetReader(
            dataset, self.num_workers, self.collate_fn, allow_nan=self._columns is not None
        )

    def _check_inputs(
        self, X: Inputs, y: Any, features: Any, *, reset: bool, has_y: bool, several: bool
    ) -> Any:
        """Check several inputs, each like an ``X`` of its own, and the target."""
        if has_y:
            try:
                # another object, because the names of the inputs are no names of columns
                y = validate_data(object.__new__(type(self)), y=y, multi_output=several)
            except (ValueError, TypeError) as error:
                _explain_targets(y, error)
                explain_labels(y, error)
                raise
            X.check_length(y.shape[0])
        known = None
        if not reset:
            tables = self._columns if isinstance(self._columns, dict) else {}
            known = (self._input_shape, self._part_names or {}, tables)
        X, names, columns = checked_parts(type(self), X, known, features)
        self._check_shape(X.input_shape, reset=reset)
        if reset:
            self._part_names, self._columns = names, columns
        return (X, y) if has_y else X

    def _check_shape(self, shape: Any, *, reset: bool) -> None:
        """Remember the shape of a row, or of each input; or compare it with the one remembered."""
        is_several = any(isinstance(size, str | tuple) for size in shape)
        if reset:
            self._input_shape = shape if is_several else tuple(shape)
            self.n_features_in_ = len(shape) if is_several else int(shape[0])
            self._part_names = {} if is_several else None
            if isinstance(shape, dict):
                self.feature_names_in_ = np.array(list(shape), dtype=object)
        elif shape != self._input_shape:
            if is_several or self._part_names is not None:
                refuse_shape(type(self).__name__, shape, self._input_shape)
            raise ValueError(
                f"X has rows of shape {shape}, but {type(self).__name__} was fitted on rows of "
                f"shape {self._input_shape}."
            )

    def _note(self, learned: dict[str, Any]) -> None:
        """Take over what :func:`check_new_input` has learned."""
        for name in _LEARNED:
            self.__dict__.pop(name, None)
        self.__dict__.update(learned)


def check_weights(sample_weight: Any, X: Any) -> NDArray[np.float64]:
    """Validate the weights of the rows of ``X``.

    Raises
    ------
    ValueError
        If they are not finite numbers >= 0, one per row.
    """
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if (weights < 0).any():
        raise ValueError(f"sample_weight must be >= 0; its smallest value is {weights.min()}.")
    return np.asarray(weights)


def _explain_targets(y: Any, error: Exception) -> None:
    """Raise ValueError if targets are the reason of an error that does not say what to do."""
    is_list = isinstance(y, list | tuple) or getattr(y, "dtype", None) is np.dtype(object)
    if is_list and len(y) and isinstance(next(iter(y)), list | tuple | set):
        raise ValueError(
            "y is a list of lists of labels. Make a matrix of zeros and ones of it first: "
            "sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
        ) from error


def refuse_dates(X: Any) -> None:
    """Raise ValueError if ``X`` holds dates or durations, in a column or as a whole.

    Raises
    ------
    ValueError
        If it does; the message names the columns, and what to do.
    """
    if hasattr(X, "columns"):
        dtypes = getattr(X, "dtypes", ())
        wrong = [str(c) for c, dtype in zip(X.columns, dtypes, strict=False) if _is_temporal(dtype)]
    else:
        wrong = ["all of X"] if _is_temporal(getattr(X, "dtype", None)) else []
        if isinstance(X, list | np.ndarray) and len(X) and not wrong:
            row = X[0]  # a list of several lengths, or of tensors, stays as it is
            first = row if isinstance(row, list | tuple) else np.asarray(row, dtype=object).ravel()
            wrong = [str(i) for i, value in enumerate(first) if isinstance(value, _TEMPORAL)]
    if wrong:
        raise ValueError(
            f"X has columns of dates or durations: {wrong}. A net would read them as nanoseconds. "
            "Make numbers of them first, such as the year, the month, the hour, or the days since "
            "a fixed day."
        )


def _is_temporal(dtype: Any) -> bool:
    """Return whether a dtype of numpy, pandas or polars is one of dates, times or durations."""
    if getattr(dtype, "kind", "") in ("m", "M"):
        return True
    return str(dtype).lower().startswith(("date", "time", "duration", "period"))


def check_integers(X: Any, given: Any, dtype: str, key: Key | None = None) -> None:
    """Raise ValueError if ``X`` holds integers that change when they are stored as floats.

    Parameters
    ----------
    X : ndarray, CSR matrix or DatasetReader
        Checked features.
    given : array-like
        Features as the user gave them: a frame of integers and floats is an array of floats.
    dtype : {"float32", "float64", "int64"}
        Dtype in which the module gets the rows.
    key : str, int or None, default=None
        Name or position of the input, for messages; None for a single one.

    Raises
    ------
    ValueError
        If there are such integers; the message names one, and the ways out.
    """
    if dtype == "int64":  # which holds integers as they are, unless a float was in between
        dtype = X.dtype.name if hasattr(given, "columns") and X.dtype.kind == "f" else dtype
    if dtype == "int64":
        return
    whole = "X" if key is None else f"X[{key!r}]"
    if hasattr(given, "columns"):
        dtypes = getattr(given, "dtypes", ())
        wide = [c for c, t in zip(given.columns, dtypes, strict=False) if _is_wide_integer(t)]
        parts = [(f"column {name!r} of {whole}", np.asarray(given[name])) for name in wide]
    else:
        values = X.data if hasattr(X, "indptr") else X
        parts = [(whole, values)] if _is_wide_integer(values.dtype) else []
    for name, values in parts:
        if values.dtype.kind not in "iu" or not values.size:
            continue  # nullable integers, some of which are missing
        if int(values.min()) >= -(2**24) and int(values.max()) <= 2**24:
            continue
        changed = values.astype(dtype).astype(values.dtype) != values
        if changed.any():
            raise ValueError(inexact(name, int(values[changed].flat[0]), dtype))


def check_rows(
    X: Any, given: Any, net: Net, once: Callable[..., Any] = lambda check, args: check(*args)
) -> None:
    """Raise ValueError if the module would get other integers than ``X`` holds, or unknown ones.

    Parameters
    ----------
    X : ndarray, CSR matrix, DatasetReader or Inputs
        Checked features. Rows of a Dataset are checked as they are read.
    given : array-like or Inputs
        Features as the user gave them.
    net : Net
        Net that gets the rows, which knows in which dtype.
    once : callable(function, arguments), optional
        Function that calls another one, or knows its result from another fit on the same data.

    Raises
    ------
    ValueError
        If integers would change, or if an embedding has no row for some identifiers.
    """
    if isinstance(X, DatasetReader):
        return
    if isinstance(X, Inputs):
        for key in X.parts:
            # arrays of one length were made sequences because the fit had sequences
            own = given.parts[key] if isinstance(given, Inputs) else given
            _check_part(key, X, own, net, once)
        return
    encoder, dtype = net.encoder_, net.input_dtype
    if encoder is not None and not (hasattr(X, "indptr") and encoder.keeps_zeros):
        dtype = torch.float64  # in which an encoder subtracts the centre
    once(check_integers, (X, given, str(dtype).removeprefix("torch.")))
    if net.lookups:
        names, is_flat = getattr(given, "columns", None), len(X.shape) == 2
        check_ids(once(bounds_of, (X,)), net.lookups, names, is_flat=is_flat)


def _check_part(key: Key, X: Inputs, given: Any, net: Net, once: Callable[..., Any]) -> None:
    """Raise ValueError as :func:`check_rows` does, for one of several inputs."""
    part = X.parts[key]
    assert isinstance(net.input_dtype, dict)
    name = str(net.input_dtype[key]).removeprefix("torch.")
    encoder = None if net.tables is None else net.tables.encoders.get(key)
    if encoder is not None and not (hasattr(part, "indptr") and encoder.keeps_zeros):
        name = "float64"  # in which an encoder subtracts the centre
    lookups = [lookup for lookup in net.lookups if lookup.part == key]
    if isinstance(part, Sequences):
        alone = is_one_sequence(X.input_shape)
        once(check_integers, (part.flat, part.flat, name, None if alone else key))
        if lookups:
            steps = part.flat.reshape(len(part.flat), -1)
            own = [lookup.in_steps(steps.shape[1]) for lookup in lookups]
            whole = "X" if alone else f"X[{key!r}]"
            check_ids(once(bounds_of, (steps,)), own, whole=f"the steps of {whole}")
        return
    once(check_integers, (part, given, name, key))
    if lookups:
        names = getattr(given, "columns", None)
        bounds, whole = once(bounds_of, (part,)), f"X[{key!r}]"
        check_ids(bounds, lookups, names, is_flat=part.ndim == 2, whole=whole)


def _is_wide_integer(dtype: Any) -> bool:
    """Return whether a dtype of numpy, pandas or polars holds integers above 2**24."""
    if not hasattr(dtype, "kind"):  # polars
        return str(dtype) in ("Int32", "Int64", "UInt32", "UInt64")
    return bool(dtype.kind in "iu" and dtype.itemsize >= 4)


def _columns_without_numbers(X: Any) -> list[str]:
    """Names of the columns of a data frame that do not convert to float."""
    names = getattr(X, "columns", None)
    if names is None:
        return []
    wrong = []
    for name in names:
        if getattr(getattr(X[name], "dtype", None), "kind", "O") in "biuf":
            continue  # which pandas 2 does not convert where nullable numbers are missing
        try:
            is_number = np.asarray(X[name]).dtype.kind not in "mM"  # dates would convert silently
            np.asarray(X[name], dtype=np.float64)
        except (ValueError, TypeError):
            is_number = False
        if not is_number:
            wrong.append(str(name))
    return wrong
