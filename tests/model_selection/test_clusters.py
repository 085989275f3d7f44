"""Searches on other machines' engines give the scores of one process.

The cluster is two processes of this machine, on its loopback. What a search sends there is pickled
as it would be for a far one.
"""

import os
import pickle
import time
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import MLP, NetEnsembleClassifier
from imbtorch.model_selection import StackedGridSearchCV, StackedHalvingGridSearchCV
from tests.toy import plain_columns, small, table

pytestmark = pytest.mark.timeout(1200)  # of which a machine that does nothing else needs 20

X, Y = table(120)
NET = small(loss="focal", features=plain_columns(), dtype="float64")
GRID = {"loss__gamma": [0.0, 2.0], "module__hidden_sizes": [(4,), (8,)]}


class Noted:
    """Average precision, which leaves a trace of where a net was scored."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, estimator, X, y):
        width = estimator.net_.module_[0].out_features
        (Path(self.folder) / f"{width}-{os.getpid()}").touch()
        return average_precision_score(y, estimator.decision_function(X))


@contextmanager
def dask_cluster(**options):
    distributed = pytest.importorskip("dask.distributed")
    loopback = "127.0.0.1:0"  # None would listen on every interface
    with (
        distributed.LocalCluster(
            dashboard_address=loopback, worker_dashboard_address=loopback, **options
        ) as cluster,
        distributed.Client(cluster, timeout=600) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def two_processes():
    options = {"processes": True, "n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1"}
    with dask_cluster(**options) as client:
        workers = set(client.run(os.getpid).values())
        assert len(workers) == 2
        yield workers
    import psutil  # distributed needs it

    end = time.monotonic() + 120
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, workers))


def same_scores(search, other):
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"]
    )
    assert search.best_params_ == other.best_params_
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict_proba(X), other.predict_proba(X))


@pytest.mark.slow
@pytest.mark.parametrize("search_class", [GridSearchCV, StackedGridSearchCV])
def test_search_on_dask_is_that_in_one_process(search_class, two_processes, tmp_path):
    search = search_class(NET, GRID, cv=3, scoring=Noted(tmp_path))
    alone = clone(search).fit(X, Y)
    traces = [trace.name for trace in tmp_path.iterdir()]
    assert {trace.split("-")[1] for trace in traces} == {str(os.getpid())}
    for trace in tmp_path.iterdir():
        trace.unlink()
    with joblib.parallel_config(backend="dask"):
        search.fit(X, Y)
    same_scores(search, alone)
    traces = [trace.name.split("-") for trace in tmp_path.iterdir()]
    assert {int(pid) for _, pid in traces} <= two_processes
    if search_class is StackedGridSearchCV:  # all nets of one architecture are one task
        assert sorted(width for width, _ in traces) == ["4", "8"]


@pytest.mark.slow
@pytest.mark.usefixtures("two_processes")
def test_other_searches_on_dask():
    pipeline = make_pipeline(StandardScaler(), NET)
    grid = {f"imbalancednetclassifier__{name}": values for name, values in GRID.items()}
    ensemble = NetEnsembleClassifier(NET, 2, random_state=0)
    options = {"cv": 2, "factor": 2, "random_state": 0}
    for search in (
        StackedHalvingGridSearchCV(NET, GRID, resource="max_epochs", max_resources=4, **options),
        StackedGridSearchCV(pipeline, grid, cv=2),
        StackedGridSearchCV(ensemble, {"estimator__lr": [0.01, 0.1]}, cv=2),
    ):
        alone = clone(search).fit(X, Y)
        with joblib.parallel_config(backend="dask"):
            search.fit(X, Y)
        same_scores(search, alone)


def test_estimators_are_cheap_to_send():
    assert len(pickle.dumps(NET)) < 2_000
    few, many = (clone(NET).fit(*table(n)) for n in (100, 2_000))
    assert abs(len(pickle.dumps(many)) - len(pickle.dumps(few))) < 200  # no data inside
    n_bytes = sum(p.nbytes for p in few.module_.parameters())
    assert len(pickle.dumps(few)) < n_bytes + 12_000  # the optimizer stays here


@pytest.mark.slow
def test_threads_of_a_dask_worker_do_not_share_random_numbers():
    dropout = small(MLP((8,), dropout=0.5))
    search = GridSearchCV(dropout, {"lr": [1e-3, 1e-2], "random_state": [0, 1]}, cv=2)
    alone = clone(search).fit(X, Y)
    with (
        dask_cluster(processes=False, n_workers=1, threads_per_worker=2),
        joblib.parallel_config(backend="dask"),
    ):
        search.fit(X, Y)
    same_scores(search, alone)


@pytest.mark.slow
def test_search_on_ray_is_that_in_one_process():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        for search_class in (GridSearchCV, StackedGridSearchCV):
            search = search_class(NET, GRID, cv=3)
            alone = clone(search).fit(X, Y)
            with joblib.parallel_config(backend="ray"):
                search.fit(X, Y)
            same_scores(search, alone)
    finally:
        ray.shutdown()
