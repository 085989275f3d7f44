"""Imbalanced data for the examples: bundled with scikit-learn, a CSV file, card fraud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from shared_files import shared_file
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedKFold
from sklearn.utils.multiclass import type_of_target

N_FOLDS = 5
FRAUD_FILE = "fraud_transactions.npz"
FRAUD_STARTS = (80, 87, 94)  # the Handbook's validation folds but one


class DataError(ValueError):
    """The data cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class DataSet:
    """Rows, and which of them train and test.

    Parameters
    ----------
    name : str
        Title.
    key : str
        Prefix of file names.
    X : ndarray of shape (n, n_features)
        Features.
    y : ndarray of int, shape (n,)
        Classes, the most frequent one 0 and the rarest one last.
    labels : list of str
        Names of the classes.
    folds : list of (ndarray, ndarray)
        Positions of the training and the test rows.
    protocol : str
        How the folds were made.
    """

    name: str
    key: str
    X: NDArray[Any]
    y: NDArray[np.intp]
    labels: list[str]
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]]
    protocol: str

    @property
    def summary(self) -> str:
        """Rows and rare rows, in words."""
        n, rare = len(self.y), np.count_nonzero(self.y == self.y.max())
        return f"{n:,} rows, {rare:,} of class {self.labels[-1]} ({rare / n:.1%})"

    @property
    def smallest_training_class(self) -> int:
        """Rows of the rarest class in the fold that has fewest of them."""
        return min(int(np.bincount(self.y[train]).min()) for train, _ in self.folds)

    def first_folds(self, n: int) -> DataSet:
        """Use only the first ``n`` folds."""
        return replace(self, folds=self.folds[:n], protocol=f"{n} of {self.protocol}")


def from_arrays(name: str, key: str, X: NDArray[Any], labels: ArrayLike) -> DataSet:
    """Order the classes by frequency and draw stratified folds.

    Parameters
    ----------
    name, key : str
        See :class:`DataSet`.
    X : ndarray of shape (n, n_features)
        Features.
    labels : array-like of shape (n,)
        Class of each row, of any type.

    Raises
    ------
    DataError
        If there is only one class, or one too rare for the folds.
    """
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise DataError(f"the target has one class only, {str(classes[0])!r}; two are the least.")
    if counts.min() < N_FOLDS:
        raise DataError(
            f"class {str(classes[counts.argmin()])!r} has {counts.min()} rows, fewer than the "
            f"{N_FOLDS} folds. Leave it out, or merge it with another class."
        )
    order = np.argsort(-counts, kind="stable")
    y = np.argsort(order)[codes]
    repeats = 2 if len(y) < 5_000 else 1
    cv = RepeatedStratifiedKFold(n_splits=N_FOLDS, n_repeats=repeats, random_state=0)
    protocol = f"{N_FOLDS} stratified folds" + (", drawn twice" if repeats == 2 else "")
    if len(y) > 50_000:
        cv, protocol = StratifiedKFold(3, shuffle=True, random_state=0), "3 stratified folds"
    names = [str(label) for label in classes[order]]
    return DataSet(name, key, X, y, names, list(cv.split(X, y)), protocol)


def keep(labels: NDArray[Any], counts: dict[Any, int], seed: int = 0) -> NDArray[np.intp]:
    """Choose at random ``counts[label]`` rows of each label, all rows of the others."""
    rng = np.random.default_rng(seed)
    rows = [
        rng.permutation(np.flatnonzero(labels == label))[: counts.get(label)]
        for label in np.unique(labels)
    ]
    return np.sort(np.concatenate(rows))


def one_digit() -> DataSet:
    """Images of digits: an 8, or not; 2 % are."""
    X, digit = load_digits(return_X_y=True)
    labels = np.where(digit == 8, "8", "other")
    rows = keep(labels, {"8": 33})
    return from_arrays("Digits, 8 or not", "digit_8", X[rows], labels[rows])


def long_tailed_digits() -> DataSet:
    """Images of the ten digits, each one rarer than the one before it."""
    X, digit = load_digits(return_X_y=True)
    rows = keep(digit, {label: round(170 * 17 ** (-label / 9)) for label in range(10)})
    return from_arrays("Digits, long tail", "digits_long_tail", X[rows], digit[rows])


