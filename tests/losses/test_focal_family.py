"""Poly-1 and class-balanced loss: published numbers, closed-form gradients, what they weigh.

Section numbers are those of the catalogue of losses.
"""

import pytest
import torch
from torch.testing import assert_close

from imbtorch.losses import ClassBalancedLoss, CrossEntropyLoss, FocalLoss, Poly1Loss
from tests.losses.inputs import (
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
    prepared,
    rows_of,
    value_and_gradient,
)

LABEL_COUNTS3 = torch.stack([125 - f64(N3), f64(N3)], dim=1)

# -- Poly-1, sections 2.1, 3 and 10 --------------------------------------------------------------


@pytest.mark.parametrize(("epsilon", "value"), [(1.0, 0.965315744), (2.0, 1.366235381)])
def test_poly1_values(epsilon, value):
    close(Poly1Loss(epsilon)(Z3, Y3), value)


OPTAX = [
    (2.0, [0.4823, 1.2567]),
    (1.0, [0.3261, 1.0407]),
    (-0.5, [0.0917, 0.7168]),
    (5.45, [1.0211, 2.0018]),
]


@pytest.mark.parametrize(("epsilon", "rows"), OPTAX)
def test_poly1_values_of_optax(epsilon, rows):
    # [doc]; the loss is linear in the target, so that a soft one is a sum of weighted classes
    logits = f64([[4, 2, 1], [0, 5, 1]])
    loss = Poly1Loss(epsilon, reduction="none")
    hard = loss(logits[:1], torch.tensor([0]))
    soft = loss(logits[1:].expand(2, -1), torch.tensor([1, 2]), f64([0.8, 0.2]))
    # cut off there, not rounded
    assert [hard.item(), soft.sum().item()] == pytest.approx(rows, abs=1e-4)


def test_poly1_value_of_optax_for_five_classes():
    logits = f64([0.14, 1.456, 2.356, -0.124, -2.47]).expand(5, -1)
    shares = f64([0.1, 0.15, 0.2, 0.25, 0.3])
    close(Poly1Loss(2.0, reduction="sum")(logits, torch.arange(5), shares), 4.5317, 4)


@pytest.mark.parametrize("epsilon", [-0.5, 0.0, 1.0, 2.0])
def test_gradient_of_poly1(epsilon):
    logits, target = batch(30)
    proba, hot = logits.softmax(1), one_hot(target, 3)
    p_t = (proba * hot).sum(1, keepdim=True)
    _, grad = rows_of(Poly1Loss(epsilon), logits, target)
    assert_close(grad, (1 + epsilon * p_t) * (proba - hot), rtol=0, atol=1e-10)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_form_of_poly1_adds_a_term_to_focal(gamma):
    logits, target = batch(30)
    wrong = 1 - (logits.softmax(1) * one_hot(target, 3)).sum(1)
    expected = FocalLoss(gamma).per_sample(logits, target) + 1.5 * wrong ** (gamma + 1)
    assert_close(Poly1Loss(1.5, gamma).per_sample(logits, target), expected)


def test_poly1_with_epsilon_zero_is_focal():
    for gamma in (0.0, 2.0):
        expected = rows_of(FocalLoss(gamma), *batch())
        assert_close(rows_of(Poly1Loss(0.0, gamma), *batch()), expected)


def test_poly1_falls_with_p_up_to_the_edge_of_epsilon():
    # at epsilon = -1 the slope is 0 at p = 1; beyond, confident rows would be pushed back
    logit = torch.linspace(-4, 12, 100, dtype=torch.float64)
    curve = Poly1Loss(-0.999, reduction="none")(logit, torch.ones(100))
    assert (curve.diff() < 0).all()


# -- class-balanced, section 2.1 -----------------------------------------------------------------


def effective_factors(beta, counts):
    weight = (1 - beta) / (1 - beta ** f64(counts))
    return len(counts) * weight / weight.sum()


