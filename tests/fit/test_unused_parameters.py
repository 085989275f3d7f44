"""Parameters that a fit does not use are named in a warning, once."""

import inspect
import warnings

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit

from imbtorch import MLP, ImbalancedNetClassifier, ImbalancedNetRegressor
from imbtorch._fit.parameters import PATIENCE
from tests.toy import table

X, Y = table(100)
VALUES = X[:, 0]
FIT_ONLY = {
    "averaging": "ema",
    "class_weight_schedule": 0.5,
    "early_stopping": True,
    "loss_schedule": {"gamma": lambda progress: progress},
    "lr_schedule": "cosine",
    "max_epochs": 7,
    "patience": 2,
    "sampler_schedule": 0.5,
    "scoring": "accuracy",
    "validation": PredefinedSplit(np.arange(100) % 2),
    "validation_fraction": 0.2,
}
ESTIMATORS = [ImbalancedNetClassifier, ImbalancedNetRegressor]


def known(estimator, **params):
    names = inspect.signature(estimator).parameters
    given = {"random_state": 0, **params}
    return estimator(MLP((2,)), **{k: v for k, v in given.items() if k in names})


def first_chunk(est):
    if isinstance(est, ImbalancedNetRegressor):
        return est.partial_fit(X, VALUES)
    return est.partial_fit(X, Y, classes=[0, 1])


def warned(act):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    return [str(w.message) for w in caught if "not used" in str(w.message)]


# -- partial_fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FIT_ONLY))
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_first_chunk_names_a_parameter_that_only_fit_uses(estimator, name):
    if name not in inspect.signature(estimator).parameters:
        pytest.skip("the regressor has no such parameter")
    est = known(estimator, **{name: FIT_ONLY[name]})
    (message,) = warned(lambda: first_chunk(est))
    assert f"{name}=" in message
    assert "partial_fit" in message
    assert warned(lambda: est.partial_fit(X, Y if hasattr(est, "classes_") else VALUES)) == []


def test_first_chunk_names_them_all_in_one_warning(tmp_path):
    est = known(ImbalancedNetClassifier, **FIT_ONLY, checkpoint=tmp_path / "folder")
    (message,) = warned(lambda: first_chunk(est))
    assert all(f"{name}=" in message for name in [*FIT_ONLY, "checkpoint"])


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("params", [{}, {"lr_schedule": "constant", "max_epochs": 1}])
def test_chunk_that_does_what_was_asked_for_is_silent(estimator, params):
    assert warned(lambda: first_chunk(known(estimator, **params))) == []


def test_chunk_after_a_fit_that_used_them_is_silent():
    clf = known(ImbalancedNetClassifier, early_stopping=True, max_epochs=2).fit(X, Y)
    assert warned(lambda: clf.partial_fit(X, Y)) == []


def test_subclass_without_a_parameter_is_no_error():
    class Mine(ImbalancedNetClassifier):
        def __init__(self, module="mlp", *, averaging=None):
            super().__init__(module, averaging=averaging)

    (message,) = warned(lambda: first_chunk(Mine(averaging="ema")))
    assert "averaging='ema'" in message


# -- fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"patience": 2}, "patience=2"),
        ({"patience": 2, "validation_fraction": 0.2}, "patience=2"),
        ({"scoring": "accuracy"}, "scoring='accuracy'"),
    ],
)
def test_fit_names_what_only_validation_uses(params, name):
    clf = known(ImbalancedNetClassifier, max_epochs=1, **params)
    (message,) = warned(lambda: clf.fit(X, Y))
    assert name in message
    assert "early_stopping" in message


def test_regressor_warns_too():
    reg = known(ImbalancedNetRegressor, max_epochs=1, scoring="r2")
    (message,) = warned(lambda: reg.fit(X, VALUES))
    assert "scoring='r2'" in message


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"early_stopping": True, "patience": 2, "scoring": "accuracy"},
        {"validation_fraction": 0.2, "scoring": "accuracy"},
    ],
)
def test_fit_that_uses_them_is_silent(params):
    clf = known(ImbalancedNetClassifier, max_epochs=1, **params)
    assert warned(lambda: clf.fit(X, Y)) == []


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_default_of_patience_is_the_one_that_is_compared_with(estimator):
    assert inspect.signature(estimator).parameters["patience"].default == PATIENCE
    assert np.isscalar(PATIENCE)
