"""What a stack does to its nets: their tensors, their ends, and what cannot be stacked."""

import pickle
import re
import warnings

import numpy as np
import pytest
import skorch.callbacks as sc
import torch
from scipy import sparse
from torch import nn

from imbtorch import MLP, DivergenceError, ImbalancedNetRegressor, NotStackedWarning
from imbtorch.feature_smoothing import FeatureSmoothing
from imbtorch.losses.regression import BalancedMSELoss
from imbtorch.training.stack import train_stacked
from tests.test_classifier_ecosystem import RecordingCallback
from tests.toy import parameters_of, plain_columns
from tests.training.helpers import WatchBatches, watched
from tests.training.stacked import (
    FOLDS,
    ROWS,
    N,
    X,
    Y,
    assert_same,
    check,
    members,
    net,
    refitted,
    tanh_net,
    together,
)

EACH_NET = pytest.mark.parametrize("module", [MLP((8,)), tanh_net], ids=["chain", "mapped"])
OPTIMIZERS = ["adam", "adamw", "sgd", torch.optim.RMSprop]


def memory_of(module):
    """Return the addresses of the memory behind a module's tensors, and its bytes."""
    tensors = [*module.parameters(), *module.buffers()]
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}


def bytes_of(module):
    return sum(t.nbytes for t in [*module.parameters(), *module.buffers()])


# -- tensors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [MLP((8,)), MLP((8,), normalization="batch"), tanh_net],
    ids=["chain", "batch", "mapped"],
)
def test_tensors_are_views_while_trained_and_own_their_memory_afterwards(module):
    seen = []

    def scoring(clf, X, y):
        seen.append(memory_of(clf.net_.module_))
        return 0.0

    watching = net(module=module, scoring=scoring, validation_fraction=0.2)
    pairs = members(watching, [{}] * 2, FOLDS[:2])
    together(pairs)
    assert len(seen) == 3 * 4
    shared, own = seen[0], bytes_of(pairs[0][0].net_.module_)
    assert all(memory == shared for memory in seen)
    assert sum(shared.values()) == 4 * own
    after = [memory_of(clf.net_.module_) for clf, _ in pairs]
    assert len(set().union(*after)) == sum(map(len, after))
    assert all(sum(memory.values()) == own for memory in after)
    assert all(memory.keys().isdisjoint(shared) for memory in after)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_estimator_from_a_stack_is_no_larger_than_one_trained_alone(optimizer):
    pairs = members(net(optimizer=optimizer), [{}] * 8)
    together(pairs)
    clf, rows = pairs[3]
    alone = len(pickle.dumps(refitted(clf, rows)))
    assert len(pickle.dumps(clf)) < 1.1 * alone
    copied = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(copied.predict_proba(X), clf.predict_proba(X))


@pytest.mark.matrix
@EACH_NET
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_warm_start_goes_on_as_after_training_alone(module, optimizer):
    options = {"module": module, "optimizer": optimizer, "warm_start": True, "lr": 0.01}
    grid = [{}, {"random_state": 1, "weight_decay": 0.0}]
    pairs = members(net(**options), grid, FOLDS[:2])
    together(pairs)
    assert {clf.net_.optimizer_.param_groups[0]["lr"] for clf, _ in pairs} == {0.01}
    before = [parameters_of(clf).copy() for clf, _ in pairs]
    for (clf, rows), mine in zip(pairs, before, strict=True):
        alone = refitted(clf, rows)
        assert_same(clf.fit(X[rows], Y[rows]), alone.fit(X[rows], Y[rows]))
        assert (parameters_of(clf) != mine).any()
        assert clf.n_iter_ == 6


@pytest.mark.parametrize(
    "options",
    [
        {"averaging": "swa"},
        {"averaging": 0.5, "module": MLP((8,), normalization="batch")},
        {"early_stopping": True, "patience": 1, "max_epochs": 8, "lr": 0.1},
        {"lr_schedule": "cosine", "optimizer": "sgd"},
    ],
    ids=str,
)
def test_warm_start_goes_on_after(options):
    pairs = members(net(warm_start=True, **options), folds=FOLDS[:3])
    together(pairs)
    for clf, rows in pairs:
        alone = refitted(clf, rows)
        assert_same(clf.fit(X[rows], Y[rows]), alone.fit(X[rows], Y[rows]))


