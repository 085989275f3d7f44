"""LDAM, softmax equalization and seesaw: published numbers, gradients, what the counts do.

Section numbers are those of the catalogue of losses.
"""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from imbtorch.losses import (
    CrossEntropyLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    SeesawLoss,
    SoftmaxEqualizationLoss,
)
from tests.losses.inputs import N3, W3, Y3, Z3, batch, close, f64, one_hot, prepared, rows_of

PRIOR3 = f64(N3) / sum(N3)
MARGINS = [0.236435402, 0.353553391, 0.5]
LDAM_ROWS = [2.036347203e-07, 4.513496263, 6.151122085e-04, 11.29976127]
EQL_ROWS = [0.201413278, 0.604018867, 0.065043562, 0.693147181]
SEESAW_ROWS = [0.064010777, 0.604018867, 0.154061432, 0.845815467]

# -- LDAM, section 2.2 ---------------------------------------------------------------------------


def test_ldam_rows_and_means():
    close(LDAMLoss(reduction="none").prepare(N3)(Z3 / 2, Y3), LDAM_ROWS, 8)
    close(LDAMLoss().prepare(N3)(Z3 / 2, Y3), 3.953468213)
    weighted = LDAMLoss(weight=W3, reduction="weighted_mean").prepare(N3)
    close(weighted(Z3 / 2, Y3), 4.734574432)


def test_ldam_margins():
    # with the margin put back by hand the value is that of cross-entropy
    lowered = Z3 - one_hot(Y3, 3) * f64(MARGINS)
    expected = CrossEntropyLoss(reduction="none")(30 * lowered, Y3)
    assert_close(LDAMLoss(reduction="none").prepare(N3)(Z3, Y3), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("counts", [N3, [5, 5, 5], [7, 1000, 3]], ids=str)
def test_widest_margin_is_that_of_the_rarest_class(counts):
    for max_margin in (0.3, 0.5):
        rarest = counts.index(min(counts))
        logits = torch.zeros(1, 3).double()
        value = LDAMLoss(max_margin, 1.0).prepare(counts)(logits, torch.tensor([rarest]))
        expected = -F.log_softmax(f64([-max_margin, 0, 0]), 0)[0]
        assert_close(value, expected)


@pytest.mark.parametrize(("max_margin", "scale"), [(0.5, 30.0), (0.3, 5.0)])
def test_gradient_of_ldam(max_margin, scale):
    # section 3: s (softmax(s (z - D_t 1_t)) - 1_t)
    logits, target = batch(30)
    margin = max_margin * (min(N3) / f64(N3)) ** 0.25
    hot = one_hot(target, 3)
    expected = scale * (torch.softmax(scale * (logits - margin * hot), 1) - hot)
    _, grad = rows_of(LDAMLoss(max_margin, scale).prepare(N3), logits, target)
    assert_close(grad, expected, rtol=0, atol=1e-10)


def test_ldam_scores_are_softmax_of_the_scaled_raw_logits():
    assert_close(LDAMLoss(0.5, 7.0).log_posterior(Z3), torch.log_softmax(7 * Z3, 1))


# -- softmax equalization, section 2.2 -----------------------------------------------------------


def test_softmax_equalization_rows_and_mean():
    loss = SoftmaxEqualizationLoss(1.0, 0.1)
    close(prepared(loss, N3, reduction="none")(Z3, Y3), EQL_ROWS)
    close(prepared(loss, N3)(Z3, Y3), 0.390905722)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 1.0])
def test_gradient_of_softmax_equalization(gamma):
    logits, target = batch(30)
    hot = one_hot(target, 3)
    kept = 1 - gamma * (PRIOR3 < 0.2).double() * (1 - hot)
    share = kept * logits.exp() / (kept * logits.exp()).sum(1, keepdim=True)
    loss = SoftmaxEqualizationLoss(gamma, 0.2).prepare(N3)
    values, grad = rows_of(loss, logits, target)
    assert_close(grad, share - hot, rtol=0, atol=1e-10)
    assert_close(values, -(share * hot).sum(1).log())


