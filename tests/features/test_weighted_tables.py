"""A weight of 2 is a row given twice, and 0 a row left out, in all that learns of a table."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
)
from imbtorch.features import TableFeatures
from tests.features.tables import rare_buyers

FRAME, Y = rare_buyers()
NEW = rare_buyers(50, seed=1)[0].assign(town="a town that training did not have")
NEW.loc[::3, ["age", "job", "amount", "size"]] = [np.nan, None, np.nan, None]
EXACT = {"max_epochs": 3, "random_state": 0, "dtype": "float64", "batch_size": 10**6}
LABELS = np.stack([Y, FRAME["member"].astype(int), (FRAME["amount"] > 3e4).astype(int)], axis=1)
VALUES = np.log(FRAME["amount"].to_numpy())

CASES = {
    "classes": (ImbalancedNetClassifier(**EXACT), Y),
    "labels": (ImbalancedNetClassifier(**EXACT), LABELS),
    "unknown labels": (
        ImbalancedNetClassifier(**EXACT),
        np.where(np.arange(len(Y))[:, None] % 7 == [1, 2, 3], np.nan, LABELS),
    ),
    "values": (ImbalancedNetRegressor(**EXACT), VALUES),
    "several values": (ImbalancedNetRegressor(**EXACT), np.stack([VALUES, -VALUES], axis=1)),
    "balanced": (ImbalancedNetClassifier(class_weight="balanced", loss="focal", **EXACT), Y),
    "rare words together": (
        ImbalancedNetClassifier(features=TableFeatures(max_categories=20), **EXACT),
        Y,
    ),
    "share of the rows": (
        ImbalancedNetClassifier(features=TableFeatures(min_frequency=0.03), **EXACT),
        Y,
    ),
}


def outputs(model):
    return np.asarray(
        model.predict_proba(NEW) if hasattr(model, "classes_") else model.predict(NEW)
    )


@pytest.mark.parametrize("case", CASES)
def test_a_weight_is_a_row_given_so_many_times(case):
    model, y = CASES[case]
    weights = np.random.default_rng(0).integers(0, 4, len(Y))
    order = np.repeat(np.arange(len(Y)), weights)
    weighted = clone(model).fit(FRAME, y, sample_weight=weights)
    repeated = clone(model).fit(FRAME.iloc[order], y[order])
    np.testing.assert_allclose(outputs(weighted), outputs(repeated), rtol=0, atol=1e-10)


def with_odd_rows():
    """Add rows that would change everything that is learned, if they counted."""
    odd = FRAME.iloc[:20].copy()
    odd["amount"], odd["age"] = 1e12, 1e9
    odd["job"], odd["town"] = "a job of its own", [f"town of its own {i}" for i in range(20)]
    odd.loc[::2, "amount"] = np.nan
    odd["size"] = None
    frame = pd.concat([FRAME, odd], ignore_index=True)
    return frame.astype({"size": "category"}), np.r_[np.ones(len(FRAME)), np.zeros(len(odd))]


@pytest.mark.parametrize("case", [*CASES, "batches"])
def test_a_weight_of_zero_is_a_row_left_out(case):
    model, y = CASES.get(case, (ImbalancedNetClassifier(**{**EXACT, "batch_size": 64}), Y))
    frame, weights = with_odd_rows()
    weighted = clone(model).fit(frame, np.concatenate([y, y[:20]]), sample_weight=weights)
    without = clone(model).fit(frame[: len(FRAME)], y)
    np.testing.assert_allclose(outputs(weighted), outputs(without), rtol=0, atol=1e-10)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_ensemble_leaves_out_rows_of_weight_zero(early_stopping):
    base = ImbalancedNetClassifier(max_epochs=2, dtype="float64", early_stopping=early_stopping)
    model = NetEnsembleClassifier(base, n_estimators=3, random_state=0)
    frame, weights = with_odd_rows()
    weighted = clone(model).fit(frame, np.r_[Y, Y[:20]], sample_weight=weights)
    without = clone(model).fit(frame[: len(FRAME)], Y)
    np.testing.assert_allclose(outputs(weighted), outputs(without), rtol=0, atol=1e-10)
