"""Sequences: an LSTM finds closed eyes in EEG, where closures are made rare.

Half a second of 14 channels is one row of shape (64, 14); the label is the state of the eyes at its
end. Two-second blocks go to the folds in turn, so that no window is split. A synthetic stand-in
is used where the data are not at hand::

    python examples/eye_state_sequences.py

Class weights act on torch's losses as on ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shared_files import shared_file
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss
from torch import Tensor, nn

from imbtorch import ImbalancedNetClassifier
from imbtorch.losses import FocalLoss

LENGTH, STEP, BLOCK, N_FOLDS = 64, 4, 256, 4  # samples at 128 Hz
CLOSED_SHARE = 0.1


class Recurrent(nn.Module):
    """One LSTM layer, and a linear layer on its last state."""

    def __init__(self, input_shape: tuple[int, int], n_outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_shape[1], 24, batch_first=True)
        self.head = nn.Linear(24, n_outputs)

    def forward(self, x: Tensor) -> Tensor:  # (n, time, channels) -> (n, n_outputs)
        logits: Tensor = self.head(self.lstm(x)[0][:, -1])
        return logits


def recording() -> tuple[str, NDArray[np.float32], NDArray[np.int64]]:
    """Load the channels, robustly scaled, and the state at each moment."""
    path = shared_file("eeg_eye_state.csv")
    if path is None:
        rng = np.random.default_rng(0)
        state = np.repeat(rng.integers(0, 2, 60), 256)
        signal = rng.normal(size=(len(state), 14)) + 1.5 * state[:, None] * rng.normal(size=14)
        return "synthetic signals", signal.astype(np.float32), state
    table = np.genfromtxt(path, delimiter=",", skip_header=1)
    signal, state = table[:, :-1], table[:, -1].astype(np.int64)
    low, middle, high = np.percentile(signal, [25, 50, 75], axis=0)
    scaled = np.clip((signal - middle) / (high - low), -5, 5)  # a few sensor spikes
    return "EEG", scaled.astype(np.float32), state


def windows(
    signal: NDArray[np.float32], state: NDArray[np.int64], seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.str_], NDArray[np.int64]]:
    """Cut windows, thin out the closures, and give the fold of each window."""
    starts = np.arange(0, len(state) - LENGTH, STEP)
    inside = starts // BLOCK == (starts + LENGTH - 1) // BLOCK
    starts = starts[inside]
    closed = state[starts + LENGTH - 1] == 1
    n_closed = round(CLOSED_SHARE / (1 - CLOSED_SHARE) * (~closed).sum())
    kept = np.random.default_rng(seed).permutation(np.flatnonzero(closed))[:n_closed]
    chosen = np.sort(np.concatenate([np.flatnonzero(~closed), kept]))
    X = np.stack([signal[start : start + LENGTH] for start in starts[chosen]])
    return X, np.where(closed[chosen], "closed", "open"), starts[chosen] // BLOCK % N_FOLDS


STRATEGIES: dict[str, dict[str, Any]] = {
    "cross-entropy": {"loss": "cross_entropy"},
    "cross-entropy, balanced": {"loss": "cross_entropy", "class_weight": "balanced"},
    "torch's L1 loss, balanced": {"loss": torch.nn.L1Loss(), "class_weight": "balanced"},
    "focal, square-root weights": {"loss": FocalLoss(1.0), "class_weight": "sqrt"},
    "logit adjustment": {"loss": "logit_adjusted"},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15, help="of each net (%(default)s)")
    args = parser.parse_args(argv)
    name, signal, state = recording()
    X, y, fold = windows(signal, state)
    is_closed = y == "closed"
    print(f"{name}: {len(y):,} windows of shape {X.shape[1:]}, {is_closed.mean():.1%} closed")
    print(f"{'':<28}{'average precision':>18}{'balanced accuracy':>19}{'Brier score':>13}")
    for strategy, parameters in STRATEGIES.items():
        proba, predicted = np.empty(len(y)), np.empty(len(y), dtype=y.dtype)
        for k in range(N_FOLDS):
            train, test = fold != k, fold == k
            net = ImbalancedNetClassifier(
                Recurrent, max_epochs=args.epochs, lr=5e-3, random_state=0, **parameters
            ).fit(X[train], y[train])
            predicted[test] = net.predict(X[test])
            if net.loss_.has_posterior:  # probabilities for the data as they came
                net.set_params(target_prior="train")
            proba[test] = net.predict_proba(X[test])[:, 0]
        precision = average_precision_score(is_closed, proba)
        accuracy = balanced_accuracy_score(y, predicted)
        brier = brier_score_loss(is_closed, proba)
        print(f"{strategy:<28}{precision:>18.3f}{accuracy:>19.3f}{brier:>13.4f}")


if __name__ == "__main__":
    main()
