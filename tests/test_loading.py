"""How items are read: workers, random numbers of the items, and a ``collate_fn`` of the user."""

import multiprocessing
import os
import random

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import Dataset, IterableDataset, Subset, default_collate, get_worker_info

from imbtorch import DatasetRows, ImbalancedNetClassifier
from imbtorch._data.batch_loader import BatchLoader
from imbtorch.weights import class_counts
from tests.toy import parameters_of, small, table

X, Y = table()
X = X.astype(np.float32)
W = np.random.default_rng(0).integers(1, 4, len(Y)).astype(float)


class Items(Dataset):
    def __len__(self):
        return len(Y)

    def __getitem__(self, i):
        return X[i], Y[i]


class Noisy(Items):
    """Draws from all generators that people use."""

    def __getitem__(self, i):
        noise = np.random.normal(size=5) + random.random() + torch.rand(5).numpy()  # noqa: NPY002
        return X[i] + noise.astype(np.float32), Y[i]


class NoisyStream(IterableDataset):
    def __iter__(self):
        worker = get_worker_info()
        start, step = (worker.id, worker.num_workers) if worker else (0, 1)
        return (Noisy()[i] for i in range(start, len(Y), step))


def generators():
    numpy_state = str(np.random.get_state())  # noqa: NPY002
    return torch.get_rng_state().tolist(), numpy_state, random.getstate()


def assert_same(a, b):
    np.testing.assert_array_equal(parameters_of(a), parameters_of(b))


def net(**params):
    return small(features=None, batch_size=50, **params)


# -- random numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}], ids=["plain", "scored"])
def test_random_items_do_not_depend_on_the_workers(workers, params):
    before = generators()
    clf = net(num_workers=workers, **params).fit(Noisy())
    proba = clf.predict_proba(Noisy())
    assert generators() == before
    alone = net(**params).fit(Noisy())
    assert_same(clf, alone)
    np.testing.assert_array_equal(proba, alone.predict_proba(Noisy()))
    other = net(num_workers=workers, **params).set_params(random_state=1).fit(Noisy())
    assert not np.array_equal(parameters_of(clf), parameters_of(other))


class Seen(Callback):
    def on_train_begin(self, net, **kwargs):
        self.batches = []

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.batches.append(batch[0].clone())


@pytest.mark.parametrize("chunks", [False, True], ids=["epochs", "chunks"])
def test_every_epoch_draws_other_numbers(chunks):
    class Plain(Items):
        def __getitem__(self, i):
            return torch.cat([torch.tensor([float(i)]), torch.rand(1)]), Y[i]

    clf, seen = ImbalancedNetClassifier("mlp", features=None, random_state=0), []
    clf.set_params(callbacks=[Seen()], batch_size=50)
    if chunks:
        for _ in range(2):
            clf.partial_fit(Plain(), classes=[0, 1], shuffle=False)
            (calls,) = [c for _, c in clf.net_.callbacks_ if isinstance(c, Seen)]
            seen += calls.batches
    else:
        clf.set_params(max_epochs=2).fit(Plain())
        (calls,) = [c for _, c in clf.net_.callbacks_ if isinstance(c, Seen)]
        seen = calls.batches
    rows = torch.cat(seen)
    first, second = (part[part[:, 0].argsort(), 1] for part in rows.split(len(Y)))
    assert (first != second).all()
    assert len(first.unique()) == len(Y)


def test_a_dataset_with_a_generator_of_its_own():
    class Augmented(Items):
        def __getitem__(self, i):
            rng = np.random.default_rng(int(torch.randint(2**31, ())))
            return X[i] + rng.normal(size=5).astype(np.float32), Y[i]

    assert_same(net(num_workers=2).fit(Augmented()), net().fit(Augmented()))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_random_streams_repeat(workers):
    before, counts = generators(), class_counts(Y)
    one, two = (net(num_workers=workers).fit(NoisyStream(), class_counts=counts) for _ in range(2))
    assert_same(one, two)
    assert generators() == before


