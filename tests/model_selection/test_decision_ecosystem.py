"""TunedDecisionClassifierCV: scorers, weights, searches and bad input."""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    f1_score,
    get_scorer,
    make_scorer,
)
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from imbtorch.model_selection import TunedDecisionClassifierCV
from tests.model_selection.fixed import Given, noisy_logits
from tests.toy import table

LOGISTIC = LogisticRegression()


# -- scorers ---------------------------------------------------------------------------------------


def net_gain(estimator, X, y):
    """Score with an amount in the first column of ``X``, as fraud has it."""
    caught = estimator.predict(X) == 1
    return (np.abs(X[:, 0]) * caught * y).sum() - 0.3 * (caught & (y == 0)).sum()


def test_callable_that_looks_at_X():
    X, y = table(400, class_sep=0.5)
    tuned = TunedDecisionClassifierCV(LOGISTIC, scoring=net_gain, n_candidates=1000).fit(X, y)
    proba = cross_val_predict(LOGISTIC, X, y, cv=StratifiedKFold(5), method="predict_proba")[:, 1]
    gains = [
        (np.abs(X[:, 0]) * (proba > cut) * y).sum() - 0.3 * ((proba > cut) & (y == 0)).sum()
        for cut in [-1, *proba]
    ]
    assert tuned.best_score_ == pytest.approx(max(gains))


def test_scorer_that_predicts_on_part_of_X_is_told():
    X, y = table(100)
    with pytest.raises(ValueError, match="whole X"):
        TunedDecisionClassifierCV(
            LOGISTIC, scoring=lambda clf, X, y: (clf.predict(X[:50]) == y[:50]).mean()
        ).fit(X, y)


@pytest.mark.matrix
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["f1_macro", "jaccard_weighted", "accuracy"])
def test_names_score_as_objects_do(name, weighted, n_classes):
    # names are evaluated on the confusion matrix, objects on the rows
    X, y = table(150, n_classes=n_classes, rate=0.4, class_sep=0.5)
    weight = np.random.default_rng(0).integers(1, 4, 150) if weighted else None
    by_name, by_object = (
        TunedDecisionClassifierCV(LOGISTIC, scoring=scoring, n_candidates=8).fit(X, y, weight)
        for scoring in (name, get_scorer(name))
    )
    assert by_name.best_score_ == pytest.approx(by_object.best_score_, abs=1e-12)
    np.testing.assert_allclose(by_name.offsets_, by_object.offsets_)


@pytest.mark.slow
def test_positive_label_of_strings():
    X, y = table(200)
    names = np.where(y == 1, "fraud", "good")  # sorted, the rare class comes first
    scoring = make_scorer(f1_score, pos_label="fraud")
    tuned = TunedDecisionClassifierCV(LOGISTIC, scoring=scoring, n_candidates=400, n_resamples=0)
    tuned.fit(X, names)
    numbers = TunedDecisionClassifierCV(LOGISTIC, scoring="f1", n_candidates=400, n_resamples=0)
    numbers.fit(X, y)
    assert set(tuned.predict(X)) == {"fraud", "good"}
    assert tuned.best_score_ == pytest.approx(numbers.best_score_)
    assert tuned.offsets_[1] == pytest.approx(-numbers.offsets_[1], rel=1e-3)


def test_score_that_is_never_defined():
    X, y = table(100)
    with pytest.raises(ValueError, match="NaN for every decision"):
        TunedDecisionClassifierCV(LOGISTIC, scoring=lambda clf, X, y: np.nan).fit(X, y)


def test_metric_in_place_of_a_scorer_is_an_error():
    X, y = table(100)
    with pytest.raises(ValueError, match="metric"):
        TunedDecisionClassifierCV(LOGISTIC, scoring=f1_score).fit(X, y)


# -- weights ---------------------------------------------------------------------------------------


def test_weights_reach_fits_and_scorer():
    logits, y = noisy_logits(400, [0.7, 0.3])
    weight = np.where(y == 1, 5.0, 1.0)
    plain = TunedDecisionClassifierCV(Given(), scoring="accuracy", cv=2).fit(logits, y)
    tuned = TunedDecisionClassifierCV(Given(), scoring="accuracy", cv=2).fit(logits, y, weight)
    np.testing.assert_array_equal(tuned.estimator_.fitted_weight_, weight)
    assert tuned.offsets_[1] > plain.offsets_[1] + 1  # log 5 in a large sample
    assert tuned.best_score_ == pytest.approx(tuned.score(logits, y, weight))


def test_rows_of_weight_zero_are_absent():
    logits, y = noisy_logits(300, [0.6, 0.3, 0.1])
    weight = np.random.default_rng(0).integers(0, 3, 300)
    weighted = TunedDecisionClassifierCV(Given(), cv=2, n_candidates=15).fit(logits, y, weight)
    rows = np.repeat(np.arange(300), weight)
    repeated = TunedDecisionClassifierCV(Given(), cv=2, n_candidates=15).fit(logits[rows], y[rows])
    np.testing.assert_allclose(weighted.offsets_, repeated.offsets_)
    assert weighted.best_score_ == pytest.approx(repeated.best_score_, abs=1e-12)


