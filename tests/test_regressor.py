"""The regressor: units, weights, losses, layers that see the targets, and bad input."""

import pickle

import numpy as np
import pytest
import skorch.callbacks as sc
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier, ImbalancedNetRegressor
from imbtorch.feature_smoothing import FeatureSmoothing
from imbtorch.losses.regression import all_regression_losses
from imbtorch.metrics import error_by_density
from tests.toy import parameters_of, plain_columns


def table(n=300, *, n_targets=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    Y = np.stack([np.exp(0.5 * X[:, 0]) + X[:, 1], 5 - 3 * X[:, 2]], axis=1)
    Y = Y + 0.1 * rng.normal(size=Y.shape)
    return X, (Y[:, 0] if n_targets == 1 else Y)


def small(module=None, **params):
    defaults = {"max_epochs": 2, "random_state": 0}
    return ImbalancedNetRegressor(MLP((8,)) if module is None else module, **{**defaults, **params})


def exact(module=None, **params):
    """Return a regressor without rounding and without the randomness of batches."""
    return small(module, **{"dtype": "float64", "batch_size": 10_000, **params})


def assert_same_net(one, other, rtol=1e-8):
    np.testing.assert_allclose(parameters_of(one), parameters_of(other), rtol=rtol, atol=1e-11)


X, Y = table()


# -- losses ----------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("loss", [*all_regression_losses(), nn.SmoothL1Loss(), nn.L1Loss])
def test_loss_learns_a_toy_problem(loss):
    X_test, y_test = table(seed=1)
    reg = small(loss=loss, lr=0.02, max_epochs=30).fit(X, Y)
    assert reg.score(X_test, y_test) > 0.85


def test_parameter_of_a_loss_by_name_is_searched():
    search = GridSearchCV(
        small(loss="huber", max_epochs=4, lr=0.02), {"loss__delta": [0.1, 1.0, 3.0]}, cv=2,
        error_score="raise",
    ).fit(X, Y)  # fmt: skip
    assert len(set(search.cv_results_["mean_test_score"])) == 3
    assert search.best_estimator_.loss_.delta == search.best_params_["loss__delta"]


def test_quantile_lies_above_its_share_of_the_rows():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2000, 1)), rng.exponential(size=2000)
    reg = small(loss="quantile", lr=0.02, max_epochs=15).set_params(loss__q=0.9).fit(X, y)
    assert (y <= reg.predict(X)).mean() == pytest.approx(0.9, abs=0.03)


def test_noise_of_the_loss_is_trained_with_the_net():
    params = {"loss": "balanced_mse", "features": plain_columns()}
    reg = small(**params, max_epochs=5, warm_start=True).fit(X, Y)
    first = float(reg.loss_.sigma.detach())
    assert first != reg.loss_.noise
    log_scale = float(reg.loss_.log_scale.detach())
    reg.set_params(max_epochs=1, lr=1e-9).fit(X, Y)  # goes on from there
    assert float(reg.loss_.log_scale.detach()) == pytest.approx(log_scale, abs=1e-6)
    reg.set_params(max_epochs=3, lr=1e-2).fit(X, Y)
    assert float(reg.loss_.log_scale.detach()) != pytest.approx(log_scale, abs=1e-3)
    reg.set_params(loss="mse").fit(X, Y)  # and the optimizer forgets it
    reg.set_params(loss="balanced_mse").fit(X, Y)
    assert len(reg.net_.optimizer_.param_groups[0]["params"]) == 5


def test_loss_of_the_user_is_left_alone():
    loss = all_regression_losses()["balanced_mse"]()
    small(loss=loss).fit(X, Y)
    assert float(loss.log_scale.detach()) == 0


# -- units -----------------------------------------------------------------------------------------


def test_predictions_follow_the_units_of_the_target():
    one, other = exact(max_epochs=20).fit(X, Y), exact(max_epochs=20).fit(X, Y * 1000 + 5)
    np.testing.assert_allclose(other.predict(X), one.predict(X) * 1000 + 5, rtol=1e-8)
    np.testing.assert_allclose(other.target_mean_, one.target_mean_ * 1000 + 5)
    np.testing.assert_allclose(other.target_scale_, one.target_scale_ * 1000)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_extreme_units(factor):
    np.testing.assert_allclose(
        exact().fit(X, Y * factor).predict(X) / factor, exact().fit(X, Y).predict(X), rtol=1e-8
    )


