"""Clipping, sharpness and averages against loops written by hand, in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from imbtorch import MLP
from imbtorch.training.averaging import Ema, Swa
from imbtorch.training.steps import Steps
from tests.toy import parameters_of, plain_columns, small, table
from tests.training.helpers import Plain, WatchBatches

X, Y = table(120)
PATHS = {
    "chain": {},
    "autograd": {"module": Plain},
    "hooked": {"callbacks": [WatchBatches()]},
}
every_path = pytest.mark.parametrize("path", sorted(PATHS))
every_optimizer = pytest.mark.parametrize(
    "optimizer", ["adam", "adamw", "sgd", torch.optim.RMSprop]
)
EPOCHS = 3


def whole(path="chain", **params):
    """Return a classifier of one batch per epoch, so that the order of the rows is no matter."""
    defaults = {
        "loss": "cross_entropy", "dtype": "float64", "batch_size": len(Y), "max_epochs": EPOCHS,
        "lr": 0.1, "lr_schedule": "constant", "optimizer": "sgd", "weight_decay": 0.0,
    }  # fmt: skip
    return small(**{**defaults, **PATHS[path], **params})


def start(clf):
    """Return the module as it was before the first step."""
    still = whole(module=clf.module, lr_schedule=lambda progress: 0.0, max_epochs=1)
    return still.fit(X, Y).module_


def by_hand(clf, *, clip=None, radius=0.0, after=lambda params: None):
    """Train as ``clf`` does, step by step."""
    module = start(clf).train()
    params = list(module.parameters())
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    named = {"sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "adam": torch.optim.Adam}
    build = named.get(clf.optimizer) or torch.optim.AdamW
    if clf.optimizer is torch.optim.RMSprop:
        build = torch.optim.RMSprop
    optimizer = build(params) if clf.optimizer == "sgd" else build(params, lr=0.1, weight_decay=0.0)

    def evaluate():
        optimizer.zero_grad()
        F.cross_entropy(module(x), y).backward()

    for _ in range(EPOCHS):
        evaluate()
        if radius:
            norm = torch.sqrt(sum(p.grad.square().sum() for p in params)) + 1e-12  # never 0
            moves = [radius * p.grad / norm for p in params]
            with torch.no_grad():
                for p, move in zip(params, moves, strict=True):
                    p.add_(move)
            evaluate()
            with torch.no_grad():
                for p, move in zip(params, moves, strict=True):
                    p.sub_(move)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(params, clip)
        optimizer.step()
        after(params)
    return vector(params)


def vector(params):
    return torch.cat([p.detach().ravel() for p in params]).numpy()


@every_path
@every_optimizer
def test_reference_loop_is_the_plain_training(path, optimizer):
    clf = whole(path, optimizer=optimizer)
    np.testing.assert_allclose(parameters_of(clf.fit(X, Y)), by_hand(clf), rtol=1e-9, atol=1e-11)


# -- clipping --------------------------------------------------------------------------------------


@every_path
@every_optimizer
def test_clipping_is_that_of_torch(path, optimizer):
    clf = whole(path, optimizer=optimizer, gradient_clipping=0.05).fit(X, Y)
    expected = by_hand(clf, clip=0.05)
    np.testing.assert_allclose(parameters_of(clf), expected, rtol=1e-8, atol=1e-10)


def test_clipped_gradient_is_no_longer_than_asked():
    module = nn.Linear(3, 2).double()
    norms = []

    class Watching(torch.optim.SGD):
        def step(self, closure=None):
            norms.append(float(torch.cat([p.grad.ravel() for p in module.parameters()]).norm()))

    step = Steps(module, Watching(module.parameters(), lr=0.1), 1, clipping=0.5).step
    for scale in (1e-3, 1.0, 1e6):
        module.zero_grad()
        (scale * module(torch.ones(4, 3).double()).sum()).backward()
        step(lambda: None)
    assert norms[0] < 0.05
    assert norms[1:] == pytest.approx([0.5, 0.5], rel=1e-4)
    assert max(norms) <= 0.5


@every_path
def test_clipping_that_never_bites_changes_no_bit(path):
    plain = parameters_of(small(**PATHS[path]).fit(X, Y))
    clipped = parameters_of(small(**PATHS[path], gradient_clipping=1e9).fit(X, Y))
    np.testing.assert_array_equal(plain, clipped)


def test_step_without_any_gradient_passes():
    module = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    Steps(module, optimizer, 1, clipping=1.0, sharpness=0.1).step(lambda: None)


# -- sharpness -------------------------------------------------------------------------------------


@every_path
@every_optimizer
def test_sharpness_is_the_two_steps_of_the_paper(path, optimizer):
    clf = whole(path, optimizer=optimizer, sharpness=0.3).fit(X, Y)
    expected = by_hand(clf, radius=0.3)
    np.testing.assert_allclose(parameters_of(clf), expected, rtol=1e-8, atol=1e-10)
    assert abs(expected - by_hand(clf)).max() > 1e-3


def test_sharp_step_of_a_linear_model_is_the_formula():
    module = MLP(()).build((5,), 2).double()
    clf = whole(module=module, sharpness=0.5, max_epochs=1).fit(X, Y)
    first = start(clf)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    weight, bias = (p.detach().clone() for p in first.parameters())

    def gradients(weight, bias):
        error = torch.softmax(x @ weight.t() + bias, 1) - F.one_hot(y)
        return error.t() @ x / len(y), error.mean(0)

    g_weight, g_bias = gradients(weight, bias)
    norm = torch.sqrt(g_weight.square().sum() + g_bias.square().sum())
    g_weight, g_bias = gradients(weight + 0.5 * g_weight / norm, bias + 0.5 * g_bias / norm)
    expected = vector([weight - 0.1 * g_weight, bias - 0.1 * g_bias])
    np.testing.assert_allclose(parameters_of(clf), expected, rtol=1e-10, atol=1e-12)


def test_sharpness_clips_the_second_gradient():
    clf = whole(sharpness=0.3, gradient_clipping=0.05).fit(X, Y)
    expected = by_hand(clf, radius=0.3, clip=0.05)
    np.testing.assert_allclose(parameters_of(clf), expected, rtol=1e-8, atol=1e-10)


def test_sharpness_leaves_the_statistics_of_batch_normalisation_alone():
    still = {
        "module": MLP((8,), normalization="batch"), "lr_schedule": lambda progress: 0.0,
        "weight_decay": 0.0, "batch_size": 30,
    }  # fmt: skip
    plain, sharp = small(**still).fit(X, Y), small(**still, sharpness=1.0).fit(X, Y)
    state = sharp.module_.state_dict()
    for key, value in plain.module_.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert all(layer.track_running_stats for layer in sharp.module_ if "Norm" in repr(layer))


def test_train_loss_of_a_sharp_fit_is_that_of_the_weights():
    kwargs = {"lr_schedule": lambda progress: 0.0}
    plain, sharp = whole(**kwargs).fit(X, Y), whole(**kwargs, sharpness=1.0).fit(X, Y)
    assert plain.history_[:, "train_loss"] == sharp.history_[:, "train_loss"]


# -- averages --------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("decay", [0.2, 0.9])
def test_exponential_average_is_the_loop(path, decay):
    clf = whole(path, averaging=decay).fit(X, Y)
    mean, seen = [p.detach().clone() for p in start(clf).parameters()], []

    def take(params):
        d = min(decay, (1 + len(seen)) / (10 + len(seen)))
        for i, p in enumerate(params):
            mean[i] = d * mean[i] + (1 - d) * p.detach()
        seen.append(d)

    raw = by_hand(clf, after=take)
    assert seen == [0.1, min(decay, 2 / 11), min(decay, 0.25)]
    np.testing.assert_allclose(parameters_of(clf), vector(mean), rtol=1e-9, atol=1e-11)
    assert abs(parameters_of(clf) - raw).max() > 1e-3


def test_exponential_average_in_the_long_run():
    p = nn.Parameter(torch.zeros(3).double())
    ema, mean = Ema([p], 0.9), np.zeros(3)
    for t in range(200):
        with torch.no_grad():
            p.fill_(t)
        ema.update()
        decay = min(0.9, (1 + t) / (10 + t))
        mean = decay * mean + (1 - decay) * t
    np.testing.assert_allclose(ema.mean[0].numpy(), mean, rtol=1e-12)


def test_named_exponential_average_has_its_decay():
    long = {"batch_size": 10, "max_epochs": 4}
    named = parameters_of(whole(averaging="ema", **long).fit(X, Y))
    np.testing.assert_array_equal(named, parameters_of(whole(averaging=0.999, **long).fit(X, Y)))


@every_path
@pytest.mark.parametrize(("epochs", "from_epoch"), [(8, 6), (5, 4), (2, 1), (1, 0)])
def test_stochastic_average_is_the_mean_of_the_last_quarter(path, epochs, from_epoch):
    taken = []
    for stop in range(from_epoch + 1, epochs + 1):
        taken.append(parameters_of(whole(path, max_epochs=stop).fit(X, Y)))
    clf = whole(path, max_epochs=epochs, averaging="swa").fit(X, Y)
    np.testing.assert_allclose(parameters_of(clf), np.mean(taken, axis=0), rtol=1e-9, atol=1e-12)


def test_average_changes_places_with_the_trained_weights():
    p = nn.Parameter(torch.tensor([1.0]))
    swa = Swa([p], 1)
    swa.show()
    assert not swa.shown  # there is none yet
    swa.end_epoch()
    with torch.no_grad():
        p.fill_(5.0)
    swa.show()
    swa.show()
    assert p.item() == 1.0
    swa.hide()
    swa.hide()
    assert p.item() == 5.0


@pytest.mark.parametrize("averaging", ["ema", "swa", 0.5])
def test_train_loss_is_that_of_the_trained_weights(averaging):
    losses = whole(max_epochs=5).fit(X, Y).history_[:, "train_loss"]
    assert whole(max_epochs=5, averaging=averaging).fit(X, Y).history_[:, "train_loss"] == losses


@pytest.mark.parametrize("averaging", ["swa", 0.5])
def test_scores_are_those_of_the_average(averaging):
    params = {"batch_size": 30, "validation_fraction": 0.3, "scoring": "neg_log_loss"}
    seen = []

    def scoring(clf, X_valid, y_valid):
        seen.append((parameters_of(clf).copy(), X_valid, y_valid))
        return 0.0

    clf = whole(**{**params, "scoring": scoring}, averaging=averaging, max_epochs=8).fit(X, Y)
    assert len(seen) == 8
    np.testing.assert_array_equal(seen[-1][0], parameters_of(clf))
    assert abs(seen[-1][0] - parameters_of(whole(**params, max_epochs=8).fit(X, Y))).max() > 1e-5


def test_early_stopping_keeps_the_average_of_the_best_epoch():
    seen = []

    def scoring(clf, X_valid, y_valid):
        seen.append(parameters_of(clf).copy())
        return [0.1, 0.2, 0.9, 0.3, 0.3, 0.3][len(seen) - 1]

    params = {"early_stopping": True, "patience": 2, "scoring": scoring, "averaging": 0.9}
    clf = small(**params, max_epochs=6).fit(X, Y)
    assert len(seen) == 5
    np.testing.assert_array_equal(parameters_of(clf), seen[2])


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_divergence_goes_back_to_the_average_of_the_last_finite_epoch(averaging):
    clf = small(
        averaging=averaging, on_divergence="restore", lr=1e20, lr_schedule="constant",
        optimizer="sgd", batch_size=30, max_epochs=4,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="restored"):
        clf.fit(X, Y)
    assert np.isfinite(parameters_of(clf)).all()


@pytest.mark.parametrize("averaging", ["swa", 0.5])
def test_warm_start_continues_from_the_average(averaging):
    clf = whole(averaging=averaging, warm_start=True).fit(X, Y)
    mean = parameters_of(clf).copy()
    clf.set_params(lr_schedule=lambda progress: 0.0).fit(X, Y)
    np.testing.assert_allclose(parameters_of(clf), mean, rtol=1e-12)


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_statistics_of_batch_normalisation_are_those_of_the_average(averaging):
    module = MLP((8,), normalization="batch")
    params = {"module": module, "features": plain_columns()}
    clf = whole(**params, averaging=averaging, max_epochs=8).fit(X, Y)
    encoder, linear, norm = clf.module_[:3]
    with torch.no_grad():
        hidden = linear(encoder(torch.from_numpy(X)))
    torch.testing.assert_close(norm.running_mean, hidden.mean(0))
    torch.testing.assert_close(norm.running_var, hidden.var(0))
    assert norm.momentum == 0.1
    assert not clf.module_.training


def test_interrupted_training_leaves_the_average():
    class Interrupting(Plain):
        def forward(self, x):
            if self.training:
                self.calls = getattr(self, "calls", 0) + 1
                if self.calls == 10:
                    raise KeyboardInterrupt
            return super().forward(x)

    params = {"module": Interrupting, "batch_size": 30, "max_epochs": 5, "on_interrupt": "keep"}
    with pytest.warns(UserWarning, match="interrupted"):
        raw = parameters_of(small(**params).fit(X, Y))
    with pytest.warns(UserWarning, match="interrupted"):
        mean = parameters_of(small(**params, averaging=0.9).fit(X, Y))
    assert np.isfinite(mean).all()
    assert abs(mean - raw).max() > 1e-6


@pytest.mark.parametrize("sharpness", [0.0, 0.1])
def test_everything_at_once_learns(sharpness):
    clf = small(
        averaging="ema", gradient_clipping=1.0, sharpness=sharpness, max_epochs=15, batch_size=16,
        lr=0.02,
    ).fit(X, Y)  # fmt: skip
    assert clf.score(X, Y) > 0.9


@pytest.mark.gpu
def test_all_steps_on_cuda_are_those_on_the_cpu():
    params = {"sharpness": 0.1, "gradient_clipping": 0.5, "averaging": 0.9}
    here = whole(device="cpu", **params).fit(X, Y)
    there = whole(device="cuda", **params).fit(X, Y)
    np.testing.assert_allclose(parameters_of(there), parameters_of(here), rtol=1e-6, atol=1e-9)
