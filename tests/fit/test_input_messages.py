"""What estimators say of data and modules that they cannot use."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import cross_val_score
from torch import nn
from torch.utils.data import TensorDataset

from imbtorch import ImbalancedNetRegressor
from tests.toy import small, table

X, Y = table(60)
WORDS = pd.Series(np.where(Y == 1, "b", "a"), dtype="string")


class Embedding(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.table, self.out = nn.Embedding(9, 2), nn.Linear(2 * input_shape[0], n_outputs)

    def forward(self, x):
        return self.out(self.table(x).flatten(1))


class Pair(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.out = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        return x, self.out(x)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"image": X, "table": X}, "one array"),
        ([[1.0] * (1 + i % 3) for i in range(60)], "different lengths"),
        (torch.tensor(X).bfloat16(), "float32"),
    ],
)
def test_features(features, message):
    for estimator in (small(), ImbalancedNetRegressor()):
        with pytest.raises(ValueError, match=message):
            estimator.fit(features, Y)
    with pytest.raises(ValueError, match=message):
        small().partial_fit(features, Y, classes=[0, 1])
    with pytest.raises(ValueError, match=message):
        small(max_epochs=1).fit(X, Y).predict(features)


def test_missing_labels():
    with pytest.raises(ValueError, match="1 missing values"):
        small().fit(X, WORDS.where(np.arange(60) > 0, pd.NA))


def test_a_dataset_in_cross_validation():
    data = TensorDataset(torch.tensor(X), torch.tensor(Y))
    with pytest.raises(ValueError, match="items of a torch Dataset"):
        cross_val_score(small(), data, Y, cv=3, error_score="raise")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Embedding, r"x\.long\(\)"),
        (Pair, r"returned \(2, \d\) for 2 rows"),
        (nn.Linear(5, 2).requires_grad_(False), "requires_grad"),
    ],
)
def test_modules(module, message):
    with pytest.raises(ValueError, match=message):
        small(module).fit(X, Y)
