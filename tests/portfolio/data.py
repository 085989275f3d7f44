"""Rows on which the tests train small portfolios."""

import numpy as np
from sklearn.datasets import make_classification

N = 240
X, Y = make_classification(
    N, 6, n_informative=4, n_redundant=0, weights=[0.8], flip_y=0.05, random_state=0
)
TARGETS = X[:, 0] ** 2 + np.random.default_rng(0).normal(size=N) / 4
SETTINGS = {"dtype": "float64", "batch_size": 32, "lr": 0.02, "max_epochs": 6}
