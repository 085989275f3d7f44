"""The number of torch's threads: chosen by the size of the products, and put back afterwards."""

import threading
from contextlib import nullcontext

import numpy as np
import pytest
import skorch.callbacks as sc
import torch
from torch import nn

import imbtorch
from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
)  # fmt: skip
from imbtorch._common.threads import ThreadLimit
from imbtorch.modules import TabM
from imbtorch.training.stack.compatibility import kind_of
from imbtorch.training.stack.engine import StackedEngine
from imbtorch.training.threads import SMALL_PRODUCT, product_per_row, threads_of_prediction
from tests.toy import small, table
from tests.training.helpers import Plain

# few rows in one batch: where other programs run, torch waits long for its second thread
X, Y = table(64)
CASES = [("auto", 1), (2, 2), (8, 3), (None, 3)]


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    now = torch.get_num_threads()
    torch.set_num_threads(before)
    assert now == 3


class Count(nn.Module):
    """A layer that notes how many threads torch has in its forward passes."""

    seen = []

    def forward(self, x):
        Count.seen.append(torch.get_num_threads())
        return x


class CountEpochs(sc.Callback):
    def __init__(self, error=None):
        self.error = error

    def initialize(self):
        self.seen = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(torch.get_num_threads())
        if self.error is not None:
            raise self.error


def in_a_new_thread(function=torch.get_num_threads):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def threads_in_fit(estimator, X=X, y=Y):
    estimator.set_params(callbacks=[CountEpochs()]).fit(X, y)
    (seen,) = {tuple(cb.seen) for _, cb in estimator.net_.callbacks_}
    return set(seen)


# -- the limit -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_short", [False, True])
@pytest.mark.parametrize(("n", "inside"), [(1, 1), (2, 2), (3, 3), (8, 3)])
def test_limit_lowers_and_never_raises_the_number(n, inside, is_short):
    limit = ThreadLimit(n, is_short=is_short)
    for _ in range(2):  # it may be entered again
        with limit:
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 3


