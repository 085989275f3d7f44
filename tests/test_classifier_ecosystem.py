"""Beside scikit-learn's and imbalanced-learn's own objects."""

import numpy as np
import pytest
import sklearn
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline as ImblearnPipeline
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from torch import nn

from imbtorch import MLP, DivergenceError, ImbalancedNetClassifier
from tests.toy import overlapping, parameters_of, small, table

X, Y = table()


# -- what it says about itself ---------------------------------------------------------------------


def test_tags_say_what_it_accepts():
    tags = get_tags(ImbalancedNetClassifier())
    assert tags.estimator_type == "classifier"
    assert tags.target_tags.required
    assert tags.target_tags.multi_output
    assert tags.classifier_tags.multi_label
    assert tags.classifier_tags.multi_class
    assert not tags.classifier_tags.poor_score
    assert tags.input_tags.sparse
    assert tags.input_tags.three_d_array
    assert is_classifier(ImbalancedNetClassifier())


@pytest.mark.parametrize(
    ("params", "reads_tables"),
    [
        ({}, True),
        ({"features": "table", "module": nn.Linear(3, 2)}, True),
        ({"features": None}, False),
        ({"module": nn.Linear(3, 2)}, False),
    ],
)
def test_tags_say_whether_it_reads_tables(params, reads_tables):
    tags = get_tags(ImbalancedNetClassifier(**params)).input_tags
    assert tags.allow_nan == tags.string == tags.categorical == reads_tables


@pytest.mark.slow
def test_html_of_the_estimator_shows_its_parameters():
    html = small(loss="focal").fit(X, Y)._repr_html_()
    assert "ImbalancedNetClassifier" in html
    assert "focal" in html


def test_text_shows_what_differs_from_the_defaults():
    clf = ImbalancedNetClassifier(loss="focal").set_params(loss__gamma=1.0)
    assert repr(clf) == "ImbalancedNetClassifier(loss=FocalLoss(gamma=1.0))"


def test_fitted_attributes():
    clf = small().fit(X, Y)
    for name in (
        "classes_", "class_counts_", "class_prior_", "effective_prior_", "class_weight_",
        "module_", "loss_", "net_", "history_", "n_iter_", "n_features_in_", "device_",
        "interrupted_",
    ):  # fmt: skip
        assert hasattr(clf, name)
        assert not hasattr(small(), name)


# -- meta-estimators -------------------------------------------------------------------------------


def test_score_takes_sample_weight():
    clf = small().fit(X, Y)
    wrong = (clf.predict(X) != Y).astype(float)
    assert wrong.any()
    assert clf.score(X, Y, sample_weight=wrong) == 0


def test_cross_val_predict_gives_probabilities():
    proba = cross_val_predict(
        small(max_epochs=20, lr=0.02), X, np.array(["no", "yes"])[Y], cv=3, method="predict_proba"
    )
    assert roc_auc_score(Y, proba[:, 1]) > 0.9


def test_calibrated_classifier_wraps_a_loss_without_posterior():
    X, y = overlapping(1200, 0.1)
    raw = small(loss=nn.MultiMarginLoss(), class_weight="balanced", max_epochs=5)
    calibrated = CalibratedClassifierCV(raw, method="sigmoid", cv=3).fit(X, y)
    assert raw.fit(X, y).predict_proba(X)[:, 1].mean() > 0.25
    assert calibrated.predict_proba(X)[:, 1].mean() == pytest.approx(0.1, abs=0.02)


def test_tuned_threshold_finds_one():
    X, y = overlapping(1200, 0.05)
    clf = small(loss="cross_entropy", max_epochs=5, lr=0.02)
    tuned = TunedThresholdClassifierCV(clf, scoring="balanced_accuracy", cv=3).fit(X, y)
    assert tuned.best_threshold_ < 0.2
    assert np.mean(tuned.predict(X)[y == 1]) > np.mean(clf.fit(X, y).predict(X)[y == 1])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda clf: VotingClassifier([("a", clf), ("b", clf)], voting="soft"),
        lambda clf: BaggingClassifier(clf, n_estimators=2, random_state=0),
        OneVsRestClassifier,
    ],
    ids=["voting", "bagging", "one against the rest"],
)
def test_ensembles_of_scikit_learn_hold_it(wrap):
    assert wrap(small(max_epochs=20, lr=0.02)).fit(X, Y).score(X, Y) > 0.85


def test_pipeline_with_scaler_weighs_by_step_parameter():
    pipeline = make_pipeline(StandardScaler(), small(dtype="float64"))
    weights = np.where(Y == 1, 3.0, 1.0)
    pipeline.fit(X, Y, imbalancednetclassifier__sample_weight=weights)
    direct = small(dtype="float64").fit(StandardScaler().fit_transform(X), Y, sample_weight=weights)
    np.testing.assert_allclose(parameters_of(pipeline[-1]), parameters_of(direct))


