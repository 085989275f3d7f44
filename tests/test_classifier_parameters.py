"""Invalid values of every parameter are found before the data are touched."""

import inspect

import numpy as np
import pytest
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from imbtorch import ImbalancedNetClassifier
from tests.toy import small, table

X, Y = table()
INVALID = {
    "module": [None, 3, ["mlp"]],
    "features": ["tables", 3, ["table"]],
    "loss": [None, 3, ["focal"]],
    "loss_schedule": [{"tua": float}, {"tau": 1.0}, {"weight": float}],
    "class_weight": [3, "heavy", [1, 2, 3], {1: -1}],
    "class_weight_schedule": [0, 1, 1.5, "late", lambda t: 2.0, 0.5, "cumulative"],
    "sampler": ["smote", 3, object()],
    "sampler_schedule": [0, 1, "late", 0.5],
    "target_prior": ["balanced", 0.5, [1, 1], {0: 1.0}],
    "aux_loss": [3, ["a"], {}, {"a": np.nan}, {"a": True}, {"a": "b"}, {1: 1.0}, nn.MSELoss()],
    "optimizer": ["adamax", None, 3],
    "lr": [0, -1e-3, "fast", None, np.nan, np.inf],
    "weight_decay": [-1e-4, "some", None, np.inf],
    "param_groups": [
        "*.bias",
        3,
        [("*", {"lr": 0.1})],
        {"*": 0.1},
        {0: {"lr": 0.1}},
        {"*": {"rate": 0.1}},
        {"*": {"lr": 0.0}},
        {"*": {"weight_decay": -1}},
        {"*": {"weight_decay": "auto"}},
        {"*": {"lr": np.nan}},
        {"*": {"lr": True}},
        {"*": {"frozen": 1.0}},
        {"*": {"frozen": None}},
        {"body.*": {"lr": 0.1}},
        {"*": {"frozen": True}},
        {"*": {"frozen": 0.5}},
    ],
    "lr_schedule": ["steps", None, 0.5],
    "gradient_clipping": [0, -1.0, "norm", np.nan],
    "sharpness": [-0.1, None, "sam", np.nan],
    "averaging": ["mean", 0, 1, 1.5, True],
    "max_epochs": ["long", 0, -1, 1.5, "many", None],
    "batch_size": [0, -1, 1.5, "large", None],
    "accumulate": [0, -1, 1.5, "all", None],
    "validation": [3, "groups", 0.2],
    "validation_fraction": [0, 1, 1.5, -0.1, "some"],
    "early_stopping": ["yes", None, 2],
    "patience": [0, -1, 1.5, None],
    "scoring": [3, ["roc_auc"]],
    "device": ["tpu:0", "gpu", 0, None],
    "dtype": ["float16", np.float32, torch.float32, None],
    "precision": ["float32", "half", torch.bfloat16, True],
    "random_state": ["seed", -1, 1.5, np.random.default_rng(0)],
    "warm_start": ["yes", None],
    "callbacks": ["progress", 3],
    "on_divergence": ["ignore", None],
    "on_interrupt": ["ignore", None],
    "on_oom": ["ignore", None],
    "checkpoint": [3, ["folder"]],
    "checkpoint_interval": [0, -1, 1.5, None],
    "data_parallel": ["yes", None],
    "n_threads": [0, -1, 1.5, True, "all"],
    "num_workers": [-1, 1.5, None],
    "collate_fn": ["pad", 3],
    "verbose": ["loud", -1, None],
}
CASES = [(name, value) for name, values in INVALID.items() for value in values]


def spelled(value):
    """Id of a test: the same in every process, so without addresses."""
    return repr(value).split(" at 0x")[0][:30]


class Untouchable:
    """Raises when anybody looks at it."""

    def __array__(self, *args, **kwargs):
        raise AssertionError("the data were touched")

    def __len__(self):
        raise AssertionError("the data were touched")


@pytest.mark.parametrize(("name", "value"), CASES, ids=spelled)
def test_invalid_value_is_an_error_that_names_the_parameter(name, value):
    clf = small().set_params(**{name: value})
    with pytest.raises(ValueError, match=name):
        clf.fit(X, Y)


@pytest.mark.parametrize("name", sorted(INVALID))
def test_value_of_a_wrong_type_is_found_before_the_data_are_touched(name):
    wrong = object() if name != "class_weight" else 3
    with pytest.raises(ValueError, match=f"'{name}' parameter of ImbalancedNetClassifier"):
        small().set_params(**{name: wrong}).fit(Untouchable(), Untouchable())


def test_every_parameter_is_covered():
    assert set(INVALID) == set(inspect.signature(ImbalancedNetClassifier).parameters)


@pytest.mark.parametrize("name", sorted(INVALID))
def test_constructor_stores_what_it_is_given_unchecked(name):
    value = object()
    clf = ImbalancedNetClassifier(**{name: value})
    assert getattr(clf, name) is value
    assert not [key for key in vars(clf) if key.endswith("_")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", np.float32(0.01)),
        ("max_epochs", np.int64(2)),
        ("batch_size", np.int32(32)),
        ("batch_size", 10**6),
        ("validation_fraction", np.float64(0.5)),
        ("early_stopping", np.bool_(True)),
        ("random_state", np.int64(3)),
        ("device", torch.device("cpu")),
        ("verbose", True),
        ("callbacks", ()),
        ("weight_decay", 0),
    ],
    ids=spelled,
)
def test_numbers_of_numpy_and_the_like_are_accepted(name, value):
    check_is_fitted(small().set_params(**{name: value}).fit(X, Y))