@pytest.mark.parametrize("is_short", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_limit_ends_with_an_exception(error, is_short):
    with pytest.raises(error), ThreadLimit(1, is_short=is_short):
        raise error
    assert torch.get_num_threads() == 3


def test_limit_holds_for_its_own_thread_alone():
    with ThreadLimit(1):
        assert in_a_new_thread() == 3
    assert in_a_new_thread() == 3


def test_number_for_new_threads_is_put_back_even_if_this_thread_has_another():
    in_a_new_thread(lambda: torch.set_num_threads(2))  # now new threads get 2, and this one keeps 3
    with ThreadLimit(1):
        assert in_a_new_thread() == 2
    assert (torch.get_num_threads(), in_a_new_thread()) == (3, 2)


def test_limit_inside_another_one_ends_with_the_number_of_the_outer_one():
    with ThreadLimit(2):
        with ThreadLimit(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2


# -- the rule ------------------------------------------------------------------------------------


def chosen(module, n_rows, n_threads="auto"):
    clf = small(module, max_epochs=1, n_threads=n_threads).fit(X, Y)
    context = threads_of_prediction(clf.net_, n_rows)
    return None if isinstance(context, nullcontext) else context.n


def module_of(builder):
    return builder.build((5,), 2)


@pytest.mark.parametrize(
    ("builder", "expected"),
    [(MLP((64, 256)), 64 * 256), (MLP((512,)), 512 * 5), (TabM((64, 32), k=8), 8 * 64 * 32)],
    ids=["second layer", "first layer", "members"],
)
def test_multiplications_of_the_largest_product_for_a_row(builder, expected):
    assert product_per_row(module_of(builder)) == expected


def test_small_products_get_one_thread_and_large_ones_all():
    clf = small(MLP((64, 256)), max_epochs=1).fit(X, Y)
    enough = SMALL_PRODUCT // (64 * 256)
    assert threads_of_prediction(clf.net_, enough - 1).n == 1
    assert isinstance(threads_of_prediction(clf.net_, enough), nullcontext)


@pytest.mark.parametrize(
    "module",
    [
        Plain,
        nn.Sequential(nn.Unflatten(1, (1, X.shape[1])), nn.Conv1d(1, 2, 3), nn.Flatten(),
                      nn.LazyLinear(2)),
    ],
    ids=["own forward", "convolution"],
)  # fmt: skip
def test_products_that_weights_do_not_tell_leave_torch_alone(module):
    assert chosen(module, 2) is None
    assert threads_in_fit(small(module)) == {3}


@pytest.mark.parametrize(
    ("n_threads", "expected"), [("auto", {1}), (2, {2}), (8, {3}), (None, {3})]
)
@pytest.mark.parametrize("estimator", [ImbalancedNetClassifier, ImbalancedNetRegressor])
def test_fit_uses_the_threads_of_the_parameter(estimator, n_threads, expected):
    net = estimator("mlp", max_epochs=1, n_threads=n_threads, random_state=0)
    assert threads_in_fit(net, X, Y.astype(float)) == expected


def test_one_row_and_large_batches_of_training_leave_torch_alone():
    assert chosen(MLP((8,)), 1) is None
    rng = np.random.default_rng(0)
    many, labels = rng.normal(size=(4096, 4)), rng.integers(2, size=4096)
    wide = {"module": MLP((1024,)), "max_epochs": 1, "features": None}
    assert threads_in_fit(ImbalancedNetClassifier(**wide, batch_size=512), many, labels) == {1}
    assert threads_in_fit(ImbalancedNetClassifier(**wide, batch_size=4096), many, labels) == {3}


@pytest.mark.parametrize(("n_threads", "inside"), [("auto", 3), (1, 1), (2, 2)])
def test_predictions_use_the_threads_of_the_parameter(n_threads, inside):
    def with_counter(input_shape, n_outputs):
        return nn.Sequential(nn.Linear(*input_shape, 4), Count(), nn.Linear(4, n_outputs))

    clf = small(with_counter, max_epochs=1, n_threads=n_threads).fit(X, Y)
    Count.seen.clear()
    clf.predict_proba(X)
    assert set(Count.seen) == {inside}  # the rule does not know the layer
    assert torch.get_num_threads() == 3


def test_stack_uses_the_threads_of_the_parameter(monkeypatch):
    seen, epoch = [], StackedEngine.epoch

    def noted(self, *args):
        seen.append(torch.get_num_threads())
        return epoch(self, *args)

    monkeypatch.setattr(StackedEngine, "epoch", noted)
    net = small(MLP((8,)), max_epochs=1)
    NetEnsembleClassifier(net, 3).fit(X, Y)
    NetEnsembleClassifier(net.set_params(n_threads=2), 3).fit(X, Y)
    assert seen == [1, 2]


def test_nets_with_different_numbers_of_threads_are_in_different_stacks():
    fits = [small(MLP((8,)), n_threads=n)._prepare_fit(X, Y) for n in (1, 2)]
    kinds = {kind_of(run) for fit in fits for run in fit.runs}
    assert len(kinds) == 2


# -- afterwards ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_fit_that_fails_puts_the_number_back(error):
    with pytest.raises(type(error)):
        small(MLP((8,)), callbacks=[CountEpochs(error)]).fit(X, Y)
    assert (torch.get_num_threads(), in_a_new_thread()) == (3, 3)


def test_generator_of_chunks_leaves_no_limit_behind_for_its_caller():
    from imbtorch.training.prediction import predict_chunks

    clf = small(MLP((8,))).fit(X, Y)
    features = clf._features(np.tile(X, (40, 1)))
    for _ in predict_chunks(clf.net_, features, lambda z: z):
        assert torch.get_num_threads() == 3


def test_the_same_bits_whatever_number_torch_has_for_small_nets():
    nets = []
    for n in (1, 2, 3):
        with ThreadLimit(n):
            nets.append(small(MLP((8,))).fit(X, Y).predict_proba(X))
    assert (nets[0] == nets[1]).all()
    assert (nets[0] == nets[2]).all()


def test_further_training_takes_the_present_parameter():
    clf = small(MLP((8,)), warm_start=True)
    assert threads_in_fit(clf) == {1}
    assert threads_in_fit(clf.set_params(n_threads=2)) == {2}


def test_copies_files_and_pickles_keep_the_parameter(tmp_path):
    clf = small(MLP((8,)), n_threads=2).fit(X, Y)
    path = tmp_path / "model.imbtorch"
    imbtorch.save(clf, path)
    twin = imbtorch.load(path)
    assert (twin.n_threads, twin.net_.n_threads) == (2, 2)
    old = clf.net_.fork()
    del old.__dict__["n_threads"]  # a pickle of an earlier version
    assert old.n_threads == "auto"


def test_wrong_value_says_which_values_there_are():
    with pytest.raises(ValueError, match=r"'n_threads' parameter.*Got True.*n_threads=1"):
        small(n_threads=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"'n_threads' parameter.*n_threads=None"):
        small(n_threads="all").fit(X, Y)
