"""Results that fits on the same data share."""

import gc
import weakref

import numpy as np
import pytest
import torch

from imbtorch._common.memo import Memo, digest
from imbtorch.features import TableFeatures


def counting():
    """Return a function that counts its calls and says what it was given."""

    def function(*arguments):
        function.calls += 1
        return [*arguments]

    function.calls = 0
    return function


def test_same_objects_are_computed_once():
    memo, function, X, y = Memo(), counting(), np.zeros(3), [1, 2]
    first = memo.once(function, (X, y))
    assert first[0] is X
    assert memo.once(function, (X, y)) is first
    assert function.calls == 1


def test_equal_objects_are_others():
    memo, function = Memo(), counting()
    memo.once(function, (np.zeros(3),))
    memo.once(function, (np.zeros(3),))
    memo.once(function, ([],))
    memo.once(function, ([],))
    assert function.calls == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: "".join(["tra", "in"]),
        lambda: int("123456789"),
        lambda: float("0.5"),
        lambda: np.ndarray,
        lambda: torch.float32,
        lambda: torch.device("cpu"),
    ],
)
def test_names_numbers_and_types_are_the_same_if_equal(make):
    memo, function = Memo(), counting()
    memo.once(function, (make(),))
    memo.once(function, (make(),))
    assert function.calls == 1


def test_functions_orders_and_numbers_of_arguments_are_told_apart():
    memo, first, second, X, y = Memo(), counting(), counting(), np.zeros(1), np.zeros(1)
    for arguments in ((X, y), (y, X), (X,), (X, y, None), ()):
        assert memo.once(first, arguments) == [*arguments]
        assert memo.once(second, arguments) == [*arguments]
    assert first.calls == second.calls == 5


def test_number_is_not_taken_for_an_object():
    memo, function, X = Memo(), counting(), np.zeros(1)
    memo.once(function, (X,))
    assert memo.once(function, (id(X),)) == [id(X)]


def test_arguments_live_as_long_as_the_results():
    class Thing:
        pass

    memo, thing = Memo(), Thing()
    memo.once(id, (thing,))
    alive = weakref.ref(thing)
    del thing
    gc.collect()
    assert alive() is not None  # nothing else can get its identity
    del memo
    gc.collect()
    assert alive() is None


def test_nothing_as_a_result_counts_and_an_error_does_not():
    memo, calls = Memo(), []

    def function(fails):
        calls.append(fails)
        if fails:
            raise ArithmeticError

    for fails in (0, 0, 1, 1):
        try:
            assert memo.once(function, (fails,)) is None
        except ArithmeticError:
            assert fails
    assert calls == [0, 1, 1]


def test_two_do_not_share():
    function, X = counting(), np.zeros(1)
    assert Memo().once(function, (X,)) is not Memo().once(function, (X,))
    assert function.calls == 2


def test_a_key_stands_for_equal_arguments():
    memo, function = Memo(), counting()
    for rows in ([1, 2], [1, 2], [1, 3]):
        memo.once(function, (np.array(rows),), lambda rows=rows: (digest(np.array(rows)),))
    assert function.calls == 2


def test_digests_tell_long_settings_apart():
    lists = [list(range(300)), [*range(299), 500]]
    assert repr(TableFeatures(categorical_features=lists[0])) == repr(
        TableFeatures(categorical_features=lists[1])
    )
    one, other = (digest(TableFeatures(categorical_features=chosen)) for chosen in lists)
    assert one != other
    assert one == digest(TableFeatures(categorical_features=list(range(300))))


def test_what_cannot_be_pickled_is_equal_to_nothing():
    def local():
        """Do nothing."""

    assert digest(local) != digest(local)
    hash(digest(local))