def test_net_starts_at_the_mean_of_the_target():
    reg = exact(MLP(()), features=plain_columns(), max_epochs=1, lr=1e-12).fit(X, 1e6 + Y)
    centre = reg.predict(X.mean(axis=0, keepdims=True))
    np.testing.assert_allclose(centre, (1e6 + Y).mean(), rtol=1e-12)


def test_large_offset_keeps_its_digits_in_float32():
    y = 1e9 + Y
    assert small(max_epochs=30, lr=0.02).fit(X, y).score(X, y) > 0.85


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_predictions_have_the_shape_of_the_target(shape):
    reg = small(early_stopping=True).fit(X, Y.reshape(shape))
    assert reg.predict(X).shape == Y.reshape(shape).shape
    assert reg.predict(X).dtype == np.float64
    assert reg.target_mean_.shape == (1,)


def test_several_targets():
    X_train, both = table(n_targets=2)
    both = both * [1, 1000]
    X_test, expected = table(n_targets=2, seed=1)
    reg = small(max_epochs=30, lr=0.02, density_weight="lds").fit(X_train, both)
    predicted = reg.predict(X_test)
    assert predicted.shape == expected.shape
    assert reg.score(X_test, expected * [1, 1000]) > 0.85
    assert reg.target_scale_.shape == (2,)


def test_integers_are_numbers():
    small().fit(X, np.arange(len(X)) % 3)


# -- weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", sorted(all_regression_losses()))
@pytest.mark.parametrize("density_weight", [None, "lds", "dense_weight"])
def test_weight_of_two_is_a_row_given_twice(loss, density_weight):
    weights = np.arange(len(Y)) % 3
    order = np.repeat(np.arange(len(Y)), weights)
    reg = exact(loss=loss, density_weight=density_weight)
    weighted = clone(reg).fit(X, Y, sample_weight=weights)
    assert_same_net(weighted, clone(reg).fit(X[order], Y[order]), rtol=1e-6)
    np.testing.assert_allclose(weighted.target_mean_, Y[order].mean())


def test_scale_of_the_weights_does_not_matter():
    weights = np.random.default_rng(0).uniform(0.5, 2, len(Y))
    one, other = exact().fit(X, Y, weights), exact().fit(X, Y, 1000 * weights)
    assert_same_net(one, other)


def test_density_weights_multiply_sample_weights():
    # each target comes twice, with weights that add up to 2: the scale stays as it was
    weights = np.random.default_rng(0).uniform(0.5, 1.5, len(Y))
    weights, y = np.concatenate([weights, 2 - weights]), np.concatenate([Y, Y])
    features = np.concatenate([X, X[::-1]])
    plain = exact(features=None)  # an encoder looks at sample weights alone
    both = clone(plain).set_params(density_weight=lambda y: 1 + (y > 2)).fit(features, y, weights)
    one = clone(plain).set_params(density_weight=lambda y: weights * (1 + (y > 2)))
    assert_same_net(both, one.fit(features, y))
    assert not np.allclose(parameters_of(both), parameters_of(plain.fit(features, y, weights)))


def diluted(n, seed):
    """Exponential targets, seen through noise: a plain net predicts rare ones too low."""
    rng = np.random.default_rng(seed)
    y = rng.exponential(size=n)
    signal = np.stack([np.sqrt(y), np.sin(y), rng.normal(size=n)], axis=1)
    return signal + 0.4 * rng.normal(size=signal.shape), y


