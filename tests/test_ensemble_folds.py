"""Ensembles of classifiers on folds: labels, sets with a guarantee, and what never leaks."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, TimeSeriesSplit

from imbtorch import MLP, ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch._fit.validation_rows import ValidationRows
from imbtorch.training.loop import train_one_by_one

N = 160
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4))
NOISY = X + RNG.normal(size=X.shape)
LABELS = np.stack([NOISY[:, 0] > 0.6, NOISY[:, 1] > 0, NOISY[:, 2] < 0.3], axis=1).astype(int)
UNKNOWN = np.where(np.arange(3 * N).reshape(N, 3) % 7 == 0, np.nan, LABELS)
GROUPS = np.arange(N) // 8


def ensemble(cv=None, n=3, **params):
    settings = {"dtype": "float64", "batch_size": 16, "max_epochs": 4, "lr": 0.02, "loss": "bce"}
    settings |= {"module": MLP((8,)), "target_prior": "train"}
    net = ImbalancedNetClassifier(**{**settings, **params})
    return NetEnsembleClassifier(net, n, subset="folds", cv=cv, random_state=0)


def fitted_apart(member, y, train, test):
    """Fit the same net alone, on arrays that hold nothing but its rows."""
    alone, rows = clone(member), np.concatenate([train, test])
    last = ValidationRows(np.arange(len(train), len(rows)), smoothing=3)
    with alone._prepare_fit(X[rows], y[rows], validation=last) as fit:
        train_one_by_one(fit.runs)
        fit.publish()
    return alone


SPLITTERS = {
    "several": (RepeatedKFold(n_splits=2, n_repeats=2, random_state=0), None),
    "groups": (GroupKFold(3), GROUPS),
    "time": (TimeSeriesSplit(3), None),
    "overlapping": ([(np.arange(120), np.arange(100, N)), (np.arange(50, N), np.arange(60))], None),
}


@pytest.mark.parametrize("name", SPLITTERS)
@pytest.mark.parametrize("y", [LABELS, LABELS[:, 0]], ids=["labels", "classes"])
def test_out_of_fold_predictions_are_those_of_separate_fits(name, y):
    cv, groups = SPLITTERS[name]
    clf = ensemble(cv, loss="bce" if y.ndim == 2 else "cross_entropy").fit(X, y, groups=groups)
    splits = cv if isinstance(cv, list) else list(cv.split(X, y, groups))
    shape = clf.oof_predict_proba_.shape
    total, times = np.zeros(shape), np.zeros((N, 1))
    for member, (train, test) in zip(clf.estimators_, splits, strict=True):
        train = np.setdiff1d(train, test)
        assert groups is None or not set(groups[train]) & set(groups[test])
        alone = fitted_apart(member, y, train, test)
        alone.set_params(target_prior=clf.class_prior_)  # one population for all of them
        total[test] += alone.predict_proba(X[test])
        times[test] += 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(clf.oof_predict_proba_, total / times, rtol=0, atol=1e-5)


EPOCHS = itertools.count()


def later_is_better(estimator, X, y):
    """Score every epoch higher than the one before, so that nets keep what they know by heart."""
    return next(EPOCHS)


@pytest.mark.parametrize("name", SPLITTERS)
def test_no_label_is_predicted_by_a_net_that_saw_it(name):
    cv, groups = SPLITTERS[name]
    rows = np.random.default_rng(2).normal(size=(N, 20))
    noise = np.random.default_rng(1).integers(0, 2, size=(N, 2))
    memory = {"max_epochs": 60, "lr": 0.05, "weight_decay": 0.0, "module": MLP((64,))}
    clf = ensemble(cv, **memory)
    clf.set_params(estimator__scoring=later_is_better).fit(rows, noise, groups=groups)
    assert (clf.estimators_[-1].predict(rows) == noise).mean() > 0.7  # which it knows by heart
    known = np.isfinite(clf.oof_predict_proba_)
    right = (clf.oof_predict_proba_ > 0.5) == noise
    assert right[known].mean() < 0.65


def test_dropout_of_folds_is_repeatable():
    """The nets of folds have rows of their own, whose addresses must not order the stack."""
    settings = {"module": MLP((8,), dropout=0.5), "loss": "cross_entropy"}
    fits = [ensemble(n=4, **settings).fit(X, LABELS[:, 0]) for _ in range(4)]
    for other in fits[1:]:
        np.testing.assert_array_equal(other.predict_proba(X), fits[0].predict_proba(X))


@pytest.mark.parametrize("kind", ["array", "frame", "sparse", "list"])
def test_sets_of_labels(kind):
    y = {
        "array": lambda: UNKNOWN,
        "frame": lambda: pd.DataFrame(UNKNOWN, index=np.arange(N)[::-1]),
        "sparse": lambda: sparse.csr_array(UNKNOWN),
        "list": UNKNOWN.tolist,
    }[kind]()
    clf = ensemble(KFold(3)).fit(X, y)
    sets = clf.predict_set(X, 0.2)
    assert sets.shape == (N, 3, 2)
    expected = ensemble(KFold(3)).fit(X, UNKNOWN)
    np.testing.assert_array_equal(sets, expected.predict_set(X, 0.2))
    for label in range(3):
        known = np.isfinite(UNKNOWN[:, label])
        counted = [sum(len(fold[label][value]) for fold in clf._scores_) for value in (0, 1)]
        assert counted == [np.sum(UNKNOWN[known, label] == value) for value in (0, 1)]


def test_sets_of_labels_cover_new_rows():
    new = np.random.default_rng(7).normal(size=(2000, 4))
    noisy = new + np.random.default_rng(8).normal(size=new.shape)
    truth = np.stack([noisy[:, 0] > 0.6, noisy[:, 1] > 0, noisy[:, 2] < 0.3], axis=1).astype(int)
    sets = ensemble(n=4, max_epochs=8).fit(X, LABELS).predict_set(new, 0.2)
    for label in range(3):
        for value in (0, 1):
            own = truth[:, label] == value
            assert sets[own, label, value].mean() > 0.65  # about 0.8
    assert not sets.all()


def test_labels_of_weight_zero_do_not_calibrate():
    weight = (np.arange(N) % 4 > 0).astype(float)
    clf = ensemble(KFold(3)).fit(X, LABELS, weight.tolist())
    assert sum(len(scores) for fold in clf._scores_ for scores in fold[0]) == weight.sum()
    assert np.isfinite(clf.oof_predict_proba_).all()


def test_repeated_folds_count_rows_as_often_as_they_are_held_out():
    clf = ensemble(RepeatedKFold(n_splits=2, n_repeats=3, random_state=0)).fit(X, LABELS)
    assert clf._times_held_out == 3
    assert ensemble(TimeSeriesSplit(3)).fit(X, LABELS)._times_held_out == 1


@pytest.mark.parametrize("cv", [None, 4])
def test_groups_without_a_splitter_that_keeps_them_together(cv):
    clf = ensemble(KFold(2)).fit(X, LABELS)
    before = dict(vars(clf))
    with pytest.raises(ValueError, match=r"cv=GroupKFold\(5\)"):
        clf.set_params(cv=cv).fit(X, LABELS, groups=GROUPS)
    assert vars(clf).keys() == before.keys()
    with pytest.raises(ValueError, match="inconsistent"):
        clf.set_params(cv=GroupKFold(2)).fit(X, LABELS, groups=np.arange(N + 1))


def test_no_splits():
    with pytest.raises(ValueError, match="no splits"):
        ensemble([]).fit(X, LABELS)
