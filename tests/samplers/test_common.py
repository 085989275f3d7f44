"""What every registered sampler keeps, found through the registry."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

from imbtorch.samplers import BaseSampler, Remix, all_samplers, get_sampler

# class 2 has no rows
CODES = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [300, 60, 15])).astype(np.uint8)
N, N_CLASSES, BATCH = len(CODES), 4, 32
SETTINGS = [
    pytest.param(sampler, id=repr(sampler))
    for sampler in [
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
]
every_sampler = pytest.mark.parametrize("sampler", SETTINGS)


def plan_of(sampler, codes=CODES, n_classes=N_CLASSES, seed=7):
    return sampler.plan(codes, n_classes, batch_size=BATCH, seed=seed)


def label_matrix(density=0.1, n_labels=5):
    dense = np.random.default_rng(0).random((N, n_labels)) < density
    return sparse.csr_array(dense)


@every_sampler
def test_parameters_survive_clone_repr_and_set_params(sampler):
    params = sampler.get_params()
    assert clone(sampler).get_params() == params
    assert type(sampler)().set_params(**params).get_params() == params
    assert type(sampler).__name__ in repr(sampler)


def test_registry_holds_direct_subclasses_by_name():
    for name, cls in all_samplers().items():
        assert cls.name == name
        assert issubclass(cls, BaseSampler)
        assert type(get_sampler(name)) is cls
    assert list(all_samplers()) == sorted(all_samplers())
    assert len(all_samplers()) == 12


@every_sampler
def test_plan_changes_neither_sampler_nor_codes(sampler, global_rng_untouched):
    before, codes = pickle.dumps(sampler), CODES.copy()
    codes.flags.writeable = False
    plan = plan_of(sampler, codes)
    plan.order(0, 3)
    plan.expected_counts()
    assert pickle.dumps(sampler) == before
    assert vars(sampler).keys() == sampler.get_params().keys()


@every_sampler
@pytest.mark.parametrize("seed", [0, 7, 2**31 - 2])
def test_positions_are_in_range_and_small(sampler, seed):
    plan = plan_of(sampler, seed=seed)
    for epoch in range(3):
        order = plan.order(epoch, 3)
        assert order.dtype == np.int32
        assert order.ndim == 1
        assert len(order)
        assert order.flags.c_contiguous
        assert order.min() >= 0
        assert order.max() < N


@every_sampler
def test_same_seed_repeats_and_epochs_differ(sampler):
    first, second = plan_of(sampler), plan_of(clone(sampler))
    orders = [first.order(epoch, 12) for epoch in range(12)]
    for epoch in (11, 3, 0, 7):  # any epoch, in any order
        np.testing.assert_array_equal(second.order(epoch, 12), orders[epoch])
        np.testing.assert_array_equal(first.order(epoch, 12), orders[epoch])
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], plan_of(sampler, seed=8).order(0, 12))


@every_sampler
def test_plan_can_be_pickled(sampler):
    plan = plan_of(sampler)
    expected = plan.order(5, 10)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plan)).order(5, 10), expected)


@every_sampler
def test_expected_counts_are_the_mean_over_epochs(sampler):
    if isinstance(sampler, Remix):
        pytest.skip("counts labels of mixtures: test_mixing")
    plan, n_epochs = plan_of(sampler), 400
    counts = np.array(
        [
            np.bincount(CODES[plan.order(epoch, n_epochs)], minlength=N_CLASSES)
            for epoch in range(n_epochs)
        ]
    )
    expected = plan.expected_counts(n_epochs)
    assert expected.shape == (N_CLASSES,)
    assert expected.dtype == np.float64
    error = counts.std(axis=0) / np.sqrt(n_epochs)
    assert (np.abs(counts.mean(axis=0) - expected) <= 4 * error + 1e-9).all()
    np.testing.assert_allclose(plan.expected_counts(10**9), plan.expected_counts(), rtol=1e-6)


@every_sampler
def test_class_without_rows_is_never_drawn(sampler):
    plan = plan_of(sampler)
    assert plan.expected_counts()[2] == 0
    assert 2 not in CODES[plan.order(0, 1)]


@every_sampler
def test_orders_are_shuffled(sampler):
    """Neither sorted by position nor by class: each quarter of an epoch holds two classes."""
    order = plan_of(sampler).order(1, 4)
    assert not np.array_equal(order, np.sort(order))
    for part in np.array_split(CODES[order], 4):
        assert len(np.unique(part)) > 1


@pytest.mark.parametrize("cls", all_samplers().values(), ids=lambda cls: cls.__name__)
class TestBadInput:
    def test_label_matrix_works_or_is_refused(self, cls):
        plan_labels = {"targets": label_matrix(), "n_classes": 5, "batch_size": 8, "seed": 0}
        if cls._takes_labels:
            plan = cls().plan(**plan_labels)
            assert plan.expected_counts().shape == (5, 2)
            assert plan.order(0, 1).max() < N
        else:
            with pytest.raises(ValueError, match=rf"{cls.__name__}.*label"):
                cls().plan(**plan_labels)

    @pytest.mark.parametrize(
        ("codes", "match"),
        [
            (np.zeros((3, 2), dtype=int), "one-dimensional"),
            (np.array([0.0, 1.0]), "integers"),
            (np.array([], dtype=int), "empty"),
            (np.array([0, 4]), r"\[0, 4\)"),
            (np.array([-1, 0]), r"\[0, 4\)"),
        ],
    )
    def test_codes_that_are_none(self, cls, codes, match):
        with pytest.raises(ValueError, match=match):
            plan_of(cls(), codes)

    def test_batch_size_of_zero(self, cls):
        with pytest.raises(ValueError, match="batch_size"):
            cls().plan(CODES, N_CLASSES, batch_size=0, seed=0)


@pytest.mark.parametrize("cls", all_samplers().values(), ids=lambda cls: cls.__name__)
def test_parameter_out_of_range_is_named(cls):
    for name in cls().get_params():
        for value in (-2, "nonsense", np.nan):
            with pytest.raises(ValueError, match=name):
                plan_of(cls(**{name: value}))


@pytest.mark.parametrize("cls", all_samplers().values(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.int8])
def test_any_integer_type_of_codes(cls, kind):
    np.testing.assert_array_equal(
        plan_of(cls(), CODES.astype(kind)).order(0, 2), plan_of(cls()).order(0, 2)
    )


@pytest.mark.parametrize("cls", all_samplers().values(), ids=lambda cls: cls.__name__)
def test_one_class_and_one_row(cls):
    order = cls().plan(np.array([0]), 1, batch_size=1, seed=0).order(0, 1)
    np.testing.assert_array_equal(order, [0])


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
