"""Failed fits, interruptions, and what travels through a pickle."""

import pickle
import warnings

import joblib
import numpy as np
import pytest
import skorch.callbacks as sc
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import imbtorch
from imbtorch import MLP, DivergenceError
from imbtorch.losses import FocalLoss
from tests.toy import parameters_of, small, table

X, Y = table()


class Interrupt(sc.Callback):
    """Presses Ctrl-C in epoch ``epoch``, at a batch or at its end."""

    def __init__(self, epoch=2, at="epoch"):
        self.epoch, self.at = epoch, at

    def on_batch_end(self, net, training=None, **kwargs):
        if self.at == "batch" and training and len(net.history) == self.epoch:
            raise KeyboardInterrupt

    def on_epoch_end(self, net, **kwargs):
        if self.at == "epoch" and len(net.history) == self.epoch:
            raise KeyboardInterrupt


def fitted_attributes(clf):
    return {name for name in vars(clf) if name.endswith("_") and not name.startswith("_")}


# -- failed fits -----------------------------------------------------------------------------------

FAILURES = {
    "parameters": {"max_epochs": 0},
    "loss": {"loss": "nothing"},
    "module": {"module": torch.nn.Linear(5, 7)},
    "weights": {"class_weight": {1: -1}},
    "prior": {"target_prior": [0.9, 0.9]},
    "device": {"device": "cuda:77"},
    "scorer": {"early_stopping": True, "scoring": "nothing"},
    "divergence": {"lr": 1e25, "lr_schedule": "constant"},
}


@pytest.mark.parametrize("name", sorted(FAILURES))
def test_failed_fit_leaves_an_unfitted_object_unfitted(name):
    clf = small().set_params(**FAILURES[name])
    with pytest.raises(ValueError):  # noqa: PT011 - each message has its own test
        clf.fit(X, Y)
    assert not fitted_attributes(clf)
    with pytest.raises(NotFittedError):
        clf.predict(X)


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("name", sorted(set(FAILURES) - {"module", "device"}))
def test_failed_fit_leaves_a_fitted_object_as_it_was(name, warm_start):
    clf = small(warm_start=warm_start).fit(X, Y)
    proba, attributes = clf.predict_proba(X), fitted_attributes(clf)
    params = clf.get_params(deep=False)
    with pytest.raises(ValueError):  # noqa: PT011 - each message has its own test
        clf.set_params(**FAILURES[name]).fit(X, Y)
    clf.set_params(**params)
    np.testing.assert_array_equal(clf.predict_proba(X), proba)
    assert fitted_attributes(clf) == attributes
    assert clf.n_iter_ == 2


def test_failed_fit_on_other_data_leaves_a_fitted_object_as_it_was():
    clf = small().fit(X, Y)
    proba = clf.predict_proba(X)
    with pytest.raises(DivergenceError):
        clf.set_params(lr=1e25).fit(X[:, :3], np.array(["a", "b"])[Y])
    assert clf.n_features_in_ == 5
    assert clf.classes_.tolist() == [0, 1]
    np.testing.assert_array_equal(clf.predict_proba(X), proba)


def test_error_inside_the_module_leaves_an_unfitted_object():
    class Broken(torch.nn.Linear):
        def forward(self, x):
            if self.training:
                raise RuntimeError("out of order")
            return super().forward(x)

    clf = small(Broken(5, 2))
    with pytest.raises(RuntimeError, match="out of order"):
        clf.fit(X, Y)
    assert not fitted_attributes(clf)


# -- Ctrl-C ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["batch", "epoch"])
def test_interruption_is_passed_on_and_leaves_a_usable_model(at):
    clf = small(callbacks=[Interrupt(at=at)], max_epochs=9)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, Y)
    assert clf.interrupted_ is True
    assert clf.n_iter_ == (2 if at == "epoch" else 1)
    assert clf.predict_proba(X).shape == (len(X), 2)
    assert len(clf.history_[:, "train_loss"]) == clf.n_iter_


def test_keep_warns_and_returns():
    clf = small(callbacks=[Interrupt()], max_epochs=9, on_interrupt="keep")
    with pytest.warns(UserWarning, match="interrupted.*kept"):
        assert clf.fit(X, Y) is clf
    assert clf.interrupted_ is True
    assert clf.predict(X).shape == Y.shape


