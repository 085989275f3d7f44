"""ScaledClassifierCV: known temperatures, scales and biases are found again."""

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch._common.calibrators import CALIBRATORS, best_method
from imbtorch.model_selection import ScaledClassifierCV
from tests.model_selection.fixed import Given, noisy_logits
from tests.toy import table

PRIORS = [[0.7, 0.3], [0.6, 0.3, 0.1]]


def _temperature(log_proba, codes, weights):
    return float(np.exp(-CALIBRATORS["temperature"].fit(log_proba, codes, weights)[0]))


def _vector(log_proba, codes, weights):
    scale, bias = CALIBRATORS["vector"].fit(log_proba, codes, weights).reshape(2, -1)
    return scale, bias - bias.mean()


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_temperature_is_found_again(prior, temperature):
    logits, y = noisy_logits(8000, prior)
    scaled = ScaledClassifierCV(Given(), cv=2).fit(logits * temperature, y)
    assert scaled.temperature_ == pytest.approx(temperature, rel=0.07)
    np.testing.assert_allclose(
        scaled.predict_proba(logits * temperature), softmax(logits, axis=1), atol=0.03
    )


@pytest.mark.parametrize("prior", PRIORS)
def test_temperature_minimises_log_loss(prior):
    logits, y = noisy_logits(500, prior)
    weight = np.random.default_rng(0).random(500)
    log_proba = log_softmax(2 * logits, axis=1)

    def loss(log_temperature):
        return log_loss(
            y, softmax(log_proba / np.exp(log_temperature), axis=1), sample_weight=weight
        )

    best = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)
    assert _temperature(log_proba, y, weight) == pytest.approx(best, rel=1e-3)


def test_temperature_keeps_the_decision():
    X, y = table(300, n_classes=3, rate=0.4)
    scaled = ScaledClassifierCV(GaussianNB()).fit(X, y)
    assert scaled.temperature_ != 1
    np.testing.assert_array_equal(scaled.predict(X), scaled.estimator_.predict(X))


def test_scale_and_bias_are_found_again():
    rng = np.random.default_rng(0)
    log_proba = log_softmax(rng.normal(scale=2, size=(40_000, 3)), axis=1)
    scale, bias = np.array([0.5, 1.0, 1.5]), np.array([1.0, 0.0, -1.0])
    proba = softmax(log_proba * scale + bias, axis=1)
    y = (rng.random(len(proba))[:, None] > proba.cumsum(axis=1)).sum(axis=1)
    scaled = ScaledClassifierCV(Given(), method="vector", cv=2).fit(log_proba, y)
    np.testing.assert_allclose(scaled.scale_, scale, atol=0.06)
    np.testing.assert_allclose(scaled.bias_, bias, atol=0.08)
    np.testing.assert_allclose(scaled.predict_proba(log_proba), proba, atol=0.02)


def test_vector_scaling_restores_class_frequencies():
    logits, y = noisy_logits(4000, [0.9, 0.1])
    balanced = logits - np.log([0.9, 0.1])
    scaled = ScaledClassifierCV(Given(), method="vector", cv=2).fit(balanced, y)
    np.testing.assert_allclose(
        scaled.predict_proba(balanced).mean(axis=0), np.bincount(y) / len(y), atol=1e-4
    )
    assert softmax(balanced, axis=1)[:, 1].mean() > 0.25


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prior", PRIORS)
def test_log_loss_is_never_worse_on_the_tuning_data(prior, seed):
    rng = np.random.default_rng(seed)
    y = np.arange(40) % len(prior)
    log_proba = log_softmax(5 * rng.normal(size=(40, len(prior))), axis=1)
    weight = rng.random(40)
    before = log_loss(y, np.exp(log_proba), sample_weight=weight)
    temperature = _temperature(log_proba, y, weight)
    scale, bias = _vector(log_proba, y, weight)
    by_temperature = log_loss(y, softmax(log_proba / temperature, axis=1), sample_weight=weight)
    by_vector = log_loss(y, softmax(log_proba * scale + bias, axis=1), sample_weight=weight)
    assert by_vector < by_temperature + 1e-3 < before + 1e-3
    assert bias.mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", CALIBRATORS)
def test_gradient(name):
    calibrator, rng = CALIBRATORS[name], np.random.default_rng(0)
    n_classes = calibrator.classes or 3
    log_proba = log_softmax(rng.normal(size=(6, n_classes)), axis=1)
    theta = calibrator.start(n_classes) + 0.1
    for c in range(n_classes):
        assert (
            check_grad(
                lambda t, c=c: calibrator.scores(log_proba, t)[0][:, c].sum(),
                lambda t, c=c: calibrator.scores(log_proba, t)[1][:, :, c].sum(axis=1),
                theta,
            )
            < 1e-5
        )


