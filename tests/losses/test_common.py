"""Every registered loss, with each of its test settings, satisfies every check that applies.

The losses come from the registry and the settings from the losses, so a new loss is tested
without a line here. Deliberately wrong losses show that the checks bite.
"""

import re

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from imbtorch.losses import BaseLoss, all_losses, as_loss, get_loss
from imbtorch.testing import check_loss, loss_checks, temporary_names
from imbtorch.testing._contract import same_params
from imbtorch.testing._parameter_checks import DOCUMENTATION_CHECKS


def instances():
    """One unprepared loss for each registered class and each of its test settings."""
    return [cls(**params) for cls in all_losses().values() for params in cls._test_params]


def case_id(value):
    if isinstance(value, str):
        return value
    return value.__name__ if callable(value) and hasattr(value, "__name__") else repr(value)


CASES = [(loss, check) for loss in instances() for check in loss_checks(loss)]


@pytest.mark.parametrize(("loss", "check"), CASES, ids=case_id)
def test_loss(loss, check):
    check(loss)


# -- wrong losses: no name, so that the registry does not list them ------------------------------


class CorrectLoss(BaseLoss):
    r"""Cross-entropy once more: what the wrong losses below are measured against.

    .. math:: \ell = -\log p_t

    Parameters
    ----------
    weight : array-like of shape (n_classes,) or None, default=None
        One factor per class.
    ignore_index : int, default=-100
        Rows with this target are ignored.
    reduction : str, default="mean"
        See the base class.

    References
    ----------
    .. [1] Shannon (1948). :doi:`10.1002/j.1538-7305.1948.tb01338.x`

    Examples
    --------
    >>> CorrectLoss()
    CorrectLoss()
    """

    _neutral_params = {}

    def __init__(self, *, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)

    def per_sample(self, logits, target):
        return -logits.log_softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)


class MeanOverEntriesLoss(CorrectLoss):
    """Wrong: averages over all n x c entries, and hands that mean to each row."""

    def per_sample(self, logits, target):
        entries = -F.one_hot(target, logits.shape[1]) * logits.log_softmax(1)
        return entries.mean().expand(len(target))


class LogOfSoftmaxLoss(CorrectLoss):
    """Wrong: the log of a probability that has rounded to 0, NaN in the gradient."""

    floor = 0.0

    def per_sample(self, logits, target):
        proba = logits.softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)
        return -proba.clamp_min(self.floor).log()


class ClampedLogLoss(LogOfSoftmaxLoss):
    """Wrong: finite, but a row that is badly wrong has no gradient any more."""

    floor = 1e-8


class PlainTensorLoss(CorrectLoss):
    """Wrong: keeps weights as a plain attribute, which ``.to`` and ``state_dict`` pass by."""

    def _prepare(self, class_counts):
        self.balanced = class_counts.sum() / (len(class_counts) * class_counts)

    def per_sample(self, logits, target):
        return self.balanced.to(logits.dtype)[target] * super().per_sample(logits, target)


