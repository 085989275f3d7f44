"""Imbalanced data for the examples: made up, bundled with scikit-learn, and card fraud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from shared_files import shared_file
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import StratifiedKFold

from imbtorch.datasets import make_payments

N_FOLDS = 5
FRAUD_FILE = "fraud_transactions.npz"
FRAUD_STARTS = (80, 87, 94)  # first training days of three of the Handbook's validation folds
FRAUD_EPOCHS = 10  # enough for the many rows of a fold, and half the time


@dataclass(frozen=True)
class DataSet:
    """Rows, and which of them train and test.

    Parameters
    ----------
    name : str
        Title.
    key : str
        Prefix of file names.
    X : ndarray or DataFrame of shape (n, n_features)
        Features.
    y : ndarray of int, shape (n,)
        Classes, the most frequent one 0 and the rarest one last.
    labels : list of str
        Names of the classes.
    folds : list of (ndarray, ndarray)
        Positions of the training and the test rows.
    protocol : str
        How the folds were made.
    max_epochs : int or "auto"
        Passes over the rows; ``"auto"`` lets folds inside of the training rows find the number.
    """

    name: str
    key: str
    X: Any
    y: NDArray[np.intp]
    labels: list[str]
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]]
    protocol: str
    max_epochs: int | str = 20

    @property
    def summary(self) -> str:
        """Numbers of rows and of rare rows, in words."""
        n, rare = len(self.y), np.count_nonzero(self.y == self.y.max())
        return f"{n:,} rows, {rare:,} of class {self.labels[-1]} ({rare / n:.1%})"

    @property
    def named_classes(self) -> NDArray[np.str_]:
        """Name of the class of each row."""
        return np.array(self.labels)[self.y]

    def first_folds(self, n: int) -> DataSet:
        """Use only the first ``n`` folds."""
        return replace(self, folds=self.folds[:n], protocol=f"{n} of {self.protocol}")


def from_arrays(name: str, key: str, X: Any, labels: ArrayLike) -> DataSet:
    """Order the classes by frequency and draw stratified folds.

    Parameters
    ----------
    name, key : str
        See :class:`DataSet`.
    X : ndarray or DataFrame of shape (n, n_features)
        Features.
    labels : array-like of shape (n,)
        Class of each row, of any type.
    """
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    y = np.argsort(order)[codes]
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(X, y))
    names = [str(label) for label in classes[order]]
    return DataSet(name, key, X, y, names, folds, f"{N_FOLDS} stratified folds")


def keep(labels: NDArray[Any], counts: dict[Any, int], seed: int = 0) -> NDArray[np.intp]:
    """Choose at random ``counts[label]`` rows of each label, all rows of the others."""
    rng = np.random.default_rng(seed)
    rows = [
        rng.permutation(np.flatnonzero(labels == label))[: counts.get(label)]
        for label in np.unique(labels)
    ]
    return np.sort(np.concatenate(rows))


def payments() -> DataSet:
    """Make up card payments with columns of text and missing values; 3% are frauds."""
    X, y = make_payments(random_state=0)
    data = from_arrays("Card payments", "payments", X, np.where(y == 1, "fraud", "genuine"))
    return replace(data, protocol=f"{data.protocol} of made-up rows")


def one_digit() -> DataSet:
    """Load images of digits: an 8, or not; 2% are an 8."""
    X, digit = load_digits(return_X_y=True)
    labels = np.where(digit == 8, "8", "other")
    rows = keep(labels, {"8": 33})
    return from_arrays("Digits, 8 or not", "digit_8", X[rows], labels[rows])


def long_tailed_digits() -> DataSet:
    """Load images of the ten digits, each one rarer than the one before it."""
    X, digit = load_digits(return_X_y=True)
    rows = keep(digit, {label: round(170 * 17 ** (-label / 9)) for label in range(10)})
    return from_arrays("Digits, long tail", "digits_long_tail", X[rows], digit[rows])


def rare_tumours() -> DataSet:
    """Load measurements of breast tumours, of which 5% are malignant."""
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
    """Load card transactions of the Fraud Detection Handbook, in the order of time."""
    with np.load(path) as data:
        day = data["day"]
        rows = np.flatnonzero((day >= FRAUD_STARTS[0]) & (day < FRAUD_STARTS[-1] + 21))
        X, y = data["X"][rows], data["y"][rows].astype(np.intp)
        folds = list(prequential_folds(day[rows], data["customer"][rows], y, FRAUD_STARTS))
    protocol = f"{len(folds)} times: train on 7 days, skip 7, test on 7"
    labels = ["genuine", "fraud"]
    return DataSet("Card fraud", "card_fraud", X, y, labels, folds, protocol, FRAUD_EPOCHS)


def find_fraud() -> Path | None:
    """Return the path of the card fraud data, or None if they are not here."""
    return shared_file(FRAUD_FILE)
