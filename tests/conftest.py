"""Fixtures and settings that every test shares."""

import gc
import os
import random
from collections import Counter

import pytest

from examples.shared_files import data_folder
from tests.forks import Forks

# read once, when scipy or scikit-learn is imported; unlocks the array API checks
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# torch's threads spin while they wait for each other: several processes on few cores would crawl
os.environ.setdefault("OMP_NUM_THREADS", "1")

SLOW_FIXTURES = {  # each starts processes that import torch again
    "job",  # two processes that train one net
    "two_processes",  # a cluster
    "watched",  # a process that loads hostile files
}
MATRIX_STEP = 8  # one in eight cases of a matrix is not slow


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items):
    """Mark the tests that ``make quick`` leaves out, and skip those that lack a GPU."""
    n_cases = Counter()  # cases of each matrix so far
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("matrix"):
            test = item.nodeid.partition("[")[0]
            if n_cases[test] % MATRIX_STEP:
                item.add_marker(pytest.mark.slow)
            n_cases[test] += 1
    skip_gpu_tests([item for item in items if item.get_closest_marker("gpu")])


def pytest_collection_finish():
    """Let the garbage collector pass over all that exists by now: thousands of tests."""
    gc.collect()
    gc.freeze()


def skip_gpu_tests(items):
    """Skip tests that need a CUDA device, unless there is one."""
    if not items:
        return
    import torch

    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device")
        for item in items:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _same_modules_each_time():
    """Seed torch's global generator, from which modules that a test builds take their weights."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir():
    """Return the folder of real data sets; skip the test where there is none."""
    folder = data_folder()
    if not folder.is_dir():
        pytest.skip(f"no data: {folder} is not a folder; IMBTORCH_DATA can name another")
    return folder


@pytest.fixture(scope="session")
def forks():
    """Return a process whose forks run scripts; where systems have no fork, skip the test."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    with Forks() as server:
        yield server


@pytest.fixture
def global_rng_untouched():
    """Fail the test if it moves the global random state of random, numpy or torch."""
    import numpy as np
    import torch

    def state():
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        numpy_state = (kind, keys.tobytes(), *rest)
        return {
            "random": random.getstate(),
            "numpy": numpy_state,
            "torch": torch.get_rng_state().numpy().tobytes(),
        }

    before = state()
    yield
    after = state()
    moved = [name for name in before if before[name] != after[name]]
    assert not moved, f"global random state moved: {', '.join(moved)}"
