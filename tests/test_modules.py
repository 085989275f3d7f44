"""The MLP builder, and everything else that may stand for a module."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from imbtorch import MLP
from imbtorch.modules import build_module, get_module, set_output_bias


def kinds(module):
    return [type(layer) for layer in module]


def widths(module):
    return [(m.in_features, m.out_features) for m in module if isinstance(m, nn.Linear)]


class Sized(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        return self.layer(x)


class Fixed(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.layer = nn.Linear(width, 2)

    def forward(self, x):
        return self.layer(x)


class NeedsMore(nn.Module):
    def __init__(self, n_outputs, n_heads, *, depth):
        super().__init__()


# -- MLP -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hidden_sizes", "expected"),
    [
        ((), [(5, 3)]),
        ((7,), [(5, 7), (7, 3)]),
        ([7, 4], [(5, 7), (7, 4), (4, 3)]),
        (np.array([6, 6]), [(5, 6), (6, 6), (6, 3)]),
    ],
)
def test_mlp_has_the_sizes_asked_for(hidden_sizes, expected):
    assert widths(MLP(hidden_sizes).build((5,), 3)) == expected


def test_mlp_without_hidden_layers_is_linear():
    assert kinds(MLP(()).build((5,), 2)) == [nn.Linear]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("elu", nn.ELU),
        ("gelu", nn.GELU),
        ("leaky_relu", nn.LeakyReLU),
        ("relu", nn.ReLU),
        ("selu", nn.SELU),
        ("silu", nn.SiLU),
        ("tanh", nn.Tanh),
    ],
)
def test_mlp_activation_by_name(name, layer):
    assert kinds(MLP((4,), activation=name).build((2,), 2)) == [nn.Linear, layer, nn.Linear]


def test_mlp_dropout_follows_each_hidden_layer():
    module = MLP((4, 3), activation="relu", dropout=0.25).build((2,), 2)
    hidden = [nn.Linear, nn.ReLU, nn.Dropout]
    assert kinds(module) == [*hidden, *hidden, nn.Linear]
    assert module[2].p == 0.25


@pytest.mark.parametrize(("name", "layer"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)])
def test_mlp_normalization_precedes_each_activation(name, layer):
    module = MLP((4, 3), activation="relu", normalization=name).build((2,), 2)
    hidden = [nn.Linear, layer, nn.ReLU]
    assert kinds(module) == [*hidden, *hidden, nn.Linear]


@pytest.mark.parametrize("shape", [(4, 3), (1, 28, 28)])
def test_mlp_of_sequences_or_images_says_how_to_flatten(shape):
    with pytest.raises(ValueError, match=rf"\(n, features\).*reshape\(len\(X\), {np.prod(shape)}"):
        MLP().build(shape, 2)


@pytest.mark.parametrize("sizes", [(0,), (-3,), (8, 2.5), ("8",), (8, None), [[8], [4]], 8, "88"])
def test_mlp_hidden_sizes_must_be_positive_integers(sizes):
    with pytest.raises(ValueError, match="hidden_sizes"):
        MLP(sizes).build((5,), 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation", "rulu"),
        ("activation", None),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", float("nan")),
        ("normalization", "group"),
    ],
)
def test_mlp_parameter_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of MLP"):
        MLP(**{name: value}).build((5,), 2)


def test_mlp_wrong_activation_lists_the_right_ones():
    with pytest.raises(ValueError, match="relu") as caught:
        MLP(activation="rulu").build((5,), 2)
    assert all(name in str(caught.value) for name in ("elu", "gelu", "silu", "tanh"))


def test_mlp_constructor_only_stores():
    sizes = [8, 4]
    builder = MLP(sizes, dropout=5)
    assert builder.hidden_sizes is sizes
    assert clone(builder).get_params() == builder.get_params()


# -- whatever may stand for a module ---------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [
        "mlp",
        MLP((4,)),
        lambda input_shape, n_outputs: nn.Linear(input_shape[0], n_outputs),
        Sized,
    ],
    ids=["name", "builder", "callable", "class"],
)
def test_module_is_sized_from_the_data(module):
    assert build_module(module, (5,), 3)(torch.zeros(4, 5)).shape == (4, 3)


def test_class_without_size_arguments_is_called_without_them():
    assert build_module(Fixed, (3,), 2).layer.in_features == 3


def test_class_that_needs_other_arguments_names_them():
    with pytest.raises(TypeError, match=r"NeedsMore.*\['n_heads', 'depth'\]"):
        build_module(NeedsMore, (3,), 2)


def test_instance_is_copied_with_its_weights():
    module = Fixed()
    built = build_module(module, (3,), 2)
    assert built is not module
    torch.testing.assert_close(built.layer.weight, module.layer.weight)
    with torch.no_grad():
        built.layer.weight.zero_()
    assert module.layer.weight.abs().sum() > 0


def test_builder_that_inherits_from_mlp_is_used():
    class Wide(MLP):
        def build(self, input_shape, n_outputs):
            return nn.Linear(input_shape[0], n_outputs)

    assert type(build_module(Wide(), (5,), 2)) is nn.Linear


def test_builder_class_works_or_says_that_an_instance_is_needed():
    try:
        built = build_module(MLP, (5,), 2)
    except (TypeError, ValueError) as error:
        assert "instance" in str(error) or "MLP()" in str(error)  # noqa: PT017
    else:
        assert built(torch.zeros(1, 5)).shape == (1, 2)


@pytest.mark.parametrize("wrong", [lambda i, o: "net", 3, None, [nn.Linear(1, 1)]])
def test_what_gives_no_module_is_a_type_error(wrong):
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        build_module(wrong, (5,), 2)


@pytest.mark.parametrize("get", [get_module, lambda name: build_module(name, (5,), 2)])
def test_unknown_name_lists_the_known_ones(get):
    with pytest.raises(ValueError, match="'lstm'.*'mlp'"):
        get("lstm")


def test_each_call_builds_a_new_object():
    assert get_module("mlp") is not get_module("mlp")


# -- output bias -----------------------------------------------------------------------------------


def test_output_bias_of_our_network_is_the_given_one():
    module = MLP((4,)).build((5,), 2)
    set_output_bias("mlp", module, torch.tensor([-1.0, -3.0]))
    torch.testing.assert_close(module[-1].bias, torch.tensor([-1.0, -3.0]))


def test_output_bias_of_the_users_module_is_the_users():
    module = nn.Sequential(nn.Linear(5, 2))
    before = copy.deepcopy(module[-1].bias)
    set_output_bias(module, module, torch.tensor([-1.0, -3.0]))
    torch.testing.assert_close(module[-1].bias, before)


def test_output_bias_survives_a_class_that_never_occurs():
    module = MLP((4,)).build((5,), 2)
    set_output_bias("mlp", module, torch.tensor([0.0, -torch.inf]))
    assert torch.isfinite(module[-1].bias).all()