def test_interruption_in_the_first_epoch_leaves_a_usable_model():
    clf = small(callbacks=[Interrupt(1, "batch")], on_interrupt="keep")
    with pytest.warns(UserWarning, match="interrupted"):
        clf.fit(X, Y)
    assert clf.n_iter_ == 0
    assert np.isfinite(clf.predict_proba(X)).all()


def test_interrupted_early_stopping_keeps_the_best_epoch():
    seen, scores = [], iter([0.1, 0.9, 0.3, 0.2, 0.1])

    def score(estimator, X, y):
        seen.append(parameters_of(estimator).copy())
        return next(scores)

    clf = small(
        callbacks=[Interrupt(4)], on_interrupt="keep", early_stopping=True, scoring=score,
        max_epochs=9,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="interrupted"):
        clf.fit(X, Y)
    np.testing.assert_array_equal(parameters_of(clf), seen[1])


def test_interrupted_partial_fit_keeps_the_model_of_that_moment():
    clf = small(callbacks=[Interrupt(2, "batch")], batch_size=50)
    clf.partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(KeyboardInterrupt):
        clf.partial_fit(X, Y)
    assert clf.interrupted_ is True
    assert clf.set_params(callbacks=None).partial_fit(X, Y).interrupted_ is False


def test_training_that_ended_by_itself_is_not_interrupted():
    assert small().fit(X, Y).interrupted_ is False


def test_interruption_before_the_training_leaves_an_unfitted_object():
    class Impatient(torch.nn.Linear):
        def forward(self, x):
            if not self.training:
                raise KeyboardInterrupt
            return super().forward(x)

    clf = small(Impatient(5, 2))
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, Y)
    assert not fitted_attributes(clf)


def test_interruption_stops_a_search():
    started = []

    class Counting(Interrupt):
        def on_train_begin(self, net, **kwargs):
            started.append(net)

    search = GridSearchCV(
        small(callbacks=[Counting(1)]), {"lr": [1e-3, 1e-2, 1e-1]}, cv=2, error_score=-1
    )
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert len(started) == 1


def test_interruption_stops_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), small(callbacks=[Interrupt()], max_epochs=9))
    with pytest.raises(KeyboardInterrupt):
        pipeline.fit(X, Y)
    assert pipeline[-1].interrupted_ is True


# -- copies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["pickle", "joblib"])
@pytest.mark.parametrize(
    "params",
    [{}, {"loss": FocalLoss(1.5), "class_weight": {1: 4}}, {"loss": torch.nn.L1Loss()},
     {"early_stopping": True, "dtype": "float64"}, {"callbacks": [Interrupt(99)]}],
    ids=["default", "focal", "torch loss", "validated", "callbacks"],
)  # fmt: skip
def test_fitted_estimator_travels(how, params, tmp_path):
    clf = small(MLP((8,), normalization="batch"), **params).fit(X, Y)
    if how == "pickle":
        twin = pickle.loads(pickle.dumps(clf))
    else:
        joblib.dump(clf, tmp_path / "clf.joblib")
        twin = joblib.load(tmp_path / "clf.joblib")
    np.testing.assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))
    assert twin.history_[:, "train_loss"] == clf.history_[:, "train_loss"]
    assert twin.fit(X, Y).n_iter_ == clf.n_iter_ or params.get("early_stopping")


def test_unfitted_estimator_travels():
    clf = pickle.loads(pickle.dumps(small(loss=FocalLoss(1.5))))
    assert clf.loss.gamma == 1.5
    assert not fitted_attributes(clf)


def test_clone_is_unfitted_and_equal():
    clf = small(loss=FocalLoss(1.5), class_weight={1: 2}, callbacks=[Interrupt(99)]).fit(X, Y)
    twin = clone(clf)
    assert not fitted_attributes(twin)
    np.testing.assert_array_equal(parameters_of(twin.fit(X, Y)), parameters_of(clf))


@pytest.mark.parametrize("package", [torch, imbtorch._common.versions], ids=["torch", "imbtorch"])
def test_pickle_of_another_minor_version_warns(package, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(package, "__version__", "0.99.7")
        stored = pickle.dumps(small().fit(X, Y))
    with pytest.warns(UserWarning, match=r"0\.99\.7"):
        pickle.loads(stored)


def test_pickle_of_this_version_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(small().fit(X, Y)))
