"""``fit`` and ``predict`` on torch Datasets: the model is that of the same rows as arrays."""

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE
from torch import nn
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset, get_worker_info

import imbtorch._fit.sources.stream
from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
)
from imbtorch.losses import FocalLoss
from imbtorch.samplers import BaseSampler, Plan
from imbtorch.weights import class_counts
from tests.toy import parameters_of, small, table

X, Y = table()
X = X.astype(np.float32)
NAMES = np.array(["no", "yes"])[Y]
W = np.random.default_rng(0).integers(0, 4, len(Y)).astype(float)
TAGS = np.stack([Y, X[:, 0] > 0, X[:, 1] > 1], axis=1).astype(int)


class Items(Dataset):
    """Map-style."""

    def __init__(self, *columns):
        self.columns = columns

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, i):
        return tuple(column[i] for column in self.columns)


class Batched(Items):
    """Reads many items at once, and one by one only when asked for a single one."""

    def __getitems__(self, positions):
        self.largest = max(getattr(self, "largest", 0), len(positions))
        return [self[i] for i in positions]


class Passing(IterableDataset):
    """Shares its rows among the workers, unless it has forgotten."""

    def __init__(self, *columns, shared=True):
        self.columns, self.shared = columns, shared

    def __iter__(self):
        worker = get_worker_info()
        start, step = (worker.id, worker.num_workers) if worker and self.shared else (0, 1)
        for i in range(start, len(self.columns[0]), step):
            yield tuple(column[i] for column in self.columns)


class InOrder(BaseSampler):
    """All rows, in the order of the data."""

    _takes_labels = True

    def _plan(self, targets, n_classes, batch_size, seed):
        counts = np.bincount(targets, minlength=n_classes).astype(float)

        class Ordered(Plan):
            def order(self, epoch, n_epochs):
                return np.arange(len(targets))

            def expected_counts(self, n_epochs=None):
                return counts

        return Ordered()


def deep(**params):
    return small(MLP((8,), dropout=0.2), **params)


def assert_same(a, b):
    np.testing.assert_array_equal(parameters_of(a), parameters_of(b))


# -- map-style -------------------------------------------------------------------------------------

SETTINGS = {
    "defaults": {},
    "balanced focal": {"class_weight": "balanced", "loss": "focal", "target_prior": "train"},
    "early stopping": {"early_stopping": True},
    "named scorer": {"validation_fraction": 0.3, "scoring": "roc_auc"},
    "own scorer": {
        "validation_fraction": 0.3,
        "scoring": lambda e, X, y: -e.predict_proba(X)[:, 1].mean(),
    },
    "deferred": {"loss": "ldam", "class_weight": "sqrt", "class_weight_schedule": 0.5},
    "class-balanced": {"sampler": "class_balanced"},
    "mixup": {"sampler": "mixup"},
    "averages": {"averaging": "swa"},
    "small batches": {"batch_size": 7},
}


@pytest.mark.matrix
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_model_is_that_of_the_arrays(name, weighted):
    columns = (X, NAMES, W) if weighted else (X, NAMES)
    expected = deep(**SETTINGS[name]).fit(*columns)
    found = deep(**SETTINGS[name]).fit(Items(*columns))
    # another alignment in memory may round otherwise
    np.testing.assert_allclose(parameters_of(found), parameters_of(expected), atol=1e-6)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(found.class_counts_, expected.class_counts_)
    assert found.classes_.tolist() == ["no", "yes"]
    assert found.n_features_in_ == 5


@pytest.mark.parametrize(
    "dataset",
    [
        lambda: TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
        lambda: Subset(Items(X, Y), range(len(Y))),
        lambda: Items(X.astype(np.float64).tolist(), Y.tolist()),
        lambda: Batched(torch.from_numpy(X), torch.from_numpy(Y)),
    ],
    ids=["tensors", "subset", "lists", "getitems"],
)
def test_items_of_any_kind(dataset):
    assert_same(small().fit(dataset()), small().fit(X, Y))


def test_batches_are_read_at_once_where_the_dataset_can():
    data = Batched(X, Y)
    small(batch_size=50).fit(data)
    assert data.largest > 1


def test_workers_read_the_same_rows():
    params = {"class_weight": "balanced", "loss": "focal"}
    clf = deep(num_workers=2, **params).fit(Items(X, NAMES, W))
    assert_same(clf, deep(**params).fit(X, NAMES, W))


