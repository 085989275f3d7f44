"""What happens between epochs: divergence, early stopping, the progress bar."""

import re
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import average_precision_score, make_scorer
from sklearn.model_selection import GridSearchCV
from torch import nn
from tqdm import tqdm

from imbtorch import (
    MLP,
    DivergenceError,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
)
from imbtorch.training.callbacks import BestEpoch
from tests.toy import parameters_of, plain_columns, small, table

X, Y = table()


class Failing(nn.Module):
    """Returns NaN from training step ``at`` on, or lets one gradient be NaN there."""

    def __init__(self, input_shape, n_outputs, at=10**9, gradient=False):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)
        self.at, self.gradient = at, gradient
        self.step = 0

    def forward(self, x):
        output = self.layer(x)
        if self.training:
            self.step += 1
            if self.gradient and self.step == self.at:
                output.register_hook(lambda gradient: gradient * float("nan"))
            elif not self.gradient and self.step >= self.at:
                output = output * float("nan")
        return output


def failing(at, gradient=False):
    return lambda input_shape, n_outputs: Failing(input_shape, n_outputs, at, gradient)


def steps(**params):
    """Return a classifier of 10 steps per epoch."""
    return small(**{"batch_size": 30, "max_epochs": 4, "optimizer": "sgd", **params})


DIVERGING = {
    "learning rate": {"lr": 1e20, "lr_schedule": "constant", "optimizer": "adamw"},
    "module that returns NaN": {"module": failing(15)},
    "one NaN gradient in the last batch": {"module": failing(40, gradient=True)},
}


@pytest.mark.parametrize("name", sorted(DIVERGING))
def test_divergence_is_an_error_by_default(name):
    clf = steps(**DIVERGING[name])
    with pytest.raises(DivergenceError, match="epoch") as caught:
        clf.fit(X, Y)
    assert re.search(r"learning rate \S+, largest gradient \S+", str(caught.value))
    assert isinstance(caught.value, ValueError)
    assert not hasattr(clf, "classes_")


def test_error_names_the_epoch_in_which_it_happened():
    with pytest.raises(DivergenceError, match="in epoch 2: train loss nan"):
        steps(module=failing(15)).fit(X, Y)


@pytest.mark.parametrize("name", sorted(DIVERGING))
def test_restore_goes_back_to_the_last_finite_epoch(name):
    clf = steps(on_divergence="restore", **DIVERGING[name])
    with pytest.warns(UserWarning, match="diverged.*restored"):
        clf.fit(X, Y)
    assert np.isfinite(parameters_of(clf)).all()
    assert np.isfinite(clf.predict_proba(X)).all()


def test_restored_weights_are_those_at_the_end_of_the_epoch_before():
    with pytest.warns(UserWarning, match="restored"):
        clf = steps(on_divergence="restore", module=failing(25), lr_schedule="constant").fit(X, Y)
    expected = steps(module=failing(10**9), lr_schedule="constant", max_epochs=2).fit(X, Y)
    np.testing.assert_array_equal(parameters_of(clf), parameters_of(expected))


def test_warn_stops_and_leaves_the_weights():
    with pytest.warns(UserWarning, match="diverged") as caught:
        clf = steps(on_divergence="warn", module=failing(5, gradient=True)).fit(X, Y)
    assert "restored" not in str(caught[0].message)
    assert clf.n_iter_ == 1
    assert np.isnan(parameters_of(clf)).any()


@pytest.mark.parametrize("callbacks", [None, []])
def test_finite_training_is_not_disturbed(callbacks):
    results = [
        parameters_of(steps(on_divergence=action, callbacks=callbacks).fit(X, Y))
        for action in ("raise", "restore", "warn")
    ]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_training_can_go_on_after_a_restore():
    clf = steps(on_divergence="restore", optimizer="adamw").partial_fit(X, Y, classes=[0, 1])
    with pytest.warns(UserWarning, match="restored"):
        clf.set_params(lr=1e30).partial_fit(X, Y)
    clf.set_params(lr=1e-3, on_divergence="raise").partial_fit(X, Y)
    assert np.isfinite(parameters_of(clf)).all()


