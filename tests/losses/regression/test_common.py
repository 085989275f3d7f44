"""What every loss of continuous targets must satisfy, found through the registry."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from imbtorch.losses.regression import (
    BaseRegressionLoss,
    TorchRegressionLoss,
    all_regression_losses,
    as_regression_loss,
    get_regression_loss,
)
from imbtorch.testing import _regression_checks as checks
from imbtorch.testing import check_regression_loss, regression_loss_checks
from imbtorch.testing._regression_checks import batch

LOSSES = [
    cls(**params) for cls in all_regression_losses().values() for params in cls._test_params
] + [TorchRegressionLoss(nn.SmoothL1Loss())]


def case_id(value):
    return value.__name__ if callable(value) and hasattr(value, "__name__") else repr(value)


CASES = [(loss, check) for loss in LOSSES for check in regression_loss_checks(loss)]
# a torch loss that is wrapped has no name, but is documented and validated
CASES += [(LOSSES[-1], check) for check in checks.NAMED_CHECKS if check is not checks.check_repr]


@pytest.mark.parametrize(("loss", "check"), CASES, ids=case_id)
def test_loss(loss, check):
    check(loss)


# -- wrong losses: no name, so that the registry does not list them ------------------------------


class CorrectLoss(BaseRegressionLoss):
    """Squared error once more: what the wrong losses below are measured against."""

    _neutral_params = {}

    def per_output(self, prediction, target):
        return (prediction - target).square()


class MeanOverRowsLoss(CorrectLoss):
    """Wrong: gives the mean over the rows to each row."""

    def per_output(self, prediction, target):
        return super().per_output(prediction, target).mean(0).expand_as(target)


class RootOfSquareLoss(CorrectLoss):
    """Wrong: the slope of the root at 0 is infinite, and overflows for large errors."""

    def per_output(self, prediction, target):
        return (prediction - target).pow(10).sqrt()


class PlainTensorLoss(CorrectLoss):
    """Wrong: keeps what it learns as a plain attribute, which ``state_dict`` passes by."""

    scale = 1.0

    def _prepare(self, target, weight):
        self.scale = torch.tensor(target.std())

    def per_output(self, prediction, target):
        return super().per_output(prediction, target) * self.scale


REJECTIONS = [
    (MeanOverRowsLoss, checks.check_weights_are_repeats),
    (MeanOverRowsLoss, checks.check_neutral_is_a_loss_of_torch),
    (RootOfSquareLoss, checks.check_extreme_values),
    (PlainTensorLoss, checks.check_copies_give_the_same),
]


def test_checks_accept_a_correct_loss():
    check_regression_loss(CorrectLoss())


@pytest.mark.parametrize(("wrong", "check"), REJECTIONS, ids=case_id)
def test_checks_reject_a_wrong_loss(wrong, check):
    with pytest.raises(AssertionError, match=f"{wrong.__name__}.* fails {check.__name__}"):
        check(wrong())
    with pytest.raises(AssertionError, match="How to fix it"):
        check_regression_loss(wrong())


def test_check_regression_loss_takes_an_object_of_a_subclass():
    with pytest.raises(
        TypeError, match=r"Give an object: check_regression_loss\(CorrectLoss\(\)\)"
    ):
        check_regression_loss(CorrectLoss)


# -- what may stand for a loss -------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(beta=0.5), nn.HuberLoss(delta=2.0)]
)
def test_losses_of_torch(loss):
    for given in (loss, type(loss)):
        ours = as_regression_loss(given).prepare([1.0, 2.0])
        original = given if given is loss else given()
        assert_close(ours(*batch()), original(*batch()))
        weight = torch.linspace(0, 2, 12, dtype=torch.float64)
        reference = type(loss)(reduction="none")
        if given is not loss:
            rows = reference(*batch()).squeeze(1)
            assert_close(ours(*batch(), weight), (rows * weight).mean())
    assert as_regression_loss(nn.MSELoss(reduction="sum")).reduction == "sum"


def test_names_and_objects():
    losses = all_regression_losses()
    assert {"balanced_mse", "focal_r", "huber", "l1", "mse", "quantile"} <= losses.keys()
    for name, cls in losses.items():
        assert type(get_regression_loss(name)) is type(as_regression_loss(cls)) is cls
    given = losses["huber"](delta=2.0)
    taken = as_regression_loss(given)
    assert taken is not given
    assert taken.delta == 2.0
    with pytest.raises(ValueError, match="balanced_mse"):
        as_regression_loss("no such loss")


def test_what_is_no_loss():
    from imbtorch.losses import FocalLoss

    for wrong in (3, FocalLoss(), FocalLoss, None):
        with pytest.raises(TypeError, match="regression"):
            as_regression_loss(wrong)
    scalar = as_regression_loss(nn.Sequential(nn.Flatten(0)))
    with pytest.raises((TypeError, ValueError)):
        scalar(*batch())
    with pytest.raises(ValueError, match="one value per element"):
        as_regression_loss(nn.PairwiseDistance())(*batch(k=3))
    with pytest.raises(ValueError, match="wraps"):
        TorchRegressionLoss()(*batch())
