"""Batches that do not fit are computed in parts: same gradient, same model."""

import warnings
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import sparse
from skorch.callbacks import Callback
from torch import nn

from imbtorch import MLP, ImbalancedNetRegressor
from imbtorch.feature_smoothing import FeatureSmoothing
from imbtorch.losses import all_losses
from imbtorch.losses.regression import all_regression_losses
from imbtorch.training.net import Net
from imbtorch.training.single.out_of_memory import InParts, is_out_of_memory
from tests.toy import parameters_of, small, table
from tests.training.helpers import Plain, WatchBatches

X, Y = table(300)
WHOLE = [name for name, cls in all_losses().items() if not cls.sums_over_rows]
SPLITTING = {"on_oom": "split", "dtype": "float64", "batch_size": 64}


class OutOfMemory(nn.Module):
    """Runs out of memory on more than ``limit`` rows, in training mode."""

    def __init__(self, inner, limit):
        super().__init__()
        self.inner, self.limit = inner, limit

    def forward(self, x):
        if self.training and len(x) > self.limit:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {len(x)} rows")
        return self.inner(x)


def limited(limit, layers=lambda i, o: [nn.Linear(i, 8), nn.Tanh(), nn.Linear(8, o)]):
    """Return a callable that builds the same net, with a limit of rows."""
    return lambda shape, n_outputs: OutOfMemory(nn.Sequential(*layers(shape[0], n_outputs)), limit)


