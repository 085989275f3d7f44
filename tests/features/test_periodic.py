"""Periodic embeddings of numbers: against the formula of the paper, and through whole fits."""

import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from imblearn.over_sampling import SMOTE, RandomOverSampler
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
)
from imbtorch.exceptions import NotStackedWarning
from imbtorch.features import FeatureEncoder, TableEncoder, TableFeatures
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.modules import CategoryEmbeddings, PeriodicEmbeddings, TabM
from imbtorch.training.single.chain import Chain, plain_layers
from imbtorch.training.stack.compatibility import module_kind
from imbtorch.training.stack.modules import network_of
from imbtorch.training.stack.storage import Storage
from tests.features.tables import rare_buyers
from tests.features.test_in_estimators import Rows, Stream
from tests.toy import overlapping

FRAME, Y = rare_buyers()
NEW = rare_buyers(50, seed=1)[0].assign(town="a town that training did not have")
N_CODES = (3, 20)


def waves(**params):
    return TableFeatures(numeric_embedding="periodic", **params)


def plain(**params):
    return TableFeatures(numeric_embedding=None, **params)


def classifier(module="mlp", features=None, **params):
    params = {"random_state": 0, "max_epochs": 2, **params}
    return ImbalancedNetClassifier(module, features=features or waves(), **params)


def layer_of(clf):
    (layer,) = [m for m in clf.net_.module_.children() if type(m) is PeriodicEmbeddings]
    return layer