def test_divergence_before_the_first_score_warns_once():
    with pytest.warns(UserWarning, match="diverged") as caught:
        clf = steps(on_divergence="restore", early_stopping=True, module=failing(2)).fit(X, Y)
    assert len(caught) == 1
    assert np.isfinite(parameters_of(clf)).all()


def test_diverging_candidate_of_a_search_gets_the_error_score():
    search = GridSearchCV(
        small(lr_schedule="constant"), {"lr": [1e-2, 1e20]}, cv=2, error_score=-1.0
    )
    with pytest.warns(FitFailedWarning, match="(?s)2 fits failed.*DivergenceError"):
        search.fit(X, Y)
    scores = search.cv_results_["mean_test_score"]
    assert scores[1] == -1
    assert scores[0] > 0
    assert search.best_params_ == {"lr": 1e-2}


# -- early stopping --------------------------------------------------------------------------------


def scores_in_turn(values, seen=None):
    """Return a scorer that gives these values, and remembers the weights it saw."""
    turns = iter(values)

    def score(estimator, X, y):
        if seen is not None:
            seen.append((parameters_of(estimator).copy(), len(X)))
        return next(turns)

    return score


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_when_patience_ends(patience):
    values = [0.1, 0.5, *[0.2] * 20]
    clf = small(
        early_stopping=True, patience=patience, scoring=scores_in_turn(values), max_epochs=20
    ).fit(X, Y)
    assert clf.n_iter_ == 2 + patience
    assert clf.history_[:, "valid_score"] == values[: 2 + patience]


def test_best_epoch_is_restored():
    seen = []
    scoring = scores_in_turn([0.3, 0.9, 0.5, 0.4, 0.1], seen)
    clf = small(early_stopping=True, scoring=scoring, max_epochs=5, patience=10).fit(X, Y)
    assert clf.n_iter_ == 5
    np.testing.assert_array_equal(parameters_of(clf), seen[1][0])
    assert not np.array_equal(seen[1][0], seen[4][0])


def test_best_epoch_is_restored_with_its_batch_statistics():
    from imbtorch import MLP

    clf = small(
        MLP((4,), normalization="batch"), early_stopping=True, max_epochs=3,
        scoring=scores_in_turn([0.9, 0.1, 0.1]), batch_size=27, features=plain_columns(),
    ).fit(X, Y)  # fmt: skip
    assert clf.net_.module_[1].num_batches_tracked == 10  # of the first epoch alone


def test_score_in_the_history_is_that_of_the_model_returned():
    data = {}

    def score(estimator, X, y):
        data.update(X=X, y=y)
        return estimator.score(X, y)

    clf = small(early_stopping=True, scoring=score, max_epochs=8, patience=2).fit(X, Y)
    assert clf.score(data["X"], data["y"]) == max(clf.history_[:, "valid_score"])


def test_nan_does_not_win():
    nan, seen = float("nan"), []
    scoring = scores_in_turn([0.5, nan, 0.4, nan], seen)
    clf = small(early_stopping=True, scoring=scoring, patience=3, max_epochs=9).fit(X, Y)
    assert clf.history_[:, "valid_score_best"] == [True, False, False, False]
    np.testing.assert_array_equal(parameters_of(clf), seen[0][0])


def test_of_epochs_that_score_the_same_the_latest_is_kept():
    seen = []
    scoring = scores_in_turn([0.2, 0.9, 0.9, 0.5, 0.1], seen)
    clf = small(early_stopping=True, scoring=scoring, patience=9, max_epochs=5).fit(X, Y)
    np.testing.assert_array_equal(parameters_of(clf), seen[2][0])


def test_equal_scores_do_not_renew_the_patience():
    scoring = scores_in_turn([0.5] * 20)
    clf = small(early_stopping=True, scoring=scoring, patience=3, max_epochs=20).fit(X, Y)
    assert clf.n_iter_ == 4


@pytest.mark.filterwarnings("ignore:Early stopping had nothing to compare")
def test_score_that_is_always_nan_trains_to_the_end():
    clf = small(
        early_stopping=True, scoring=scores_in_turn([float("nan")] * 30), patience=3, max_epochs=9
    ).fit(X, Y)
    assert clf.n_iter_ == 9
    assert np.isfinite(clf.predict_proba(X)).all()


