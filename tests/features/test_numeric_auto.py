"""What becomes of numbers by default: waves where they pay, and the plain columns elsewhere."""

import numpy as np
import pytest
from scipy import sparse

from imbtorch import ImbalancedNetClassifier
from imbtorch.features import TableFeatures
from imbtorch.features._statistics import _DifferentValues

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("n_columns", "embedded"), [(256, 256), (257, 0)])
def test_waves_for_up_to_256_numbers(n_columns, embedded):
    X = np.column_stack([RNG.normal(size=(20, n_columns)), np.arange(20) % 2])
    assert len(TableFeatures().fit(X).encoder_.periodic) == embedded
    stated = TableFeatures(numeric_embedding="periodic").fit(X)
    assert stated.encoder_.periodic == list(range(n_columns))


def test_sparse_tables_stay_sparse():
    X = sparse.random(50, 8, 0.3, format="csr", random_state=0)
    features = TableFeatures().fit(X)
    assert sparse.issparse(features.transform(X))
    assert not features.encoder_.periodic
    plain = ImbalancedNetClassifier(features=TableFeatures(numeric_embedding=None))
    y = np.arange(50) % 5 == 0
    found, expected = (
        clf.set_params(max_epochs=2, random_state=0).fit(X, y).predict_proba(X)
        for clf in (ImbalancedNetClassifier(), plain)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n_values", [1, 2, 3, 4])
@pytest.mark.parametrize("n_gaps", [0, 20])
def test_three_different_numbers_are_found_in_blocks_of_any_size(n_values, n_gaps):
    for seed in range(50):
        rng = np.random.default_rng(seed)
        values = rng.choice([0.0, -3.0, 7.0, 1e300][:n_values], size=(5, 30))
        values.ravel()[rng.permutation(values.size)[: n_gaps * 5]] = np.nan
        different = _DifferentValues(5)
        for block in np.split(values, np.sort(rng.choice(np.arange(1, 30), 4, False)), axis=1):
            different.look_at(block)
        expected = [len(np.unique(column[~np.isnan(column)])) > 2 for column in values]
        assert different.has_several.tolist() == expected