@parametrize_with_checks([waves()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# -- the layer -----------------------------------------------------------------------------------


def formula(layer, rows):
    """(x, W cos(2 pi f x + p) + b) for each number, one by one; only x stays at its place."""
    frequency, phase, weight, bias = (p.detach().numpy() for p in layer.parameters())
    added = []
    for j, column in enumerate(layer.columns):
        for i in range(layer.size - 1):
            angles = 2 * np.pi * np.outer(rows[:, column], frequency[j]) + phase[j]
            added.append(bias[j, i] + np.cos(angles) @ weight[j, i])
    return np.column_stack([rows, *added])


@pytest.mark.parametrize("columns", [(0, 2, 5), (4,), (5, 1), ()])
def test_numbers_are_embedded_as_the_paper_says(columns):
    torch.manual_seed(0)
    layer = PeriodicEmbeddings(columns, n_frequencies=7, size=3, frequency_scale=2.0).double()
    rows = np.random.default_rng(0).normal(size=(9, 6))
    found = layer(torch.from_numpy(rows)).detach().numpy()
    assert found.shape[1] == 6 + layer.added_columns == 6 + 2 * len(columns)
    np.testing.assert_allclose(found, formula(layer, rows), rtol=1e-12, atol=1e-12)


def test_initial_numbers_are_those_of_the_paper():
    def layer(seed, **params):
        torch.manual_seed(seed)
        return PeriodicEmbeddings(range(500), **params)

    first = layer(0)
    assert [tuple(p.shape) for p in first.parameters()] == [
        (500, 16), (500, 16), (500, 3, 16), (500, 3),
    ]  # fmt: skip
    assert first.frequency.std().item() == pytest.approx(0.1, rel=0.03)
    assert layer(0, frequency_scale=3.0).frequency.std().item() == pytest.approx(3, rel=0.03)
    for values, bound in ((first.phase, math.pi), (first.weight, 0.25), (first.bias, 0.25)):
        assert 0.99 * bound < values.abs().max() <= bound
        assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)  # even spread
    assert torch.equal(first.phase, layer(0).phase)
    assert not torch.equal(first.phase, layer(1).phase)


def module(kind="numbers", seed=0, width=5):
    torch.manual_seed(seed)
    first = [PeriodicEmbeddings((1, 0), 6, 3, frequency_scale=1.0)]
    if kind == "numbers and categories":
        first = [CategoryEmbeddings(2, N_CODES, 4), *first]
    n = 2 + 4 + (8 if len(first) == 2 else 0)
    if kind == "tabm":
        body = list(TabM((width,), k=3).build((n,), 2))
    else:
        body = [nn.Linear(n, width), nn.SiLU(), nn.Linear(width, 2)]
    return nn.Sequential(*first, *body).double()


def batch(kind="numbers", seed=0, n=30):
    rng = torch.Generator().manual_seed(seed)
    codes = [torch.randint(k, (n, 1), generator=rng) for k in N_CODES]
    numbers = torch.randn(n, 2, generator=rng, dtype=torch.float64)
    x = torch.cat([numbers, *codes], 1) if kind == "numbers and categories" else numbers
    return x, torch.randint(2, (n,), generator=rng)


def loss_of(output, y):
    each = output.flatten(0, -2)
    return F.cross_entropy(each, y.repeat_interleave(len(each) // len(y)), reduction="sum")


def of_autograd(net, x, y):
    net.zero_grad(set_to_none=True)
    output = net(x)
    loss_of(output, y).backward()
    return output.detach(), [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize("kind", ["numbers", "numbers and categories", "tabm"])
def test_gradients_without_a_graph_are_those_of_autograd(kind):
    net = module(kind)
    for seed in (1, 2):  # those of the batch before are gone
        chain = Chain.of(net)
        x, y = batch(kind, seed)
        before = x.clone()
        for _ in range(2):
            chain.gradients(x, lambda z, y=y: loss_of(z, y), torch.ones(30).double())
        found = [p.grad.clone() for p in net.parameters()]
        expected = of_autograd(net, x, y)[1]
        assert all(gradient.any() for gradient in expected)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
        assert torch.equal(x, before)


@pytest.mark.parametrize("kind", ["numbers", "numbers and categories", "tabm"])
def test_a_stack_of_nets_is_each_of_them(kind):
    nets = [module(kind, seed) for seed in range(4)]
    batches = [batch(kind, seed) for seed in range(4)]
    expected = [of_autograd(module(kind, seed), *batches[seed]) for seed in range(4)]
    storage = Storage(nets)
    some = network_of(storage)(slice(1, 4))
    assert type(some).__name__ == ("_Mapped" if kind == "tabm" else "_Chain")
    output = some.forward(torch.stack([x for x, _ in batches[1:]]))
    leaf = output.detach().requires_grad_()
    sum(loss_of(leaf[i], batches[i + 1][1]) for i in range(3)).backward()
    some.backward(leaf.grad)
    for place, seed in enumerate((1, 2, 3)):
        torch.testing.assert_close(output[place], expected[seed][0], rtol=1e-11, atol=1e-11)
        gradients = [storage.grads[name][seed] for name in storage.grads]
        torch.testing.assert_close(gradients, expected[seed][1], rtol=1e-11, atol=1e-11)


CATEGORIES = CategoryEmbeddings(2, N_CODES, 4)


@pytest.mark.parametrize(
    "layers",
    [
        [PeriodicEmbeddings([0])],
        [nn.Linear(5, 5), PeriodicEmbeddings([0]), nn.Linear(8, 2)],
        [PeriodicEmbeddings([0]), nn.ReLU(), nn.Linear(5, 2)],
        [PeriodicEmbeddings([0]), PeriodicEmbeddings([0]), nn.Linear(8, 2)],
        [PeriodicEmbeddings([0]), CATEGORIES, nn.Linear(13, 2)],
        [CATEGORIES, PeriodicEmbeddings([1, 2]), nn.Linear(16, 2)],  # one of a vector
    ],
)
def test_embeddings_elsewhere_go_through_autograd(layers):
    assert plain_layers(nn.Sequential(*layers)) is None


@pytest.mark.parametrize("change", ["frozen", "hook", "forward", "layout"])
def test_changed_embeddings_go_through_autograd(change):
    net = module()
    assert plain_layers(net) is not None
    if change == "frozen":
        net[0].frequency.requires_grad_(False)
    elif change == "hook":
        net[0].register_forward_hook(lambda *a: None)
    elif change == "forward":
        net[0].forward = net[0].forward
    else:
        net[0].frequency.data = net[0].frequency.data.t().contiguous().t()
    assert plain_layers(net) is None


# -- which columns -------------------------------------------------------------------------------


def test_only_numbers_of_several_values_are_embedded():
    n = np.arange(60)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "constant": 7.3,
            "word": np.take(["a", "b", "c"], n % 3),
            "two": n % 2,
            "three": n % 3,
            "town": [f"town {i % 40}" for i in n],
            "gaps": np.where(n % 5 == 0, np.nan, rng.normal(size=60)),
            "nothing": np.nan,
            "two and gaps": np.where(n % 5 == 0, np.nan, n % 2),
            "flag": n % 2 == 0,
            "number": rng.lognormal(size=60),
            "rounding": 1e9 + 1e-7 * rng.random(60),
        }
    )
    features = waves().fit(frame)
    encoder = features.encoder_
    names = features.get_feature_names_out()
    assert names[encoder.periodic].tolist() == ["three", "gaps", "number"]
    without = plain().fit(frame)
    assert without.encoder_.periodic == []
    assert names.tolist() == without.get_feature_names_out().tolist()
    np.testing.assert_array_equal(features.transform(frame), without.transform(frame))
    clf = classifier().fit(frame, n % 4 == 0)
    assert layer_of(clf).columns == tuple(encoder.periodic)
    assert clf.net_.module_[2].in_features == encoder.n_encoded + 2 + 9  # vectors of size 3
    assert "a column and waves each" in features._repr_html_()
    assert "waves and an indicator" in features._repr_html_()


def test_a_third_number_is_found_in_any_block(monkeypatch):
    monkeypatch.setattr("imbtorch.features._statistics._BLOCK", 200)
    monkeypatch.setattr("imbtorch.features._statistics._CACHED", 100)
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, size=(40, 9)).astype(float)
    X[rng.random(X.shape) < 0.2] = np.nan
    X[39, 0], X[0, 1], X[20, 2] = 5, -1, 0.5
    X[:, 3], X[:20, 4], X[:, 5], X[:, 6] = np.nan, np.nan, np.arange(40) // 14, 7
    several = [j for j in range(9) if len(np.unique(X[~np.isnan(X[:, j]), j])) > 2]
    assert several == [0, 1, 2, 5]
    encoder = TableFeatures(add_indicator=False).fit(X).encoder_
    assert encoder.periodic == several


def test_wide_rows_are_predicted_in_short_chunks(monkeypatch):
    """Sixteen waves of each number take more memory than the rows."""
    X = np.random.default_rng(0).normal(size=(300, 200)).astype(np.float32)
    base = classifier(TabM((4,), k=2), max_epochs=1)
    clf = NetEnsembleClassifier(base, n_estimators=2, random_state=0).fit(X, X[:, 0] > 1)
    expected = clf.estimators_[0].predict_proba(X), clf.predict_proba(X)
    n_rows, forward = [], PeriodicEmbeddings.forward
    monkeypatch.setattr(
        PeriodicEmbeddings, "forward", lambda self, x: n_rows.append(len(x)) or forward(self, x)
    )
    monkeypatch.setattr("imbtorch.training.prediction.CHUNK_BYTES", 2**21)
    found = clf.estimators_[0].predict_proba(X), clf.predict_proba(X)
    assert max(n_rows) == 2**21 // (200 * 4 * (1 + 4 * 16))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)


@pytest.mark.parametrize("frame", [FRAME[["job", "size"]], FRAME[["job", "member"]]], ids=str)
def test_tables_without_such_numbers_have_the_plain_net(frame):
    clf, without = classifier().fit(frame, Y), classifier(features=plain()).fit(frame, Y)
    assert repr(clf.net_.module_) == repr(without.net_.module_)
    np.testing.assert_array_equal(clf.predict_proba(frame), without.predict_proba(frame))


def test_without_an_embedding_its_parameters_have_no_effect():
    usual = classifier(features=plain()).fit(FRAME, Y)
    other = classifier(features=plain(n_frequencies=3, frequency_scale=9.0)).fit(FRAME, Y)
    np.testing.assert_array_equal(other.predict_proba(NEW), usual.predict_proba(NEW))
    assert not usual.net_.encoder_.periodic


def test_a_default_embeds_the_numbers_of_dense_tables_alone():
    """Numbers of a sparse matrix stay as they are, which ``"periodic"`` could not grant."""
    dense, waved = (ImbalancedNetClassifier(features=f, max_epochs=1, random_state=0).fit(FRAME, Y)
                    for f in ("auto", waves()))  # fmt: skip
    assert dense.net_.encoder_.periodic == waved.net_.encoder_.periodic == [0, 1, 3]
    np.testing.assert_array_equal(dense.predict_proba(NEW), waved.predict_proba(NEW))
    X, y = sparse.random(50, 8, 0.3, format="csr", random_state=0), np.arange(50) % 5 == 0
    nets = [classifier(features=f).fit(X, y) for f in (TableFeatures(), plain())]
    assert all(net.net_.encoder_.keeps_zeros for net in nets)
    np.testing.assert_array_equal(*(net.predict_proba(X) for net in nets))


def test_sparse_rows_are_an_error():
    X = sparse.random(50, 8, 0.3, format="csr", random_state=0)
    with pytest.raises(ValueError, match=r"numeric_embedding='periodic'.*toarray\(\)"):
        waves().fit(X)
    with pytest.raises(ValueError, match=r"numeric_embedding='periodic'.*toarray\(\)"):
        classifier().fit(X, np.arange(50) % 5 == 0)
    clf = classifier(features=waves(scaling=None)).fit(X.toarray(), np.arange(50) % 5 == 0)
    assert not clf.net_.encoder_.keeps_zeros
    np.testing.assert_array_equal(clf.predict_proba(X), clf.predict_proba(X.toarray()))


INVALID = {
    "numeric_embedding": ["periodical", True, 1],
    "n_frequencies": [0, 2.5, None, "16"],
    "frequency_scale": [0, -0.1, None, "auto"],
}


@pytest.mark.parametrize("name", INVALID)
def test_wrong_parameters(name):
    for value in INVALID[name]:
        with pytest.raises(ValueError, match=name):
            TableFeatures(**{name: value}).fit([[1.0], [2.0]])


# -- in estimators -------------------------------------------------------------------------------


class Own(nn.Module):
    """A module of the user."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.hidden, self.out = nn.Linear(input_shape[0], 6), nn.Linear(6, n_outputs)

    def forward(self, x):
        return self.out(torch.tanh(self.hidden(x)))


KINDS = {"mlp": MLP((8,)), "tabm": TabM((8,), k=2), "own": Own}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_searches_train_the_nets_of_each_together(kind):
    """Also with columns that have enough values in some folds only."""
    frame = FRAME.assign(rare=np.where(np.arange(len(FRAME)) < 150, FRAME["visits"], 0))
    net = classifier(KINDS[kind], "table", dtype="float64", max_epochs=1)
    assert "features__n_frequencies" in net.set_params(features=TableFeatures()).get_params()
    grid = {
        "features__numeric_embedding": [None, "periodic"],
        "features__frequency_scale": [0.1, 1.0],
    }
    how = {"cv": 2, "scoring": "average_precision"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotStackedWarning)
        stacked = StackedGridSearchCV(net, grid, **how).fit(frame, Y)
    one_by_one = GridSearchCV(net, grid, **how).fit(frame, Y)
    scores = one_by_one.cv_results_["mean_test_score"]
    np.testing.assert_allclose(stacked.cv_results_["mean_test_score"], scores, atol=1e-9)
    assert len(np.unique(scores)) == 3  # the scale acts on the waves alone


def test_nets_with_different_columns_are_not_one_stack():
    """Rows of the folds differ, and so may the columns that have more than two values."""
    nets = [nn.Sequential(PeriodicEmbeddings([j]), nn.Linear(6, 2)) for j in (0, 1)]
    assert module_kind(nets[0]) != module_kind(nets[1])
    assert module_kind(nets[0]) == module_kind(
        nn.Sequential(PeriodicEmbeddings([0], frequency_scale=9.0), nn.Linear(6, 2))
    )


@pytest.mark.parametrize("kind", ["mlp", "tabm"])
def test_an_ensemble_is_trained_and_predicts_as_one_stack(kind):
    base = classifier(KINDS[kind], dtype="float64")
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotStackedWarning)
        clf = NetEnsembleClassifier(base, n_estimators=3, random_state=0).fit(FRAME, Y)
    alone = [member.predict_proba(NEW) for member in clf.estimators_]
    np.testing.assert_allclose(clf.predict_proba(NEW), np.mean(alone, axis=0), atol=1e-12)
    assert len({layer_of(member).phase.sum().item() for member in clf.estimators_}) == 3


@pytest.mark.parametrize("kind", ["mlp", "tabm"])
def test_a_fit_is_the_same_with_and_without_a_graph(kind, monkeypatch):
    def fit():
        net = classifier(KINDS[kind], dtype="float64")
        return net.fit(FRAME, Y).predict_proba(FRAME)

    with_chain = fit()
    monkeypatch.setattr(Chain, "of", classmethod(lambda cls, module: None))
    np.testing.assert_allclose(with_chain, fit(), rtol=0, atol=1e-12)


def test_all_numbers_of_the_embedding_learn():
    def layer(epochs):
        clf = classifier(max_epochs=epochs, features=waves(n_frequencies=5, frequency_scale=0.7))
        return layer_of(clf.fit(FRAME, Y))

    first, later, again = layer(1), layer(3), layer(3)
    assert first.frequency.shape == (3, 5)
    for one, other, twin in zip(
        first.parameters(), later.parameters(), again.parameters(), strict=True
    ):
        assert (one != other).any()
        assert torch.equal(other, twin)
    copied = clone(classifier(features=waves(n_frequencies=5)))
    assert copied.features.n_frequencies == 5


@pytest.mark.parametrize("case", ["own", "labels", "values", "clipped", "sharp"])
def test_every_task_and_kind_of_step(case):
    labels = np.stack([Y, FRAME["member"]], axis=1).astype(int)
    kind = ImbalancedNetRegressor if case == "values" else ImbalancedNetClassifier
    params = {
        "own": {"module": Own},
        "labels": {"loss": "bce"},
        "clipped": {"gradient_clipping": 0.1},
        "sharp": {"sharpness": 0.05},
    }.get(case, {})
    target = {"labels": labels, "values": FRAME["amount"]}.get(case, Y)
    est = kind(**params, features=waves(), max_epochs=2, random_state=0).fit(FRAME, target)
    assert layer_of(est).columns == (0, 1, 3)
    assert np.isfinite(est.predict(NEW)).all()
    again = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(again.predict(NEW), est.predict(NEW))


def test_a_wave_is_learned_that_a_line_cannot_follow():
    x = np.random.default_rng(0).uniform(-3, 3, size=(600, 1))
    y = np.sin(2 * x[:, 0])

    def error(features):
        reg = ImbalancedNetRegressor(
            MLP(()), features=features, max_epochs=30, random_state=0, lr=3e-2
        )
        return np.square(reg.fit(x, y).predict(x) - y).mean()

    assert error(waves(frequency_scale=0.5)) < 0.1 * error(plain())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", TabM((32,), k=4)], ids=["mlp", "tabm"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "logit_adjusted"])
def test_the_posterior_is_recovered(kind, loss):
    X, y = overlapping(3000, 0.05)
    clf = classifier(kind, loss=loss, max_epochs=12, batch_size=128, target_prior="train")
    proba = clf.fit(X, y).predict_proba(X)[:, 1]
    truth = 1 / (1 + np.exp(-(np.log(0.05 / 0.95) + X[:, :2].sum(1) - 1)))
    assert proba.mean() == pytest.approx(y.mean(), rel=0.15)
    assert np.abs(proba - truth).mean() < 0.02


def test_memory_maps_datasets_and_streams(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) * [1, 1e4, 1] + [0, 0, 1.7e9]
    X[rng.random(X.shape) < 0.1] = np.nan
    y = (np.nan_to_num(X[:, 0]) > 1).astype(int)
    np.save(tmp_path / "X.npy", X)
    expected = classifier().fit(X, y).predict_proba(X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for fitted, rows in (
        (classifier().fit(mapped, y), mapped),
        (classifier().fit(Rows(X, y)), Rows(X, y)),
    ):
        np.testing.assert_allclose(fitted.predict_proba(rows), expected, atol=1e-6)
    counts = dict(enumerate(np.bincount(y).tolist()))
    streamed = classifier().fit(Stream(X, y), class_counts=counts)
    assert layer_of(streamed).columns == (0, 1, 2)
    chunks = ImbalancedNetClassifier(features=waves(), random_state=0)
    for start in (0, 200):
        chunks.partial_fit(X[start : start + 200], y[start : start + 200], classes=[0, 1])
    assert layer_of(chunks).columns == (0, 1, 2)


@pytest.mark.parametrize("sampler", [SMOTE(random_state=0), RandomOverSampler(random_state=0)])
def test_samplers_make_rows_before_the_embedding(sampler, monkeypatch):
    """They get the rows that they get without an embedding."""
    seen = []
    fit_resample = type(sampler).fit_resample

    def spy(self, X, y):
        seen.append((X, fit_resample(self, X, y)))
        return seen[-1][-1]

    monkeypatch.setattr(type(sampler), "fit_resample", spy)
    for features in (waves(embedding_size=None), plain(embedding_size=None)):
        clf = classifier(features=features, sampler=sampler, loss="cross_entropy").fit(FRAME, Y)
        assert clf.net_.encoder_.periodic == ([0, 1, 3] if len(seen) == 1 else [])
    (given, made), (usual, as_well) = seen
    np.testing.assert_array_equal(given, usual)
    np.testing.assert_array_equal(made[0], as_well[0])


class Waves(FeatureEncoder):
    """An encoder of the user, which embeds all numbers."""

    categorical_features = None

    def learn(self, columns, X, rows=None, sample_weight=None, *, dtype=torch.float32):
        zeros = np.zeros(X.shape[1])
        return TableEncoder(
            columns, zeros, zeros + 1, zeros, [], [], [], [], periodic=[1], dtype=dtype
        )


def test_encoders_of_the_user_may_name_columns_to_embed():
    X = np.random.default_rng(0).normal(size=(100, 3))
    clf = classifier(features=Waves()).fit(X, X[:, 0] > 1)
    assert repr(layer_of(clf)) == "PeriodicEmbeddings([1], n_frequencies=16, size=4)"
