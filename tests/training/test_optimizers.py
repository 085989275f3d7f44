"""Optimizers by name, the lean step, and learning-rate schedules."""

import math

import pytest
import torch
from torch import nn

from imbtorch.training.optimizers import (
    LR_SCHEDULES,
    OPTIMIZERS,
    build_optimizer,
    lean_step,
)
from tests.toy import parameters_of, small, table

FUSED = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.fixture(autouse=True)
def own_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def twins(name="adamw", **options):
    """Two equal nets, each with its optimizer."""
    nets = [nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    settings = {"lr": 0.01, "weight_decay": 0.1, **options}
    if isinstance(name, str):
        optimizers = [build_optimizer(name, list(net.parameters()), **settings) for net in nets]
    else:
        optimizers = [name(net.parameters()) for net in nets]
    return nets, optimizers


def run(net, step, n_steps, seed=0, before=lambda i: None):
    generator = torch.Generator().manual_seed(seed)
    for i in range(n_steps):
        before(i)
        x = torch.randn(8, 4, generator=generator, dtype=torch.float64)
        net.zero_grad()
        net(x).square().sum().backward()
        step()


def assert_equal_nets(nets):
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def assert_equal_states(optimizers):
    one, other = (optimizer.state_dict() for optimizer in optimizers)
    assert one["param_groups"] == other["param_groups"]
    for key, state in one["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(value, other["state"][key][name], rtol=1e-12, atol=1e-14)


def is_lean(optimizer):
    step = lean_step(optimizer)
    return step != optimizer.step


# -- by name ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_optimizer_by_name_gets_rate_and_decay(name):
    optimizer = build_optimizer(name, list(nn.Linear(2, 2).parameters()), 0.03, 0.2)
    (group,) = optimizer.param_groups
    assert type(optimizer) is OPTIMIZERS[name]
    assert (group["lr"], group["weight_decay"]) == (0.03, 0.2)
    assert group["fused"]


def test_class_of_torch_is_a_callable_of_three():
    optimizer = build_optimizer(torch.optim.RMSprop, list(nn.Linear(2, 2).parameters()), 0.03, 0.2)
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert optimizer.param_groups[0]["weight_decay"] == 0.2


def test_callable_that_builds_no_optimizer_is_an_error():
    params = [torch.nn.Parameter(torch.zeros(2))]
    with pytest.raises(TypeError, match=r"torch\.optim\.Optimizer.*returned str"):
        build_optimizer(lambda params, lr, weight_decay: "adam", params, 0.1, 0.0)


# -- the lean step ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", sorted(FUSED))
def test_lean_step_is_the_step_of_torch(name, weight_decay):
    nets, optimizers = twins(name, weight_decay=weight_decay)
    assert is_lean(optimizers[0])
    run(nets[0], lean_step(optimizers[0]), 50)
    run(nets[1], optimizers[1].step, 50)
    assert_equal_nets(nets)
    assert_equal_states(optimizers)


def test_lean_step_follows_the_learning_rate():
    nets, optimizers = twins()
    for net, optimizer, step in zip(
        nets, optimizers, [lean_step(optimizers[0]), optimizers[1].step], strict=True
    ):

        def set_rate(i, optimizer=optimizer):
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + i)

        run(net, step, 20, before=set_rate)
    assert_equal_nets(nets)


def test_lean_step_continues_where_another_one_stopped():
    nets, optimizers = twins()
    for seed in range(3):
        run(nets[0], lean_step(optimizers[0]), 5, seed)
        run(nets[1], optimizers[1].step, 5, seed)
    assert_equal_nets(nets)
    assert_equal_states(optimizers)


def test_lean_step_continues_from_a_loaded_state():
    nets, optimizers = twins()
    run(nets[0], lean_step(optimizers[0]), 5)
    run(nets[1], optimizers[1].step, 5)
    saved = optimizers[0].state_dict()
    optimizers[0] = build_optimizer("adamw", list(nets[0].parameters()), 0.01, 0.1)
    optimizers[0].load_state_dict(saved)
    run(nets[0], lean_step(optimizers[0]), 5, seed=1)
    run(nets[1], optimizers[1].step, 5, seed=1)
    assert_equal_nets(nets)


def test_parameter_without_a_gradient_in_some_steps_is_skipped_then():
    def train(net, step):
        generator = torch.Generator().manual_seed(0)
        for i in range(12):
            x = torch.randn(8, 4, generator=generator, dtype=torch.float64)
            net.zero_grad(set_to_none=True)
            net(x).square().sum().backward()
            if i % 3 == 1:
                net[0].bias.grad = None
            step()

    nets, optimizers = twins()
    train(nets[0], lean_step(optimizers[0]))
    train(nets[1], optimizers[1].step)
    assert_equal_nets(nets)
    assert_equal_states(optimizers)


def test_parameter_that_never_has_a_gradient_is_left_alone():
    nets, optimizers = twins()
    for net, step in zip(nets, [lean_step(optimizers[0]), optimizers[1].step], strict=True):
        net[0].bias.requires_grad_(False)
        before = net[0].bias.clone()
        run(net, step, 5)
        torch.testing.assert_close(net[0].bias, before)
    assert_equal_nets(nets)


def hooked(params):
    optimizer = torch.optim.AdamW(params, lr=0.01, fused=True)
    optimizer.calls = 0

    def count(optimizer, args, kwargs):
        optimizer.calls += 1

    optimizer.register_step_post_hook(count)
    return optimizer


def several_groups(params):
    params = list(params)
    return torch.optim.AdamW(
        [{"params": params[:2]}, {"params": params[2:], "lr": 0.1}], lr=0.01, fused=True
    )


OTHERS = {
    "hooks": hooked,
    "several groups": several_groups,
    "amsgrad": lambda params: torch.optim.Adam(params, lr=0.01, amsgrad=True, fused=True),
    "maximize": lambda params: torch.optim.Adam(params, lr=0.01, maximize=True, fused=True),
    "not fused": lambda params: torch.optim.AdamW(params, lr=0.01, fused=False),
    "sgd": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9, fused=True),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.01),
    "decoupled decay in Adam": lambda params: torch.optim.Adam(
        params, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True, fused=True
    ),
    "subclass": lambda params: type("Mine", (torch.optim.AdamW,), {})(params, fused=True),
    "rate as a tensor": lambda params: torch.optim.AdamW(params, lr=torch.tensor(0.01), fused=True),
}


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_unusual_optimizer_steps_as_torch_does(name):
    nets, optimizers = twins(OTHERS[name])
    run(nets[0], lean_step(optimizers[0]), 10)
    run(nets[1], optimizers[1].step, 10)
    assert_equal_nets(nets)


