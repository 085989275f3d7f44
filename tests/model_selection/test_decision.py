"""TunedDecisionClassifierCV: two classes, several, several labels per row, and costs."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import make_classification, make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    fbeta_score,
    get_scorer,
    make_scorer,
)
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.multioutput import MultiOutputClassifier

from imbtorch._data.folds import as_folds
from imbtorch.model_selection import TunedDecisionClassifierCV
from tests.model_selection.fixed import Given, GivenLabels, noisy_logits
from tests.toy import table

LOGISTIC = LogisticRegression()


def held_out(n, seed, **params):
    X, y = make_classification(n, n_informative=5, random_state=seed, **params)
    return X[: n // 2], y[: n // 2], X[n // 2 :], y[n // 2 :]


# -- two classes -----------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("scoring", "metric"), [("f1", f1_score), ("balanced_accuracy", balanced_accuracy_score)]
)
@pytest.mark.parametrize("seed", range(3))
def test_binary_equals_brute_force_over_all_thresholds(scoring, metric, seed):
    X, y = table(200, seed=seed, class_sep=0.5)
    tuned = TunedDecisionClassifierCV(LOGISTIC, scoring=scoring, n_candidates=1000, n_resamples=0)
    tuned.fit(X, y)
    proba = cross_val_predict(LOGISTIC, X, y, cv=StratifiedKFold(5), method="predict_proba")[:, 1]
    thresholds = [-1.0, *proba]
    best = max(metric(y, proba > threshold) for threshold in thresholds)
    assert tuned.best_score_ == pytest.approx(best, abs=1e-12)
    # and the offset is that of a threshold which reaches the best score
    threshold = 1 / (1 + np.exp(tuned.offsets_[1]))
    assert metric(y, proba > threshold) == pytest.approx(best, abs=1e-12)
    assert tuned.offsets_[0] == 0


@pytest.mark.slow
def test_thinned_candidates_resolve_a_rare_class():
    logits, y = noisy_logits(20_000, [0.995, 0.005], separation=2, seed=1)
    tuned = TunedDecisionClassifierCV(Given(), scoring="f1", cv=2, n_resamples=0)
    tuned.fit(logits, y)
    margin = logits[:, 1] - logits[:, 0]
    best = max(f1_score(y, margin > cut) for cut in np.sort(margin)[-300:])
    assert tuned.best_score_ > best - 0.01
    # a hundred plain quantiles have nothing between 0.5 % and 1.5 % of positive decisions
    plain = max(f1_score(y, margin > cut) for cut in np.quantile(margin, np.linspace(0, 1, 100)))
    assert tuned.best_score_ > plain + 0.02


@pytest.mark.slow
def test_tuned_f2_is_better_on_rows_not_seen():
    gains = []
    for seed in range(5):
        X, y, X_test, y_test = held_out(2000, seed, weights=[0.93], class_sep=0.7)
        f2 = make_scorer(fbeta_score, beta=2)
        tuned = TunedDecisionClassifierCV(LOGISTIC, scoring=f2).fit(X, y)
        plain = tuned.estimator_.predict(X_test)
        gains.append(
            fbeta_score(y_test, tuned.predict(X_test), beta=2) - fbeta_score(y_test, plain, beta=2)
        )
    assert np.mean(gains) > 0.1
    assert np.min(gains) > 0


def test_decision_follows_probability_and_offset():
    X, y = table(300)
    tuned = TunedDecisionClassifierCV(LOGISTIC).fit(X, y)
    threshold = 1 / (1 + np.exp(tuned.offsets_[1]))
    expected = (tuned.predict_proba(X)[:, 1] > threshold).astype(int)
    np.testing.assert_array_equal(tuned.predict(X), expected)
    np.testing.assert_array_equal(tuned.predict_proba(X), tuned.estimator_.predict_proba(X))
    np.testing.assert_array_equal(tuned.decision_function(X), tuned.estimator_.decision_function(X))
    np.testing.assert_array_equal(tuned.predict_log_proba(X), tuned.estimator_.predict_log_proba(X))


def test_pooled_folds_need_no_positive_in_each():
    X, y = table(300)
    y = np.zeros_like(y)
    y[:3] = 1
    X[:3] += 4
    with pytest.warns(UserWarning, match="least populated class"):
        tuned = TunedDecisionClassifierCV(LOGISTIC, scoring="f1", cv=5).fit(X, y)
    assert tuned.best_score_ > 0.5


def test_ties_are_cut_together():
    # a coarse classifier: three distinct scores, of which the middle one is half positive
    logits = np.column_stack([np.zeros(40), np.repeat([-2.0, 0.5, 2.0], [20, 10, 10])])
    y = np.array([0] * 20 + [0, 1] * 5 + [1] * 10)
    clf = TunedDecisionClassifierCV(Given(), scoring="recall", cv=2, n_resamples=0)
    tuned = clone(clf).fit(logits, y)
    assert tuned.best_score_ == 1
    assert tuned.offsets_[1] == 0  # recall is 1 already
    precise = clf.set_params(scoring="precision").fit(logits, y)
    assert precise.best_score_ == 1
    assert precise.offsets_[1] == pytest.approx(-1.25)  # midway between .5 and 2


def test_middle_of_a_plateau():
    logits = np.column_stack([np.zeros(12), [*range(-12, 0)]])
    y = np.array([0] * 4 + [1] * 8)
    # accuracy of half the positives counts as full
    score = make_scorer(lambda y, p: min(p[y == 1].mean(), 0.5) - p[y == 0].mean())
    tuned = TunedDecisionClassifierCV(Given(), scoring=score, cv=2).fit(logits, y)
    assert tuned.offsets_[1] == pytest.approx(6.5)  # cuts from -8.5 to -4.5 are equally good


@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss", "accuracy"])
def test_what_does_not_beat_zero_offsets_changes_nothing(scoring):
    logits, y = noisy_logits(300, [0.5, 0.5], separation=8)
    tuned = TunedDecisionClassifierCV(Given(), scoring=scoring, cv=2).fit(logits, y)
    np.testing.assert_array_equal(tuned.offsets_, [0, 0])
    assert tuned.best_score_ == pytest.approx(get_scorer(scoring)(tuned, logits, y))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scoring", ["precision", "f1", "matthews_corrcoef"])
def test_search_is_silent(scoring):
    X, y = table(200)
    TunedDecisionClassifierCV(LOGISTIC, scoring=scoring).fit(X, y)


def test_saturated_probabilities_are_finite():
    logits, y = noisy_logits(300, [0.8, 0.2])
    logits = 1000 * logits
    tuned = TunedDecisionClassifierCV(Given(), cv=2).fit(logits, y)
    assert np.isfinite(tuned.offsets_).all()


# -- several classes -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("scoring", "gain"), [("balanced_accuracy", 0.1), ("f1_macro", 0.01)])
def test_multiclass_is_better_on_rows_not_seen(scoring, gain):
    gains = []
    for seed in range(3):
        logits, y = noisy_logits(3000, [0.85, 0.1, 0.05], separation=1.5, seed=seed)
        X, y, X_test, y_test = logits[:2000], y[:2000], logits[2000:], y[2000:]
        tuned = TunedDecisionClassifierCV(Given(), scoring=scoring, cv=2, n_candidates=25).fit(X, y)
        scorer = get_scorer(scoring)
        gains.append(scorer(tuned, X_test, y_test) - scorer(tuned.estimator_, X_test, y_test))
    assert np.mean(gains) > gain
    assert np.min(gains) > 0


@pytest.mark.slow
def test_balanced_accuracy_finds_logit_adjustment():
    prior = np.array([0.8, 0.15, 0.05])
    logits, y = noisy_logits(10_000, prior, separation=1.5)
    offsets = TunedDecisionClassifierCV(Given(), cv=2, n_candidates=50).fit(logits, y).offsets_
    np.testing.assert_allclose(offsets, np.log(prior[0] / prior), atol=0.35)


@pytest.mark.parametrize("weighted", [False, True])
def test_search_starts_from_logit_adjustment_too(weighted):
    logits, y = noisy_logits(3000, [0.8, 0.15, 0.05], separation=1.5)
    weight = np.where(y == 2, 3.0, 1.0) if weighted else None
    counts = np.bincount(y, weight)
    # two candidates, always or never this class, are of no use
    tuned = TunedDecisionClassifierCV(Given(), cv=2, n_candidates=2).fit(logits, y, weight)
    np.testing.assert_allclose(tuned.offsets_, np.log(counts[0] / counts), atol=0.02)


@pytest.mark.matrix
@pytest.mark.parametrize("scoring", ["balanced_accuracy", "f1_macro", "matthews_corrcoef"])
@pytest.mark.parametrize("seed", range(3))
def test_never_worse_than_zero_offsets(scoring, seed):
    rng = np.random.default_rng(seed)
    logits, y = rng.normal(size=(60, 4)), np.arange(60) % 4  # nothing to learn
    tuned = TunedDecisionClassifierCV(
        Given(), scoring=scoring, cv=2, n_candidates=15, max_passes=2
    ).fit(logits, y)
    assert tuned.best_score_ >= get_scorer(scoring)(tuned.estimator_, logits, y)
    assert tuned.best_score_ == pytest.approx(get_scorer(scoring)(tuned, logits, y))


@pytest.mark.slow
def test_grid_of_three_classes_is_not_far_better():
    logits, y = noisy_logits(150, [0.7, 0.2, 0.1], separation=1.5)
    tuned = TunedDecisionClassifierCV(Given(), scoring="f1_macro", cv=2, n_candidates=40).fit(
        logits, y
    )
    grid = np.linspace(-3, 3, 13)
    best = max(
        f1_score(y, (logits + [0, a, b]).argmax(axis=1), average="macro")
        for a in grid
        for b in grid
    )
    assert tuned.best_score_ > best - 0.02


# -- several labels per row ------------------------------------------------------------------------


def labels_data(seed=0):
    X, y = make_multilabel_classification(400, 10, n_classes=4, n_labels=1, random_state=seed)
    return X, y


@pytest.mark.slow
def test_multilabel_has_one_threshold_per_label():
    rng = np.random.default_rng(0)
    y = (rng.random((70, 3)) < [0.3, 0.2, 0.1]).astype(int)
    X = 2 * y + rng.normal(size=(70, 3)) - 3
    tuned = TunedDecisionClassifierCV(
        GivenLabels(), scoring="f1_macro", cv=2, n_candidates=400, n_resamples=0
    ).fit(X, y)
    np.testing.assert_array_equal(tuned.predict(X), X + tuned.offsets_ > 0)
    # labels do not interact in a macro average: each is at its own optimum
    for label in range(3):
        best = max(f1_score(y[:, label], X[:, label] > cut) for cut in X[:, label])
        reached = f1_score(y[:, label], tuned.predict(X)[:, label])
        assert reached == pytest.approx(best, abs=1e-12)
    assert tuned.best_score_ > f1_score(y, X > 0, average="macro", zero_division=0) + 0.1


@pytest.mark.matrix
@pytest.mark.parametrize(
    "inner",
    [
        MultiOutputClassifier(LOGISTIC),
        RandomForestClassifier(5, max_depth=4, random_state=0),
    ],
    ids=["MultiOutputClassifier", "RandomForestClassifier"],
)
@pytest.mark.parametrize("scoring", ["f1_macro", "f1_samples", "roc_auc"])
def test_multilabel_around_classifiers_that_return_lists(inner, scoring):
    X, y = labels_data()
    tuned = TunedDecisionClassifierCV(inner, scoring=scoring, cv=3, n_candidates=8, max_passes=1)
    tuned.fit(X, csr_array(y) if scoring == "f1_macro" else y)
    assert tuned.predict(X).shape == y.shape
    assert len(tuned.predict_proba(X)) == 4
    if scoring != "roc_auc":
        assert tuned.score(X, y) > 0
        assert tuned.best_score_ > 0.4
        assert (tuned.offsets_ != 0).any()


def test_label_that_never_or_always_occurs():
    X, y = labels_data()
    y[:, 0], y[:, 1] = 0, 1
    forest = RandomForestClassifier(5, max_depth=4, random_state=0)
    tuned = TunedDecisionClassifierCV(forest, scoring="accuracy", cv=3, n_candidates=10).fit(X, y)
    np.testing.assert_array_equal(tuned.predict(X)[:, :2], y[:, :2])


@pytest.mark.parametrize("random_state", [None, 0, 3])
@pytest.mark.parametrize("n_folds", [2, 5])
def test_label_folds_are_shuffled_and_hold_every_label(random_state, n_folds):
    y = np.zeros((200, 3), dtype=int)
    y[:100, 0], y[100:180, 1], y[180:190, 2] = 1, 1, 1  # sorted, the last label is rare
    y[185:190, 0] = 1
    folds = [test for _, test in as_folds(n_folds, y, random_state).split()]
    assert sorted(np.concatenate(folds)) == list(range(200))
    for label in range(3):
        counts = [y[fold, label].sum() for fold in folds]
        assert max(counts) - min(counts) <= 2
        assert min(counts) >= 1
    assert any(np.ptp(fold) > 100 for fold in folds)
    again = [test for _, test in as_folds(n_folds, y, random_state).split()]
    for one, other in zip(folds, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n_folds", [1, 7])
def test_label_folds_need_enough_rows(n_folds):
    with pytest.raises(ValueError, match=r"folds|splits"):
        as_folds(n_folds, np.eye(6, dtype=int), 0)


def test_rows_sorted_by_label_are_tuned_on_every_label():
    rng = np.random.default_rng(0)
    y = np.repeat(np.eye(4, dtype=int), 50, axis=0)
    X = y + rng.normal(size=y.shape)
    tuned = TunedDecisionClassifierCV(MultiOutputClassifier(LOGISTIC), scoring="f1_macro", cv=4)
    assert tuned.fit(X, y).best_score_ > 0.5


# -- costs -----------------------------------------------------------------------------------------

COSTS = [[0, 1], [20, 0]]


def test_costs_decide_at_elkans_threshold():
    # FP 1, FN 20 -> 1 / 21 = .047619048
    proba = np.array([0.047, 0.0476, 0.0477, 0.5])
    logits = np.column_stack([np.log1p(-proba), np.log(proba)])
    tuned = TunedDecisionClassifierCV(Given(), cost_matrix=COSTS).fit(logits, ["n", "y"] * 2)
    assert tuned.predict(logits).tolist() == ["n", "n", "y", "y"]
    assert tuned.offsets_ is None
    assert tuned.best_score_ is None


def test_costs_equal_a_weight_on_the_odds():
    X, y = table(300)
    tuned = TunedDecisionClassifierCV(LOGISTIC, cost_matrix=COSTS).fit(X, y)
    weighted = tuned.predict_proba(X) * [1, 20]
    np.testing.assert_array_equal(tuned.predict(X), weighted.argmax(axis=1))
    assert tuned.predict(X).sum() > tuned.estimator_.predict(X).sum()


def test_costs_of_three_classes_and_of_being_right():
    costs = np.array([[-1, 2, 3], [5, 0, 1], [4, 9, -2]])
    logits, y = noisy_logits(100, [0.5, 0.3, 0.2])
    tuned = TunedDecisionClassifierCV(Given(), cost_matrix=costs).fit(logits, y)
    proba = tuned.predict_proba(logits)
    expected = [
        min(range(3), key=lambda j: sum(row[i] * costs[i, j] for i in range(3))) for row in proba
    ]
    np.testing.assert_array_equal(tuned.predict(logits), expected)


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ([[0, 1]], r"shape \(1, 2\), expected \(2, 2\)"),
        (np.zeros((3, 3)), r"shape \(3, 3\), expected \(2, 2\)"),
        ([[0, np.nan], [1, 0]], "finite"),
        ([[0, np.inf], [1, 0]], "finite"),
    ],
)
def test_bad_costs(costs, message):
    X, y = table(50)
    with pytest.raises(ValueError, match=message):
        TunedDecisionClassifierCV(LOGISTIC, cost_matrix=costs).fit(X, y)


def test_costs_are_for_one_label_a_row():
    X, y = labels_data()
    with pytest.raises(ValueError, match="4 labels"):
        TunedDecisionClassifierCV(MultiOutputClassifier(LOGISTIC), cost_matrix=COSTS).fit(X, y)
