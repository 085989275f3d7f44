"""Gradient boosting of found length: folds grow together, then one model is fitted to all rows."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold

from imbtorch.compare import _trees
from imbtorch.compare._trees import BoostingOfFoundLength, best_number, points

X, y = make_classification(240, weights=[0.8], flip_y=0.1, random_state=0)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """End every search after a few trees; the tests look at its mechanics."""
    monkeypatch.setattr(_trees, "_FIRST", 4)
    monkeypatch.setattr(_trees, "_MOST", 12)


def plain(n_trees, **params):
    return HistGradientBoostingClassifier(max_iter=n_trees, random_state=0, **params)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_the_model_is_one_on_all_rows_with_the_number_that_was_found(class_weight):
    found = BoostingOfFoundLength(class_weight=class_weight, random_state=0).fit(X, y)
    stated = plain(found.n_trees_, class_weight=class_weight).fit(X, y)
    np.testing.assert_array_equal(found.predict_proba(X), stated.predict_proba(X))
    np.testing.assert_array_equal(found.decision_function(X), stated.decision_function(X))
    np.testing.assert_array_equal(found.predict(X), stated.predict(X))


def test_scores_are_those_of_models_of_this_number_of_trees_on_rows_they_did_not_see():
    folds = StratifiedKFold(3, shuffle=True, random_state=1)
    found = BoostingOfFoundLength(cv=folds, random_state=0).fit(X, y)
    assert found.scores_.shape == (3, len(found.numbers_))
    train, test = list(folds.split(X, y))[1]
    for number, score in zip(found.numbers_, found.scores_[1], strict=True):
        model = plain(int(number)).fit(X[train], y[train])
        expected = average_precision_score(y[test], model.decision_function(X[test]))
        assert score == pytest.approx(expected)


def test_the_search_goes_on_while_the_best_number_is_near_the_end(monkeypatch):
    grown = []
    grow = _trees._GrowingFold.grow

    def spy(fold, n_trees):
        grown.append(n_trees)
        grow(fold, n_trees)
        fold.scores = {number: -abs(number - 4) for number in fold.scores}

    monkeypatch.setattr(_trees._GrowingFold, "grow", spy)
    assert BoostingOfFoundLength(random_state=0).fit(X, y).n_trees_ in (3, 4)
    assert grown == [4] * 3 + [8] * 3


def test_points_and_the_best_of_three_neighbours():
    assert points(14).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert points(20).tolist()[-3:] == [16, 18, 20]
    numbers = np.array([1, 2, 3, 5, 8, 9])
    spike = np.array([[0.9, 0.1, 0.6, 0.7, 0.6, 0.3], [0.9, 0.1, 0.6, 0.7, 0.6, 0.5]])
    assert best_number(numbers, spike) == 5
    assert best_number(numbers, np.array([[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]])) == 9


def test_several_classes_with_names():
    rare = np.where(np.arange(240) % 12 == 0, "few", np.where(y, "some", "many"))
    found = BoostingOfFoundLength(random_state=0).fit(X, rare)
    assert found.classes_.tolist() == ["few", "many", "some"]
    assert found.decision_function(X).shape == (240, 3)
    assert set(found.predict(X)) <= {"few", "many", "some"}


def test_folds_without_a_class_do_not_count():
    one = np.zeros(240, int)
    one[:2] = 1  # one of three folds has no such row to be scored by
    assert len(BoostingOfFoundLength(random_state=0).fit(X, one).scores_) == 2
    one[0] = 0
    with pytest.raises(ValueError, match=r"no inner fold .* has every class"):
        BoostingOfFoundLength(random_state=0).fit(X, one)


def test_a_search_leaves_no_trace_in_the_next_fit():
    trees = BoostingOfFoundLength(random_state=0)
    first = trees.fit(X, y).predict_proba(X)
    trees.fit(X[::-1], 1 - y[::-1])
    np.testing.assert_array_equal(trees.fit(X, y).predict_proba(X), first)
    assert clone(trees).get_params() == trees.get_params()
