"""Names that are not known are answered by those that are."""

import pytest

from imbtorch import ImbalancedNetClassifier, ImbalancedNetRegressor
from tests.toy import table

X, Y = table()


@pytest.mark.parametrize(
    ("parameter", "name", "meant"),
    [
        ("loss", "focl", "focal"),
        ("loss", "Cross Entropy", "cross_entropy"),
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
