"""
Rare targets in regression: expensive houses
============================================

Most houses cost about the same, and a few cost much more. A net that minimises the mean error
learns the price of most houses. This page compares losses, and weights by the density of the
target, on Boston housing where it is found, else on synthetic data with a long tail of targets.
"""

import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import KFold
from torch import nn

from imbtorch import ImbalancedNetRegressor
from imbtorch.density import dense_weights
from imbtorch.losses.regression import BalancedMSELoss
from imbtorch.metrics import error_by_density

quick = "--quick" in sys.argv  # little data and few epochs

# %%
# Data
# ----
# The environment variable ``IMBTORCH_DATA`` names the folder of the data.

folder = Path(os.environ.get("IMBTORCH_DATA", "."))
if (folder / "housing.csv").is_file():
    name = "Boston housing"
    table = np.genfromtxt(folder / "housing.csv", delimiter=",")
    X, y = table[:, :-1], table[:, -1]
else:
    name = "synthetic prices"
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 8))
    y = 20 * np.exp(X @ rng.normal(size=8) / 6) + rng.normal(size=600)
print(f"{name}: {X.shape[0]} rows, {X.shape[1]} features, prices {y.min():g} to {y.max():g}")

# %%
# Weights by density
# ------------------
# DenseWeight gives a row more weight if fewer targets are near its own; the mean weight is 1. At
# the most common price, the weight is near 0.

weights = dense_weights(y)
order = np.argsort(y)
fig, ax = plt.subplots(figsize=(7, 3.6))
ax.hist(y, bins=np.arange(0, y.max() + 2.5, 2.5), color="#56B4E9", edgecolor="white")
ax.set(xlabel="price, 1,000 dollars", ylabel="rows")
twin = ax.twinx()
twin.plot(y[order], weights[order], color="#D55E00", linewidth=2)
twin.set_ylabel("weight of a row", color="#D55E00")
twin.set_ylim(bottom=0)
twin.grid(visible=False)
twin.spines["right"].set_visible(True)

# %%
# Losses and weights
# ------------------
# The net begins with batch normalisation, has dropout and stops early. Errors are mean absolute
# errors, over all test rows and over ranges of the price with many (more than 25), medium and few
# (less than 8) training rows in a bin of 2.5.


def normalised_net(input_shape, n_outputs):
    """Build a net that scales its own inputs."""
    return nn.Sequential(
        *(nn.BatchNorm1d(input_shape[0]), nn.Linear(input_shape[0], 64), nn.ReLU()),
        *(nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, n_outputs)),
    )


STRATEGIES = {
    "squared error": {"loss": "mse"},
    "absolute error": {"loss": "l1"},
    "Huber": {"loss": "huber"},
    "focal-R": {"loss": "focal_r"},
    "balanced MSE": {"loss": BalancedMSELoss("gai")},
    "LDS weights": {"loss": "mse", "density_weight": "lds"},
    "DenseWeight": {"loss": "mse", "density_weight": "dense_weight"},
}
GROUPS = ("many", "medium", "few")
errors, guesses = {}, {}
print(f"{'':<18}{'R2':>8}{'error':>8}" + "".join(f"{group:>8}" for group in GROUPS))
for strategy, parameters in STRATEGIES.items():
    rows, guess = [], np.empty(len(y))
    for train, test in KFold(5, shuffle=True, random_state=0).split(X):
        net = ImbalancedNetRegressor(
            normalised_net, max_epochs=4 if quick else 80, lr=1e-2, early_stopping=True,
            patience=15, random_state=0, **parameters,
        ).fit(X[train], y[train])  # fmt: skip
        guess[test] = net.predict(X[test])
        by_group = error_by_density(
            y[test], guess[test], y[train], bin_width=2.5, thresholds=(8, 25)
        )
        rows.append(
            [
                r2_score(y[test], guess[test]),
                mean_absolute_error(y[test], guess[test]),
                *(by_group[group] for group in GROUPS),
            ]
        )
    means = np.nanmean(rows, axis=0)
    errors[strategy], guesses[strategy] = means[2:], guess
    print(f"{strategy:<18}" + "".join(f"{mean:>8.2f}" for mean in means))

# %%
# On Boston housing the remedies help little. Huber has the least error where there are few houses,
# and no larger errors elsewhere. Weights and balanced MSE predict most houses less accurately, and
# the few ones only a little better; DenseWeight does not even do that. Only about twenty houses are
# in the column "few", so that differences of a few tenths there may be chance. So measure before
# you use weights.

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
for (strategy, values), marker in zip(errors.items(), "os^vDPX", strict=True):
    left.plot(GROUPS, values, marker=marker, label=strategy, linewidth=1.2)
left.set(xlabel="training rows at that price", ylabel="mean absolute error, 1,000 dollars")
left.set_ylim(bottom=0)
left.legend(fontsize=9)
for strategy, marker, colour in (
    ("squared error", "o", "#000000"),
    ("DenseWeight", "s", "#D55E00"),
):
    right.plot(y, guesses[strategy], marker, color=colour, markersize=3, alpha=0.5, label=strategy)
right.plot([y.min(), y.max()], [y.min(), y.max()], color="0.5", linewidth=1)
right.set(xlabel="price, 1,000 dollars", ylabel="prediction for test rows, 1,000 dollars")
right.legend(markerscale=2, loc="upper left")

plt.show()
