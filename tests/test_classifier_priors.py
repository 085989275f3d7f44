"""Samplers, target priors and the calibration that follows from them."""

import warnings

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from scipy.special import expit
from sklearn.base import BaseEstimator
from torch import nn

from imbtorch import MLP, DoubleCorrectionWarning, ImbalancedNetClassifier
from imbtorch.losses import CrossEntropyLoss, LogitAdjustedLoss, all_losses
from tests.toy import overlapping, parameters_of, small, table

X, Y = table()
RATE = 0.05


class Recording(BaseEstimator):
    """Repeats the rows of class 1, and remembers what it saw."""

    seen = None

    def fit_resample(self, X, y):
        Recording.seen = X.copy(), y.copy()
        rows = np.concatenate([np.arange(len(y)), np.repeat(np.flatnonzero(y == 1), 3)])
        self.sample_indices_ = rows
        return X[rows], y[rows]


# -- samplers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (RandomUnderSampler(), [0.5, 0.5]),
        (RandomOverSampler(), [0.5, 0.5]),
        (SMOTE(), [0.5, 0.5]),
        (RandomUnderSampler(sampling_strategy=0.25), [0.8, 0.2]),
        (RandomOverSampler(sampling_strategy=0.25), [0.8, 0.2]),
    ],
    ids=repr,
)
def test_sampler_decides_the_population_of_the_raw_posterior(sampler, expected):
    clf = small(sampler=sampler, loss="cross_entropy").fit(X, Y)
    np.testing.assert_allclose(clf.effective_prior_, expected, atol=0.01)
    np.testing.assert_array_equal(clf.class_counts_, np.bincount(Y))
    np.testing.assert_allclose(clf.class_prior_, np.bincount(Y) / len(Y))


def test_over_sampling_is_repeating_rows():
    X_more, y_more = Recording().fit_resample(X, Y)
    params = {"dtype": "float64", "batch_size": 10_000, "loss": "cross_entropy", "features": None}
    sampled = small(sampler=Recording(), **params).fit(X, Y)
    repeated = small(**params).fit(X_more, y_more)
    np.testing.assert_allclose(parameters_of(sampled), parameters_of(repeated), rtol=1e-9)


def test_sampling_is_repeatable():
    def train(seed):
        return parameters_of(small(sampler=RandomUnderSampler(), random_state=seed).fit(X, Y))

    np.testing.assert_array_equal(train(0), train(0))
    assert not np.array_equal(train(0), train(1))


def test_sampling_strategy_is_keyed_by_the_labels():
    sampler = RandomUnderSampler(sampling_strategy={"no": 60})
    clf = small(sampler=sampler, loss="cross_entropy").fit(X, np.array(["no", "yes"])[Y])
    positives = np.count_nonzero(Y)
    np.testing.assert_allclose(clf.effective_prior_, np.array([60, positives]) / (60 + positives))


def test_validation_rows_are_split_off_before_the_sampler():
    valid = {}

    def score(estimator, X, y):
        valid.update(X=X, y=y)
        return 0.5

    settings = {"validation_fraction": 0.2, "scoring": score}
    clf = small(sampler=Recording(), **settings).fit(X, Y)
    scaled, _ = Recording.seen  # the sampler gets encoded rows, a scorer those of the user
    encoder = clf.net_.encoder_
    X_seen = scaled.astype(np.float64) / encoder.factor.numpy() + encoder.centre.numpy()
    assert len(X_seen) == 240
    assert len(valid["X"]) == 60
    together = np.concatenate([X_seen, valid["X"]])
    in_order = [rows[np.lexsort(rows.round(3).T)] for rows in (together, X)]
    np.testing.assert_allclose(*in_order, atol=1e-5)
    np.testing.assert_array_equal(np.bincount(valid["y"]), np.round(0.2 * np.bincount(Y)))


def test_sampler_is_not_changed_by_fit():
    sampler = RandomUnderSampler()
    small(sampler=sampler).fit(X, Y)
    assert sampler.random_state is None
    assert not hasattr(sampler, "sample_indices_")


@pytest.mark.parametrize("sampler", [RandomUnderSampler(), RandomOverSampler()], ids=repr)
def test_sample_weight_goes_along_with_the_rows_a_sampler_selects(sampler):
    weights = np.where(Y == 1, 4.0, 1.0)
    clf = small(sampler=sampler, loss="cross_entropy").fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(clf.effective_prior_, [0.2, 0.8])


def test_made_up_rows_have_no_sample_weight():
    with pytest.raises(ValueError, match=r"SMOTE.*sample_weight.*RandomUnderSampler"):
        small(sampler=SMOTE()).fit(X, Y, sample_weight=np.ones(len(Y)))