def test_images_and_several_labels():
    images = np.random.default_rng(0).normal(size=(60, 2, 4, 4))
    clf = small(lambda shape, n: nn.Sequential(nn.Flatten(), nn.Linear(32, n)), loss="bce")
    tags = TAGS[:60]
    expected = parameters_of(clf.fit(images, tags))
    np.testing.assert_array_equal(parameters_of(clf.fit(Items(images, tags))), expected)


@pytest.mark.parametrize("two", [False, True])
def test_regressor(two):
    y = np.stack([X[:, 0], X[:, 1] * 3], axis=1) if two else X[:, 0] * 2 + 1
    params = {"max_epochs": 2, "random_state": 0, "density_weight": "lds" if not two else None}
    for validation in (None, 0.2):
        net = ImbalancedNetRegressor(**params, validation_fraction=validation)
        expected = parameters_of(net.fit(X, y, W))
        found = parameters_of(net.fit(Items(X, y, W)))
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(net.predict(Items(X, y)), net.predict(X))


def test_predictions_of_a_dataset():
    clf = small().fit(X, NAMES)
    for data in (Items(X, NAMES), TensorDataset(torch.from_numpy(X)), list(X)):
        np.testing.assert_array_equal(clf.predict_proba(data), clf.predict_proba(X))
    assert clf.score(Items(X, NAMES), NAMES) == clf.score(X, NAMES)


def test_warm_start_and_fits_on_other_data():
    clf = small(warm_start=True).fit(Items(X, Y)).fit(X, Y)
    assert_same(clf, small(warm_start=True).fit(X, Y).fit(X, Y))
    with pytest.raises(ValueError, match="shape"):
        clf.fit(Items(X[:, :3], Y))
    with pytest.raises(ValueError, match="shape"):
        clf.predict(Items(X[:, :3], Y))


