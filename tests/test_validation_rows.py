"""Validation rows of the user's own, and ensembles whose members are scored on their folds."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
)
from imbtorch.model_selection import TunedDecisionClassifierCV

X, Y = make_classification(400, weights=[0.85], class_sep=0.8, random_state=0)
GROUPS = np.arange(400) // 10
TRAIN, VALID = np.arange(300), np.arange(300, 400)


def net(**params):
    return ImbalancedNetClassifier(**{"max_epochs": 4, "random_state": 0, **params})


def scores(clf):
    return [record["valid_score"] for record in clf.history_]


# -- rows given beside the training rows ----------------------------------------------------------


def test_nothing_is_learned_from_validation_rows():
    with_rows = net().fit(X[TRAIN], Y[TRAIN], X_val=X[VALID], y_val=Y[VALID])
    without = net().fit(X[TRAIN], Y[TRAIN])
    np.testing.assert_array_equal(with_rows.predict_proba(X), without.predict_proba(X))
    assert with_rows.class_counts_.sum() == 300
    assert len(scores(with_rows)) == 4


def test_a_split_names_the_same_rows():
    given = net(early_stopping=True).fit(X[TRAIN], Y[TRAIN], X_val=X[VALID], y_val=Y[VALID])
    fold = np.where(np.arange(400) < 300, -1, 0)
    split = net(early_stopping=True, validation=PredefinedSplit(fold)).fit(X, Y)
    assert scores(given) == scores(split)
    np.testing.assert_array_equal(given.predict_proba(X), split.predict_proba(X))


def test_the_last_split_of_a_splitter_counts():
    clf = net(validation=TimeSeriesSplit(3)).fit(X, Y)
    assert clf.class_counts_.sum() == 300


def test_groups_are_kept_together():
    splitter = GroupShuffleSplit(1, test_size=0.25, random_state=0)
    (train, valid), = splitter.split(X, Y, GROUPS)  # fmt: skip
    clf = net(validation=splitter).fit(X, Y, groups=GROUPS)
    given = net().fit(X[train], Y[train], X_val=X[valid], y_val=Y[valid])
    np.testing.assert_allclose(scores(clf), scores(given))


def test_the_scorer_sees_the_weights_of_validation_rows():
    weights = np.where(np.arange(100) < 50, 3.0, 1.0)
    settings = {"scoring": "average_precision"}
    weighted = net(**settings).fit(
        X[TRAIN], Y[TRAIN], X_val=X[VALID], y_val=Y[VALID], sample_weight_val=weights
    )
    order = np.repeat(VALID, weights.astype(int))
    repeated = net(**settings).fit(X[TRAIN], Y[TRAIN], X_val=X[order], y_val=Y[order])
    np.testing.assert_allclose(scores(weighted), scores(repeated))


@pytest.mark.parametrize("kind", ["frame", "sparse"])
def test_kinds_of_tables(kind):
    make = pd.DataFrame if kind == "frame" else sparse.csr_array
    fitted = net().fit(make(X[TRAIN]), Y[TRAIN], X_val=make(X[VALID]), y_val=Y[VALID])
    assert len(scores(fitted)) == 4


def test_regressor():
    reg = ImbalancedNetRegressor(max_epochs=3, random_state=0)
    reg.fit(X[TRAIN], X[TRAIN, 0], X_val=X[VALID], y_val=X[VALID, 0])
    assert len(scores(reg)) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": X}, "go together"),
        ({"X_val": X[:, :3], "y_val": Y}, "rows of shape"),
        ({"groups": GROUPS}, "validation="),
        ({"X_val": pd.DataFrame(X), "y_val": Y}, None),
    ],
)
def test_what_does_not_fit(given, message):
    if message is None:
        with pytest.raises(ValueError, match="columns"):
            net().fit(pd.DataFrame(X[:, ::-1], columns=list("abcdefghijklmnopqrst")), Y, **given)
        return
    with pytest.raises(ValueError, match=message):
        net().fit(X, Y, **given)


def test_validation_rows_in_two_ways():
    with pytest.raises(ValueError, match="not both"):
        net(validation=TimeSeriesSplit()).fit(X, Y, X_val=X, y_val=Y)


# -- cross-fitted ensembles -----------------------------------------------------------------------


def ensemble(**params):
    base = net(target_prior="train", max_epochs=6)
    return NetEnsembleClassifier(base, subset="folds", random_state=0, **params)


def test_members_are_nets_that_are_scored_on_their_fold():
    folds = StratifiedKFold(3)
    clf = ensemble(cv=folds).fit(X, Y)
    for member, (train, test) in zip(clf.estimators_, folds.split(X, Y), strict=True):
        single = ImbalancedNetClassifier(**member.get_params(deep=False))
        single.fit(X[train], Y[train], X_val=X[test], y_val=Y[test])
        np.testing.assert_allclose(scores(member), scores(single), atol=1e-5)


def test_the_best_epoch_is_that_of_the_mean_over_three_epochs():
    clf = ensemble(n_estimators=3).fit(X, Y)
    for member in clf.estimators_:
        mean = [np.mean(scores(member)[max(0, i - 2) : i + 1]) for i in range(6)]
        best = [record["valid_score_best"] for record in member.history_]
        assert best[0]
        assert max(mean) == pytest.approx(mean[np.flatnonzero(best)[-1]])


def test_rows_are_predicted_by_members_that_did_not_see_them():
    labels = np.random.default_rng(0).integers(0, 2, 400)
    memory = net(max_epochs=60, lr=0.02, weight_decay=0.0, target_prior="train")
    clf = NetEnsembleClassifier(memory, 4, subset="folds", random_state=0)
    clf.fit(X, labels)
    out_of_fold = (clf.oof_predict_proba_[:, 1] > 0.5) == labels
    assert out_of_fold.mean() < 0.65
    np.testing.assert_array_equal(
        clf.oof_decision_function_ > 0, clf.oof_predict_proba_[:, 1] > 0.5
    )


def test_groups_repeated_folds_and_rows_of_no_fold():
    grouped = ensemble(cv=GroupKFold(4)).fit(X, Y, groups=GROUPS)
    assert len(grouped.estimators_) == 4
    repeated = ensemble(cv=RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0))
    assert len(repeated.fit(X, Y).estimators_) == 4
    assert np.isfinite(repeated.oof_predict_proba_).all()
    past = ensemble(cv=TimeSeriesSplit(3)).fit(X, Y)
    assert np.isnan(past.oof_predict_proba_[:100]).all()
    assert np.isfinite(past.oof_predict_proba_[100:]).all()


def test_decisions_use_the_predictions_of_the_ensemble():
    tuned = TunedDecisionClassifierCV(ensemble(n_estimators=3), scoring="f1", cv="oof").fit(X, Y)
    assert tuned.estimator_.oof_predict_proba_.shape == (400, 2)
    assert 0 < tuned.best_score_ <= 1


def test_labels_of_a_row():
    labels = np.stack([Y, np.roll(Y, 1)], axis=1)
    clf = ensemble(n_estimators=2).fit(X, labels)
    assert clf.oof_predict_proba_.shape == (400, 2)


def test_folds_of_other_subsets_are_an_error():
    with pytest.raises(ValueError, match="subset='folds'"):
        NetEnsembleClassifier(net()).fit(X, Y, groups=GROUPS)


def test_another_fit_without_folds_forgets_their_predictions():
    clf = ensemble(n_estimators=2).fit(X, Y)
    clf.set_params(subset="all").fit(X, Y)
    assert not hasattr(clf, "oof_predict_proba_")
    with pytest.raises(ValueError, match="subset='folds'"):
        clf.predict_set(X)


def test_rows_that_do_not_count_do_not_calibrate():
    weights = np.where(np.arange(400) < 300, 1.0, 0.0)
    folds = [(TRAIN[:200], np.arange(200, 400)), (np.arange(100, 300), np.arange(100))]
    weighted = ensemble(cv=folds).fit(X, Y, sample_weight=weights)
    assert sum(len(scores) for scores in weighted._scores_[0]) == 100
    ignored = np.where(weights > 0, Y, -100)
    with pytest.warns(UserWarning, match="-100"):
        labelled = ensemble(cv=folds).fit(X, ignored)
    for one, other in zip(weighted._scores_, labelled._scores_, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("how", ["splitter", "rows", "folds"])
def test_validation_rows_are_not_drawn_and_named_at_once(how):
    base = net(validation_fraction=0.2)
    clf, rows = {
        "splitter": (clone(base).set_params(validation=TimeSeriesSplit()), {}),
        "rows": (base, {"X_val": X, "y_val": Y}),
        "folds": (NetEnsembleClassifier(base, 2, subset="folds"), {}),
    }[how]
    with pytest.raises(ValueError, match="validation_fraction=0.2"):
        clf.fit(X, Y, **rows)


def test_folds_need_targets_and_arrays():
    with pytest.raises(ValueError, match="requires y"):
        ensemble(n_estimators=2).fit(X, None)
