"""Ensembles of regressors: members, the mean in units of the target, folds, and conventions."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    RepeatedKFold,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import (
    MLP,
    DivergenceError,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleRegressor,
)
from imbtorch._fit.validation_rows import ValidationRows
from imbtorch.ensemble._regressor import bootstrap_counts
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.plotting import TrainingCurveDisplay
from imbtorch.training.loop import train_one_by_one
from imbtorch.training.stack import train_stacked
from tests.toy import parameters_of, plain_columns

N = 120
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
Y = 1000 * X[:, 0] + 50 + 100 * RNG.normal(size=N)
TWO = np.stack([Y, X[:, 1]], axis=1)
GROUPS = np.arange(N) // 10
SUBSETS = ["bootstrap", "all", "folds"]
each_subset = pytest.mark.parametrize("subset", SUBSETS)
each_target = pytest.mark.parametrize("y", [Y, TWO], ids=["vector", "two"])


def net(**params):
    settings = {"dtype": "float64", "batch_size": 16, "max_epochs": 3, "lr": 0.02}
    return ImbalancedNetRegressor(MLP((8,)), **{**settings, **params})


def ensemble(subset="all", n=3, *, cv=None, **params):
    return NetEnsembleRegressor(net(**params), n, subset=subset, cv=cv, random_state=0)


def weights_of(member):
    return bootstrap_counts(Y, np.arange(N), member.random_state)


# -- members ---------------------------------------------------------------------------------------


@each_target
def test_each_member_is_the_same_net_trained_alone(y):
    everything = ensemble("all").fit(X, y)
    for member in everything.estimators_:
        alone = clone(member).fit(X, y)
        np.testing.assert_allclose(parameters_of(member), parameters_of(alone), rtol=1e-8)
    drawn = ensemble("bootstrap").fit(X, y)
    for member in drawn.estimators_:
        alone = clone(member).fit(X, y, weights_of(member))
        np.testing.assert_allclose(parameters_of(member), parameters_of(alone), rtol=1e-8)
        assert member._seen_[1] == N
        assert member._seen_[0] < 0.8 * N
    assert len({member.random_state for member in drawn.estimators_}) == 3


def test_bootstrap_samples_share_about_two_thirds_of_the_rows():
    held = [(bootstrap_counts(Y, np.arange(N), seed) > 0).mean() for seed in range(50)]
    assert np.mean(held) == pytest.approx(1 - 1 / np.e, abs=0.02)


def test_bootstrap_sample_with_a_constant_target_is_drawn_again():
    rare = np.zeros(N)
    rare[3] = 1.0
    for seed in range(20):
        assert bootstrap_counts(rare, np.arange(N), seed)[3] > 0
    assert bootstrap_counts(np.ones(N), np.arange(N), 0).sum() == N


def test_members_with_early_stopping_hold_out_no_copy_of_a_training_row():
    memory = {"max_epochs": 40, "validation_fraction": 0.3, "lr": 0.05, "weight_decay": 0.0}
    noise = np.random.default_rng(1).normal(size=N)
    reg = ensemble("bootstrap", 2, **memory).fit(X, noise)
    scores = [member.history_[-1]["valid_score"] for member in reg.estimators_]
    assert max(scores) < -0.7  # minus the variance of noise that nobody can know


def test_default_members():
    reg = NetEnsembleRegressor(ImbalancedNetRegressor(max_epochs=1), random_state=0).fit(X, Y)
    assert reg.subset == "bootstrap"
    assert len(reg.estimators_) == 10
    assert NetEnsembleRegressor()._base.get_params() == ImbalancedNetRegressor().get_params()


# -- predictions -----------------------------------------------------------------------------------


@each_subset
@each_target
def test_predictions_are_the_mean_in_units_of_the_target(subset, y):
    reg = ensemble(subset, density_weight="lds", loss="huber").fit(X, y)
    members = [member.predict(X) for member in reg.estimators_]
    assert reg.predict(X).shape == y.shape
    assert reg.predict(X).dtype == np.float64
    np.testing.assert_allclose(reg.predict(X), np.mean(members, axis=0), rtol=1e-9)
    np.testing.assert_allclose(reg.predict_std(X), np.std(members, axis=0), rtol=1e-7)
    scales = np.ptp([member.target_scale_ for member in reg.estimators_], axis=0)
    assert (scales > 0).all() == (subset != "all")


def test_squares_of_large_targets_do_not_overflow():
    small, large = ensemble().fit(X, Y), ensemble().fit(X, Y * 1e200)
    np.testing.assert_allclose(large.predict_std(X), small.predict_std(X) * 1e200, rtol=1e-6)
    np.testing.assert_allclose(large.predict(X), small.predict(X) * 1e200, rtol=1e-6)


def test_members_that_agree():
    reg = ensemble(n=1).fit(X, Y)
    np.testing.assert_array_equal(reg.predict_std(X), 0)
    np.testing.assert_allclose(reg.predict(X[:1]), reg.estimators_[0].predict(X[:1]), rtol=1e-12)


@pytest.mark.parametrize("rows", ["frame", "list", "sparse", "read-only"])
@each_subset
def test_kinds_of_rows(subset, rows):
    read_only = X.copy()
    read_only.setflags(write=False)
    made = {
        "frame": lambda: pd.DataFrame(X, columns=list("abc"), index=np.arange(N)[::-1]),
        "list": X.tolist,
        "sparse": lambda: sparse.csr_array(X),
        "read-only": lambda: read_only,
    }[rows]()
    targets = pd.Series(Y, index=np.arange(N)[::-1]) if rows == "frame" else Y.tolist()
    settings = {"features": None} if rows == "sparse" else {}
    found = ensemble(subset, **settings).fit(made, targets)
    expected = ensemble(subset, **settings).fit(X, Y)
    np.testing.assert_allclose(found.predict(made), expected.predict(X), rtol=1e-6)
    if subset == "folds":
        np.testing.assert_allclose(found.oof_predict_, expected.oof_predict_, rtol=1e-6)


def test_weight_of_zero_is_absence():
    weight = (np.arange(N) % 4 > 0).astype(float)
    kept = weight > 0
    for subset in ("bootstrap", "all"):
        reg = ensemble(subset).fit(X, Y, weight)
        without = ensemble(subset).fit(X[kept], Y[kept])
        np.testing.assert_allclose(reg.predict(X), without.predict(X), rtol=1e-8)
        heavy = ensemble(subset).fit(X, Y, 1 + 5 * (Y > 0))
        assert abs(heavy.predict(X) - ensemble(subset).fit(X, Y).predict(X)).max() > 1


# -- folds -----------------------------------------------------------------------------------------


SPLITTERS = {
    "default": (None, None, False),
    "several": (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), None, False),
    "groups": (GroupKFold(3), GROUPS, False),
    "time": (TimeSeriesSplit(3), None, True),
    "overlapping": ([(np.arange(80), np.arange(60, 120))], None, True),
    "masks": ([(np.arange(N) % 3 > 0, np.arange(N) % 3 == 0)], None, True),
}


@pytest.mark.parametrize("name", SPLITTERS)
@each_target
def test_out_of_fold_predictions_are_those_of_separate_fits(name, y):
    cv, groups, leaves_out = SPLITTERS[name]
    reg = ensemble("folds", cv=cv).fit(X, y, groups=groups)
    if cv is None:
        cv = KFold(3, shuffle=True, random_state=np.random.default_rng(0).integers(2**31 - 1))
    splits = cv if isinstance(cv, list) else list(cv.split(X, y, groups))
    total, times = np.zeros_like(y), np.zeros(N)
    everything = np.arange(N)
    for member, (train, test) in zip(reg.estimators_, splits, strict=True):
        test = everything[test]
        train = np.setdiff1d(everything[train], test)
        assert groups is None or not set(groups[train]) & set(groups[test])
        total[test] += fitted_apart(member, y, train, test).predict(X[test])
        times[test] += 1
    with np.errstate(invalid="ignore"):
        expected = (total.T / times).T
    np.testing.assert_allclose(reg.oof_predict_, expected, rtol=1e-5)
    assert np.isnan(reg.oof_predict_).any() == leaves_out


def fitted_apart(member, y, train, test):
    """Fit the same net alone, on arrays that hold nothing but its rows."""
    alone, rows = clone(member), np.concatenate([train, test])
    last = ValidationRows(np.arange(len(train), len(rows)), smoothing=3)
    with alone._prepare_fit(X[rows], y[rows], validation=last) as fit:
        train_one_by_one(fit.runs)
        fit.publish()
    return alone


EPOCHS = itertools.count()


def later_is_better(estimator, X, y):
    """Score every epoch higher than the one before, so that nets keep what they know by heart."""
    return next(EPOCHS)


@pytest.mark.parametrize("name", SPLITTERS)
def test_no_row_is_predicted_by_a_net_that_saw_it(name):
    """Each target is noise that only a net which has seen the row can know."""
    cv, groups, _ = SPLITTERS[name]
    rows = np.random.default_rng(5).normal(size=(N, 20))
    noise = np.random.default_rng(1).normal(size=N)
    memory = {
        "max_epochs": 80, "lr": 0.05, "weight_decay": 0.0, "module": MLP((64,)),
        "features": plain_columns(),
    }  # fmt: skip
    reg = ensemble("folds", cv=cv).set_params(**{f"estimator__{k}": v for k, v in memory.items()})
    reg.set_params(estimator__scoring=later_is_better).fit(rows, noise, groups=groups)
    known_by_heart = abs(reg.estimators_[-1].predict(rows) - noise) < 0.3
    assert known_by_heart.mean() > 0.4  # it has seen half of the rows, or more
    known = np.isfinite(reg.oof_predict_)
    assert abs(np.corrcoef(reg.oof_predict_[known], noise[known])[0, 1]) < 0.35


def test_folds_of_the_rows_of_a_search():
    rows = np.arange(0, N, 2)
    reg = ensemble("folds", cv=KFold(2))
    with reg._prepare_fit(X, Y, rows=rows) as fit:
        train_stacked(fit.runs, None)
        fit.publish()
    alone = ensemble("folds", cv=KFold(2)).fit(X[rows], Y[rows])
    np.testing.assert_allclose(reg.oof_predict_[rows], alone.oof_predict_, rtol=1e-6)
    assert np.isnan(np.delete(reg.oof_predict_, rows)).all()


def test_another_fit_without_folds_forgets_their_predictions():
    reg = ensemble("folds").fit(X, Y)
    reg.set_params(subset="all").fit(X, Y)
    assert not hasattr(reg, "oof_predict_")


@pytest.mark.parametrize(
    ("params", "given", "match"),
    [
        ({"subset": "all"}, {"groups": GROUPS}, "subset='folds'"),
        ({}, {"groups": GROUPS}, "GroupKFold"),
        ({"cv": 3}, {"groups": GROUPS}, "GroupKFold"),
        ({"cv": GroupKFold(3)}, {"groups": np.arange(N + 5)}, "inconsistent"),
        ({"cv": GroupKFold(3)}, {}, "groups"),
        ({"cv": []}, {}, "no splits"),
        ({"n_estimators": N + 1}, {}, "n_splits"),
        ({"cv": [(np.arange(N), np.arange(N))]}, {}, "leave 0 rows to train on"),
    ],
    ids=["all", "none", "number", "long", "missing", "empty", "many", "nothing left"],
)
def test_bad_folds_are_an_error(params, given, match):
    reg = ensemble("folds").fit(X, Y)
    state = dict(vars(reg))
    reg.set_params(**params)
    with pytest.raises(ValueError, match=match):
        reg.fit(X, Y, **given)
    kept = {name: value for name, value in vars(reg).items() if name not in params}
    assert all(kept[name] is state[name] for name in kept)


def test_length_of_the_training_is_not_found_twice():
    reg = ensemble("folds", early_stopping=True)
    with pytest.raises(ValueError, match="both find the length"):
        reg.set_params(estimator__max_epochs="auto").fit(X, Y)


def test_cv_of_other_subsets_is_not_used():
    with pytest.warns(UserWarning, match="cv=3 is not used"):
        ensemble("all", cv=3).fit(X, Y)


# -- parameters and errors -------------------------------------------------------------------------


INVALID = {
    "estimator": ["mlp", ImbalancedNetClassifier()],
    "n_estimators": [0, 1.5],
    "subset": ["some", "balanced", None],
    "cv": ["some", 1.5],
    "max_memory": [0, 10],
    "random_state": ["a"],
}


def test_every_parameter_has_invalid_values():
    assert set(INVALID) == set(NetEnsembleRegressor().get_params(deep=False))


@pytest.mark.parametrize("name", sorted(INVALID))
def test_bad_parameters_are_named_and_leave_the_ensemble_as_it_was(name):
    for value in INVALID[name]:
        reg = ensemble("folds").fit(X, Y)
        before, state, good = reg.predict(X), set(vars(reg)), reg.get_params(deep=False)
        reg.set_params(**{name: value})
        with pytest.raises(ValueError, match=name):
            reg.fit(X[:60], Y[:60])
        reg.set_params(**good)
        np.testing.assert_array_equal(reg.predict(X), before)
        assert set(vars(reg)) == state


@each_subset
@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.where(Y > 0, "high", "low"), "predicts numbers"),
        (np.where(Y > 0, Y, np.nan), "NaN"),
        (np.ones(N), "constant"),
        (Y[:50], "inconsistent"),
        (None, "requires y|y is None|y cannot be None"),
    ],
    ids=["words", "gaps", "constant", "short", "none"],
)
def test_bad_targets(subset, y, match):
    with pytest.raises(ValueError, match=match):
        ensemble(subset).fit(X, y)


@each_subset
def test_bad_weights_and_rows(subset):
    for weight, match in ((-np.ones(N), ">= 0"), (np.zeros(N), "non-zero|zero for every row")):
        with pytest.raises(ValueError, match=match):
            ensemble(subset).fit(X, Y, weight)
    with pytest.raises(ValueError, match="NaN|infinity"):
        ensemble(subset).fit(np.full_like(X, np.inf), Y)
    with pytest.raises(ValueError, match="sample"):
        ensemble(subset).fit(X[:1], Y[:1])


def test_datasets_are_refused():
    from torch.utils.data import TensorDataset

    for subset in ("bootstrap", "folds"):
        with pytest.raises(ValueError, match="divides the rows of X"):
            ensemble(subset).fit(TensorDataset(), Y)


def test_diverging_members_leave_the_ensemble_as_it_was():
    reg = ensemble("folds").fit(X, Y)
    before = reg.predict(X)
    reg.set_params(estimator__lr_schedule=lambda progress: np.inf)
    with pytest.raises(DivergenceError):
        reg.fit(X, Y)
    np.testing.assert_array_equal(reg.predict(X), before)


def test_not_fitted():
    for method in ("predict", "predict_std"):
        with pytest.raises(NotFittedError):
            getattr(NetEnsembleRegressor(), method)(X)


def test_outputs_that_are_nan_are_an_error_that_names_rows():
    reg = ensemble(features=None).fit(X, Y)
    for member in reg.estimators_[1:]:
        member.module_[0].weight.data.fill_(np.inf)
    with pytest.raises(ValueError, match="NaN or infinite for 2 of 2 rows"):
        reg.predict(X[:2])


# -- conventions -----------------------------------------------------------------------------------


@each_subset
def test_repeats_with_a_seed_and_pickles(subset):
    first, second = ensemble(subset).fit(X, Y), ensemble(subset).fit(X, Y)
    np.testing.assert_array_equal(first.predict(X), second.predict(X))
    copied = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(copied.predict(X), first.predict(X))
    other = ensemble(subset).set_params(random_state=1).fit(X, Y)
    assert abs(other.predict(X) - first.predict(X)).max() > 1e-3
    assert not hasattr(clone(first), "estimators_")


def test_searches_stacked_ones_and_pipelines():
    grid = {"estimator__lr": [0.001, 0.05], "subset": SUBSETS}
    alone = GridSearchCV(ensemble(n=2), grid, cv=2).fit(X, Y)
    together = StackedGridSearchCV(ensemble(n=2), grid, cv=2).fit(X, Y)
    for column in ("mean_test_score", "std_test_score"):
        np.testing.assert_allclose(
            together.cv_results_[column], alone.cv_results_[column], rtol=1e-6
        )
    pipeline = make_pipeline(StandardScaler(), ensemble("folds", max_epochs=20))
    assert cross_val_score(pipeline, X, Y, cv=2).min() > 0.5


def test_display_and_card():
    reg = ensemble("folds", density_weight="lds").fit(X, Y)
    display = TrainingCurveDisplay.from_estimator(reg)
    assert display.kept
    assert len(display.best_epochs) == 3
    card = reg.model_card({"r2": 0.9})
    assert "- members: 3" in card
    assert "rows of a member: folds" in card
    assert "## Probabilities" not in card


def test_onnx_file(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    for y in (Y, TWO):
        reg = ensemble("bootstrap", 2).fit(X, y)
        reg.to_onnx(tmp_path / "model.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
        (found,) = session.run(["predictions"], {"X": X.astype(np.float32)})
        assert found.shape == y.shape
        np.testing.assert_allclose(found, reg.predict(X), rtol=1e-4, atol=1e-2)


def test_groups_in_a_search():
    reg = ensemble("folds", cv=LeaveOneGroupOut())
    reg.fit(X, Y, groups=np.arange(N) % 3)
    assert len(reg.estimators_) == 3


def test_table_with_gaps_and_words():
    frame = pd.DataFrame(
        {"x": np.where(X[:, 0] > 1, np.nan, X[:, 0]), "w": np.array(list("abc"))[GROUPS % 3]}
    )
    for subset in SUBSETS:
        reg = ensemble(subset).fit(frame, Y)
        mean = np.mean([member.predict(frame) for member in reg.estimators_], axis=0)
        np.testing.assert_allclose(reg.predict(frame), mean, rtol=1e-9)
        assert reg.feature_names_in_.tolist() == ["x", "w"]


class Interrupting:
    """A schedule that raises Ctrl-C after the first epoch."""

    def __call__(self, progress):
        if progress >= 0.3:
            raise KeyboardInterrupt
        return 1.0


def test_interrupted_ensemble_is_usable():
    reg = ensemble("folds", lr_schedule=Interrupting())
    with pytest.raises(KeyboardInterrupt):
        reg.fit(X, Y)
    assert reg.interrupted_
    assert np.isfinite(reg.oof_predict_).all()