def test_sampler_of_more_dimensions():
    images = X[:, :, None] * np.ones((1, 1, 4))
    module = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    clf = small(module, sampler=SMOTE()).fit(images, Y)
    assert clf.predict(images).shape == Y.shape


# -- target prior ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("train", lambda clf: clf.class_prior_),
        ("uniform", lambda clf: [0.5, 0.5]),
        ({"no": 0.7, "yes": 0.3}, lambda clf: [0.7, 0.3]),
        ([0.7, 0.3], lambda clf: [0.7, 0.3]),
        (np.array([0.7, 0.3]), lambda clf: [0.7, 0.3]),
    ],
    ids=["train", "uniform", "dict", "list", "array"],
)
@pytest.mark.parametrize("loss", ["cross_entropy", "logit_adjusted", "focal"])
def test_target_prior_multiplies_the_odds(loss, target, expected):
    clf = small(loss=loss, dtype="float64").fit(X, np.array(["no", "yes"])[Y])
    raw = clf.decision_function(X)
    source, wanted = clf.effective_prior_, np.asarray(expected(clf))
    shift = np.log(wanted[1] / wanted[0]) - np.log(source[1] / source[0])
    clf.set_params(target_prior=target)
    np.testing.assert_allclose(clf.decision_function(X), raw + shift, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(clf.predict_proba(X)[:, 1], expit(raw + shift), rtol=1e-9)


def test_no_target_prior_keeps_the_effective_prior():
    clf = small(loss="cross_entropy", dtype="float64").fit(X, Y)
    explicit = clf.predict_proba(X)
    clf.set_params(target_prior=clf.effective_prior_)
    np.testing.assert_allclose(clf.predict_proba(X), explicit, rtol=1e-12)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"loss": "cross_entropy"}, "prior"),
        ({"loss": "focal"}, "prior"),
        ({"loss": "logit_adjusted"}, "uniform"),
        ({"loss": "balanced_softmax"}, "uniform"),
        ({"loss": LogitAdjustedLoss(0.0)}, "prior"),
        ({"loss": "cross_entropy", "class_weight": "balanced"}, "uniform"),
        ({"loss": CrossEntropyLoss(weight=[3, 1])}, [3, 1]),
        ({"loss": "cross_entropy", "class_weight": {1: 4}}, [1, 4]),
        ({"loss": "logit_adjusted", "class_weight": {0: 4}}, [4 * RATE / (1 - RATE), 1]),
    ],
)
def test_effective_prior_is_weights_and_adjustment_times_the_training_prior(params, expected):
    X, y = overlapping(400, RATE)
    clf = small(**params).fit(X, y)
    prior = np.array([1 - RATE, RATE])
    wanted = {"prior": prior, "uniform": np.array([0.5, 0.5])}
    if isinstance(expected, str):
        wanted = wanted[expected]
    else:
        wanted = prior * expected
        wanted = wanted / wanted.sum()
    np.testing.assert_allclose(clf.effective_prior_, wanted, rtol=1e-6)


@pytest.mark.parametrize("loss", [nn.L1Loss(), nn.MultiMarginLoss()], ids=repr)
def test_loss_without_posterior_cannot_have_a_target_prior(loss):
    clf = small(loss=loss)
    with pytest.raises(ValueError, match="(?s)target_prior='train'.*CalibratedClassifierCV"):
        clf.set_params(target_prior="train").fit(X, Y)
    assert not hasattr(clf, "classes_")
    fitted = clf.set_params(target_prior=None).fit(X, Y)
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="CalibratedClassifierCV"):
        fitted.set_params(target_prior="uniform").predict_proba(X)


@pytest.mark.parametrize(
    "wrong", [{0: 1.0}, {0: 0.5, 2: 0.5}, [0.5, 0.6], [1.0], [-1.0, 2.0], [np.nan, 1]]
)
def test_invalid_target_prior_is_found_by_fit(wrong):
    with pytest.raises(ValueError, match="target_prior"):
        small(target_prior=wrong).fit(X, Y)


@pytest.mark.parametrize(
    "params",
    [
        *({"loss": name} for name, loss in all_losses().items() if loss().has_posterior),
        {"loss": "cross_entropy", "class_weight": "balanced"},
        {"loss": "logit_adjusted", "class_weight": {0: 3}},
        {"loss": CrossEntropyLoss(label_smoothing=0.02)},
        {"loss": nn.MSELoss()},
        {"loss": nn.BCEWithLogitsLoss()},
    ],
    ids=str,
)
def test_net_starts_at_the_prior(params):
    X, y = overlapping(400, RATE)
    clf = small(MLP(()), lr_schedule=lambda progress: 0.0, weight_decay=0.0, **params)
    clf.fit(np.zeros_like(X), y)  # of rows without information only the output bias is left
    clf.set_params(target_prior="train")
    np.testing.assert_allclose(clf.predict_proba(X[:1] * 0)[0], clf.class_prior_, rtol=1e-4)