def test_score_that_is_always_nan_is_not_silent():
    clf = small(early_stopping=True, scoring=scores_in_turn([float("nan")] * 30), patience=3)
    with pytest.warns(UserWarning, match="(?i)nan"):
        clf.fit(X, Y)


def test_class_with_a_single_row_stays_in_the_training_part_with_a_warning():
    y = np.where(Y == 1, "yes", "no").astype(object)
    y[0] = "one"
    with pytest.warns(UserWarning, match=r"\['one'\].*training part"):
        clf = small(early_stopping=True).fit(X, y)
    assert clf.class_counts_[clf.classes_.tolist().index("one")] == 1
    assert np.isfinite(clf.history_[:, "valid_score"]).all()


@pytest.mark.filterwarnings("ignore:The classes")
def test_nothing_to_validate_on_is_a_clear_error():
    with pytest.raises(ValueError, match=r"two rows.*early_stopping=False"):
        small(early_stopping=True).fit(X[:3], ["a", "b", "c"])


@pytest.mark.parametrize("fraction", [1e-9, 0.5, 1 - 1e-9])
def test_every_class_is_on_both_sides_whatever_the_fraction(fraction):
    labels = set()

    def score(estimator, X, y):
        labels.update(y.tolist())
        return 0.5

    clf = small(validation_fraction=fraction, scoring=score).fit(X, Y)
    assert (clf.class_counts_ >= 1).all()
    assert labels == {0, 1}


def test_validation_without_early_stopping_scores_but_neither_stops_nor_restores():
    seen = []
    scoring = scores_in_turn([0.9, 0.1, 0.1, 0.1], seen)
    clf = small(validation_fraction=0.25, scoring=scoring, patience=1, max_epochs=4).fit(X, Y)
    assert clf.n_iter_ == 4
    np.testing.assert_array_equal(parameters_of(clf), seen[-1][0])
    assert {n for _, n in seen} == {75}


def test_early_stopping_holds_out_a_tenth_by_itself():
    seen = []
    small(early_stopping=True, scoring=scores_in_turn([0.1] * 9, seen)).fit(X, Y)
    assert {n for _, n in seen} == {30}


@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss", "balanced_accuracy", None])
@pytest.mark.parametrize("labels", [(0, 1), ("no", "yes")])
def test_scorers_by_name(scoring, labels):
    clf = small(early_stopping=True, scoring=scoring).fit(X, np.array(labels)[Y])
    assert np.isfinite(clf.history_[:, "valid_score"]).all()


@pytest.mark.parametrize("rare", [0, 1])
def test_default_score_is_the_average_precision_of_the_rare_class(rare):
    def of_the_rare_class(estimator, X, y):
        scores = estimator.decision_function(X)
        return average_precision_score(y == rare, scores if rare == 1 else -scores)

    y = Y if rare == 1 else 1 - Y  # class 1 is the rare one of Y
    by_default = small(validation_fraction=0.3).fit(X, y)
    explicit = small(validation_fraction=0.3, scoring=of_the_rare_class).fit(X, y)
    assert by_default.history_[:, "valid_score"] == explicit.history_[:, "valid_score"]


def test_default_score_of_several_classes_is_their_mean():
    X, y = table(n_classes=3)
    scores = small(early_stopping=True).fit(X, y).history_[:, "valid_score"]
    assert all(0 < score <= 1 for score in scores)


def test_unknown_scorer_is_an_error():
    with pytest.raises(ValueError, match="not_a_scorer"):
        small(early_stopping=True, scoring="not_a_scorer").fit(X, Y)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("scoring", [None, "roc_auc"])
def test_scoring_of_a_data_frame_is_silent(scoring):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcde"))
    clf = small(early_stopping=True, scoring=scoring).fit(frame, Y)
    assert list(clf.feature_names_in_) == list("abcde")


