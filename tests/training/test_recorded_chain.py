"""Modules of the user's own are trained without a graph only where nobody can notice it."""

import math
import random
from unittest import mock

import numpy as np
import pytest
import skorch.callbacks as sc
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from imbtorch import MLP
from imbtorch.losses import BaseLoss
from imbtorch.training.single import chain, normalization, operations
from imbtorch.training.single.engine import SingleEngine
from imbtorch.training.single.recorded_chain import RecordedChain
from tests.toy import small, table

X, Y = table(n=230)
SETTINGS = {"dtype": "float64", "batch_size": 8, "max_epochs": 2, "optimizer": "sgd", "lr": 0.1}


def fit(build, **params):
    """Fit a module; the second value is the number of batches that a recorded chain computed."""
    count = 0
    call = chain.Chain.gradients

    def counted(self, x, loss, *others):
        nonlocal count
        count += loss is not torch.sum  # which stands for no loss, in a trial
        return call(self, x, loss, *others)

    params = {**SETTINGS, **params}
    nested = {name: params.pop(name) for name in list(params) if "__" in name}
    with mock.patch.object(chain.Chain, "gradients", counted):
        net = small(build, **params).set_params(**nested).fit(X, Y).net_
    return net, count


def by_autograd(build, **params):
    with mock.patch.object(SingleEngine, "_may_record", return_value=False):
        net, count = fit(build, **params)
    assert count == 0
    return net


def assert_alike(net, expected, **tolerance):
    tolerance = tolerance or {"rtol": 1e-9, "atol": 1e-11}
    states = net.module_.state_dict(), expected.module_.state_dict()
    torch.testing.assert_close(*states, **tolerance)
    losses = [[epoch["train_loss"] for epoch in one.history_] for one in (net, expected)]
    np.testing.assert_allclose(*losses, rtol=tolerance["rtol"])


# -- what is covered ------------------------------------------------------------------------------


