"""From ``class_weight`` to one factor per class."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from imbtorch.weights import (
    CLASS_WEIGHT_STRATEGIES,
    class_weights,
    depends_on_counts,
    label_weights,
)
from tests.toy import steady

COUNTS, CLASSES = [100, 20, 5], ["a", "b", "c"]
# reference/loss-catalogue.md, section 5
CATALOGUE = {
    "balanced": [0.416666667, 2.083333333, 8.333333333],
    "sqrt": [0.389195723, 0.870268092, 1.740536185],
    "effective_number": [0.115895616, 0.577166992, 2.306937391],
    "log": [1.669904888, 6.041768979, 17.161811199],
}


@pytest.mark.parametrize("strategy", sorted(CATALOGUE))
def test_strategy_has_the_values_of_the_catalogue(strategy):
    np.testing.assert_allclose(
        class_weights(strategy, COUNTS, CLASSES), CATALOGUE[strategy], rtol=1e-8
    )


def test_every_strategy_has_values_in_the_catalogue():
    assert set(CLASS_WEIGHT_STRATEGIES) == set(CATALOGUE)


def test_none_weighs_all_classes_alike():
    np.testing.assert_array_equal(class_weights(None, COUNTS, CLASSES), [1, 1, 1])


@steady
@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=8))
def test_balanced_is_that_of_scikit_learn(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=y)
    np.testing.assert_allclose(class_weights("balanced", counts, range(len(counts))), expected)


@steady
@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=8))
def test_balanced_gives_every_class_the_same_mass_and_rows_a_mean_of_one(counts):
    weights = class_weights("balanced", counts, range(len(counts)))
    np.testing.assert_allclose(weights * counts, np.sum(counts) / len(counts))


@pytest.mark.parametrize("strategy", ["sqrt", "effective_number"])
def test_scaled_strategies_sum_to_the_number_of_classes(strategy):
    assert class_weights(strategy, COUNTS, CLASSES).sum() == pytest.approx(3)


@pytest.mark.parametrize("strategy", sorted(CATALOGUE))
def test_rarer_classes_weigh_more(strategy):
    assert (np.diff(class_weights(strategy, COUNTS, CLASSES)) > 0).all()


def test_effective_number_of_few_rows_keeps_its_precision():
    # 1 - 0.9999**n is n * 1e-4 to first order, so that tiny counts are balanced
    weights = class_weights("effective_number", [1e-6, 2e-6], [0, 1])
    np.testing.assert_allclose(weights, [4 / 3, 2 / 3], rtol=1e-6)


@pytest.mark.parametrize("strategy", sorted(CATALOGUE))
def test_class_without_rows_weighs_nothing_and_changes_nothing(strategy):
    with_empty = class_weights(strategy, [100, 0, 20, 5], ["a", "e", "b", "c"])
    np.testing.assert_allclose(
        with_empty, np.insert(class_weights(strategy, COUNTS, CLASSES), 1, 0)
    )


def test_mapping_is_keyed_by_the_labels_and_a_missing_label_weighs_one():
    np.testing.assert_array_equal(class_weights({"c": 7, "a": 0.5}, COUNTS, CLASSES), [0.5, 1, 7])


def test_integer_key_matches_the_string_that_spells_it():
    # compute_class_weight({1: 9}, classes=["0", "1"]) does the same
    np.testing.assert_array_equal(class_weights({1: 9}, [5, 5], ["0", "1"]), [1, 9])


def test_the_label_itself_goes_before_the_number_it_spells():
    np.testing.assert_array_equal(class_weights({"1": 3}, [5, 5], ["0", "1"]), [1, 3])


@pytest.mark.parametrize(
    ("mapping", "classes"),
    [
        ({True: 4}, [False, True]),
        ({1: 4}, [False, True]),
        ({1: 4}, [0.0, 1.0]),
        ({np.int64(1): 4}, np.array([0, 1])),
        ({1: 4}, np.array([-1, 1])),
    ],
)
def test_keys_match_labels_that_are_equal_to_them(mapping, classes):
    np.testing.assert_array_equal(class_weights(mapping, [5, 5], classes), [1, 4])


def test_array_is_in_the_order_of_the_classes():
    np.testing.assert_array_equal(class_weights((1, 2, 3), COUNTS, CLASSES), [1, 2, 3])


def test_callable_gets_the_counts():
    weights = class_weights(lambda counts: 1000 / counts, COUNTS, CLASSES)
    np.testing.assert_allclose(weights, [10, 50, 200])


def test_callable_cannot_change_the_counts():
    counts = np.array([4.0, 1.0])

    def greedy(given):
        given[:] = 7
        return given

    class_weights(greedy, counts, [0, 1])
    np.testing.assert_array_equal(counts, [4, 1])


def test_zero_for_some_classes_is_allowed():
    np.testing.assert_array_equal(class_weights({"a": 0}, COUNTS, CLASSES), [0, 1, 1])


def test_unknown_strategy_lists_the_known_ones():
    with pytest.raises(ValueError, match="'balancd'") as caught:
        class_weights("balancd", COUNTS, CLASSES)
    assert all(name in str(caught.value) for name in CLASS_WEIGHT_STRATEGIES)


def test_unknown_label_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'z'.*\['a', 'b', 'c'\]"):
        class_weights({"a": 2, "z": 3}, COUNTS, CLASSES)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["mapping", "array", "callable"])
def test_weight_that_is_no_weight_names_the_label(kind, wrong):
    values = {"a": 1.0, "b": wrong, "c": 1.0}
    given_as = {
        "mapping": values,
        "array": list(values.values()),
        "callable": lambda counts: list(values.values()),
    }
    with pytest.raises(ValueError, match=r"class 'b'"):
        class_weights(given_as[kind], COUNTS, CLASSES)


def test_all_zero_weights_are_an_error():
    with pytest.raises(ValueError, match="zero for every class"):
        class_weights({"a": 0, "b": 0, "c": 0}, COUNTS, CLASSES)


@pytest.mark.parametrize("wrong", [[1, 2], [1, 2, 3, 4], [[1, 2, 3]], 1.0])
def test_wrong_length_says_both_shapes(wrong):
    with pytest.raises(ValueError, match=r"shape .*\(3,\)"):
        class_weights(wrong, COUNTS, CLASSES)


def test_list_of_dicts_is_for_several_labels():
    with pytest.raises(ValueError, match="one dict"):
        class_weights([{0: 1}, {1: 2}], [5, 5], [0, 1])


@pytest.mark.parametrize("wrong", ["heavy", None, [1, 2]])
def test_weight_that_is_no_number_is_an_error_that_names_the_class(wrong):
    with pytest.raises((ValueError, TypeError), match=r"'b'"):
        class_weights({"b": wrong}, COUNTS, CLASSES)


@pytest.mark.parametrize(
    ("class_weight", "expected"),
    [(None, False), ({0: 1}, False), ([1, 2], False), ("balanced", True), (np.sqrt, True)],
)
def test_only_strategies_and_callables_depend_on_counts(class_weight, expected):
    assert depends_on_counts(class_weight) is expected


def test_series_of_label_weights_is_read_by_its_index():
    weights = label_weights(pd.Series([3.0, 2.0], index=[1, 0]), [[5, 5], [5, 5]])
    assert weights.tolist() == [[1, 2], [1, 3]]
    with pytest.raises(ValueError, match=r"index \['x', 'y'\], but labels are numbered"):
        label_weights(pd.Series({"x": 1.0, "y": 2.0}), [[5, 5], [5, 5]])
