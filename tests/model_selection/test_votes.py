"""Thresholds that were found for single models of folds are kept by the majority of the models."""

import warnings

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_score, recall_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import imbtorch
from imbtorch import MLP, ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.model_selection import (
    CrossFittedClassifier,
    TunedDecisionClassifierCV,
    cross_fit,
)
from imbtorch.plotting import ThresholdDisplay

X, Y = make_classification(600, n_features=6, weights=[0.85], flip_y=0.1, random_state=0)
X = X.astype(np.float32)


def shares(models, rows, threshold, column=1):
    """The share of the models whose probability reaches the threshold."""
    return np.mean([m.predict_proba(rows)[:, column] >= threshold for m in models], axis=0)


def test_most_of_the_models_decide():
    folds = cross_fit(DecisionTreeClassifier(min_samples_leaf=10, random_state=0), X, Y, cv=5)
    tuned = TunedDecisionClassifierCV(folds, cv="oof", constraint="recall>=0.8").fit(X, Y)
    expected = shares(folds.estimators_, X, tuned.thresholds_[0]) > 0.5
    np.testing.assert_array_equal(tuned.predict(X), expected)
    by_mean = folds.predict_proba(X)[:, 1] >= tuned.thresholds_[0]
    assert (by_mean != expected).any()  # or the test could not fail


def test_a_tuned_score_too():
    folds = cross_fit(DecisionTreeClassifier(min_samples_leaf=10, random_state=0), X, Y, cv=5)
    tuned = TunedDecisionClassifierCV(folds, cv="oof", scoring="f1").fit(X, Y)
    odds = [
        np.log(m.predict_proba(X)[:, 1] + 1e-12) - np.log(m.predict_proba(X)[:, 0] + 1e-12)
        for m in folds.estimators_
    ]
    expected = np.mean([z + tuned.offsets_[1] > 0 for z in odds], axis=0) > 0.5
    np.testing.assert_array_equal(tuned.predict(X), expected)


def test_each_label_is_decided_by_most_of_the_models():
    labels = np.column_stack([Y, X[:, 0] > 0.5]).astype(int)
    folds = cross_fit(DecisionTreeClassifier(min_samples_leaf=10, random_state=0), X, labels, cv=5)
    tuned = TunedDecisionClassifierCV(folds, cv="oof", constraint="recall>=0.8").fit(X, labels)
    for label, threshold in enumerate(tuned.thresholds_):
        each = [m.predict_proba(X)[label][:, 1] >= threshold for m in folds.estimators_]
        np.testing.assert_array_equal(tuned.predict(X)[:, label], np.mean(each, axis=0) > 0.5)


@pytest.mark.parametrize(
    "params",
    [
        {"cv": 3, "constraint": "recall>=0.8"},  # one model decides
        {"cv": "oof", "constraint": "alarms<=50"},  # ranks rows, without a threshold
    ],
    ids=["refitted", "alarms"],
)
def test_decisions_without_thresholds_of_single_models_use_the_mean(params):
    estimator = cross_fit(LogisticRegression(), X, Y) if params["cv"] == "oof" else None
    tuned = TunedDecisionClassifierCV(estimator or LogisticRegression(), **params).fit(X, Y)
    flagged = tuned.predict(X).astype(bool)
    proba = tuned.predict_proba(X)[:, 1]
    assert proba[flagged].min() >= proba[~flagged].max()


def test_predictions_of_repeated_folds_are_means_already():
    cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    folds = cross_fit(DecisionTreeClassifier(min_samples_leaf=10, random_state=0), X, Y, cv=cv)
    tuned = TunedDecisionClassifierCV(folds, cv="oof", constraint="recall>=0.8").fit(X, Y)
    by_mean = folds.predict_proba(X)[:, 1] >= tuned.thresholds_[0]
    np.testing.assert_array_equal(tuned.predict(X), by_mean)


@pytest.fixture(scope="module")
def ensemble():
    net = ImbalancedNetClassifier(MLP((8,)), max_epochs=6, lr=0.03, random_state=0)
    return NetEnsembleClassifier(net, 4, subset="folds", random_state=0).fit(X, Y)


@pytest.mark.parametrize("behind_a_step", [False, True])
def test_the_display_shows_what_the_threshold_is_compared_with(behind_a_step):
    plt = pytest.importorskip("matplotlib.pyplot")
    folds = CrossFittedClassifier(DecisionTreeClassifier(min_samples_leaf=10, random_state=0))
    tuned = TunedDecisionClassifierCV(folds, cv="oof", constraint="recall>=0.8")
    model = make_pipeline(StandardScaler(), tuned) if behind_a_step else tuned
    model.fit(X[:300], Y[:300])
    rows, truth = X[300:], Y[300:]
    display = ThresholdDisplay.from_estimator(model, rows, truth, metrics=["recall", "precision"])
    plt.close(display.figure_)
    place = np.searchsorted(display.thresholds, display.threshold)
    flagged = model.predict(rows)
    assert display.curves["recall"][place] == recall_score(truth, flagged)
    assert display.curves["precision"][place] == precision_score(truth, flagged)


@pytest.mark.parametrize("settings", [{"constraint": "recall>=0.9"}, {"scoring": "f1"}], ids=str)
def test_files_decide_as_the_estimator_does(ensemble, settings, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    tuned = TunedDecisionClassifierCV(ensemble, cv="oof", **settings).fit(X, Y)
    expected = tuned.predict(X)
    imbtorch.save(tuned, tmp_path / "tuned")
    np.testing.assert_array_equal(imbtorch.load(tmp_path / "tuned").predict(X), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imbtorch.to_onnx(tuned, tmp_path / "tuned.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "tuned.onnx")
    proba, label = session.run(["probabilities", "label"], {"X": X})
    np.testing.assert_allclose(proba, tuned.predict_proba(X), atol=1e-5)
    assert np.mean(label != expected) < 0.005  # float32 at the threshold
    medians = np.median([m.predict_proba(X)[:, 1] for m in ensemble.estimators_], axis=0)
    assert np.ptp(medians - proba[:, 1]) > 1e-3


class Waves(ClassifierMixin, BaseEstimator):
    """A model that is right but for waves, which differ with the rows that it was fitted to."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        rng = np.random.default_rng(int(1e6 * abs(X[:, 0].sum())))
        self.direction_ = rng.normal(size=X.shape[1]) * 5
        return self

    def predict_proba(self, X):
        z = 2 * X[:, 0] + 3 * np.sin(X @ self.direction_)
        return np.stack([expit(-z), expit(z)], axis=1)


def draw(seed, n):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.05).astype(int)
    rows = rng.normal(size=(n, 3))
    rows[:, 0] += 3 * y - 1
    return rows, y


def test_a_recall_that_is_promised_is_kept_by_models_that_differ():
    kept, by_mean = [], []
    for seed in range(200):
        folds = cross_fit(Waves(), *draw(seed, 1500), random_state=seed)
        tuned = TunedDecisionClassifierCV(
            folds, cv="oof", constraint="recall>=0.6", confidence=0.9
        ).fit(*draw(seed, 1500))
        rows, truth = draw(10_000 + seed, 20_000)
        rare = truth == 1
        kept.append(tuned.predict(rows)[rare].mean() >= 0.6)
        mean = folds.predict_proba(rows)[:, 1] >= tuned.thresholds_[0]
        by_mean.append(mean[rare].mean() >= 0.6)
    assert np.mean(kept) >= 0.86  # 0.9, less two standard errors of 200 draws
    assert np.mean(by_mean) < 0.8  # the mean of the models is less extreme than each of them
