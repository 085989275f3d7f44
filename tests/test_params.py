"""Hyper-parameters of components, also of components given by name."""

import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from imbtorch import ImbalancedNetClassifier
from imbtorch.losses import FocalLoss, LogitAdjustedLoss
from imbtorch.modules import TabM
from tests.toy import plain_columns, small, table


def test_string_component_shows_its_parameters():
    params = ImbalancedNetClassifier(loss="focal").get_params()
    assert params["loss"] == "focal"
    assert params["loss__gamma"] == FocalLoss().gamma
    assert params["module__hidden_sizes"] == TabM().hidden_sizes


def test_shallow_params_are_those_of_the_constructor():
    params = ImbalancedNetClassifier(loss="focal").get_params(deep=False)
    assert not [name for name in params if "__" in name]


def test_setting_a_nested_parameter_replaces_the_string_by_the_object():
    clf = ImbalancedNetClassifier(loss="focal").set_params(loss__gamma=5.0)
    assert isinstance(clf.loss, FocalLoss)
    assert clf.loss.gamma == 5.0
    assert clf.module == "tabm"


def test_name_and_nested_parameter_may_come_together():
    clf = ImbalancedNetClassifier().set_params(loss__gamma=0.5, loss="focal")
    assert (type(clf.loss), clf.loss.gamma) == (FocalLoss, 0.5)


def test_object_and_nested_parameter_may_come_together():
    clf = ImbalancedNetClassifier().set_params(loss=LogitAdjustedLoss(), loss__tau=0.5)
    assert clf.loss.tau == 0.5


def test_several_components_at_once():
    clf = ImbalancedNetClassifier(loss="focal")
    clf.set_params(loss__gamma=1.0, module__hidden_sizes=(3,), module__dropout=0.1, lr=0.5)
    assert (clf.loss.gamma, clf.module.hidden_sizes, clf.module.dropout) == (1.0, (3,), 0.1)
    assert clf.lr == 0.5


def test_each_estimator_gets_its_own_object():
    first = ImbalancedNetClassifier(loss="focal").set_params(loss__gamma=1.0)
    second = ImbalancedNetClassifier(loss="focal").set_params(loss__gamma=3.0)
    assert (first.loss.gamma, second.loss.gamma) == (1.0, 3.0)


def test_get_params_and_set_params_round_trip():
    clf = ImbalancedNetClassifier(loss="focal").set_params(loss__gamma=1.0)
    again = ImbalancedNetClassifier().set_params(**clf.get_params())
    assert again.get_params(deep=False).keys() == clf.get_params(deep=False).keys()
    assert again.loss.gamma == 1.0


def test_clone_keeps_nested_parameters_without_sharing_the_object():
    clf = ImbalancedNetClassifier(loss="focal").set_params(loss__gamma=1.0)
    copy = clone(clf)
    assert copy.loss.gamma == 1.0
    assert copy.loss is not clf.loss


@pytest.mark.parametrize(
    ("wrong", "valid"),
    [("loss__gama", "gamma"), ("module__hiden_sizes", "hidden_sizes"), ("los", "loss")],
)
def test_typo_lists_the_valid_names(wrong, valid):
    with pytest.raises(ValueError, match=wrong.split("__")[-1]) as caught:
        ImbalancedNetClassifier(loss="focal").set_params(**{wrong: 1})
    assert f"'{valid}'" in str(caught.value)


def test_parameter_of_another_loss_is_a_typo_too():
    with pytest.raises(ValueError, match="gamma.*'label_smoothing'"):
        ImbalancedNetClassifier(loss="cross_entropy").set_params(loss__gamma=1)


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"loss": nn.L1Loss()}, "loss__gamma"),
        ({"module": nn.Linear(5, 2)}, "module__hidden_sizes"),
        ({"sampler": None}, "sampler__k_neighbors"),
    ],
)
def test_parameter_of_an_object_without_parameters_is_a_clear_error(params, name):
    with pytest.raises(ValueError, match=name.split("__")[0]):
        ImbalancedNetClassifier(**params).set_params(**{name: 1})


def test_unknown_name_can_be_printed_and_is_reported_by_fit():
    clf = ImbalancedNetClassifier(loss="vocal", module="mlpp")
    assert "vocal" in repr(clf)
    assert "loss__gamma" not in clf.get_params()
    with pytest.raises(ValueError, match="'mlpp'|'vocal'"):
        clf.fit(*table())


@pytest.mark.parametrize("name", ["loss", "module", "sampler"])
def test_unknown_name_is_reported_when_one_of_its_parameters_is_set(name):
    with pytest.raises(ValueError, match="Unknown.*'vocal'"):
        ImbalancedNetClassifier(**{name: "vocal"}).set_params(**{f"{name}__gamma": 1})


def test_grid_over_gamma_of_a_string_loss():
    grid = {"imbalancednetclassifier__loss__gamma": [0, 2]}
    pipeline = make_pipeline(StandardScaler(), small(loss="focal"))
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(*table())
    best = search.best_estimator_[-1]
    assert best.loss_.gamma == search.best_params_["imbalancednetclassifier__loss__gamma"]
    assert pipeline[-1].loss == "focal"


def test_grid_over_names_of_losses():
    search = GridSearchCV(
        small(), {"loss": ["cross_entropy", "focal"]}, cv=2, error_score="raise"
    ).fit(*table())
    assert search.best_estimator_.loss_.name == search.best_params_["loss"]


def test_grid_over_names_with_their_own_parameters():
    grid = [
        {"loss": ["focal"], "loss__gamma": [1, 2]},
        {"loss": ["logit_adjusted"], "loss__tau": [0.5]},
    ]
    search = GridSearchCV(small(), grid, cv=2, error_score="raise").fit(*table())
    assert len(search.cv_results_["params"]) == 3


def test_random_search_over_sizes_and_learning_rate():
    space = {"module__hidden_sizes": [(4,), (6, 3), ()], "lr": [1e-3, 1e-2]}
    search = RandomizedSearchCV(
        ImbalancedNetClassifier("mlp", features=plain_columns(), max_epochs=2, random_state=0),
        space, n_iter=3, cv=2, random_state=0, error_score="raise",
    ).fit(*table())  # fmt: skip
    sizes = search.best_params_["module__hidden_sizes"]
    assert len(search.best_estimator_.net_.module_) == 2 * len(sizes) + 1
