"""Sets of classes: the coverage within each class, and what few positives cost."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedKFold

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch._common.conformal import calibration_scores
from imbtorch.model_selection import TunedDecisionClassifierCV, conformal_sets, cross_fit


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


def test_a_row_that_conforms_as_the_quantile_does_is_in_the_set():
    scores = np.repeat([0.1, 0.5, 0.9], [50, 45, 4])  # the 90th of 99 is 0.5
    p = 1 - np.array([0.5, 0.5 + 1e-9])
    sets = conformal_sets([(np.stack([p, p], axis=1), [scores, scores])], 0.1)
    assert sets[:, 0].tolist() == [True, False]


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
    with pytest.raises(ValueError, match="no fold"):
        conformal_sets([], 0.1)


# -- several labels per row ------------------------------------------------------------------------


class PerLabel(ClassifierMixin, BaseEstimator):
    """A logistic regression for each label."""

    def fit(self, X, y):
        self.classes_ = np.arange(y.shape[1])
        known = [~np.isnan(column) for column in np.asarray(y, dtype=float).T]
        pairs = zip(y.T, known, strict=True)
        self.parts_ = [LogisticRegression().fit(X[k], column[k]) for column, k in pairs]
        return self

    def predict_proba(self, X):
        return np.column_stack([part.predict_proba(X)[:, 1] for part in self.parts_])


def draw_labels(rng, n, shares=(0.08, 0.4)):
    y = (rng.random((n, len(shares))) < shares).astype(float)
    return rng.normal(size=y.shape) + 1.5 * y, y


def covered(sets, y):
    """Return for each label the share of its rows with 0, and with 1, whose set has the value."""
    return [[sets[y[:, j] == v, j, v].mean() for v in (0, 1)] for j in range(y.shape[1])]


@pytest.mark.slow
def test_each_value_of_each_label_is_covered():
    rng = np.random.default_rng(0)
    X_new, y_new = draw_labels(rng, 4000)
    found = []
    for _ in range(100):
        X, y = draw_labels(rng, 300)
        y[rng.random(y.shape) < 0.1] = np.nan  # labels that are not known
        folds = cross_fit(PerLabel(), X, y, cv=4)
        found.append(covered(folds.predict_set(X_new, alpha=0.2), y_new))
    mean = np.mean(found, axis=0)
    assert (mean > 0.78).all()  # about 0.8; 0.6 is proved
    assert (mean < 0.87).all()


def test_a_label_is_a_problem_of_two_classes():
    rng = np.random.default_rng(0)
    p, y = rng.random((50, 2)), (rng.random((50, 2)) < 0.4).astype(float)
    y[:10, 1] = np.nan
    weights = np.where(np.arange(50) % 7 == 0, 0.0, 1.0)
    new = rng.random((20, 2))
    sets = conformal_sets([(new, calibration_scores(p, y, None, weights))], 0.15)
    assert sets.shape == (20, 2, 2)
    for j in range(2):
        both, classes = np.stack([1 - p[:, j], p[:, j]], axis=1), np.array([0, 1])
        scores = calibration_scores(both, y[:, j], classes, weights)
        for one, other in zip(calibration_scores(p, y, None, weights)[j], scores, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)
        alone = conformal_sets([(np.stack([1 - new[:, j], new[:, j]], axis=1), scores)], 0.15)
        np.testing.assert_array_equal(sets[:, j], alone)


def test_tuned_decisions_have_the_sets_of_the_folds():
    X, y = draw_labels(np.random.default_rng(0), 200)
    folds = cross_fit(PerLabel(), X, y, cv=3)
    tuned = TunedDecisionClassifierCV(folds, scoring="f1_macro", cv="oof").fit(X, y)
    np.testing.assert_array_equal(tuned.predict_set(X, 0.2), folds.predict_set(X, 0.2))
    assert not hasattr(TunedDecisionClassifierCV(PerLabel()), "predict_set")


def test_a_label_that_no_row_has_cannot_be_ruled_out():
    scores = calibration_scores(np.full((30, 1), 0.1), np.zeros((30, 1)), None, None)
    assert conformal_sets([(np.array([[1e-9]]), scores)], 0.1)[0, 0].tolist() == [True, True]


# -- what would be wrong in silence ----------------------------------------------------------------


def test_folds_that_are_repeated_rule_out_no_more():
    rng = np.random.default_rng(0)
    X, y = draw(rng, 100)
    y[:] = np.arange(100) < 5  # five positives: nothing is ruled out below 1/6
    repeated = cross_fit(
        LogisticRegression(), X, y, cv=RepeatedStratifiedKFold(n_splits=5, n_repeats=8)
    )
    assert repeated.predict_set(X, alpha=0.16)[:, 1].all()
    assert not repeated.predict_set(X, alpha=0.3)[:, 1].all()


def test_probabilities_that_are_not_numbers():
    scores = [np.array([0.1]), np.array([0.2])]
    with pytest.raises(ValueError, match="NaN"):
        conformal_sets([(np.array([[np.nan, 0.5]]), scores)], 0.1)
    with pytest.raises(ValueError, match="NaN"):
        calibration_scores(np.array([[np.nan]]), np.array([[1.0]]), None, None)


# -- mapie -----------------------------------------------------------------------------------------


@pytest.fixture
def mapie():
    return pytest.importorskip(
        "mapie.classification", reason="mapie is the oracle, an extra of the development"
    )


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.25])
@pytest.mark.filterwarnings("ignore:WARNING. your conformalization:UserWarning")
def test_split_sets_of_each_class_are_those_of_mapie(mapie, alpha):
    X, y = make_classification(900, n_informative=5, n_classes=3, random_state=0)
    clf = LogisticRegression().fit(X[:300], y[:300])
    held_out, y_held_out, new = X[300:600], y[300:600], X[600:]
    scores = calibration_scores(clf.predict_proba(held_out), y_held_out, clf.classes_, None)
    sets = conformal_sets([(clf.predict_proba(new), scores)], alpha)
    for c in range(3):  # a quantile from the rows of this class alone
        own = y_held_out == c
        split = mapie.SplitConformalClassifier(
            clf, confidence_level=1 - alpha, conformity_score="lac", prefit=True
        ).conformalize(held_out[own], y_held_out[own])
        np.testing.assert_array_equal(sets[:, c], split.predict_set(new)[1][:, c, 0])


@pytest.mark.parametrize("alpha", [0.1, 0.2])
def test_cross_sets_are_those_of_mapie(mapie, alpha):
    X, y = make_classification(700, n_informative=5, n_classes=3, random_state=0)
    new = X[400:]
    X, y, cv = X[:400], y[:400], StratifiedKFold(5)
    cross = mapie.CrossConformalClassifier(
        LogisticRegression(), confidence_level=1 - alpha, conformity_score="lac", cv=cv
    ).fit_conformalize(X, y)
    expected = cross.predict_set(new, agg_scores="crossval")[1][:, :, 0]
    folds = cross_fit(LogisticRegression(), X, y, cv=cv)
    pooled = []  # mapie has one quantile for all classes: the scores of all rows in each column
    for fold in folds.folds_:
        own = 1 - fold.estimator.predict_proba(X[fold.test])[np.arange(80), y[fold.test]]
        pooled.append((fold.estimator.predict_proba(new), [np.sort(own)] * 3))
    np.testing.assert_array_equal(conformal_sets(pooled, alpha), expected)
