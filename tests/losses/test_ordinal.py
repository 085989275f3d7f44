"""Class-distance weighted cross-entropy: published number, formula, order of the classes."""

import pytest
import torch
from torch.testing import assert_close

from imbtorch.losses import CrossEntropyLoss, OrdinalCDWLoss
from tests.losses.inputs import Y3, Z3, batch, close, rows_of, value_and_gradient


def formula(logits, target, alpha):
    distance = (torch.arange(logits.shape[1]) - target.unsqueeze(1)).abs().double()
    return -(distance**alpha * torch.log1p(-logits.softmax(1))).sum(1)


def test_value():
    # section 2.1 of the catalogue
    close(OrdinalCDWLoss()(Z3, Y3), 0.732442784)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_rows_and_gradient_are_those_of_the_formula(alpha):
    logits, target = batch(30, 5)
    expected = value_and_gradient(lambda z: formula(z, target, alpha), logits)
    assert_close(rows_of(OrdinalCDWLoss(alpha), logits, target), expected, rtol=0, atol=1e-10)


def test_two_classes_are_cross_entropy_for_any_power():
    logits, target = batch(30, 2)
    expected = rows_of(CrossEntropyLoss(), logits, target)
    for alpha in (0.5, 2.0, 5.0):
        assert_close(rows_of(OrdinalCDWLoss(alpha), logits, target), expected)


def test_probability_far_from_the_true_class_costs_more():
    near, far = Z3.new_tensor([[0.0, 2.0, -1.0, -1.0]]), Z3.new_tensor([[0.0, -1.0, -1.0, 2.0]])
    target = torch.tensor([0])
    assert OrdinalCDWLoss()(far, target) > 2 * OrdinalCDWLoss()(near, target)
    assert_close(CrossEntropyLoss()(far, target), CrossEntropyLoss()(near, target))


def test_order_reversed_is_the_same_order_and_another_is_not():
    logits, target = batch(30, 4)
    expected = OrdinalCDWLoss()(logits, target)
    assert_close(OrdinalCDWLoss()(logits.flip(1), 3 - target), expected)
    order = torch.tensor([1, 0, 2, 3])
    assert (OrdinalCDWLoss()(logits[:, order], order.argsort()[target]) - expected).abs() > 1e-3
