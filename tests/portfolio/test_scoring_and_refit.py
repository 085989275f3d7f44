"""Blends by a scorer, nets that are fitted again on all rows, and recipes that must not wait."""

import gc
import weakref

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import average_precision_score, brier_score_loss, make_scorer, roc_auc_score

import imbtorch
from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetPortfolioClassifier,
    NetPortfolioRegressor,
)
from imbtorch.exceptions import FileFormatError
from imbtorch.model_selection import TunedDecisionClassifierCV
from imbtorch.portfolio import _blend
from imbtorch.portfolio._candidates import Candidate
from imbtorch.portfolio._scores import classifying_scorer, regressing_scorer
from imbtorch.training.stack import groups
from tests.portfolio.data import SETTINGS, TARGETS, N, X, Y

WORDS = np.where(Y == 1, "yes", "no")
LABELS = np.stack([Y, X[:, 0] > 0.5], axis=1).astype(int)
RECIPES = {"plain": {}, "bins": {"features__numeric_embedding": "piecewise_linear"}}


def classifier(recipes=RECIPES, settings=SETTINGS, **params):
    net = ImbalancedNetClassifier(module=MLP((8,)), target_prior="train", **settings)
    return NetPortfolioClassifier(net, recipes=recipes, random_state=0, **params)


def regressor(recipes=RECIPES, settings=SETTINGS, **params):
    net = ImbalancedNetRegressor(module=MLP((8,)), **settings)
    return NetPortfolioRegressor(net, recipes=recipes, random_state=0, **params)


# -- scorers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scoring", "metric"),
    [
        ("average_precision", average_precision_score),
        ("roc_auc", roc_auc_score),
        ("neg_brier_score", lambda y, p: -brier_score_loss(y, p)),
    ],
)
def test_leaderboard_has_the_scores_of_out_of_fold_predictions(scoring, metric):
    alone = classifier({"plain": {}}, scoring=scoring).fit(X, Y)
    expected = metric(Y, alone.oof_predict_proba_[:, 1])
    assert alone.leaderboard_["score"] == [pytest.approx(expected)]
    clf = classifier(scoring=scoring).fit(X, Y)
    assert expected in [pytest.approx(score) for score in clf.leaderboard_["score"]]
    assert clf.leaderboard_["score"] == sorted(clf.leaderboard_["score"], reverse=True)
    assert metric(Y, clf.oof_predict_proba_[:, 1]) > max(clf.leaderboard_["score"]) - 0.01


def test_the_scorer_decides_about_the_shares():
    rng = np.random.default_rng(0)
    calibrated = np.clip(0.1 + 0.4 * Y + rng.normal(0, 0.12, N), 0.01, 0.99)
    ranking = np.where(Y == 1, 0.10, 0.05) + rng.normal(0, 0.01, N)  # the better order
    proba = np.array([[1 - p, p] for p in (calibrated, ranking)]).swapaxes(1, 2)
    shares = {}
    for scoring in ("roc_auc", "neg_log_loss"):
        seen = classifying_scorer(scoring, Y).out_of_fold(proba, X, Y, None, Y)
        shares[scoring] = _blend.blend_shares(seen.predictions, seen.scores, seen.strata, 0)
    assert shares["roc_auc"][1] > 0.7
    assert shares["neg_log_loss"][0] > 0.8


def test_words_need_to_know_which_is_positive():
    with pytest.raises(ValueError, match=r"Say which label is positive by pos_label"):
        classifier(scoring="average_precision").fit(X, WORDS)
    scorer = make_scorer(average_precision_score, response_method="predict_proba", pos_label="yes")
    clf = classifier(scoring=scorer).fit(X, WORDS)
    proba = clf.oof_predict_proba_[:, 1]
    assert average_precision_score(WORDS, proba, pos_label="yes") > 0.5


@pytest.mark.parametrize("scoring", ["f1", "balanced_accuracy", make_scorer(roc_auc_score)])
def test_scorers_of_decisions_are_refused(scoring):
    clf = classifier(scoring=scoring)
    with pytest.raises(ValueError, match="looks at decisions.*cv='oof'"):
        clf.fit(X, Y)
    assert not hasattr(clf, "estimators_")


def test_unknown_scorer():
    with pytest.raises(ValueError, match="'scoring' parameter"):
        classifier(scoring="nonsense").fit(X, Y)


