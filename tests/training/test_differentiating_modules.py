"""Modules whose forward takes gradients, and hooks of every module."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)

from imbtorch import ImbalancedNetRegressor, NetEnsembleClassifier
from imbtorch.exceptions import NotStackedWarning
from imbtorch.training.single.chain import plain_layers
from imbtorch.training.stack.modules import network_of
from imbtorch.training.stack.storage import Storage
from tests.toy import parameters_of, small, table

X, Y = table(150, rate=0.3)


class Energy(nn.Module):
    """Returns gradients by its input; writes into that input, too."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.norm = nn.BatchNorm1d(input_shape[0])
        self.hidden = nn.Linear(input_shape[0], 8)
        self.out = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        x -= 1.0
        x = self.norm(x).detach().requires_grad_()
        energy = torch.tanh(self.hidden(x)).sum()
        (slope,) = torch.autograd.grad(energy, x, create_graph=True)
        return self.out(slope)


class Watch(Callback):
    """Looks at the batches, which a module must not change."""

    def on_batch_end(self, net, batch, training, **kwargs):
        assert abs(float(batch[0].mean())) < 0.9  # the module subtracts 1


# -- gradients in forward --------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [small(Energy), ImbalancedNetRegressor(Energy, max_epochs=2)])
def test_the_validation_loss_of_a_module_that_differentiates(estimator):
    again = EpochScoring("neg_mean_squared_error", name="again", use_caching=False)
    estimator.set_params(validation_fraction=0.2, callbacks=[Watch(), again]).fit(X, Y)
    assert np.isfinite(estimator.history_[:, "valid_loss"]).all()
    assert np.isfinite(estimator.predict(X)).all()


def test_statistics_of_averaged_weights():
    clf = small(Energy, averaging="swa", batch_size=50, max_epochs=4).fit(X, Y)
    seen = X.astype(np.float32) - 1
    assert np.allclose(clf.module_.norm.running_mean, seen.mean(axis=0), atol=1e-4)
    assert not clf.module_.training
    assert clf.module_.norm.momentum == 0.1


def test_averages_are_those_of_a_module_that_does_not_differentiate():
    class Plain(Energy):
        def forward(self, x):
            return self.out(self.norm(x))

    class Through(Plain):
        def forward(self, x):
            output = super().forward(x)
            (slope,) = torch.autograd.grad(output.sum(), self.out.bias, retain_graph=True)
            return output + 0 * slope.sum()

    settings = {"averaging": "swa", "max_epochs": 4, "random_state": 0}
    pair = [small(module, **settings).fit(X, Y) for module in (Plain, Through)]
    assert (parameters_of(pair[0]) == parameters_of(pair[1])).all()
    means = [clf.module_.norm.running_mean for clf in pair]
    assert torch.equal(*means)


def test_stacks_and_ensembles_of_modules_that_differentiate():
    ensemble = NetEnsembleClassifier(small(Energy, averaging="swa"), n_estimators=2, random_state=0)
    with pytest.warns(NotStackedWarning):
        ensemble.fit(X, Y)
    mean = np.mean([member.predict_proba(X) for member in ensemble.estimators_], axis=0)
    assert np.allclose(ensemble.predict_proba(X), mean, atol=1e-6)


# -- hooks of every module -------------------------------------------------------------------------


@pytest.fixture(
    params=[
        register_module_forward_hook,
        register_module_forward_pre_hook,
        register_module_full_backward_hook,
        register_module_full_backward_pre_hook,
    ]
)
def calls(request):
    """Names of the layers for which a global hook is called in training mode."""
    found = []

    def note(layer, *args):
        if layer.training and not isinstance(layer, nn.Sequential):
            found.append(type(layer).__name__)

    handle = request.param(note)
    yield found
    handle.remove()


def test_global_hooks_are_called_in_training(calls):
    module = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    assert plain_layers(module) is None
    small(module, batch_size=150, max_epochs=3).fit(X, Y)
    assert calls.count("Linear") == 2 * 3
    assert calls.count("ReLU") == 3


def test_global_hooks_are_called_in_a_stack(calls):
    module = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    base = small(module, batch_size=150, max_epochs=3)
    ensemble = NetEnsembleClassifier(base, n_estimators=2, subset="all", random_state=0)
    with pytest.warns(NotStackedWarning, match="hooks"):
        ensemble.fit(X, Y)
    assert calls.count("Linear") == 2 * 2 * 3


def test_a_global_hook_may_keep_tensors_of_predictions():
    kept, plain = [], small(features=None)  # else the nets share an encoder
    clf = small(features=None).fit(X, Y)
    ensemble = NetEnsembleClassifier(plain, n_estimators=2, random_state=0).fit(X, Y)
    handle = register_module_forward_hook(lambda layer, args, output: kept.append(output))
    try:
        clf.predict(X)
        single = len(kept)
        assert single
        ensemble.predict(X)
        assert len(kept) == 3 * single
    finally:
        handle.remove()
    assert not any(output.is_inference() for output in kept)
    assert {tuple(output.shape[:1]) for output in kept} == {(len(X),)}  # no rows of two nets


def test_a_global_hook_changes_the_outputs():
    """A hook may return other outputs, which the chain without a graph would not see."""
    module = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    plain = small(module).fit(X, Y)

    def halve(layer, args, output):
        return output / 2 if isinstance(layer, nn.ReLU) else None

    handle = register_module_forward_hook(halve)
    try:
        hooked = small(module).fit(X, Y)
    finally:
        handle.remove()
    assert not np.allclose(parameters_of(plain), parameters_of(hooked))


# -- embeddings of a stack -------------------------------------------------------------------------


def test_a_net_of_a_stack_does_not_read_the_embedding_of_its_neighbour():
    modules = [nn.Sequential(nn.Embedding(5, 2), nn.Flatten()) for _ in range(2)]
    network = network_of(Storage(modules))(slice(0, 2))
    for wrong in (5, -1):
        first, second = ([0, wrong], [1, 2]) if wrong > 0 else ([1, 2], [0, wrong])
        output = network.forward(torch.tensor([[first], [second]]).transpose(1, 2))
        lost = output.isnan().flatten(1).any(1).tolist()
        assert lost == [wrong > 0, wrong < 0]
