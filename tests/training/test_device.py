"""From the name of a device to one that is there."""

import copy

import numpy as np
import pytest
import torch

from imbtorch.training.devices import resolve_device
from tests.toy import small, table


def pretend(monkeypatch, cuda=0, mps=False):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "dtype", "expected"),
    [
        (2, True, torch.float32, "cuda:0"),
        (0, True, torch.float32, "mps"),
        (0, True, torch.float64, "cpu"),  # mps lacks float64
        (0, False, torch.float32, "cpu"),
    ],
)
def test_auto_takes_cuda_then_mps_then_cpu(monkeypatch, cuda, mps, dtype, expected):
    pretend(monkeypatch, cuda, mps)
    assert str(resolve_device("auto", dtype)) == expected


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", torch.device("cuda", 1)])
def test_device_that_is_there_is_taken_by_its_name(monkeypatch, name):
    pretend(monkeypatch, cuda=2)
    assert resolve_device(name, torch.float32) == torch.device(name)


@pytest.mark.parametrize("name", ["cuda:2", "mps", torch.device("cuda", 5)])
def test_missing_device_lists_those_that_exist(monkeypatch, name):
    pretend(monkeypatch, cuda=2)
    with pytest.raises(ValueError, match="cuda:0, cuda:1, cpu"):
        resolve_device(name, torch.float32)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "CPU "])
def test_name_that_is_no_device_lists_those_that_exist(monkeypatch, name):
    pretend(monkeypatch, cuda=1)
    with pytest.raises(ValueError, match="cuda:0, cpu"):
        resolve_device(name, torch.float32)


def test_float64_on_mps_is_a_clear_error(monkeypatch):
    pretend(monkeypatch, mps=True)
    with pytest.raises(ValueError, match="float64"):
        resolve_device("mps", torch.float64)


def test_fit_reports_a_missing_device():
    with pytest.raises(ValueError, match=r"'cuda:99'.*cpu"):
        small(device="cuda:99").fit(*table())


def test_fitted_estimator_says_where_it_is():
    assert small(device="cpu").fit(*table()).device_ == "cpu"


class Recurrent(torch.nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = torch.nn.GRU(1, 3, batch_first=True)
        self.last = torch.nn.Linear(3, n_outputs)

    def forward(self, x):
        return self.last(self.layer(x.unsqueeze(2))[0][:, -1])


@pytest.mark.gpu
def test_copies_of_recurrent_layers_have_their_weights_in_one_block(recwarn):
    X, y = table()
    clf = small(Recurrent, device="cuda").fit(X, y)
    copy.deepcopy(clf).predict_proba(X)
    assert not [w for w in recwarn if "contiguous" in str(w.message)]


@pytest.mark.gpu
@pytest.mark.parametrize("module", ["tabm", "mlp"])
def test_the_gpu_trains_the_same_net(module):
    X, y = table()
    here, there = (small(module, device=device).fit(X, y) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there.predict_proba(X), here.predict_proba(X), atol=1e-3)