@pytest.mark.slow
@pytest.mark.parametrize(
    "density_weight", ["lds", "dense_weight", "extremes", ("lds", {"reweight": "inverse"})]
)
def test_density_weights_help_where_targets_are_rare(density_weight):
    def error(weight, seed):
        (X, y), (X_test, y_test) = diluted(1500, seed), diluted(4000, seed + 100)
        params = {"features": plain_columns(), "max_epochs": 20, "lr": 1e-2}
        reg = small(MLP((16,)), density_weight=weight, **params).fit(X, y)
        return error_by_density(y_test, reg.predict(X_test), y, thresholds=(5, 30))["few"]

    plain = np.array([error(None, seed) for seed in range(4)])
    weighted = np.array([error(density_weight, seed) for seed in range(4)])
    assert (weighted < plain).all()
    assert weighted.mean() < 0.92 * plain.mean()


def test_relevance_of_each_row():
    relevance = (np.arange(len(Y)) % 2).astype(float)
    chosen = relevance > 0
    reg = exact(density_weight=relevance, early_stopping=True).fit(X, Y)
    assert reg.score(X, Y) > -1
    settings = {"max_epochs": 1, "density_weight": relevance, "features": None}
    plain = exact(**settings).fit(X, Y)
    np.testing.assert_allclose(plain.target_mean_, Y.mean())
    X_other = np.where(chosen[:, None], X, 99.0)  # rows without relevance take no part
    assert_same_net(plain, exact(**settings).fit(X_other, Y))


# -- training --------------------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_epoch():
    reg = small(early_stopping=True, patience=3, max_epochs=200, lr=0.05, lr_schedule="constant")
    reg.set_params(validation_fraction=0.3, density_weight="lds").fit(X, Y)
    scores = np.array(reg.history_[:, "valid_score"])
    assert len(scores) < 200
    assert len(scores) - 1 - scores.argmax() == 3
    assert -1 < scores.max() < 0  # minus the mean squared error, in variances of y


def test_score_of_the_validation_part_is_the_mean_squared_error():
    seen = []

    def score(reg, X, y):
        seen.append((reg.predict(X), y))
        return 0.0

    params = {"validation_fraction": 0.2, "max_epochs": 1}
    reg = exact(scoring=score, **params).fit(X, Y)
    predicted, y = seen[0]
    assert len(y) == 60
    default = exact(**params).fit(X, Y)
    mse = np.mean((predicted - y) ** 2) / reg.target_scale_[0] ** 2
    assert default.history_[0, "valid_score"] == pytest.approx(-mse, rel=1e-10)
    assert reg.target_mean_[0] == pytest.approx((Y.sum() - y.sum()) / 240)


@pytest.mark.parametrize("loss", ["mse", "balanced_mse"])
def test_pickled_regressor_predicts_the_same(loss):
    reg = small(loss=loss).fit(X, Y)
    again = pickle.loads(pickle.dumps(reg))
    np.testing.assert_array_equal(again.predict(X), reg.predict(X))
    np.testing.assert_array_equal(again.target_scale_, reg.target_scale_)


def test_same_seed_same_predictions():
    np.testing.assert_array_equal(small().fit(X, Y).predict(X), small().fit(X, Y).predict(X))


def test_warm_start_goes_on_with_the_scale_of_the_first_fit():
    reg = small(warm_start=True).fit(X, Y)
    mean = reg.target_mean_.copy()
    reg.fit(X, Y + 3)
    np.testing.assert_array_equal(reg.target_mean_, mean)
    assert reg.n_iter_ == 4
    with pytest.raises(ValueError, match="2 targets.*fitted on 1"):
        reg.fit(*table(n_targets=2))


def test_partial_fit_learns_from_a_stream():
    reg = small(lr=0.02)
    for epoch in range(12):
        for start in range(0, 300, 100):
            weights = None if epoch % 2 else np.full(100, 2.0)
            reg.partial_fit(X[start : start + 100], Y[start : start + 100], weights)
    assert reg.n_iter_ == 36
    assert reg.target_mean_[0] == pytest.approx(Y[:100].mean())
    assert reg.score(*table(seed=1)) > 0.8
    reg.partial_fit(X[:1], Y[:1])  # a later chunk may be constant
    with pytest.raises(ValueError, match="density_weight needs the whole data set"):
        reg.set_params(density_weight="lds").partial_fit(X, Y)


