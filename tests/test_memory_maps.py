"""Rows on a disk: what is kept of the file, and what is checked."""

import os
from itertools import count

import numpy as np
import pytest
import sklearn
import torch

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch._common import memory_maps
from imbtorch._common.memory_maps import map_is_finite, release_pages
from imbtorch.features import _statistics
from imbtorch.training.data import features as features_module
from imbtorch.training.data.features import as_features

needs_linux = pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="needs Linux")
N, WIDTH = 20_000, 128  # 10 MB of float32


@pytest.fixture
def path(tmp_path):
    X = np.random.default_rng(0).standard_normal((N, WIDTH), dtype=np.float32)
    np.save(tmp_path / "X.npy", X)
    return tmp_path / "X.npy"


@pytest.fixture(autouse=True)
def small_files_count(monkeypatch):
    monkeypatch.setattr(memory_maps, "SMALLEST", 1)


def resident(path):
    """Bytes of the file that are mapped into this process."""
    total, counts = 0, False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            first = line.split()[0]
            if not first.endswith(":"):
                counts = line.rstrip().endswith(str(path))
            elif first == "Rss:" and counts:
                total += int(line.split()[1]) * 1024
    return total


@needs_linux
@pytest.mark.parametrize("view", ["map", "part", "array"])
def test_pages_are_given_back(view, path):
    X = np.load(path, mmap_mode="r")
    X.sum()
    assert resident(path) >= X.nbytes
    release_pages({"map": X, "part": X[5:, ::2], "array": np.asarray(X)[7:]}[view])
    assert resident(path) == 0
    np.testing.assert_array_equal(X, np.load(path))


@needs_linux
def test_pages_of_small_files_stay(path, monkeypatch):
    monkeypatch.setattr(memory_maps, "SMALLEST", 2**30)
    X = np.load(path, mmap_mode="r")
    X.sum()
    release_pages(X)
    assert resident(path) >= X.nbytes


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_changes_are_kept(mode, path):
    X = np.load(path, mmap_mode=mode)
    X[17] = 3
    release_pages(X)
    assert (X[17] == 3).all()
    assert (np.load(path)[17] == 3).all() == (mode == "r+")


def test_what_is_no_memory_map_is_left_alone(path):
    for other in (np.load(path), torch.ones(3), [[1.0]], None):
        release_pages(other)
        assert not map_is_finite(other, allow_nan=True)


@pytest.mark.parametrize("allow_nan", [False, True])
@pytest.mark.parametrize("value", [0.0, 3e38, np.nan, np.inf, -np.inf])
def test_finite_numbers_are_found_block_by_block(value, allow_nan, path, monkeypatch):
    monkeypatch.setattr(memory_maps, "_BLOCK", 2**20)
    X = np.load(path, mmap_mode="r+")
    X[N - 3, :3] = value  # the sum of three times 3e38 is infinite in float32
    expected = np.isfinite(value) or (allow_nan and np.isnan(value))
    assert map_is_finite(X, allow_nan=allow_nan) == expected


def test_nothing_is_read_if_numbers_are_assumed_to_be_finite(path, monkeypatch):
    monkeypatch.setattr(memory_maps, "_blocks", None)  # which would raise
    with sklearn.config_context(assume_finite=True):
        assert map_is_finite(np.load(path, mmap_mode="r"), allow_nan=False)


@pytest.mark.parametrize(("features", "value"), [(None, np.nan), (None, np.inf), ("auto", -np.inf)])
def test_error_is_that_of_the_array(features, value, path):
    X = np.load(path, mmap_mode="r+")
    X[N - 1, 2] = value
    y = np.arange(N) % 2
    net = ImbalancedNetClassifier(MLP((4,)), features=features, max_epochs=1)
    messages = []
    for given in (X, np.array(X)):
        with pytest.raises(ValueError, match="Input X contains") as error:
            net.fit(given, y)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@needs_linux
@pytest.mark.parametrize("features", [None, "auto"])
@pytest.mark.slow
def test_fit_and_predict_keep_a_small_part_of_the_file(features, path, monkeypatch):
    monkeypatch.setattr(memory_maps, "_BLOCK", 2**20)
    monkeypatch.setattr(_statistics, "_BLOCK", 2**20)
    monkeypatch.setattr(memory_maps, "_FEW_ROWS", 20)
    monkeypatch.setattr(features_module, "_DISK_SPAN", 2**19)
    monkeypatch.setattr(features_module, "_FEWEST_ROWS", 32)
    found, calls, known = memory_maps._pages, count(), []

    def watched(array):
        if next(calls) % 23 == 0:  # to look takes milliseconds
            known.append(resident(path))
        return found(array)

    X = np.load(path, mmap_mode="r")
    size, y = X.nbytes, (X[:, 0] > 1).astype(np.uint8)
    net = ImbalancedNetClassifier(MLP((2,)), features=features, max_epochs=1, random_state=0)
    net.set_params(batch_size=4096, validation_fraction=0.2)
    release_pages(X)
    monkeypatch.setattr(memory_maps, "_pages", watched)
    net.fit(X, y).predict_proba(X[:5_000])
    assert max(known) < 0.5 * size
    assert resident(path) < 0.5 * size
    assert next(calls) > 100
    assert max(known) > 0


@pytest.mark.parametrize("step", [1, 3, 700, 30_000])
def test_every_nth_row(step, path):
    X = np.load(path, mmap_mode="r")
    np.testing.assert_array_equal(memory_maps.every_nth_row(X, step), np.load(path)[::step])


def test_gathered_rows_are_in_the_order_that_is_asked_for(path, monkeypatch):
    monkeypatch.setattr(features_module, "_DISK_SPAN", 2**20)
    monkeypatch.setattr(features_module, "_FEWEST_ROWS", 20)
    X, order = np.load(path, mmap_mode="r"), torch.randperm(N)[:333]
    rows = as_features(X, torch.float32, torch.device("cpu"))
    np.testing.assert_array_equal(rows.gather(order), np.load(path)[order])
    assert rows.gather(order[:0]).shape == (0, WIDTH)