def test_callable_sees_features_labels_and_predictions():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    seen = []

    def scorer(estimator, rows, y):
        seen.append(set(map(tuple, rows.to_numpy())) <= set(map(tuple, X)))
        assert set(estimator.predict(rows)) <= {"no", "yes"}
        return roc_auc_score(y == "yes", estimator.predict_proba(rows)[:, 1])

    clf = classifier(scoring=scorer).fit(frame, WORDS)
    assert all(seen)
    auc = roc_auc_score(Y, clf.oof_predict_proba_[:, 1])
    assert auc == pytest.approx(max(clf.leaderboard_["score"]), abs=0.02)


def test_weights_reach_a_scorer():
    weights = np.where(np.arange(N) % 3, 1.0, 0.0)
    known = weights > 0
    clf = classifier({"plain": {}}, scoring="roc_auc").fit(X, np.where(known, Y, 1 - Y), weights)
    auc = roc_auc_score(Y[known], clf.oof_predict_proba_[known, 1])
    assert clf.leaderboard_["score"] == [pytest.approx(auc)]
    rows = np.arange(N)
    doubled = classifying_scorer("roc_auc", Y).out_of_fold(
        clf.oof_predict_proba_[None], X, Y, np.where(rows < 60, 2.0, 1.0), Y
    )
    repeated = np.concatenate([rows[:60], rows])
    expected = roc_auc_score(Y[repeated], clf.oof_predict_proba_[repeated, 1])
    assert doubled.of_recipes()[0] == pytest.approx(expected)


def test_rows_that_stand_for_several_are_repeated_for_scorers_without_weights():
    def precision(estimator, rows, y):
        return average_precision_score(y, estimator.predict_proba(rows)[:, 1])

    proba = np.random.default_rng(0).uniform(size=N)
    predictions = np.stack([1 - proba, proba], axis=1)[None]
    seen = classifying_scorer(precision, Y).out_of_fold(predictions, X, Y, None, Y)
    named = classifying_scorer("average_precision", Y).out_of_fold(predictions, X, Y, None, Y)
    times = np.where(Y == 1, 1.0, 3.0)
    every = predictions, np.arange(N), times
    np.testing.assert_allclose(seen.scores(*every), named.scores(*every))


def test_labels_and_unknown_labels():
    clf = classifier(scoring="roc_auc")
    clf.estimator.set_params(loss="bce")
    clf.fit(X, LABELS)
    found = roc_auc_score(LABELS, clf.oof_predict_proba_)
    assert found == pytest.approx(max(clf.leaderboard_["score"]), abs=0.02)
    unknown = np.where(np.arange(2 * N).reshape(N, 2) % 7 == 0, np.nan, LABELS)
    with pytest.raises(ValueError, match="cannot leave out labels that are not known"):
        clf.fit(X, unknown)


def test_scores_that_are_no_number_are_an_error():
    with pytest.raises(ValueError, match="returned .*nan"):
        classifier(scoring=lambda estimator, X, y: np.nan).fit(X, Y)


@pytest.mark.parametrize("y", [TARGETS, np.stack([TARGETS, X[:, 1]], axis=1)])
def test_regressor_by_absolute_error(y):
    reg = regressor(scoring="neg_mean_absolute_error").fit(X, y)
    error = np.abs(reg.oof_predict_ - y).mean()
    assert -error == pytest.approx(max(reg.leaderboard_["score"]), abs=0.03)
    assert regressing_scorer(lambda e, X, y: 1.0).needs_features


# -- nets that are fitted again ----------------------------------------------------------------


def test_refit_predicts_by_one_net_per_recipe():
    folds, again = classifier().fit(X, Y), classifier(refit=True).fit(X, Y)
    np.testing.assert_array_equal(again.oof_predict_proba_, folds.oof_predict_proba_)
    assert again.leaderboard_["share"] == folds.leaderboard_["share"]
    shares = dict(zip(again.leaderboard_["recipe"], again.leaderboard_["share"], strict=True))
    assert again.nets_per_recipe_ == 1
    np.testing.assert_allclose(again.member_shares_, [shares[name] for name in RECIPES])
    for member, params in zip(again.estimators_, RECIPES.values(), strict=True):
        alone = clone(again.estimator).set_params(**params, random_state=member.random_state)
        np.testing.assert_array_equal(alone.fit(X, Y).predict_proba(X), member.predict_proba(X))
    mean = np.average([m.predict_proba(X) for m in again.estimators_], 0, again.member_shares_)
    np.testing.assert_allclose(again.predict_proba(X), mean)
    assert again.class_counts_.tolist() == np.bincount(Y).tolist()


