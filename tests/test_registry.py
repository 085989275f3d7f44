"""Losses, samplers and module builders by name: who has a name, and messages about other names."""

import gc
import pickle
from contextlib import suppress

import cloudpickle
import pytest
from torch import nn

from imbtorch import ImbalancedNetClassifier, ImbalancedNetRegressor
from imbtorch._common.registry import Registry
from imbtorch.losses import BaseLoss, FocalLoss, all_losses, as_loss, get_loss
from imbtorch.losses._base import LOSSES
from imbtorch.losses.regression import (
    BaseRegressionLoss,
    all_regression_losses,
    get_regression_loss,
)
from imbtorch.losses.regression._base import REGRESSION_LOSSES
from imbtorch.modules import ModuleBuilder, get_module
from imbtorch.modules._build import MODULES
from imbtorch.samplers import BaseSampler, all_samplers, get_sampler
from imbtorch.samplers._base import SAMPLERS
from imbtorch.testing import temporary_names
from tests.toy import table

X, Y = table()
REGISTRIES = {
    BaseLoss: (LOSSES, all_losses, get_loss),
    BaseRegressionLoss: (REGRESSION_LOSSES, all_regression_losses, get_regression_loss),
    BaseSampler: (SAMPLERS, all_samplers, get_sampler),
    ModuleBuilder: (MODULES, lambda: dict(MODULES), get_module),
}
every_base = pytest.mark.parametrize("base", REGISTRIES, ids=lambda base: base.__name__)


@pytest.fixture(autouse=True)
def _names_of_this_test_only():
    with temporary_names():
        yield


def define(base, name="toy", class_name="Toy", **attributes):
    """Define a class that can be built: what is abstract in its base is filled in."""
    abstract = dict.fromkeys(getattr(base, "__abstractmethods__", ()), lambda self: None)
    body = {**abstract, "__module__": __name__, "name": name, **attributes}
    return type(class_name, (base,), body)


# -- who has a name --------------------------------------------------------------------------------


@every_base
def test_a_class_is_registered_by_its_own_name(base):
    registry, list_all, get = REGISTRIES[base]
    cls = define(base)
    assert registry["toy"] is cls
    assert list_all()["toy"] is cls
    assert type(get("toy")) is cls


@every_base
def test_subclasses_of_any_depth_are_registered(base):
    registry, _, get = REGISTRIES[base]
    deep = define(define(define(base, ""), "middle", "Middle"), "deep", "Deep")
    assert registry["deep"] is deep
    assert type(get("deep")) is deep


@every_base
def test_an_inherited_name_is_not_registered_again(base):
    registry, _, _ = REGISTRIES[base]
    parent = define(base)
    type("Child", (parent,), {})
    assert registry["toy"] is parent


@every_base
def test_a_class_without_a_name_is_not_registered(base):
    registry, list_all, _ = REGISTRIES[base]
    before = dict(registry)
    define(base, "")
    assert registry == before
    assert "" not in list_all()


@every_base
def test_a_name_is_given_once(base):
    registry, _, _ = REGISTRIES[base]
    taken, owner = next(iter(registry.items()))
    with pytest.raises(ValueError, match="Choose another name") as caught:
        define(base, taken, "Second")
    for cls in ("tests.test_registry.Second", f"{owner.__module__}.{owner.__qualname__}"):
        assert cls in str(caught.value)
    assert registry[taken] is owner


def test_a_user_class_does_not_replace_one_of_the_package():
    with pytest.raises(ValueError, match=r"FocalLoss cannot be named 'focal': .*_focal\.FocalLoss"):

        class FocalLoss(BaseLoss):
            name = "focal"

    assert get_loss("focal").__class__.__module__ == "imbtorch.losses._focal"


@every_base
def test_the_same_class_defined_again_replaces_the_first(base):
    registry, _, get = REGISTRIES[base]
    first, second = define(base), define(base)
    assert first is not second
    assert registry["toy"] is second
    assert type(get("toy")) is second


def test_a_notebook_cell_can_be_run_again():
    cell = "class Toy(BaseLoss):\n    name = 'toy'\n    version = {}"
    namespace = {"__name__": "__main__", "BaseLoss": BaseLoss}
    for version in range(2):
        exec(cell.format(version), namespace)
        assert get_loss("toy").version == version


def test_names_do_not_wait_for_the_garbage_collector():
    gc.disable()
    try:
        define(BaseLoss)
        gc.collect()  # nothing refers to the class but the registry
        assert "toy" in all_losses()
        with pytest.raises(ValueError, match="cannot be named 'toy'"):
            define(BaseLoss, class_name="Another")
    finally:
        gc.enable()