def test_softmax_equalization_spares_rare_classes_wholly_at_gamma_one():
    _, grad = rows_of(SoftmaxEqualizationLoss(1.0, 0.1).prepare(N3), *batch(30))
    target = batch(30)[1]
    assert (grad[target != 2, 2] == 0).all()  # the rare class is pushed down by none
    assert (grad[target == 2] != 0).all()  # and learns from its own rows


def test_softmax_equalization_without_rare_classes_is_cross_entropy():
    expected = rows_of(CrossEntropyLoss(), *batch())
    for threshold in (0.0, 0.01, 0.04):  # the rarest share is 0.04, and rare means less
        loss = SoftmaxEqualizationLoss(0.9, threshold).prepare(N3)
        assert_close(rows_of(loss, *batch()), expected)


# -- seesaw, section 2.2 -------------------------------------------------------------------------


def factors(logits, target, p, q, epsilon=0.01):
    """S_tj of the formula, as a matrix ``(n, c)``."""
    counts, proba = f64(N3), logits.softmax(1)
    mitigation = (counts / counts[target].unsqueeze(1)).clamp_max(1) ** p
    true = proba.gather(1, target.unsqueeze(1)).clamp_min(epsilon)
    return mitigation * (proba / true).clamp_min(1) ** q


def test_seesaw_rows_and_mean():
    close(SeesawLoss(reduction="none").prepare(N3)(Z3, Y3), SEESAW_ROWS)
    close(SeesawLoss().prepare(N3)(Z3, Y3), 0.416976636)


@pytest.mark.parametrize(("p", "q", "epsilon"), [(0.8, 2.0, 0.01), (0.5, 0.0, 0.01), (0, 1.0, 0.2)])
def test_gradient_of_seesaw_holds_the_factors_fixed(p, q, epsilon):
    # section 3: q - 1_t, where q_j is proportional to S_tj exp(z_j)
    logits, target = batch(30)
    share = factors(logits, target, p, q, epsilon) * logits.exp()
    share = share / share.sum(1, keepdim=True)
    values, grad = rows_of(SeesawLoss(p, q, epsilon).prepare(N3), logits, target)
    assert_close(values, -share.gather(1, target.unsqueeze(1)).squeeze(1).log())
    assert_close(grad, share - one_hot(target, 3), rtol=0, atol=1e-10)


def test_seesaw_factors_pass_no_gradient_but_matter():
    # a version with the gradient through S gives other numbers
    logits, target = batch(30)
    moving = logits.clone().requires_grad_()
    share = factors(moving, target, 0.8, 2.0) * moving.exp()
    row = share.gather(1, target.unsqueeze(1)).squeeze(1) / share.sum(1)
    (through,) = torch.autograd.grad(-row.log().sum(), moving)
    _, grad = rows_of(SeesawLoss().prepare(N3), logits, target)
    assert (grad - through).abs().max() > 0.1


def test_seesaw_mitigation_at_full_power_is_logit_adjustment_of_rarer_rivals():
    # rows of the most frequent class have rarer rivals only
    logits, _ = batch(30)
    target = torch.zeros(30).long()
    expected = rows_of(LogitAdjustedLoss().prepare(N3), logits, target)
    assert_close(rows_of(SeesawLoss(1.0, 0.0).prepare(N3), logits, target), expected)
    # and rows of the rarest have none
    expected = rows_of(CrossEntropyLoss(), logits, target + 2)
    assert_close(rows_of(SeesawLoss(1.0, 0.0).prepare(N3), logits, target + 2), expected)


def test_seesaw_compensation_never_lowers_the_loss():
    logits, target = batch(30)
    plain = SeesawLoss(0.8, 0.0).prepare(N3).per_sample(logits, target)
    pushed = SeesawLoss(0.8, 2.0).prepare(N3).per_sample(logits, target)
    wrong = logits.argmax(1) != target
    assert (pushed[wrong] > plain[wrong]).all()
    assert_close(pushed[~wrong], plain[~wrong])