@pytest.mark.parametrize("name", ["hooks", "several groups", "amsgrad", "sgd", "subclass"])
def test_unusual_optimizer_goes_the_ordinary_way(name):
    assert not is_lean(twins(OTHERS[name])[1][0])


def test_hooks_are_called():
    nets, optimizers = twins(hooked)
    run(nets[0], lean_step(optimizers[0]), 4)
    assert optimizers[0].calls == 4


def test_scheduler_of_torch_sees_every_step(recwarn):
    nets, optimizers = twins()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizers[0], 0.5)
    step = lean_step(optimizers[0])
    for seed in range(3):
        run(nets[0], step, 1, seed)
        scheduler.step()
    assert optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 / 8)
    assert not [w for w in recwarn if "lr_scheduler.step" in str(w.message)]


# -- schedules -------------------------------------------------------------------------------------


def test_constant_schedule():
    assert {LR_SCHEDULES["constant"](progress / 10) for progress in range(11)} == {1.0}


def test_cosine_schedule_falls_from_one_to_zero():
    cosine = LR_SCHEDULES["cosine"]
    assert [cosine(0), cosine(1)] == pytest.approx([1, 0])
    assert cosine(0.5) == pytest.approx(0.5)
    assert cosine(1 / 3) == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))


def test_one_cycle_schedule_rises_to_one_and_falls_to_zero():
    values = [LR_SCHEDULES["one_cycle"](i / 1000) for i in range(1001)]
    peak = values.index(max(values))
    assert values[peak] == pytest.approx(1)
    assert 0 < values[0] < 0.1
    assert values[-1] == pytest.approx(0, abs=1e-6)
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    assert max(abs(a - b) for a, b in zip(values, values[1:], strict=False)) < 0.01  # no jump


def test_schedule_of_the_user_sees_the_progress_of_the_training():
    X, y = table(100)
    seen = []

    def schedule(progress):
        seen.append(progress)
        return 1.0

    small(lr_schedule=schedule, batch_size=25, max_epochs=3).fit(X, y)
    assert seen == pytest.approx([i / 12 for i in range(12)])


def test_rate_is_the_factor_times_lr():
    X, y = table(100)
    clf = small(lr_schedule=lambda progress: 1 - progress, lr=0.5, batch_size=50, max_epochs=2)
    assert clf.fit(X, y).history_[:, "lr"] == pytest.approx([0.5 * 0.75, 0.5 * 0.25])


@pytest.mark.parametrize("schedule", sorted(LR_SCHEDULES))
def test_rate_is_put_back_after_the_training(schedule):
    clf = small(lr_schedule=schedule, lr=0.02).fit(*table())
    assert clf.net_.optimizer_.param_groups[0]["lr"] == 0.02


def test_factor_of_zero_trains_nothing():
    X, y = table()
    still = small(lr_schedule=lambda progress: 0.0, weight_decay=0.0)
    assert (
        parameters_of(still.fit(X, y)) == parameters_of(still.set_params(max_epochs=1).fit(X, y))
    ).all()


@pytest.mark.parametrize("optimizer", [*sorted(OPTIMIZERS), torch.optim.RMSprop])
def test_estimator_learns_with_every_optimizer(optimizer):
    X, y = table()
    clf = small(optimizer=optimizer, lr=0.01, max_epochs=20, weight_decay=0.0)
    losses = clf.fit(X, y).history_[:, "train_loss"]
    assert losses[-1] < 0.7 * losses[0]
