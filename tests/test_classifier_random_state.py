"""Same seed, same bits; and nobody else's generator is touched."""

import joblib
import numpy as np
import pytest
import torch
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from imbtorch import MLP
from tests.toy import parameters_of, small, table

X, Y = table()
SETTINGS = {
    "default": {},
    "dropout": {"module": MLP((8,), dropout=0.5)},
    "early stopping": {"early_stopping": True},
    "sampler": {"sampler": RandomUnderSampler()},
    "weights": {"class_weight": {1: 2}, "loss": "focal"},
    "sgd": {"optimizer": "sgd"},
    "module that draws": {"module": lambda shape, n: torch.nn.Linear(shape[0], n)},
}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_same_seed_gives_the_same_bits_three_times(name):
    first, *others = (
        parameters_of(small(**SETTINGS[name], random_state=7).fit(X, Y)) for _ in range(3)
    )
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_another_seed_gives_another_net(name):
    one, other = (
        parameters_of(small(**SETTINGS[name], random_state=seed).fit(X, Y)) for seed in (0, 1)
    )
    assert not np.array_equal(one, other)


def test_no_seed_gives_another_net_every_time():
    one, other = (parameters_of(small(random_state=None).fit(X, Y)) for _ in range(2))
    assert not np.array_equal(one, other)


def test_random_state_object_moves_on():
    rng = np.random.RandomState(0)
    one, other = (parameters_of(small(random_state=rng).fit(X, Y)) for _ in range(2))
    assert not np.array_equal(one, other)
    again = parameters_of(small(random_state=np.random.RandomState(0)).fit(X, Y))
    np.testing.assert_array_equal(again, one)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_global_generators_are_untouched(name, global_rng_untouched):
    clf = small(**SETTINGS[name]).fit(X, Y)
    clf.predict_proba(X)
    if clf.sampler is None:
        clf.partial_fit(X, Y)


def test_global_generators_are_untouched_by_a_failed_fit(global_rng_untouched):
    with pytest.raises(ValueError, match="diverged"):
        small(MLP((8,), dropout=0.5), lr=1e25).fit(X, Y)


def test_global_seed_has_no_influence():
    def train(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return parameters_of(small(MLP((8,), dropout=0.5)).fit(X, Y))

    np.testing.assert_array_equal(train(1), train(2))


def test_prediction_draws_nothing():
    clf = small(MLP((8,), dropout=0.5)).fit(X, Y)
    np.testing.assert_array_equal(clf.predict_proba(X), clf.predict_proba(X))


def test_number_of_threads_is_left_alone():
    before = torch.get_num_threads()
    small().fit(X, Y).predict(X)
    assert torch.get_num_threads() == before


def train(seed):
    return parameters_of(small(MLP((8,), dropout=0.5), random_state=seed).fit(X, Y))


def test_threads_train_the_nets_that_one_thread_trains():
    alone = [train(seed) for seed in range(4)]
    together = joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(train)(seed) for seed in range(4)
    )
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_search_in_threads_is_that_in_one_thread():
    search = GridSearchCV(small(MLP((8,), dropout=0.5)), {"lr": [1e-3, 1e-2]}, cv=2)
    alone = clone(search).fit(X, Y).cv_results_["mean_test_score"]
    with joblib.parallel_backend("threading", n_jobs=2):
        together = clone(search).fit(X, Y).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(alone, together)


SEARCH = """
import torch
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from imbtorch import MLP, ImbalancedNetClassifier

torch.set_num_threads(2)
torch.randn(600, 600) @ torch.randn(600, 600)  # makes a pool of threads: a fork would hang
torch.set_num_threads(1)
X, y = make_classification(200, 5, weights=[0.8], random_state=0)
clf = ImbalancedNetClassifier(MLP((8,), dropout=0.3), max_epochs=2, random_state=0)
options = {"cv": 2, "scoring": "neg_log_loss", "error_score": "raise"}
search = GridSearchCV(clf, {"loss": ["focal", "cross_entropy"]}, **options)
one = search.fit(X, y).cv_results_["mean_test_score"].tolist()
two = search.set_params(n_jobs=2).fit(X, y).cv_results_["mean_test_score"].tolist()
print(one == two, one, two)
get_reusable_executor().shutdown()
"""


@pytest.mark.slow
def test_two_processes_train_the_nets_that_one_trains_after_threads_were_used(forks):
    # in a process of its own: a hang after a fork must end, and threads per worker must be equal
    assert forks.run(SEARCH).startswith("True")
