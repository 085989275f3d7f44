"""CDT, vector scaling and the sigmoid form of logit adjustment: numbers, gradients, scores.

Section numbers are those of the catalogue of losses.
"""

import pytest
import torch
from torch.testing import assert_close

from imbtorch.losses import (
    BalancedSoftmaxLoss,
    CDTLoss,
    CrossEntropyLoss,
    LogitAdjustedLoss,
    VSLoss,
)
from tests.losses.inputs import (
    LABEL_COUNTS,
    N3,
    Y2,
    Y3,
    Z2,
    Z3,
    batch,
    close,
    f64,
    labels,
    one_hot,
    rows_of,
    two_columns,
    value_and_gradient,
)

PRIOR3 = f64(N3) / sum(N3)
TEMPERATURE = [1, 1.620656597, 2.456456052]  # gamma = .3

# -- numbers, section 2.2 ------------------------------------------------------------------------


def test_cdt_value_and_temperatures():
    close(CDTLoss(0.3).prepare(N3)(Z3, Y3), 0.666232503)
    expected = CrossEntropyLoss(reduction="none")(Z3 / f64(TEMPERATURE), Y3)
    assert_close(CDTLoss(0.3, reduction="none").prepare(N3)(Z3, Y3), expected, rtol=0, atol=1e-8)


def test_vs_value():
    close(VSLoss(0.3, 1.0).prepare(N3)(Z3, Y3), 1.343019437)


@pytest.mark.parametrize("loss", [LogitAdjustedLoss(), BalancedSoftmaxLoss()], ids=repr)
def test_binary_logit_adjustment_value(loss):
    # one logit; 10 % positives shift it by -2.197224577
    close(loss.prepare([[90, 10]])(Z2, Y2), 1.170860482)
    close(loss.prepare([90, 10])(Z2, Y2), 1.170860482)  # counts of two classes are one label


@pytest.mark.parametrize("counts", [[90, 10], [1, 1], [3, 400]], ids=str)
@pytest.mark.parametrize("loss", [LogitAdjustedLoss(0.7), BalancedSoftmaxLoss()], ids=repr)
def test_binary_logit_adjustment_is_that_of_two_classes(loss, counts):
    loss = loss.set_params(reduction="none").prepare(counts)
    for logits, target in ((two_columns(Z2), Y2.long()), batch(30, 2)):
        one = value_and_gradient(lambda z, y=target: loss(z[:, 1] - z[:, 0], y.double()), logits)
        two = value_and_gradient(lambda z, y=target: loss(z, y), logits)
        assert_close(one, two)


def test_each_label_has_its_own_shift():
    logits, target = labels()
    counts = f64(LABEL_COUNTS)
    shift = 0.5 * torch.log(counts[:, 1] / counts[:, 0])
    expected = CrossEntropyLoss().per_label(logits + shift, target)
    assert_close(LogitAdjustedLoss(0.5).prepare(counts).per_label(logits, target), expected)


# -- gradients, section 3 ------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("tau", [0.0, 1.0, 1.2])
def test_gradients(gamma, tau):
    # (softmax(z / D + tau log pi) - 1_t)_j / D_j
    logits, target = batch(30)
    temperature = (max(N3) / f64(N3)) ** gamma
    adjusted = logits / temperature + tau * PRIOR3.log()
    expected = (adjusted.softmax(1) - one_hot(target, 3)) / temperature
    _, grad = rows_of(VSLoss(gamma, tau).prepare(N3), logits, target)
    assert_close(grad, expected, rtol=0, atol=1e-10)
    if tau == 0:
        _, grad = rows_of(CDTLoss(gamma).prepare(N3), logits, target)
        assert_close(grad, expected, rtol=0, atol=1e-10)


# -- special cases -------------------------------------------------------------------------------


def test_vs_without_temperatures_is_logit_adjustment():
    for tau in (0.5, 1.0):
        expected = rows_of(LogitAdjustedLoss(tau).prepare(N3), *batch())
        assert_close(rows_of(VSLoss(0.0, tau).prepare(N3), *batch()), expected)


def test_vs_without_shifts_is_cdt():
    expected = rows_of(CDTLoss(0.3).prepare(N3), *batch())
    assert_close(rows_of(VSLoss(0.3, 0.0).prepare(N3), *batch()), expected)


def test_rarer_classes_have_higher_temperatures_and_the_most_frequent_has_none():
    # read off the derivative of the adjusted logits
    for loss in (CDTLoss(0.3), VSLoss(0.3)):
        _, derivative = loss.prepare([20, 0, 100, 5])._adjusted(torch.zeros(1, 4), None)
        assert derivative[2] == 1
        assert derivative[2] > derivative[0] > derivative[3] > derivative[1] > 0
