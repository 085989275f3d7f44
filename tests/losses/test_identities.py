"""What holds across the families: counts, two classes, shifts of the logits, forms of a loss.

Identities of section 3 of the catalogue of losses. The losses come from the registry wherever a
property tells which.
"""

import pytest
import torch
from sklearn.base import clone
from torch.testing import assert_close

from imbtorch.losses import (
    BalancedSoftmaxLoss,
    BaseLoss,
    CDTLoss,
    ClassBalancedLoss,
    CrossEntropyLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    SeesawLoss,
    SoftmaxEqualizationLoss,
    VSLoss,
    all_losses,
)
from imbtorch.losses._adjusted import AdjustedLogitsMixin
from imbtorch.losses._one_vs_rest import OneVsRestMixin
from imbtorch.losses._true_class import TrueClassMixin
from tests.losses.inputs import COUNTS, N3, batch, prepared, rows_of, value_and_gradient

SETTINGS = [cls(**params) for cls in all_losses().values() for params in cls._test_params]
PER_ROW = [loss for loss in SETTINGS if type(loss).per_sample is not BaseLoss.per_sample]
ADJUSTED = [loss for loss in PER_ROW if isinstance(loss, AdjustedLogitsMixin)]
TEMPERATURES = (CDTLoss, VSLoss)


# -- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        LogitAdjustedLoss(),
        LogitAdjustedLoss(0.5),
        BalancedSoftmaxLoss(),
        CDTLoss(0.4),
        VSLoss(0.3, 1.2),
        SeesawLoss(q=0.0),
        SoftmaxEqualizationLoss(threshold=0.3),
        ClassBalancedLoss(0.99),
    ],
    ids=repr,
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_uniform_counts_are_cross_entropy(loss, n_classes):
    logits, target = batch(n_classes=n_classes)
    expected = rows_of(CrossEntropyLoss(), logits, target)
    assert_close(rows_of(prepared(loss, [7] * n_classes), logits, target), expected)


def test_uniform_counts_leave_the_margin_of_ldam():
    loss = LDAMLoss(0.5, 1.0)
    assert (prepared(loss, [7, 7, 7])(*batch()) - CrossEntropyLoss()(*batch())).abs() > 0.1


@pytest.mark.parametrize("loss", ADJUSTED, ids=repr)
def test_only_the_ratio_of_counts_matters(loss):
    expected = rows_of(prepared(loss, N3), *batch())
    for factor in (0.001, 7, 1e6):
        counts = [factor * count for count in N3]
        assert_close(rows_of(prepared(loss, counts), *batch()), expected)


def test_the_size_of_the_data_matters_to_effective_numbers():
    small, large = (prepared(ClassBalancedLoss(0.99), [k * n for n in N3]) for k in (1, 10))
    assert (small(*batch()) - large(*batch())).abs() > 1e-3


@pytest.mark.parametrize("loss", ADJUSTED, ids=repr)
def test_counts_that_differ_make_a_difference(loss):
    # otherwise the invariances above would hold for a loss that ignores them
    uniform, own = (prepared(loss, counts)(*batch()) for counts in ([7, 7, 7], N3))
    assert (uniform - own).abs() > 1e-3


# -- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", PER_ROW, ids=repr)
def test_gradient_rows_sum_to_zero(loss):
    # a constant added to all logits of a row changes nothing: not where each logit has a
    # temperature, or is a label of its own
    for n_classes in (2, 3):
        logits, target = batch(30, n_classes)
        _, grad = rows_of(prepared(loss, COUNTS[:n_classes]), logits, target)
        own = isinstance(loss, TEMPERATURES) or (isinstance(loss, OneVsRestMixin) and n_classes > 2)
        if own:
            assert grad.sum(1).abs().max() > 1e-3
        else:
            assert_close(grad.sum(1), torch.zeros(30).double(), rtol=0, atol=1e-11)


# -- two classes ---------------------------------------------------------------------------------

HALVED = {"l1", "mse"}  # |p - y| or its square once, where the softmax form has it for both classes


@pytest.mark.parametrize(
    "loss",
    [
        loss
        for loss in PER_ROW
        if isinstance(
            loss, (TrueClassMixin, OneVsRestMixin, LogitAdjustedLoss, BalancedSoftmaxLoss)
        )
        or loss.name in {"cross_entropy", "mse"}
        if loss.name != "class_balanced"  # whose sigmoid form weighs rows by their labels
    ],
    ids=repr,
)
def test_two_classes_are_one_label_of_the_difference(loss):
    logits, target = batch(30, 2)
    ready = prepared(loss, COUNTS[:2], reduction="none")
    factor = 2 if loss.name in HALVED else 1
    two = value_and_gradient(lambda z: ready(z, target), logits)
    one = value_and_gradient(lambda z: factor * ready(z[:, 1] - z[:, 0], target.double()), logits)
    assert_close(two, one)


# -- neutral parameters --------------------------------------------------------------------------


def test_every_neutral_setting_is_one_of_the_losss_parameters():
    for loss in SETTINGS:
        assert set(loss._neutral_params or {}) <= loss.get_params().keys()
        for params in loss._test_params:
            clone(loss).set_params(**params).prepare(COUNTS)
