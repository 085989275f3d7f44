"""scikit-learn's common checks: none may fail in float64, only rounding ones in float32."""

import inspect

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NetEnsembleRegressor,
    NetPortfolioClassifier,
    NetPortfolioRegressor,
)

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


DRAWN = "which rows a bootstrap sample draws depends on how many rows there are"
BOOTSTRAP = {
    "check_sample_weight_equivalence_on_dense_data": DRAWN,
    "check_sample_weight_equivalence_on_sparse_data": DRAWN,
}


def expected_failures(estimator):
    if getattr(estimator, "subset", "") == "bootstrap":
        return BOOTSTRAP
    return ROUNDING if getattr(estimator, "dtype", "") == "float32" else {}


RECIPES = {"plain": {}, "robust": {"features__scaling": "robust"}}


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
        *(
            NetEnsembleRegressor(
                ImbalancedNetRegressor(dtype="float64"),
                n_estimators=2,
                subset=subset,
                random_state=0,
            )
            for subset in ("bootstrap", "all", "folds")
        ),
        NetPortfolioClassifier(
            ImbalancedNetClassifier(dtype="float64", max_epochs=5),
            recipes=RECIPES,
            cv=2,
            random_state=0,
        ),
        NetPortfolioRegressor(
            ImbalancedNetRegressor(dtype="float64"), recipes=RECIPES, cv=2, random_state=0
        ),
    ],
    expected_failed_checks=expected_failures,
    **STRICT,
)
def test_common_check(estimator, check):
    check(estimator)