class Failing(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise OSError("the disk is gone")


@pytest.mark.parametrize("stream", [False, True])
def test_a_resumed_training_draws_the_same_numbers(stream, tmp_path):
    data = NoisyStream() if stream else Noisy()
    counts = {"class_counts": class_counts(Y)} if stream else {}
    params = {"max_epochs": 4, "checkpoint_interval": 1}
    with pytest.raises(OSError, match="disk is gone"):
        net(**params, checkpoint=tmp_path, callbacks=[Failing()]).fit(data, **counts)
    clf = net(**params, checkpoint=tmp_path).fit(data, resume=True, **counts)
    assert clf.n_iter_ == 4
    assert_same(clf, net(**params).fit(data, **counts))


@pytest.mark.parametrize("stream", [False, True], ids=["by position", "stream"])
def test_a_resumed_training_may_have_other_workers(stream, tmp_path):
    data = NoisyStream() if stream else Noisy()
    counts = {"class_counts": class_counts(Y)} if stream else {}
    params = {"max_epochs": 3, "checkpoint_interval": 1}
    with pytest.raises(OSError, match="disk is gone"):
        net(**params, checkpoint=tmp_path, callbacks=[Failing()]).fit(data, **counts)
    clf = net(**params, checkpoint=tmp_path, num_workers=2)
    if stream:  # the workers of a stream decide the order of its rows
        with pytest.raises(ValueError, match="num_workers was 0, is 2"):
            clf.fit(data, resume=True, **counts)
    else:
        assert_same(clf.fit(data, resume=True), net(**params).fit(data))


@pytest.mark.parametrize("sampler", ["class_balanced", "mixup"])
def test_samplers_over_workers_and_random_items(sampler):
    params = {"sampler": sampler, "collate_fn": default_collate}
    assert_same(net(num_workers=2, **params).fit(Noisy()), net(**params).fit(Noisy()))
    found = parameters_of(net(num_workers=2, **params).fit(Items()))
    expected = parameters_of(net(sampler=sampler).fit(X, Y))
    np.testing.assert_allclose(found, expected, atol=1e-6)


# -- workers ---------------------------------------------------------------------------------------


class Processes(Items):
    """Notes which processes read it."""

    def __init__(self, folder):
        self.folder = folder

    def __getitem__(self, i):
        (self.folder / str(os.getpid())).touch()
        return X[i], Y[i]


@pytest.mark.parametrize("callbacks", [None, [Seen()]], ids=["alone", "with callbacks"])
def test_workers_stay_from_epoch_to_epoch_and_end_with_the_fit(callbacks, tmp_path):
    rows, before = DatasetRows(Processes(tmp_path), Y), set(multiprocessing.active_children())
    net(max_epochs=3, num_workers=2, callbacks=callbacks).fit(rows, Y)
    workers = {int(path.name) for path in tmp_path.iterdir()} - {os.getpid()}
    assert len(workers) == (2 if callbacks is None else 2 * 3)
    assert set(multiprocessing.active_children()) <= before  # those of other tests may live on


class Blurred(Items):
    """Items that a curriculum changes."""

    strength = 0.0

    def __getitem__(self, i):
        return X[i] * np.float32(1 - self.strength) + np.float32(self.strength), Y[i]


class Curriculum(Callback):
    def __init__(self, data):
        self.data = data

    def on_epoch_begin(self, net, **kwargs):
        self.data.strength = len(net.history) / 4


@pytest.mark.parametrize("scored", [False, True], ids=["plain", "scored"])
@pytest.mark.parametrize("inner", ["items", "subset", "encoded"])
def test_workers_see_a_dataset_that_a_callback_changes(inner, scored):
    def fitted(workers):
        base = Blurred()
        data = Subset(base, range(len(Y))) if inner == "subset" else base
        params = {"num_workers": workers, "callbacks": [Curriculum(base)], "max_epochs": 3}
        clf = small(features="auto" if inner == "encoded" else None, batch_size=50, **params)
        return clf.set_params(early_stopping=scored).fit(data)

    clf, alone = fitted(2), fitted(0)
    assert_same(clf, alone)
    for name in ("train_loss", "valid_loss", "valid_score")[: 3 if scored else 1]:
        assert clf.history_[:, name] == alone.history_[:, name]


def read(positions, seed):
    if 7 in positions:
        raise OSError("no such file")
    return positions, seed


@pytest.mark.parametrize(("workers", "keeps"), [(0, True), (1, True), (1, False)])
def test_passes_that_are_left_or_nested(workers, keeps):
    load = BatchLoader(read, workers)
    load.keeps_workers = keeps
    batches = torch.arange(5).split(2)
    expected = [(batch.tolist(), 5) for batch in batches]
    with pytest.raises(OSError, match="no such file"):
        list(load(torch.arange(8).split(1), 1))
    assert list(load(batches, 5)) == expected
    outer = load(batches, 5)
    next(outer)
    assert list(load(batches, 5)) == expected  # by workers of its own
    assert list(outer) == expected[1:]
    left = load(batches, 4)
    next(left)
    left.close()
    assert list(load(batches, 5)) == expected


def test_large_items_are_predicted_in_small_chunks():
    class Large(Items):
        largest = 0

        def __len__(self):
            return 40

        def __getitems__(self, positions):
            self.largest = max(self.largest, len(positions))
            return [(np.zeros((1, 512, 512), np.float32), i % 2) for i in positions]

        def __getitem__(self, i):
            return self.__getitems__([i])[0]

    def pooled(shape, n):
        return nn.Sequential(nn.AvgPool2d(512), nn.Flatten(), nn.Linear(1, n))

    data = Large()
    clf = small(pooled, max_epochs=1, batch_size=8).fit(DatasetRows(data, np.arange(40) % 2))
    clf.predict(data)
    assert data.largest == 8


# -- collate_fn ------------------------------------------------------------------------------------


class Records(Dataset):
    """Items that are no pairs."""

    def __init__(self, weighted=False):
        self.weighted = weighted

    def __len__(self):
        return len(Y)

    def __getitem__(self, i):
        return {"x": X[i], "label": int(Y[i]), "weight": W[i]}

    def collated(self, items):
        made = default_collate(items)
        return (made["x"], made["label"], made["weight"])[: 2 + self.weighted]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("weighted", [False, True])
def test_items_of_any_kind_with_a_collate_fn(weighted, workers):
    data = Records(weighted)
    params = {"early_stopping": True, "loss": "focal", "num_workers": workers}
    clf = small(collate_fn=data.collated, **params).fit(data)
    plain = small(**params).fit(X, Y, W if weighted else None)
    assert_same(clf, plain)
    expected = plain.predict_proba(X)
    np.testing.assert_array_equal(clf.predict_proba(data), expected)
    alone = clf.set_params(collate_fn=lambda items: default_collate([i["x"] for i in items]))
    np.testing.assert_array_equal(alone.predict_proba(data), expected)
    rows = DatasetRows(data, Y)
    again = small(collate_fn=data.collated, **params).fit(rows[50:], rows.y[50:])
    assert_same(again, small(**params).fit(X[50:], Y[50:], W[50:] if weighted else None))


def test_streams_with_a_collate_fn():
    class Passing(IterableDataset):
        def __iter__(self):
            return (Records()[i] for i in range(len(Y)))

    class Plain(IterableDataset):
        def __iter__(self):
            return zip(X, Y, strict=True)

    counts = class_counts(Y)
    clf = net(collate_fn=Records().collated).fit(Passing(), class_counts=counts)
    assert_same(clf, net().fit(Plain(), class_counts=counts))


class Mean(nn.Module):
    """A linear model of the mean step of padded rows."""

    def __init__(self, n_outputs):
        super().__init__()
        self.out = nn.Linear(5, n_outputs)

    def forward(self, steps, length):
        return self.out(steps.sum(1) / length[:, None])


class Unequal(Dataset):
    """Sequences of unequal length."""

    def __len__(self):
        return len(Y)

    def __getitem__(self, i):
        return np.tile(X[i], (1 + i % 7, 1)), Y[i]


def padded(items):
    steps = nn.utils.rnn.pad_sequence([torch.from_numpy(x) for x, _ in items], batch_first=True)
    length = torch.tensor([float(len(x)) for x, _ in items])
    return {"steps": steps, "length": length}, [y for _, y in items]


def test_a_collate_fn_may_pad_each_batch():
    data = Unequal()
    clf = ImbalancedNetClassifier(Mean, max_epochs=3, random_state=0, collate_fn=padded).fit(data)
    proba = clf.predict_proba(data)
    np.testing.assert_allclose(clf.predict_proba(DatasetRows(data)[6:7])[0], proba[6], atol=1e-6)
    assert proba[Y == 1, 1].mean() > proba[Y == 0, 1].mean()
    with pytest.raises(ValueError, match="'length'"):
        clf.set_params(collate_fn=lambda items: padded(items)[0]["steps"]).predict(data)


class Overwriting(nn.Module):
    """Writes into its input, as ``nn.ReLU(inplace=True)`` does."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(5, 2)

    def forward(self, x):
        return self.out(x.relu_())


class Blocks(Dataset):
    """Neighbouring rows of a table, which its ``view`` returns without a copy."""

    def __init__(self):
        self.table = X.copy()

    def __len__(self):
        return len(Y)

    def __getitem__(self, i):
        return i

    def view(self, items):
        return self.table[items[0] : items[-1] + 1], Y[items[0] : items[-1] + 1]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(len(Y)))


FORMS = {
    "array": lambda x: x,
    "tensor": torch.from_numpy,
    "mapping": lambda x: {"x": torch.from_numpy(x)},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_module_cannot_write_into_what_collate_fn_returns(form):
    data = Blocks()

    def view(items):
        x, y = data.view(items)
        return FORMS[form](x), y

    clf = ImbalancedNetClassifier(Overwriting, collate_fn=view, batch_size=50, features=None)
    clf.set_params(max_epochs=1, random_state=0)
    clf.partial_fit(data, classes=[0, 1], shuffle=False).predict_proba(data)
    clf.predict_proba(DatasetRows(data, Y)[7:8])
    clf.fit(Stream(), class_counts=class_counts(Y))
    np.testing.assert_array_equal(data.table, X)


def test_an_array_of_collate_fn_may_be_read_only_or_reversed():
    def reversed_twice(items):
        x, y = default_collate(items)
        x = x.flip(1).numpy()[:, ::-1]
        x.flags.writeable = False
        return x, y

    assert_same(net(collate_fn=reversed_twice).fit(Items()), net().fit(Items()))


BAD = {
    "nothing": (lambda items: None, "got a NoneType as X"),
    "a list": (lambda items: ([[1.0]] * len(items), [0] * len(items)), "got a list as X"),
    "words": (lambda items: (np.array(["a"] * len(items)), Y), "an array of <U1 as X"),
    "fewer rows": (lambda items: (torch.zeros(1, 5), torch.zeros(1)), r"X of shape \(1, 5\) for"),
    "single numbers": (lambda items: (torch.zeros(len(items)), Y), "reshape"),
    "fewer targets": (
        lambda items: (torch.zeros(len(items), 5), torch.zeros(len(items) + 1)),
        "returned y of shape",
    ),
    "weights": (
        lambda items: (torch.zeros(len(items), 5), torch.zeros(len(items)), [1.0]),
        "returned sample_weight of shape",
    ),
    "no targets": (lambda items: torch.zeros(len(items), 5), "returned no targets"),
    "four parts": (lambda items: (torch.zeros(len(items), 5),) * 4, "input|inputs|targets"),
    "NaN": (lambda items: (torch.full((len(items), 5), torch.nan), [0] * len(items)), "NaN"),
    "one input of NaN": (
        lambda items: ({"a": torch.full((len(items),), torch.nan)}, [0] * len(items)),
        "Input 'a' of X contains NaN",
    ),
    "other inputs": (
        lambda items: ({str(len(items)): torch.zeros(len(items))}, [0] * len(items)),
        "same shape",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_batches_that_are_none(name):
    collate_fn, words = BAD[name]
    clf = net(collate_fn=collate_fn)
    with pytest.raises(ValueError, match=words):
        clf.fit(Items())
    assert not hasattr(clf, "n_features_in_")


def test_the_parameter_is_of_datasets_only():
    assert_same(net(collate_fn=padded).fit(X, Y), net().fit(X, Y))