class Net(nn.Module):
    """Two layers, with whatever a subclass puts in between."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.first, self.second = nn.Linear(input_shape[0], 8), nn.Linear(8, 8)
        self.last = nn.Linear(8, n_outputs)

    def forward(self, x):
        return self.last(self.between(F.relu(self.first(x))))

    def between(self, x):
        return x


class Activations(Net):
    def between(self, x):
        x = torch.tanh(F.silu(self.second(x))).relu() / 1.5
        x = F.softplus(F.mish(F.hardswish(torch.sigmoid(2 * x))), beta=2)
        return F.leaky_relu(F.elu(F.selu(F.gelu(x, approximate="tanh")), 0.7), 0.3)


class InPlace(Net):
    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.act = nn.ReLU(inplace=True)

    def between(self, x):
        y = self.second(x)
        y += x
        return self.act(y)


class PreActivated(Net):
    """The output of a linear layer is read before and after ReLU."""

    def between(self, x):
        x = self.second(x)
        return x + F.relu(x)


class Dropped(Net):
    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.drop, self.none = nn.Dropout(0.3), nn.Dropout(0.0)

    def between(self, x):
        x = F.dropout(self.none(self.drop(x)), 0.2, self.training)
        return F.dropout(x, 0.9, training=False)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.lin = nn.LayerNorm(width), nn.Linear(width, width, bias=False)

    def forward(self, x):
        return x + F.silu(self.lin(self.norm(x)))


class Heads(Net):
    """Residual blocks, heads beside each other, and a way past all layers."""

    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.heads = nn.ModuleList([nn.Linear(8, 1) for _ in range(n_outputs)])
        self.past = nn.Linear(input_shape[0], n_outputs)
        del self.second, self.last

    def forward(self, x):
        hidden = self.blocks(self.first(x))
        return self.past(x) + torch.cat([head(hidden) for head in self.heads], dim=1)


class Normalised(Net):
    def __init__(self, input_shape, n_outputs, **settings):
        super().__init__(input_shape, n_outputs)
        self.norm = nn.BatchNorm1d(8, **settings)

    def between(self, x):
        return self.norm(self.second(x))


class OwnLinear(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


class Helped(Net):
    """Code in functions, properties, static methods, loops and constants."""

    steps = 2

    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.second = OwnLinear(8, 8)
        self.act, self.names = torch.tanh, ["first", "second"]

    @property
    def middle(self):
        return self.second

    @staticmethod
    def squash(x):
        return activation(x)

    def between(self, x):
        if len(self.names) != self.steps or not isinstance(x, torch.Tensor):
            raise ValueError("the module is not what it was")
        for _ in range(int(math.sqrt(1))):
            x = self.squash(self.act(self.middle(x)))
        return x


def activation(x):
    return F.relu(x) if x.ndim == 2 else x


class Unused(Net):
    """The parameters of the second layer are not used, so they have no gradient."""


class Images(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), n_outputs))

    def forward(self, x):
        return self.layers(x.flatten(1))


class DerivedSequence(nn.Sequential):
    def __init__(self, input_shape, n_outputs):
        super().__init__(nn.Linear(input_shape[0], 4), nn.Sequential(nn.ELU(), nn.Linear(4, 2)))


COVERED = {
    "activations": Activations,
    "in place": InPlace,
    "before and after ReLU": PreActivated,
    "dropout": Dropped,
    "residual blocks and heads": Heads,
    "batch normalisation": Normalised,
    "mean of all batches": lambda *args: Normalised(*args, momentum=None),
    "no factors": lambda *args: Normalised(*args, affine=False),
    "no statistics": lambda *args: Normalised(*args, track_running_stats=False),
    "helpers": Helped,
    "unused parameters": Unused,
    "flattened": Images,
    "a sequence of one's own": DerivedSequence,
    "built-in net with batch normalisation": MLP((8,), normalization="batch", dropout=0.1),
    "nested sequence": lambda shape, n: nn.Sequential(
        nn.Sequential(nn.Linear(*shape, 4), nn.LayerNorm(4, bias=False)), nn.Linear(4, n)
    ),
}


@pytest.mark.parametrize("name", COVERED)
def test_covered_modules_train_as_by_autograd(name):
    net, count = fit(COVERED[name])
    assert count == 2 * (230 // 8)  # all batches but the first one of each epoch
    assert_alike(net, by_autograd(COVERED[name]))


@pytest.mark.parametrize(
    "params",
    [
        {"sharpness": 0.05, "averaging": "ema", "gradient_clipping": 0.1},
        {"loss": "focal"},
        {"module": Normalised, "sharpness": 0.05},
        {"dtype": "float32", "loss": "auc_margin"},
        {"features": "auto", "features__numeric_embedding": "periodic"},
        {"optimizer": "adam", "weight_decay": 0.1},
        {"early_stopping": True, "validation_fraction": 0.3, "max_epochs": 3},
    ],
    ids=repr,
)
def test_recipes_train_as_by_autograd(params):
    build, others = params.get("module", Heads), {k: v for k, v in params.items() if k != "module"}
    net, count = fit(build, **others)
    assert count >= 2 * 19
    close = {"rtol": 1e-3, "atol": 1e-4} if params.get("dtype") else {"rtol": 1e-7, "atol": 1e-8}
    assert_alike(net, by_autograd(build, **others), **close)


def test_parts_of_a_step_train_as_by_autograd():
    net, count = fit(Heads, accumulate=2, batch_size=4)
    assert count > 100
    assert_alike(net, by_autograd(Heads, accumulate=2, batch_size=4))


def test_short_epochs_are_left_to_autograd():
    assert fit(Net, batch_size=64)[1] == 0


# -- what goes through autograd -------------------------------------------------------------------

LOG = []
SWITCH = {"on": True}


def noted(x):
    LOG.append(len(x))
    return x


class Own(Net):
    """A module with an attribute that code may use."""

    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.calls, self.seen, self.rng = 0, [], random.Random(0)
        self.p, self.scale = 0.2, nn.Parameter(torch.ones(8))
        self.register_buffer("mask", torch.ones(8))
        self.norm, self.mean = nn.BatchNorm1d(8), nn.BatchNorm1d(8, momentum=None)


class Simple(Own):
    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        del self.rng


def count_calls(self, x):
    self.calls += 1
    return x


def keep_lengths(self, x):
    self.seen.append(x)
    return x


def print_something(self, x):
    print("forward")
    return x


def write_global(self, x):
    return noted(x)


def read_global(self, x):
    return F.relu(x) if SWITCH["on"] else x


def draw_in_python(self, x):
    return F.dropout(x, random.random() / 9)


def draw_in_numpy(self, x):
    return F.relu(x) if np.random.default_rng().random() < 2 else x


def draw_own(self, x):
    return F.relu(x) if self.rng.random() < 2 else x


def draw_noise(self, x):
    return x + torch.randn_like(x)


def draw_constant(self, x):
    return x + torch.rand(1)


def reseed(self, x):
    torch.manual_seed(1)
    return x


def look_at_values(self, x):
    return F.relu(x) if x.sum() > 1e9 else x


def look_at_shape(self, x):
    return F.relu(x) if x.shape[0] > 14 else x


def look_at_length(self, x):
    return F.relu(x) if len(x) > 14 else x


def without_graph(self, x):
    with torch.no_grad():
        return self.second(x)


def detached(self, x):
    return self.second(x).detach() + x


def in_half(self, x):
    with torch.autocast("cpu", torch.bfloat16):
        return self.second(x).to(x.dtype)


def in_other_dtype(self, x):
    return self.second(x.float().double())


def softmax(self, x):
    return F.softmax(x, dim=1)


def scaled(self, x):
    return x * self.scale


def divided_by_rows(self, x):
    return x / len(x)


def squared(self, x):
    return x * x


def masked(self, x):
    return x * self.mask


def changed_buffer(self, x):
    self.mask.mul_(0.9)
    return x


def twice(self, x):
    return self.second(self.second(x))


def tied(self, x):
    return F.linear(x, self.second.weight) + self.second(x)


def frozen(self, x):
    self.second.requires_grad_(False)
    return self.second(x)


def evaluating(self, x):
    self.norm.train(False)
    return self.norm(x)


def frozen_statistics(self, x):
    args = self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias
    return F.batch_norm(x, *args, training=False)


def warmed_up(self, x):
    return self.norm(x) * min(1.0, float(self.norm.num_batches_tracked) / 40)


def warmed_up_before(self, x):
    warmth = min(1.0, float(self.mean.num_batches_tracked) / 40)
    return self.mean(x) * warmth


def warmed_up_afterwards(self, x):
    return self.mean(x) * min(1.0, float(self.mean.num_batches_tracked) / 40)


def broadcast(self, x):
    return x + self.scale


def unread_layer(self, x):
    F.dropout(x, 0.5)
    return x


def branch_that_hides(self, x):
    try:
        return self.third(x)
    except AttributeError:
        return x


def imported(self, x):
    import random as other

    return F.relu(x) if other.random() < 2 else x


def dynamic(self, x):
    return getattr(self, "second")(x)  # noqa: B009


def new_layer(self, x):
    return x + nn.Linear(8, 8).double()(x)


def kept_with_a_function(self, x):
    noted.seen.append(1)
    return x


noted.seen = []


def through_global_names(self, x):
    activation.__globals__["LOG"].append(1)
    return x


BETWEEN = [
    count_calls, keep_lengths, print_something, write_global, read_global, draw_in_python,
    draw_in_numpy, draw_own, draw_noise, draw_constant, reseed, look_at_values, look_at_shape,
    look_at_length, without_graph, detached, in_half, in_other_dtype, softmax, scaled,
    divided_by_rows, squared, masked, changed_buffer, twice, tied, frozen, evaluating,
    frozen_statistics, warmed_up, warmed_up_before, warmed_up_afterwards, broadcast, unread_layer,
    branch_that_hides, imported, dynamic, new_layer, kept_with_a_function, through_global_names,
]  # fmt: skip


def changed(between):
    base = Own if between is draw_own else Simple
    return type("Changed", (base,), {"between": between})


def test_the_same_module_without_other_code_is_covered():
    def nothing(self, x):
        return F.relu(self.second(x))

    assert fit(changed(nothing))[1] == 56


@pytest.mark.parametrize("between", BETWEEN, ids=lambda function: function.__name__)
def test_other_code_is_called_for_each_batch(between, capsys):
    LOG.clear()
    net, count = fit(changed(between))
    assert count == 0
    n_batches = 2 * 29
    if between is count_calls:
        assert net.module_.calls >= n_batches
    if between is write_global:
        assert len(LOG) >= n_batches
    if between is print_something:
        assert capsys.readouterr().out.count("forward") >= n_batches


def logs(result):
    def method(self, *args):
        LOG.append(1)
        return result

    return method


def length(self, x):
    return F.relu(x) if len(self) else x


def text(self, x):
    return F.relu(x) if str(self) else x


def pattern(self, x):
    match self:
        case Simple(told=1):
            return F.relu(x)
    return x


def looked_up(self, name):
    LOG.append(1)
    return nn.Module.__getattr__(self, name)


SPECIAL = {
    "length": {"between": length, "__len__": logs(1)},
    "text": {"between": text, "extra_repr": logs("")},
    "pattern": {"between": pattern, "told": property(logs(1))},
    "attributes": {"between": Net.between, "__getattr__": looked_up},
}


@pytest.mark.parametrize("name", SPECIAL)
def test_what_python_calls_by_itself_is_called_for_each_batch(name):
    module = type("Special", (Simple,), SPECIAL[name])
    LOG.clear()
    assert fit(module)[1] == 0
    assert len(LOG) >= 2 * 29


def with_layer(change):
    def build(*args):
        module = Net(*args)
        change(module)
        return module

    return build


def replace_forward(module):
    module.last.forward = lambda x: F.linear(x, module.last.weight, module.last.bias)


CHANGES = {
    "hook": lambda m: m.first.register_forward_hook(lambda *a: None),
    "hook before": lambda m: m.first.register_forward_pre_hook(lambda *a: None),
    "hook backward": lambda m: m.first.register_full_backward_hook(lambda *a: None),
    "hook on a parameter": lambda m: m.first.weight.register_hook(lambda g: 2 * g),
    "frozen": lambda m: m.first.weight.requires_grad_(False),
    "weight norm": lambda m: nn.utils.parametrizations.weight_norm(m.first),
    "spectral norm": lambda m: nn.utils.parametrizations.spectral_norm(m.first),
    "own forward": replace_forward,
    "tensor": lambda m: setattr(m, "constant", torch.ones(1)),
    "object": lambda m: setattr(m, "thing", object()),
    "list that holds itself": lambda m: setattr(m, "own", (lambda a: a.append(a) or a)([])),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_layers_go_through_autograd(name):
    assert fit(with_layer(CHANGES[name]))[1] == 0


class CalledOtherwise(Net):
    def __call__(self, x):
        return super().__call__(x) * 2


class Found(Net):
    def __getattr__(self, name):
        return super().__getattr__(name)


@pytest.mark.parametrize("cls", [CalledOtherwise, Found])
def test_modules_that_are_called_otherwise_go_through_autograd(cls):
    assert fit(cls)[1] == 0


def test_compiled_modules_go_through_autograd():
    def build(*args):
        return torch.compile(Net(*args), backend="eager")

    assert fit(build)[1] == 0


# -- verification ---------------------------------------------------------------------------------


def wrong_bias(self, gradient, first):
    result = CALL[chain._Linear, "backward"](self, gradient, first)
    if self.layer.bias is None:
        self.weight_grad *= 1.01
    return result


def wrong_output(self, x):
    return CALL[normalization.LayerNormalization, "forward"](self, x) * 1.01


def wrong_sum(self, gradient):
    return [gradient, gradient * 0.99]


def further_draw(self, x):
    torch.rand(1)
    return CALL[normalization.LayerNormalization, "forward"](self, x)


WRONG = [
    (chain._Linear, "backward", wrong_bias),
    (normalization.LayerNormalization, "forward", wrong_output),
    (operations.ElementwiseSum, "backward", wrong_sum),
    (normalization.LayerNormalization, "forward", further_draw),
]
CALL = {(cls, name): getattr(cls, name) for cls, name, _ in WRONG}


@pytest.mark.parametrize(
    ("cls", "name", "wrong"), WRONG, ids=["gradient", "output", "branch", "random numbers"]
)
def test_a_chain_that_does_not_agree_is_not_used(cls, name, wrong):
    with mock.patch.object(cls, name, wrong):
        net, count = fit(Heads)
    assert count == 0
    states = net.module_.state_dict(), by_autograd(Heads).module_.state_dict()
    torch.testing.assert_close(*states, rtol=0, atol=0)


class Tiny(BaseLoss):
    """A loss whose gradients are far smaller than the outputs."""

    def per_sample(self, logits, target):
        return 1e-15 * F.cross_entropy(logits, target, reduction="none")


def test_gradients_that_are_smaller_than_the_rounding_of_the_output_are_compared():
    assert fit(Heads, loss=Tiny())[1] == 56
    with mock.patch.object(*WRONG[0]):
        assert fit(Heads, loss=Tiny())[1] == 0


def test_wrong_running_statistics_are_seen_and_put_back():
    call = normalization.BatchNormalization.forward

    def twice(self, x):
        call(self, x)
        return call(self, x)

    with mock.patch.object(normalization.BatchNormalization, "forward", twice):
        net, count = fit(Normalised)
    assert count == 0
    states = net.module_.state_dict(), by_autograd(Normalised).module_.state_dict()
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_forward_is_called_once_for_the_first_batch_of_an_epoch():
    calls = []
    call = RecordedChain._watched

    def watched(self, *args):
        before = len(calls)
        result = call(self, *args)
        assert len(calls) == before + 1
        return result

    forward = nn.LayerNorm.forward
    with (
        mock.patch.object(nn.LayerNorm, "forward", lambda m, x: calls.append(1) or forward(m, x)),
        mock.patch.object(RecordedChain, "_watched", watched),
    ):
        assert fit(lambda shape, n: nn.Sequential(nn.LayerNorm(shape), nn.Linear(*shape, n)))[1]


class Changed(sc.Callback):
    """Change a module at the end of each epoch."""

    def on_epoch_end(self, net, **kwargs):
        module = net.module_
        with torch.no_grad():
            module.last.weight.mul_(0.5)
        module.steep = not module.steep
        module.drop.p += 0.1


class Switched(Net):
    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.steep, self.drop = False, nn.Dropout(0.1)

    def between(self, x):
        return self.drop(torch.tanh(x) if self.steep else F.elu(x))


def test_changes_between_epochs_are_seen():
    params = {"max_epochs": 3}
    net, count = fit(Switched, callbacks=[Changed()], **params)
    assert count == 3 * 28
    assert_alike(net, by_autograd(Switched, callbacks=[Changed()], **params))


# -- random nets ----------------------------------------------------------------------------------


class Drawn(nn.Module):
    """Layers as they were drawn: kind, width, normalisation, activation, bias, dropout."""

    def __init__(self, drawn, n_inputs, n_outputs):
        super().__init__()
        self.layers, self.residual = nn.ModuleList(), []
        width = n_inputs
        for size, norm, act, bias, dropout, residual in drawn:
            parts = [nn.Linear(width, size, bias=bias)]
            if norm == "batch":
                parts.append(nn.BatchNorm1d(size))
            elif norm is not None:
                parts.append(nn.LayerNorm(size, elementwise_affine=norm == "layer"))
            parts += [act(), nn.Dropout(dropout)]
            self.layers.append(nn.Sequential(*parts))
            self.residual.append(residual and width == size)
            width = size
        self.heads = nn.ModuleList([nn.Linear(width, 1) for _ in range(n_outputs)])

    def forward(self, x):
        for layer, residual in zip(self.layers, self.residual, strict=True):
            x = x + layer(x) if residual else layer(x)
        return torch.cat([head(x) for head in self.heads], dim=-1)


LAYERS = st.lists(
    st.tuples(
        st.sampled_from([3, 6]),
        st.sampled_from([None, "batch", "layer", "plain layer"]),
        st.sampled_from([nn.ReLU, nn.SiLU, nn.Tanh, nn.GELU, nn.ELU, nn.SELU, nn.LeakyReLU]),
        st.booleans(),
        st.sampled_from([0.0, 0.3]),
        st.booleans(),
    ),
    max_size=4,
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, derandomize=True)
@given(LAYERS, st.sampled_from(["float64", "float32"]), st.integers(-1, 4))
def test_random_nets_train_as_by_autograd(drawn, dtype, frozen):
    def build(shape, n_outputs):
        module = Drawn(drawn, *shape, n_outputs)
        for place, layer in enumerate(module.layers):
            layer.requires_grad_(place != frozen)
        return module

    params = {"dtype": dtype, "lr": 0.01, "max_epochs": 1}
    net, count = fit(build, **params)
    assert count == (0 if 0 <= frozen < len(drawn) else 28)
    close = {"rtol": 1e-9, "atol": 1e-10} if dtype == "float64" else {"rtol": 1e-3, "atol": 1e-4}
    assert_alike(net, by_autograd(build, **params), **close)
