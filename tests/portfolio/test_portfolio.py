"""Portfolios: what they predict, which recipes are trained, and what never leaks."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import imbtorch
from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NetPortfolioClassifier,
    NetPortfolioRegressor,
)
from imbtorch.exceptions import FileFormatError
from imbtorch.model_selection import TunedDecisionClassifierCV
from imbtorch.portfolio import CLASSIFIER_RECIPES, REGRESSOR_RECIPES, _candidates
from imbtorch.training import prediction
from tests.portfolio.data import SETTINGS, TARGETS, N, X, Y

LABELS = np.stack([Y, X[:, 0] > 0.5, X[:, 1] < 0], axis=1).astype(int)
UNKNOWN = np.where(np.arange(3 * N).reshape(N, 3) % 7 == 0, np.nan, LABELS)
RECIPES = {
    "plain": {},
    "bins": {"features__numeric_embedding": "piecewise_linear"},
    "dropout": {"module__dropout": 0.2},
    "members": {"module": "tabm", "module__hidden_sizes": (8,), "module__k": 2},
}


def classifier(recipes=RECIPES, cv=None, **params):
    net = ImbalancedNetClassifier(module=MLP((8,)), **{**SETTINGS, **params})
    return NetPortfolioClassifier(net, recipes=recipes, cv=cv, random_state=0)


def regressor(recipes=RECIPES, **params):
    net = ImbalancedNetRegressor(module=MLP((8,)), **{**SETTINGS, **params})
    return NetPortfolioRegressor(net, recipes=recipes, random_state=0)


@pytest.fixture(scope="module")
def fitted():
    return classifier(target_prior="train").fit(X, Y)


def board(portfolio):
    return pd.DataFrame(portfolio.leaderboard_).set_index("recipe")


# -- what is predicted -------------------------------------------------------------------------


def proba_of(member, portfolio, rows):
    """Predict by one member, for the population of the whole data instead of that of its fold."""
    view = clone(member)
    view.__dict__.update(vars(member), target_prior=portfolio.class_prior_)
    return view.predict_proba(rows)


def test_predictions_are_the_weighted_mean_of_the_members(fitted):
    own = np.array([proba_of(member, fitted, X) for member in fitted.estimators_])
    mean = np.tensordot(fitted.member_shares_, own, axes=1)
    np.testing.assert_allclose(fitted.predict_proba(X), mean, atol=1e-12)
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(X)), mean, atol=1e-12)
    log_odds = np.log(mean[:, 1] / mean[:, 0])
    np.testing.assert_allclose(fitted.decision_function(X), log_odds, atol=1e-9)
    np.testing.assert_array_equal(fitted.predict(X), mean.argmax(axis=1))
    variance = np.tensordot(fitted.member_shares_, (own - mean) ** 2, axes=1)
    np.testing.assert_allclose(fitted.predict_std(X), np.sqrt(variance), atol=1e-9)
    assert len(set(fitted.member_shares_)) > 1  # or equal shares would pass as well


def test_members_are_neighbours_by_recipe_in_the_order_of_the_folds():
    splits = list(StratifiedKFold(4, shuffle=True, random_state=1).split(X, Y))
    clf = classifier(cv=splits).fit(X, Y)
    share, members = board(clf).share, iter(clf.estimators_)
    assert (share > 0).sum() > 1
    for name in (name for name in RECIPES if share[name] > 0):
        expected = clone(clf.estimator).set_params(**RECIPES[name]).get_params()
        for train, _ in splits:
            member = next(members)
            for key in set(RECIPES[name]) - {"module"}:
                assert member.get_params()[key] == expected[key]
            assert member.class_counts_.tolist() == np.bincount(Y[train]).tolist()
    assert next(members, None) is None


def test_pauses_change_nothing(monkeypatch):
    recipes = {name: RECIPES[name] for name in ("plain", "dropout")}
    expected = classifier(recipes).fit(X, Y)
    monkeypatch.setattr(_candidates, "_FIRST_STEPS", 7)  # pauses after two epochs
    found = classifier(recipes).fit(X, Y)
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
    assert board(found).drop(columns="seconds").equals(board(expected).drop(columns="seconds"))


def test_out_of_fold_predictions_are_blended_alike():
    splits = list(StratifiedKFold(3, shuffle=True, random_state=1).split(X, Y))
    clf = classifier(cv=splits, target_prior="train").fit(X, Y)
    shares = clf.member_shares_.reshape(-1, 3).T
    for fold, (_, test) in enumerate(splits):
        own = [proba_of(member, clf, X[test]) for member in clf.estimators_[fold::3]]
        mean = np.tensordot(shares[fold] / shares[fold].sum(), own, axes=1)
        np.testing.assert_allclose(clf.oof_predict_proba_[test], mean, atol=1e-12)
        assert clf.oof_decision_function_.shape == (N,)


def test_the_blend_is_as_good_as_the_best_recipe(fitted):
    own = fitted.oof_predict_proba_[np.arange(N), Y]
    assert -np.log(own).mean() <= -max(fitted.leaderboard_["score"]) + 0.005
    assert fitted.leaderboard_["recipe"][0] == fitted.best_recipe_
    assert fitted.leaderboard_["score"] == sorted(fitted.leaderboard_["score"], reverse=True)


@pytest.mark.parametrize("loss", ["cross_entropy", "logit_adjusted", "focal"])
def test_weights_and_losses_keep_the_population(loss):
    """A blend is chosen for the data as they came, and described for the population asked for."""
    recipes = {name: RECIPES[name] for name in ("plain", "bins")}
    weight = None if loss == "logit_adjusted" else "balanced"
    clf = classifier(recipes, loss=loss, class_weight=weight, max_epochs=15).fit(X, Y)
    even = clf.predict_proba(X)[:, 1].mean()
    clf.estimator.set_params(target_prior="train")
    assert abs(clf.predict_proba(X)[:, 1].mean() - Y.mean()) < 0.06 < even - Y.mean()


def test_members_whose_encoded_rows_differ_in_width_predict_the_same_rows(fitted, monkeypatch):
    expected = fitted.predict_proba(X)
    assert len({member.net_.encoder_.n_encoded for member in fitted.estimators_}) > 1
    monkeypatch.setattr(prediction, "CHUNK_BYTES", 2_000)  # wider rows come in shorter chunks
    np.testing.assert_allclose(fitted.predict_proba(X), expected, atol=1e-12)


def test_one_recipe_is_an_ensemble_of_folds():
    clf = classifier({"plain": {}}).fit(X, Y)
    assert clf.member_shares_.tolist() == [0.25] * 4
    np.testing.assert_allclose(
        clf.predict_proba(X),
        np.mean([member.predict_proba(X) for member in clf.estimators_], axis=0),
        atol=1e-12,
    )


# -- which recipes are trained -----------------------------------------------------------------


def test_recipes_that_score_worst_are_dropped(monkeypatch):
    monkeypatch.setattr(_candidates, "_LEAST", 4)
    useless = {"lr": 1e-6}
    recipes = {**RECIPES, **{f"useless {i}": useless for i in range(4)}}
    table = board(classifier(recipes, max_epochs=60).fit(X, Y))
    assert (table.status == "dropped").sum() == 4
    assert all(table.status[f"useless {i}"] == "dropped" for i in range(4))
    assert (table.share[table.status == "dropped"] == 0).all()
    np.testing.assert_allclose(table.share.sum(), 1)


def test_a_recipe_that_does_not_work_is_left_out():
    with pytest.warns(UserWarning, match="The recipe 'bad' is left out. It failed: .*dropout"):
        clf = classifier({"bad": {"module__dropout": 7}, "plain": {}}).fit(X, Y)
    table = board(clf)
    assert table.status["bad"].startswith("failed")
    assert np.isnan(table.score["bad"])
    assert clf.best_recipe_ == "plain"


def test_a_recipe_that_diverges_is_left_out():
    with pytest.warns(UserWarning, match="'wild' is left out. It failed: "):
        clf = classifier({"wild": {"lr": 1e30, "optimizer": "sgd"}, "plain": {}}).fit(X, Y)
    assert clf.best_recipe_ == "plain"


def test_wrong_data_are_an_error_and_change_nothing(fitted):
    before = {name: value for name, value in vars(fitted).items() if name.endswith("_")}
    with pytest.raises(ValueError, match="inf"):
        fitted.fit(np.where(X > 1, np.inf, X), Y)
    assert {name: value for name, value in vars(fitted).items() if name.endswith("_")} == before
    with pytest.raises(ValueError, match="requires y"):
        fitted.fit(X, None)
    with pytest.raises(NotFittedError):
        classifier().predict(X)


def test_time_limit():
    clf = classifier(max_epochs=10_000).set_params(time_limit=1e-9).fit(X, Y)
    assert clf.leaderboard_["status"] == ["cut short"] + ["not begun"] * 3
    assert [member.n_iter_ for member in clf.estimators_] == [1] * 4
    assert clf.predict_proba(X).shape == (N, 2)
    assert not clf.interrupted_


def test_nets_that_are_cut_short_are_finished():
    """Batch normalisation knows the averaged weights, as after a training that came to its end."""
    recipes = {"batch": {"module__normalization": "batch", "averaging": "ema"}}
    clf = classifier(recipes, max_epochs=10_000, lr_schedule="constant")
    clf.set_params(time_limit=1e-9).fit(X, Y)
    whole = classifier(recipes, max_epochs=1, lr_schedule="constant").fit(X, Y)
    assert [member.n_iter_ for member in clf.estimators_] == [1] * 4
    np.testing.assert_array_equal(clf.predict_proba(X), whole.predict_proba(X))


@pytest.mark.parametrize(
    ("recipes", "message"),
    [({}, "recipes is empty"), ({"plain": 1}, "must map names"), ({3: {}}, "must map names")],
)
def test_recipes_must_be_named_parameters(recipes, message):
    with pytest.raises(ValueError, match=message):
        classifier(recipes).fit(X, Y)


@pytest.mark.parametrize(
    "params", [{"recipes": "best"}, {"time_limit": 0}, {"cv": 1.5}, {"max_memory": 0}]
)
def test_invalid_parameters(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        classifier().set_params(**params).fit(X, Y)


@pytest.mark.parametrize("module", [MLP((8,)), "mlp"], ids=["builder", "name"])
def test_a_module_that_is_stated_is_not_replaced_in_silence(module):
    clf = NetPortfolioClassifier(ImbalancedNetClassifier(module))
    with pytest.raises(ValueError, match=r"would ignore module=.*recipes of your own"):
        clf.fit(X, Y)


@pytest.mark.parametrize("recipes", [CLASSIFIER_RECIPES, REGRESSOR_RECIPES])
def test_recipes_of_the_package_are_parameters_and_find_their_length(recipes):
    net = ImbalancedNetClassifier if recipes is CLASSIFIER_RECIPES else ImbalancedNetRegressor
    assert len(recipes) > 1
    for params in recipes.values():
        net().set_params(**params)._validate_params()
        assert params["max_epochs"] == "auto"
        assert {"module", "features__numeric_embedding"} <= set(params)  # whatever the defaults are
    assert len({repr(net().set_params(**params)) for params in recipes.values()}) == len(recipes)


def test_best_params_are_those_of_one_net():
    clf = classifier({"long": {"max_epochs": "auto", "lr": 0.05}}, batch_size=64).fit(X, Y)
    assert set(clf.best_params_) == {"max_epochs", "lr"}
    assert clf.best_params_["lr"] == 0.05
    assert isinstance(clf.best_params_["max_epochs"], int)
    net = ImbalancedNetClassifier(module=MLP((8,)), batch_size=64, random_state=0)
    assert net.set_params(**clf.best_params_).fit(X, Y).score(X, Y) > 0.8


# -- folds ---------------------------------------------------------------------------------------


def test_groups_are_kept_together():
    """Rows of a group are copies of each other, whose labels only a net that saw them knows."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(60), 4)
    rows, y = rng.normal(size=(60, 20))[groups], rng.integers(0, 2, size=60)[groups]
    recipes = {"memory": {"module": MLP((64,)), "max_epochs": 40, "lr": 0.05}}
    clf = classifier(recipes, cv=GroupKFold(3)).fit(rows, y, groups=groups)
    assert ((clf.oof_predict_proba_[:, 1] > 0.5) == y).mean() < 0.7
    leaking = classifier(recipes, cv=3).fit(rows, y)
    assert ((leaking.oof_predict_proba_[:, 1] > 0.5) == y).mean() > 0.9
    with pytest.raises(ValueError, match="groups"):
        classifier(recipes, cv=3).fit(rows, y, groups=groups)