@pytest.mark.slow
def test_one_grid_compares_losses_and_smote():
    pipeline = ImblearnPipeline(
        [
            ("scale", StandardScaler()),
            ("sample", "passthrough"),
            ("net", small(max_epochs=15, lr=0.02)),
        ]
    )
    grid = [
        {"net__loss": ["cross_entropy", "focal"], "net__class_weight": [None, "balanced"]},
        {"net__loss": ["cross_entropy"], "sample": [SMOTE(random_state=0)]},
        {"net__loss": ["cross_entropy"], "net__sampler": [SMOTE()]},
        {"net__loss": ["focal"], "net__loss__gamma": [0.5]},
    ]
    search = GridSearchCV(
        pipeline, grid, scoring="average_precision", cv=3, error_score="raise"
    ).fit(X, Y)
    assert len(search.cv_results_["params"]) == 7
    assert average_precision_score(Y, search.decision_function(X)) > 0.8


def test_text_as_sparse_counts_is_learned():
    words = ["cheap pills now"] * 10 + ["see you at lunch"] * 40
    labels = ["spam"] * 10 + ["ham"] * 40
    pipeline = make_pipeline(HashingVectorizer(n_features=2**10), small(lr=0.05, max_epochs=10))
    assert pipeline.fit(words, labels).predict(["pills", "lunch"]).tolist() == ["spam", "ham"]


# -- metadata routing ------------------------------------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_sample_weight_is_routed_through_a_search_of_a_pipeline(monkeypatch):
    seen = []
    original = ImbalancedNetClassifier._prepare_fit

    def record(self, X, y, sample_weight, **options):
        seen.append(sample_weight)
        return original(self, X, y, sample_weight, **options)

    monkeypatch.setattr(ImbalancedNetClassifier, "_prepare_fit", record)
    weights = np.linspace(1, 2, len(Y))
    clf = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    # older versions of scikit-learn ask the pipeline, too
    pipeline = make_pipeline(scaler, clf).set_score_request(sample_weight=True)
    params = {"sample_weight": weights}
    cross_validate(pipeline, X, Y, cv=2, params=params, error_score="raise")
    assert [len(part) for part in seen] == [150, 150]
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), weights)


@pytest.mark.usefixtures("routing")
def test_requests_exist_for_every_method_that_takes_weights():
    clf = small().set_fit_request(sample_weight=True)
    clf.set_partial_fit_request(sample_weight=True, classes=True)
    clf.set_score_request(sample_weight=False)
    assert clf.get_metadata_routing().fit.requests["sample_weight"] is True


# -- callbacks of scikit-learn ---------------------------------------------------------------------


class RecordingCallback:
    """Counts the epochs of a fit; asks to stop after ``stop_after``."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.log = []

    def setup(self, estimator, context):
        self.log.append("setup")

    def teardown(self, estimator, context):
        self.log.append("teardown")

    def on_fit_task_begin(self, estimator, context, **kwargs):
        self.log.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, **kwargs):
        fitted = kwargs.get("fitted_estimator")
        self.log.append(f"end {context.task_name}")
        if context.task_name == "epoch" and fitted is not None:
            assert fitted.predict(X).shape == Y.shape
        return self.log.count("end epoch") == self.stop_after


needs_callbacks = pytest.mark.skipif(
    not hasattr(ImbalancedNetClassifier, "set_callbacks"),
    reason="callbacks came with scikit-learn 1.9",
)


@needs_callbacks
def test_callback_sees_every_epoch():
    callback = RecordingCallback()
    clf = small(max_epochs=3).set_callbacks(callback).fit(X, Y)
    assert callback.log.count("begin epoch") == callback.log.count("end epoch") == 3
    assert callback.log[0] == "setup"
    assert callback.log[-1] == "teardown"
    assert clf.n_iter_ == 3


@needs_callbacks
def test_callback_ends_the_training():
    clf = small(max_epochs=9).set_callbacks(RecordingCallback(stop_after=2)).fit(X, Y)
    assert clf.n_iter_ == 2


@needs_callbacks
def test_callback_is_torn_down_after_an_error():
    callback = RecordingCallback()
    with pytest.raises(ValueError, match="diverged"):
        small(lr=1e25).set_callbacks(callback).fit(X, Y)
    assert callback.log[-1] == "teardown"


@needs_callbacks
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("frame", [False, True])
def test_scoring_monitor_scores_every_epoch(frame):
    from sklearn.callback import ScoringMonitor

    data = pytest.importorskip("pandas").DataFrame(X, columns=list("abcde")) if frame else X
    monitor = ScoringMonitor(scoring="roc_auc")
    clf = small(max_epochs=3).set_callbacks(monitor).fit(data, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 3
    assert rows[-1]["roc_auc"] == pytest.approx(roc_auc_score(Y, clf.decision_function(data)))


@needs_callbacks
def test_divergence_is_reported_past_a_scoring_monitor():
    from sklearn.callback import ScoringMonitor

    with pytest.raises(DivergenceError):
        small(lr=1e25).set_callbacks(ScoringMonitor(scoring="roc_auc")).fit(X, Y)


@needs_callbacks
def test_callback_does_not_change_the_training():
    plain = small().fit(X, Y)
    watched = small().set_callbacks(RecordingCallback()).fit(X, Y)
    np.testing.assert_array_equal(parameters_of(watched), parameters_of(plain))


# -- size ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_thousand_classes():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(10_000), 2)
    X = rng.normal(size=(20_000, 8)).astype(np.float32)
    clf = ImbalancedNetClassifier(
        MLP((16,)), loss="cross_entropy", class_weight="balanced", max_epochs=1, random_state=0
    ).fit(X, 3 * y)
    assert clf.classes_[-1] == 29_997
    assert clf.predict_proba(X[:5]).shape == (5, 10_000)