WORKER = """
import pickle
from imbtorch.losses import FocalLoss, as_loss
for payload in payloads:
    loss = pickle.loads(payload)
assert as_loss(loss).name == "toy" and isinstance(loss, FocalLoss), loss
print(as_loss(type(loss)).gamma)
"""


@pytest.mark.slow
def test_cloudpickle_rebuilds_a_class_in_a_worker(forks):
    """Also after the cell that defines it was run again."""
    payloads = []
    for gamma in (3.0, 4.0):
        namespace = {"__name__": "__main__", "FocalLoss": FocalLoss}
        exec("class Toy(FocalLoss):\n    name = 'toy'", namespace)
        payloads.append(cloudpickle.dumps(namespace["Toy"](gamma=gamma), pickle.HIGHEST_PROTOCOL))
    assert float(forks.run(f"payloads = {payloads}\n{WORKER}")) == FocalLoss().gamma


# -- the registries themselves ---------------------------------------------------------------------


@every_base
def test_lists_are_sorted_copies(base):
    registry, list_all, get = REGISTRIES[base]
    listed = list_all()
    assert list(listed) == sorted(listed)
    assert listed == registry
    for name, cls in listed.items():
        assert cls.name == name
        assert issubclass(cls, base)
        assert type(get(name)) is cls
        assert get(name) is not get(name)
    listed.clear()
    assert registry


def test_a_known_name_is_looked_up_by_dict_itself():
    assert issubclass(Registry, dict)
    assert Registry.__getitem__ is dict.__getitem__
    assert LOSSES["focal"] is FocalLoss


@pytest.mark.parametrize(
    ("registry", "message"),
    [
        (LOSSES, "Unknown loss 'no such'.* Known are 'asymmetric', .*; or give a module of torch"),
        (REGRESSION_LOSSES, "Unknown regression loss.*; or give an elementwise module of torch"),
        (SAMPLERS, r"Unknown sampler.*; or give a sampler of imbalanced-learn.*SMOTE\(\)"),
        (MODULES, "Unknown module.* 'mlp', 'tabm'; or give a builder"),
    ],
    ids=lambda value: getattr(value, "noun", ""),
)
def test_an_unknown_name_lists_the_known_ones(registry, message):
    with pytest.raises(ValueError, match=message):
        registry["no such"]
    assert registry.get("no such") is None
    assert "no such" not in registry


def test_temporary_names_are_forgotten_also_after_an_error():
    define(BaseLoss, "outer", "Outer")
    with suppress(KeyError), temporary_names():
        for base in REGISTRIES:
            define(base)
        raise KeyError
    assert not any("toy" in registry for registry, _, _ in REGISTRIES.values())
    assert "outer" in LOSSES


def test_a_class_and_an_object_need_no_name():
    nameless = define(FocalLoss, "")
    for given in (nameless, nameless(gamma=1.0)):
        assert type(as_loss(given)) is nameless
    assert isinstance(as_loss(nn.CrossEntropyLoss()), BaseLoss)


# -- messages of the estimators --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("get", "name", "meant"),
    [
        (get_loss, "Focal", "focal"),
        (get_loss, "Cross-Entropy", "cross_entropy"),
        (get_regression_loss, "MSE", "mse"),
        (get_sampler, "ClassBalanced", "class_balanced"),
        (get_module, "TabM", "tabm"),
    ],
)
def test_the_spelling_of_a_name_makes_no_difference(get, name, meant):
    assert type(get(name)) is type(get(meant))


@pytest.mark.parametrize(
    ("parameter", "name", "meant"),
    [
        ("loss", "focl", "focal"),
        ("loss", "Cross Entropi", "cross_entropy"),
        ("loss", "log_loss", "cross_entropy"),
        ("sampler", "class_balance", "class_balanced"),
        ("class_weight", "balance", "balanced"),
        ("module", "mpl", "mlp"),
    ],
)
def test_the_nearest_name_is_suggested(parameter, name, meant):
    with pytest.raises(ValueError, match=f"Unknown {parameter} {name!r}. Did you mean {meant!r}"):
        ImbalancedNetClassifier(**{parameter: name}).fit(X, Y)


@pytest.mark.parametrize(
    ("parameter", "name", "meant"),
    [("loss", "hubber", "huber"), ("density_weight", "dense_weights", "dense_weight")],
)
def test_the_nearest_name_is_suggested_for_regression(parameter, name, meant):
    with pytest.raises(ValueError, match=f"{name!r}. Did you mean {meant!r}"):
        ImbalancedNetRegressor(**{parameter: name}).fit(X, X[:, 0])


def test_nothing_is_suggested_where_nothing_is_near():
    with pytest.raises(ValueError, match="Unknown loss 'xyz'. Known are 'asymmetric'"):
        ImbalancedNetClassifier(loss="xyz").fit(X, Y)