def test_failed_fit_leaves_the_estimator_as_it_was():
    reg = small().fit(X, Y)
    predicted = reg.predict(X)
    reg.set_params(lr=1e25, max_epochs=5, lr_schedule="constant")
    with pytest.raises(ValueError, match="diverged"):
        reg.fit(X, 100 * Y)
    np.testing.assert_array_equal(reg.predict(X), predicted)


def test_feature_smoothing_sees_targets_and_epochs():
    layer = FeatureSmoothing(8, n_bins=10)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), layer, nn.Linear(8, 1))
    reg = small(module, max_epochs=8, lr=0.02, early_stopping=True).fit(X, Y)
    trained = reg.module_[2]
    assert int(trained.n_epochs) >= 1
    assert int(trained.seen.sum()) >= 5
    assert float(trained.low) < -1 < 1 < float(trained.high)  # in standard deviations
    assert reg.score(*table(seed=1)) > 0.7
    assert int(layer.n_epochs) == 0  # that of the user is left alone
    reg.set_params(warm_start=True, max_epochs=1).fit(X, Y)  # keeps its statistics
    assert int(reg.module_[2].n_epochs) == int(trained.n_epochs) + 1


@pytest.mark.slow
def test_batch_norm_and_dropout_on_boston_housing(data_dir):
    path = data_dir / "housing.csv"
    if not path.exists():
        pytest.skip(f"no {path}")
    housing = np.loadtxt(path, delimiter=",")

    def net(input_shape, n_outputs):
        return nn.Sequential(
            nn.Linear(*input_shape, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(32, n_outputs),
        )  # fmt: skip

    model = make_pipeline(
        StandardScaler(), ImbalancedNetRegressor(net, lr=1e-2, max_epochs=60, random_state=0)
    )
    folds = KFold(4, shuffle=True, random_state=0)
    scores = cross_val_score(model, housing[:, :-1], housing[:, -1], cv=folds)
    assert scores.min() > 0.75


class Watch(sc.Callback):
    """Counts batches, and presses Ctrl-C at the end of the second epoch."""

    n_batches = 0

    def on_batch_end(self, net, training=None, **kwargs):
        self.n_batches += bool(training)

    def on_epoch_end(self, net, dataset_valid=None, **kwargs):
        self.targets = np.array([y for _, y in dataset_valid])  # standardised
        if len(net.history) == 2:
            raise KeyboardInterrupt


def test_callbacks_of_skorch_and_interruption():
    watch, r2 = Watch(), sc.EpochScoring("r2", lower_is_better=False)
    reg = small(callbacks=[r2, watch], validation_fraction=0.2, on_interrupt="keep", max_epochs=9)
    with pytest.warns(UserWarning, match="interrupted"):
        reg.fit(X, Y)
    assert reg.interrupted_
    assert watch.n_batches == 2 * 4
    last = reg.history_[-1]
    assert last["valid_loss"] == pytest.approx(-last["valid_score"], rel=1e-5)
    assert watch.targets.shape == (60, 1)
    assert last["r2"] == pytest.approx(1 - last["valid_loss"] / watch.targets.var(), rel=1e-4)
    assert reg.predict(X).shape == Y.shape


def test_frames_of_several_targets():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abc"))
    reg = small(early_stopping=True).fit(frame, pd.DataFrame(table(n_targets=2)[1]))
    assert reg.feature_names_in_.tolist() == ["a", "b", "c"]
    assert reg.predict(frame).shape == (300, 2)
    assert small().fit(frame, pd.Series(Y)).predict(frame).shape == (300,)


# -- bad input -------------------------------------------------------------------------------------

LABELS = (np.arange(300)[:, None] % [2, 3] == 0).astype(int)
BAD_TARGETS = {
    "constant": (np.full(300, 3.5), "y is constant.*300 rows.*3.5.*nothing to learn"),
    "nearly constant": (np.where(np.arange(300) % 2, 0.3, 0.1 + 0.2), "y is constant"),
    "constant column": (np.stack([Y, np.zeros(300)], axis=1), "constant in column 1"),
    "strings": (np.array(["a", "b", "c"] * 100), "ImbalancedNetClassifier"),
    "objects": (np.array(["1", "2", "3"] * 100, dtype=object), "ImbalancedNetClassifier"),
    "booleans": (Y > 0, "ImbalancedNetClassifier"),
    "labels": (LABELS, "several columns of 0 and 1.*ImbalancedNetClassifier"),
    "dates": (np.arange(300).astype("datetime64[D]"), "ImbalancedNetClassifier"),
    "NaN": (np.where(Y > 1, np.nan, Y), "y contains NaN"),
    "infinity": (np.where(Y > 1, np.inf, Y), "y contains infinity"),
    "short": (Y[:-1], "inconsistent numbers of samples"),
    "three dimensions": (np.zeros((300, 2, 2)), r"shape \(n,\) or \(n, k\)"),
    "None": (None, "y"),
}


@pytest.mark.parametrize("name", sorted(BAD_TARGETS))
def test_bad_target_is_an_error(name):
    y, message = BAD_TARGETS[name]
    reg = small()
    with pytest.raises(ValueError, match=message):
        reg.fit(X, y)
    with pytest.raises(NotFittedError):
        reg.predict(X)


def test_sparse_labels_are_an_error():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match="sparse matrix.*ImbalancedNetClassifier"):
        small().fit(X, sparse.csr_array(LABELS))


