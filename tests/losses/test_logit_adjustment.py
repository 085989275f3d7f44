"""Logit adjustment and balanced softmax: published numbers, invariances, what prepare learns."""

import pytest
import torch
from sklearn.base import clone
from torch.testing import assert_close

from imbtorch.losses import BalancedSoftmaxLoss, CrossEntropyLoss, LogitAdjustedLoss
from tests.losses.inputs import (
    N3,
    W3,
    Y2,
    Y3,
    Z2,
    Z3,
    batch,
    extreme,
    f64,
    rows_of,
    two_columns,
    value_and_gradient,
)

PRIOR3 = f64(N3) / sum(N3)
ROWS = f64([0.046039132, 2.506602126, 0.344529771, 1.832581464])
LOSSES = [LogitAdjustedLoss(1.0), LogitAdjustedLoss(0.5), BalancedSoftmaxLoss()]


def every_loss(function):
    return pytest.mark.parametrize("loss", LOSSES, ids=repr)(function)


def fresh(loss, **params):
    return clone(loss).set_params(**params)


# -- numbers, section 2.2 of the catalogue -------------------------------------------------------


@pytest.mark.parametrize("loss", [LogitAdjustedLoss(1.0), BalancedSoftmaxLoss()], ids=repr)
def test_rows_and_mean(loss):
    rows = fresh(loss, reduction="none").prepare(N3)(Z3, Y3)
    assert_close(rows, ROWS, rtol=0, atol=1e-9)
    mean = fresh(loss).prepare(N3)(Z3, Y3)
    assert mean.item() == pytest.approx(1.182438123, abs=1e-9)


def test_mean_with_half_the_adjustment():
    assert LogitAdjustedLoss(0.5).prepare(N3)(Z3, Y3).item() == pytest.approx(0.760944161, abs=1e-9)


@pytest.mark.parametrize("loss", [LogitAdjustedLoss(1.0), BalancedSoftmaxLoss()], ids=repr)
def test_binary_value(loss):
    # 10 % positives shift the one logit by log(1 / 9)
    value = fresh(loss).prepare([90, 10])(two_columns(Z2), Y2.long())
    assert value.item() == pytest.approx(1.170860482, abs=1e-9)
    shifted = CrossEntropyLoss()(Z2 - 2.197224577, Y2)
    assert value.item() == pytest.approx(shifted.item(), abs=1e-9)


def test_balanced_softmax_weighs_exponentials_by_counts():
    counts = f64(N3)
    share = counts[Y3] * Z3.exp().gather(1, Y3.unsqueeze(1)).squeeze(1)
    expected = -torch.log(share / (counts * Z3.exp()).sum(1))
    assert_close(BalancedSoftmaxLoss(reduction="none").prepare(N3)(Z3, Y3), expected)


@every_loss
def test_gradient(loss):
    # section 3: softmax(z + tau log pi) - 1_t
    tau = loss.get_params().get("tau", 1.0)
    logits, target = batch(30)
    _, grad = rows_of(fresh(loss).prepare(N3), logits, target)
    expected = torch.softmax(logits + tau * PRIOR3.log(), dim=1)
    expected[torch.arange(30), target] -= 1
    assert_close(grad, expected, rtol=0, atol=1e-10)


@every_loss
def test_class_weight_multiplies_the_adjusted_row(loss):
    weighted = fresh(loss, weight=W3, reduction="none").prepare(N3)
    plain = fresh(loss, reduction="none").prepare(N3)
    assert_close(weighted(Z3, Y3), W3[Y3] * plain(Z3, Y3))


# -- what prepare learns -------------------------------------------------------------------------


@every_loss
def test_only_the_ratio_of_counts_matters(loss):
    logits, target = batch()
    expected = rows_of(fresh(loss).prepare(N3), logits, target)
    for factor in (0.001, 7, 1e6):
        counts = [factor * count for count in N3]
        assert_close(rows_of(fresh(loss).prepare(counts), logits, target), expected)


@every_loss
def test_zero_counts_keep_that_invariance(loss):
    logits, target = batch()
    expected = rows_of(fresh(loss).prepare([8, 0, 2]), logits, target)
    assert_close(rows_of(fresh(loss).prepare([80, 0, 20]), logits, target), expected)


@every_loss
def test_uniform_counts_are_cross_entropy(loss):
    logits, target = batch()
    expected = rows_of(CrossEntropyLoss(), logits, target)
    assert_close(rows_of(fresh(loss).prepare([7, 7, 7]), logits, target), expected)


def test_tau_zero_is_cross_entropy_for_any_counts():
    logits, target = batch()
    expected = rows_of(CrossEntropyLoss(), logits, target)
    assert_close(rows_of(LogitAdjustedLoss(0.0).prepare(N3), logits, target), expected)


@every_loss
def test_classes_without_rows_are_finite_and_rarest(loss):
    ready = fresh(loss).prepare([100, 0, 4])
    logits, target = extreme(3)
    values, grad = rows_of(ready, logits, target)
    assert values.isfinite().all()
    assert grad.isfinite().all()
    shift = ready.log_prior_shift()
    assert shift.isfinite().all()
    assert shift[1] > shift[2] > shift[0]  # the rarer the class, the more the loss favours it


@every_loss
def test_prior_is_that_of_the_latest_counts(loss):
    ready = fresh(loss).prepare([1, 1, 1]).prepare(N3)
    tau = loss.get_params().get("tau", 1.0)
    assert_close(ready.log_prior_shift(), -tau * PRIOR3.log())


def test_initial_bias_is_the_log_prior_less_the_adjustment():
    # the raw logits of an uninformed net are flat where the loss removes all of the imbalance
    log_prior = PRIOR3.log()
    flat = LogitAdjustedLoss(1.0).prepare(N3).initial_bias(log_prior)
    assert_close(flat, torch.zeros(3).double())
    half = LogitAdjustedLoss(0.5).prepare(N3).initial_bias(log_prior)
    assert_close(half, log_prior / 2)


def test_initial_bias_minimises_the_loss_of_a_constant():
    for loss in LOSSES:
        ready = fresh(loss).prepare(N3)
        bias = ready.initial_bias(PRIOR3.log()).expand(3, 3)
        risk = lambda z, ready=ready: PRIOR3 * ready.per_sample(z, torch.arange(3))  # noqa: E731
        _, grad = value_and_gradient(risk, bias)
        assert_close(grad.sum(0), torch.zeros(3).double(), rtol=0, atol=1e-12)


# -- bad input -----------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("use", ["forward", "per_sample", "log_prior_shift"])
def test_forgotten_prepare_is_named(loss, use):
    arguments = () if use == "log_prior_shift" else (Z3, Y3)
    with pytest.raises(ValueError, match=r"class counts.*call\s+loss\.prepare\(class_counts\)"):
        getattr(fresh(loss), use)(*arguments)


@every_loss
@pytest.mark.parametrize("counts", [[5], [5, 3], [5, 3, 2, 1]], ids=len)
def test_counts_of_another_number_of_classes(loss, counts):
    # one count would broadcast over the columns and silently adjust nothing
    with pytest.raises(ValueError, match=rf"\b{len(counts)}\b.*\b3\b|\b3\b.*\b{len(counts)}\b"):
        fresh(loss).prepare(counts)(Z3, Y3)


@pytest.mark.parametrize("tau", [-0.1, float("nan"), float("inf"), "1"])
def test_bad_tau(tau):
    with pytest.raises(ValueError, match="'tau' parameter of LogitAdjustedLoss"):
        LogitAdjustedLoss(tau).prepare(N3)
