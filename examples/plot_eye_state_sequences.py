"""
Class weights for any loss, on sequences: closed eyes in EEG
============================================================

An LSTM reads half a second of 14 EEG channels and predicts whether the eyes are closed at its end.
Closed eyes, such as blinks, are made rare: one window in ten. A net is trained with each of several
losses, one of them torch's own, without class weights and with ``class_weight="balanced"``: the
weights change the decisions with all of them. Synthetic data are used where the recording is not
found.
"""

import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.metrics import average_precision_score, recall_score
from torch import nn

from imbtorch import ImbalancedNetClassifier

quick = "--quick" in sys.argv  # little data and few epochs

# %%
# Windows
# -------
# The channels are averaged to 32 Hz and cut into windows of shape (16, 14). Neighbouring windows
# overlap. So each fold gets whole blocks of two seconds, and a window never lies in two blocks:
# else the net would be tested on samples that it was trained on. A random part of the windows with
# closed eyes is kept. The environment variable ``IMBTORCH_DATA`` names the folder of the data.

LENGTH, STEP, BLOCK, N_FOLDS = 16, 2, 64, 4  # samples at 32 Hz
RARE_SHARE = 0.1

folder = Path(os.environ.get("IMBTORCH_DATA", "."))
if (folder / "eeg_eye_state.csv").is_file():
    name = "EEG"
    table = np.genfromtxt(folder / "eeg_eye_state.csv", delimiter=",", skip_header=1)
    signal, state = table[:, :-1], table[:, -1]
    low, middle, high = np.percentile(signal, [25, 50, 75], axis=0)
    signal = np.clip((signal - middle) / (high - low), -5, 5)  # bounds a few spikes of the sensors
else:
    name = "synthetic signals"
    rng = np.random.default_rng(0)
    state = np.repeat(rng.integers(0, 2, 60), 256)
    signal = rng.normal(size=(len(state), 14)) + 0.5 * state[:, None] * rng.normal(size=14)
n_samples = len(state) // 4
signal = signal[: 4 * n_samples].astype(np.float32).reshape(n_samples, 4, -1).mean(axis=1)
is_closed = state[3::4][:n_samples] == 1

starts = np.arange(0, n_samples - LENGTH, STEP)
ends = starts + LENGTH - 1
starts = starts[starts // BLOCK == ends // BLOCK]
closed = is_closed[starts + LENGTH - 1]
n_kept = round(RARE_SHARE / (1 - RARE_SHARE) * np.count_nonzero(~closed))
kept = np.random.default_rng(0).permutation(np.flatnonzero(closed))[:n_kept]
chosen = np.sort(np.concatenate([np.flatnonzero(~closed), kept]))

X = np.stack([signal[start : start + LENGTH] for start in starts[chosen]])
y = np.where(closed[chosen], "closed", "open")
fold = starts[chosen] // BLOCK % N_FOLDS
print(f"{name}: {len(y):,} windows of shape {X.shape[1:]}, {np.mean(y == 'closed'):.1%} closed")

# %%
# An LSTM, and a loop over losses
# -------------------------------
# Any torch module can be used. A class is called with ``input_shape`` and ``n_outputs``.


class Recurrent(nn.Module):
    """One LSTM layer, and a linear layer on its last state."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.lstm = nn.LSTM(input_shape[1], 16, batch_first=True)
        self.head = nn.Linear(16, n_outputs)

    def forward(self, x):  # (n, time, channels) -> (n, n_outputs)
        return self.head(self.lstm(x)[0][:, -1])


LOSSES = {
    "cross-entropy": "cross_entropy",
    "focal": "focal",
    "squared hinge": "squared_hinge",
    "torch's L1Loss": torch.nn.L1Loss(),
}
MEASURES = ("recall, closed", "recall, open", "average precision")


def measure(seed, **parameters):
    """Predict every fold by a net that is trained on the others."""
    predicted, scores = np.empty_like(y), np.empty(len(y))
    for k in range(N_FOLDS):
        test = fold == k
        net = ImbalancedNetClassifier(
            Recurrent, max_epochs=2 if quick else 15, lr=5e-3, random_state=seed, **parameters
        ).fit(X[~test], y[~test])
        predicted[test] = net.predict(X[test])
        scores[test] = net.predict_proba(X[test])[:, 0]  # of "closed", the first of classes_
    recalls = recall_score(y, predicted, labels=["closed", "open"], average=None)
    return [*recalls, average_precision_score(y == "closed", scores)]


n_seeds = 1 if quick else 3
results = {}
print(f"{'':<16}{'class_weight':<14}" + "".join(f"{measure:>20}" for measure in MEASURES))
for label, loss in LOSSES.items():
    for class_weight in (None, "balanced"):
        runs = [measure(seed, loss=loss, class_weight=class_weight) for seed in range(n_seeds)]
        means, spreads = np.mean(runs, axis=0), np.std(runs, axis=0)
        results[label, class_weight] = means
        cells = (f"{m:.3f} ± {s:.3f}" for m, s in zip(means, spreads, strict=True))
        print(f"{label:<16}{class_weight!s:<14}" + "".join(f"{cell:>20}" for cell in cells))

# %%
# What changes
# ------------
# With weights, the net finds more of the closed eyes, about one in two, and takes more of the open
# eyes for closed ones, whatever the loss: weights change decisions. They do not make the net more
# accurate: the average precision, which depends on the ranking only, does not change by more than
# the spread of the seeds (± is the standard deviation over seeds, of which there are few). Half a
# second of this recording says little about the eyes in another block, whatever the loss.

fig, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
rows = np.arange(len(LOSSES))
for ax, column, title in zip(axes, (0, 1), ("closed, the rare class", "open"), strict=True):
    before = np.array([results[label, None][column] for label in LOSSES])
    after = np.array([results[label, "balanced"][column] for label in LOSSES])
    ax.hlines(rows, before, after, color="0.6", linewidth=2)
    ax.plot(before, rows, "o", color="#D55E00", markersize=8, label="None")
    ax.plot(after, rows, "s", color="#0072B2", markersize=8, label='"balanced"')
    ax.set(xlabel=f"recall of {title}", xlim=(-0.03, 1.03))
axes[0].set_yticks(rows, LOSSES)
axes[0].set_ylim(len(LOSSES) - 0.5, -0.5)
fig.legend(*axes[0].get_legend_handles_labels(), title="class_weight", loc="outside right upper")

plt.show()
