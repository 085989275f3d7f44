"""Optimizers that replace tensors of parameters, or their gradients, train as by autograd."""

from contextlib import contextmanager, nullcontext
from unittest import mock

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from imbtorch import NotStackedWarning
from imbtorch.training.optimizers import lean_step, updates_in_place
from imbtorch.training.single.chain import Chain
from imbtorch.training.single.engine import SingleEngine
from tests.training.stacked import FOLDS, X, Y, assert_same, members, net, refitted, together


class Descent(torch.optim.Optimizer):
    """Gradient descent, with whatever a subclass does to a parameter."""

    def __init__(self, params, lr, weight_decay=0.0):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, group["lr"])

    def update(self, p, lr):
        p.sub_(p.grad, alpha=lr)


class DataSwap(Descent):
    def update(self, p, lr):
        p.data = p.data - lr * p.grad


class GradientSwap(Descent):
    def update(self, p, lr):
        p.grad = p.grad.sign()
        super().update(p, lr / 10)


class GradientRemoved(Descent):
    def step(self, closure=None):
        super().step()
        self.zero_grad()


def halve_gradients(optimizer, args, kwargs):
    for p in optimizer.param_groups[0]["params"]:
        p.grad = None if p.grad is None else p.grad / 2


def with_hook(params, lr, weight_decay):
    optimizer = torch.optim.SGD(params, lr=lr)
    optimizer.register_step_pre_hook(halve_gradients)
    return optimizer


def with_own_step(params, lr, weight_decay):
    optimizer = torch.optim.SGD(params, lr=lr)
    step = optimizer.step

    def halved():
        halve_gradients(optimizer, (), {})
        step()

    optimizer.step = halved
    return optimizer


@contextmanager
def hook_of_all():
    hook = register_optimizer_step_pre_hook(halve_gradients)
    try:
        yield
    finally:
        hook.remove()


class Residual(nn.Module):
    """A module whose chain is recorded."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.first, self.second = nn.Linear(*input_shape, 6), nn.Linear(6, 6)
        self.last = nn.Linear(6, n_outputs)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.last(x + torch.tanh(self.second(x)))


OPTIMIZERS = {
    "values": DataSwap, "gradients": GradientSwap, "removed": GradientRemoved,
    "hook": with_hook, "step": with_own_step,
}  # fmt: skip
MODULES = {"mlp": "mlp", "tabm": "tabm", "recorded": Residual}
SETTINGS = {"lr": 0.1, "batch_size": 8, "max_epochs": 2}


def fit(**params):
    """Fit a net; the second value says whether a chain computed it."""
    call = Chain.gradients
    with mock.patch.object(Chain, "gradients", autospec=True, side_effect=call) as gradients:
        return net(**{**SETTINGS, **params}).fit(X, Y), gradients.called


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_such_an_optimizer_trains_as_by_autograd(module, optimizer):
    params = {"module": MODULES[module], "optimizer": OPTIMIZERS[optimizer]}
    with mock.patch.object(SingleEngine, "_needs_graph", return_value=True):
        expected, _ = fit(**params)
    found, by_chain = fit(**params)
    assert not by_chain
    assert_same(found, expected)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_hooks_of_all_optimizers_are_called(optimizer):
    with hook_of_all():
        found, by_chain = fit(module="mlp", optimizer=optimizer)
        with mock.patch.object(SingleEngine, "_needs_graph", return_value=True):
            expected, _ = fit(module="mlp", optimizer=optimizer)
    assert not by_chain
    assert_same(found, expected)
    if optimizer == "sgd":
        without, _ = fit(module="mlp", optimizer=optimizer)
        assert found.history_[-1]["train_loss"] != without.history_[-1]["train_loss"]


@pytest.mark.parametrize("options", [{}, {"sharpness": 0.05, "averaging": "ema"}], ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_nets_with_such_an_optimizer_are_trained_one_by_one(optimizer, options):
    pairs = members(net(module="mlp", optimizer=OPTIMIZERS[optimizer], **options), folds=FOLDS[:2])
    with pytest.warns(NotStackedWarning, match="is not torch's own"):
        assert together(pairs) == ([], [None, None])
    for found, rows in pairs:
        assert_same(found, refitted(found, rows))


def test_hooks_of_all_optimizers_are_called_for_nets_of_an_ensemble():
    pairs = members(net(module="mlp", optimizer="sgd"), folds=FOLDS[:2])
    with hook_of_all(), pytest.warns(NotStackedWarning, match="is not torch's own"):
        assert together(pairs) == ([], [None, None])


def of_torch(cls, **options):
    def build(params, lr, weight_decay):
        return cls(params, lr=lr, **options)

    return build


TORCH = {
    "Adafactor": of_torch(torch.optim.Adafactor),
    "Adagrad": of_torch(torch.optim.Adagrad),
    "NAdam": of_torch(torch.optim.NAdam, foreach=True),
    "RMSprop": of_torch(torch.optim.RMSprop, centered=True, momentum=0.9),
    "Rprop": of_torch(torch.optim.Rprop),
    "SGD": of_torch(torch.optim.SGD, momentum=0.9, nesterov=True, foreach=True, maximize=True),
}


@pytest.mark.parametrize("name", TORCH)
def test_optimizers_of_torch_are_fast_and_train_as_by_autograd(name):
    params = {"module": "mlp", "optimizer": TORCH[name], "lr": 0.01, "weight_decay": 0.0}
    found, by_chain = fit(**params)
    assert by_chain
    with mock.patch.object(SingleEngine, "_needs_graph", return_value=True):
        expected, _ = fit(**params)
    assert_same(found, expected, tol=1e-6)


def scheduled(params, lr, weight_decay):
    """Build an optimizer whose step a scheduler of torch counts."""
    optimizer = torch.optim.SGD(params, lr=lr)
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    return optimizer


def own_step_scheduled(params, lr, weight_decay):
    optimizer = torch.optim.SGD(params, lr=lr)
    optimizer.step = DataSwap.step.__get__(optimizer)
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    return optimizer


@pytest.mark.parametrize(("build", "expected"), [(scheduled, True), (own_step_scheduled, False)])
def test_the_counter_of_a_scheduler_changes_nothing(build, expected):
    params = [nn.Parameter(torch.zeros(1))]
    assert updates_in_place(build(params, 0.1, 0.0)) is expected


@pytest.mark.parametrize("context", [nullcontext, hook_of_all])
def test_the_lean_step_calls_hooks_of_all_optimizers(context):
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], fused=True)
    with context():
        assert (lean_step(optimizer) == optimizer.step) is (context is hook_of_all)
