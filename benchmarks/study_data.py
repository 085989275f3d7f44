"""The data sets of the study: tables with a class imbalance, thinned to several ratios."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import FRAUD_FILE, data_folder
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.model_selection import train_test_split

from imbtorch.datasets import make_long_tailed

MAX_ROWS = 4_000
Table = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Source:
    """A data set, and the imbalances at which it is studied.

    Parameters
    ----------
    load : callable
        Function that returns features and classes, or raises ``FileNotFoundError``.
    ratios : tuple of float or None
        Rows of the most frequent class for each row of the rarest; None keeps the ratio.
    about : str
        Description for the page.
    """

    load: Callable[[], Table]
    ratios: tuple[float | None, ...]
    about: str


def _csv(name: str, header: bool = False) -> tuple[NDArray[np.float64], NDArray[Any]]:
    with (data_folder() / name).open(newline="") as file:
        rows = list(csv.reader(file))[int(header) :]
    table = np.array([[cell.strip("' ") for cell in row] for row in rows if row])
    return table[:, :-1].astype(np.float64), table[:, -1]


def mammography() -> Table:
    X, label = _csv("mammography.csv")
    return X.astype(np.float32), (label == "1").astype(np.int64)


def phoneme() -> Table:
    X, label = _csv("phoneme.csv")
    return X.astype(np.float32), (label == "1").astype(np.int64)


def eye_state() -> Table:
    X, label = _csv("eeg_eye_state.csv", header=True)
    middle = np.median(X, axis=0)
    kept = (np.abs(X - middle) < 500).all(axis=1)  # without the spikes of a few sensors
    return X[kept].astype(np.float32), (label[kept] == "1").astype(np.int64)


def housing() -> Table:
    """Load houses; the rare class is those that cost more than nine of ten."""
    X, price = _csv("housing.csv")
    value = price.astype(np.float64)
    return X.astype(np.float32), (value > np.quantile(value, 0.9)).astype(np.int64)


def card_fraud() -> Table:
    """Load a week of transactions."""
    with np.load(data_folder() / FRAUD_FILE) as data:
        week = (data["day"] >= 115) & (data["day"] < 122)
        return data["X"][week], data["y"][week].astype(np.int64)


def mnist() -> Table:
    """Load images of digits, as means over squares of 4 x 4 pixels."""
    with gzip.open(data_folder() / "mnist-t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 7, 4, 7, 4)
    with gzip.open(data_folder() / "mnist-t10k-labels-idx1-ubyte.gz") as file:
        digit = np.frombuffer(file.read(), np.uint8, offset=8)
    means = pixels.mean(axis=(2, 4)).reshape(len(digit), 49)
    return means.astype(np.float32), digit.astype(np.int64)


def digits() -> Table:
    X, digit = load_digits(return_X_y=True)
    return X.astype(np.float32), digit.astype(np.int64)


def tumours() -> Table:
    data = load_breast_cancer()
    return data.data.astype(np.float32), (data.target == 0).astype(np.int64)  # malignant is rare


def synthetic() -> Table:
    X, y = make_classification(
        20_000, n_features=20, n_informative=8, n_clusters_per_class=3, flip_y=0.02, random_state=0
    )
    return X.astype(np.float32), y.astype(np.int64)


SOURCES = {
    "mammography": Source(mammography, (None, 100), "microcalcifications, 6 columns"),
    "card fraud": Source(card_fraud, (30, None), "a week of card transactions, 15 columns"),
    "phoneme": Source(phoneme, (10, 50), "nasal and oral sounds, 5 columns"),
    "eye state": Source(eye_state, (10, 100), "EEG of open and closed eyes, 14 columns"),
    "housing": Source(housing, (None,), "houses that cost more than nine of ten, 13 columns"),
    "tumours": Source(tumours, (15,), "malignant among benign, 30 columns"),
    "digits": Source(digits, (5, 20), "ten digits of 8 x 8 pixels, long tail"),
    "MNIST": Source(mnist, (10, 100), "ten digits of 7 x 7 means, long tail"),
    "synthetic": Source(synthetic, (20, 100), "make_classification, 20 columns, 2% label noise"),
}


def thinned(table: Table, ratio: float | None, seed: int, max_rows: int = MAX_ROWS) -> Table:
    """Choose rows at random, for a ratio of the classes and a number of rows at most.

    Parameters
    ----------
    table : tuple of (ndarray, ndarray)
        Features and classes.
    ratio : float or None
        Rows of the most frequent class for each row of the rarest; None keeps the ratio.
    seed : int
        Seed of the random choice.
    max_rows : int
        Most rows to keep, with the class frequencies unchanged.
    """
    X, y = table
    if ratio is not None:
        classes, counts = np.unique(y, return_counts=True)
        order = classes[np.argsort(-counts, kind="stable")] if len(classes) == 2 else classes
        X, y = make_long_tailed(X, y, ratio, class_order=order.tolist(), random_state=seed)
    if len(y) >= max_rows + len(np.unique(y)):  # else there is nothing to stratify
        X, _, y, _ = train_test_split(X, y, train_size=max_rows, stratify=y, random_state=seed)
    return X, y