def test_class_balanced_softmax_values():
    # the authors divide by the rows, their imitators by the weights
    loss = ClassBalancedLoss(0.999).prepare(N3)
    close(loss(Z3, Y3), 0.559145062)
    factor = loss.class_factor[Y3]
    close(factor.mean().reciprocal() * loss(Z3, Y3), 0.624857034)
    as_weight = CrossEntropyLoss(weight=loss.class_factor, reduction="weighted_mean")
    close(as_weight(Z3, Y3), 0.624857034)


@pytest.mark.parametrize(("gamma", "value"), [(1.0, 0.683616488), (2.0, 0.327463604)])
def test_class_balanced_sigmoid_focal_values(gamma, value):
    # the sum over all labels, weighted by that of the true class, divided by the positives
    loss = ClassBalancedLoss(0.999, gamma, reduction="sum").prepare(LABEL_COUNTS3)
    close(loss(Z3, one_hot(Y3, 3)) / 4, value)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.99, 0.9999])
def test_class_balanced_factors_are_inverse_effective_numbers(beta):
    factor = ClassBalancedLoss(beta).prepare(N3).class_factor
    assert_close(factor, effective_factors(beta, N3), rtol=1e-9, atol=0)
    assert factor.sum().item() == pytest.approx(3)


def test_class_balanced_factors_tend_to_inverse_frequencies():
    # in float32, or with 1 - beta ** n, this is off by percents
    factor = ClassBalancedLoss(1 - 1e-13).prepare(N3).class_factor
    inverse = 1 / f64(N3)
    assert_close(factor, 3 * inverse / inverse.sum(), rtol=1e-9, atol=0)


def test_class_balanced_with_beta_zero_is_focal():
    for gamma in (0.0, 2.0):
        expected = rows_of(FocalLoss(gamma), *batch())
        assert_close(rows_of(ClassBalancedLoss(0.0, gamma).prepare(N3), *batch()), expected)


def test_class_balanced_factors_depend_on_the_size_of_the_data():
    small, large = (ClassBalancedLoss(0.99).prepare([k * n for n in N3]) for k in (1, 10))
    assert (small.class_factor - large.class_factor).abs().max() > 0.1


def test_class_without_rows_weighs_finitely_and_most():
    factor = ClassBalancedLoss(0.9999).prepare([100, 0, 4]).class_factor
    assert factor.isfinite().all()
    assert factor[1] > factor[2] > factor[0]


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_class_balanced_rows_are_weighted_focal_rows(gamma):
    loss = ClassBalancedLoss(0.99, gamma)
    logits, target = batch(30)
    factor = effective_factors(0.99, N3)[target]
    values, grad = rows_of(FocalLoss(gamma), logits, target)
    expected = factor * values, factor.unsqueeze(1) * grad
    assert_close(rows_of(prepared(loss, N3), logits, target), expected)


def test_row_of_several_labels_weighs_as_their_mean_and_one_without_labels_as_one():
    logits, _ = labels(3)
    target = f64([[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    factor = effective_factors(0.99, N3)
    expected = torch.stack([(factor[0] + factor[1]) / 2, f64(1.0), factor[2]]).unsqueeze(1)
    expected = expected * FocalLoss(2.0).per_label(logits, target)
    ready = ClassBalancedLoss(0.99, 2.0).prepare(LABEL_COUNTS3)
    assert_close(ready.per_label(logits, target), expected)


# -- sigmoid form --------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [-0.5, 2.0])
def test_gradient_of_sigmoid_poly1(epsilon):
    sign = 2 * Y2 - 1
    p_t = torch.sigmoid(sign * Z2)
    _, grad = value_and_gradient(lambda z: Poly1Loss(epsilon, reduction="none")(z, Y2), Z2)
    assert_close(grad, sign * (1 + epsilon * p_t) * (p_t - 1), rtol=0, atol=1e-10)
