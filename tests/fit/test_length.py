"""``max_epochs="auto"``: folds find the length, then one net is trained on all rows for as long."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV, GroupKFold, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import IterableDataset, TensorDataset

from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NetEnsembleRegressor,
    load,
)
from imbtorch._common.training_length import TrainingLength
from imbtorch._fit import length as length_file
from imbtorch._fit.length import _best_epoch, _FoldScores, find_length
from imbtorch.losses import FocalLoss
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.samplers import ClassBalancedSampler

X, Y = make_classification(240, n_features=6, weights=[0.8], class_sep=1.5, random_state=0)
SMALL = {"module__hidden_sizes": (4,), "random_state": 0}


@pytest.fixture(autouse=True)
def short_searches(monkeypatch):
    """End every search after a few epochs; the tests look at its mechanics."""
    monkeypatch.setattr(length_file, "_MOST_EPOCHS", 6)
    monkeypatch.setattr(length_file, "_MOST_STEPS", 1)


def auto(estimator=ImbalancedNetClassifier, **params):
    return estimator(max_epochs="auto").set_params(**{**SMALL, **params})


def same_net(one, other):
    pairs = zip(one.module_.parameters(), other.module_.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


# -- the decision --------------------------------------------------------------------------------


def test_the_best_epoch_is_that_of_the_mean_of_three_neighbours():
    epochs = np.array([1, 2, 3, 5, 8, 9])
    spike = np.array([[0.9, 0.1, 0.6, 0.7, 0.6, 0.3], [0.9, 0.1, 0.6, 0.7, 0.6, 0.5]])
    assert _best_epoch(epochs, spike) == 5
    assert _best_epoch(epochs, np.array([[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]])) == 9


def test_scores_that_are_nan_do_not_count():
    epochs = np.array([1, 2, 3, 4, 5])
    nan = np.nan
    scores = np.array([[nan, 0.1, 0.5, 0.3, 0.1], [0.2, nan, nan, nan, nan]])
    assert _best_epoch(epochs, scores) == 3
    assert _best_epoch(epochs, np.full((2, 5), nan)) == 1


@pytest.mark.parametrize(("first", "stops"), [(3, 6), (9, 9)])
def test_a_search_ends_well_after_its_best_epoch_and_not_before_the_first_steps(first, stops):
    shared = _FoldScores(2, first)
    for epoch in range(1, 20):
        for fold in (1, 0):  # in whichever order the folds are trained
            shared.add(fold, epoch, -abs(epoch - 4))
        if shared.is_over:
            break
    assert epoch == stops  # 1.3 * 4 and more


def test_points_hold_all_folds_in_their_order():
    shared = _FoldScores(2, 1)
    for epoch, score in ((1, 0.5), (2, 0.75)):
        shared.add(1, epoch, -score)
        shared.add(0, epoch, score)
    shared.add(0, 3, 1.0)  # the other fold has ended
    epochs, scores = shared.points()
    assert epochs.tolist() == [1, 2]
    assert scores.tolist() == [[0.5, 0.75], [-0.5, -0.75]]


def test_the_error_is_that_of_the_difference_to_the_best_epoch():
    scores = np.array([[0.1, 0.5, 0.3], [0.3, 0.7, 0.7]])
    length = TrainingLength(3, 2, np.array([1, 2, 4]), scores)
    np.testing.assert_allclose(length.mean_score, [0.2, 0.6, 0.5])
    # differences -.4 -.4, 0 0, -.2 0: standard deviations 0, 0, .1414 over the root of 2
    np.testing.assert_allclose(length.score_error, [0, 0, 0.1], atol=1e-12)


# -- the fit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [ImbalancedNetClassifier, ImbalancedNetRegressor])
def test_the_fit_equals_one_with_the_number_that_was_found(estimator):
    targets = Y if estimator is ImbalancedNetClassifier else X[:, 0] * 2 + Y
    found = auto(estimator).fit(X, targets)
    assert found.n_epochs_ == found.n_iter_ == 2 * found.training_length_.best_epoch
    stated = auto(estimator, max_epochs=found.n_epochs_).fit(X, targets)
    assert same_net(found, stated)
    np.testing.assert_array_equal(found.predict(X), stated.predict(X))
    assert found.max_epochs == "auto"


def test_a_constant_rate_is_trained_as_long_as_the_search():
    found = auto(lr_schedule="constant").fit(X, Y)
    assert found.n_epochs_ == found.training_length_.best_epoch


def test_scores_of_folds_are_those_of_nets_trained_alone():
    length = find_length(auto(), X, Y)
    assert length.epochs.tolist() == [1, 2, 3, 4, 5, 6]
    split_seed, net_seed = length_file.draw_seeds(0, 2)
    folds = length_file._folds(auto(), Y, None, None, split_seed)
    fold, seed = folds[1], length_file.draw_seeds(net_seed, 4)[1]
    alone = auto(
        max_epochs=6, lr_schedule="constant", averaging="ema", random_state=seed, batch_size=64
    )
    train, test = fold.training, fold.positions
    alone.fit(X[train], Y[train], X_val=X[test], y_val=Y[test])
    scores = [record["valid_score"] for record in alone.history_]
    np.testing.assert_allclose(length.scores[1], scores, atol=1e-5)


def test_no_net_is_scored_on_rows_that_it_trained_on():
    seen = {}

    def remember(estimator, X, y):
        seen.setdefault(estimator.random_state, set()).update(X[:, 0].tolist())
        return 0.5

    numbered = np.column_stack([np.arange(len(Y)), X])
    auto(scoring=remember, features=None).fit(numbered, Y)
    scored = list(seen.values())
    assert len(scored) == 4
    assert set.union(*scored) == set(range(len(Y)))
    assert sum(map(len, scored)) == len(Y)  # each row by one net
    folds = length_file._folds(auto(), Y, None, None, 0)
    for fold in folds:
        assert not np.intersect1d(fold.training, fold.positions).size


def test_groups_stay_together():
    groups = np.arange(len(Y)) // 6
    clf = auto(validation=GroupKFold(3)).fit(X, Y, groups=groups)
    assert clf.training_length_.scores.shape[0] == 3
    for fold in length_file._folds(clf, Y, None, groups, 0):
        assert not np.intersect1d(groups[fold.training], groups[fold.positions]).size
    with pytest.raises(ValueError, match="groups are used by a splitter"):
        auto().fit(X, Y, groups=groups)


def test_splits_in_time_leave_rows_out_of_the_search_only():
    clf = auto(validation=TimeSeriesSplit(2)).fit(X, Y)
    assert clf.training_length_.scores.shape[0] == 2
    assert clf.class_counts_.sum() == len(Y)


def test_labels_weights_and_samplers():
    labels = np.column_stack([Y, X[:, 0] > 0]).astype(float)
    labels[:20, 0] = np.nan
    assert auto().fit(X, labels).training_length_.scores.shape == (4, 6)
    weights = np.where(np.arange(len(Y)) < 40, 0.0, 1.0)
    weighted = auto(sampler=ClassBalancedSampler()).fit(X, Y, sample_weight=weights)
    left_out = auto(sampler=ClassBalancedSampler(), max_epochs=weighted.n_epochs_)
    assert same_net(weighted, left_out.fit(X, Y, sample_weight=weights))


def test_frames_lists_datasets_and_words():
    frame = pd.DataFrame(X).astype("float32").rename(columns=str)
    frame["kind"] = np.where(X[:, 1] > 0, "a", "b")
    words = pd.Series(np.where(Y, "rare", "common"))
    clf = auto().fit(frame, words)
    assert list(clf.feature_names_in_) == [*map(str, range(6)), "kind"]
    assert auto().fit(X.tolist(), Y.tolist()).n_epochs_ == auto().fit(X, Y).n_epochs_
    rows = TensorDataset(torch.tensor(X, dtype=torch.float32), torch.tensor(Y))
    assert auto(features=None).fit(rows, None).n_epochs_ > 0


def test_inside_of_pipelines_and_searches():
    grid = {"loss": [FocalLoss(0.0), FocalLoss(2.0)]}
    plain = GridSearchCV(auto(), grid, cv=2).fit(X, Y)
    stacked = StackedGridSearchCV(auto(), grid, cv=2).fit(X, Y)
    np.testing.assert_allclose(
        stacked.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-6
    )
    assert stacked.best_estimator_.n_epochs_ == plain.best_estimator_.n_epochs_
    assert make_pipeline(StandardScaler(), auto()).fit(X, Y)[-1].n_epochs_ > 0


def test_deferred_weights_are_searched_in_their_first_stage():
    clf = auto(class_weight="balanced", class_weight_schedule=0.8).fit(X, Y)
    plain = auto().fit(X, Y)
    np.testing.assert_array_equal(clf.training_length_.scores, plain.training_length_.scores)


def test_the_global_random_numbers_stay_as_they_are():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    auto(random_state=None).fit(X, Y)
    assert torch.equal(torch.rand(2), expected)


def test_checkpoints_belong_to_the_last_training(tmp_path):
    plain = auto().fit(X, Y)
    clf = auto(checkpoint=tmp_path / "states").fit(X, Y)
    assert same_net(plain, clf)
    assert same_net(auto(checkpoint=tmp_path / "states").fit(X, Y, resume=True), clf)


def test_files_keep_the_setting_and_the_net(tmp_path):
    clf = auto().fit(X, Y)
    clf.save(tmp_path / "net")
    again = load(tmp_path / "net")
    assert again.max_epochs == "auto"
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    with pytest.raises(AttributeError, match="max_epochs='auto'"):
        again.n_epochs_  # noqa: B018


def test_a_fit_with_a_number_forgets_the_length():
    clf = auto().fit(X, Y)
    assert hasattr(clf, "n_epochs_")
    clf.set_params(max_epochs=2).fit(X, Y)
    assert not hasattr(clf, "n_epochs_")
    assert not hasattr(clf, "training_length_")


def test_chunks_are_one_epoch_each():
    with pytest.warns(UserWarning, match="max_epochs='auto': not used by partial_fit"):
        clf = auto().partial_fit(X, Y, classes=[0, 1])
    assert clf.n_iter_ == 1


# -- ensembles -----------------------------------------------------------------------------------


def test_members_on_folds_end_together_and_keep_their_best_epoch(monkeypatch):
    monkeypatch.setattr(length_file, "_MOST_EPOCHS", 40)
    monkeypatch.setattr(length_file, "_STEPS_OF_MEMBERS", 1)

    def falling(estimator, X, y):  # after the third epoch
        return -abs(len(estimator.history_) - 3)

    members = auto(scoring=falling)
    ensemble = NetEnsembleClassifier(members, 4, subset="folds", random_state=0).fit(X, Y)
    epochs = [member.n_iter_ for member in ensemble.estimators_]
    assert max(epochs) - min(epochs) <= 1
    assert 5 <= min(epochs) < 15  # far from the most
    for member in ensemble.estimators_:
        assert {record["lr"] for record in member.history_} == {member.lr}
    early = auto(
        scoring=falling, early_stopping=True, patience=40, lr_schedule="constant", averaging="ema"
    )
    stated = NetEnsembleClassifier(
        early.set_params(max_epochs=10), 4, subset="folds", random_state=0
    ).fit(X, Y)
    for one, other in zip(ensemble.estimators_, stated.estimators_, strict=True):
        assert same_net(one, other)  # the weights of the third epoch


def test_members_of_long_trainings_are_scored_at_growing_distances(monkeypatch):
    monkeypatch.setattr(length_file, "_MOST_EPOCHS", 40)
    calls = []

    def rising(estimator, X, y):
        calls.append(len(estimator.history_))
        return float(len(estimator.history_))

    ensemble = NetEnsembleClassifier(auto(scoring=rising), 2, subset="folds", random_state=0)
    history = ensemble.fit(X, Y).estimators_[0].history_
    scored = [row["epoch"] for row in history if np.isfinite(row["valid_score"])]
    assert scored == [*range(1, 16), 16, 18, 20, 22, 24, 26, 29, 32, 35, 38]
    assert len(calls) == 2 * len(scored)
    assert "validation score of the last epoch: 38" in ensemble.model_card()
    stated = ensemble.set_params(estimator__max_epochs=20).fit(X, Y).estimators_[0].history_
    assert np.isfinite([row["valid_score"] for row in stated]).all()


def test_tables_of_few_rows_have_a_limit_of_epochs(monkeypatch):
    monkeypatch.setattr(length_file, "_MOST_STEPS", 2_000)
    monkeypatch.setattr(length_file, "_FEW_ROWS_EPOCHS", 8)

    def rising(estimator, X, y):
        return float(len(estimator.history_))

    ensemble = NetEnsembleClassifier(auto(scoring=rising), 2, subset="folds", random_state=0)
    assert {m.n_iter_ for m in ensemble.fit(X, Y).estimators_} == {8}
    assert auto(scoring=rising, lr_schedule="constant").fit(X, Y).n_epochs_ == 8


@pytest.mark.parametrize(
    ("ensemble", "subset"),
    [
        (NetEnsembleClassifier, "balanced"),
        (NetEnsembleClassifier, "all"),
        (NetEnsembleRegressor, "bootstrap"),
    ],
)
def test_one_search_finds_the_length_of_all_members(ensemble, subset):
    single = ensemble is NetEnsembleClassifier
    member, targets = (
        (ImbalancedNetClassifier, Y) if single else (ImbalancedNetRegressor, X[:, 0] + Y)
    )
    found = ensemble(auto(member), 3, subset=subset, random_state=0).fit(X, targets)
    n_epochs = {net.n_epochs_ for net in found.estimators_}
    assert len(n_epochs) == 1
    one = find_length(auto(member, random_state=found.estimators_[0].random_state), X, targets)
    counts = np.bincount(Y)
    rows_of_a_member = 2 * counts.min() if subset == "balanced" else len(Y)
    assert n_epochs == {round(one.n_epochs * len(Y) / rows_of_a_member)}  # as many steps
    stated = auto(member, max_epochs=n_epochs.pop())
    stated = ensemble(stated, 3, subset=subset, random_state=0).fit(X, targets)
    for one, other in zip(found.estimators_, stated.estimators_, strict=True):
        assert same_net(one, other)


# -- errors --------------------------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(torch.tensor(X, dtype=torch.float32), torch.tensor(Y), strict=True)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"early_stopping": True}, "early_stopping=False, so that all rows"),
        ({"data_parallel": True}, "data_parallel=False, on a part of the rows"),
        ({"loss_schedule": {"gamma": lambda t: 2 * t}, "loss": "focal"}, "loss_schedule"),
        (
            {"class_weight": "balanced", "class_weight_schedule": "cumulative"},
            "class_weight_schedule='cumulative'",
        ),
        ({"scoring": lambda estimator, X, y: float("nan")}, "score of every fold is NaN"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "message",
)
def test_settings_without_a_length_change_nothing(params, message):
    clf = auto(max_epochs=2).fit(X, Y)
    before = clf.predict_proba(X)
    clf.set_params(max_epochs="auto", **params)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, Y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_data_without_folds():
    with pytest.raises(ValueError, match="X_val would not be used"):
        auto().fit(X, Y, X_val=X[:9], y_val=Y[:9])
    with pytest.raises(ValueError, match="which an IterableDataset does not have"):
        auto(features=None).fit(Stream(), None, class_counts={0: 192, 1: 48})
    with pytest.raises(ValueError, match="n_splits=4"):
        auto().fit(X[:2], [0, 1])


def test_a_warm_start_continues_with_a_number_only():
    clf = auto(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="warm_start=True continues one"):
        clf.fit(X, Y)


def test_ctrl_c_in_the_search_leaves_the_estimator_as_it_was():
    def interrupt(estimator, X, y):
        raise KeyboardInterrupt

    clf = auto(scoring=interrupt)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, Y)
    assert not hasattr(clf, "net_")


@pytest.mark.slow
def test_the_length_follows_the_data(monkeypatch):
    monkeypatch.undo()
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 4)).astype(np.float32)
    corners = ((rows[:, 0] > 0) ^ (rows[:, 1] > 0) ^ (rows[:, 2] > 0)) & (rows[:, 3] > 0)
    noise = rng.random(2000) < 0.1
    long = ImbalancedNetClassifier(max_epochs="auto", random_state=0).fit(rows, corners)
    short = ImbalancedNetClassifier(max_epochs="auto", random_state=0).fit(rows, noise)
    assert long.n_epochs_ > 40
    assert short.n_epochs_ < long.n_epochs_ / 2