def test_decisions_and_sets_from_out_of_fold_predictions(fitted):
    sets = fitted.predict_set(X, 0.2)
    assert sets.shape == (N, 2)
    assert all(sets[c == Y, c].mean() > 0.7 for c in (0, 1))
    assert not sets.all()
    tuned = TunedDecisionClassifierCV(
        clone(fitted), constraint="recall>=0.8", cv="oof", random_state=0
    ).fit(X, Y)
    assert tuned.predict(X)[Y == 1].mean() > 0.7


# -- inputs ----------------------------------------------------------------------------------------


def test_frames_words_and_weights():
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(g=np.where(X[:, 0] > 0, "u", "v"))
    frame.loc[::9, "a"] = np.nan
    words = np.where(Y == 1, "yes", "no")
    weights = np.where(np.arange(N) % 5, 1.0, 0.0)
    splits = list(StratifiedKFold(3, shuffle=True, random_state=1).split(X, Y))
    clf = classifier(cv=splits).fit(frame, words, weights)
    assert clf.classes_.tolist() == ["no", "yes"]
    assert clf.feature_names_in_.tolist() == [*"abcdef", "g"]
    assert roc_auc_score(words, clf.predict_proba(frame)[:, 1]) > 0.8
    spoilt = np.where(weights > 0, words, np.where(Y == 1, "no", "yes"))
    again = classifier(cv=splits).fit(frame, spoilt, weights)
    np.testing.assert_allclose(again.leaderboard_["score"], clf.leaderboard_["score"])