def test_generators_of_torch_are_left_alone():
    before = torch.get_rng_state()
    small().fit(Items(X, Y))
    small().fit(Passing(X, Y), class_counts=class_counts(Passing(X, Y)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_random_items_repeat_with_the_seed():
    class Noisy(Items):
        def __getitem__(self, i):
            return self.columns[0][i] + 0.1 * torch.randn(5), self.columns[1][i]

    data = Noisy(torch.from_numpy(X), Y)
    for workers in (0, 2):
        assert_same(small(num_workers=workers).fit(data), small(num_workers=workers).fit(data))


# -- iterable --------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"class_weight": "balanced", "loss": FocalLoss(gamma=1), "target_prior": "train"},
        {
            "loss": "ldam",
            "class_weight": "sqrt",
            "class_weight_schedule": 0.5,
            "averaging": "ema",
        },
        {"batch_size": 7, "loss_schedule": {"gamma": lambda t: 2 * t}, "loss": "focal"},
        {"batch_size": 13},  # 300 = 23 x 13 + 1: the last row joins its neighbours
    ],
    ids=["defaults", "balanced", "deferred", "scheduled", "single row left"],
)
def test_stream_trains_as_arrays_in_the_same_order(params, weighted):
    columns = (X, NAMES, W) if weighted else (X, NAMES)
    clf = deep(**params).fit(Passing(*columns), class_counts=class_counts(*columns[1:]))
    expected = deep(**params, sampler=InOrder()).fit(*columns)
    np.testing.assert_allclose(parameters_of(clf), parameters_of(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(clf.class_counts_, expected.class_counts_)
    np.testing.assert_allclose(clf.effective_prior_, expected.effective_prior_)
    assert clf.history_[-1, "train_loss"] == pytest.approx(expected.history_[-1, "train_loss"])


def test_stream_of_several_labels():
    params = {"loss": "bce", "class_weight": "balanced"}
    data = Passing(X, TAGS, W)
    clf = small(**params, batch_size=64).fit(data, class_counts=class_counts(data))
    whole = small(**params, batch_size=len(Y))
    whole.fit(X, TAGS, W)
    np.testing.assert_allclose(clf.effective_prior_, whole.effective_prior_)
    one = small(**params, batch_size=len(Y)).fit(data, class_counts=class_counts(data))
    np.testing.assert_allclose(parameters_of(one), parameters_of(whole), rtol=1e-4, atol=1e-5)


def test_plain_dict_of_counts():
    a = small().fit(Passing(X, Y), class_counts={1: (Y == 1).sum(), 0: (Y == 0).sum()})
    assert_same(a, small().fit(Passing(X, Y), class_counts=class_counts(Y)))


@pytest.mark.parametrize("kind", [Items, Passing])
def test_training_that_was_cut_short_continues(kind, tmp_path):
    class Failing(kind):
        reads = 0

        def _read(self):
            self.reads += 1
            if self.reads > 700:  # in the second epoch, or the third
                raise OSError("the disk is gone")

        def __getitem__(self, i):
            self._read()
            return super().__getitem__(i)

        def __iter__(self):
            for item in super().__iter__():
                self._read()
                yield item

    counts = {"class_counts": class_counts(Y)} if kind is Passing else {}
    params = {"max_epochs": 4, "checkpoint": tmp_path, "loss": "focal"}
    clf = deep(**params)
    with pytest.raises(OSError, match="disk is gone"):
        clf.fit(Failing(X, Y), **counts)
    clf.fit(kind(X, Y), resume=True, **counts)
    assert_same(clf, deep(**{**params, "checkpoint": None}).fit(kind(X, Y), **counts))
    assert clf.n_iter_ == 4


class Observing(nn.Identity):
    """Sees the targets of each batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def observe(self, target):
        self.seen.append(target.clone())

    def end_epoch(self):
        self.seen.append(None)


@pytest.mark.parametrize("data", [(X, Y), (Items(X, Y),), (Passing(X, Y),)], ids=["a", "m", "i"])
def test_layers_that_look_at_targets_leave_schedules_alone(data):
    def net(layer):
        return lambda shape, n: nn.Sequential(layer, nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, n))

    counts = {"class_counts": class_counts(Y)} if isinstance(data[0], Passing) else {}
    params = {"class_weight": {1: 9}, "class_weight_schedule": 0.5, "loss": "cross_entropy"}
    clf = small(net(Observing()), **params).fit(*data, **counts)
    seen = clf.module_[0].seen
    assert sum(batch is None for batch in seen) == 2
    assert sum(len(batch) for batch in seen if batch is not None) == 2 * len(Y)
    plain = small(net(nn.Identity()), **params).fit(*data, **counts)
    np.testing.assert_allclose(parameters_of(clf), parameters_of(plain), atol=1e-6)


def test_workers_share_the_rows_of_a_stream():
    seen = []

    class Spy(nn.Linear):
        def forward(self, x):
            if self.training:
                seen.append(x[:, 0].detach().clone())
            return super().forward(x)

    for workers in (0, 2):
        seen.clear()
        clf = small(lambda shape, n: Spy(5, n), num_workers=workers, max_epochs=1)
        clf.fit(Passing(X, Y), class_counts=class_counts(Y))
        assert sorted(torch.cat(seen).tolist()) == sorted(X[:, 0].tolist())


@pytest.mark.parametrize(
    ("workers", "counts", "message"),
    [
        (2, class_counts(Y), "more than 300 rows.*get_worker_info"),
        (0, class_counts(np.tile(Y, 2)), "300 rows.*says 600"),
        (0, class_counts(Y[:100]), "more than 100 rows.*says 100"),
    ],
)
def test_rows_that_were_not_counted_are_an_error(workers, counts, message):
    clf = small(num_workers=workers)
    with pytest.raises(ValueError, match=message) as caught:
        clf.fit(Passing(X, Y, shared=False), class_counts=counts)
    assert caught  # which holds the frames of the failed fit
    assert not [name for name in vars(clf) if name.endswith("_") or name == "_input_shape"]


class Once(IterableDataset):
    """An iterator, which is empty after its first pass."""

    def __init__(self):
        self.rows = zip(X, Y, strict=True)

    def __iter__(self):
        return self.rows


def bad(column, value, i=200):
    column = column.copy()
    column[i] = value
    return column


def plain(clf):
    """Let the module of a classifier get the rows as they are."""
    return clf.set_params(features=None)


COUNTS = class_counts(Y)
ERRORS = {
    "no counts": (lambda c: c.fit(Passing(X, Y)), "needs class_counts.*class_counts\\("),
    "one pass only": (lambda c: c.fit(Once(), class_counts=COUNTS), "298 rows|0 rows"),
    "unknown label": (
        lambda c: c.fit(Passing(X, bad(Y, 7)), class_counts=COUNTS),
        r"labels \[7\].*known classes \[0, 1\]",
    ),
    "NaN": (
        lambda c: plain(c).fit(Passing(bad(X, np.nan), Y), class_counts=COUNTS),
        "NaN or infinity",
    ),
    "infinity": (
        lambda c: c.fit(Passing(bad(X, np.inf), Y), class_counts=COUNTS),
        "NaN or infinity",
    ),
    "too large": (
        lambda c: plain(c).fit(Passing(bad(X.astype(float), 1e300), Y), class_counts=COUNTS),
        "too large for dtype float32",
    ),
    "other width": (
        lambda c: c.fit(Passing([*X[:99], X[0, :3], *X[100:]], Y), class_counts=COUNTS),
        "the same shape",
    ),
    "negative weight": (
        lambda c: c.fit(Passing(X, Y, bad(W, -1.0)), class_counts=COUNTS),
        ">= 0",
    ),
    "validation": (
        lambda c: c.set_params(early_stopping=True).fit(Passing(X, Y), class_counts=COUNTS),
        "cannot be split",
    ),
    "sampler": (
        lambda c: c.set_params(sampler="class_balanced").fit(Passing(X, Y), class_counts=COUNTS),
        "by position",
    ),
    "empty": (lambda c: c.fit(Passing(X[:0], Y[:0]), class_counts=COUNTS), "empty"),
    "counts of arrays": (lambda c: c.fit(X, Y, class_counts=COUNTS), "arrays and map-style"),
    "y twice": (lambda c: c.fit(Items(X, Y), Y), "Leave out y"),
    "no y": (lambda c: c.fit(X), "requires y"),
    "features alone": (lambda c: c.fit(TensorDataset(torch.from_numpy(X))), r"\(X, y\)"),
    "not pairs": (lambda c: c.fit(Items(*[X] * 4)), "tuple of 4"),
    "no items": (lambda c: c.fit(Items(X[:0], Y[:0])), "empty"),
    "items of NaN": (lambda c: plain(c).fit(Items(bad(X, np.nan), Y)), "NaN"),
    "items of infinity": (lambda c: c.fit(Items(bad(X, np.inf), Y)), "infinity"),
    "items of words": (lambda c: c.fit(Items(NAMES, Y)), "numbers"),
    "single numbers": (lambda c: c.fit(Items(X[:, 0], Y)), "at least one dimension"),
    "continuous": (lambda c: c.fit(Items(X, X[:, 0])), "continuous"),
    "imbalanced-learn": (
        lambda c: c.set_params(sampler=SMOTE()).fit(Items(X, Y)),
        "is a Dataset.*imbtorch.samplers",
    ),
    "chunk with y twice": (
        lambda c: c.set_params(max_epochs=1).partial_fit(Items(X, Y), Y, classes=[0, 1]),
        "Leave out y.*DatasetRows",
    ),
    "chunk of a stream": (
        lambda c: c.set_params(max_epochs=1).partial_fit(Passing(X, Y), Y, classes=[0, 1]),
        "chunks of it as arrays",
    ),
    "predict on a stream": (lambda c: small().fit(X, Y).predict(Passing(X, Y)), "chunks as arrays"),
    "ensemble": (lambda c: NetEnsembleClassifier(c).fit(Items(X, Y), Y), "DatasetRows"),
    "regressor": (lambda c: ImbalancedNetRegressor().fit(Passing(X, X[:, 0])), "map-style"),
}


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_what_cannot_be_done_is_a_clear_error(name):
    act, message = ERRORS[name]
    clf = small()
    with pytest.raises(ValueError, match=message):
        act(clf)
    assert not hasattr(clf, "n_features_in_")


@pytest.mark.parametrize("kind", [Items, Passing])
@pytest.mark.parametrize("value", [np.nan, 1e300])
def test_items_may_have_gaps_and_numbers_of_any_size(kind, value):
    rows = bad(X.astype(float), value)
    counts = {"class_counts": COUNTS} if kind is Passing else {}
    clf = small().fit(kind(rows, Y), **counts)
    assert np.isfinite(clf.predict_proba(Items(rows, Y))).all()
    np.testing.assert_allclose(
        clf.net_.encoder_.centre, small().fit(rows, Y).net_.encoder_.centre, rtol=1e-10
    )


def test_streams_are_not_divided_among_processes(monkeypatch):
    monkeypatch.setattr(imbtorch._fit.sources.stream, "launched", lambda: 2)
    with pytest.raises(ValueError, match="data_parallel.*map-style"):
        small(data_parallel=True).fit(Passing(X, Y), class_counts=COUNTS)


def test_parameters_are_kept():
    assert ImbalancedNetClassifier(num_workers=2).get_params()["num_workers"] == 2
    with pytest.raises(ValueError, match="num_workers"):
        small(num_workers=-1).fit(X, Y)
