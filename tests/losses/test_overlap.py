"""Soft F-measures and Tversky losses: published numbers, identities, what they count.

Section numbers are those of the catalogue of losses.
"""

import numpy as np
import pytest
from sklearn.metrics import fbeta_score
from torch.testing import assert_close

from imbtorch.losses import FocalTverskyLoss, SoftFbetaLoss, TverskyLoss
from tests.losses.inputs import (
    Y2,
    Y3,
    Z2,
    Z3,
    batch,
    close,
    f64,
    labels,
    one_hot,
    two_columns,
    value_and_gradient,
)

# -- numbers, section 2.4 ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (SoftFbetaLoss(), 0.365302928),
        (SoftFbetaLoss(2.0), 0.380331768),
        (TverskyLoss(), 0.375401865),
        (FocalTverskyLoss(), 0.47959243),
        (FocalTverskyLoss(gamma=4 / 3), 0.270808256),
    ],
    ids=repr,
)
def test_binary_values(loss, value):
    close(loss(Z2, Y2), value, 8)
    close(loss(two_columns(Z2), Y2.long()), value, 8)


def test_macro_value_with_smoothing():
    close(SoftFbetaLoss(smooth=1.0)(Z3, Y3), 0.292703901)


def test_dice_values_of_keras():
    # section 10 [doc]: two images of four pixels, given as probabilities
    proba = f64([[0, 0.4], [1, 0], [0, 0], [1, 0.9]])
    target = f64([[1, 1], [1, 1], [0, 0], [0, 0]])
    logits = proba.logit().clamp(-300, 300)
    close(SoftFbetaLoss(reduction="none")(logits, target), [0.5, 0.75757575], 7)
    close(SoftFbetaLoss()(logits.flatten(), target.flatten()), 0.6164384, 7)


# -- identities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_tversky_of_equal_prices_is_dice(smooth):
    # section 3; smoothing of 2 s in the one is s in the other, as Dice counts hits twice
    dice, tversky = SoftFbetaLoss(smooth=2 * smooth), TverskyLoss(0.5, 0.5, smooth)
    for logits, target in (batch(30), batch(30, 2), labels(30)):
        expected = value_and_gradient(lambda z, y=target: dice(z, y), logits)
        assert_close(value_and_gradient(lambda z, y=target: tversky(z, y), logits), expected)


def test_fbeta_is_a_tversky_loss():
    # prices 1 / (1 + beta^2) of false positives and beta^2 / (1 + beta^2) of misses
    logits, target = batch(30)
    for beta in (0.5, 2.0):
        tversky = TverskyLoss(1 / (1 + beta**2), beta**2 / (1 + beta**2))
        assert_close(SoftFbetaLoss(beta)(logits, target), tversky(logits, target))


def test_focal_tversky_to_the_power_one_is_tversky():
    logits, target = batch(30)
    focal, plain = FocalTverskyLoss(gamma=1.0), TverskyLoss()
    expected = value_and_gradient(lambda z: plain(z, target), logits)
    assert_close(value_and_gradient(lambda z: focal(z, target), logits), expected)


def test_power_acts_on_each_column_before_the_mean():
    logits, target = batch(30)
    columns = TverskyLoss(reduction="none")(logits, target)
    assert_close(FocalTverskyLoss(gamma=2.0)(logits, target), columns.square().mean())


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_certain_predictions_give_the_f_measure_of_sklearn(beta):
    logits, target = batch(30)
    predicted = logits.argmax(1)
    assert (predicted != target).any()
    expected = fbeta_score(target.numpy(), predicted.numpy(), beta=beta, average="macro")
    value = SoftFbetaLoss(beta)(1e3 * one_hot(predicted, 3), target)
    assert value.item() == pytest.approx(1 - expected, abs=1e-12)


def test_weighted_certain_predictions_give_the_f_measure_of_sklearn():
    logits, target = batch(30, 2)
    predicted, weight = logits.argmax(1), np.linspace(0.5, 3, 30)
    expected = fbeta_score(target.numpy(), predicted.numpy(), beta=2, sample_weight=weight)
    value = SoftFbetaLoss(2.0)(1e3 * one_hot(predicted, 2), target, f64(weight))
    assert value.item() == pytest.approx(1 - expected, abs=1e-12)


# -- edges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [SoftFbetaLoss, TverskyLoss, FocalTverskyLoss])
def test_perfect_prediction_has_no_loss_and_a_finite_gradient(cls):
    _, target = batch(30)
    logits = 1e3 * one_hot(target, 3)
    value, grad = value_and_gradient(lambda z: cls()(z, target), logits)
    assert value < 1e-8  # FocalTverskyLoss keeps a floor of 1e-12 below its power
    assert grad.isfinite().all()


@pytest.mark.parametrize("cls", [SoftFbetaLoss, TverskyLoss, FocalTverskyLoss])
def test_smoothing_lowers_the_loss(cls):
    values = [cls(smooth=smooth)(*batch(30)) for smooth in (0.0, 1.0, 10.0)]
    assert values[0] > values[1] > values[2] > 0


def test_prices_act_on_their_errors():
    # negatives scored high are false positives; positives scored low are misses
    target = f64([1, 1, 0, 0])
    alarms, misses = f64([9, 9, 9, -9]), f64([9, -9, -9, -9])
    assert TverskyLoss(0.9, 0.1)(alarms, target) > TverskyLoss(0.1, 0.9)(alarms, target)
    assert TverskyLoss(0.9, 0.1)(misses, target) < TverskyLoss(0.1, 0.9)(misses, target)