def test_labels_and_unknown_labels():
    recipes = {name: RECIPES[name] for name in ("plain", "bins")}
    clf = classifier(recipes, loss="bce").fit(X, UNKNOWN)
    assert clf.predict_proba(X).shape == clf.oof_predict_proba_.shape == (N, 3)
    known = np.isfinite(UNKNOWN)
    own = np.where(UNKNOWN == 1, clf.oof_predict_proba_, 1 - clf.oof_predict_proba_)
    assert -np.log(own[known]).mean() <= -max(clf.leaderboard_["score"]) + 0.01
    assert clf.predict_set(X, 0.2).shape == (N, 3, 2)


def test_in_a_pipeline_and_cross_validation():
    pipe = make_pipeline(StandardScaler(), classifier({"plain": {}}))
    proba = cross_val_predict(pipe, X, Y, cv=2, method="predict_proba")
    assert proba.shape == (N, 2)
    assert clone(classifier()).get_params()["recipes"] is not None


# -- regression --------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [TARGETS, np.stack([TARGETS, 100 * X[:, 1]], axis=1)])
def test_regressor(y):
    reg = regressor(max_epochs=15).fit(X, y)
    own = np.array([member.predict(X) for member in reg.estimators_])
    mean = np.tensordot(reg.member_shares_, own, axes=1)
    np.testing.assert_allclose(reg.predict(X), mean, atol=1e-9)
    assert reg.oof_predict_.shape == y.shape
    assert reg.predict_std(X).shape == y.shape
    scaled = (reg.oof_predict_ - y) / y.std(axis=0)
    assert np.mean(scaled**2) <= -max(reg.leaderboard_["score"]) + 0.02
    assert reg.score(X, y) > 0.5


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classes", "labels", "values"])
def test_files_hold_a_portfolio(kind, tmp_path):
    recipes = {name: RECIPES[name] for name in ("plain", "bins", "members")}
    model = regressor(recipes) if kind == "values" else classifier(recipes)
    if kind == "labels":
        model.estimator.set_params(loss="bce")
    model.fit(X, {"classes": Y, "labels": LABELS, "values": TARGETS}[kind])
    imbtorch.save(model, tmp_path / "model.safetensors")
    again = imbtorch.load(tmp_path / "model.safetensors")
    method = "predict" if kind == "values" else "predict_proba"
    np.testing.assert_array_equal(getattr(again, method)(X), getattr(model, method)(X))
    np.testing.assert_equal(again.leaderboard_, model.leaderboard_)
    assert again.best_params_ == model.best_params_
    assert again.recipes == model.recipes
    if kind != "values":
        np.testing.assert_array_equal(again.predict_set(X), model.predict_set(X))
        np.testing.assert_array_equal(again.oof_predict_proba_, model.oof_predict_proba_)
    assert "members" in again.model_card()


