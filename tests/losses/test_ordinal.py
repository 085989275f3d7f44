"""Class-distance weighted cross-entropy: published number, formula, order of the classes."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from torch.testing import assert_close

from imbtorch import ImbalancedNetClassifier, load
from imbtorch.losses import CrossEntropyLoss, OrdinalCDWLoss
from imbtorch.model_selection import StackedGridSearchCV
from tests.losses.inputs import Y3, Z3, batch, close, rows_of, value_and_gradient


def formula(logits, target, alpha):
    distance = (torch.arange(logits.shape[1]) - target.unsqueeze(1)).abs().double()
    return -(distance**alpha * torch.log1p(-logits.softmax(1))).sum(1)


def test_value():
    # section 2.1 of the catalogue
    close(OrdinalCDWLoss()(Z3, Y3), 0.732442784)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_rows_and_gradient_are_those_of_the_formula(alpha):
    logits, target = batch(30, 5)
    expected = value_and_gradient(lambda z: formula(z, target, alpha), logits)
    assert_close(rows_of(OrdinalCDWLoss(alpha), logits, target), expected, rtol=0, atol=1e-10)


def test_two_classes_are_cross_entropy_for_any_power():
    logits, target = batch(30, 2)
    expected = rows_of(CrossEntropyLoss(), logits, target)
    for alpha in (0.5, 2.0, 5.0):
        assert_close(rows_of(OrdinalCDWLoss(alpha), logits, target), expected)


def test_probability_far_from_the_true_class_costs_more():
    near, far = Z3.new_tensor([[0.0, 2.0, -1.0, -1.0]]), Z3.new_tensor([[0.0, -1.0, -1.0, 2.0]])
    target = torch.tensor([0])
    assert OrdinalCDWLoss()(far, target) > 2 * OrdinalCDWLoss()(near, target)
    assert_close(CrossEntropyLoss()(far, target), CrossEntropyLoss()(near, target))


def test_order_reversed_is_the_same_order_and_another_is_not():
    logits, target = batch(30, 4)
    expected = OrdinalCDWLoss()(logits, target)
    assert_close(OrdinalCDWLoss()(logits.flip(1), 3 - target), expected)
    order = torch.tensor([1, 0, 2, 3])
    assert (OrdinalCDWLoss()(logits[:, order], order.argsort()[target]) - expected).abs() > 1e-3


def test_another_order_of_the_classes_is_a_permutation():
    logits, target = batch(30, 4)
    place = [2, 0, 3, 1]
    loss, plain = OrdinalCDWLoss(), OrdinalCDWLoss()
    loss.set_class_order(place)
    columns = torch.tensor(place).argsort()
    expected = rows_of(plain, logits[:, columns], torch.tensor(place)[target])
    found = rows_of(loss, logits, target)
    assert_close(found[0], expected[0])
    values, gradient = loss.with_gradient(logits, target)
    assert_close(values, plain.with_gradient(logits[:, columns], torch.tensor(place)[target])[0])
    assert_close(
        gradient[:, columns],
        plain.with_gradient(logits[:, columns], torch.tensor(place)[target])[1],
    )


LEVELS = ["low", "medium", "high"]


def ordered_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    return X, np.digitize(X[:, 0] + 0.5 * rng.normal(size=300), [-0.7, 0.7])


def fit(y, X, **params):
    params = {"max_epochs": 3, "random_state": 0, **params}
    return ImbalancedNetClassifier(loss="ordinal_cdw", **params).fit(X, y)


@pytest.mark.parametrize(
    "wrap",
    [lambda y: y, pd.Series, lambda y: pd.DataFrame({"level": y})],
    ids=["Categorical", "Series", "frame"],
)
def test_ordered_categorical_keeps_its_order(wrap):
    X, code = ordered_data()
    clf = fit(wrap(pd.Categorical.from_codes(code, LEVELS, ordered=True)), X)
    assert clf.classes_.tolist() == ["high", "low", "medium"]
    assert clf.loss_.rank.tolist() == [2, 0, 1]
    distance = clf.loss_._cost(torch.zeros(1, 3), torch.tensor([0]))
    assert distance.tolist() == [[0, 4, 1]]


def test_polars_enum_keeps_its_order():
    X, code = ordered_data()
    clf = fit(pl.Series(np.array(LEVELS)[code], dtype=pl.Enum(LEVELS)), X)
    assert clf.loss_.rank.tolist() == [2, 0, 1]


@pytest.mark.parametrize("wrap", [np.asarray, pd.Series, pd.Categorical])
def test_words_without_an_order_are_an_error(wrap):
    X, code = ordered_data()
    words = wrap(np.array(LEVELS)[code])
    with pytest.raises(ValueError, match=r"pd\.Categorical\(y, categories=.*ordered=True"):
        fit(words, X)


def test_numbers_and_two_words_need_no_order():
    X, code = ordered_data()
    assert fit(code, X).loss_.rank is None
    assert fit(np.array(["a", "b"])[(code > 0).astype(int)], X).loss_.rank is None


def test_order_of_a_file_a_pickle_a_copy_and_chunks(tmp_path):
    X, code = ordered_data()
    y = pd.Categorical.from_codes(code, LEVELS, ordered=True)
    clf = fit(y, X)
    for other in (pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf)):
        assert other.loss_.rank.tolist() == [2, 0, 1]
    clf.save(tmp_path / "net.imbtorch")
    assert load(tmp_path / "net.imbtorch").loss_.rank.tolist() == [2, 0, 1]
    chunks = ImbalancedNetClassifier(loss="ordinal_cdw")
    for _ in range(2):
        chunks.partial_fit(X, y, classes=LEVELS)
    assert chunks.loss_.rank.tolist() == [2, 0, 1]


def test_searches_keep_the_order():
    X, code = ordered_data()
    y = pd.Series(pd.Categorical.from_codes(code, LEVELS, ordered=True))
    net = ImbalancedNetClassifier(loss="ordinal_cdw", max_epochs=2, random_state=0)
    grids = [
        search(net, {"lr": [0.01, 0.03]}, cv=2).fit(X, y)
        for search in (GridSearchCV, StackedGridSearchCV)
    ]
    scores = [grid.cv_results_["mean_test_score"] for grid in grids]
    np.testing.assert_allclose(*scores)


def test_a_loss_that_takes_no_other_order_is_an_error():
    class OwnOrdinal(CrossEntropyLoss):
        _ordered_classes = True

    X, code = ordered_data()
    y = pd.Categorical.from_codes(code, LEVELS, ordered=True)
    with pytest.raises(ValueError, match="set_class_order"):
        ImbalancedNetClassifier(loss=OwnOrdinal(), max_epochs=1).fit(X, y)
