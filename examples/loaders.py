"""Data of the gallery: real data where they are found, else synthetic data of the same shape.

Each function returns the name of the data first, so that a table says what it was measured on.
"""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
from data_sets import FRAUD_FILE, prequential_folds
from numpy.typing import NDArray
from scipy import sparse
from shared_files import shared_file
from sklearn.datasets import load_digits, make_classification, make_multilabel_classification

FRAUD_START = 115  # first day of the Handbook's earliest test fold
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def recording() -> tuple[str, Floats, Ints]:
    """Load 14 channels of EEG, robustly scaled, and whether the eyes are closed, at 128 Hz."""
    path = shared_file("eeg_eye_state.csv")
    if path is None:
        rng = np.random.default_rng(0)
        state = np.repeat(rng.integers(0, 2, 60), 256)
        signal = rng.normal(size=(len(state), 14)) + 0.5 * state[:, None] * rng.normal(size=14)
        return "synthetic signals", signal.astype(np.float32), state
    table = np.genfromtxt(path, delimiter=",", skip_header=1)
    signal, state = table[:, :-1], table[:, -1].astype(np.int64)
    low, middle, high = np.percentile(signal, [25, 50, 75], axis=0)
    scaled = np.clip((signal - middle) / (high - low), -5, 5)  # bounds a few spikes of the sensors
    return "EEG", scaled.astype(np.float32), state


def tagged_entries() -> tuple[str, Any, Any]:
    """Load bibliography entries as CSR matrices of words and of tags."""
    path = shared_file("bibtex.npz")
    if path is None:
        X, Y = make_multilabel_classification(
            3000, 400, n_classes=60, n_labels=2, sparse=True, random_state=0
        )
        return "synthetic tags", sparse.csr_array(X, dtype=np.float32), sparse.csr_array(Y)
    with np.load(path) as data:
        X, Y = (
            sparse.csr_array(
                (
                    np.ones(len(data[f"{name}_indices"]), dtype=np.float32),
                    data[f"{name}_indices"],
                    data[f"{name}_indptr"],
                ),
                shape=tuple(data[f"{name}_shape"]),
            )
            for name in "XY"
        )
    return "bibtex", X, Y


def prices() -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Load features of districts and their median house prices, in 1,000 dollars."""
    path = shared_file("housing.csv")
    if path is not None:
        table = np.genfromtxt(path, delimiter=",")
        return "Boston housing", table[:, :-1], table[:, -1]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 8))
    signal = X @ rng.normal(size=8) / 3
    return "synthetic prices", X, 20 * np.exp(0.5 * signal) + rng.normal(size=600)


def images() -> tuple[str, Floats, Ints]:
    """Load images of shape (n, 1, height, width), with values in [0, 1], and their digits.

    The images of MNIST are halved, to 14 x 14 pixels: a net trains four times as fast on them.
    """
    pictures = shared_file("mnist-t10k-images-idx3-ubyte.gz")
    digits = shared_file("mnist-t10k-labels-idx1-ubyte.gz")
    if pictures is None or digits is None:
        X, y = load_digits(return_X_y=True)
        return "scikit-learn's digits", X.reshape(-1, 1, 8, 8).astype(np.float32) / 16, y
    with gzip.open(pictures) as file:
        raw = np.frombuffer(file.read(), np.uint8, offset=16)
    with gzip.open(digits) as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    halved = raw.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5)) / 255
    return "MNIST, 14 x 14 pixels", halved.astype(np.float32), y


def transactions() -> tuple[str, tuple[Floats, Ints], tuple[Floats, Ints]]:
    """Load card transactions: a week to train on, and a later week to test on.

    They are one fold of the Fraud Detection Handbook, by its protocol.
    """
    path = shared_file(FRAUD_FILE)
    if path is None:
        X, y = make_classification(
            60_000, 15, n_informative=6, weights=[0.99], flip_y=0.004, random_state=0
        )
        X, y = X.astype(np.float32), y.astype(np.int64)
        return "synthetic transactions", (X[:30_000], y[:30_000]), (X[30_000:], y[30_000:])
    with np.load(path) as data:
        X, y = data["X"], data["y"].astype(np.int64)
        ((train, test),) = prequential_folds(data["day"], data["customer"], y, (FRAUD_START,))
    return "card fraud", (X[train], y[train]), (X[test], y[test])
