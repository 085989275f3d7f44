"""Sets of classes: the coverage within each class, and what few positives cost."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.model_selection import conformal_sets, cross_fit


def draw(rng, n, share=0.1):
    y = (rng.random(n) < share).astype(int)
    return rng.normal(size=(n, 2)) + y[:, None], y


def test_each_class_is_covered():
    rng = np.random.default_rng(0)
    X_new, y_new = draw(rng, 5000)
    covered = []
    for _ in range(60):
        X, y = draw(rng, 400)
        sets = cross_fit(LogisticRegression(), X, y, cv=5).predict_set(X_new, alpha=0.2)
        hit = sets[np.arange(5000), y_new]
        covered.append([hit[y_new == c].mean() for c in (0, 1)])
    mean = np.mean(covered, axis=0)
    assert (mean > 0.78).all()  # about 0.8; 0.6 is proved
    assert (mean < 0.88).all()


def test_one_quantile_for_all_would_lose_the_rare_class():
    rng = np.random.default_rng(0)
    X, y = draw(rng, 2000, 0.05)
    X_new, y_new = draw(rng, 5000, 0.05)
    folds = cross_fit(LogisticRegression(), X, y)
    own = 1 - folds.oof_predict_proba_[np.arange(2000), y]
    together = 1 - folds.predict_proba(X_new) <= np.quantile(own, 0.9)
    rare = y_new == 1
    assert together[rare, 1].mean() < 0.5
    assert folds.predict_set(X_new, 0.1)[rare, 1].mean() > 0.85


def test_few_rows_rule_nothing_out():
    X, y = make_classification(200, weights=[0.96], flip_y=0, random_state=0)
    folds = cross_fit(LogisticRegression(), X, y, cv=4)
    assert folds.predict_set(X, alpha=0.05)[:, 1].all()  # 8 positives


def test_smaller_alpha_gives_larger_sets():
    rng = np.random.default_rng(0)
    X, y = draw(rng, 500)
    folds = cross_fit(LogisticRegression(), X, y)
    assert (folds.predict_set(X, 0.05) >= folds.predict_set(X, 0.3)).all()


def test_one_fold_is_split_conformal():
    scores = np.sort(np.random.default_rng(0).random(99))
    p = 1 - np.linspace(0, 1, 500)
    sets = conformal_sets([(np.stack([p, p], axis=1), [scores, scores])], 0.1)
    quantile = scores[int(np.ceil(0.9 * 100)) - 1]
    np.testing.assert_array_equal(sets[:, 0], 1 - p <= quantile)


def test_ensembles():
    rng = np.random.default_rng(0)
    X, y = draw(rng, 600)
    net = ImbalancedNetClassifier(max_epochs=5, target_prior="train")
    clf = NetEnsembleClassifier(net, 4, subset="folds", random_state=0).fit(X, y)
    X_new, y_new = draw(rng, 2000)
    sets = clf.predict_set(X_new, 0.2)
    for c in (0, 1):
        assert sets[y_new == c, c].mean() > 0.7


def test_without_folds_or_with_a_wrong_alpha():
    X, y = draw(np.random.default_rng(0), 100, 0.3)
    clf = NetEnsembleClassifier(ImbalancedNetClassifier(max_epochs=1), 2, random_state=0)
    with pytest.raises(ValueError, match="subset='folds'"):
        clf.fit(X, y).predict_set(X)
    with pytest.raises(ValueError, match="between 0 and 1"):
        cross_fit(LogisticRegression(), X, y).predict_set(X, 1.5)
    with pytest.raises(ValueError, match="one label per row"):
        cross_fit(
            ImbalancedNetClassifier(max_epochs=1), X, np.stack([y, 1 - y], axis=1)
        ).predict_set(X)
