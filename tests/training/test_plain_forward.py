"""What a module computes for predictions, where the work around its layers is left out."""

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_hooks
from torch.nn.utils import parametrizations

from imbtorch.modules import CategoryEmbeddings, PeriodicEmbeddings, TabM
from imbtorch.training import plain_forward
from imbtorch.training.plain_forward import outputs_of

ROWS = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def sequence(*layers):
    return nn.Sequential(nn.Linear(4, 6), *layers, nn.Linear(6, 2)).eval()


def calls_of_modules(module):
    """Compute the outputs of a module, and count how often torch calls a module."""
    count, call = [], nn.Module.__call__

    def counting(self, *args, **kwargs):
        count.append(self)
        return call(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "__call__", counting)
        found = outputs_of(module, ROWS.clone)
    return found, len(count)


PLAIN = {
    "activations": lambda: sequence(
        nn.ReLU(), nn.LeakyReLU(0.3), nn.ELU(0.5), nn.SELU(), nn.GELU("tanh"), nn.SiLU(), nn.Tanh()
    ),
    "others": lambda: sequence(
        nn.Sigmoid(), nn.Softplus(2.0), nn.LayerNorm(6), nn.Dropout(0.5), nn.Identity()
    ),
    "no bias": lambda: nn.Sequential(nn.Linear(4, 2, bias=False)).eval(),
    "in place": lambda: sequence(nn.ReLU(inplace=True)),
    "waves": lambda: nn.Sequential(PeriodicEmbeddings([0, 2]), nn.Linear(10, 2)).eval(),
    "TabM": lambda: TabM((6,), k=3).build((4,), 2).eval(),
}


@pytest.mark.parametrize("name", PLAIN)
def test_known_layers_have_the_same_bits_and_are_not_called(name):
    module = PLAIN[name]()
    with torch.no_grad():
        expected = module(ROWS.clone())
        found, n_calls = calls_of_modules(module)
    assert n_calls == 0
    assert torch.equal(found, expected)


def test_codes_of_categories():
    codes = torch.tensor([[0.5, 1.0], [-1.0, 0.0]])
    module = nn.Sequential(CategoryEmbeddings(1, [3], 2), nn.Linear(3, 2)).eval()
    with torch.no_grad():
        assert torch.equal(outputs_of(module, codes.clone), module(codes))


def hooked(module):
    module[1].register_forward_hook(lambda layer, args, output: output * 0)
    return module


def hooked_before(module):
    module[2].register_forward_pre_hook(lambda layer, args: (args[0] * 0,))
    return module


def hooked_as_a_whole(module):
    module.register_forward_hook(lambda layer, args, output: output * 0)
    return module


def with_a_forward_of_its_own(module):
    module[0].forward = lambda x: torch.zeros(len(x), 6)
    return module


def compiled_in_place(module):
    module.compile(backend="eager")
    return module


def parametrized(module):
    parametrizations.weight_norm(module[0])
    return module


class Doubled(nn.Linear):
    """A subclass, whose ``forward`` is not torch's."""

    def forward(self, x):
        return 2 * super().forward(x)


class Last(nn.Sequential):
    """A sequence, whose ``forward`` is not torch's."""

    def forward(self, x):
        return super().forward(x)[:, :1]


def nested(module):
    return nn.Sequential(module, nn.Softmax(1)).eval()


OTHERS = {
    "a hook": lambda: hooked(sequence(nn.ReLU())),
    "a hook before": lambda: hooked_before(sequence(nn.ReLU())),
    "a hook of the module": lambda: hooked_as_a_whole(sequence(nn.ReLU())),
    "forward of an instance": lambda: with_a_forward_of_its_own(sequence(nn.ReLU())),
    "compiled in place": lambda: compiled_in_place(sequence(nn.ReLU())),
    "parametrized": lambda: parametrized(sequence(nn.ReLU())),
    "a subclass of a layer": lambda: nn.Sequential(Doubled(4, 2)).eval(),
    "a subclass of the sequence": lambda: Last(nn.Linear(4, 2)).eval(),
    "another layer": lambda: sequence(nn.BatchNorm1d(6)),
    "nested": lambda: nested(sequence(nn.ReLU())),
    "no sequence": lambda: nn.Linear(4, 2).eval(),
}


@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_is_called(name):
    module = OTHERS[name]()
    with torch.no_grad():
        expected = module(ROWS.clone())
        found, n_calls = calls_of_modules(module)
    assert n_calls > 0
    assert torch.equal(found, expected)


def test_a_weight_that_is_no_parameter_is_found():
    module = sequence(nn.ReLU())
    weight = module[0].weight.detach() * 2
    del module[0].weight
    module[0].register_buffer("weight", weight)
    with torch.no_grad():
        assert torch.equal(outputs_of(module, ROWS.clone), module(ROWS))


def test_hooks_of_all_modules_are_called():
    seen = []
    handle = torch_hooks.register_module_forward_hook(lambda layer, *_: seen.append(type(layer)))
    try:
        outputs_of(sequence(nn.ReLU()), ROWS.clone)
    finally:
        handle.remove()
    assert seen == [nn.Linear, nn.ReLU, nn.Linear, nn.Sequential]


@pytest.mark.parametrize("place", [None, 1])
def test_modules_in_training_mode_are_put_into_evaluation_mode(place):
    module = sequence(nn.Dropout(0.9))
    with torch.no_grad():
        expected = module(ROWS)
        (module if place is None else module[place]).train()
        assert torch.equal(outputs_of(module, ROWS.clone), expected)
    assert not any(layer.training for layer in module.modules())


def test_every_known_layer_is_tried_here():
    tried = {type(layer) for make in PLAIN.values() for layer in make()} | {CategoryEmbeddings}
    assert tried == plain_forward._KNOWN
