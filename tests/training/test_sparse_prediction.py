"""Predictions for sparse rows do not make them dense, and equal those for dense rows."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
)
from imbtorch.modules import TabM
from imbtorch.training.data.features import SparseFeatures
from imbtorch.training.data.sparse_rows import SparseRows

pytestmark = pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason="torch multiplies sparse rows with MKL only"
)

RNG = np.random.default_rng(0)
ROWS = sparse.random_array((600, 60), density=0.05, rng=RNG, format="csr", dtype=np.float64)
TARGETS = (np.asarray(ROWS.sum(axis=1)).ravel() > 1.8).astype(int)
COMMON = {"features": None, "max_epochs": 2, "random_state": 0, "dtype": "float64"}


def normalised(input_shape, n_outputs):
    return nn.Sequential(
        nn.Linear(input_shape[0], 8),
        nn.LayerNorm(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(8, n_outputs),
    )


@pytest.fixture
def made_dense(monkeypatch):
    """Shapes of the rows that became dense."""
    shapes = []
    plain = SparseFeatures.slice

    def watched(self, start, stop):
        rows = plain(self, start, stop)
        if not isinstance(rows, SparseRows):
            shapes.append(tuple(rows.shape))
        return rows

    monkeypatch.setattr(SparseFeatures, "slice", watched)
    return shapes


MODELS = {
    "one net": lambda: ImbalancedNetClassifier(MLP((8, 8)), **COMMON),
    "layer normalisation": lambda: ImbalancedNetClassifier(normalised, **COMMON),
    "regressor": lambda: ImbalancedNetRegressor(MLP((8,)), **COMMON),
    "ensemble": lambda: NetEnsembleClassifier(
        ImbalancedNetClassifier(MLP((8,)), **COMMON), n_estimators=3, subset="all", random_state=0
    ),
    "ensemble with layer normalisation": lambda: NetEnsembleClassifier(
        ImbalancedNetClassifier(normalised, **COMMON), n_estimators=3, subset="all", random_state=0
    ),
}


@pytest.mark.parametrize("n_rows", [1, 40, 600])
@pytest.mark.parametrize("name", MODELS)
def test_rows_stay_sparse_and_outputs_are_the_same(name, n_rows, made_dense):
    model = MODELS[name]()
    y = TARGETS + 0.5 if name == "regressor" else TARGETS
    model.fit(ROWS, y)
    predict = model.predict if name == "regressor" else model.predict_proba
    made_dense.clear()
    found = predict(ROWS[:n_rows])
    assert made_dense == []
    np.testing.assert_allclose(found, predict(ROWS[:n_rows].toarray()), rtol=1e-9, atol=1e-12)
    assert len(found) == n_rows


@pytest.mark.parametrize(
    ("settings", "X"),
    [
        ({}, sparse.csr_array(ROWS.toarray() + (RNG.random(ROWS.shape) < 0.5))),
        ({"module": TabM((8,), k=2)}, ROWS),
        ({"precision": "bfloat16", "dtype": "float32"}, ROWS),
        ({"module": lambda shape, n: nn.Sequential(nn.Flatten(), nn.Linear(shape[0], n))}, ROWS),
    ],
    ids=["many values", "TabM", "half precision", "another first layer"],
)
def test_other_rows_and_nets_get_dense_rows(settings, X, made_dense):
    clf = ImbalancedNetClassifier(**{"module": MLP((8,)), **COMMON, **settings}).fit(X, TARGETS)
    made_dense.clear()
    found = clf.predict_proba(X)
    assert made_dense
    np.testing.assert_allclose(found, clf.predict_proba(X.toarray()), rtol=1e-5)


def test_validation_rows_of_early_stopping_stay_sparse(made_dense):
    clf = ImbalancedNetClassifier(MLP((8,)), early_stopping=True, **COMMON).fit(ROWS, TARGETS)
    assert len(clf.history_) == 2
    assert all(shape[0] <= 2 for shape in made_dense)  # the rows that the module is tried on


def test_rows_without_values_and_rows_that_are_read_only():
    clf = ImbalancedNetClassifier(MLP((8,)), **COMMON).fit(ROWS, TARGETS)
    empty = sparse.csr_array((5, ROWS.shape[1]))
    np.testing.assert_allclose(
        clf.predict_proba(empty), clf.predict_proba(empty.toarray()), rtol=1e-12
    )
    fixed = ROWS.copy()
    for part in (fixed.data, fixed.indices, fixed.indptr):
        part.flags.writeable = False
    np.testing.assert_array_equal(clf.predict_proba(fixed), clf.predict_proba(ROWS))
