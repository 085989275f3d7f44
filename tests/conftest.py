"""Fixtures and settings that every test shares."""

import os
import random
from pathlib import Path

import pytest

# read once, when scipy or scikit-learn is imported; unlocks the array API checks
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# torch's threads spin while they wait for each other: several processes on few cores would crawl
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device")
        for item in gpu_items:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _same_modules_each_time():
    """Seed torch's global generator, from which modules that a test builds take their weights."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir():
    """Folder of real data sets: ``$IMBTORCH_DATA``, or ``../shared/data`` beside the checkout."""
    named = os.environ.get("IMBTORCH_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data: {folder} is not a folder; IMBTORCH_DATA can name another")
    return folder


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
