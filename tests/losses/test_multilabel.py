"""Losses of labels: BCE with pos_weight, ASL, distribution-balanced, sigmoid equalization.

Section numbers are those of the catalogue of losses.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from imbtorch.losses import (
    AsymmetricLoss,
    BCELoss,
    DistributionBalancedLoss,
    SigmoidEqualizationLoss,
)
from tests.losses.inputs import (
    LABEL_COUNTS,
    N3,
    Y2,
    Y3,
    YM,
    Z2,
    Z3,
    ZM,
    batch,
    close,
    f64,
    labels,
    one_hot,
    value_and_gradient,
)

FM_COUNTS = [[4, 6], [7, 3], [9, 1]]  # label counts [6, 3, 1] of N = 10
LABEL_COUNTS3 = torch.stack([125 - f64(N3), f64(N3)], dim=1)


def label_rows(loss, logits, target):
    return value_and_gradient(lambda z: loss.per_label(z, target), logits)


# -- binary cross-entropy, sections 2.1 and 2.3 --------------------------------------------------


def test_bce_values():
    close(BCELoss()(ZM, YM), 0.690685365)
    close(BCELoss()(Z2, Y2), 0.708830561)


def test_bce_values_with_pos_weight():
    rows = BCELoss(3.0, reduction="none")(Z2, Y2)
    close(rows, [0.126928011, 2.922230953, 2.079441542, 1.701413278, 0.145762055])
    close(BCELoss(3.0)(Z2, Y2), 1.395155168)
    close(rows.sum() / (1 + 2 * Y2).sum(), 0.63416144, 8)


def test_gradient_of_bce_with_pos_weight():
    # section 3: (1 - y) p - q y (1 - p)
    logits, target = labels(30)
    q, p = f64([0.5, 1.0, 3.0]), logits.sigmoid()
    _, grad = label_rows(BCELoss(q), logits, target)
    assert_close(grad, (1 - target) * p - q * target * (1 - p), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("params", "factors"),
    [
        ({}, [1, 1, 1]),
        ({"pos_weight": "balanced"}, [0.25, 5.25, 24]),
        ({"pos_weight": "sqrt"}, [0.5, 5.25**0.5, 24**0.5]),
        ({"pos_weight": "balanced", "max_pos_weight": 10}, [0.25, 5.25, 10]),
        ({"pos_weight": "sqrt", "max_pos_weight": 3.0}, [0.5, 5.25**0.5, 3]),
        ({"pos_weight": 3.0}, [3, 3, 3]),
        ({"pos_weight": 3.0, "max_pos_weight": 2.0}, [2, 2, 2]),
        ({"pos_weight": [1, 2, 5]}, [1, 2, 5]),
        ({"pos_weight": [1, 2, 5], "max_pos_weight": 4.0}, [1, 2, 4]),
    ],
    ids=str,
)
def test_positive_factors(params, factors):
    loss = BCELoss(**params, reduction="none").prepare(LABEL_COUNTS)
    assert_close(loss.positive_factor, f64(factors))
    logits, target = labels()
    expected = F.binary_cross_entropy_with_logits(
        logits, target, reduction="none", pos_weight=f64(factors)
    )
    assert_close(loss(logits, target), expected)


@pytest.mark.parametrize("kind", ["balanced", "sqrt"])
def test_labels_without_positives_or_without_negatives_get_factor_one(kind):
    # neg / pos would be infinite, and infinity times zero positives NaN
    loss = BCELoss(kind).prepare([[10, 0], [0, 10], [8, 2]])
    assert_close(loss.positive_factor, f64([1, 1, 4 if kind == "balanced" else 2]))
    logits, target = labels()
    for scale in (1.0, 1e4):
        values, grad = label_rows(loss, scale * logits, target)
        assert values.isfinite().all()
        assert grad.isfinite().all()


GIVEN = [3.0, [1.0, 2.0, 5.0], np.array([1.0, 2.0, 5.0]), torch.tensor([1.0, 2.0, 5.0]), f64(3.0)]


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: f"{type(given).__name__}-{given}")
def test_given_factors_need_no_counts(given):
    logits, target = labels()
    factor = torch.as_tensor(given, dtype=torch.float64).expand(3)
    expected = F.binary_cross_entropy_with_logits(logits, target, pos_weight=factor)
    assert_close(BCELoss(given)(logits, target), expected)
    assert_close(BCELoss(given).prepare(LABEL_COUNTS)(logits, target), expected)


def test_classes_are_labels_against_the_rest():
    # so that class counts give each class's own balance
    loss = BCELoss("balanced").prepare(N3)
    assert_close(loss.positive_factor, (125 - f64(N3)) / f64(N3))
    assert_close(loss.per_sample(Z3, Y3), loss.per_label(Z3, one_hot(Y3, 3)).mean(1))


def test_two_classes_are_one_label():
    loss = BCELoss("balanced", reduction="none").prepare([90, 10])
    assert loss.positive_factor.tolist() == [9]
    logits, target = batch(30, 2)
    assert_close(loss(logits, target), loss(logits[:, 1] - logits[:, 0], target.double()))


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), [1, -1, 2], [[1, 2, 3]], "inverse"])
def test_bad_pos_weight(bad):
    with pytest.raises(ValueError, match="pos_weight"):
        BCELoss(bad).prepare(LABEL_COUNTS)


def test_given_factors_of_wrong_length():
    for loss in (BCELoss([1, 2]), BCELoss([1, 2, 3, 4])):
        with pytest.raises(ValueError, match=r"pos_weight has \d factors.* 3\s+columns"):
            loss(*labels())


# -- asymmetric loss, sections 2.3 and 3 ---------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "value"),
    [
        ((0.0, 4.0, 0.05), 2.664852032),
        ((1.0, 4.0, 0.05), 1.807012958),
        ((2.0, 2.0, 0.05), 1.581695246),
        ((2.0, 2.0, 0.0), 1.707112303),
    ],
)
def test_asymmetric_values(params, value):
    close(AsymmetricLoss(*params, reduction="sum")(ZM, YM), value)
    close(AsymmetricLoss(*params)(ZM, YM), value / 6)


def test_asymmetric_defaults_are_those_of_the_paper():
    close(AsymmetricLoss(reduction="sum")(ZM, YM), 2.664852032)


def test_asymmetric_without_focus_and_clip_is_bce():
    for logits, target in ((ZM, YM), labels(30)):
        expected = label_rows(BCELoss(), logits, target)
        assert_close(label_rows(AsymmetricLoss(0.0, 0.0, 0.0), logits, target), expected)


def test_asymmetric_gradient_numbers_of_negatives():
    logits = f64([[-2, 0.5, -3.5]])
    _, grad = label_rows(AsymmetricLoss(), logits, torch.zeros(1, 3).double())
    # the catalogue's first number is off by 4e-10
    close(grad[0], [0.0000125690, 0.2088736880, 0], 9)
    close(grad[0, 1], 0.2088736880, 10)


@pytest.mark.parametrize(("gamma", "clip"), [(4.0, 0.05), (1.0, 0.2), (2.0, 0.0)])
def test_asymmetric_gradient_of_negatives(gamma, clip):
    logits, _ = labels(30)
    p = logits.sigmoid()
    p_m = (p - clip).clamp_min(0)
    expected = p_m**gamma / (1 - p_m) - gamma * p_m ** (gamma - 1) * torch.log1p(-p_m)
    expected = torch.where(p > clip, p * (1 - p) * expected, 0)
    _, grad = label_rows(AsymmetricLoss(0.0, gamma, clip), logits, torch.zeros_like(logits))
    assert_close(grad, expected, rtol=0, atol=1e-10)


def test_asymmetric_negatives_below_the_clip_are_exactly_zero():
    for gamma_neg in (0.0, 0.5, 4.0):
        logit = torch.tensor([[-3.0, -3.5, -50.0, -1e4]])
        values, grad = label_rows(AsymmetricLoss(0.0, gamma_neg, 0.05), logit, torch.zeros(1, 4))
        assert (values == 0).all()
        assert (grad == 0).all()
        # positives of the same logits are not granted anything
        values, grad = label_rows(AsymmetricLoss(0.0, gamma_neg, 0.05), logit, torch.ones(1, 4))
        assert (values > 3).all()
        assert (grad < -0.9).all()


def test_asymmetric_loss_leaves_the_gradient_switched_off():
    # the authors' optimised version switches it on inside no_grad
    with torch.no_grad():
        AsymmetricLoss()(ZM, YM)
        assert not torch.is_grad_enabled()


# -- distribution-balanced loss, section 2.3 -----------------------------------------------------


def test_distribution_balanced_values():
    close(DistributionBalancedLoss().prepare(FM_COUNTS)(ZM, YM), 0.569677372)
    # the authors double the focal form
    focal = DistributionBalancedLoss(gamma=2.0).prepare(FM_COUNTS)
    close(2 * focal(ZM, YM), 0.583582073)


@pytest.mark.parametrize("params", [{}, {"mu": 0.3, "negative_scale": 5.0}, {"alpha": 1.0}])
def test_distribution_balanced_terms(params):
    loss = DistributionBalancedLoss(**params)
    n, scale = f64([6, 3, 1]), loss.negative_scale
    logits, target = labels(30)
    target[0] = 0  # rows without labels weigh most: r is large
    share = (1 / n) / (target / n).sum(1, keepdim=True)
    weight = loss.alpha + torch.sigmoid(loss.beta * (share - loss.mu))
    shifted = logits - loss.bias * torch.log(10 / n - 1) / scale
    expected = weight * torch.where(
        target == 1, F.softplus(-shifted), F.softplus(scale * shifted) / scale
    )
    actual = loss.prepare(FM_COUNTS).per_label(logits, target)
    assert_close(actual, expected)
    assert_close(weight[0], f64([loss.alpha + 1] * 3))


# -- sigmoid equalization, section 2.3 -----------------------------------------------------------


def test_sigmoid_equalization_value():
    # the authors sum over the classes
    labelled = SigmoidEqualizationLoss(0.1).prepare(LABEL_COUNTS3)
    close(3 * labelled(Z3, one_hot(Y3, 3)), 1.155461918)
    close(3 * SigmoidEqualizationLoss(0.1).prepare(N3)(Z3, Y3), 1.155461918)


def test_sigmoid_equalization_spares_rare_labels_in_rows_of_others():
    logits, _ = labels(3)
    target = f64([[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    values, grad = label_rows(SigmoidEqualizationLoss(0.1).prepare(LABEL_COUNTS3), logits, target)
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    spared = torch.tensor([[False, False, True], [False] * 3, [False] * 3])
    assert (values[spared] == 0).all()
    assert (grad[spared] == 0).all()
    # rows without any label push all labels down
    assert_close(values[~spared], plain[~spared])


def test_sigmoid_equalization_without_rare_labels_is_bce():
    for threshold in (0.0, 0.04):  # the rarest share is 0.04, and rare means less
        loss = SigmoidEqualizationLoss(threshold).prepare(LABEL_COUNTS3)
        assert_close(label_rows(loss, *labels()), label_rows(BCELoss(), *labels()))