def rare_tumours() -> DataSet:
    """Breast tumours, 5 % malignant."""
    data = load_breast_cancer()
    labels = data.target_names[data.target]
    rows = keep(labels, {"malignant": 19})
    return from_arrays("Breast tumours", "breast_tumours", data.data[rows], labels[rows])


def prequential_folds(
    day: NDArray[Any], customer: NDArray[Any], y: NDArray[Any], starts: tuple[int, ...]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Train on 7 days, wait 7 days for the feedback, test on 7 days.

    Test rows leave out customers whose card is already known to be compromised.

    References
    ----------
    .. [1] Le Borgne et al. (2022). "Reproducible Machine Learning for Credit Card Fraud Detection
           - Practical Handbook". Chapter 5.
    """
    for start in starts:
        tests = []
        for shift in range(7):
            known = (y == 1) & (day >= start) & (day <= start + 6 + shift)
            today = np.flatnonzero(day == start + 14 + shift)
            tests.append(today[~np.isin(customer[today], customer[known])])
        yield np.flatnonzero((day >= start) & (day < start + 7)), np.concatenate(tests)


def card_fraud(path: Path) -> DataSet:
    """Card transactions of the Fraud Detection Handbook, in the order of time."""
    with np.load(path) as data:
        day = data["day"]
        rows = np.flatnonzero((day >= FRAUD_STARTS[0]) & (day < FRAUD_STARTS[-1] + 21))
        X, y = data["X"][rows], data["y"][rows].astype(np.intp)
        folds = list(prequential_folds(day[rows], data["customer"][rows], y, FRAUD_STARTS))
    protocol = f"{len(folds)} times: train on 7 days, skip 7, test on 7"
    return DataSet("Card fraud", "card_fraud", X, y, ["genuine", "fraud"], folds, protocol)


def find_fraud() -> Path | None:
    """Look in ``$IMBTORCH_DATA``, or in ``../shared/data`` beside the checkout."""
    return shared_file(FRAUD_FILE)


def from_csv(path: Path, target: str, *, header: bool = True) -> DataSet:
    """Read a table of numbers with one column of classes.

    Parameters
    ----------
    path : Path
        Anything that :func:`pandas.read_csv` reads.
    target : str
        Name of the column of classes; its position where there is no header, -1 being the last.
    header : bool, default=True
        Whether the first line holds the names of the columns.

    Raises
    ------
    DataError
        If the file or the column is missing, or its content does not suit.
    """
    table = _read_table(path, header)
    target = _find_column(list(table.columns), target, header)
    labels, features = table[target], table.drop(columns=target)
    words = [str(name) for name in features.select_dtypes(exclude=["number", "bool"]).columns]
    if words:
        raise DataError(
            f"columns that are not numbers: {', '.join(words)}. Encode them, for example with "
            "pandas.get_dummies, or leave them out."
        )
    gaps = [str(name) for name in table.columns if table[name].isna().any()]
    if gaps:
        raise DataError(
            f"columns with missing values: {', '.join(gaps)}. Drop those rows, or fill them in, "
            "for example with sklearn.impute.SimpleImputer."
        )
    if type_of_target(labels.to_numpy()) not in {"binary", "multiclass"}:
        raise DataError(f"column {target!r} is continuous; this comparison needs classes.")
    X = features.to_numpy(dtype=np.float64)
    if X.shape[1] == 0:
        raise DataError(f"there is no column besides the target {target!r}.")
    if not np.isfinite(X).all():
        raise DataError("some values are infinite. Replace them, or leave out those rows.")
    return from_arrays(path.stem, path.stem, X, labels.to_numpy().astype(str))


def _read_table(path: Path, header: bool) -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise DataError("reading a CSV file needs pandas: pip install 'imbtorch[demo]'") from error
    if not path.is_file():
        raise DataError(f"there is no file {path}.")
    try:
        table = pd.read_csv(path, header=0 if header else None, skipinitialspace=True)
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"{path} is not readable as CSV: {str(error).strip()}") from error
    if table.empty:
        raise DataError(f"{path} has no rows.")
    return table


def _find_column(columns: list[Any], target: str, header: bool) -> Any:
    if header and target in columns:
        return target
    if not header:
        try:
            return columns[int(target)]
        except (ValueError, IndexError):
            pass
    known = ", ".join(map(str, columns[:20])) + (", ..." if len(columns) > 20 else "")
    hint = "" if header else " (without a header columns are numbers, -1 the last)"
    raise DataError(f"there is no column {target!r}{hint}. Columns: {known}.")