def test_decisions_work_after_a_refit_and_sets_say_what_they_need():
    clf = classifier(refit=True)
    tuned = TunedDecisionClassifierCV(clf, scoring="balanced_accuracy", cv="oof").fit(X, Y)
    assert set(tuned.predict(X)) == {0, 1}
    with pytest.raises(ValueError, match="refit=False"):
        clf.fit(X, Y).predict_set(X)
    assert clf.set_params(refit=False).fit(X, Y).predict_set(X).shape == (N, 2)
    with pytest.raises(ValueError, match="refit=False"):
        clf.set_params(refit=True).fit(X, Y).predict_set(X)


def test_length_of_the_folds_is_that_of_the_refit():
    clf = classifier({"plain": {"max_epochs": "auto"}}, refit=True).fit(X, Y)
    (member,) = clf.estimators_
    assert member.max_epochs == clf.best_params_["max_epochs"] == member.n_iter_


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_files_hold_refitted_nets(kind, tmp_path):
    make, y = (regressor, TARGETS) if kind == "values" else (classifier, Y)
    model = make(refit=True, scoring="r2" if kind == "values" else "roc_auc").fit(X, y)
    model.save(tmp_path / "m.safetensors")
    again = imbtorch.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.get_params()["scoring"] == model.scoring
    assert again.nets_per_recipe_ == 1
    assert "all" in again.model_card()


def test_only_refitted_nets_lack_scores_in_a_file(tmp_path):
    model = classifier().fit(X, Y)
    del model._scores_
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(FileFormatError, match="missing"):
        imbtorch.load(tmp_path / "m.safetensors")


def test_interrupted_refit_keeps_the_nets_of_the_folds(monkeypatch):
    calls = []

    def interrupt(progress):
        calls.append(progress)
        if len(calls) > 1_000:
            raise KeyboardInterrupt
        return 1.0

    clf = classifier({"plain": {"lr_schedule": interrupt}}).fit(X, Y)
    in_folds = len(calls)
    calls.clear()
    calls.extend([0.0] * (1_000 - in_folds))
    with pytest.raises(KeyboardInterrupt):
        clf.set_params(refit=True).fit(X, Y)
    assert clf.nets_per_recipe_ == 4
    assert clf.interrupted_
    assert clf.predict_proba(X).shape == (N, 2)


# -- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("waits", [True, False])
def test_recipes_with_many_rows_are_trained_in_turn(waits, monkeypatch):
    events, rows = [], []
    for name in ("begin", "finish"):
        done = getattr(Candidate, name)

        def note(self, *args, done=done, name=name):
            if not waits:  # nothing of the recipes before is in memory
                gc.collect()
                assert not [row for row in rows if row() is not None] or name == "finish"
            done(self, *args)
            if name == "begin":
                assert self.bytes_of_rows == bytes_of_folds
                rows.extend(weakref.ref(run.rows.features) for run in self.fit.runs)
            events.append(f"{name} {self.name}")

        monkeypatch.setattr(Candidate, name, note)
    recipes = {"plain": {}, "dropout": {"module__dropout": 0.2}}
    bytes_of_folds = 4 * N * X.shape[1] * 8  # each fold scales all rows in its own way
    tight = 2 * bytes_of_folds - (0 if waits else 1)
    monkeypatch.setattr(groups, "_bytes", lambda run, x: 1)
    clf = classifier(recipes, max_memory=tight).fit(X, Y)
    expected = (
        ["begin plain", "begin dropout", "finish", "finish"]
        if waits
        else ["begin plain", "finish plain", "begin dropout", "finish dropout"]
    )
    assert all(map(str.startswith, events, expected))
    assert clf.leaderboard_["status"] == ["trained"] * 2


def test_the_order_of_the_trainings_changes_nothing(monkeypatch):
    waiting = classifier().fit(X, Y)
    monkeypatch.setattr(groups, "_bytes", lambda run, x: 1)
    in_turn = classifier(max_memory=10).fit(X, Y)
    np.testing.assert_allclose(in_turn.predict_proba(X), waiting.predict_proba(X), rtol=1e-9)
