"""Ensembles of nets: their members, the mean, priors, and scikit-learn's conventions."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.special import logit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from imbtorch import (
    MLP,
    DivergenceError,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NotStackedWarning,
)
from imbtorch.priors import shift_prior
from imbtorch.samplers import BalancedSubsetSampler
from tests.toy import overlapping, parameters_of, small, table

pytestmark = pytest.mark.filterwarnings("ignore::imbtorch.DoubleCorrectionWarning")

N = 200
X, Y = table(N, rate=0.15)
THREE = table(N, n_classes=3, rate=0.5)[1]
LABELS = np.stack([Y, X[:, 0] > 0.5, X[:, 1] > 0], axis=1).astype(int)
SUBSETS = ["balanced", "bootstrap", "all"]
each_subset = pytest.mark.parametrize("subset", SUBSETS)


def net(**params):
    return small(**{"dtype": "float64", "batch_size": 16, "max_epochs": 4, "lr": 0.02, **params})


def fitted(y=Y, X=X, weight=None, n=3, subset="balanced", **params):
    clf = NetEnsembleClassifier(net(**params), n, subset=subset, random_state=0)
    return clf.fit(X, y, weight)


def mean_of(clf, X=X, method="predict_proba"):
    return np.mean([getattr(member, method)(X) for member in clf.estimators_], axis=0)


# -- members ---------------------------------------------------------------------------------------


@pytest.mark.matrix
@each_subset
@pytest.mark.parametrize("y", [Y, THREE], ids=["two", "three"])
def test_each_member_is_the_same_net_trained_alone(subset, y):
    clf = fitted(y, subset=subset, n=4)
    for member in clf.estimators_:
        assert isinstance(member, ImbalancedNetClassifier)
        alone = clone(member).fit(X, y)
        found, expected = parameters_of(member), parameters_of(alone)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(member.predict_proba(X), alone.predict_proba(X), atol=1e-8)
        assert (member.class_counts_ == alone.class_counts_).all()
        assert member.n_iter_ == 4
    numbers = [parameters_of(member) for member in clf.estimators_]
    assert all((numbers[i] != numbers[j]).any() for i in range(4) for j in range(i))
    assert len({member.random_state for member in clf.estimators_}) == 4


def test_members_of_every_option():
    options = {
        "early_stopping": True, "patience": 1, "max_epochs": 12, "averaging": 0.5, "loss": "focal",
        "loss__gamma": 1.0, "gradient_clipping": 0.5,
    }  # fmt: skip
    base = net().set_params(**options, module=MLP((8,), normalization="batch"))
    weight = np.random.default_rng(0).uniform(0.5, 2, N)
    clf = NetEnsembleClassifier(base, 3, subset="all", random_state=1).fit(X, Y, weight)
    for member in clf.estimators_:
        alone = clone(member).fit(X, Y, weight)
        np.testing.assert_allclose(member.predict_proba(X), alone.predict_proba(X), atol=1e-8)
    assert base.random_state == 0
    assert not hasattr(base, "net_")


def test_balanced_members_see_all_rare_rows_and_share_out_the_others():
    seen = []

    class Watching(BalancedSubsetSampler):
        def plan(self, codes, *args, **kwargs):
            plan = super().plan(codes, *args, **kwargs)
            seen.append(plan.order(0, 1))
            return plan

    X, y = overlapping(400, 0.05)
    base = net(sampler=Watching())
    NetEnsembleClassifier(base, 15, subset="all", random_state=0).fit(X, y)
    assert all((np.bincount(y[rows]) == 20).all() for rows in seen)
    rare = np.flatnonzero(y)
    assert all(set(rare) <= set(rows) for rows in seen)
    frequent = set(np.concatenate(seen)) - set(rare)
    assert len(frequent) > 190  # of 380


def test_one_member_is_a_net():
    clf = fitted(n=1)
    (member,) = clf.estimators_
    np.testing.assert_allclose(clf.predict_proba(X), member.predict_proba(X), rtol=1e-12)
    np.testing.assert_array_equal(clf.predict_std(X), 0)
    clf.estimators_ = [member] * 3  # who agree
    np.testing.assert_allclose(clf.predict_std(X), 0, atol=1e-12)
    np.testing.assert_allclose(clf.predict_proba(X), member.predict_proba(X), rtol=1e-12)


def test_default_members():
    X, y = table(100)
    clf = NetEnsembleClassifier(random_state=0).fit(X, y)
    assert len(clf.estimators_) == 10
    default = ImbalancedNetClassifier().get_params()
    for member in clf.estimators_:
        own = {k: v for k, v in member.get_params().items() if not k.startswith("sampler")}
        different = {k for k, v in own.items() if repr(v) != repr(default[k])}
        assert different == {"random_state"}
        assert isinstance(member.sampler, BalancedSubsetSampler)


def test_module_of_the_user_and_sequences():
    class Convolution(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.layer, self.last = nn.Conv1d(input_shape[0], 3, 3), nn.Linear(3, n_outputs)

        def forward(self, x):
            return self.last(torch.relu(self.layer(x)).mean(2))

    series = np.random.default_rng(0).normal(size=(N, 2, 7)) + Y[:, None, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = fitted(X=series, module=Convolution)
    np.testing.assert_allclose(clf.predict_proba(series), mean_of(clf, series), rtol=1e-8)
    rows = sparse.csr_array(X)
    expected = fitted(features=None).predict_proba(X)
    sparse_rows = fitted(X=rows, features=None).predict_proba(rows)
    np.testing.assert_allclose(sparse_rows, expected, rtol=1e-8)


class Recurrent(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer, self.last = nn.LSTM(1, 3, batch_first=True), nn.Linear(3, n_outputs)

    def forward(self, x):
        return self.last(self.layer(x.unsqueeze(2))[0][:, -1])


def test_members_that_cannot_be_stacked():
    with pytest.warns(NotStackedWarning, match="Recurrent") as caught:
        clf = fitted(module=Recurrent, max_epochs=1)
    assert len(caught) == 1
    np.testing.assert_allclose(clf.predict_proba(X), mean_of(clf), rtol=1e-8)
    alone = clone(clf.estimators_[1]).fit(X, Y)
    np.testing.assert_allclose(parameters_of(clf.estimators_[1]), parameters_of(alone), rtol=1e-8)


# -- predictions -----------------------------------------------------------------------------------


@each_subset
@pytest.mark.parametrize("y", [Y, THREE], ids=["two", "three"])
def test_probabilities_are_the_mean_of_the_members_probabilities(subset, y):
    clf = fitted(y, subset=subset, loss="cross_entropy")
    proba = clf.predict_proba(X)
    assert proba.shape == (N, len(np.unique(y)))
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    members = [
        shift_prior(m.predict_proba(X), m.effective_prior_, clf.effective_prior_)
        for m in clf.estimators_
    ]
    np.testing.assert_allclose(proba, np.mean(members, axis=0), rtol=1e-8)
    np.testing.assert_allclose(clf.predict_std(X), np.std(members, axis=0), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), proba)
    assert (clf.predict(X) == clf.classes_[proba.argmax(axis=1)]).all()
    assert y is THREE or roc_auc_score(y, proba[:, 1]) > 0.9


@each_subset
def test_scores_are_log_odds_or_log_probabilities(subset):
    clf = fitted(subset=subset)
    proba = clf.predict_proba(X)
    np.testing.assert_allclose(clf.decision_function(X), logit(proba[:, 1]), rtol=1e-6, atol=1e-9)
    three = fitted(THREE, subset=subset)
    scores = three.decision_function(X)
    np.testing.assert_allclose(scores, np.log(three.predict_proba(X)), rtol=1e-8)


def with_large_outputs(clf):
    """Multiply the last layer of each member, so that probabilities become 0 and 1."""
    for member in clf.estimators_:
        with torch.no_grad():
            for p in list(member.module_.parameters())[-2:]:
                p.mul_(200)
    return clf


@pytest.mark.parametrize("module", [MLP(()), "tabm"], ids=["linear", "tabm"])
def test_scores_do_not_saturate(module):
    clf = with_large_outputs(fitted(dtype="float32", module=module))
    proba, scores = clf.predict_proba(X)[:, 1], clf.decision_function(X)
    assert (proba == 1).sum() > 5
    assert len(np.unique(scores[proba == 1])) == (proba == 1).sum()
    assert np.isfinite(scores).all()
    labels = fitted(LABELS, subset="all", loss="bce", dtype="float32", module=module)
    saturated = with_large_outputs(labels).predict_proba(X) == 1
    assert saturated.sum() > 5
    assert len(np.unique(labels.decision_function(X)[saturated])) > 0.9 * saturated.sum()


def test_many_rows_are_predicted_in_chunks(monkeypatch):
    from imbtorch.training import prediction

    clf, normalised = fitted(), fitted(module=MLP((8,), normalization="batch"))
    expected = clf.predict_proba(X), normalised.predict_proba(X)
    monkeypatch.setattr(prediction, "CHUNK_ROWS", 4 * 7)
    np.testing.assert_allclose(clf.predict_proba(X), expected[0], rtol=1e-12)
    np.testing.assert_allclose(normalised.predict_proba(X), expected[1], rtol=1e-12)
    np.testing.assert_allclose(clf.predict_proba(X[:1]), expected[0][:1], rtol=1e-12)


# -- populations -----------------------------------------------------------------------------------


def test_balanced_parts_are_calibrated_for_the_population_that_is_named():
    X, y = overlapping(1500, 0.08)
    base = net(loss="cross_entropy", target_prior="train", max_epochs=20, batch_size=32)
    clf = NetEnsembleClassifier(base, 6, random_state=0).fit(X, y)
    np.testing.assert_allclose(clf.effective_prior_, [0.5, 0.5])
    np.testing.assert_allclose(clf.class_prior_, [0.92, 0.08])
    np.testing.assert_allclose(clf.class_counts_, [1380, 120])
    rare = clf.predict_proba(X)[:, 1]
    assert rare.mean() == pytest.approx(0.08, abs=0.02)
    for low, high in ((0, 0.1), (0.1, 0.5)):  # within ranges of it, too
        chosen = (rare >= low) & (rare < high)
        assert rare[chosen].mean() == pytest.approx(y[chosen].mean(), abs=0.06)
    balanced = clf.set_params(estimator__target_prior=None).predict_proba(X)[:, 1]
    assert balanced.mean() > 0.25


@pytest.mark.matrix
@each_subset
@pytest.mark.parametrize("loss", ["cross_entropy", "logit_adjusted", "focal", "vs"])
def test_population_can_be_changed_without_a_refit(subset, loss):
    clf = fitted(THREE, subset=subset, loss=loss)
    shares = {"train": np.bincount(THREE) / N, "uniform": np.full(3, 1 / 3)}
    for target in ("train", "uniform", {0: 0.2, 1: 0.5, 2: 0.3}, [0.6, 0.3, 0.1]):
        clf.set_params(estimator__target_prior=target)
        members = [
            clone_of(m).set_params(target_prior=shares.get(str(target), target))
            for m in clf.estimators_
        ]
        expected = np.mean([m.predict_proba(X) for m in members], axis=0)
        np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=1e-8)
    refitted = clone(clf).fit(X, THREE)
    np.testing.assert_allclose(clf.predict_proba(X), refitted.predict_proba(X), rtol=1e-8)
    clf.set_params(estimator__target_prior=None)
    if subset != "bootstrap" and loss != "cross_entropy":
        np.testing.assert_allclose(clf.predict_proba(X), mean_of(clf), rtol=1e-8)


def clone_of(member):
    """Return the fitted estimator once more, with parameters of its own."""
    return pickle.loads(pickle.dumps(member))


def test_bad_population_is_named():
    clf = fitted()
    for target in ({0: 1.0}, [0.5, 0.6], [1.0]):
        with pytest.raises(ValueError, match="prior"):
            clf.set_params(estimator__target_prior=target).predict_proba(X)


def test_loss_without_a_posterior_predicts_scores_and_has_no_population():
    clf = fitted(loss="hinge")
    np.testing.assert_allclose(clf.predict_proba(X), mean_of(clf), rtol=1e-8)
    assert roc_auc_score(Y, clf.decision_function(X)) > 0.9
    with pytest.raises(ValueError, match="target_prior=.* needs a loss"):
        clf.set_params(estimator__target_prior="train").predict_proba(X)
    with pytest.raises(ValueError, match="target_prior=.* needs a loss"):
        fitted(loss="hinge", target_prior="train")


# -- targets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("subset", ["bootstrap", "all"])
def test_several_labels(subset):
    clf = fitted(LABELS, subset=subset, loss="bce", max_epochs=8)
    proba, scores = clf.predict_proba(X), clf.decision_function(X)
    assert proba.shape == scores.shape == (N, 3)
    assert clf.classes_.tolist() == [0, 1, 2]
    assert clf.class_counts_.shape == (3, 2) or clf.class_counts_.shape == (3,)
    assert average_precision_score(LABELS, proba) > 0.8
    np.testing.assert_allclose(scores, logit(proba), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), proba, rtol=1e-8)
    labels = clf.predict(X)
    assert (labels == (proba > 0.5)).all()
    assert labels.dtype.kind == "i"
    if subset == "all":
        members = [m.predict_proba(X) for m in clf.estimators_]
        np.testing.assert_allclose(proba, np.mean(members, axis=0), rtol=1e-8)
        np.testing.assert_allclose(clf.predict_std(X), np.std(members, axis=0), atol=1e-9)
    apart = np.ptp([m.effective_prior_ for m in clf.estimators_], axis=0)
    assert apart.any() == (subset == "bootstrap")
    for target in (None, [0.1, 0.2, 0.3]):
        clf.set_params(estimator__target_prior=target)
        shares = clf.effective_prior_ if target is None else target
        members = [clone_of(m).set_params(target_prior=shares) for m in clf.estimators_]
        expected = np.mean([m.predict_proba(X) for m in members], axis=0)
        np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=1e-8)


def test_balanced_parts_are_of_one_label_a_row():
    with pytest.raises(ValueError, match="BalancedSubsetSampler.*label"):
        fitted(LABELS, loss="bce")


def test_names_of_classes_and_columns():
    names = np.array(["rare", "often"])[(Y == 0).astype(int)]
    frame = pd.DataFrame(X, columns=list("abcde"))
    clf = fitted(names, frame, loss="cross_entropy")
    assert clf.classes_.tolist() == ["often", "rare"]
    assert set(clf.predict(frame)) == {"often", "rare"}
    assert clf.feature_names_in_.tolist() == list("abcde")
    assert clf.n_features_in_ == 5
    clf.set_params(estimator__target_prior={"often": 0.5, "rare": 0.5}).predict_proba(frame)
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[list("edcba")])
    with pytest.warns(UserWarning, match="valid feature names"):
        clf.predict(X)
    assert not hasattr(clf.fit(X, names), "feature_names_in_")
    with pytest.raises(ValueError, match="4 features"):
        clf.predict(X[:, :4])


@each_subset
def test_weight_of_zero_is_absence(subset):
    weight = (np.arange(N) % 4 > 0).astype(float)
    clf = fitted(weight=weight, subset=subset)
    without = fitted(Y[weight > 0], X[weight > 0], subset=subset)
    np.testing.assert_allclose(clf.class_counts_, without.class_counts_)
    np.testing.assert_allclose(clf.predict_proba(X), without.predict_proba(X), rtol=1e-8)
    weighted = fitted(weight=1 + Y, subset=subset)
    assert abs(weighted.predict_proba(X) - fitted(subset=subset).predict_proba(X)).max() > 1e-4


# -- parameters and errors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"n_estimators": 0}, ValueError, "n_estimators"),
        ({"n_estimators": 1.5}, ValueError, "n_estimators"),
        ({"subset": "some"}, ValueError, "subset"),
        ({"max_memory": 0}, ValueError, "max_memory"),
        ({"max_memory": 10}, ValueError, "max_memory=10 is less than one net takes"),
        ({"estimator": "mlp"}, ValueError, "estimator"),
        ({"estimator": ImbalancedNetRegressor()}, ValueError, "estimator"),
        ({"random_state": "a"}, ValueError, "random_state"),
        ({"estimator__lr": -1}, ValueError, "lr"),
        ({"estimator__loss": "nonsense"}, ValueError, "Unknown loss"),
        ({"estimator__sampler": "power"}, ValueError, "Use subset='all' to keep the sampler"),
    ],
    ids=str,
)
def test_bad_parameters_are_named_and_leave_the_ensemble_as_it_was(params, error, match):
    clf = fitted()
    before, state = clf.predict_proba(X), set(vars(clf))
    clf.set_params(**params)
    with pytest.raises(error, match=match):
        clf.fit(X[:100], Y[:100])
    clf.set_params(estimator=net())
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert set(vars(clf)) == state


def test_sampler_stays_with_all_rows():
    clf = fitted(subset="all", sampler="class_balanced", loss="cross_entropy")
    np.testing.assert_allclose(clf.effective_prior_, [0.5, 0.5], atol=0.02)
    with pytest.raises(ValueError, match="subset='bootstrap' chooses the rows"):
        fitted(subset="bootstrap", sampler="class_balanced")


def test_diverging_members_are_an_error_and_leave_the_ensemble_as_it_was():
    clf = fitted()
    before = clf.predict_proba(X)
    frame = pd.DataFrame(X, columns=list("abcde"))
    clf.set_params(estimator__lr_schedule=lambda progress: np.inf)
    with pytest.raises(DivergenceError):
        clf.fit(frame, Y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert not hasattr(clf, "feature_names_in_")
    for bad in (np.full_like(X, np.nan), X[:5]):
        with pytest.raises(ValueError, match="NaN|inconsistent"):
            clf.fit(bad, Y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_not_fitted():
    clf = NetEnsembleClassifier()
    for method in ("predict", "predict_proba", "predict_log_proba", "predict_std"):
        with pytest.raises(NotFittedError):
            getattr(clf, method)(X)
    with pytest.raises(NotFittedError):
        clf.decision_function(X)


# -- conventions -----------------------------------------------------------------------------------


def test_repeats_with_a_seed_and_not_without(global_rng_untouched):
    first, second = (fitted().predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other = NetEnsembleClassifier(net(), 3, random_state=1).fit(X, Y)
    assert abs(other.predict_proba(X) - first).max() > 1e-4
    free = [NetEnsembleClassifier(net(), 3).fit(X, Y).predict_proba(X) for _ in range(2)]
    assert abs(free[0] - free[1]).max() > 1e-4
    state = np.random.RandomState(0)
    drawn = [
        NetEnsembleClassifier(net(), 3, random_state=s).fit(X, Y).predict_proba(X)
        for s in (state, state, np.random.RandomState(0))
    ]
    assert abs(drawn[0] - drawn[1]).max() > 1e-4
    np.testing.assert_array_equal(drawn[0], drawn[2])


def test_pickle_clone_and_repr():
    clf = fitted()
    copied = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(copied.predict_proba(X), clf.predict_proba(X))
    fresh = clone(clf.set_params(estimator__loss="focal", estimator__loss__gamma=1.5))
    assert not hasattr(fresh, "estimators_")
    assert fresh.get_params()["estimator__loss__gamma"] == 1.5
    assert repr(clf).startswith("NetEnsembleClassifier(estimator=ImbalancedNet")
    alone = len(pickle.dumps(clone(clf.estimators_[0]).fit(X, Y)))
    assert len(pickle.dumps(clf)) < 3.5 * alone


def test_budget_divides_the_members():
    expected = fitted(n=5)
    clf = clone(expected)
    with pytest.raises(ValueError, match="about") as caught:
        clf.set_params(max_memory=10).fit(X, Y)
    need = int(str(caught.value).split("about ")[1].split(" ")[0])
    clf.set_params(max_memory=2 * need).fit(X, Y)
    np.testing.assert_allclose(clf.predict_proba(X), expected.predict_proba(X), rtol=1e-8)


def test_searches_and_cross_validation():
    clf = NetEnsembleClassifier(net(loss="focal"), 2, random_state=0)
    grid = {"estimator__loss__gamma": [0, 2], "subset": ["balanced", "all"], "n_estimators": [1, 3]}
    search = GridSearchCV(clf, grid, scoring="roc_auc", cv=2).fit(X, Y)
    assert len(search.cv_results_["params"]) == 8
    assert search.best_score_ > 0.9
    pipeline = make_pipeline(StandardScaler(), clf)
    assert cross_val_score(pipeline, X, Y, cv=2, scoring="roc_auc").min() > 0.8


def test_early_stopping_members_stop_by_themselves():
    clf = fitted(subset="all", n=4, early_stopping=True, patience=1, max_epochs=20, lr=0.1)
    stops = [member.n_iter_ for member in clf.estimators_]
    assert min(stops) < max(stops)
    assert all("valid_score" in member.history_[0] for member in clf.estimators_)


class Interrupting:
    """A schedule that raises Ctrl-C in the second of four epochs."""

    def __call__(self, progress):
        if progress >= 0.25:
            raise KeyboardInterrupt
        return 1.0


def test_interrupted_ensemble_is_usable():
    assert not fitted().interrupted_
    base = net(lr_schedule=Interrupting())
    clf = NetEnsembleClassifier(base, 3, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, Y)
    assert clf.interrupted_
    assert [member.interrupted_ for member in clf.estimators_] == [True] * 3
    np.testing.assert_allclose(clf.predict_proba(X), mean_of(clf), rtol=1e-8)
    kept = clone(clf).set_params(estimator__on_interrupt="keep").fit(X, Y)
    np.testing.assert_allclose(kept.predict_proba(X), clf.predict_proba(X), rtol=1e-8)
    assert pickle.loads(pickle.dumps(kept)).interrupted_
    kept.set_params(estimator__lr_schedule="cosine").fit(X, Y)
    assert not kept.interrupted_


def test_members_that_were_not_begun_do_not_vote():
    clf = NetEnsembleClassifier(net(), 4, random_state=0)
    with pytest.raises(ValueError, match="about") as caught:
        clone(clf).set_params(max_memory=10).fit(X, Y)
    need = int(str(caught.value).split("about ")[1].split(" ")[0])
    clf.set_params(max_memory=2 * need, estimator__on_interrupt="keep")
    clf.set_params(estimator__lr_schedule=Interrupting()).fit(X, Y)
    assert clf.interrupted_
    assert len(clf.estimators_) == 2
    assert all(member.n_iter_ for member in clf.estimators_)


# -- outputs that are no numbers -------------------------------------------------------------------


class Log(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        return self.layer(torch.log(x))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function", "predict_std"])
def test_outputs_that_are_nan_are_an_error_that_names_rows(method):
    positive = np.abs(X) + 0.1
    net = ImbalancedNetClassifier(Log, loss="cross_entropy", max_epochs=1)
    clf = NetEnsembleClassifier(net, 2, random_state=0).fit(positive, Y)
    new = positive.copy()
    new[[2, 5], 0] = -1
    with pytest.raises(ValueError, match=r"Log are NaN or infinite for 2 of \d+ rows of X: 2, 5\."):
        getattr(clf, method)(new)
