"""Rare targets in regression: house prices, and what density weights do for the dear ones.

Boston housing where it is at hand, else a synthetic set with a long tail of targets. The net begins
with batch normalisation, has dropout, and stops early::

    python examples/rare_prices.py

Errors are mean absolute errors on ranges of the target with many, medium and few training rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shared_files import shared_file
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import KFold
from torch import nn

from imbtorch import ImbalancedNetRegressor
from imbtorch.losses.regression import BalancedMSELoss
from imbtorch.metrics import error_by_density


def prices() -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Load features and prices."""
    path = shared_file("housing.csv")
    if path is not None:
        table = np.genfromtxt(path, delimiter=",")
        return "Boston housing", table[:, :-1], table[:, -1]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 8))
    signal = X @ rng.normal(size=8) / 3
    return "synthetic prices", X, 20 * np.exp(0.5 * signal) + rng.normal(size=600)


def normalised_net(input_shape: tuple[int], n_outputs: int) -> nn.Sequential:
    """Build a net that scales its own inputs."""
    return nn.Sequential(
        *(nn.BatchNorm1d(input_shape[0]), nn.Linear(input_shape[0], 64), nn.ReLU()),
        *(nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, n_outputs)),
    )


STRATEGIES: dict[str, dict[str, Any]] = {
    "squared error": {"loss": "mse"},
    "absolute error": {"loss": "l1"},
    "Huber": {"loss": "huber"},
    "focal-R": {"loss": "focal_r"},
    "balanced MSE": {"loss": BalancedMSELoss("gai")},
    "LDS weights": {"loss": "mse", "density_weight": "lds"},
    "DenseWeight": {"loss": "mse", "density_weight": "dense_weight"},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100, help="at most (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="of 5 folds each (%(default)s)")
    args = parser.parse_args(argv)
    name, X, y = prices()
    print(f"{name}: {X.shape[0]} rows, {X.shape[1]} features, prices {y.min():g} to {y.max():g}")
    print(f"{'':<18}{'R2':>8}{'error':>8}{'many':>8}{'medium':>8}{'few':>8}")
    for strategy, parameters in STRATEGIES.items():
        rows = []
        for seed in range(args.seeds):
            for train, test in KFold(5, shuffle=True, random_state=seed).split(X):
                net = ImbalancedNetRegressor(
                    normalised_net, max_epochs=args.epochs, lr=1e-2, early_stopping=True,
                    patience=20, random_state=seed, **parameters,
                ).fit(X[train], y[train])  # fmt: skip
                guess = net.predict(X[test])
                groups = error_by_density(
                    y[test], guess, y[train], bin_width=2.5, thresholds=(8, 25)
                )
                errors = [groups[key] for key in ("many", "medium", "few")]
                rows.append(
                    [r2_score(y[test], guess), mean_absolute_error(y[test], guess), *errors]
                )
        means = np.nanmean(rows, axis=0)
        print(f"{strategy:<18}" + "".join(f"{mean:>8.2f}" for mean in means))


if __name__ == "__main__":
    main()