def test_constant_where_weighted_is_an_error():
    y = np.where(np.arange(300) < 10, Y, 0.0)
    with pytest.raises(ValueError, match="y is constant"):
        small().fit(X, y, sample_weight=(np.arange(300) >= 10).astype(float))


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"loss": "focal"}, ValueError, "Unknown regression loss 'focal'.*'mse'"),
        ({"loss": nn.CrossEntropyLoss()}, ValueError, "one value per element|shape"),
        ({"density_weight": "rare"}, ValueError, "Unknown density_weight 'rare'.*'lds'"),
        ({"density_weight": [0.5, 0.5]}, ValueError, "300 rows.*relevance"),
        ({"density_weight": lambda y: -y}, ValueError, "finite numbers >= 0"),
        ({"density_weight": 3}, ValueError, "density_weight"),
        ({"module": nn.Linear(3, 2)}, ValueError, "1 columns.*shape"),
        ({"scoring": "nothing", "early_stopping": True}, ValueError, "nothing"),
        ({"max_epochs": 0}, ValueError, "max_epochs"),
    ],
)
def test_bad_parameter_is_an_error(params, error, message):
    with pytest.raises(error, match=message):
        small().set_params(**params).fit(X, Y)


def test_negative_weight_is_an_error():
    with pytest.raises(ValueError, match="sample_weight must be >= 0"):
        small().fit(X, Y, sample_weight=Y - 100)


def test_classifier_sends_real_targets_here():
    with pytest.raises(ValueError, match="(?i)unknown label type"):
        ImbalancedNetClassifier().fit(X, Y)


def test_regressor_needs_no_global_generator(global_rng_untouched):
    small(early_stopping=True, loss="balanced_mse").set_params(loss__kind="gai").fit(X, Y)


@pytest.mark.parametrize(
    "params", [{"gradient_clipping": 0.5}, {"sharpness": 0.05}, {"averaging": "ema"}], ids=str
)
def test_steps_and_averages_are_those_of_the_classifier(params):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = X @ [1.0, -2.0, 0.5]
    plain = ImbalancedNetRegressor(MLP((8,)), random_state=0, max_epochs=15, lr=0.02).fit(X, y)
    other = clone(plain).set_params(**params).fit(X, y)
    assert other.score(X, y) > 0.9
    assert (other.predict(X) != plain.predict(X)).any()


def test_sharpness_and_layers_that_look_at_targets_exclude_each_other():
    def smoothed(input_shape, n_outputs):
        layers = (nn.Linear(input_shape[0], 8), FeatureSmoothing(8), nn.Linear(8, n_outputs))
        return nn.Sequential(*layers)

    X = np.random.default_rng(0).normal(size=(50, 3))
    with pytest.raises(ValueError, match="FeatureSmoothing looks at its targets once"):
        ImbalancedNetRegressor(smoothed, sharpness=0.1).fit(X, X[:, 0])