def test_scorer_without_weights_is_not_given_any():
    logits, y = noisy_logits(200, [0.7, 0.3])
    tuned = TunedDecisionClassifierCV(
        Given(), scoring=lambda clf, X, y: f1_score(y, clf.predict(X))
    )
    tuned.fit(logits, y, np.ones(200))
    assert tuned.best_score_ > 0.3


def test_weights_under_metadata_routing():
    X, y = table(200)
    weight = 1.0 + y
    with sklearn.config_context(enable_metadata_routing=True):
        routed = TunedDecisionClassifierCV(LOGISTIC, cv=3).fit(X, y, weight)
    plain = TunedDecisionClassifierCV(LOGISTIC, cv=3).fit(X, y, weight)
    np.testing.assert_array_equal(routed.offsets_, plain.offsets_)


# -- ecosystem -------------------------------------------------------------------------------------


def test_in_a_search_and_around_a_pipeline():
    X, y = table(200)
    names = np.where(y == 1, "yes", "no")
    inner = make_pipeline(StandardScaler(), LogisticRegression(class_weight={"no": 1, "yes": 3}))
    search = GridSearchCV(
        TunedDecisionClassifierCV(inner, cv=3, n_candidates=20),
        {"estimator__logisticregression__C": [0.1, 1], "scoring": ["f1_macro"]},
        cv=2,
    ).fit(X, names)
    assert search.best_score_ > 0.7
    assert not hasattr(inner[-1], "coef_")


def test_folds_keep_the_labels():
    # cross_val_predict alone would turn -1 and 1 into 0 and 1, and lose the weight of -1
    X, y = table(200)
    y = 2 * y - 1
    inner = LogisticRegression(class_weight={-1: 1, 1: 30})
    offset = TunedDecisionClassifierCV(inner).fit(X, y).offsets_[1]
    same = LogisticRegression(class_weight={0: 1, 1: 30})
    assert offset == TunedDecisionClassifierCV(same).fit(X, (y + 1) // 2).offsets_[1]


@pytest.mark.slow
def test_seed_shuffles_and_decides_everything():
    X, y = table(200, class_sep=0.5)
    tuned = TunedDecisionClassifierCV(LOGISTIC, random_state=0)
    first, again = (clone(tuned).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.offsets_, again.offsets_)
    orders = {clone(tuned).set_params(random_state=s).fit(X, y).best_score_ for s in range(4)}
    assert len(orders) > 1
    splits = list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y))
    listed = TunedDecisionClassifierCV(LOGISTIC, cv=splits).fit(X, y)
    np.testing.assert_array_equal(listed.offsets_, first.offsets_)


def test_tags_follow_the_inner_estimator():
    tags = TunedDecisionClassifierCV(LOGISTIC).__sklearn_tags__()
    assert tags.input_tags.sparse == LOGISTIC.__sklearn_tags__().input_tags.sparse
    assert tags.classifier_tags.multi_class
    assert (
        TunedDecisionClassifierCV(RandomForestClassifier()).__sklearn_tags__().input_tags.allow_nan
    )


def test_methods_of_the_inner_estimator_only():
    forest = TunedDecisionClassifierCV(RandomForestClassifier())
    assert not hasattr(forest, "decision_function")
    assert hasattr(forest, "predict_log_proba")


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"estimator": LinearSVC()}, "'estimator' parameter .*'predict_proba'"),
        ({"scoring": "f1_makro"}, "'scoring' parameter"),
        ({"scoring": None}, "'scoring' parameter"),
        ({"n_candidates": 1}, "'n_candidates' parameter"),
        ({"max_passes": 0}, "'max_passes' parameter"),
        ({"n_resamples": -1}, "'n_resamples' parameter"),
        ({"constraint": ["recall>=0.8"]}, "'constraint' parameter"),
        ({"cv": 1.5}, "'cv' parameter"),
    ],
)
def test_bad_parameters(params, message):
    X, y = table(50)
    with pytest.raises(ValueError, match=message):
        TunedDecisionClassifierCV(**{"estimator": LOGISTIC, **params}).fit(X, y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(50), "one class"),
        (np.linspace(0, 1, 50), "Unknown label type"),
        (np.arange(100).reshape(50, 2) % 3, "multiclass-multioutput"),
        (np.zeros(49), "inconsistent numbers of samples"),
        (None, "requires y"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        TunedDecisionClassifierCV(LOGISTIC).fit(np.ones((50, 2)), y)


def test_nan_probabilities_are_an_error():
    logits, y = noisy_logits(50, [0.5, 0.5])
    logits[7] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        TunedDecisionClassifierCV(Given(), cv=2).fit(logits, y)


def test_every_class_is_too_rare_for_the_folds():
    with pytest.raises(ValueError, match="n_splits=5"):
        TunedDecisionClassifierCV(LOGISTIC).fit(np.eye(6), [0, 0, 0, 1, 1, 1])


def test_class_that_some_folds_never_see_is_warned_of():
    X, y = table(90, n_classes=3, rate=0.5)
    y[y == 2] = 1
    y[0] = 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tuned = TunedDecisionClassifierCV(LOGISTIC, cv=3, n_candidates=10).fit(X, y)
    assert any("has no row of the classes" in str(w.message) for w in caught)
    assert np.isfinite(tuned.offsets_).all()
