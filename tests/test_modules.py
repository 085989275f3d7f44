"""The MLP, builders of one's own, and everything else that may stand for a module."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

import imbtorch
from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.modules import (
    ModuleBuilder,
    build_module,
    check_width,
    get_module,
    is_builder,
    set_output_bias,
)
from imbtorch.modules._build import MODULES
from imbtorch.testing import _module_checks as checks
from imbtorch.testing import check_module, module_checks, temporary_names
from tests.toy import plain_columns, table


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


@pytest.mark.parametrize("sizes", [(0,), (-3,), (8, 2.5), ("8",), (8, None), [[8], [4]], 0, "88"])
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


def test_output_bias_of_a_builder_is_that_of_its_last_linear_layer():
    class Flat(MLP):
        def build(self, input_shape, n_outputs):
            return nn.Linear(input_shape[0], n_outputs)

    bias = torch.tensor([-1.0, -3.0])
    module = Flat().build((5,), 2)
    set_output_bias(Flat(), module, bias)
    torch.testing.assert_close(module.bias, bias)
    for other in (Fixed(), nn.Sequential(), nn.Sequential(nn.Linear(5, 2, bias=False))):
        before = copy.deepcopy(other.state_dict())
        set_output_bias(MLP(), other, bias)  # there is no bias to set
        assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_output_bias_of_the_users_module_is_the_users():
    module = nn.Sequential(nn.Linear(5, 2))
    before = copy.deepcopy(module[-1].bias)
    set_output_bias(module, module, torch.tensor([-1.0, -3.0]))
    torch.testing.assert_close(module[-1].bias, before)


def test_output_bias_survives_a_class_that_never_occurs():
    module = MLP((4,)).build((5,), 2)
    set_output_bias("mlp", module, torch.tensor([0.0, -torch.inf]))
    assert torch.isfinite(module[-1].bias).all()


# -- width of the outputs --------------------------------------------------------------------------


def test_two_classes_may_have_one_column():
    module = nn.Identity()
    check_width(torch.zeros(4, 1), 4, 2, module)
    with pytest.raises(ValueError, match=r"y has 2 labels, .* shape \(4, 2\)\.$"):
        check_width(torch.zeros(4, 1), 4, 2, module, noun="labels", one_column=False)


@pytest.mark.parametrize("noun", ["classes", "columns"])
def test_a_wrong_width_names_what_the_columns_stand_for(noun):
    with pytest.raises(ValueError, match=rf"Identity returned \(4, 5\).* y has 3 {noun}"):
        check_width(torch.zeros(4, 5), 4, 3, nn.Identity(), noun=noun)


# -- a builder of one's own ------------------------------------------------------------------------


class Toy(ModuleBuilder):
    """Two linear layers with a square in between."""

    def __init__(self, width=6):
        self.width = width

    def build(self, input_shape, n_outputs):
        return nn.Sequential(
            nn.Linear(input_shape[0], self.width), Square(), nn.Linear(self.width, n_outputs)
        )


class Square(nn.Module):
    def forward(self, x):
        return x.square()


class NamedToy(Toy):
    """Registered by the fixture below, during one test."""


@pytest.fixture
def toy(monkeypatch):
    """Name of a builder that is registered during one test."""
    monkeypatch.setattr(NamedToy, "name", "toy_module")
    with temporary_names():
        MODULES.register(NamedToy)
        yield NamedToy.name


def test_builder_of_a_name_is_found(toy):
    assert get_module(toy).get_params() == {"width": 6}
    assert build_module(toy, (3,), 2)[0].out_features == 6
    assert build_module(NamedToy, (3,), 2)[0].out_features == 6
    with pytest.raises(ValueError, match="Did you mean 'toy_module'"):
        get_module("toy_modul")


def test_builders_are_told_from_modules(toy):
    assert all(map(is_builder, [toy, NamedToy, NamedToy(8), "mlp", MLP, MLP((3,))]))
    subclass = type("Wide", (MLP,), {})
    others = [Toy, Toy(), subclass, subclass(), nn.Linear, nn.Linear(1, 1), None, lambda i, o: None]
    assert not any(map(is_builder, others))


def test_estimator_takes_a_builder_by_its_name(toy):
    X, y = table()
    params = {"features": plain_columns(), "max_epochs": 2, "random_state": 0}
    clf = ImbalancedNetClassifier(module=toy, **params)
    assert clf.get_params()["module__width"] == 6
    assert isinstance(clf.fit(X, y).net_.module_[1], Square)
    assert clf.predict_proba(X).shape == (len(X), 2)
    by_object = ImbalancedNetClassifier(module=Toy(), **params).fit(X, y)
    np.testing.assert_array_equal(by_object.predict_proba(X), clf.predict_proba(X))


def test_net_of_a_builder_starts_at_the_class_frequencies(toy):
    X, y = table()
    clf = ImbalancedNetClassifier(
        module=toy, loss="cross_entropy", max_epochs=1, lr=1e-9, random_state=0
    ).fit(X, y)
    bias = torch.softmax(clf.module_[-1].bias.detach(), 0)
    np.testing.assert_allclose(bias, clf.class_prior_, atol=1e-4)


def test_parameters_of_a_builder_are_searched(toy):
    X, y = table()
    clf = ImbalancedNetClassifier(
        module=toy, features=plain_columns(), max_epochs=2, random_state=0
    )
    search = StackedGridSearchCV(clf, {"module__width": [2, 7]}, cv=2).fit(X, y)
    width = search.best_params_["module__width"]
    assert search.best_estimator_.net_.module_[0].out_features == width
    assert isinstance(search.best_estimator_.module, NamedToy)


@pytest.mark.parametrize("module", ["toy_module", NamedToy(3)], ids=["name", "object"])
def test_net_of_a_builder_is_saved_and_loaded(module, toy, tmp_path):
    X, y = table()
    clf = ImbalancedNetClassifier(module=module, max_epochs=2, random_state=0).fit(X, y)
    clf.save(tmp_path / "model.safetensors")
    loaded = imbtorch.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    assert loaded.get_params()["module__width"] == clf.get_params()["module__width"]


def test_smallest_size_is_a_lower_bound():
    for params in MLP._test_params:
        state = MLP(**params).build((5,), 3).state_dict()
        n_tensors, n_numbers = MLP(**params).smallest_size(3)
        assert n_tensors <= len(state)
        assert n_numbers <= sum(value.numel() for value in state.values())
    assert MLP((10**6,) * 3).smallest_size(2) == (6, 3 * 10**6 + 2)
    assert Toy().smallest_size(3) == (0, 0)


def test_a_builder_checks_its_parameters():
    class Checked(Toy):
        _parameter_constraints = {"width": [int]}

        def build(self, input_shape, n_outputs):
            self._validate_parameters()
            return super().build(input_shape, n_outputs)

    assert Checked().build((3,), 2)[0].out_features == 6
    with pytest.raises(ValueError, match="'width' parameter of Checked"):
        Checked("wide").build((3,), 2)


# -- the public checks -----------------------------------------------------------------------------


def case_id(value):
    return value.__name__ if hasattr(value, "__name__") else repr(value)


BUILDERS = [cls(**params) for cls in MODULES.values() for params in cls._test_params]
CASES = [(builder, check) for builder in BUILDERS for check in module_checks(builder)]


@pytest.mark.parametrize("n_outputs", [2, 3])
@pytest.mark.parametrize(("builder", "check"), CASES, ids=case_id)
def test_builder(builder, check, n_outputs):
    check(builder, (5,), n_outputs)


class Image(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(input_shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.LazyLinear(n_outputs)

    def forward(self, x):
        return self.head(self.layers(x))


@pytest.mark.parametrize(
    ("module", "shape", "n_outputs"),
    [
        ("mlp", (5,), 2),
        (MLP, (5,), 2),
        (Toy(), (5,), 4),
        (nn.Linear(5, 1), (5,), 2),  # one column stands for two classes
        (Sized, (5,), 1),
        (lambda input_shape, n_outputs: nn.Linear(*input_shape, n_outputs), (5,), 3),
        (Image, (3, 8, 8), 3),
    ],
    ids=["name", "class", "builder", "module", "module class", "function", "images"],
)
def test_check_module_accepts_whatever_stands_for_a_module(module, shape, n_outputs):
    check_module(module, shape, n_outputs)


class BatchStandardised(nn.Linear):
    """Wrong: standardises by the rows of the batch, also in evaluation mode."""

    def forward(self, x):
        return super().forward(x - x.mean(0))


class Unused(nn.Linear):
    """Wrong: has a parameter that no output depends on."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.more = nn.Parameter(torch.zeros(3))


