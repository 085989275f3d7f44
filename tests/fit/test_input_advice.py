"""Data that no estimator can read: the error says what to do instead."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from imbtorch._fit.input_advice import explain_features, explain_labels
from tests.toy import small, table

X, Y = table(60)
ERROR = ValueError("could not be read")
DATASET = TensorDataset(torch.tensor(X), torch.tensor(Y))
RAGGED = [[1.0] * (1 + i % 3) for i in range(60)]
FEATURES = {
    "ragged lists": (RAGGED, r"different lengths, 1 to 3. A table .*np\.asarray\(row\)"),
    "items of a Dataset": ([DATASET[i] for i in range(9)], "items of a torch Dataset"),
    "bfloat16": (torch.tensor(X).bfloat16(), "float32"),
}
LABELS = {
    "pd.NA": (pd.Series(["a", pd.NA, "b"], dtype="string"), "1 missing values"),
    "None": (["a", None, "b", None], "2 missing values"),
    "pd.cut": (pd.Series(pd.cut(X[:, 0], 3)), r"type Interval.*labels=False"),
    "periods": (pd.Series(pd.period_range("2020", periods=3, freq="D")), "type Period"),
    "bfloat16": (torch.tensor(Y).bfloat16(), "float32"),
}


@pytest.mark.parametrize("name", FEATURES)
def test_unreadable_features_are_explained(name):
    given, message = FEATURES[name]
    with pytest.raises(ValueError, match=message) as caught:
        explain_features(given, ERROR)
    assert caught.value.__cause__ is ERROR


@pytest.mark.parametrize("name", LABELS)
def test_unreadable_labels_are_explained(name):
    given, message = LABELS[name]
    with pytest.raises(ValueError, match=message):
        explain_labels(given, ERROR)


@pytest.mark.parametrize("given", [X, X.tolist(), torch.tensor(X), pd.DataFrame(X), [], 3])
def test_other_features_are_left_to_the_first_error(given):
    explain_features(given, ERROR)


@pytest.mark.parametrize(
    "given", [Y, Y.tolist(), list("ab"), torch.tensor(Y), None, [True, False], 3.0]
)
def test_other_labels_are_left_to_the_first_error(given):
    explain_labels(given, ERROR)


@pytest.mark.parametrize(
    "labels", [pd.Series(pd.cut(X[:, 0], 3)), np.array([{i % 2} for i in range(60)], dtype=object)]
)
def test_the_classifier_says_what_labels_may_be(labels):
    with pytest.raises(ValueError, match=r"Unknown label type: y holds objects of type"):
        small().fit(X, labels)
