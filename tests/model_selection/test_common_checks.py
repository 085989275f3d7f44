"""scikit-learn's common checks of the meta-estimators."""

import inspect

from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from imbtorch.model_selection import ScaledClassifierCV, TunedDecisionClassifierCV

INNER = LogisticRegression()
# as for scikit-learn's own meta-estimators that cross-validate
REASON = "rows that are repeated or left out move the others to other folds"
FOLDS = {
    "check_sample_weight_equivalence_on_dense_data": REASON,
    "check_sample_weight_equivalence_on_sparse_data": REASON,
}
# from scikit-learn 1.8; before, pytest's own xfail_strict in pyproject.toml says the same
STRICT = (
    {"xfail_strict": False}
    if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters
    else {}
)


@parametrize_with_checks(
    [
        TunedDecisionClassifierCV(INNER, cv=3),
        TunedDecisionClassifierCV(INNER, cost_matrix=None, scoring="f1_macro", cv=3),
        ScaledClassifierCV(INNER, cv=3),
        ScaledClassifierCV(INNER, cv=3, method="vector"),
    ],
    **STRICT,
)
def test_common_check(estimator, check):
    check(estimator)
