"""Hinges: published numbers, and torch's and Keras's losses of the same formula."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.testing import assert_close

from imbtorch.losses import CrammerSingerLoss, HingeLoss, SquaredHingeLoss
from tests.losses.inputs import (
    W3,
    Y2,
    Y3,
    Z2,
    Z3,
    batch,
    close,
    f64,
    labels,
    rows_of,
    two_columns,
    value_and_gradient,
)

ALL = [HingeLoss(), SquaredHingeLoss(), CrammerSingerLoss()]

# -- numbers, section 2.4 of the catalogue -------------------------------------------------------


def test_binary_values():
    close(HingeLoss()(Z2, Y2), 1.0)
    close(SquaredHingeLoss()(Z2, Y2), 1.9)


def test_multiclass_values():
    close(HingeLoss()(Z3, Y3), 0.191666667)
    close(HingeLoss(weight=W3)(Z3, Y3), 0.555555556)
    close(CrammerSingerLoss()(Z3, Y3), 0.325)


# -- torch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, W3], ids=["plain", "weighted"])
@pytest.mark.parametrize(("cls", "power"), [(HingeLoss, 1), (SquaredHingeLoss, 2)])
def test_softmax_form_is_the_multi_margin_loss_of_torch(cls, power, weight):
    logits, target = batch(30)
    for reduction in ("mean", "sum", "none"):
        inner = nn.MultiMarginLoss(power, weight=weight, reduction=reduction)
        loss = cls(weight=weight, reduction=reduction)
        expected = value_and_gradient(lambda z, f=inner: f(z, target), logits)
        actual = value_and_gradient(lambda z, f=loss: f(z, target), logits)
        assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("cls", "power"), [(HingeLoss, 1), (SquaredHingeLoss, 2)])
def test_softmax_form_of_two_classes(cls, power):
    logits, target = batch(30, 2)
    expected = nn.MultiMarginLoss(power)(logits, target)
    assert_close(cls()(logits, target), expected)
    # 1/c of the binary hinge of the difference
    assert_close(expected, cls()(logits[:, 1] - logits[:, 0], target.double()) / 2)


# -- Keras ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "power"), [(HingeLoss, 1), (SquaredHingeLoss, 2)])
def test_sigmoid_form_is_the_hinge_of_keras(cls, power):
    # mean(maximum(1 - y_true * y_pred, 0) ** power), labels of 0 read as -1
    logits, target = labels(30)
    expected = F.relu(1 - (2 * target - 1) * logits).pow(power)
    assert_close(cls()(logits, target), expected.mean())
    assert_close(cls(reduction="none")(logits, target), expected)


# -- Crammer and Singer --------------------------------------------------------------------------


def test_crammer_singer_is_the_largest_violation():
    logits, target = batch(30, 5)
    violations = 1 - logits.gather(1, target.unsqueeze(1)) + logits
    violations = violations.scatter(1, target.unsqueeze(1), 0).relu()
    rows, grad = rows_of(CrammerSingerLoss(), logits, target)
    assert_close(rows, violations.amax(1))
    # it pulls at the true class and at one rival only
    active = rows > 0
    assert (grad[active].ne(0).sum(1) == 2).all()
    assert (grad[~active] == 0).all()


def test_crammer_singer_with_two_classes_is_the_binary_hinge():
    expected = HingeLoss(reduction="none")(Z2, Y2)
    assert_close(CrammerSingerLoss(reduction="none")(two_columns(Z2), Y2.long()), expected)


# -- shape ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_rows_beyond_the_margin_stop_pulling(loss):
    logits = f64([[3.0, 1.9, -1.0], [0.0, -1.5, -1.1]])
    values, grad = rows_of(loss, logits, torch.tensor([0, 0]))
    assert values.tolist() == [0, 0]
    assert (grad == 0).all()


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_hinges_have_no_posterior(loss):
    assert not loss.has_posterior
    assert loss.initial_bias(f64([0.9, 0.1]).log()) is None


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradient_rows_sum_to_zero(loss):
    _, grad = rows_of(loss, *batch(30))
    assert_close(grad.sum(1), torch.zeros(30).double(), rtol=0, atol=1e-12)
