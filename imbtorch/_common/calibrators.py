"""Maps from probabilities to calibrated ones, fitted by log loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

__all__ = ["CALIBRATORS", "Calibrator", "best_method"]

Floats = NDArray[np.float64]
# Strength of the penalty that pulls the parameters towards no change, in rows. It keeps them
# finite for separable data; a hundredth of a row is negligible beside any class with rows.
_PULL = 0.01


class Calibrator(ABC):
    """A map of log-probabilities, with parameters ``theta``.

    Attributes
    ----------
    classes : int or None
        Number of classes that it needs; None for any.
    """

    classes: ClassVar[int | None] = None

    @abstractmethod
    def start(self, n_classes: int) -> Floats:
        """Return the parameters that change nothing."""

    @abstractmethod
    def scores(self, log_proba: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """Return scores, ``(n, c)``, and their derivatives, ``(len(theta), n, c)``."""

    def bounds(self, n_classes: int) -> list[tuple[float | None, float | None]] | None:
        """Return bounds of the parameters; None without any."""
        return None

    def fit(self, log_proba: Floats, codes: NDArray[Any], weights: Floats) -> Floats:
        """Find the parameters with the smallest log loss.

        Parameters
        ----------
        log_proba : ndarray of shape (n, n_classes)
            Log-probabilities.
        codes : ndarray of int, shape (n,)
            True classes.
        weights : ndarray of shape (n,)
            Row weights.

        Returns
        -------
        ndarray
            The parameters.
        """
        n_classes, rows = log_proba.shape[1], np.arange(len(codes))
        shares, pull = weights / weights.sum(), _PULL / weights.sum()
        identity = self.start(n_classes)

        def objective(theta: Floats) -> tuple[float, Floats]:
            scores, slopes = self.scores(log_proba, theta)
            fitted = log_softmax(scores, axis=1)
            gradient = np.exp(fitted)
            gradient[rows, codes] -= 1
            gradient *= shares[:, None]
            away = theta - identity
            loss = float(-shares @ fitted[rows, codes]) + pull / 2 * float(away @ away)
            return loss, np.einsum("pnc,nc->p", slopes, gradient) + pull * away

        found = minimize(
            objective,
            identity,
            jac=True,
            method="L-BFGS-B",
            bounds=self.bounds(n_classes),
            options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9},
        )
        best: Floats = found.x
        return best

    def apply(self, log_proba: Floats, theta: Floats) -> Floats:
        """Return calibrated log-probabilities, ``(n, n_classes)``."""
        calibrated: Floats = log_softmax(self.scores(log_proba, theta)[0], axis=1)
        return calibrated


class Temperature(Calibrator):
    """``softmax(log p / T)``; the parameter is ``-log T``, so that T stays positive."""

    def start(self, n_classes: int) -> Floats:
        return np.zeros(1)

    def scores(self, log_proba: Floats, theta: Floats) -> tuple[Floats, Floats]:
        scores = log_proba * np.exp(theta[0])
        return scores, scores[None]


class Vector(Calibrator):
    """``softmax(a * log p + b)`` with a scale and a bias per class."""

    def start(self, n_classes: int) -> Floats:
        return np.repeat([1.0, 0.0], n_classes)

    def scores(self, log_proba: Floats, theta: Floats) -> tuple[Floats, Floats]:
        n_classes = log_proba.shape[1]
        slopes = np.zeros((2 * n_classes, *log_proba.shape))
        for c in range(n_classes):
            slopes[c, :, c], slopes[n_classes + c, :, c] = log_proba[:, c], 1
        return log_proba * theta[:n_classes] + theta[n_classes:], slopes


class _OfLogOdds(Calibrator):
    """Two classes: the log-odds become ``features @ theta``."""

    classes = 2

    @abstractmethod
    def features(self, log_proba: Floats) -> Floats:
        """Return what the new log-odds are linear in, ``(n, len(theta))``."""

    def scores(self, log_proba: Floats, theta: Floats) -> tuple[Floats, Floats]:
        features = self.features(log_proba)
        slopes = np.zeros((len(theta), *log_proba.shape))
        slopes[:, :, 1] = features.T
        return np.stack([np.zeros(len(features)), features @ theta], axis=1), slopes


class Beta(_OfLogOdds):
    """Beta calibration: log-odds ``a log p - b log(1 - p) + c`` with ``a, b >= 0``."""

    def start(self, n_classes: int) -> Floats:
        return np.array([1.0, 1.0, 0.0])

    def features(self, log_proba: Floats) -> Floats:
        return np.stack([log_proba[:, 1], -log_proba[:, 0], np.ones(len(log_proba))], axis=1)

    def bounds(self, n_classes: int) -> list[tuple[float | None, float | None]] | None:
        return [(0, None), (0, None), (None, None)]


class Quadratic(_OfLogOdds):
    """Log-odds ``a z + b z |z| + c`` of the log-odds z, with ``a >= 0``.

    A negative b makes extreme scores less extreme; it changes the order of those beyond
    ``a / (2 |b|)``.
    """

    def start(self, n_classes: int) -> Floats:
        return np.array([1.0, 0.0, 0.0])

    def features(self, log_proba: Floats) -> Floats:
        z = log_proba[:, 1] - log_proba[:, 0]
        return np.stack([z, z * np.abs(z), np.ones(len(z))], axis=1)

    def bounds(self, n_classes: int) -> list[tuple[float | None, float | None]] | None:
        return [(0, None), (None, None), (None, None)]


CALIBRATORS: dict[str, Calibrator] = {
    "temperature": Temperature(),
    "vector": Vector(),
    "beta": Beta(),
    "quadratic": Quadratic(),
}
_FOLDS = 5


def best_method(log_proba: Floats, codes: NDArray[Any], weights: Floats) -> str:
    """Return the name of the map with the smallest log loss on rows that it was not fitted on.

    Parameters
    ----------
    log_proba, codes, weights
        As for :meth:`Calibrator.fit`.

    Returns
    -------
    str
        A name in ``CALIBRATORS``; of two equally good ones the one with fewer parameters.
    """
    n_classes, rows = log_proba.shape[1], np.arange(len(codes))
    rank = np.empty(len(codes), dtype=np.intp)  # every fold gets its share of each class
    rank[np.argsort(codes, kind="stable")] = rows
    fold = rank % _FOLDS
    losses = {}
    for name, calibrator in CALIBRATORS.items():
        if calibrator.classes not in (None, n_classes):
            continue
        loss = 0.0
        for k in range(_FOLDS):
            train, test = fold != k, fold == k
            if not weights[train].sum() or not test.any():
                continue
            theta = calibrator.fit(log_proba[train], codes[train], weights[train])
            fitted = calibrator.apply(log_proba[test], theta)
            loss -= float(weights[test] @ fitted[np.arange(test.sum()), codes[test]])
        losses[name] = loss
    return min(losses, key=lambda name: losses[name])
