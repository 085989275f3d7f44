"""Numbers of the catalogue's fixture FG, printed to nine digits."""

import pytest
import torch
from torch import nn

from imbtorch.losses.regression import BalancedMSELoss, FocalRLoss, HuberLoss, QuantileLoss
from tests.losses.inputs import close, f64

PREDICTION, TARGET = f64([0.2, 1, 3]), f64([0, 1.5, 2])


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, 0.042882216),
        ({"activation": "tanh"}, 0.085068351),
        ({"base": "mse"}, 0.037652494),
    ],
)
def test_focal_r(params, expected):
    close(FocalRLoss(**params)(PREDICTION, TARGET), expected)


def test_bmc():
    rows = BalancedMSELoss(noise=1.0, reduction="none").double()(PREDICTION, TARGET)
    close(rows / 2, [0.494776428, 0.864819972, 0.440560058])
    loss, prediction = BalancedMSELoss(noise=1.0).double(), PREDICTION.clone().requires_grad_()
    value = loss(prediction, TARGET)
    close(value, 1.200104305)
    value.backward()
    close(prediction.grad, [0.431325382, -0.192957547, -0.130564059])


def test_gai():
    loss = BalancedMSELoss("gai", noise=1.0).double()
    loss.set_distribution([0.7, 0.3], [0, 2], [0.5, 1])
    close(loss(PREDICTION, TARGET), -1.312326946)


def test_bni():
    loss = BalancedMSELoss("bni", noise=1.0).double()
    loss.set_distribution([5, 3, 2], [0, 1, 2])
    close(loss(PREDICTION, TARGET), -1.170111695)


@pytest.mark.parametrize("delta", [0.1, 0.5, 3.0])
def test_huber_is_that_of_torch(delta):
    close(HuberLoss(delta)(PREDICTION, TARGET), nn.HuberLoss(delta=delta)(PREDICTION, TARGET))


def test_constant_prediction_of_the_pinball_loss_is_the_quantile():
    target = torch.arange(101, dtype=torch.float64)
    values = [QuantileLoss(0.8)(torch.full_like(target, c), target) for c in range(101)]
    assert int(torch.stack(values).argmin()) == 80


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_focal_r_without_error_has_no_gradient(gamma):
    prediction = torch.zeros(2, requires_grad=True)
    FocalRLoss(gamma=gamma)(prediction, torch.zeros(2)).backward()
    assert (prediction.grad == 0).all()
