"""Arguments of a module class as parameters: set, searched, kept in files."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

import imbtorch
from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NetPortfolioClassifier,
)
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.modules import ModuleClass, get_module
from tests.toy import table

X, Y = table(120)
QUICK = {"max_epochs": 2, "random_state": 0}


class Net(nn.Module):
    def __init__(self, input_shape, n_outputs, hidden=6, *, slope=0.1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(*input_shape, hidden), nn.LeakyReLU(slope), nn.Linear(hidden, n_outputs)
        )

    def forward(self, x):
        return self.layers(x)


class Fixed(nn.Linear):
    """A class that knows the size of its input and outputs."""

    def __init__(self, bias=True):
        super().__init__(X.shape[1], 2, bias=bias)


class Needy(nn.Sequential):
    def __init__(self, n_outputs, depth, input_shape, **layer):
        super().__init__(*(nn.Linear(*input_shape, n_outputs, **layer) for _ in range(depth)))


def by_hand(hidden, slope=0.1):
    return ImbalancedNetClassifier(lambda i, o: Net(i, o, hidden, slope=slope), **QUICK)


def test_arguments_are_parameters():
    clf = ImbalancedNetClassifier(Net, **QUICK)
    assert clf.get_params()["module__hidden"] == 6
    assert clf.get_params()["module"] is Net
    assert not {"module__n_outputs", "module__input_shape"} & set(clf.get_params())
    clf.set_params(module__hidden=3, module__slope=0.2)
    assert clf.module.get_params(deep=False) == {
        "module_class": Net,
        "arguments": {"hidden": 3, "slope": 0.2},
    }
    assert clf.get_params()["module__hidden"] == 3
    again = clone(clf).fit(X, Y)
    assert again.module_.layers[0].out_features == 3
    expected = by_hand(3, 0.2).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), expected.predict_proba(X))


def test_setting_one_argument_keeps_the_others():
    clf = ImbalancedNetClassifier(Net).set_params(module__hidden=3).set_params(module__slope=0.5)
    assert clf.module.arguments == {"hidden": 3, "slope": 0.5}
    copied = clone(clf).set_params(module__hidden=4)
    assert clf.module.arguments["hidden"] == 3
    assert copied.module.arguments == {"hidden": 4, "slope": 0.5}


def test_class_and_argument_at_once():
    clf = ImbalancedNetClassifier().set_params(module=Net, module__hidden=5)
    assert clf.fit(X, Y).module_.layers[0].out_features == 5


def test_a_builder_class_is_its_builder():
    clf = ImbalancedNetClassifier(MLP, **QUICK).set_params(module__hidden_sizes=(5,))
    assert clf.module.get_params()["hidden_sizes"] == (5,)
    assert ImbalancedNetClassifier(MLP).get_params()["module__activation"] == "silu"


def test_a_typing_error_lists_what_there_is():
    clf = ImbalancedNetClassifier(Net)
    with pytest.raises(ValueError, match=r"'width' for the module class Net.*'hidden', 'slope'"):
        clf.set_params(module__width=3)
    with pytest.raises(ValueError, match="'n_outputs' for the module class Net"):
        clf.set_params(module__n_outputs=3)
    assert clf.module is Net or clf.module.arguments is None
    with pytest.raises(ValueError, match="'width' for the module class Net"):
        ImbalancedNetClassifier(ModuleClass(Net, {"width": 3})).fit(X, Y)


def test_a_missing_argument_says_how_to_set_it():
    with pytest.raises(TypeError, match=r"Needy needs .*\['depth'\].*module__depth="):
        ImbalancedNetClassifier(Needy, **QUICK).fit(X, Y)
    clf = ImbalancedNetClassifier(Needy, **QUICK).set_params(module__depth=1, module__bias=False)
    assert clf.fit(X, Y).module_[0].bias is None


def test_instances_have_no_parameters():
    with pytest.raises(ValueError, match="has no parameters to set"):
        ImbalancedNetClassifier(nn.Linear(4, 2)).set_params(module__bias=False)


class Duck:
    """A builder without parameters of scikit-learn."""

    def build(self, input_shape, n_outputs):
        return nn.Linear(*input_shape, n_outputs)


class Unbuilt(Duck):
    def __init__(self, width):
        self.width = width


class Called:
    """A class that is called like a function."""

    def __new__(cls, input_shape, n_outputs):
        return nn.Linear(*input_shape, n_outputs)


@pytest.mark.parametrize("module", [Duck, Called])
def test_other_classes_have_no_parameters_and_work(module):
    clf = ImbalancedNetClassifier(module, **QUICK)
    assert not [name for name in clf.get_params() if name.startswith("module__")]
    assert module.__name__ in repr(clf)
    with pytest.raises(ValueError, match=f"{module.__name__}.*has no parameters to set"):
        clf.set_params(module__width=3)
    assert clf.module is module
    assert isinstance(clone(clf).fit(X, Y).module_, nn.Linear)


def test_a_class_that_cannot_be_built_prints():
    clf = ImbalancedNetClassifier(Unbuilt, **QUICK)
    assert "Unbuilt" in repr(clf)
    assert clf.get_params()["module"] is Unbuilt
    with pytest.raises(TypeError, match="width"):
        clf.fit(X, Y)


def test_a_class_without_sizes():
    clf = ImbalancedNetClassifier(Fixed, **QUICK).set_params(module__bias=False).fit(X, Y)
    assert clf.module_.bias is None


@pytest.mark.parametrize("search", [GridSearchCV, StackedGridSearchCV])
def test_searches(search):
    grid = {"module__hidden": [2, 5], "loss__gamma": [0.0, 2.0]}
    clf = ImbalancedNetClassifier(Net, loss="focal", dtype="float64", **QUICK)
    found = search(clf, grid, cv=2, scoring="neg_log_loss").fit(X, Y)
    hidden = [params["module__hidden"] for params in found.cv_results_["params"]]
    assert hidden == [2, 2, 5, 5] or sorted(hidden) == [2, 2, 5, 5]
    best = found.best_params_["module__hidden"]
    assert found.best_estimator_.module_.layers[0].out_features == best
    assert clf.module is Net
    plain = GridSearchCV(
        by_hand(5).set_params(loss="focal", dtype="float64"),
        {"loss__gamma": [0.0, 2.0]},
        cv=2,
        scoring="neg_log_loss",
    ).fit(X, Y)
    own = {
        params["loss__gamma"]: score
        for params, score in zip(
            found.cv_results_["params"], found.cv_results_["mean_test_score"], strict=True
        )
        if params["module__hidden"] == 5
    }
    np.testing.assert_allclose(list(own.values()), plain.cv_results_["mean_test_score"], rtol=1e-6)


def test_ensembles_portfolios_and_regressors():
    clf = ImbalancedNetClassifier(Net, **QUICK)
    ensemble = NetEnsembleClassifier(clf, 2).set_params(estimator__module__hidden=4).fit(X, Y)
    assert {m.module_.layers[0].out_features for m in ensemble.estimators_} == {4}
    recipes = {"narrow": {"module__hidden": 2}, "wide": {"module__hidden": 9}}
    portfolio = NetPortfolioClassifier(clf, recipes=recipes, cv=2, random_state=0).fit(X, Y)
    assert set(portfolio.leaderboard_["status"]) == {"trained"}
    reg = ImbalancedNetRegressor(Net, **QUICK).set_params(module__hidden=4).fit(X, X[:, 0])
    assert reg.module_.layers[0].out_features == 4


def test_pickles_files_and_checkpoints(tmp_path):
    clf = ImbalancedNetClassifier(Net, checkpoint=tmp_path / "c", **QUICK)
    clf.set_params(module__hidden=4).fit(X, Y)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    clf.save(tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="Net"):
        imbtorch.load(tmp_path / "net.safetensors")
    loaded = imbtorch.load(tmp_path / "net.safetensors", module=clf.module)
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    resumed = clone(clf).fit(X, Y, resume=True)
    np.testing.assert_array_equal(resumed.predict_proba(X), clf.predict_proba(X))


def test_builders_print_and_compare_like_parameters():
    builder = ModuleClass(Net, {"hidden": 3})
    assert "hidden" in repr(builder)
    assert isinstance(get_module(Net), ModuleClass)
    torch.manual_seed(0)
    assert builder.build((4,), 2).layers[0].out_features == 3
    with pytest.raises(ValueError, match="unknown"):
        get_module("unknown")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("optimizer__momentum", r"functools\.partial\(torch\.optim\.SGD.*param_groups"),
        ("callbacks__scoring__name", "callbacks that have been set up"),
        ("lr__x", "Set lr itself"),
    ],
)
@pytest.mark.parametrize(
    "estimator", [ImbalancedNetClassifier(), NetEnsembleClassifier(ImbalancedNetClassifier())]
)
def test_values_without_parameters(estimator, name, instead):
    prefix = "" if isinstance(estimator, ImbalancedNetClassifier) else "estimator__"
    params = {f"{prefix}{name}": 1}
    before = repr(estimator.get_params())
    with pytest.raises(ValueError, match=f"{name} cannot be set.*{instead}"):
        estimator.set_params(**params)
    assert repr(estimator.get_params()) == before
