"""scikit-learn's common checks of the regressor: in float32 rounding may fail two, nothing else."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from imbtorch import ImbalancedNetRegressor

ROUNDING = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}


@pytest.mark.matrix
@parametrize_with_checks(
    [ImbalancedNetRegressor(dtype="float64"), ImbalancedNetRegressor(dtype="float32")]
)
def test_common_check(estimator, check):
    try:
        check(estimator)
    except AssertionError:
        # whether sums of equal terms in another order agree to 1e-7 depends on the processor
        if estimator.dtype == "float32" and check.func.__name__ in ROUNDING:
            pytest.xfail("float32 sums in another order differ by more than the check's 1e-7")
        raise