def test_net_trained_further_leaves_its_neighbours_alone():
    pairs = members(net(warm_start=True, module=MLP((8,), normalization="batch")), [{}] * 3)
    together(pairs)
    before = [parameters_of(clf) for clf, _ in pairs]
    clf, rows = pairs[4]
    clf.fit(X[rows], Y[rows])
    clf.partial_fit(X[rows], Y[rows])
    after = [parameters_of(clf) for clf, _ in pairs]
    assert [i for i in range(12) if (before[i] != after[i]).any()] == [4]


def test_module_of_the_user_is_not_trained():
    module = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2))
    before = pickle.dumps(module.state_dict())
    together(members(net(module=module)))
    assert pickle.dumps(module.state_dict()) == before


def test_global_random_state_stays(global_rng_untouched):
    together(members(net(module=MLP((8,), dropout=0.5)), [{}, {"sampler": "bootstrap"}]))
    together(members(net(module=MLP((8,), dropout=0.5, normalization="batch"))))


def test_gradients_are_freed():
    pairs = members(net())
    together(pairs)
    assert all(p.grad is None for clf, _ in pairs for p in clf.module_.parameters())


# -- nets that go wrong ----------------------------------------------------------------------------


def test_a_schedule_that_raises_stops_its_own_net():
    def failing(progress):
        if progress > 0.5:
            raise RuntimeError("no rate")
        return 1.0

    pairs = members(net(), [{"lr_schedule": failing}, {}], FOLDS[:1])
    sizes, errors = together(pairs)
    assert sizes == [2]
    assert isinstance(errors[0], RuntimeError)
    assert errors[1] is None
    assert_same(pairs[1][0], refitted(pairs[1][0], FOLDS[0]))


RATES = [{"lr": 0.01}, {"lr": 1e200, "lr_schedule": "constant"}, {"lr": 0.003}]
DIVERGING = {"on_divergence": "restore", "max_epochs": 5, "warm_start": True}


def relu_net(input_shape, n_outputs):
    return nn.Sequential(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, n_outputs)))


def bursting(progress):
    """Raise the rate beyond all bounds, in the fourth of five epochs."""
    return np.inf if progress > 0.6 else 1.0


@pytest.mark.matrix
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    "module",
    [MLP((8,)), relu_net, MLP((8,), normalization="batch")],
    ids=["chain", "mapped", "batch"],
)
def test_diverging_net_raises_and_its_neighbours_go_on(module, optimizer):
    estimator = net(module=module, optimizer=optimizer, loss="cross_entropy", max_epochs=5)
    pairs = members(estimator, RATES, FOLDS[:2])
    sizes, errors = together(pairs)
    assert sizes == [6]
    for (clf, rows), error in zip(pairs, errors, strict=True):
        if clf.lr > 1:
            assert isinstance(error, DivergenceError)
            assert not hasattr(clf, "net_")
            with pytest.raises(DivergenceError):
                refitted(clf, rows)
        else:
            assert error is None
            assert_same(clf, refitted(clf, rows))


@pytest.mark.parametrize("action", ["restore", "warn"])
@EACH_NET
def test_diverging_net_is_left_as_asked(module, action):
    grid = [{}, {"lr_schedule": bursting}, {"lr": 0.02}]
    estimator = net(module=module, **{**DIVERGING, "on_divergence": action})
    pairs = members(estimator, grid, FOLDS[:1])
    with pytest.warns(UserWarning, match="Training diverged in epoch 4") as caught:
        assert together(pairs)[1] == [None] * 3
    assert len(caught) == 1
    gone = pairs[1][0]
    for clf, rows in pairs:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Training diverged")
            alone = refitted(clf, rows)
        if clf is gone and action == "warn":  # its outputs are not finite
            for net_ in (clf, alone):
                with pytest.raises(ValueError, match="NaN or infinite"):
                    net_.predict(X)
        else:
            assert_same(clf, alone)
    assert np.isfinite(parameters_of(gone)).all() == (action == "restore")
    assert gone.n_iter_ == 4


