"""Weights that leave one class, as a bootstrap of a rare class does, end in a warning."""

import warnings

import numpy as np
import pytest
from sklearn.ensemble import BaggingClassifier

from imbtorch import NetEnsembleClassifier
from tests.toy import small, table

X, Y = table()
ONLY_FIRST = (Y == 0).astype(float)
RARE = np.zeros(len(Y), dtype=int)
RARE[:3] = 1


def test_one_class_with_weight_is_a_warning_that_names_the_class():
    with pytest.warns(UserWarning, match=r"Only class 0 has rows .*subset='bootstrap'"):
        clf = small(loss="cross_entropy", max_epochs=20).fit(X, Y, ONLY_FIRST)
    assert clf.classes_.tolist() == [0, 1]
    assert np.isfinite(clf.predict_proba(X)).all()
    assert (clf.predict(X) == 0).all()


@pytest.mark.parametrize("labels", [["a", "b"], [0, 1]])
def test_bagging_survives_bootstraps_without_the_rare_class(labels):
    bag = BaggingClassifier(small(max_epochs=1), 6, max_samples=20, random_state=0)
    y = np.array(labels)[RARE]
    with pytest.warns(UserWarning, match="Only class"):
        bag.fit(X, y)
    assert bag.predict_proba(X).shape == (len(X), 2)
    assert set(bag.predict(X)) <= set(labels)


def test_our_bootstrap_draws_from_each_class():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = NetEnsembleClassifier(small(max_epochs=1), 4, subset="bootstrap")
        clf.fit(X, RARE)
    assert all(member.class_counts_[1] == 3 for member in clf.estimators_)


def test_one_class_in_y_is_still_an_error():
    with pytest.raises(ValueError, match="at least 2 classes"):
        small().fit(X, np.zeros(len(X)))
    weighted = np.r_[np.zeros(10), np.ones(len(X) - 10)]
    with pytest.raises(ValueError, match="at least 2 classes"):
        small().fit(X, np.zeros(len(X)), weighted)


def test_a_class_weight_of_zero_is_still_an_error():
    with pytest.raises(ValueError, match="at least 2 classes"):
        small(loss="cross_entropy", class_weight={0: 1.0, 1: 0.0}).fit(X, Y)
