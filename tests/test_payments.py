"""make_payments: a table with text and missing values, the same for the same seed."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

from imbtorch import ImbalancedNetClassifier
from imbtorch.datasets import make_payments

pytest.importorskip("pandas")


def test_columns_kinds_and_gaps():
    X, y = make_payments(4000, fraud_share=0.05, random_state=0)
    assert X.shape == (4000, 6)
    assert list(X.select_dtypes("number")) == ["amount", "hour", "age"]
    gaps = X.isna().mean()
    assert gaps[["amount", "hour", "shop"]].eq(0).all()
    assert gaps["age"] == pytest.approx(0.15, abs=0.02)
    assert gaps[["country", "card"]].between(0.03, 0.07).all()
    assert X["shop"].nunique() == 40
    assert X["amount"].max() > 20 * X["amount"].median()
    assert y.sum() == 200
    assert set(y) == {0, 1}


def test_the_same_seed_makes_the_same_table():
    first, second, other = (make_payments(50, random_state=seed) for seed in (1, 1, 2))
    assert first[0].equals(second[0])
    assert first[1].equals(second[1])
    assert not first[0].equals(other[0])


def test_there_is_something_to_learn():
    X, y = make_payments(random_state=0)
    X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)
    net = ImbalancedNetClassifier(max_epochs=5, random_state=0).fit(X, y)
    assert average_precision_score(y_test, net.predict_proba(X_test)[:, 1]) > 5 * y_test.mean()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"n_rows": 5}, "n_rows"), ({"fraud_share": 0}, "fraud_share"), ({"fraud_share": 1}, "share")],
)
def test_arguments_out_of_range(arguments, name):
    with pytest.raises(ValueError, match=name):
        make_payments(**arguments)


def test_one_fraud_at_least():
    assert make_payments(10, fraud_share=0.001, random_state=np.random.RandomState(0))[1].sum() == 1
