"""Memory of large inputs, measured in processes of their own."""

import os
import textwrap

import pytest

PEAK = """
import resource
import numpy as np
import torch
from imbtorch import MLP, ImbalancedNetClassifier

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

def warm_up():
    X = np.random.default_rng(0).normal(size=(4096, 15)).astype(np.float32)
    y = (X[:, 0] > 1).astype(int)
    ImbalancedNetClassifier(max_epochs=1).fit(X, y).predict_proba(X)
"""


@pytest.fixture
def run(forks):
    def run_in_fork(code):
        return [float(word) for word in forks.run(PEAK + textwrap.dedent(code)).split()]

    return run_in_fork


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "features", "copies"),
    [
        ("float64", None, 1.2),
        ("float32", None, 0.5),
        ("float64", "auto", 1.2),
        ("float32", "auto", 1.2),
    ],
)
def test_fit_needs_little_more_than_one_float32_copy(dtype, features, copies, run):
    extra, copy = run(f"""
        warm_up()
        X = np.random.default_rng(0).random((1_000_000, 24), dtype=np.float32).astype("{dtype}")
        y = (X[:, 0] > 0.97).astype(np.uint8)
        before = peak()
        settings = dict(max_epochs=1, batch_size=1024, features={features!r})
        ImbalancedNetClassifier(MLP((4,)), **settings).fit(X, y)
        copied = X.size * 4 / 2**20
        print(peak() - before, copied)
    """)
    assert extra < copies * copy  # float32 is not copied at all, unless it is scaled


@pytest.mark.slow
def test_predict_proba_needs_a_quarter_of_X_at_most(run):
    extra, size = run("""
        X = np.random.default_rng(0).random((1_000_000, 24))
        y = (X[:, 0] > 0.97).astype(np.uint8)
        clf = ImbalancedNetClassifier(max_epochs=1).fit(X[:50_000].astype("float32"), y[:50_000])
        before = peak()
        clf.predict_proba(X)
        print(peak() - before, X.nbytes / 2**20)
    """)
    assert extra < 0.25 * size


@pytest.mark.slow
def test_wide_sparse_X_is_never_dense(run):
    extra, dense = run("""
        from scipy import sparse
        warm_up()
        rng = np.random.default_rng(0)
        columns = rng.integers(50_000, size=200_000)
        parts = (rng.random(200_000), columns, np.arange(0, 200_001, 10))
        X = sparse.csr_array(parts, shape=(20_000, 50_000))
        y = (np.asarray(X.sum(axis=1)).ravel() > 6.5).astype(int)
        before = peak()
        clf = ImbalancedNetClassifier(MLP((4,)), max_epochs=1, batch_size=128)
        clf.fit(X, y).predict_proba(X)
        print(peak() - before, 20_000 * 50_000 * 4 / 2**20)
    """)
    assert extra < 0.03 * dense  # about 3.7 GiB if it were dense


DISK = """
import threading, time
import numpy as np
from sklearn.metrics import roc_auc_score
from imbtorch import MLP, ImbalancedNetClassifier

def anonymous():  # without what is mapped from files
    words = open("/proc/self/status").read().split()
    return int(words[words.index("RssAnon:") + 1]) / 1024

class Peak:  # anonymous memory has no high-water mark of its own
    def __enter__(self):
        self.before = self.most = anonymous()
        self.running = True
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while self.running:
            self.most = max(self.most, anonymous())
            time.sleep(0.001)

    def __exit__(self, *error):
        self.running = False
        self.thread.join()
        self.grown = self.most - self.before
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
@pytest.mark.parametrize(
    ("dtype", "fortran"), [("float32", False), ("float64", False), ("float32", True)]
)
def test_memmap_is_never_copied_whole(tmp_path, dtype, fortran, run):
    size, fit, predict = run(
        DISK
        + textwrap.dedent(f"""
        n, path = 200_000, {str(tmp_path / "X.npy")!r}
        X = np.lib.format.open_memmap(path, "w+", "{dtype}", (n, 192), fortran_order={fortran})
        some = np.random.default_rng(0).standard_normal((10_000, 192), dtype=np.float32)
        for start in range(0, n, 10_000):
            X[start : start + 10_000] = some
        y = (np.asarray(X[:, 0]) > 1).astype(np.uint8)
        X.flush()
        X = np.load(path, mmap_mode="r")
        clf = ImbalancedNetClassifier(MLP((4,)), max_epochs=1, batch_size=256, random_state=0)
        clf.fit(X[:5000], y[:5000]).predict_proba(X[:5000])
        clf.set_params(validation_fraction=0.5, scoring="roc_auc")
        with Peak() as fit:
            clf.fit(X, y)
        with Peak() as predict:
            proba = clf.predict_proba(X)
        assert roc_auc_score(y, proba[:, 1]) > 0.9
        print(X.nbytes / 2**20, fit.grown, predict.grown)
    """)
    )
    assert size > 140
    assert fit < 100  # blocks of 16 MiB, of which a few are there at a time
    assert predict < 50