@pytest.mark.parametrize("name", CALIBRATORS)
def test_the_start_changes_nothing(name):
    n_classes = CALIBRATORS[name].classes or 3
    log_proba = log_softmax(np.random.default_rng(0).normal(size=(6, n_classes)), axis=1)
    start = CALIBRATORS[name].start(n_classes)
    np.testing.assert_allclose(CALIBRATORS[name].apply(log_proba, start), log_proba, atol=1e-12)


def bent_logits(n=4000, seed=0):
    """Draw log-odds and labels where a beta calibration with a = 0.5 and b = 2 is right."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1.0, 3.0, n).clip(1e-4, 1 - 1e-4)
    truth = 0.5 * np.log(p) - 2 * np.log1p(-p) - 0.3
    y = (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(int)
    return np.log(np.stack([1 - p, p], axis=1)), y


def test_beta_calibration_finds_its_parameters():
    log_proba, y = bent_logits(40_000)
    a, b, c = CALIBRATORS["beta"].fit(log_proba, y, np.ones(len(y)))
    np.testing.assert_allclose([a, b, c], [0.5, 2, -0.3], atol=0.15)


def test_automatic_choice_has_the_smallest_loss_on_new_rows():
    log_proba, y = bent_logits()
    assert best_method(log_proba, y, np.ones(len(y))) in ("beta", "quadratic")
    logits, labels = noisy_logits(2000, [0.5, 0.3, 0.2])
    assert best_method(log_softmax(2 * logits, axis=1), labels, np.ones(2000)) == "temperature"
    scaled = ScaledClassifierCV(Given(), method="auto", cv=2).fit(2 * logits, labels)
    assert scaled.method_ == "temperature"
    assert scaled.temperature_ == pytest.approx(2, abs=0.2)


def test_maps_of_two_classes_say_so():
    logits, y = noisy_logits(60, [0.5, 0.3, 0.2])
    with pytest.raises(ValueError, match=r"two classes; y has 3.*'vector'"):
        ScaledClassifierCV(Given(), method="beta", cv=2).fit(logits, y)


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_separable_data_stay_finite(method):
    y = np.arange(60) % 3
    logits = 10.0 * np.eye(3)[y]
    scaled = ScaledClassifierCV(Given(), method=method, cv=2).fit(logits, y)
    assert np.isfinite(scaled.predict_log_proba(logits)).all()
    assert (scaled.predict(logits) == y).all()


def test_weight_of_two_is_a_row_given_twice():
    logits, y = noisy_logits(60, [0.6, 0.4])
    log_proba = log_softmax(3 * logits, axis=1)
    weight = 1 + np.arange(60) % 2
    rows = np.repeat(np.arange(60), weight)
    ones = np.ones(len(rows))
    weighted = _temperature(log_proba, y, weight.astype(float))
    assert weighted == pytest.approx(_temperature(log_proba[rows], y[rows], ones), rel=1e-5)
    for one, other in zip(
        _vector(log_proba, y, weight.astype(float)),
        _vector(log_proba[rows], y[rows], ones),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_calibrates_naive_bayes(method):
    X, y = table(600, n_classes=3, rate=0.4, class_sep=0.5)
    X = np.hstack([X, X, X])  # naive Bayes counts every feature three times
    names = np.array(["a", "b", "c"])[y]
    inner = make_pipeline(StandardScaler(), GaussianNB())
    scaled = ScaledClassifierCV(inner, method=method, random_state=0)
    plain, calibrated = (
        cross_val_score(clf, X, names, scoring="neg_log_loss", cv=3).mean()
        for clf in (inner, scaled)
    )
    assert calibrated > plain + 0.1


def test_weights_reach_the_fit():
    logits, y = noisy_logits(200, [0.7, 0.3])
    weight = 1.0 + y
    scaled = ScaledClassifierCV(Given(), cv=2).fit(logits, y, weight)
    np.testing.assert_array_equal(scaled.estimator_.fitted_weight_, weight)


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({"method": "matrix"}, np.arange(50) % 2, "'method' parameter"),
        ({}, np.zeros(50), "one class"),
        ({}, np.arange(100).reshape(50, 2) % 2, "2 labels"),
        ({}, np.linspace(0, 1, 50), "Unknown label type"),
    ],
)
def test_bad_input(params, y, message):
    with pytest.raises(ValueError, match=message):
        ScaledClassifierCV(LogisticRegression(), **params).fit(np.eye(50), y)
