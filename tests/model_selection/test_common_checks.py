"""scikit-learn's common checks of the meta-estimators."""

import inspect

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from imbtorch.model_selection import (
    CrossFittedClassifier,
    CrossFittedRegressor,
    ScaledClassifierCV,
    TunedDecisionClassifierCV,
)
from tests.toy import small, table

INNER = LogisticRegression()
# from scikit-learn 1.8; before, pytest's own xfail_strict in pyproject.toml says the same
STRICT = (
    {"xfail_strict": True}
    if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters
    else {}
)
TUNED = {
    "check_classifiers_train": "asks for decisions at a probability of 1/2, as scikit-learn's "
    "TunedThresholdClassifierCV is excused from; to decide elsewhere is what tuning is for"
}


def expected_failures(estimator):
    return TUNED if isinstance(estimator, TunedDecisionClassifierCV) else {}


@pytest.mark.matrix
@parametrize_with_checks(
    [
        TunedDecisionClassifierCV(INNER, cv=3, n_candidates=20, max_passes=1),
        CrossFittedClassifier(INNER, cv=3),
        CrossFittedRegressor(Ridge(), cv=3),
        ScaledClassifierCV(INNER, cv=3),
        ScaledClassifierCV(INNER, cv=3, method="vector"),
    ],
    expected_failed_checks=expected_failures,
    **STRICT,
)
def test_common_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "meta", [TunedDecisionClassifierCV(None, cv=3, n_candidates=10), ScaledClassifierCV(None, cv=3)]
)
def test_around_a_net(meta):
    X, y = table(200, n_classes=3, rate=0.4)
    names = np.array(["a", "b", "c"])[y]
    net = small(
        dtype="float64", device="cpu", loss="cross_entropy", class_weight={"a": 1, "b": 2, "c": 2}
    )
    clf = clone(meta).set_params(estimator=net).fit(X, names, np.arange(200) % 3)
    assert clf.score(X, names) > 0.3
    assert clf.predict_proba(X).shape == (200, 3)
    assert clf.n_features_in_ == 5
    assert not hasattr(net, "net_")