def test_spoilt_shares_are_refused(fitted, tmp_path):
    for name, value in (
        ("member_shares_", fitted.member_shares_ * 2),
        ("nets_per_recipe_", 5),
        ("leaderboard_", {"recipe": []}),
    ):
        view = clone(fitted)
        view.__dict__.update(vars(fitted))
        vars(view)[name] = value
        view.save(tmp_path / "model.safetensors")
        with pytest.raises(FileFormatError, match=name):
            imbtorch.load(tmp_path / "model.safetensors")


def test_an_ensemble_has_no_shares(tmp_path):
    net = ImbalancedNetClassifier(module=MLP((8,)), **SETTINGS)
    NetEnsembleClassifier(net, 2, random_state=0).fit(X, Y).save(tmp_path / "e.safetensors")
    assert imbtorch.load(tmp_path / "e.safetensors")._member_weights is None


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_onnx_predicts_the_blend(kind, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    rows = X.astype(np.float32)
    recipes = {name: RECIPES[name] for name in ("plain", "bins")}
    model = (regressor if kind == "values" else classifier)(recipes, dtype="float32")
    model.fit(rows, TARGETS if kind == "values" else Y)
    model.to_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {"X": rows})
    expected = model.predict(rows) if kind == "values" else model.predict_proba(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# -- Ctrl-C ------------------------------------------------------------------------------------


def test_interruption_keeps_what_is_trained():
    def interrupt(progress):
        if progress >= 0.5:
            raise KeyboardInterrupt
        return 1.0

    recipes = {"plain": {}, "stopped": {"lr_schedule": interrupt}, "later": {}}
    clf = classifier(recipes, on_interrupt="keep")
    clf.fit(X, Y)
    assert clf.interrupted_
    assert clf.predict_proba(X).shape == (N, 2)
    assert board(clf).status["later"] == "not begun"
    clf = classifier(recipes)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, Y)
    assert clf.interrupted_


def test_default_recipes_are_for_tables():
    clf = NetPortfolioClassifier(ImbalancedNetClassifier(features=None))
    with pytest.raises(ValueError, match="recipes='default' are for tables"):
        clf.fit(X, Y)
