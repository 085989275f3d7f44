"""Restated probabilities around any classifier."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from imbtorch.priors import PriorShiftClassifier, shift_prior

X, Y = make_classification(1000, weights=[0.9], random_state=0)
LABELS = np.where(Y == 1, "rare", "usual")


@parametrize_with_checks([PriorShiftClassifier(LogisticRegression())])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "inner", [LogisticRegression(), HistGradientBoostingClassifier(max_iter=5)]
)
def test_it_is_shift_prior_of_the_inner_probabilities(inner):
    clf = PriorShiftClassifier(inner, target_prior={"rare": 0.3, "usual": 0.7}).fit(X, LABELS)
    expected = shift_prior(inner.fit(X, LABELS).predict_proba(X), clf.class_prior_, [0.3, 0.7])
    np.testing.assert_allclose(clf.predict_proba(X), expected)
    assert set(clf.predict(X)) == {"rare", "usual"}


def test_the_population_of_the_training_data_changes_nothing():
    clf = PriorShiftClassifier(LogisticRegression()).fit(X, Y)
    np.testing.assert_allclose(clf.predict_proba(X), clf.estimator_.predict_proba(X))


def test_weights_count():
    weights = np.where(Y == 1, 9.0, 1.0)
    clf = PriorShiftClassifier(LogisticRegression()).fit(X, Y, sample_weight=weights)
    assert clf.class_prior_[1] == pytest.approx((9 * Y.sum()) / weights.sum())


def test_fitted_classifiers_and_changed_frequencies():
    fitted = LogisticRegression().fit(X, Y)
    clf = PriorShiftClassifier(FrozenEstimator(fitted)).fit(X, Y)
    before = clf.predict_proba(X)[:, 1].mean()
    assert clf.set_params(target_prior=[0.5, 0.5]).predict_proba(X)[:, 1].mean() > 1.5 * before
    assert clf.estimator_.estimator is fitted


def test_wrong_priors():
    with pytest.raises(ValueError, match="must name every class"):
        PriorShiftClassifier(LogisticRegression(), target_prior={"rare": 1.0}).fit(X, LABELS)
    with pytest.raises(ValueError, match="positive for each class"):
        PriorShiftClassifier(LogisticRegression(), source_prior=[1.0, 0.0]).fit(X, Y)
