"""Cross-fitting: what each row is predicted by, and what the meta-estimators make of it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_classification, make_multilabel_classification
from sklearn.ensemble import IsolationForest, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import ImbalancedNetClassifier, ImbalancedNetRegressor
from imbtorch.model_selection import (
    CrossFittedClassifier,
    CrossFittedRegressor,
    ScaledClassifierCV,
    TunedDecisionClassifierCV,
    cross_fit,
)

X, Y = make_classification(300, weights=[0.8], random_state=0)
GROUPS = np.arange(300) // 10
LOGISTIC = LogisticRegression()


def net(**params):
    return ImbalancedNetClassifier(**{"max_epochs": 2, "random_state": 0, **params})


def test_folds_of_nets_are_a_stack_with_the_results_of_separate_fits():
    folds = cross_fit(net(), X, Y, cv=3)
    expected = np.empty((300, 2))
    for train, test in StratifiedKFold(3).split(X, Y):
        expected[test] = net().fit(X[train], Y[train]).predict_proba(X[test])
    np.testing.assert_allclose(folds.oof_predict_proba_, expected, rtol=0, atol=1e-5)
    assert folds.oof_rows_.tolist() == list(range(300))


def test_no_row_is_predicted_by_a_model_that_saw_it():
    labels = np.random.default_rng(0).integers(0, 2, 300)
    memory = KNeighborsClassifier(1)
    assert memory.fit(X, labels).score(X, labels) == 1
    folds = cross_fit(memory, X, labels, cv=5, random_state=0)
    right = folds.oof_predict_proba_.argmax(axis=1) == labels
    assert right.mean() < 0.65


def test_groups_are_never_shared():
    folds = cross_fit(LOGISTIC, X, Y, cv=GroupKFold(3), groups=GROUPS)
    for fold in folds.folds_:
        assert not set(GROUPS[fold.train]) & set(GROUPS[fold.test])


def test_rows_of_no_fold_and_of_several_folds():
    past = cross_fit(LOGISTIC, X, Y, cv=TimeSeriesSplit(3))
    assert np.isnan(past.oof_predict_proba_[: past.oof_rows_[0]]).all()
    assert np.isfinite(past.oof_predict_proba_[past.oof_rows_]).all()
    repeated = RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0)
    folds = cross_fit(LOGISTIC, X, Y, cv=repeated)
    seen = [fold for fold in folds.folds_ if 7 in fold.test]
    mean = np.mean([fold.estimator.predict_proba(X[7:8])[0] for fold in seen], axis=0)
    np.testing.assert_allclose(folds.oof_predict_proba_[7], mean)
    assert len(seen) == 2


def test_the_mean_of_the_folds_predicts():
    words = np.where(Y == 1, "rare", "common")
    folds = cross_fit(make_pipeline(StandardScaler(), LOGISTIC), X, words)
    mean = np.mean([e.predict_proba(X) for e in folds.estimators_], axis=0)
    np.testing.assert_allclose(folds.predict_proba(X), mean)
    assert set(folds.predict(X)) == {"rare", "common"}


def test_labels():
    features, labels = make_multilabel_classification(200, random_state=0)
    for estimator in (net(), KNeighborsClassifier()):
        folds = cross_fit(estimator, features, labels, cv=2)
        assert folds.oof_predict_proba_.shape == labels.shape
        assert folds.predict(features).shape == labels.shape


def test_class_that_a_fold_lacks_has_probability_zero_and_a_warning():
    y = np.repeat([0, 1, 2], 100)
    with pytest.warns(UserWarning, match="has no row of the classes"):
        folds = cross_fit(LOGISTIC, X, y, cv=[(np.arange(200), np.arange(200, 300))])
    np.testing.assert_array_equal(folds.oof_predict_proba_[200:, 2], 0)


# -- regressors ------------------------------------------------------------------------------------

VALUES = 10 * X[:, 0] + X[:, 1]
PAIRS = np.stack([VALUES, X[:, 2]], axis=1)


def regressor(**params):
    return ImbalancedNetRegressor(**{"max_epochs": 2, "random_state": 0, **params})


@pytest.mark.parametrize("y", [VALUES, PAIRS], ids=["vector", "two"])
@pytest.mark.parametrize("model", [regressor(), Ridge(), GridSearchCV(Ridge(), {"alpha": [1, 9]})])
def test_regressors_predict_as_separate_fits(model, y):
    folds = cross_fit(model, X, y, cv=3)
    assert isinstance(folds, CrossFittedRegressor)
    expected, fits = np.empty_like(y), []
    for train, test in KFold(3).split(X):
        fits.append(clone(model).fit(X[train], y[train]))
        expected[test] = fits[-1].predict(X[test])
    np.testing.assert_allclose(folds.oof_predict_, expected, rtol=1e-5, atol=1e-5)
    mean = np.mean([fit.predict(X) for fit in fits], axis=0)
    np.testing.assert_allclose(folds.predict(X), mean, rtol=1e-5, atol=1e-5)
    assert folds.oof_rows_.tolist() == list(range(300))
    assert folds.n_features_in_ == X.shape[1]


@pytest.mark.parametrize(
    ("cv", "groups"),
    [
        (None, None),
        (4, None),
        (GroupKFold(3), GROUPS),
        (TimeSeriesSplit(3), None),
        (RepeatedKFold(n_splits=2, n_repeats=2, random_state=0), None),
    ],
    ids=["five", "four", "groups", "time", "repeated"],
)
def test_no_value_is_predicted_by_a_model_that_saw_it(cv, groups):
    noise = np.random.default_rng(0).normal(size=300)
    memory = KNeighborsRegressor(1)
    assert memory.fit(X, noise).score(X, noise) == 1
    folds = cross_fit(memory, X, noise, cv=cv, groups=groups, random_state=0)
    known = folds.oof_rows_
    assert abs(np.corrcoef(folds.oof_predict_[known], noise[known])[0, 1]) < 0.25
    assert np.isnan(np.delete(folds.oof_predict_, known)).all()
    for fold in folds.folds_:
        assert not set(fold.train) & set(fold.test)
        assert groups is None or not set(groups[fold.train]) & set(groups[fold.test])


def test_weights_reach_the_regressors():
    weights = np.where(np.arange(300) < 200, 1.0, 0.0)
    folds = cross_fit(Ridge(), X, VALUES, cv=3, sample_weight=weights)
    for fold in folds.folds_:
        counted = fold.train[weights[fold.train] > 0]
        alone = Ridge().fit(X[counted], VALUES[counted])
        np.testing.assert_allclose(fold.estimator.coef_, alone.coef_)
    with pytest.raises(ValueError, match="[Nn]egative"):
        cross_fit(Ridge(), X, VALUES, sample_weight=-np.ones(300))


def test_one_column_of_targets_becomes_a_vector():
    with pytest.warns(UserWarning, match="1d array was expected"):
        folds = CrossFittedRegressor(RandomForestRegressor(2)).fit(X, VALUES[:, None])
    assert folds.oof_predict_.shape == folds.predict(X).shape == (300,)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.where(VALUES > 0, "a", "b"), "y holds words, but Ridge"),
        (np.where(VALUES > 0, VALUES, np.nan), "NaN"),
        (VALUES[:10], "inconsistent"),
        (None, "requires y"),
    ],
    ids=["words", "gaps", "short", "none"],
)
def test_wrong_targets_of_regressors_leave_the_former_fit(y, match):
    folds = cross_fit(Ridge(), X, VALUES, cv=3)
    state = dict(vars(folds))
    with pytest.raises(ValueError, match=match):
        folds.fit(X, y)
    assert vars(folds) == state


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (IsolationForest(), "IsolationForest is of the type 'outlier_detector'"),
        (KMeans(), "'clusterer'"),
        (GaussianMixture(), "'density_estimator'"),
        (StandardScaler(), "StandardScaler is a transformer"),
        (make_pipeline(StandardScaler(), KMeans()), "Pipeline is of the type 'clusterer'"),
        (LogisticRegression, "an instance of a classifier"),
        ("logistic", "an instance of a classifier"),
    ],
    ids=["outliers", "clusters", "density", "transformer", "pipeline", "class", "text"],
)
def test_other_types_of_estimators(model, match):
    with pytest.raises(TypeError, match=match):
        cross_fit(model, X, Y)


def test_classifiers_and_regressors_in_the_wrong_place():
    with pytest.raises(TypeError, match="use CrossFittedClassifier"):
        CrossFittedRegressor(LOGISTIC).fit(X, Y)
    with pytest.raises(ValueError, match="predict_proba"):
        CrossFittedClassifier(Ridge()).fit(X, Y)
    with pytest.raises(TypeError, match="'density_estimator'"):
        CrossFittedClassifier(GaussianMixture()).fit(X, Y)


@pytest.mark.parametrize("model", [LOGISTIC, Ridge()], ids=["classifier", "regressor"])
def test_groups_and_splits_that_do_not_fit(model):
    with pytest.raises(ValueError, match=r"cv=GroupKFold\(5\)"):
        cross_fit(model, X, Y, cv=3, groups=GROUPS)
    with pytest.raises(ValueError, match="no splits"):
        cross_fit(model, X, Y, cv=[])


def test_an_error_leaves_the_former_fit():
    folds = cross_fit(LOGISTIC, X, Y, cv=3)
    state = dict(vars(folds))

    class Broken(LogisticRegression):
        def predict_proba(self, X):
            raise ValueError("no probabilities")

    folds.estimator = Broken()
    with pytest.raises(ValueError, match="no probabilities"):
        folds.fit(X, Y)
    assert {**vars(folds), "estimator": LOGISTIC} == {**state, "estimator": LOGISTIC}


# -- meta-estimators -------------------------------------------------------------------------------


@pytest.mark.parametrize("meta", [TunedDecisionClassifierCV, ScaledClassifierCV])
def test_predictions_that_the_estimator_brings_along(meta):
    folds = cross_fit(LOGISTIC, X, Y, cv=3)
    with_folds = meta(folds, cv="oof").fit(X, Y)
    usual = meta(LOGISTIC, cv=3).fit(X, Y)
    assert with_folds.estimator_ is folds
    for name in ("offsets_", "temperature_"):
        if hasattr(usual, name):
            np.testing.assert_allclose(getattr(with_folds, name), getattr(usual, name))


@pytest.mark.parametrize("meta", [TunedDecisionClassifierCV, ScaledClassifierCV])
@pytest.mark.parametrize(
    ("cv", "groups"),
    [(TimeSeriesSplit(3), None), (ShuffleSplit(1, random_state=0), None), (GroupKFold(3), GROUPS)],
)
def test_splitters_that_leave_rows_out(meta, cv, groups):
    fitted = meta(LOGISTIC, cv=cv).fit(X, Y, groups=groups)
    assert fitted.predict(X).shape == (300,)
    np.testing.assert_allclose(fitted.estimator_.coef_, clone(LOGISTIC).fit(X, Y).coef_)


@pytest.mark.parametrize("meta", [TunedDecisionClassifierCV, ScaledClassifierCV])
def test_fitted_estimators(meta):
    fitted = LogisticRegression().fit(X[:150], Y[:150])
    tuned = meta(fitted, cv="prefit").fit(X[150:], Y[150:])
    assert tuned.estimator_ is fitted


def test_without_predictions_to_bring_along():
    with pytest.raises(ValueError, match=r"oof_predict_proba_.*cross_fit"):
        TunedDecisionClassifierCV(LOGISTIC, cv="oof").fit(X, Y)
    with pytest.raises(ValueError, match="300 rows, but X has 10"):
        TunedDecisionClassifierCV(cross_fit(LOGISTIC, X, Y), cv="oof").fit(X[:10], Y[:10])


# -- costs of each row -----------------------------------------------------------------------------


AMOUNT = np.random.default_rng(0).lognormal(4, 1, 300)


def costs_of(amount):
    costs = np.zeros((len(amount), 2, 2))
    costs[:, :, 1] = 10
    costs[:, 1, 0] = amount
    return costs


def test_costs_of_each_row_are_minimised():
    tuned = TunedDecisionClassifierCV(LOGISTIC).fit(X, Y, costs=costs_of(AMOUNT))
    flagged = tuned.predict(X, costs=costs_of(AMOUNT))
    np.testing.assert_array_equal(flagged, tuned.predict_proba(X)[:, 1] * AMOUNT > 10)


def test_costs_of_each_row_beat_every_threshold():
    tuned = TunedDecisionClassifierCV(LOGISTIC).fit(X, Y, costs=costs_of(AMOUNT))
    costs, rows = costs_of(AMOUNT), np.arange(300)
    own = costs[rows, Y, tuned.predict(X, costs=costs)].mean()
    scores = tuned.predict_proba(X)[:, 1]
    single = [costs[rows, Y, (scores > t).astype(int)].mean() for t in np.unique(scores)]
    assert own < min(single)


def test_costs_computed_from_the_features():
    def costs(rows):
        return costs_of(np.exp(rows[:, 0]) * 50)

    tuned = TunedDecisionClassifierCV(LOGISTIC).fit(X, Y, costs=costs)
    np.testing.assert_array_equal(tuned.predict(X), tuned.predict(X, costs=costs(X)))


def test_costs_restate_the_probabilities():
    tuned = TunedDecisionClassifierCV(net()).fit(X, Y, costs=costs_of(AMOUNT))
    assert tuned.estimator_.target_prior == "train"
    with pytest.raises(ValueError, match="target_prior"):
        TunedDecisionClassifierCV(net().fit(X, Y), cv="prefit").fit(X, Y, costs=costs_of(AMOUNT))


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        (np.zeros((300, 2)), "expected \\(300, 2, 2\\)"),
        (np.full((300, 2, 2), np.nan), "finite"),
        (np.zeros((5, 2, 2)), "expected \\(300, 2, 2\\)"),
    ],
)
def test_wrong_costs(costs, message):
    with pytest.raises(ValueError, match=message):
        TunedDecisionClassifierCV(LOGISTIC).fit(X, Y, costs=costs)


def test_costs_that_are_missing_or_come_too_late():
    tuned = TunedDecisionClassifierCV(LOGISTIC).fit(X, Y, costs=costs_of(AMOUNT))
    with pytest.raises(ValueError, match=r"predict\(X, costs="):
        tuned.predict(X)
    with pytest.raises(ValueError, match="fitted without costs"):
        TunedDecisionClassifierCV(LOGISTIC).fit(X, Y).predict(X, costs=costs_of(AMOUNT))


def test_costs_use_a_cross_fitted_model_that_describes_its_data():
    folds = cross_fit(LOGISTIC, X, Y, cv=3)
    tuned = TunedDecisionClassifierCV(folds, cv="oof").fit(X, Y, costs=costs_of(AMOUNT))
    assert tuned.estimator_ is folds
    wrong = cross_fit(LogisticRegression(class_weight="balanced"), X, Y, cv=3)
    with pytest.raises(ValueError, match="describe other class frequencies"):
        TunedDecisionClassifierCV(wrong, cv="oof").fit(X, Y, costs=costs_of(AMOUNT))


def test_rows_of_weight_zero_do_not_calibrate_sets():
    weights = np.where(np.arange(300) < 200, 1.0, 0.0)
    folds = CrossFittedClassifier(LOGISTIC, cv=3).fit(X, Y, weights)
    assert sum(len(scores) for fold in folds._scores for scores in fold) == 200


@pytest.mark.parametrize("meta", [TunedDecisionClassifierCV, ScaledClassifierCV])
def test_splits_that_predict_no_row_of_a_class(meta):
    y = np.repeat([0, 1, 2], 100)
    order = np.argsort(np.arange(300) % 100, kind="stable")  # classes in turn, then only 0 and 1
    late = np.concatenate([order[:150], order[150:][y[order[150:]] < 2]])
    splits = [(np.arange(150), np.flatnonzero(y[late] < 2)[-60:])]
    with pytest.raises(ValueError, match=r"No row of the classes \[2\]"):
        meta(LOGISTIC, cv=splits).fit(X[late], y[late])