class ForgottenHyperParameterLoss(CorrectLoss):
    """Wrong: the hyper-parameter is not stored, has no constraint, and is not documented."""

    def __init__(self, sharpness=2.0, *, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.sharpness = int(sharpness)


REJECTIONS = [
    (MeanOverEntriesLoss, "check_neutral_is_cross_entropy"),
    (MeanOverEntriesLoss, "check_row_alone"),
    (MeanOverEntriesLoss, "check_weights_are_repeats"),
    (LogOfSoftmaxLoss, "check_extreme_logits"),
    (LogOfSoftmaxLoss, "check_float32_equals_float64"),
    (LogOfSoftmaxLoss, "check_neutral_is_cross_entropy"),
    (ClampedLogLoss, "check_neutral_is_cross_entropy"),
    (PlainTensorLoss, "check_device_follows"),
    (PlainTensorLoss, "check_state_dict"),
    (ForgottenHyperParameterLoss, "check_constraints_are_complete"),
    (ForgottenHyperParameterLoss, "check_docstring"),
]


ALL_CHECKS = [*loss_checks(CorrectLoss()), *DOCUMENTATION_CHECKS]


@pytest.mark.parametrize("check", ALL_CHECKS, ids=case_id)
def test_checks_accept_a_correct_loss(check):
    check(CorrectLoss())


@pytest.mark.parametrize(("wrong", "name"), REJECTIONS, ids=case_id)
def test_checks_reject_a_wrong_loss(wrong, name):
    (check,) = (check for check in ALL_CHECKS if check.__name__ == name)
    with pytest.raises(AssertionError, match=f"{wrong.__name__}.* fails {name}") as caught:
        check(wrong())
    for part in ("What must hold: ", "What was found: ", "How to fix it: "):
        assert re.search(rf"^{part}\S", str(caught.value), re.MULTILINE)


@pytest.mark.parametrize("wrong", sorted({cls for cls, _ in REJECTIONS}, key=lambda c: c.__name__))
def test_check_loss_rejects_a_wrong_loss(wrong):
    check_loss(CorrectLoss())
    with temporary_names(), pytest.raises(AssertionError, match="How to fix it"):
        check_loss(type(wrong.__name__, (wrong,), {"name": "wrong", "__doc__": wrong.__doc__})())


def test_only_losses_with_a_name_are_checked_for_documentation():
    assert not set(DOCUMENTATION_CHECKS) & set(loss_checks(CorrectLoss()))
    assert set(DOCUMENTATION_CHECKS) <= set(loss_checks(get_loss("focal")))


@pytest.mark.parametrize("wrong", [CorrectLoss, torch.nn.CrossEntropyLoss(), "focal", None])
def test_check_loss_takes_an_object_of_a_subclass(wrong):
    with pytest.raises(TypeError, match="check_loss takes an object of a subclass of BaseLoss"):
        check_loss(wrong)


# -- the registry ------------------------------------------------------------------------------


def test_a_new_class_is_registered_by_its_name():
    with temporary_names():
        cls = type("ToyLoss", (BaseLoss,), {"name": "toy", "__doc__": "A toy."})
        assert all_losses()["toy"] is cls
        assert type(get_loss("toy")) is cls
        assert type(as_loss("toy")) is cls
    assert "toy" not in all_losses()


def test_classes_without_a_name_are_not_registered():
    assert CorrectLoss not in all_losses().values()
    assert "" not in all_losses()


def test_registry_is_sorted_by_name_and_builds_new_objects():
    losses = all_losses()
    assert list(losses) == sorted(losses)
    assert {"cross_entropy", "focal", "logit_adjusted", "balanced_softmax"} <= set(losses)
    for name, cls in losses.items():
        assert cls.name == name
        assert type(get_loss(name)) is cls
        assert get_loss(name) is not get_loss(name)


def test_class_names_are_the_names_in_camel_case():
    for name, cls in all_losses().items():
        words = name.replace("_", "").lower() + "loss"
        assert cls.__name__.lower() == words


@pytest.mark.parametrize("build", [get_loss, as_loss])
def test_unknown_name_lists_the_known_ones(build):
    with pytest.raises(ValueError, match="Unknown loss 'fokal'") as caught:
        build("fokal")
    assert all(repr(name) in str(caught.value) for name in all_losses())


def test_as_loss_copies_and_leaves_the_given_object_alone():
    given = get_loss("logit_adjusted").set_params(tau=0.5, weight=[1, 2, 5])
    taken = as_loss(given)
    assert taken is not given
    taken.prepare([3, 2, 1])
    assert given.log_prior is None
    assert same_params(given.get_params(), taken.get_params())
    assert type(as_loss(type(given))) is type(given)


def test_global_random_state_is_untouched(global_rng_untouched):
    logits, target = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
    for loss in instances():
        loss.prepare([3, 2, 1])(logits, target)
