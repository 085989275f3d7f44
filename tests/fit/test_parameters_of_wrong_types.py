"""Every parameter, given a container or an object that it cannot be: the error names it."""

import numpy as np
import pytest
import torch

from imbtorch import ImbalancedNetClassifier, ImbalancedNetRegressor
from imbtorch._common.sklearn_private import InvalidParameterError

ROWS = np.random.default_rng(0).normal(size=(12, 2))
TARGETS = {
    ImbalancedNetClassifier: np.arange(12) % 2,
    ImbalancedNetRegressor: ROWS[:, 0],
}
ACCEPTED = {
    "aux_loss": {"None"},
    "averaging": {"None"},
    "callbacks": {"empty list", "None"},
    "checkpoint": {"None"},
    "class_weight": {"list of numbers", "empty dict", "dict", "array", "tensor", "None"},
    "class_weight_schedule": {"None"},
    "collate_fn": {"None"},
    "density_weight": {"None"},
    "features": {"None"},
    "gradient_clipping": {"None"},
    "loss_schedule": {"empty dict", "None"},
    "n_threads": {"None"},
    "param_groups": {"empty dict", "None"},
    "precision": {"None"},
    "random_state": {"None"},
    "sampler": {"None"},
    "sampler_schedule": {"None"},
    "scoring": {"None"},
    "target_prior": {"None"},
    "validation": {"None"},
    "validation_fraction": {"None"},
}
VALUES = {
    "list of numbers": [0.1, 0.01],
    "empty list": [],
    "list of lists": [[1]],
    "tuple": ([1],),
    "empty dict": {},
    "dict": {"zz": 1},
    "set": {"a"},
    "empty set": set(),
    "slice": slice(1),
    "array": np.array([0.1, 0.2]),
    "array without axes": np.array(1.0),
    "empty array": np.array([]),
    "tensor": torch.ones(2),
    "tensor without axes": torch.ones(()),
    "object": object(),
    "None": None,
}


def refused(estimator, name, kind):
    """Return whether fit refuses the value with an error that names the parameter."""
    params = {"module": "mlp", "max_epochs": 1, name: VALUES[kind]}
    try:
        estimator(**params).fit(ROWS, TARGETS[estimator])
    except (ValueError, TypeError) as error:
        return name in str(error)
    return False


@pytest.mark.filterwarnings("ignore:.*which are not among the classes")
@pytest.mark.parametrize("estimator", TARGETS)
def test_values_of_wrong_types_are_errors_that_name_the_parameter(estimator):
    names = estimator().get_params(deep=False)
    found = {
        (name, kind) for name in names for kind in VALUES if not refused(estimator, name, kind)
    }
    assert found == {(name, kind) for name in names for kind in ACCEPTED.get(name, ())}


@pytest.mark.parametrize("estimator", TARGETS)
@pytest.mark.parametrize("kind", ["list of numbers", "empty dict", "array", "set"])
def test_list_of_rates_is_an_error_of_scikit_learn(estimator, kind):
    net = estimator(lr_schedule=VALUES[kind])
    with pytest.raises(InvalidParameterError, match="'lr_schedule' parameter of .* A callable"):
        net.fit(ROWS, TARGETS[estimator])