def fitted(limit, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return small(limited(limit), **{**SPLITTING, **params}).fit(X, Y)


@pytest.mark.matrix
@pytest.mark.parametrize("limit", [33, 20, 1])
def test_same_model(limit):
    whole, split = fitted(10**6), fitted(limit)
    np.testing.assert_allclose(parameters_of(split), parameters_of(whole), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(
        split.history_[:, "train_loss"], whole.history_[:, "train_loss"], rtol=1e-12
    )


@pytest.mark.matrix
@pytest.mark.parametrize(
    "params",
    [
        {"class_weight": "balanced"},
        {"sampler": "mixup"},
        {"sampler": "class_balanced"},
        {"sharpness": 0.05},
        {"gradient_clipping": 0.1, "averaging": "ema"},
        {"loss": "focal"},
        {"loss": nn.L1Loss()},
    ],
    ids=str,
)
def test_same_model_with(params):
    whole, split = fitted(10**6, **params), fitted(20, **params)
    np.testing.assert_allclose(parameters_of(split), parameters_of(whole), rtol=1e-9, atol=1e-12)


def in_chain(limit):
    """Let the loss run out of memory: a chain calls no module."""
    evaluate = Net.closed_form

    def closed_form(net, target, output):
        if len(output) > limit:
            raise torch.OutOfMemoryError("out of memory")
        return evaluate(net, target, output)

    return mock.patch.object(Net, "closed_form", closed_form)


@pytest.mark.matrix
@pytest.mark.parametrize(
    "features", [X, sparse.csr_array(X * (np.abs(X) > 2.5))], ids=["dense", "sparse"]
)
def test_chain(features):
    whole = small(**SPLITTING).fit(features, Y)
    with in_chain(20), pytest.warns(UserWarning, match="Memory ran out"):
        split = small(**SPLITTING).fit(features, Y)
    np.testing.assert_allclose(parameters_of(split), parameters_of(whole), rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_labels():
    labels = np.stack([Y, 1 - Y, X[:, 0] > 1], axis=1).astype(int)
    params = {**SPLITTING, "loss": "bce", "class_weight": "balanced"}
    whole = small(**params).fit(X, labels)
    with in_chain(20), pytest.warns(UserWarning, match="Memory ran out"):
        split = small(**params).fit(X, labels)
    np.testing.assert_allclose(parameters_of(split), parameters_of(whole), rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_warns_as_often_as_the_parts_double():
    with pytest.warns(UserWarning, match="Memory ran out") as caught:
        small(limited(20), **SPLITTING).fit(X, Y)
    assert [str(w.message).split("computed in ")[1][:7] for w in caught] == ["2 parts", "4 parts"]


def test_raises_by_default():
    clf = small(limited(20), batch_size=64)
    with pytest.raises(torch.OutOfMemoryError):
        clf.fit(X, Y)
    assert not hasattr(clf, "net_")


@pytest.mark.slow
def test_a_row_too_large_raises():
    with pytest.raises(torch.OutOfMemoryError):
        fitted(0)


def test_other_errors_pass():
    def fail(x, target, share):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    parts = InParts([])
    parts.gradients = fail
    with pytest.raises(RuntimeError, match="mat1"):
        parts(torch.ones(4, 2), torch.ones(4), torch.ones(4))
    assert parts.n_parts == 1


def test_what_memory_errors_look_like():
    told = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you "
    assert is_out_of_memory(RuntimeError(told))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_parameters_that_some_parts_do_not_use():
    first, second = (nn.Parameter(torch.ones(())) for _ in range(2))

    def gradients(x, target, share):
        first.grad = second.grad = None
        if len(x) > 2:
            raise torch.OutOfMemoryError
        loss = (x.sum() * (first if x[0] > 0 else second)).sum()
        loss.backward()
        return loss.detach()

    parts = InParts([first, second])
    parts.gradients = gradients
    with pytest.warns(UserWarning, match="2 parts"):
        assert parts(torch.tensor([1.0, 2, -3, -4]), torch.ones(4), torch.ones(4)) == -4
    assert (first.grad, second.grad) == (3, -7)


# -- refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", WHOLE)
def test_losses_that_compare_rows_are_refused(loss):
    with pytest.raises(ValueError, match='on_oom="split" would change the model.*compares'):
        small(loss=loss, on_oom="split").fit(X, Y)


def test_some_losses_compare_rows():
    assert {"auc_margin", "smooth_ap", "soft_fbeta"} <= set(WHOLE)
    assert "focal" not in WHOLE


@pytest.mark.matrix
@pytest.mark.parametrize("loss", all_regression_losses())
def test_regression(loss):
    target = X[:, 0] + 0.1 * X[:, 1]
    reg = ImbalancedNetRegressor(limited(20), loss=loss, **SPLITTING, max_epochs=2, random_state=0)
    if loss == "balanced_mse":
        with pytest.raises(ValueError, match="BalancedMSELoss compares"):
            reg.fit(X, target)
        reg.set_params(loss__kind="gai")
    with pytest.warns(UserWarning, match="Memory ran out"):
        split = reg.fit(X, target)
    whole = ImbalancedNetRegressor(**{**reg.get_params(deep=False), "module": limited(10**6)})
    np.testing.assert_allclose(
        split.predict(X), whole.fit(X, target).predict(X), rtol=1e-9, atol=1e-11
    )


def smoothing(i, o):
    return [nn.Linear(i, 8), FeatureSmoothing(8, 4), nn.Linear(8, o)]


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (small(MLP((8,), normalization="batch"), on_oom="split"), "BatchNorm1d"),
        (small(callbacks=[WatchBatches()], on_oom="split"), "callbacks look at whole batches"),
        (ImbalancedNetRegressor(limited(9, smoothing), on_oom="split"), "FeatureSmoothing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_looks_at_the_batch_is_refused(estimator, reason):
    with pytest.raises(ValueError, match=reason):
        estimator.fit(X, Y if "Classifier" in type(estimator).__name__ else X[:, 0])
    assert not hasattr(estimator, "net_")


def test_callbacks_of_epochs_are_fine():
    class Watch(Callback):
        """Looks at epochs only."""

    assert small(Plain, callbacks=[Watch()], on_oom="split").fit(X, Y).n_iter_ == 2


@pytest.mark.gpu
def test_on_a_gpu():
    class Hungry(nn.Module):
        """Asks for memory that grows with the rows."""

        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.layer = nn.Linear(input_shape[0], n_outputs)
            self.total = torch.cuda.get_device_properties(0).total_memory

        def forward(self, x):
            if self.training:
                torch.empty(int(self.total * len(x) / 50), dtype=torch.uint8, device=x.device)
            return self.layer(x)

    params = {**SPLITTING, "device": "cuda"}
    with pytest.warns(UserWarning, match="Memory ran out"):
        split = small(Hungry, **params).fit(X, Y)
    assert np.isfinite(split.predict_proba(X)).all()