def test_restored_net_goes_on_as_one_trained_alone():
    pairs = members(net(**DIVERGING), [{"lr_schedule": bursting}, {}], FOLDS[:1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training diverged")
        together(pairs)
        (clf, rows), alone = pairs[0], refitted(*pairs[0])
    for est in (clf, alone):
        est.set_params(lr_schedule="cosine").fit(X[rows], Y[rows])
    assert_same(clf, alone)


class Refusing(nn.Module):
    """Fails in its training, where one of its numbers is large."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        if self.training and x.shape[0] == 1:
            raise ValueError("one row is too few")
        return self.layer(x)


def test_error_of_a_module_is_an_error_of_its_stack_only():
    pairs = members(net(module=Refusing), [{"batch_size": 1}, {}], FOLDS[:2])
    errors = together(pairs)[1]
    assert [str(error) for error in errors[:2]] == ["one row is too few"] * 2
    assert errors[2:] == [None, None]
    for clf, rows in pairs[2:]:
        assert_same(clf, refitted(clf, rows))


def test_error_of_a_schedule_is_an_error_of_its_net():
    def failing(progress):
        if progress > 0.3:
            raise ArithmeticError("no value")
        return 1.0

    grid = [{}, {"loss_schedule": {"gamma": failing}}, {"lr": 0.1}]
    pairs = members(net(loss="focal"), grid, FOLDS[:1])
    sizes, errors = together(pairs)
    assert [type(error) for error in errors] == [type(None), ArithmeticError, type(None)]
    assert sizes == [3]
    for clf, rows in (pairs[0], pairs[2]):
        assert_same(clf, refitted(clf, rows))


def test_failed_fit_leaves_an_estimator_as_it_was():
    clf = net(warm_start=True).fit(X, Y)
    before = pickle.dumps(clf.net_.module_.state_dict())
    clf.set_params(lr_schedule=bursting)
    assert isinstance(together([(clf, ROWS), (net(), ROWS)])[1][0], DivergenceError)
    assert pickle.dumps(clf.net_.module_.state_dict()) == before
    assert clf.n_iter_ == 3


# -- nets that stay alone --------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.LSTM(1, 3, batch_first=True)
        self.last = nn.Linear(3, n_outputs)

    def forward(self, x):
        return self.last(self.layer(x.unsqueeze(2))[0][:, -1])


class Opaque:
    """A number that cannot be compared."""

    def __init__(self, value):
        self.value = value

    def __reduce_ex__(self, protocol):
        raise TypeError("no pickle")

    def __deepcopy__(self, memo):
        return self


class Different(nn.Module):
    """Has a number that is no tensor, another one in each net."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer, self.scale = nn.Linear(input_shape[0], n_outputs), Opaque(float(torch.rand(1)))

    def forward(self, x):
        return self.scale.value * self.layer(x)


def hooked(input_shape, n_outputs):
    module = tanh_net(input_shape, n_outputs)
    module[0].register_forward_hook(lambda layer, given, output: 2 * output)
    return module


class Smoothed(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.first, self.last = nn.Linear(input_shape[0], 4), nn.Linear(4, n_outputs)
        self.smooth = FeatureSmoothing(4, n_bins=5)

    def forward(self, x):
        return self.last(self.smooth(torch.tanh(self.first(x))))


VALUES = X[:, 0] + np.exp(X[:, 1])
SPARSE = sparse.csr_array(sparse.random(N, 30, density=0.05, random_state=0))


def regressor(**params):
    params = {"module": MLP((8,)), "batch_size": 32, "max_epochs": 3, "lr": 0.02, **params}
    return ImbalancedNetRegressor(dtype="float64", random_state=0, **params)


ALONE = {
    "torch.func.vmap cannot follow Recurrent": net(module=Recurrent),
    "the attribute scale of Different, a Opaque, cannot be compared": net(module=Different),
    "Sequential has hooks": net(module=hooked),
    "skorch callbacks": net(
        callbacks=[("stop", sc.EarlyStopping("train_loss", patience=1))], max_epochs=4
    ),
    "mixtures of rows": net(sampler="mixup", loss="cross_entropy"),
    "mixtures": net(sampler="remix", loss="cross_entropy", max_epochs=4),
    "rows of X are sparse": net(),
    "BalancedMSELoss has parameters of its own": regressor(loss=BalancedMSELoss()),
    "layers of Smoothed look at the targets": regressor(module=Smoothed),
}


@pytest.mark.parametrize("reason", ALONE)
def test_nets_that_are_trained_one_by_one_and_why(reason):
    estimator = ALONE[reason]
    y = VALUES if isinstance(estimator, ImbalancedNetRegressor) else Y
    features = SPARSE if "sparse" in reason else X
    pairs = members(estimator, [{"random_state": 0}, {"random_state": 1}], FOLDS[:2])
    with pytest.warns(NotStackedWarning) as caught:
        sizes, errors = together(pairs, features, y)
    (warning,) = [w for w in caught if w.category is NotStackedWarning]
    assert re.match(f"Nets are trained one by one, not as a stack: {reason}", str(warning.message))
    assert (sizes, errors) == ([], [None] * 4)
    for est, rows in pairs:
        assert_same(est, refitted(est, rows, features, y), features)


def test_callbacks_see_the_batches_of_their_net():
    pairs = members(net(callbacks=[("watch", WatchBatches())]), folds=FOLDS[:2])
    with pytest.warns(NotStackedWarning, match="skorch"):
        together(pairs)
    for clf, rows in pairs:
        alone = net(callbacks=[("watch", WatchBatches())]).fit(X[rows], Y[rows])
        assert watched(clf) == watched(alone)


@pytest.mark.skipif(
    not hasattr(ImbalancedNetRegressor, "set_callbacks"),
    reason="callbacks came with scikit-learn 1.9",
)
def test_callbacks_of_scikit_learn_see_every_epoch_of_their_fit():
    callback = RecordingCallback()
    pairs = members(net().set_callbacks(callback), folds=FOLDS[:2])
    with pytest.warns(NotStackedWarning, match="scikit-learn callbacks look at a single fit"):
        together(pairs)
    assert callback.log.count("end epoch") == 2 * 3
    for clf, rows in pairs:
        assert_same(clf, net().fit(X[rows], Y[rows]))


def test_reasons_come_in_one_warning_beside_a_stack():
    grid = [{"sampler": "mixup"}, {"module": Recurrent}, {}]
    pairs = members(net(loss="cross_entropy"), grid, FOLDS[:2])
    with pytest.warns(NotStackedWarning, match="mixtures.*; torch.func.vmap") as caught:
        sizes, errors = together(pairs)
    assert len([w for w in caught if w.category is NotStackedWarning]) == 1
    assert (sizes, errors) == ([2], [None] * 6)
    for clf, rows in pairs:
        assert_same(clf, refitted(clf, rows))


def test_single_net_needs_no_stack_and_no_warning():
    for estimator in (net(), net(module=Recurrent), net(callbacks=[("watch", WatchBatches())])):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert together(members(estimator, folds=FOLDS[:1])) == ([], [None])


# -- memory ----------------------------------------------------------------------------------------


def need_of(estimator):
    """Return what a net is said to take."""
    with pytest.raises(ValueError, match="max_memory=1 is less than one net takes") as caught:
        together(members(estimator), max_memory=1)
    return int(re.search(r"about (\d+) bytes", str(caught.value))[1])


@pytest.mark.slow
@EACH_NET
def test_budget_divides_a_stack(module):
    need = need_of(net(module=module))
    grid = [{}, {"lr": 0.1}, {"random_state": 1}]
    for budget, n_stacks in ((12 * need, 1), (11 * need, 2), (4.5 * need, 3), (2 * need, 6)):
        check(module=module, grid=grid, max_memory=int(budget), n_stacks=n_stacks)
    with pytest.raises(ValueError, match="smaller batch_size"):
        together(members(net(module=module)), max_memory=need - 1)
    pairs = members(net(module=module), grid)
    assert together(pairs, max_memory=need) == ([], [None] * 12)


def test_need_grows_with_parameters_and_batches():
    plain = {"features": plain_columns()}
    small = need_of(net(**plain))
    assert need_of(net(batch_size=64, **plain)) > 1.2 * small
    assert need_of(net(module=MLP((64, 64)), **plain)) > 10 * small
    parameters = 8 * (5 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2)
    activations = 8 * 32 * (5 + 4 * 64 + 2)
    need = need_of(net(module=MLP((64, 64)), **plain))
    assert 4 * parameters + activations < need < 10 * (parameters + activations)
    angles = 8 * 32 * 5 * 16  # of the waves of five columns
    assert 3 * angles < need_of(net()) - small < 6 * angles


def test_no_nets_are_an_error():
    with pytest.raises(ValueError, match="empty list"):
        train_stacked([], None)


# -- Ctrl-C ----------------------------------------------------------------------------------------


class Interrupting:
    """A schedule that raises Ctrl-C when asked for a late value for the n-th time."""

    def __init__(self, at, n=1):
        self.at, self.left = at, n

    def __call__(self, progress):
        self.left -= progress >= self.at
        if not self.left:
            raise KeyboardInterrupt
        return 1.0


class InForward(nn.Module):
    calls = 0

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        if self.training and len(x) > 4:  # not in the trials before the training
            InForward.calls += 1
            if InForward.calls == 12:
                raise KeyboardInterrupt
        return torch.tanh(self.layer(x))


def in_second_score(clf, X, y):
    if clf.n_iter_ == 2:
        raise KeyboardInterrupt
    return 0.0


INTERRUPTED = {
    "between epochs": lambda: {"loss": "focal", "loss_schedule": {"gamma": Interrupting(0.3)}},
    "at a later net": lambda: {"loss": "focal", "loss_schedule": {"gamma": Interrupting(0.3, 3)}},
    "in the rates": lambda: {"lr_schedule": Interrupting(0.4)},
    "in a score": lambda: {"scoring": in_second_score, "validation_fraction": 0.2},
    "in a module": lambda: {"module": InForward},
}


@pytest.mark.parametrize("averaging", [None, 0.5])
@pytest.mark.parametrize("place", INTERRUPTED)
def test_interrupted_stack_leaves_every_net_usable(place, averaging):
    InForward.calls = 0
    options = {**INTERRUPTED[place](), "averaging": averaging}
    pairs = [(net(**options, random_state=seed), rows) for seed, rows in enumerate(FOLDS)]
    sizes, errors = together(pairs)
    assert (sizes, errors) == ([4], [None] * 4)
    for clf, _ in pairs:
        assert clf.interrupted_
        assert np.isfinite(clf.predict_proba(X)).all()
        assert "train_loss" in clf.history_[-1]
        assert 1 <= clf.n_iter_ <= 2
        assert sum(memory_of(clf.module_).values()) == bytes_of(clf.module_)
        assert pickle.loads(pickle.dumps(clf)).interrupted_
        assert not clf.module_.training


def test_stacks_that_were_not_begun_are_interrupted_too():
    schedule = {"gamma": Interrupting(0.3)}
    sizes = (32, 32, 16, 16, 8)
    pairs = [(net(loss="focal", loss_schedule=schedule, batch_size=b), FOLDS[0]) for b in sizes]
    sizes, errors = together(pairs)
    assert (sizes, errors) == ([2], [None] * 5)
    for clf, _ in pairs:
        assert clf.interrupted_
        assert np.isfinite(clf.predict_proba(X)).all()
    assert [clf.n_iter_ for clf, _ in pairs] == [1, 1, 0, 0, 0]


def test_interrupted_nets_can_be_trained_further():
    options = {"loss": "focal", "loss_schedule": {"gamma": Interrupting(0.3)}, "warm_start": True}
    pairs = [(net(**options), rows) for rows in FOLDS[:2]]
    together(pairs)
    for clf, rows in pairs:
        clf.set_params(loss_schedule=None).fit(X[rows], Y[rows])
        assert clf.n_iter_ == 4
        assert not clf.interrupted_


# -- the bar ---------------------------------------------------------------------------------------


def test_stack_shows_one_bar(capsys):
    together(members(net(verbose=1), [{}, {"lr": 0.1}]))
    assert capsys.readouterr().err.count("3/3") == 1


@pytest.mark.gpu
@EACH_NET
def test_on_a_gpu(module):
    check(device="cuda", module=module, grid=[{"lr": 0.01}, {"class_weight": "balanced"}], tol=1e-6)
