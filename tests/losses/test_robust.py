"""Losses for noisy labels, L1 and MSE: published numbers, closed-form gradients, limits.

Section numbers are those of the catalogue of losses.
"""

import pytest
import torch
from torch.testing import assert_close

from imbtorch.losses import (
    CrossEntropyLoss,
    GeneralizedCrossEntropyLoss,
    L1Loss,
    MSELoss,
    SymmetricCrossEntropyLoss,
)
from tests.losses.inputs import (
    W3,
    Y2,
    Y3,
    Z2,
    Z3,
    batch,
    close,
    extreme,
    f64,
    labels,
    one_hot,
    rows_of,
    value_and_gradient,
)

L1_ROWS = [0.428805931, 0.906779077, 0.538438759, 1.333333333]


def true_class(logits, target):
    """Probabilities minus one-hot, and the probability of the true class as a column."""
    proba, hot = logits.softmax(1), one_hot(target, logits.shape[1])
    return proba - hot, (proba * hot).sum(1, keepdim=True)


# -- numbers, section 2.1 ------------------------------------------------------------------------


def test_generalized_cross_entropy_value():
    close(GeneralizedCrossEntropyLoss(0.7)(Z3, Y3), 0.440670425)


def test_symmetric_cross_entropy_value():
    close(SymmetricCrossEntropyLoss(0.1, 1.0)(Z3, Y3), 1.660118161)


def test_symmetric_cross_entropy_is_linear_in_its_parts():
    # alpha CE - beta A MAE / 2, for the authors' settings of both data sets
    for alpha, beta, log_zero in ((0.1, 1.0, -4.0), (6.0, 0.1, -4.0), (0.1, 1.0, -9.21)):
        loss = SymmetricCrossEntropyLoss(alpha, beta, log_zero)
        expected = alpha * CrossEntropyLoss()(Z3, Y3) - beta * log_zero * L1Loss()(Z3, Y3) / 2
        assert_close(loss(Z3, Y3), expected)


def test_l1_rows_and_weighted_mean():
    close(L1Loss(reduction="none")(Z3, Y3), L1_ROWS)
    close(L1Loss(weight=W3)(Z3, Y3), 2.90867166, 8)


def test_l1_is_torchs_error_of_the_probabilities():
    expected = torch.nn.functional.l1_loss(Z3.softmax(1), one_hot(Y3, 3), reduction="none")
    assert_close(L1Loss(reduction="none")(Z3, Y3), expected.sum(1))
    expected = torch.nn.functional.l1_loss(Z2.sigmoid(), Y2, reduction="none")
    assert_close(L1Loss(reduction="none")(Z2, Y2), expected)


def test_mse_is_torchs_error_of_the_probabilities():
    expected = torch.nn.functional.mse_loss(Z3.softmax(1), one_hot(Y3, 3), reduction="none")
    assert_close(MSELoss(reduction="none")(Z3, Y3), expected.sum(1))
    expected = torch.nn.functional.mse_loss(Z2.sigmoid(), Y2, reduction="none")
    assert_close(MSELoss(reduction="none")(Z2, Y2), expected)


# -- gradients, section 3 ------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_gradient_of_generalized_cross_entropy(q):
    logits, target = batch(30)
    error, p_t = true_class(logits, target)
    _, grad = rows_of(GeneralizedCrossEntropyLoss(q), logits, target)
    assert_close(grad, p_t**q * error, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 1.0), (6.0, 0.1)])
def test_gradient_of_symmetric_cross_entropy(alpha, beta):
    logits, target = batch(30)
    error, p_t = true_class(logits, target)
    _, grad = rows_of(SymmetricCrossEntropyLoss(alpha, beta), logits, target)
    assert_close(grad, (alpha + 4 * beta * p_t) * error, rtol=0, atol=1e-10)


def test_gradient_of_l1():
    logits, target = batch(30)
    error, p_t = true_class(logits, target)
    assert_close(rows_of(L1Loss(), logits, target)[1], 2 * p_t * error, rtol=0, atol=1e-10)


def test_gradient_of_mse():
    logits, target = batch(30)
    error, _ = true_class(logits, target)
    proba = logits.softmax(1)
    expected = 2 * proba * (error - (error * proba).sum(1, keepdim=True))
    assert_close(rows_of(MSELoss(), logits, target)[1], expected, rtol=0, atol=1e-10)


def test_gradients_of_the_sigmoid_forms():
    logits, target = labels(30)
    sign = 2 * target - 1
    p_t = torch.sigmoid(sign * logits)
    slope = {  # d loss / d log p_t, negative
        GeneralizedCrossEntropyLoss(0.7): p_t**0.7,
        SymmetricCrossEntropyLoss(0.1, 1.0): 0.1 + 4 * p_t,
        L1Loss(): p_t,
        MSELoss(): 2 * (1 - p_t) * p_t,
    }
    for loss, expected in slope.items():
        _, grad = value_and_gradient(lambda z, loss=loss: loss.per_label(z, target), logits)
        assert_close(grad, -sign * (1 - p_t) * expected, rtol=0, atol=1e-10)


# -- limits --------------------------------------------------------------------------------------


def test_generalized_cross_entropy_tends_to_cross_entropy():
    logits, target = batch(30)
    expected = rows_of(CrossEntropyLoss(), logits, target)
    actual = rows_of(GeneralizedCrossEntropyLoss(1e-9), logits, target)
    assert_close(actual, expected, rtol=1e-7, atol=1e-7)
    coarse = rows_of(GeneralizedCrossEntropyLoss(1e-3), logits, target)
    assert_close(coarse, expected, rtol=1e-2, atol=1e-2)


def test_generalized_cross_entropy_with_q_one_is_half_of_l1():
    logits, target = batch(30)
    actual = GeneralizedCrossEntropyLoss(1.0).per_sample(logits, target)
    assert_close(actual, L1Loss().per_sample(logits, target) / 2)


def test_posterior_of_generalized_cross_entropy_ends_at_q_one():
    # there the minimiser is the indicator of the likeliest class
    assert GeneralizedCrossEntropyLoss(0.99).has_posterior
    assert not GeneralizedCrossEntropyLoss(1.0).has_posterior
    assert GeneralizedCrossEntropyLoss(1.0).initial_bias(f64([0.9, 0.1]).log()) is None


@pytest.mark.parametrize(
    ("loss", "bound"),
    [
        (GeneralizedCrossEntropyLoss(0.7), 1 / 0.7),
        (L1Loss(), 2.0),
        (MSELoss(), 2.0),
        (SymmetricCrossEntropyLoss(1e-300, 1.0), 4.0),  # the reverse term alone
    ],
    ids=repr,
)
def test_a_row_however_wrong_stays_bounded(loss, bound):
    for n_classes in (2, 3):
        rows = loss.per_sample(*extreme(n_classes, torch.float64))
        assert rows.max().item() == pytest.approx(bound)
