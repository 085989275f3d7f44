"""Embeddings of categories: without a graph and in stacks they learn what autograd learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from scipy import sparse
from torch import nn

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.modules import CategoryEmbeddings
from imbtorch.training.single.chain import Chain, plain_layers
from imbtorch.training.stack.modules import network_of
from imbtorch.training.stack.storage import Storage
from tests.features.tables import rare_buyers

N_CODES = (3, 20, 7)
FRAME, Y = rare_buyers()


def module(seed=0, width=5):
    torch.manual_seed(seed)
    layers = [CategoryEmbeddings(2, N_CODES, 4), nn.Linear(14, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(width, 2)).double()


def batch(seed=0, n=30):
    rng = torch.Generator().manual_seed(seed)
    codes = [torch.randint(k, (n, 1), generator=rng) for k in N_CODES]
    numbers = torch.randn(n, 2, generator=rng, dtype=torch.float64)
    return torch.cat([numbers, *codes], dim=1), torch.randint(2, (n,), generator=rng)


def of_autograd(net, x, y):
    net.zero_grad(set_to_none=True)
    output = net(x)
    F.cross_entropy(output, y, reduction="sum").backward()
    return output.detach(), [p.grad.clone() for p in net.parameters()]


def test_gradients_without_a_graph_are_those_of_autograd():
    net = module()
    chain = Chain.of(net)
    for seed in (1, 2):  # those of the batch before are gone
        x, y = batch(seed)
        before = x.clone()
        chain.gradients(
            x, lambda z, y=y: F.cross_entropy(z, y, reduction="sum"), torch.ones(30).double()
        )
        found = [p.grad.clone() for p in net.parameters()]
        torch.testing.assert_close(found, of_autograd(net, x, y)[1], rtol=1e-12, atol=1e-12)
        chain = Chain.of(net)
        assert torch.equal(x, before)


def test_a_stack_of_nets_is_each_of_them():
    nets = [module(seed) for seed in range(4)]
    expected = [of_autograd(module(seed), *batch(seed)) for seed in range(4)]
    storage = Storage(nets)
    some = network_of(storage)(slice(1, 4))
    assert type(some).__name__ == "_Chain"
    output = some.forward(torch.stack([batch(seed)[0] for seed in (1, 2, 3)]))
    y = torch.stack([batch(seed)[1] for seed in (1, 2, 3)])
    some.backward(output.softmax(-1) - F.one_hot(y, 2))
    for place, seed in enumerate((1, 2, 3)):
        torch.testing.assert_close(output[place], expected[seed][0], rtol=1e-12, atol=1e-12)
        gradients = [storage.grads[name][seed] for name in storage.grads]
        torch.testing.assert_close(gradients, expected[seed][1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layers",
    [
        lambda first: [first],
        lambda first: [nn.Linear(5, 5), first, nn.Linear(14, 2)],
        lambda first: [first, nn.ReLU(), nn.Linear(14, 2)],
        lambda first: [first, CategoryEmbeddings(13, (2,), 4), nn.Linear(17, 2)],
    ],
)
def test_embeddings_elsewhere_go_through_autograd(layers):
    assert plain_layers(nn.Sequential(*layers(CategoryEmbeddings(2, N_CODES, 4)))) is None


@pytest.mark.parametrize("change", ["frozen", "hook", "forward"])
def test_changed_embeddings_go_through_autograd(change):
    net = module()
    assert plain_layers(net) is not None
    if change == "frozen":
        net[0].weight.requires_grad_(False)
    elif change == "hook":
        net[0].register_forward_hook(lambda *a: None)
    else:
        net[0].forward = net[0].forward
    assert plain_layers(net) is None


def test_a_fit_is_the_same_with_and_without_a_graph(monkeypatch):
    def fit():
        clf = ImbalancedNetClassifier(dtype="float64", max_epochs=3, random_state=0)
        return clf.fit(FRAME, Y).predict_proba(FRAME)

    with_chain = fit()
    monkeypatch.setattr(Chain, "of", classmethod(lambda cls, module: None))
    np.testing.assert_allclose(with_chain, fit(), rtol=0, atol=1e-12)


def test_an_ensemble_is_trained_and_predicts_as_one_stack():
    base = ImbalancedNetClassifier("mlp", max_epochs=2, dtype="float64")
    clf = NetEnsembleClassifier(base, n_estimators=3, random_state=0).fit(FRAME, Y)
    alone = [member.predict_proba(FRAME) for member in clf.estimators_]
    np.testing.assert_allclose(clf.predict_proba(FRAME), np.mean(alone, axis=0), atol=1e-12)
    assert plain_layers(clf.estimators_[0].net_.module_) is not None


def test_vectors_of_what_training_does_not_have_stay_zero():
    clf = ImbalancedNetClassifier(max_epochs=3, random_state=0).fit(FRAME, Y)
    layer = clf.net_.module_[0]
    assert isinstance(layer, CategoryEmbeddings)
    last = np.cumsum(layer.n_codes) - 1
    assert not layer.weight[last].any()
    assert layer.weight[last - 1].any(dim=1).all()


def test_codes_of_a_sparse_matrix_are_looked_up_in_dense_batches(monkeypatch):
    monkeypatch.setattr("imbtorch.training.data.features.sparse_products_pay", lambda *a: True)
    numbers = np.random.default_rng(0).normal(size=len(Y)) * (np.arange(len(Y)) % 3 == 0)
    X = np.c_[numbers, np.arange(len(Y)) % 5]
    net = nn.Sequential(CategoryEmbeddings(1, (5,), 2), nn.Linear(3, 2))
    clf = ImbalancedNetClassifier(net, max_epochs=2, random_state=0, dtype="float64")
    dense = clf.fit(X, Y).predict_proba(X)
    rare = clf.fit(sparse.csr_array(X), Y).predict_proba(X)
    np.testing.assert_allclose(rare, dense, atol=1e-12)
