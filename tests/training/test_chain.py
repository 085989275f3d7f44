"""Back-propagation without a graph gives autograd's numbers, or steps aside."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from imbtorch import MLP
from imbtorch.training.single.chain import Chain, plain_layers
from tests.toy import parameters_of, small, table

ACTIVATIONS = ["elu", "gelu", "leaky_relu", "relu", "selu", "silu", "tanh"]
LAYERS = [nn.ELU(0.7), nn.GELU(approximate="tanh"), nn.LeakyReLU(0.3)]


@pytest.fixture(autouse=True)
def own_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def batch(width=5, n_classes=3, n=16, dtype=torch.float64):
    x = torch.randn(n, width, dtype=dtype)
    share = torch.rand(n, dtype=dtype)
    return x, torch.randint(n_classes, (n,)), share


def loss_of(codes, share):
    return lambda output: (F.cross_entropy(output, codes, reduction="none") * share).sum()


def of_autograd(module, x, codes, share):
    module.zero_grad(set_to_none=True)
    value = loss_of(codes, share)(module(x))
    value.backward()
    return value.detach(), [p.grad.clone() for p in module.parameters()]


def of_chain(module, x, codes, share):
    module.zero_grad(set_to_none=True)
    value = Chain.of(module).gradients(x, loss_of(codes, share), share)
    return value, [p.grad.clone() for p in module.parameters()]


def assert_same(module, *data):
    module = module.double().train()
    values, gradients = of_chain(module, *data)
    expected, expected_gradients = of_autograd(module, *data)
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_the_mlp_are_those_of_autograd(activation):
    assert_same(MLP((7, 4), activation=activation).build((5,), 3), *batch())


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_gradients_of_a_layer_with_its_own_settings_are_those_of_autograd(layer):
    assert_same(nn.Sequential(nn.Linear(5, 7), layer, nn.Linear(7, 3)), *batch())


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Linear(5, 3)],
        lambda: [nn.Linear(5, 4), nn.Linear(4, 3)],
        lambda: [nn.Linear(5, 3), nn.Tanh()],
        lambda: [nn.Linear(5, 4), nn.ReLU(), nn.Tanh(), nn.Linear(4, 3), nn.SiLU()],
        lambda: [nn.Linear(5, 4), nn.Tanh(), nn.ReLU(), nn.Linear(4, 3), nn.ReLU()],
        lambda: [nn.Linear(5, 4), nn.Dropout(0.0), nn.ReLU(), nn.Linear(4, 3)],
    ],
)
def test_gradients_of_any_chain_are_those_of_autograd(layers):
    assert_same(nn.Sequential(*layers()), *batch())


@pytest.mark.parametrize("first", [[nn.Sigmoid], [nn.Mish, nn.ReLU], [nn.ReLU, nn.ReLU], []])
def test_layers_that_only_recorded_chains_have_give_the_gradients_of_autograd(first):
    between = [nn.BatchNorm1d(4), nn.ReLU(), nn.LayerNorm(4, bias=False), nn.ReLU()]
    layers = [nn.Linear(5, 4, bias=False), nn.ReLU(), *(layer() for layer in first), *between]
    module, data = nn.Sequential(*layers, nn.Linear(4, 3, bias=False)).double(), batch()
    assert Chain.of(module) is None
    expected, gradients = of_autograd(module, *data)
    values = Chain.made_of(list(module)).gradients(data[0], loss_of(*data[1:]), data[2])
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)
    for parameter, wanted in zip(module.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_the_latest_batch_alone():
    module = MLP((7,)).build((5,), 3).double()
    chain = Chain.of(module)
    for data in (batch(), batch(n=9)):
        chain.gradients(data[0], loss_of(*data[1:]), data[2])
    gradients = [p.grad.clone() for p in module.parameters()]
    for gradient, wanted in zip(gradients, of_autograd(module, *data)[1], strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)


def test_gradients_follow_weights_that_change_in_place():
    module = MLP((7,)).build((5,), 3).double()
    chain, data = Chain.of(module), batch()
    chain.gradients(data[0], loss_of(*data[1:]), data[2])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(-0.5)
    chain.gradients(data[0], loss_of(*data[1:]), data[2])
    gradients = [p.grad.clone() for p in module.parameters()]
    for gradient, wanted in zip(gradients, of_autograd(module, *data)[1], strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)


def test_results_are_written_into_the_memory_of_the_step_before():
    module, data = MLP((7, 4), activation="relu").build((5,), 3).double(), batch()
    chain, results = Chain.of(module), []
    for n in (16, 16, 9):
        x, codes, share = (part[:n] for part in data)
        chain.gradients(x, loss_of(codes, share), share)
        linear = chain.layers[2]
        results.append((linear.output.data_ptr(), linear.gradient.data_ptr(), len(linear.output)))
    assert results[0] == results[1]
    assert results[2][2] == 9


def test_a_loss_may_keep_the_outputs():
    module, seen = MLP((7,)).build((5,), 3).double(), []

    def keeping(output):
        seen.append((output, output.detach().clone()))
        return output.square().sum()

    chain = Chain.of(module)
    for _ in range(2):
        x, _, share = batch()
        chain.gradients(x, keeping, share)
    for output, copied in seen:
        assert torch.equal(output, copied)


@pytest.mark.parametrize("last", [nn.Identity, nn.Tanh])
def test_a_loss_may_change_the_outputs_in_place(last):
    def shifted(output):
        output.sub_(output.detach().max(1, keepdim=True).values)
        return output.mul_(3).square().sum()

    layers = [nn.Linear(5, 3)] if last is nn.Identity else [nn.Linear(5, 3), last()]
    module, (x, _, share) = nn.Sequential(*layers).double(), batch()
    value = Chain.of(module).gradients(x, shifted, share)
    found = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    expected = shifted(module(x).clone())
    expected.backward()
    torch.testing.assert_close(value, expected.detach())
    for gradient, p in zip(found, module.parameters(), strict=True):
        torch.testing.assert_close(gradient, p.grad)


def test_gradients_are_on_again_after_a_loss_that_fails():
    def failing(output):
        raise ValueError("no")

    chain, (x, _, share) = Chain.of(MLP((7,)).build((5,), 3).double()), batch()
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            chain.gradients(x, failing, share)
        assert torch.is_grad_enabled()


def test_losses_in_another_precision_are_accepted():
    x, codes, share = batch(dtype=torch.float32)
    module = MLP((7,)).build((5,), 3)

    def in_double(output):
        return (F.cross_entropy(output.double(), codes, reduction="none") * share).sum()

    values = Chain.of(module).gradients(x, in_double, share)
    expected, gradients = of_autograd(module, x, codes, share)
    torch.testing.assert_close(values.float(), expected)


def test_input_is_not_changed():
    x, codes, share = batch()
    before = x.clone()
    of_chain(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double(), x, codes, share)
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_dropout_zeroes_a_share_of_p_and_scales_up_the_rest():
    n, p = 20_000, 0.3
    module = nn.Sequential(nn.Linear(1, 1), nn.Dropout(p)).double()
    with torch.no_grad():
        module[0].weight.fill_(0.0)
        module[0].bias.fill_(1.0)
    seen = []

    def identity(output):
        seen.append(output.detach().clone())
        return output[:, 0].sum()

    x = torch.ones(n, 1, dtype=torch.float64)
    Chain.of(module).gradients(x, identity, torch.ones(n, dtype=torch.float64))
    (output,) = seen
    kept = output[output != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)))
    assert len(kept) / n == pytest.approx(1 - p, abs=0.02)
    # each kept row passes its gradient on, scaled alike; the others pass none
    assert module[0].bias.grad.item() == pytest.approx(len(kept) / (1 - p))


def tied():
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(5, 3))


def shared():
    layer = nn.Linear(5, 5)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(5, 3))


def frozen():
    module = MLP((7,)).build((5,), 3)
    module[0].weight.requires_grad_(False)
    return module


def hooked(register, where=slice(None)):
    def build():
        module = MLP((7,)).build((5,), 3)
        register(module if where == slice(None) else module[where])
        return module

    return build


class Residual(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + x[:, :3]


OTHERS = {
    "one module": lambda: nn.Linear(5, 3),
    "a subclass with its own forward": lambda: Residual(nn.Linear(5, 3)),
    "starts with an activation": lambda: nn.Sequential(nn.Tanh(), nn.Linear(5, 3)),
    "empty": nn.Sequential,
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(5, 4)), nn.Linear(4, 3)),
    "normalization": lambda: MLP((4,), normalization="batch").build((5,), 3),
    "no bias": lambda: nn.Sequential(nn.Linear(5, 3, bias=False)),
    "normalisation without factors": lambda: nn.Sequential(
        nn.Linear(5, 4), nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 3)
    ),
    "normalisation without biases": lambda: nn.Sequential(
        nn.Linear(5, 4), nn.LayerNorm(4, bias=False), nn.Linear(4, 3)
    ),
    "in place": lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)),
    "in place dropout": lambda: nn.Sequential(
        nn.Linear(5, 4), nn.Dropout(0.1, inplace=True), nn.Linear(4, 3)
    ),
    "unknown activation": lambda: nn.Sequential(nn.Linear(5, 4), nn.Mish(), nn.Linear(4, 3)),
    "weight norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)), nn.Linear(4, 3)
    ),
    "shared layer": shared,
    "tied parameters": tied,
    "frozen parameter": frozen,
    "forward hook": hooked(lambda m: m.register_forward_hook(lambda *a: None), 0),
    "forward pre-hook": hooked(lambda m: m.register_forward_pre_hook(lambda *a: None), 1),
    "backward hook": hooked(lambda m: m.register_full_backward_hook(lambda *a: None), 0),
    "backward pre-hook": hooked(lambda m: m.register_full_backward_pre_hook(lambda *a: None), 2),
    "hook on the whole": hooked(lambda m: m.register_forward_hook(lambda *a: None)),
    "hook on a parameter": hooked(lambda m: m.weight.register_hook(lambda g: 2 * g), 0),
    "hook after accumulation": hooked(
        lambda m: m.weight.register_post_accumulate_grad_hook(lambda p: None), 0
    ),
}


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_what_is_not_a_plain_chain_goes_through_autograd(name):
    assert Chain.of(OTHERS[name]()) is None


def test_layer_normalisation_is_in_the_chain_but_not_among_the_plain_layers_of_a_stack():
    module = MLP((4,), normalization="layer", dropout=0.1).build((5,), 3)
    assert Chain.of(module) is not None
    assert plain_layers(module) is None


@pytest.mark.parametrize("normalization", [None, "layer"])
def test_mlp_without_batch_norm_trains_alike_with_and_without_chain(monkeypatch, normalization):
    X, y = table()

    def train():
        module = MLP((8, 4), normalization=normalization)
        return parameters_of(small(module, dtype="float64", loss="focal").fit(X, y))

    with_chain = train()
    monkeypatch.setattr(Chain, "of", classmethod(lambda cls, module: None))
    torch.testing.assert_close(with_chain, train(), rtol=1e-10, atol=1e-12)
