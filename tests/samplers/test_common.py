"""What every registered sampler keeps, found through the registry."""

import numpy as np
import pytest
from scipy import sparse

from imbtorch.samplers import (
    BaseSampler,
    ClassBalancedSampler,
    Plan,
    Remix,
    all_samplers,
    get_sampler,
)
from imbtorch.testing import _sampler_checks as checks
from imbtorch.testing import check_sampler, sampler_checks
from imbtorch.testing._sampler_checks import plan_of

SETTINGS = [
    *(cls() for cls in all_samplers().values()),
    get_sampler("repeat_factor").set_params(threshold=0.4),
    get_sampler("under_sampling").set_params(ratio=2.5),
    get_sampler("under_sampling").set_params(ratio=0.5),
    get_sampler("class_aware").set_params(epoch_size="full"),
    get_sampler("class_aware").set_params(epoch_size=100),
    get_sampler("class_balanced").set_params(epoch_size=1000),
    get_sampler("power").set_params(power=-1),
    get_sampler("exact_batches").set_params(per_class=[20, 10, 0, 2]),
]


def case_id(value):
    return value.__name__ if hasattr(value, "__name__") else repr(value)


CASES = [(sampler, check) for sampler in SETTINGS for check in sampler_checks(sampler)]


@pytest.mark.parametrize(("sampler", "check"), CASES, ids=case_id)
def test_sampler(sampler, check):
    check(sampler)


def test_only_remix_counts_something_else_than_rows():
    # what it counts instead is tested in test_mixing
    assert [cls for cls in all_samplers().values() if not cls._counts_rows] == [Remix]


def test_registry_holds_the_samplers_of_this_package_by_name():
    for name, cls in all_samplers().items():
        assert cls.name == name
        assert issubclass(cls, BaseSampler)
        assert type(get_sampler(name)) is cls
    assert list(all_samplers()) == sorted(all_samplers())
    assert len(all_samplers()) == 12


@pytest.mark.parametrize("cls", all_samplers().values(), ids=lambda cls: cls.__name__)
def test_parameter_out_of_range_is_named(cls):
    for name in cls().get_params():
        for value in (-2, "nonsense", np.nan):
            with pytest.raises(ValueError, match=name):
                plan_of(cls(**{name: value}))


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (sparse.csr_array(np.array([[0, 2]])), "0 and 1"),
        (sparse.csr_array(np.ones((2, 3))), "columns"),
        (sparse.csr_array(np.ones((0, 2))), "rows"),
    ],
)
def test_label_matrix_is_checked(labels, match):
    with pytest.raises(ValueError, match=match):
        get_sampler("mixup").plan(labels, 2, batch_size=8, seed=0)


# -- wrong samplers: no name, so that the registry does not list them ----------------------------


class EveryRow(BaseSampler):
    """Correct: every row once, in an order that the seed and the epoch determine."""

    def _plan(self, targets, n_classes, batch_size, seed):
        return self.plan_class(targets, n_classes, seed)


class EveryRowPlan(Plan):
    def __init__(self, targets, n_classes, seed):
        self.targets, self.n_classes, self.seed = np.array(targets), n_classes, seed

    def rng(self, epoch):
        return np.random.default_rng([self.seed, epoch])

    def order(self, epoch, n_epochs):
        return self.rng(epoch).permutation(len(self.targets)).astype(np.int32)

    def expected_counts(self, n_epochs=None):
        return np.bincount(self.targets, minlength=self.n_classes).astype(float)


class GlobalPlan(EveryRowPlan):
    """Wrong: draws from the global random state."""

    def rng(self, epoch):
        return np.random  # noqa: NPY002


class EndlessPlan(EveryRowPlan):
    """Wrong: one random generator for all epochs, so that an epoch cannot be asked for again."""

    def __init__(self, targets, n_classes, seed):
        super().__init__(targets, n_classes, seed)
        self.generator = np.random.default_rng(seed)

    def rng(self, epoch):
        return self.generator


class UnshuffledPlan(EveryRowPlan):
    """Wrong: sorts the rows by class, and returns large integers."""

    def order(self, epoch, n_epochs):
        return np.argsort(self.targets)


class BalancedPlan(EveryRowPlan):
    """Wrong: draws balanced rows, but counts those of the data."""

    def order(self, epoch, n_epochs):
        plan = ClassBalancedSampler().plan(
            self.targets, self.n_classes, batch_size=1, seed=self.seed
        )
        return plan.order(epoch, n_epochs)


EveryRow.plan_class = EveryRowPlan
REJECTIONS = [
    (GlobalPlan, checks.check_plan_changes_nothing),
    (GlobalPlan, checks.check_seed),
    (EndlessPlan, checks.check_seed),
    (UnshuffledPlan, checks.check_positions),
    (UnshuffledPlan, checks.check_orders_are_shuffled),
    (UnshuffledPlan, checks.check_seed),
    (BalancedPlan, checks.check_expected_counts),
]


def test_checks_accept_a_correct_sampler():
    check_sampler(EveryRow())


@pytest.mark.parametrize(("wrong", "check"), REJECTIONS, ids=case_id)
def test_checks_reject_a_wrong_sampler(wrong, check):
    sampler = type(wrong.__name__, (EveryRow,), {"plan_class": wrong, "__module__": __name__})
    with pytest.raises(
        AssertionError, match=f"{wrong.__name__}.* fails {check.__name__}"
    ) as caught:
        check(sampler())
    assert "How to fix it: " in str(caught.value)


def test_check_sampler_takes_an_object_of_a_subclass():
    with pytest.raises(TypeError, match="check_sampler takes an object of a subclass of BaseSam"):
        check_sampler(EveryRow)
