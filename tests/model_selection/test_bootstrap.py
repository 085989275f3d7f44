"""Thresholds that are averaged over resamples: what they are, and whether they are better."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    f1_score,
    fbeta_score,
    get_scorer,
    make_scorer,
    precision_score,
    zero_one_loss,
)

from imbtorch._common.counted import COUNTED, fbeta
from imbtorch.model_selection import TunedDecisionClassifierCV, cross_fit
from imbtorch.model_selection._bootstrap import bootstrap_cuts
from imbtorch.model_selection._counted_score import counted_score
from imbtorch.model_selection._offset_search import pick_from_plateau
from tests.model_selection.fixed import Given, GivenLabels, noisy_logits
from tests.toy import table

N = {"n_candidates": 100, "n_resamples": 200, "seed": 0}


def draw(rng, n_positive, rate, shift):
    n = round(n_positive / rate)
    positive = np.arange(n) < n_positive
    return rng.normal(size=n) + shift * positive, positive


# -- counts ----------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("labels", [[0, 1], [-1, 1], [1, 2]], ids=str)
@pytest.mark.parametrize(
    "scoring",
    ["accuracy", "balanced_accuracy", "matthews_corrcoef"]
    + [
        f"{name}{end}"
        for name in ("f1", "precision", "recall", "jaccard")
        for end in ("", "_macro")
    ]
    + [make_scorer(fbeta_score, beta=2), make_scorer(f1_score, pos_label=1)],
    ids=str,
)
def test_counts_give_the_score_of_scikit_learn(scoring, labels):
    rng = np.random.default_rng(0)
    y, predicted = (np.array(labels)[(rng.random(60) < 0.4).astype(int)] for _ in range(2))
    is_positive, flagged = y == labels[1], predicted == labels[1]
    counts = [
        np.array([float((a & b).sum())])
        for a, b in (
            (is_positive, flagged),
            (~is_positive, flagged),
            (is_positive, ~flagged),
            (~is_positive, ~flagged),
        )
    ]
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    clf = _Says(predicted)
    found = counted_score(scoring, labels, multilabel=False)(*counts)
    assert found == pytest.approx(scorer(clf.fit(None, y), np.zeros((60, 1)), y))


class _Says(Given):
    def __init__(self, answers=None):
        self.answers = answers

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.answers


@pytest.mark.parametrize(
    "scoring",
    [
        "roc_auc",
        "f1_weighted",
        "neg_log_loss",
        make_scorer(zero_one_loss, greater_is_better=False),
        make_scorer(precision_score, zero_division=1),
        make_scorer(f1_score, pos_label="other"),
        lambda clf, X, y: f1_score(y, clf.predict(X)),
    ],
    ids=["auc", "weighted", "log loss", "loss", "zero division", "positive", "function"],
)
def test_scores_that_do_not_follow_from_counts_are_not_averaged(scoring):
    assert counted_score(scoring, [0, 1], multilabel=False) is None


def test_a_label_needs_a_score_of_its_own():
    assert counted_score("f1_macro", [0, 1], multilabel=True) is not None
    for scoring in ("f1_micro", "accuracy", "f1"):
        assert counted_score(scoring, [0, 1], multilabel=True) is None


# -- resamples -------------------------------------------------------------------------------------


def test_resamples_are_those_of_a_plain_bootstrap():
    rng = np.random.default_rng(0)
    values, positive = draw(rng, 30, 0.2, 1.5)
    found = bootstrap_cuts(values, positive, fbeta(1), **N)
    best = []
    for _ in range(200):
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(side), side.sum()) for side in (positive, ~positive)]
        )
        above = values[rows][:, None] > found.cuts
        hits = (above & positive[rows][:, None]).sum(axis=0)[::3]
        scores = 2 * hits / (above.sum(axis=0)[::3] + positive.sum())
        best.append(found.cuts[::3][pick_from_plateau(scores, -1)])
    own = found.cuts[found.best]
    assert np.mean(own) == pytest.approx(np.mean(best), abs=0.1)
    assert np.std(own) == pytest.approx(np.std(best), rel=0.25)


def test_weights_count_and_rows_of_weight_zero_are_absent():
    rng = np.random.default_rng(0)
    values, positive = draw(rng, 40, 0.2, 1.5)
    weight = rng.integers(0, 2, len(values)).astype(float)
    some = weight > 0
    weighted = bootstrap_cuts(values, positive, fbeta(1), weight=weight, **N)
    fewer = bootstrap_cuts(values[some], positive[some], fbeta(1), **N)
    np.testing.assert_array_equal(weighted.best, fewer.best)
    np.testing.assert_array_equal(weighted.cuts, fewer.cuts)
    # positives of a large weight pull the threshold down
    heavy = bootstrap_cuts(
        values, positive, COUNTED["accuracy"], weight=np.where(positive, 20.0, 1.0), **N
    )
    assert heavy.centre < bootstrap_cuts(values, positive, COUNTED["accuracy"], **N).centre - 1


def test_blocks_change_nothing_but_memory(monkeypatch):
    values, positive = draw(np.random.default_rng(0), 20, 0.2, 1.5)
    whole = bootstrap_cuts(values, positive, fbeta(1), **N)
    monkeypatch.setattr("imbtorch.model_selection._bootstrap._BLOCK", 1000)
    parts = bootstrap_cuts(values, positive, fbeta(1), **N)
    np.testing.assert_array_equal(whole.best, parts.best)


def test_far_away_scores_do_not_pull():
    values, positive = draw(np.random.default_rng(0), 40, 0.2, 2)
    far = np.where(values < -1, -700, values)  # probabilities of 0, as forests have them
    near = bootstrap_cuts(values, positive, fbeta(1), **N).centre
    assert bootstrap_cuts(far, positive, fbeta(1), **N).centre == pytest.approx(near, abs=0.3)


# -- held-out decisions ----------------------------------------------------------------------------


def f1_of(threshold, share, shift):
    recall, alarms = norm.sf(threshold - shift), norm.sf(threshold)
    return 2 * share * recall / (share * recall + (1 - share) * alarms + share)


def balanced_of(threshold, share, shift):
    return (norm.sf(threshold - shift) + norm.cdf(threshold)) / 2


@pytest.mark.parametrize(
    ("score", "value"), [(fbeta(1), f1_of), (COUNTED["balanced_accuracy"], balanced_of)]
)
@pytest.mark.parametrize("n_positive", [20, 100])
def test_averages_are_better_and_less_scattered_on_new_rows(score, value, n_positive):
    rng = np.random.default_rng(0)
    rate, shift = 0.05, 2.0
    best = value(np.linspace(0, 5, 1001), rate, shift).max()
    lost = []
    for _ in range(200):
        values, positive = draw(rng, n_positive, rate, shift)
        found = bootstrap_cuts(values, positive, score, n_candidates=100, n_resamples=100, seed=0)
        flagged = values[:, None] > found.cuts
        tp, fp = (flagged & positive[:, None]).sum(0), (flagged & ~positive[:, None]).sum(0)
        n_negative = len(values) - n_positive
        curve = score(tp, fp, n_positive - tp, n_negative - fp)
        spike = found.cuts[pick_from_plateau(curve, -1)]
        lost.append([best - value(cut, rate, shift) for cut in (spike, found.centre)])
    (spike, centre), (spike_std, centre_std) = np.mean(lost, axis=0), np.std(lost, axis=0)
    assert centre < 0.8 * spike
    assert centre_std < 0.9 * spike_std


# -- in the estimator ------------------------------------------------------------------------------


def test_threshold_interval_and_score():
    X, y = table(400, class_sep=0.5)
    clf = TunedDecisionClassifierCV(LogisticRegression(), scoring="f1", random_state=3)
    tuned, again, other = (
        clone(clf).set_params(**params).fit(X, y)
        for params in ({}, {}, {"cv": clf.cv, "n_resamples": 50})
    )
    np.testing.assert_array_equal(tuned.offsets_, again.offsets_)
    np.testing.assert_array_equal(tuned.thresholds_interval_, again.thresholds_interval_)
    assert tuned.offsets_[1] != other.offsets_[1]
    (low, high), threshold = tuned.thresholds_interval_[0], 1 / (1 + np.exp(tuned.offsets_[1]))
    assert 0 < low < threshold < high < 1
    plain = clone(clf).set_params(n_resamples=0).fit(X, y)
    assert not hasattr(plain, "thresholds_interval_")
    assert plain.offsets_[1] != tuned.offsets_[1]
    folds = cross_fit(LogisticRegression(), X, y, random_state=3)
    brought = clone(clf).set_params(estimator=folds, cv="oof").fit(X, y)
    np.testing.assert_array_equal(brought.offsets_, tuned.offsets_)
    flagged = folds.oof_predict_proba_[:, 1] > threshold
    assert tuned.best_score_ == pytest.approx(f1_score(y, flagged))


def test_an_interval_of_a_former_fit_is_forgotten():
    X, y = table(200)
    tuned = TunedDecisionClassifierCV(LogisticRegression()).fit(X, y)
    assert hasattr(tuned, "thresholds_interval_")
    assert not hasattr(tuned.set_params(constraint="recall>=0.8").fit(X, y), "thresholds_interval_")


def test_names_of_classes_change_nothing():
    X, y = table(200, class_sep=0.5)
    numbers = TunedDecisionClassifierCV(LogisticRegression()).fit(X, y)
    names = TunedDecisionClassifierCV(LogisticRegression()).fit(X, np.array(["a", "b"])[y])
    np.testing.assert_array_equal(numbers.offsets_, names.offsets_)


def test_labels_are_averaged_one_by_one():
    rng = np.random.default_rng(0)
    y = (rng.random((300, 3)) < [0.3, 0.1, 0.0]).astype(float)
    X = 2 * y + rng.normal(size=y.shape) - 3
    y[:50, 1] = np.nan
    clf = TunedDecisionClassifierCV(GivenLabels(), scoring="f1_macro", cv="prefit")
    clf.estimator = GivenLabels().fit(X, y)
    tuned = clf.fit(X, y)
    assert tuned.thresholds_interval_.shape == (3, 2)
    assert np.isnan(tuned.thresholds_interval_[2]).all()
    known = y[:, 1] == y[:, 1]
    alone = bootstrap_cuts(X[known, 1], y[known, 1] == 1, fbeta(1), **N)
    low, high = 1 / (1 + np.exp(-alone.interval(0.9)))
    np.testing.assert_allclose(tuned.thresholds_interval_[1], [low, high], rtol=0.3)


def test_decisions_are_never_worse_than_the_untuned_ones_on_their_rows():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        logits, y = rng.normal(size=(60, 2)), np.arange(60) % 2
        tuned = TunedDecisionClassifierCV(Given(), scoring="accuracy", cv=2).fit(logits, y)
        assert tuned.best_score_ >= (tuned.estimator_.predict(logits) == y).mean()


def test_several_classes_are_not_averaged():
    logits, y = noisy_logits(200, [0.6, 0.3, 0.1])
    clf = TunedDecisionClassifierCV(Given(), cv=2, n_candidates=10)
    tuned = clone(clf).fit(logits, y)
    plain = clone(clf).set_params(n_resamples=0).fit(logits, y)
    np.testing.assert_array_equal(tuned.offsets_, plain.offsets_)
    assert not hasattr(tuned, "thresholds_interval_")
