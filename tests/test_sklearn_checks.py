"""scikit-learn's common checks: none may fail in float64, only rounding ones in float32."""

import inspect

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier

REASON = "float32 sums of equal terms in another order differ by more than the check's rtol of 1e-7"
ROUNDING = {
    "check_sample_weight_equivalence_on_dense_data": REASON,
    "check_sample_weight_equivalence_on_sparse_data": REASON,
}
# from scikit-learn 1.8; before, pytest's own xfail_strict in pyproject.toml says the same
STRICT = (
    {"xfail_strict": True}
    if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters
    else {}
)


def expected_failures(estimator):
    return ROUNDING if getattr(estimator, "dtype", "") == "float32" else {}


@pytest.mark.matrix
@parametrize_with_checks(
    [
        ImbalancedNetClassifier(dtype="float64"),
        ImbalancedNetClassifier(dtype="float32"),
        ImbalancedNetClassifier(loss="bce", dtype="float64"),  # the form of labels for classes too
        NetEnsembleClassifier(
            ImbalancedNetClassifier(dtype="float64"), n_estimators=2, subset="all", random_state=0
        ),
        NetEnsembleClassifier(
            ImbalancedNetClassifier(dtype="float64", max_epochs=5),
            n_estimators=2,
            subset="folds",
            random_state=0,
        ),
    ],
    expected_failed_checks=expected_failures,
    **STRICT,
)
def test_common_check(estimator, check):
    check(estimator)