# -- calibration -----------------------------------------------------------------------------------

SETTINGS = {
    "plain": ({"loss": "cross_entropy"}, False),
    "focal": ({"loss": "focal"}, False),
    "logit adjusted": ({"loss": "logit_adjusted"}, True),
    "balanced softmax": ({"loss": "balanced_softmax"}, True),
    "class weights": ({"loss": "cross_entropy", "class_weight": "balanced"}, True),
    "focal, class weights": ({"loss": "focal", "class_weight": "balanced"}, True),
    "weights in the loss": ({"loss": CrossEntropyLoss(weight=[1, 19])}, True),
    "under-sampling": ({"loss": "cross_entropy", "sampler": RandomUnderSampler()}, True),
    "over-sampling": ({"loss": "cross_entropy", "sampler": RandomOverSampler()}, True),
}


@pytest.mark.matrix
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_posterior_of_the_training_population_is_calibrated(name):
    X, y = overlapping(6000, RATE, seed=1)
    params, shifted = SETTINGS[name]
    clf = ImbalancedNetClassifier(
        MLP(()), lr=0.03, max_epochs=8, random_state=0, weight_decay=0.0, **params
    ).fit(X, y)
    raw = clf.predict_proba(X)[:, 1]
    corrected = clf.set_params(target_prior="train").predict_proba(X)[:, 1]
    assert corrected.mean() == pytest.approx(RATE, rel=0.25)
    # the classes are unit Gaussians one apart in two directions, so the posterior is known
    truth = expit(X[:, 0] + X[:, 1] - 1 + np.log(RATE / (1 - RATE)))
    assert np.abs(corrected - truth).mean() < 0.02
    assert bool(raw.mean() > 4 * RATE) is shifted


def test_ranking_of_two_classes_is_the_same_for_every_population():
    clf = small().fit(X, Y)
    order = np.argsort(clf.decision_function(X), kind="stable")
    for target in ("train", "uniform", [0.99, 0.01]):
        scores = clf.set_params(target_prior=target).decision_function(X)
        assert (np.diff(scores[order]) >= -1e-5).all()


# -- double correction -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "culprits"),
    [
        (
            {"sampler": RandomUnderSampler(), "class_weight": "balanced", "loss": "cross_entropy"},
            ["sampler=RandomUnderSampler", "class_weight='balanced'"],
        ),
        ({"class_weight": "balanced"}, ["class_weight='balanced'", "LogitAdjustedLoss"]),
        (
            {"class_weight": "balanced", "loss": "balanced_softmax"},
            ["class_weight='balanced'", "BalancedSoftmaxLoss"],
        ),
        ({"loss": LogitAdjustedLoss(weight=[1, 9])}, ["LogitAdjustedLoss"]),
        (
            {"loss": CrossEntropyLoss(weight=[1, 6]), "class_weight": "balanced"},
            ["CrossEntropyLoss", "class_weight='balanced'"],
        ),
    ],
    ids=["sampler and weights", "weights and default loss", "weights and balanced softmax",
         "adjusted loss with weights", "weighted loss and weights"],
)  # fmt: skip
def test_double_correction_names_both_culprits(params, culprits):
    with pytest.warns(DoubleCorrectionWarning) as caught:
        small(**params).fit(X, Y)
    (message,) = [str(w.message) for w in caught if w.category is DoubleCorrectionWarning]
    assert all(culprit in message for culprit in culprits)
    assert "class_weight=None" not in message
    assert "sampler=NoneType" not in message


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"loss": "cross_entropy", "class_weight": "balanced"},
        {"loss": "focal", "class_weight": "balanced"},
        {"loss": "cross_entropy", "class_weight": "sqrt"},
        {"loss": "cross_entropy", "class_weight": {1: 500}},
        {"loss": "cross_entropy", "sampler": RandomUnderSampler()},
        {"loss": "logit_adjusted", "sampler": RandomUnderSampler()},
        {"loss": "logit_adjusted", "sampler": SMOTE()},
        {"loss": CrossEntropyLoss(weight=[1, 9])},
        {"loss": LogitAdjustedLoss(0.5), "class_weight": "sqrt"},
        {"class_weight": {0: 9}},
    ],
    ids=str,
)
def test_one_correction_is_silent(params):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(**params).fit(X, Y)


@pytest.mark.parametrize("params", [{"class_weight": "balanced"}, {"class_weight": {1: 3}}])
def test_balanced_data_are_silent(params):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(**params).fit(X, np.arange(len(X)) % 2)