class PlainTensor(nn.Linear):
    """Wrong: keeps a tensor as a plain attribute, which ``.to`` and ``state_dict`` pass by."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.scale = torch.rand(1)

    def forward(self, x):
        return super().forward(x) * self.scale


SHARED = nn.Linear(5, 3)


class Flat(nn.Linear):
    """Wrong: one number per row, without columns."""

    def forward(self, x):
        return super().forward(x)[:, 0]


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (lambda shape, n: SHARED, checks.check_building),
        (lambda shape, n: nn.Linear(5, n + 1), checks.check_output),
        (lambda shape, n: Flat(5, n), checks.check_output),
        (nn.Sequential(nn.Linear(5, 3), nn.Softmax(1)), checks.check_logits),
        (BatchStandardised(5, 3), checks.check_row_alone),
        (PlainTensor(5, 3), checks.check_device_follows),
        (lambda shape, n: PlainTensor(5, n), checks.check_copies_give_the_same),
        (Unused(5, 3), checks.check_gradients),
        (nn.Sequential(nn.Linear(5, 3), nn.Threshold(99.0, 0.0)), checks.check_learns),
    ],
)
def test_checks_reject_a_wrong_module(wrong, check):
    with pytest.raises(AssertionError, match=f"fails {check.__name__}") as caught:
        check(wrong, (5,), 3)
    assert "How to fix it: " in str(caught.value)
    with pytest.raises(AssertionError, match="How to fix it: "):
        check_module(wrong, (5,), 3)


class Careless(ModuleBuilder):
    """Wrong: changes its parameter, and does not validate it."""

    _parameter_constraints = {"width": [int]}

    def __init__(self, width=6):
        self.width = width

    def build(self, input_shape, n_outputs):
        self.width = 2 * self.width if isinstance(self.width, int) else 4
        return nn.Linear(input_shape[0], n_outputs)

    def smallest_size(self, n_outputs):
        return 5, 5


@pytest.mark.parametrize("check", checks.BUILDER_CHECKS, ids=case_id)
def test_checks_reject_a_wrong_builder(check):
    with pytest.raises(AssertionError, match=rf"Careless\(.*\) fails {check.__name__}"):
        check(Careless(), (5,), 3)


@pytest.mark.parametrize("check", checks.NAMED_CHECKS, ids=case_id)
def test_builders_of_a_name_are_documented_and_validated(check):
    with pytest.raises(AssertionError, match=f"fails {check.__name__}"):
        check(Toy(), (5,), 3)
    assert check not in module_checks(Toy())
    assert check in module_checks(MLP())
