"""Intervals of estimated class frequencies: coverage, concept drift, and every kind of input."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import TimeSeriesSplit
from sklearn.tree import DecisionTreeClassifier

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.model_selection import cross_fit
from imbtorch.priors import PriorShiftClassifier, prior_interval
from imbtorch.priors._interval import _mixture


def proba_of(scores):
    p = expit(2 * scores - 4)  # not calibrated, which does not matter
    return np.column_stack([1 - p, p])


def draw(rng, n, share, shift=2.0):
    y = (rng.random(n) < share).astype(int)
    return proba_of(rng.normal(size=n) + shift * y), y


def same(one, other):
    for a, b in zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True):
        np.testing.assert_array_equal(a, b)


RNG = np.random.default_rng(0)
OOF, Y = draw(RNG, 2000, 0.1)
NEW = draw(RNG, 1000, 0.3)[0]
FOUND = prior_interval(NEW, OOF, Y, random_state=0)


# -- the promise -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("share", "n"), [(0.005, 20_000), (0.02, 5000), (0.1, 2000)])
@pytest.mark.parametrize("factor", [0.3, 1, 3])
def test_intervals_hold_the_frequency_as_often_as_stated(share, n, factor):
    rng, truth = np.random.default_rng(0), share * factor
    held, rejected = [], []
    for _ in range(200):
        oof, y = draw(rng, n, share)
        found = prior_interval(draw(rng, 3000, truth)[0], oof, y, n_resamples=100, random_state=0)
        held.append(found.low[1] <= truth <= found.high[1])
        rejected.append(found.pvalue < 0.05)
    # 200 draws at 0.9 have a standard error of 0.02
    assert 0.84 <= np.mean(held) <= 0.96
    assert np.mean(rejected) <= 0.1  # 0.05 is stated


def test_both_errors_count():
    rng = np.random.default_rng(0)
    width = {}
    for n_old in (1000, 30_000):
        for n_new in (500, 30_000):
            oof, y = draw(rng, n_old, 0.1)
            found = prior_interval(draw(rng, n_new, 0.2)[0], oof, y, random_state=0)
            width[n_old, n_new] = found.high[1] - found.low[1]
    assert width[30_000, 30_000] < 0.3 * min(width[1000, 30_000], width[30_000, 500])
    assert width[1000, 500] > max(width[1000, 30_000], width[30_000, 500])


def test_more_confidence_is_a_wider_interval_around_the_same_estimate():
    wide = prior_interval(NEW, OOF, Y, confidence=0.99, random_state=0)
    assert (wide.low < FOUND.low).all()
    assert (wide.high > FOUND.high).all()
    np.testing.assert_array_equal(wide.prior, FOUND.prior)


def test_several_classes():
    rng = np.random.default_rng(0)
    centres = 2.5 * np.eye(3)

    def draw_classes(n, shares):
        y = rng.choice(3, n, p=shares)
        scores = np.exp(rng.normal(size=(n, 3)) + centres[y])
        return scores / scores.sum(axis=1, keepdims=True), y

    truth, held = [0.5, 0.2, 0.3], []
    for _ in range(40):
        oof, y = draw_classes(2000, [0.9, 0.07, 0.03])
        found = prior_interval(
            draw_classes(1000, truth)[0], oof, y, n_resamples=100, random_state=0
        )
        assert found.prior.sum() == pytest.approx(1)
        held.append((found.low <= truth) & (truth <= found.high))
    assert (np.mean(held, axis=0) >= 0.75).all()


def test_the_estimate_is_that_of_the_confusion_matrix_where_there_are_two_cells():
    found = prior_interval(NEW, OOF, Y, n_bins=1, random_state=0)
    limit = OOF[:, 1].mean() / OOF[:, 0].mean()  # odds at which a balanced decision changes
    flagged, old = NEW[:, 1] / NEW[:, 0] > limit, OOF[:, 1] / OOF[:, 0] > limit
    recall, false_alarms = old[Y == 1].mean(), old[Y == 0].mean()
    expected = (flagged.mean() - false_alarms) / (recall - false_alarms)
    assert found.prior[1] == pytest.approx(expected, abs=0.005)  # smoothing
    assert found.pvalue == 1  # two cells fit always


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_mixture_has_the_greatest_likelihood(n_classes):
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(8), (30, n_classes))
    truth = rng.dirichlet(np.full(n_classes, 0.3), 30)  # many frequencies are nearly 0
    sizes = 400 * np.einsum("rc,rck->rk", truth, shares)
    observed = rng.poisson(sizes) + 1e-9
    observed /= observed.sum(axis=1, keepdims=True)
    prior, converged = _mixture(observed, shares)
    assert converged
    # at a maximum no class would raise the likelihood, and those with a share neither lower it
    slope = np.einsum("rck,rk->rc", shares, observed / np.einsum("rc,rck->rk", prior, shares))
    assert slope.max() < 1 + 1e-3
    np.testing.assert_allclose(slope[prior > 1e-3], 1, atol=1e-3)


# -- concept drift ---------------------------------------------------------------------------------


def test_a_changed_class_is_noticed():
    rng = np.random.default_rng(0)
    oof, y = draw(rng, 5000, 0.1)
    changed, _ = draw(rng, 5000, 0.3, shift=5.0)  # more conspicuous than any training row
    moved = proba_of(rng.normal(size=5000) * 1.5)  # wider scores of negatives
    for proba in (changed, moved):
        assert prior_interval(proba, oof, y, random_state=0).pvalue < 0.01


def test_a_change_that_looks_like_a_mixture_is_not_noticed():
    rng = np.random.default_rng(0)
    oof, y = draw(rng, 5000, 0.1)
    hidden = np.concatenate([draw(rng, 4500, 0.1)[0], draw(rng, 500, 0.0)[0]])
    found = prior_interval(hidden, oof, y, random_state=0)
    assert found.pvalue > 0.05
    assert found.prior[1] < 0.11


# -- models of folds -------------------------------------------------------------------------------


def test_the_predictions_of_each_model_are_needed_not_their_mean():
    rng, each_covers = np.random.default_rng(0), []

    def draw_rows(n, share):
        y = (rng.random(n) < share).astype(int)
        return rng.normal(size=(n, 8)) + 0.7 * y[:, None], y

    for _ in range(10):
        X, y = draw_rows(1500, 0.05)
        X_new, _ = draw_rows(2000, 0.1)
        tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=5, random_state=0)
        folds = cross_fit(tree, X, y)
        each = np.stack([model.predict_proba(X_new) for model in folds.estimators_])
        found = prior_interval(each, folds.oof_predict_proba_, y, n_resamples=100, random_state=0)
        each_covers.append(found.low[1] <= 0.1 <= found.high[1] and found.pvalue > 0.01)
        mean = prior_interval(
            each.mean(axis=0), folds.oof_predict_proba_, y, n_resamples=100, random_state=0
        )
        assert mean.pvalue < 0.05  # they differ from those of single models
    assert np.mean(each_covers) >= 0.7


def test_ensembles_of_nets_in_two_lines():
    rng = np.random.default_rng(0)
    y = (rng.random(1500) < 0.1).astype(int)
    X = rng.normal(size=(1500, 2)) + 2 * y[:, None]
    X_new = rng.normal(size=(1000, 2)) + 2 * (rng.random(1000) < 0.3)[:, None]
    net = ImbalancedNetClassifier(max_epochs=3)
    folds = NetEnsembleClassifier(net, 3, subset="folds", random_state=0).fit(X, y)
    each = np.stack([member.predict_proba(X_new) for member in folds.estimators_])
    found = prior_interval(each, folds.oof_predict_proba_, y, random_state=0)
    assert found.low[1] < 0.3 < found.high[1]
    assert found.pvalue > 0.01


def test_rows_that_no_fold_predicts_do_not_count():
    rng = np.random.default_rng(0)
    y = (rng.random(600) < 0.3).astype(int)
    X = rng.normal(size=(600, 1)) + 2 * y[:, None]
    folds = cross_fit(LogisticRegression(), X, y, cv=TimeSeriesSplit(3))
    oof, rows = folds.oof_predict_proba_, folds.oof_rows_
    assert len(rows) < 600
    new = folds.predict_proba(X[:50])
    same(
        prior_interval(new, oof, y, random_state=0),
        prior_interval(new, oof[rows], y[rows], random_state=0),
    )


# -- input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        Y.tolist(),
        pd.Series(Y),
        Y.astype(bool),
        Y[:, None],
        np.where(Y == 1, "rare", "common"),
        pd.Series(np.where(Y == 1, "rare", "common"), dtype="category"),
        pd.Series(Y, dtype="Int64"),
    ],
    ids=["list", "Series", "bool", "column", "strings", "category", "nullable"],
)
def test_labels_of_any_type(labels):
    same(prior_interval(NEW, OOF, labels, random_state=0), FOUND)


def test_probabilities_of_any_type():
    frozen = NEW.copy()
    frozen.flags.writeable = False
    for proba in (NEW.tolist(), pd.DataFrame(NEW), frozen):
        same(prior_interval(proba, pd.DataFrame(OOF), Y, random_state=0), FOUND)


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA, "unsure"])
def test_unknown_labels_do_not_count(gap):
    names = np.where(Y == 1, "rare", "common").astype(object)
    more = np.append(names, [gap] * 3)
    oof = np.concatenate([OOF, OOF[:3]])
    classes = ["common", "rare"] if isinstance(gap, str) else None
    same(prior_interval(NEW, oof, more, classes=classes, random_state=0), FOUND)


def test_numbers_that_are_not_known():
    more, oof = np.append(Y.astype(float), [np.nan]), np.concatenate([OOF, OOF[:1]])
    same(prior_interval(NEW, oof, more, random_state=0), FOUND)


def test_classes_name_the_columns():
    names = np.where(Y == 1, "a rare one", "common")
    found = prior_interval(
        NEW[:, ::-1], OOF[:, ::-1], names, classes=["a rare one", "common"], random_state=0
    )
    np.testing.assert_allclose(found.prior, FOUND.prior[::-1], atol=0.01)


def test_one_new_row_says_little():
    found = prior_interval(NEW[:1], OOF, Y, random_state=0)
    assert found.high[1] - found.low[1] > 0.5 or found.std[1] < 0.5
    assert ((found.low >= 0) & (found.high <= 1)).all()


def test_equal_seeds_give_equal_results():
    same(prior_interval(NEW, OOF, Y, random_state=0), FOUND)
    assert prior_interval(NEW, OOF, Y, random_state=1).std[1] != FOUND.std[1]


def test_each_label_has_its_own_interval():
    y = np.column_stack([Y, 1 - Y]).astype(float)
    oof, new = np.column_stack([OOF[:, 1], OOF[:, 0]]), np.column_stack([NEW[:, 1], NEW[:, 0]])
    found = prior_interval(new, oof, y, random_state=0)
    np.testing.assert_allclose(found.prior, [FOUND.prior[1], FOUND.prior[0]], atol=0.01)
    assert found.pvalue.shape == (2,)
    same(prior_interval(new, oof, sparse.csr_array(y), random_state=0), found)
    y[:100, 0] = np.nan  # of these rows the first label is not known
    partly = prior_interval(new, oof, y, random_state=0)
    alone = prior_interval(NEW, OOF[100:], Y[100:], random_state=0)
    assert partly.prior[0] == alone.prior[1]


# -- errors ----------------------------------------------------------------------------------------

LABEL_PAIR = np.column_stack([Y, 1 - Y])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((NEW[:, 1], OOF, Y), r"proba has shape \(1000,\)"),
        ((NEW[:0], OOF, Y), "proba has no rows"),
        ((NEW[None][:0], OOF, Y), "expected"),
        ((NEW, OOF[:100], Y), "oof_proba has 100 rows"),
        ((2 * NEW, OOF, Y), "proba must be probabilities"),
        ((NEW, 2 * OOF, Y), "oof_proba must be probabilities"),
        ((np.full_like(NEW, np.nan), OOF, Y), "NaN"),
        ((NEW, OOF, np.zeros(2000)), "the classes are"),
        ((NEW, OOF, np.arange(2000) % 3), "the classes are"),
        ((NEW, np.where(Y[:, None] == 1, np.nan, OOF), Y), r"No row of the classes \[1\]"),
        ((np.full((9, 2), 0.5), np.full((2000, 2), 0.5), Y), "do not distinguish"),
        ((NEW, OOF, np.column_stack([Y, Y, Y])), "one column for each label"),
        ((NEW, OOF, np.column_stack([Y, 0 * Y])), "Label 1 has the values"),
    ],
)
def test_what_cannot_be_estimated_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        prior_interval(*arguments)


@pytest.mark.parametrize(
    "setting", [{"confidence": 1}, {"confidence": 0.0}, {"n_bins": 0}, {"n_resamples": 5}]
)
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        prior_interval(NEW, OOF, Y, **setting)


def test_classes_of_a_matrix_of_labels():
    with pytest.raises(ValueError, match="leave it out"):
        prior_interval(NEW, OOF, LABEL_PAIR, classes=[0, 1])


# -- any classifier --------------------------------------------------------------------------------


def test_prior_shift_classifier_estimates_too():
    rng = np.random.default_rng(0)
    y = np.where(rng.random(3000) < 0.1, "rare", "usual")
    X = rng.normal(size=(3000, 1)) + 3 * (y == "rare")[:, None]
    X_new = rng.normal(size=(2000, 1)) + 3 * (rng.random(2000) < 0.4)[:, None]
    balanced = LogisticRegression(class_weight="balanced")
    for inner, source in ((LogisticRegression(), "train"), (balanced, "uniform")):
        clf = PriorShiftClassifier(inner, source_prior=source).fit(X, y)
        found = clf.estimate_prior(X_new)
        assert found[0] == pytest.approx(0.4, abs=0.04)
        before = clf.predict_proba(X_new[:5])
        np.testing.assert_array_equal(
            clf.set_params(target_prior=found).estimate_prior(X_new), found
        )
        assert (clf.predict_proba(X_new[:5])[:, 0] > before[:, 0]).all()
    weighted = clf.estimate_prior(X_new, sample_weight=np.arange(2000) < 50)
    np.testing.assert_allclose(weighted, clf.estimate_prior(X_new[:50]), atol=1e-6)
    folds = cross_fit(LogisticRegression(), X, y)
    around = PriorShiftClassifier(FrozenEstimator(folds)).fit(X, y)
    assert around.estimate_prior(X_new)[0] == pytest.approx(0.4, abs=0.04)
