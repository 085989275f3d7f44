"""Steps of several batches, against steps of one batch that has all of their rows."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn
from torch.utils.data import IterableDataset

from imbtorch import MLP, ImbalancedNetClassifier, ImbalancedNetRegressor, NetEnsembleClassifier
from imbtorch.feature_smoothing import FeatureSmoothing
from imbtorch.losses import all_losses
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.samplers import ExactBatchSampler
from imbtorch.weights import class_counts
from tests.toy import parameters_of, small, table
from tests.training.helpers import Plain, WatchBatches
from tests.training.stacked import FOLDS, check

pytestmark = pytest.mark.filterwarnings("ignore::imbtorch.DoubleCorrectionWarning")

X, Y = table(301, rate=0.2)  # steps of 96 rows: the last one has 13, a batch of 8 and one of 5
WEIGHT = np.random.default_rng(0).uniform(0.1, 3, len(X))
LABELS = np.stack([Y, X[:, 0] > 0.5, X[:, 1] > 0], axis=1).astype(int)
UNKNOWN = np.where(np.random.default_rng(1).random(LABELS.shape) < 0.2, np.nan, LABELS)
VALUES = X @ np.arange(1, 6) + np.random.default_rng(2).normal(size=len(X))
LARGE, SMALL = {"batch_size": 96}, {"batch_size": 8, "accumulate": 12}
WHOLE = [name for name, cls in all_losses().items() if not cls.sums_over_rows]


def fits(make, X=X, y=Y, weight=None, **params):
    """Fit with large batches, and with small ones that make equally large steps."""
    params = {"dtype": "float64", "lr": 0.03, **params}
    return [make(**size, **params).fit(X, y, weight) for size in (LARGE, SMALL)]


def assert_equal(large, accumulated):
    np.testing.assert_allclose(
        parameters_of(accumulated), parameters_of(large), rtol=1e-6, atol=1e-9
    )
    for key in ("train_loss", "lr"):
        found, expected = (clf.history_[:, key] for clf in (accumulated, large))
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=key)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"class_weight": "balanced", "loss": "cross_entropy"},
        {"loss": "focal", "class_weight": {0: 1, 1: 7}},
        {"loss": "logit_adjusted", "loss__tau": 1.5},
        {"loss": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))},
        {"loss": nn.L1Loss()},
        {"gradient_clipping": 0.1, "optimizer": "sgd"},
        {"sharpness": 0.05},
        {"averaging": "swa", "max_epochs": 4},
        {"averaging": 0.9, "lr_schedule": "cosine"},
        {"class_weight": "balanced", "class_weight_schedule": 0.5, "loss": "cross_entropy"},
        {"sampler": "class_balanced"},
        {"sampler": "mixup"},
        {"on_oom": "split"},
        {"early_stopping": True, "max_epochs": 5, "patience": 1},
        {"module": Plain},
        {"module": MLP((8,), normalization="layer")},
        {"module": "tabm"},
    ],
    ids=str,
)
def test_equals_one_large_batch(params):
    nested = {name: params[name] for name in params if "__" in name}
    plain = {name: params[name] for name in params if "__" not in name}
    make = lambda **own: small(**own).set_params(**nested)  # noqa: E731
    assert_equal(*fits(make, weight=WEIGHT, **plain))


def test_a_step_is_more_than_a_batch():
    alone = small(batch_size=8, dtype="float64", lr=0.03).fit(X, Y)
    together = small(**SMALL, dtype="float64", lr=0.03).fit(X, Y)
    assert abs(parameters_of(alone) - parameters_of(together)).max() > 1e-3


@pytest.mark.parametrize("labels", [LABELS, UNKNOWN], ids=["known", "unknown"])
@pytest.mark.parametrize("loss", ["bce", "focal", "distribution_balanced"])
def test_labels(loss, labels):
    params = {} if loss == "distribution_balanced" else {"class_weight": "balanced"}
    assert_equal(*fits(small, y=labels, weight=WEIGHT, loss=loss, **params))


@pytest.mark.parametrize("loss", ["mse", "huber", "focal_r"])
def test_regression(loss):
    def make(**params):
        return ImbalancedNetRegressor(MLP((8,)), max_epochs=2, random_state=0, **params)

    assert_equal(*fits(make, y=VALUES, weight=WEIGHT, loss=loss, density_weight="lds"))


def test_sparse_rows():
    rows = sparse.csr_array(X * (np.abs(X) > 2.5))
    assert_equal(*fits(small, rows, features=None))


class Stream(IterableDataset):
    def __iter__(self):
        return zip(X, Y, strict=True)


def test_stream():
    counts = class_counts(Stream())
    nets = [small(**size, dtype="float64", features=None) for size in (LARGE, SMALL)]
    assert_equal(*[clf.fit(Stream(), class_counts=counts) for clf in nets])


def test_partial_fit():
    nets = [small(**size, dtype="float64", lr=0.03) for size in (LARGE, SMALL)]
    for clf in nets:
        for rows in (slice(0, 150), slice(150, 301)):
            clf.set_params(max_epochs=20).partial_fit(X[rows], Y[rows], classes=[0, 1])
    assert_equal(*nets)


def test_a_sampler_plans_batches_and_not_steps():
    clf = small(**SMALL, sampler=ExactBatchSampler(per_class=[6, 2])).fit(X, Y)
    assert clf.n_iter_ == 2


@pytest.mark.parametrize("module", [MLP((8,)), Plain], ids=["chain", "mapped"])
@pytest.mark.parametrize("params", [{}, {"sharpness": 0.05, "gradient_clipping": 0.1}], ids=str)
def test_stacks(module, params):
    check(module=module, batch_size=8, accumulate=4, **params)


def test_stacks_of_large_batches_and_of_steps_are_apart():
    check(
        folds=FOLDS[:2], n_stacks=2,
        grid=[{"batch_size": 32}, {"batch_size": 8, "accumulate": 4}],
    )  # fmt: skip


def test_searches_and_ensembles():
    grid = {"batch_size": [8], "accumulate": [1, 12], "lr": [0.01, 0.03]}
    search = StackedGridSearchCV(small(), grid, cv=2).fit(X, Y)
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    pair = [
        NetEnsembleClassifier(small(**size, dtype="float64"), n_estimators=2, random_state=0)
        for size in (LARGE, SMALL)
    ]
    large, accumulated = (ensemble.fit(X, Y).predict_proba(X) for ensemble in pair)
    np.testing.assert_allclose(accumulated, large, rtol=1e-6)


def test_batch_normalisation_sees_the_batches():
    """Its statistics are those of 8 rows, also for the average of the weights."""
    sizes = set()

    class Watched(nn.BatchNorm1d):
        def forward(self, x):
            if self.training:
                sizes.add(len(x))
            return super().forward(x)

    def build(shape, n_outputs):
        return nn.Sequential(nn.Linear(shape[0], 6), Watched(6), nn.ReLU(), nn.Linear(6, 2))

    small(build, **SMALL, averaging="swa").fit(X, Y)
    assert sizes == {8, 5}


@pytest.mark.parametrize("loss", WHOLE)
def test_losses_of_whole_batches_are_refused(loss):
    clf = small(loss=loss, accumulate=2)
    with pytest.raises(ValueError, match=r"accumulate=2 would not train .* compares the rows"):
        clf.fit(X, Y)
    assert not hasattr(clf, "net_")


def test_a_loss_of_values_that_compares_rows_is_refused():
    regressor = ImbalancedNetRegressor(MLP((8,)), loss="balanced_mse", accumulate=2)
    with pytest.raises(ValueError, match=r"accumulate=2 .* compares the rows"):
        regressor.fit(X, VALUES)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (small(callbacks=[WatchBatches()], accumulate=2), "callbacks look at whole batches"),
        (small(nn.Sequential(nn.Linear(5, 2), FeatureSmoothing(2)), accumulate=3), "looks at"),
    ],
    ids=["callbacks", "smoothing"],
)
def test_what_looks_at_a_whole_step_is_refused(estimator, reason):
    with pytest.raises(ValueError, match=f"accumulate=. would not train .*{reason}"):
        estimator.fit(X, Y)


def test_stacks_refuse_as_well():
    search = StackedGridSearchCV(
        small(loss=WHOLE[0], accumulate=2), {"lr": [0.01, 0.1]}, cv=2, error_score="raise"
    )
    with pytest.raises(ValueError, match="accumulate=2 would not train"):
        search.fit(X, Y)


def test_more_batches_than_there_are_make_one_step_of_all_rows():
    X = np.random.default_rng(0).normal(size=(100, 3))
    y = X[:, 0] > 0.5
    options = {"max_epochs": 2, "random_state": 0, "dtype": "float64"}
    many = ImbalancedNetClassifier("mlp", batch_size=32, accumulate=10**12, **options).fit(X, y)
    whole = ImbalancedNetClassifier("mlp", batch_size=100, **options).fit(X, y)
    np.testing.assert_allclose(many.predict_proba(X), whole.predict_proba(X), rtol=1e-9)