def test_best_epoch_without_improvement_restores_nothing():
    monitor = BestEpoch(lambda: -float("inf"), 2)
    net = nn.Linear(1, 1)
    assert not monitor.epoch_end(net, {"epoch": 1})
    with pytest.warns(UserWarning, match="nothing to compare"):
        monitor.end(net, completed=True)
    assert monitor.weights is None


# -- progress --------------------------------------------------------------------------------------


def test_progress_bar_tells_epochs_loss_rate_and_time_left(capfd):
    small(verbose=1, max_epochs=3).fit(X, Y)
    text = "".join(capfd.readouterr())
    assert "3/3" in text
    assert "loss=" in text
    assert "rows/s=" in text
    assert "score=" not in text
    assert "<" in text  # elapsed<left


def test_progress_bar_tells_the_validation_score(capfd):
    small(verbose=1, validation_fraction=0.2).fit(X, Y)
    assert "score=" in "".join(capfd.readouterr())


def test_progress_bar_is_closed_after_an_error():
    with pytest.raises(DivergenceError):
        steps(verbose=1, module=failing(15)).fit(X, Y)
    assert not tqdm._instances


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"callbacks": []}])
def test_training_is_silent_by_default(capfd, params):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(**params).fit(X, Y).predict(X)
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
def test_divergence_is_noticed_on_the_device():
    with pytest.raises(DivergenceError):
        steps(device="cuda", module=failing(15)).fit(X, Y)
    assert torch.cuda.is_available()


# -- weights of the score --------------------------------------------------------------------------

DOUBTED = np.random.default_rng(0).random(len(Y)) < 0.5
NOISY, TRUST = np.where(DOUBTED, 1 - Y, Y), np.where(DOUBTED, 1e-6, 1.0)


def precision_of(estimator, X, y, sample_weight=None):
    scores = estimator.decision_function(X)
    return average_precision_score(y, scores, sample_weight=sample_weight)


WAYS = {
    "a name": "average_precision",
    "make_scorer": make_scorer(average_precision_score, response_method="decision_function"),
    "a callable": precision_of,
    "a partial": partial(precision_of),
}


@pytest.mark.parametrize("way", WAYS)
def test_sample_weights_reach_the_scorer_however_it_is_given(way):
    by_default = small(validation_fraction=0.3, loss="cross_entropy").fit(X, NOISY, TRUST)
    clf = small(validation_fraction=0.3, loss="cross_entropy", scoring=WAYS[way])
    clf.fit(X, NOISY, sample_weight=TRUST)
    expected = by_default.history_[:, "valid_score"]
    np.testing.assert_allclose(clf.history_[:, "valid_score"], expected, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_members_of_an_ensemble_score_with_the_weights(way):
    clf = small(early_stopping=True, scoring=WAYS[way], max_epochs=1)
    found = NetEnsembleClassifier(clf, 2, subset="all", random_state=0)
    default = NetEnsembleClassifier(clone(clf).set_params(scoring=None), 2, subset="all",
                                            random_state=0)  # fmt: skip
    for a, b in zip(
        found.fit(X, NOISY, TRUST).estimators_,
        default.fit(X, NOISY, TRUST).estimators_,
        strict=True,
    ):
        assert a.history_[0, "valid_score"] == pytest.approx(b.history_[0, "valid_score"])


def test_a_regressor_gives_the_scorer_the_sample_weights_without_density_weights():
    seen = []

    def score(estimator, X, y, sample_weight=None):
        seen.append(sample_weight)
        return 0.0

    values = X[:, 0] ** 3
    weight = np.arange(len(values)) % 3 + 1.0
    params = {"max_epochs": 1, "early_stopping": True, "random_state": 0, "scoring": score}
    ImbalancedNetRegressor(MLP((4,)), density_weight="lds", **params).fit(X, values, weight)
    assert set(seen[0]) == {1.0, 2.0, 3.0}
    ImbalancedNetRegressor(MLP((4,)), **params).fit(X, values)
    assert seen[1] is None


def test_a_scorer_without_weights_is_called_without_them():
    seen = []
    small(early_stopping=True, scoring=scores_in_turn([0.1] * 9, seen)).fit(X, Y, TRUST)
    assert len(seen) == 2
