"""Work per chunk and per epoch does not grow with the number of epochs before."""

import copy
import pickle

import numpy as np
import pytest
from skorch.history import History

from imbtorch import MLP
from tests.toy import small, table

X, Y = table(64)


class Record(dict):
    """Record of an epoch that counts how often records are read."""

    reads = 0

    def __getitem__(self, key):
        Record.reads += 1
        return super().__getitem__(key)

    def __contains__(self, key):
        Record.reads += 1
        return super().__contains__(key)

    def get(self, key, default=None):
        Record.reads += 1
        return super().get(key, default)


@pytest.fixture
def counted(monkeypatch):
    """How often records were read, and the whole history was copied, since the last call."""
    copies = []
    to_list = History.to_list
    monkeypatch.setattr(History, "to_list", lambda self: copies.append(1) or to_list(self))
    monkeypatch.setattr(History, "new_epoch", lambda self: self.append(Record(batches=[])))

    def since():
        result = Record.reads, len(copies)
        Record.reads = 0
        copies.clear()
        return result

    return since


def test_chunk_looks_at_no_earlier_record(counted):
    clf = small(MLP((2,)), max_epochs=1)
    found = []
    for _ in range(30):
        clf.partial_fit(X, Y, classes=[0, 1])
        found.append(counted())
    assert found[1] == found[-1]
    assert found[-1][1] == 0
    assert clf.n_iter_ == 30


def test_epoch_looks_at_no_earlier_record(counted):
    def n_reads(epochs):
        clf = small(MLP((2,)), max_epochs=epochs, early_stopping=True, patience=100)
        counted()
        clf.fit(X, Y)
        return counted()

    (a, b), (c, d), (e, f) = map(n_reads, (10, 20, 30))
    assert c - a == e - c
    assert (b, d, f) == (0, 0, 0)


def best_so_far(history, name):
    losses = [record[name] for record in history]
    return [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]


def test_best_loss_is_that_of_all_chunks_and_fits():
    clf = small(MLP((2,)), max_epochs=4, lr=1.0, warm_start=True).fit(X, Y)
    for _ in range(3):
        clf = pickle.loads(pickle.dumps(copy.deepcopy(clf)))
        clf.partial_fit(X, Y).fit(X, Y)
    flags = clf.history_[:, "train_loss_best"]
    assert flags == best_so_far(clf.history_, "train_loss")
    assert True in flags[1:]
    assert False in flags


def test_best_loss_follows_a_history_that_was_changed():
    clf = small(MLP((2,)), warm_start=True).fit(X, Y)
    del clf.history_[:]
    clf.set_params(lr=1.0, max_epochs=6).fit(X, Y)
    flags = clf.history_[:, "train_loss_best"]
    assert flags == best_so_far(clf.history_, "train_loss")
    assert flags[0]


def test_failed_chunk_leaves_the_history_alone():
    clf = small(MLP((2,))).fit(X, Y)
    before, lowest = copy.deepcopy(list(clf.history_)), dict(clf.history_.lowest)
    with pytest.raises(ValueError, match="target_prior"):
        clf.set_params(target_prior={0: 0.5}).partial_fit(X, Y)
    assert list(clf.history_) == before
    assert clf.history_.lowest == lowest


def test_history_is_indexed_as_that_of_skorch():
    clf = small(MLP((2,)), max_epochs=3).fit(X, Y)
    plain = History(list(clf.history_))
    own = clf.history_
    assert isinstance(own, History)
    for index in (0, -1, slice(None), slice(1, None), (-1, "train_loss"), (slice(None), "lr")):
        assert own[index] == plain[index]
    with pytest.raises(IndexError):
        own[3]
    with pytest.raises(KeyError):
        own[0, "nothing"]
