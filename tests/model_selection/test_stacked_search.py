"""Stacked searches against those of scikit-learn, on the same nets in float64."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from scipy import sparse
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer, recall_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    HalvingGridSearchCV,
    PredefinedSplit,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import nn

from imbtorch import (
    MLP,
    DivergenceError,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NotStackedWarning,
)
from imbtorch.losses import LDAMLoss
from imbtorch.model_selection import (
    StackedGridSearchCV,
    StackedHalvingGridSearchCV,
    StackedRandomizedSearchCV,
)
from tests.toy import small, table

pytestmark = pytest.mark.filterwarnings(
    "ignore::imbtorch.DoubleCorrectionWarning", "error::imbtorch.NotStackedWarning"
)

N = 150
X, Y = table(N, rate=0.25)
WEIGHT = np.random.default_rng(0).uniform(0, 2, N) * (np.arange(N) % 5 > 0)
GROUPS = np.arange(N) % 7


def net(**params):
    return small(**{"dtype": "float64", "batch_size": 32, "lr": 0.01, **params})


def results_of(search):
    """Return all of cv_results_ but the times."""
    return {k: v for k, v in search.cv_results_.items() if not k.endswith("_time")}


def assert_same_results(stacked, plain):
    assert stacked.cv_results_.keys() == plain.cv_results_.keys()
    found, expected = results_of(stacked), results_of(plain)
    assert repr(found["params"]) == repr(expected["params"])
    for key, values in expected.items():
        if values.__class__ is np.ndarray and values.dtype.kind == "f":
            close = {"rtol": 1e-8, "atol": 1e-8, "equal_nan": True}
            np.testing.assert_allclose(found[key], values, **close, err_msg=key)
        else:
            assert repr(found[key]) == repr(values), key
        assert type(found[key]) is type(values)
    for key in ("mean_fit_time", "std_fit_time", "mean_score_time"):
        assert np.isfinite(stacked.cv_results_[key]).all()
        assert stacked.cv_results_[key].shape == plain.cv_results_[key].shape


def both(estimator, grid, X=X, y=Y, params=None, cls=GridSearchCV, **options):
    """Search in both ways; fail unless they come to the same; return the stacked one."""
    options = {"cv": 2, **options}
    if cls is HalvingGridSearchCV:
        options["random_state"] = 0
    ours = {
        GridSearchCV: StackedGridSearchCV,
        RandomizedSearchCV: StackedRandomizedSearchCV,
        HalvingGridSearchCV: StackedHalvingGridSearchCV,
    }[cls]
    memory = {"max_memory": options.pop("max_memory")} if "max_memory" in options else {}
    stacked = ours(clone(estimator), grid, **options, **memory).fit(X, y, **(params or {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = cls(clone(estimator), grid, **{**options, "n_jobs": None})
        plain.fit(X, y, **(params or {}))
    assert_same_results(stacked, plain)
    assert stacked.n_splits_ == plain.n_splits_
    assert stacked.multimetric_ == plain.multimetric_
    if options.get("refit", True):
        assert repr(stacked.best_params_) == repr(plain.best_params_)
        assert stacked.best_index_ == plain.best_index_
        method = "predict_proba" if hasattr(plain, "predict_proba") else "predict"
        found, expected = getattr(stacked, method)(X), getattr(plain, method)(X)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
        assert_no_traces(stacked.best_estimator_)
    return stacked


def assert_no_traces(estimator):
    for step in [estimator, *(step for _, step in getattr(estimator, "steps", ()))]:
        assert not {"fit", "set_params", "siblings"} & set(getattr(step, "__dict__", ()))
    assert pickle.loads(pickle.dumps(estimator)) is not None


# -- grids -----------------------------------------------------------------------------------------

GRIDS = {
    "numbers of the loss": {"loss__gamma": [0, 1, 2.5], "class_weight": [None, "balanced"]},
    "rates": {"lr": [0.001, 0.1], "weight_decay": [0.0, 0.5], "lr_schedule": ["cosine"]},
    "losses": {"loss": ["focal", "bce", LDAMLoss(), nn.L1Loss(), "logit_adjusted"]},
    "architectures": {"module__hidden_sizes": [(4,), (8, 4)], "module__activation": ["relu"]},
    "sizes of batches": {"batch_size": [16, 40, "auto"], "max_epochs": [1, 2]},
    "samplers": {"sampler": [None, "class_balanced", "bootstrap", SMOTE(random_state=0)]},
    "seeds and stops": {"random_state": [1, 2], "early_stopping": [False, True], "patience": [1]},
    "precisions": {"dtype": ["float64", "float32"]},
    "list of grids": [{"lr": [0.01]}, {"optimizer": ["sgd", "adam"], "loss__gamma": [1]}],
    "schedules": {"loss_schedule": [None, {"gamma": lambda t: 2 * t}], "averaging": ["ema", None]},
}


@pytest.mark.matrix
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("name", GRIDS)
def test_grids_over(name):
    scoring = ["roc_auc", "neg_log_loss"]
    if name == "precisions":
        scoring = ["accuracy", "recall"]  # single precision agrees up to its own rounding only
    both(net(loss="focal"), GRIDS[name], scoring=scoring, refit=scoring[0])


def test_nothing_to_search_but_folds():
    search = both(net(), {}, cv=5)
    assert search.cv_results_["params"] == [{}]


def test_draws_of_candidates():
    distributions = {"lr": loguniform(1e-4, 1e-1), "loss__gamma": [0, 1, 2]}
    options = {"n_iter": 4, "random_state": 3, "cls": RandomizedSearchCV}
    both(net(loss="focal"), distributions, **options, scoring="roc_auc")


@pytest.mark.slow
@pytest.mark.parametrize(
    "resource",
    [
        {"min_resources": 60, "factor": 2},
        {"resource": "max_epochs", "min_resources": 1, "max_resources": 4, "factor": 2},
    ],
    ids=["rows", "epochs"],
)
def test_halving(resource):
    grid = {"loss__gamma": [0, 1, 2], "lr": [0.001, 0.05]}
    search = both(net(loss="focal"), grid, cls=HalvingGridSearchCV, scoring="roc_auc", **resource)
    assert search.n_iterations_ > 1
    assert search.n_candidates_[-1] < search.n_candidates_[0]


# -- pipelines -------------------------------------------------------------------------------------

NET = "imbalancednetclassifier"
TWO = {f"{NET}__lr": [0.01, 0.05], f"{NET}__class_weight": [None, "balanced"]}


class Counting(TransformerMixin, BaseEstimator):
    """Counts its fits, of all copies together."""

    fits = 0

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        type(self).fits += 1
        self.mean_ = np.mean(X, axis=0)
        return self

    def transform(self, X):
        return self.factor * (X - self.mean_)


def test_pipelines():
    both(make_pipeline(StandardScaler(), net()), TWO, scoring="roc_auc")
    resampled = make_imblearn_pipeline(SMOTE(random_state=0), StandardScaler(), net())
    both(resampled, TWO, scoring="roc_auc")
    inner = Pipeline([("center", StandardScaler(with_std=False)), ("net", net())])
    grid = {"inner__net__lr": [0.01, 0.1], "inner__center__with_mean": [True, False]}
    both(Pipeline([("scale", MinMaxScaler()), ("inner", inner)]), grid, scoring="roc_auc")


@pytest.mark.slow
def test_settings_of_transformers():
    pipeline = make_pipeline(StandardScaler(), PCA(), net())
    both(pipeline, {"pca__n_components": [2, 4], **TWO}, scoring="neg_log_loss")
    swapped = {"standardscaler": [StandardScaler(), MinMaxScaler(), "passthrough"]}
    both(pipeline, swapped, scoring="neg_log_loss", return_train_score=True)
    both(pipeline, {NET: [net(), net(loss="focal"), LogisticRegression()]})


@pytest.mark.slow
def test_transformer_is_fitted_once_for_each_fold_and_setting():
    pipeline = make_pipeline(Counting(), StandardScaler(), net())
    grid = {"counting__factor": [1.0, 2.0], **TWO}
    Counting.fits = 0
    search = StackedGridSearchCV(pipeline, grid, cv=3, refit=False).fit(X, Y)
    assert len(search.cv_results_["params"]) == 8
    assert Counting.fits == 2 * 3
    both(pipeline, grid, cv=3)


class ForestScore(TransformerMixin, BaseEstimator):
    """Works in parallel itself, with memory that its threads share."""

    def fit(self, X, y):
        forest = RandomForestClassifier(3, random_state=0, n_jobs=2).fit(X, y)
        self.score_ = forest.predict_proba(X).mean()
        return self

    def transform(self, X):
        return X + self.score_


@pytest.mark.slow
def test_pipeline_of_the_net_alone_and_with_a_memory(tmp_path):
    both(Pipeline([(NET, net())]), TWO)
    both(make_pipeline(StandardScaler(), net(), memory=str(tmp_path)), TWO)


# -- data ------------------------------------------------------------------------------------------

NAMES = np.array(["often", "rare"])[Y]
DATA = {
    "lists": (X.tolist(), Y.tolist()),
    "frames": (pd.DataFrame(X, columns=list("abcde")), pd.Series(NAMES)),
    "names": (X, NAMES),
    "sparse": (sparse.csr_array(X), Y),
    "single precision": (X.astype(np.float32), Y),
}


@pytest.mark.matrix
@pytest.mark.parametrize("kind", DATA)
def test_data_as(kind):
    features, labels = DATA[kind]
    grid = {"lr": [0.01, 0.05], "class_weight": [None, "balanced"]}
    search = both(net(), grid, features, labels, scoring="roc_auc")
    if kind == "frames":
        assert search.feature_names_in_.tolist() == list("abcde")
        pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), net())
        both(pipeline, TWO, features, labels)


def test_three_classes_and_several_labels():
    three = table(N, n_classes=3, rate=0.5)[1]
    grid = {"lr": [0.01, 0.05]}
    both(net(loss="cross_entropy"), grid, y=three, scoring="roc_auc_ovr")
    labels = np.stack([Y, X[:, 0] > 0, X[:, 1] > 1], axis=1).astype(int)
    both(net(loss="bce"), {**grid, "class_weight": [None, "balanced"]}, y=labels)


def test_regressors():
    reg = ImbalancedNetRegressor(
        MLP((8,)), dtype="float64", batch_size=32, max_epochs=3, random_state=0
    )
    grid = {"lr": [0.01, 0.05], "loss": ["mse", "huber"]}
    values = X[:, 0] + np.exp(X[:, 1])
    both(reg, grid, y=values)
    both(reg, grid, y=np.stack([values, X[:, 2]], axis=1), scoring="neg_mean_absolute_error")
    both(
        make_pipeline(StandardScaler(), reg), {"imbalancednetregressor__lr": [0.1, 0.01]}, y=values
    )


@pytest.mark.slow
def test_ensembles_are_searched():
    ensemble = NetEnsembleClassifier(net(), 2, random_state=0)
    grid = {"estimator__lr": [0.01, 0.05], "n_estimators": [1, 3], "subset": ["balanced", "all"]}
    search = both(ensemble, grid, scoring="roc_auc")
    assert_no_traces(search.best_estimator_.estimators_[0])


def test_weights_of_rows():
    grid = {"lr": [0.01, 0.05]}
    both(net(), grid, params={"sample_weight": WEIGHT})
    pipeline = make_pipeline(StandardScaler(), net())
    both(pipeline, TWO, params={f"{NET}__sample_weight": WEIGHT})
    both(net(), grid, params={"sample_weight": pd.Series(WEIGHT)})


@pytest.mark.slow
def test_routed_weights():
    with config_context(enable_metadata_routing=True):
        asking = net().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        both(asking, {"lr": [0.01, 0.05]}, params={"sample_weight": WEIGHT})
        for weighted in (True, False):
            scaler = StandardScaler().set_fit_request(sample_weight=weighted)
            pipeline = make_pipeline(scaler, asking)
            pipeline.set_score_request(sample_weight=True)  # older versions ask for it
            both(pipeline, TWO, params={"sample_weight": WEIGHT})
        groups = GroupKFold(3)
        params = {"groups": GROUPS, "sample_weight": WEIGHT}
        folds_alone = clone(asking).set_fit_request(groups=False)  # its fit takes groups, too
        both(folds_alone, {"lr": [0.01, 0.05]}, params=params, cv=groups)


@pytest.mark.parametrize("behind_a_step", [False, True])
def test_routed_groups_reach_the_validation_rows(behind_a_step):
    with config_context(enable_metadata_routing=True):
        split = GroupShuffleSplit(1, test_size=0.3, random_state=0)
        asking = net(validation=split, early_stopping=True).set_fit_request(groups=True)
        estimator = make_pipeline(StandardScaler(), asking) if behind_a_step else asking
        with pytest.warns(NotStackedWarning, match=r"fit has the parameters \['groups'\]"):
            both(
                estimator,
                TWO if behind_a_step else {"lr": [0.01, 0.05]},
                params={"groups": GROUPS},
                cv=GroupKFold(3),
            )


@pytest.mark.slow
def test_folds_of_all_kinds():
    grid = {"lr": [0.01, 0.05]}
    both(net(), grid, params={"groups": GROUPS}, cv=GroupKFold(3))
    both(net(), grid, cv=StratifiedKFold(3, shuffle=True, random_state=0))
    both(net(), grid, cv=PredefinedSplit(np.where(np.arange(N) < 60, 0, -1)))
    both(net(), grid, cv=[(np.arange(100), np.arange(100, N)), (np.arange(50, N), np.arange(50))])
    mask = np.arange(N) % 3 > 0
    both(net(), grid, cv=[(mask, ~mask), (~mask, mask)])
    both(net(), grid, cv=[(list(range(-100, 0)), list(range(50)))])


def test_fold_that_lacks_a_class():
    labels = Y.copy()
    labels[:3] = 2
    folds = [(np.arange(75, N), np.arange(75)), (np.arange(75), np.arange(75, N))]
    both(net(), {"lr": [0.01, 0.05]}, y=labels, cv=folds)


# -- scores and refits -----------------------------------------------------------------------------


def two_scores(estimator, X, y):
    return {"size": float(len(y)), "recall": recall_score(y, estimator.predict(X))}


@pytest.mark.slow
def test_scores():
    grid = {"loss__gamma": [0, 2]}
    focal = net(loss="focal")
    both(focal, grid, return_train_score=True)
    metrics = {"auc": "roc_auc", "recall": make_scorer(recall_score, zero_division=0)}
    both(focal, grid, scoring=metrics, refit="recall", return_train_score=True)
    both(focal, grid, scoring=two_scores, refit="recall")
    best = both(focal, grid, scoring=metrics, refit=lambda results: 1).best_params_
    assert best == {"loss__gamma": 2}
    search = both(focal, grid, scoring=["roc_auc", "accuracy"], refit=False)
    assert not hasattr(search, "best_estimator_")


def test_scores_of_a_callable_that_looks_at_the_net():
    def size(estimator, X, y):
        assert estimator.n_iter_ == 2
        return float(
            np.concatenate([p.detach().ravel() for p in estimator.module_.parameters()]).sum()
        )

    both(net(), {"lr": [0.01, 0.05], "class_weight": [None, "balanced"]}, scoring=size)


# -- failures --------------------------------------------------------------------------------------

DIVERGING = {"lr": [0.01, 1e25, 0.05], "optimizer": ["sgd"], "lr_schedule": ["constant"]}


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: make_pipeline(StandardScaler(), e)])
def test_diverging_candidate_gets_the_score_of_an_error(wrap):
    estimator = wrap(net(loss="cross_entropy", max_epochs=4))
    prefix = "" if estimator.__class__ is not Pipeline else f"{NET}__"
    grid = {prefix + key: values for key, values in DIVERGING.items()}
    for score in (-1.0, np.nan):
        with pytest.warns(FitFailedWarning, match="(?s)2 fits failed.*DivergenceError"):
            search = both(estimator, grid, error_score=score, scoring="roc_auc")
        np.testing.assert_array_equal(search.cv_results_["mean_test_score"][1], score)
        assert np.isfinite(search.cv_results_["mean_test_score"][[0, 2]]).all()


def test_error_of_a_candidate_is_raised_where_asked():
    search = StackedGridSearchCV(net(loss="cross_entropy"), DIVERGING, cv=2, error_score="raise")
    with pytest.raises(DivergenceError):
        search.set_params(estimator__max_epochs=4).fit(X, Y)
    with pytest.raises(ValueError, match="All the 2 fits failed"):
        StackedGridSearchCV(net(), {"loss": ["nonsense"]}, cv=2).fit(X, Y)


def test_candidates_that_fail_before_the_training():
    grid = {"loss": ["focal", "nonsense"], "class_weight": [None, {1: -1.0}]}
    with pytest.warns(FitFailedWarning):
        both(net(), grid, error_score=-2.0)


def test_module_that_fails_in_training_fails_its_candidate():
    module = MLP((4,), normalization="batch")
    with pytest.warns(FitFailedWarning):
        both(net(module=module), {"batch_size": [1, 32]}, error_score=-2.0)


def test_score_that_fails_is_an_error_score():
    def scoring(estimator, X, y):
        if estimator.lr > 0.03:
            raise ArithmeticError("no score")
        return 1.0

    with pytest.warns(UserWarning, match="Scoring failed"):
        both(net(), {"lr": [0.01, 0.05]}, scoring=scoring, error_score=-1.0)


SEARCHES = [
    (StackedGridSearchCV, GridSearchCV),
    (StackedRandomizedSearchCV, RandomizedSearchCV),
    (StackedHalvingGridSearchCV, HalvingGridSearchCV),
]
each_search = pytest.mark.parametrize(("ours", "theirs"), SEARCHES)


@each_search
def test_errors_are_those_of_scikit_learn(ours, theirs):
    options = {"n_iter": 1} if theirs is RandomizedSearchCV else {}
    for estimator, grid, more in (
        (net(), {"nonsense": [1]}, {}),
        (net(loss="focal"), {"loss__nonsense": [1]}, {}),
        (make_pipeline(StandardScaler(), net()), {"scaler__x": [1]}, {}),
        (net(), {"lr": []}, {}),
        (net(), {"lr": 0.1}, {}),
        (net(), {"lr": [0.1]}, {"cv": 1}),
        (net(), {"lr": [0.1]}, {"scoring": "nonsense"}),
        (net(), {"lr": [0.1]}, {"verbose": "much"}),
    ):
        with pytest.raises(Exception) as expected:  # noqa: B017, PT011
            theirs(estimator, grid, **{**options, **more}).fit(X, Y)
        with pytest.raises(type(expected.value)) as found:
            ours(estimator, grid, **{**options, **more}).fit(X, Y)
        assert str(found.value).replace("Stacked", "") == str(expected.value)


@each_search
@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())]
)
def test_estimators_of_others_are_refused(ours, theirs, estimator):
    with pytest.raises(TypeError, match=rf"LogisticRegression. Use .*\.{theirs.__name__}"):
        ours(estimator, {"C": [1.0]}).fit(X, Y)


def test_budget_bounds_the_stacks():
    grid = {"lr": [0.01, 0.05], "class_weight": [None, "balanced"]}
    with pytest.raises(ValueError, match="max_memory=100 .* about ([0-9]+) bytes") as caught:
        StackedGridSearchCV(net(), grid, max_memory=100).fit(X, Y)
    need = int(re.search("about ([0-9]+)", str(caught.value))[1])
    both(net(), grid, max_memory=3 * need)
    both(net(), grid, max_memory=None)
    for wrong in (0, -1, "much", 1.5):
        with pytest.raises(ValueError, match="max_memory"):
            StackedGridSearchCV(net(), grid, max_memory=wrong).fit(X, Y)


def interrupt(progress):
    raise KeyboardInterrupt


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: make_pipeline(StandardScaler(), e)])
def test_interrupted_search_is_interrupted(wrap):
    search = StackedGridSearchCV(wrap(net(lr_schedule=interrupt)), {}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert not hasattr(search, "cv_results_")
    assert both(net(), {"lr": [0.01, 0.05]})  # nothing is left behind


# -- ecosystem -------------------------------------------------------------------------------------


@each_search
def test_parameters_survive_clone_and_repr(ours, theirs):
    search = ours(net(), {"lr": [0.01, 0.05]}, cv=3, max_memory=2**20, n_jobs=1)
    params = search.get_params()
    assert search.get_params(deep=False).keys() - theirs(net(), {}).get_params(
        deep=False
    ).keys() == {"max_memory"}
    copied = clone(search).set_params(estimator__lr=0.5, max_memory=None)
    assert (copied.max_memory, copied.estimator.lr, search.estimator.lr) == (None, 0.5, 0.01)
    assert repr(search).startswith(ours.__name__)
    assert "max_memory=1048576" in repr(search)
    assert clone(search).get_params().keys() == params.keys()
    assert ours(net(), {}).max_memory == 2**30


def test_search_inside_cross_validation():
    grid = {"lr": [0.01, 0.05]}
    stacked = StackedGridSearchCV(net(), grid, cv=2, scoring="roc_auc")
    plain = GridSearchCV(net(), grid, cv=2, scoring="roc_auc")
    expected = cross_val_score(plain, X, Y, cv=2)
    np.testing.assert_allclose(cross_val_score(stacked, X, Y, cv=2), expected, rtol=1e-8)


def test_best_estimator_is_small_and_searchable_again():
    search = StackedGridSearchCV(net(), {"lr": [0.01, 0.05, 0.1, 0.2]}, cv=3).fit(X, Y)
    alone = clone(search.best_estimator_).fit(X, Y)
    assert len(pickle.dumps(search.best_estimator_)) < 1.1 * len(pickle.dumps(alone))
    again = pickle.loads(pickle.dumps(search)).fit(X, Y)
    assert_same_results(again, search)
    assert search.best_estimator_.set_params(lr=0.3).fit(X, Y).lr == 0.3


def test_progress_is_reported_as_by_scikit_learn(capsys):
    grid = {"lr": [0.01, 0.05]}
    printed = []
    for cls in (GridSearchCV, StackedGridSearchCV):
        cls(net(), grid, cv=2, verbose=3).fit(X, Y)
        printed.append(re.sub("total time=.*", "", capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert printed[0].count("[CV 2/2] END") == 2


def test_global_random_state_stays(global_rng_untouched):
    StackedGridSearchCV(net(), {"lr": [0.01, 0.05]}, cv=2).fit(X, Y)


def test_what_cannot_be_stacked_is_told_once():
    grid = {"sampler": ["mixup", None], "lr": [0.01, 0.05]}
    with pytest.warns(NotStackedWarning, match="mixtures of rows") as caught:
        both(net(loss="cross_entropy"), grid)
    assert len([w for w in caught if w.category is NotStackedWarning]) == 1


@pytest.mark.slow
def test_stacks_are_divided_among_workers():
    grid = {"lr": [0.01, 0.05], "module__hidden_sizes": [(4,), (8,)], "loss__gamma": [0, 1]}
    both(net(loss="focal"), grid, n_jobs=2, scoring="roc_auc", return_train_score=True)
    both(make_pipeline(ForestScore(), net()), TWO, n_jobs=2)
