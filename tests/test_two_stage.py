"""Decoupled training: what is frozen, what is learned, and which population comes out."""

import copy
import pickle
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier, finetune_head, tau_normalize
from imbtorch.datasets import make_long_tailed
from imbtorch.features import TableFeatures
from imbtorch.losses import FocalLoss, LDAMLoss
from imbtorch.modules import TabM
from tests.test_classifier_modules import Convolution, OneColumn, Recurrent, images, sequences
from tests.test_posterior_recovery import sample, true_posterior
from tests.toy import parameters_of, small, table

METHODS = ["crt", "lws"]
NORMALIZED = MLP((8, 6), normalization="batch", dropout=0.3)
PLAIN = {"loss": "cross_entropy"}


@cache
def data(n_classes=3):
    return table(n_classes=n_classes, n_features=8)


@cache
def _first(module, n_classes):
    return small(module, **PLAIN).fit(*data(n_classes))


def first(module=NORMALIZED, n_classes=3):
    """Fit the first stage; the same bits every time."""
    return copy.deepcopy(_first(module, n_classes))


def state_of(clf, *, head):
    """Return the head's tensors, or all the others, by name."""
    return {
        name: tensor.clone()
        for name, tensor in clf.net_.module_.state_dict().items()
        if name.startswith(head[0]) == head[1]
    }


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


HEAD, BODY = ("9.", True), ("9.", False)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "second_stage",
    [
        lambda clf, X, y: finetune_head(clf, X, y),
        lambda clf, X, y: finetune_head(clf, X, y, method="lws"),
        lambda clf, X, y: tau_normalize(clf),
    ],
    ids=[*METHODS, "tau"],
)
def test_nothing_but_the_head_changes(second_stage, n_classes):
    X, y = data(n_classes)
    given = first(n_classes=n_classes)
    before, proba = copy.deepcopy(given.module_.state_dict()), given.predict_proba(X)
    result = second_stage(given, X, y)
    assert any("running_mean" in name for name in state_of(result, head=BODY))
    assert same(state_of(result, head=BODY), state_of(given, head=BODY))
    assert not same(state_of(result, head=HEAD), state_of(given, head=HEAD))
    assert same(before, given.module_.state_dict())
    np.testing.assert_array_equal(given.predict_proba(X), proba)
    assert given.loss_ is not result.loss_
    assert not any(m._forward_hooks for m in result.module_.modules())


@pytest.mark.parametrize("builder", [NORMALIZED, TabM((8, 6), k=3), TabM((), k=3)], ids=repr)
@pytest.mark.parametrize("method", METHODS)
def test_head_learns_on_what_the_module_computes(method, builder):
    """Gradient descent by hand, on outputs of the whole module in evaluation mode, ends alike."""
    X, y = data()
    settings = {**PLAIN, "optimizer": "sgd", "lr_schedule": "constant", "batch_size": len(y)}
    given = small(builder, **settings, dtype="float64", features=None).fit(X, y)
    options = {"sampler": None, "class_weight": "balanced", "lr": 0.1, "max_epochs": 3}
    result = finetune_head(given, X, y, method=method, **options)
    module, x, codes = given.module_, torch.from_numpy(X), torch.from_numpy(y)
    if method == "crt":  # starts where the result of one epoch at a rate of almost 0 is
        options_at_start = {**options, "lr": 1e-300, "max_epochs": 1}
        start = finetune_head(given, X, y, method=method, **options_at_start)
        module = start.module_
        learned = list(module[-1].parameters())
    else:
        learned = [torch.ones(3, dtype=torch.float64, requires_grad=True)]
    weight = torch.from_numpy(len(y) / (3 * np.bincount(y)))
    optimizer = torch.optim.SGD(learned, lr=0.1, momentum=momentum_of(given))
    for _ in range(3):
        logits = (module(x) * (1 if method == "crt" else learned[0])).reshape(len(y), -1, 3)
        losses = [nn.functional.cross_entropy(z, codes, reduction="none") for z in logits.unbind(1)]
        loss = (torch.stack(losses).mean(dim=0) * weight[codes]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    expected = module(x) * (1 if method == "crt" else learned[0])
    got = result.module_(x)
    torch.testing.assert_close(got, expected)


def momentum_of(clf):
    return clf.net_.optimizer_.param_groups[0]["momentum"]


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_bits_and_global_state_rests(method, global_rng_untouched):
    X, y = data()
    given = first()

    def again(**seed):
        return parameters_of(finetune_head(given, X, y, method=method, **seed))

    np.testing.assert_array_equal(again(), again())
    np.testing.assert_array_equal(again(random_state=3), again(random_state=3))
    assert not np.array_equal(again(random_state=3), again(random_state=4))


def test_a_random_state_object_of_the_estimator_is_not_moved():
    X, y = data()
    given = first().set_params(random_state=np.random.RandomState(0))  # noqa: NPY002
    results = [parameters_of(finetune_head(given, X, y)) for _ in range(2)]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    "second_stage",
    [lambda clf: finetune_head(clf, *data()), lambda clf: finetune_head(clf, *data(), method="lws"),
     tau_normalize],
    ids=[*METHODS, "tau"],
)  # fmt: skip
def test_result_is_an_estimator_like_any_other(second_stage):
    X, y = data()
    given = first()
    result = second_stage(given)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(result)).predict_proba(X), result.predict_proba(X)
    )
    np.testing.assert_array_equal(copy.deepcopy(result).predict(X), result.predict(X))
    fresh = clone(result)
    assert repr(fresh.get_params()) == repr(given.get_params())
    np.testing.assert_array_equal(parameters_of(fresh.fit(X, y)), parameters_of(given))
    before = parameters_of(result)
    result.partial_fit(X, y)  # trains the whole net on
    assert (parameters_of(result) != before).mean() > 0.9
    finetune_head(result, X, y)


def test_books_are_those_of_the_second_stage():
    X, y = data()
    counts = np.bincount(y)
    given = small(NORMALIZED, loss="focal", validation_fraction=0.2).fit(X, y)
    sampled = finetune_head(given, X, y, max_epochs=4)
    np.testing.assert_allclose(sampled.effective_prior_, np.ones(3) / 3)
    np.testing.assert_array_equal(sampled.class_weight_, np.ones(3))
    np.testing.assert_array_equal(sampled.class_counts_, counts)
    assert (sampled.n_iter_, sampled.loss_.name) == (4, "cross_entropy")
    weighted = finetune_head(
        given, X, y, sampler=None, class_weight="balanced", loss=FocalLoss(1.0)
    )
    np.testing.assert_allclose(weighted.effective_prior_, np.ones(3) / 3)
    np.testing.assert_allclose(weighted.class_weight_, len(y) / (3 * counts))
    assert weighted.loss_.gamma == 1
    as_is = finetune_head(given, X, y, sampler=None)
    np.testing.assert_allclose(as_is.effective_prior_, counts / len(y))
    double = finetune_head(given, X, y, sample_weight=np.where(y == 0, 2.0, 1.0), sampler=None)
    np.testing.assert_allclose(double.class_counts_, counts * [2, 1, 1])


# -- modules -------------------------------------------------------------------------------


class LogProba(OneColumn):
    def forward(self, x):
        return torch.cat([super().forward(x), x[:, :1]], dim=1).log_softmax(1)


class TwoLayerHead(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        # as many outputs as classes: the wrong layer must not be taken for the head
        self.body = nn.Linear(input_shape[0], n_outputs)
        self.head = nn.Sequential(nn.Linear(n_outputs, 4), nn.Tanh(), nn.Linear(4, n_outputs))
        self.unused = nn.Linear(4, n_outputs)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


class TiedHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 3)
        self.head.weight = self.body.weight

    def forward(self, x):
        return self.head(torch.tanh(self.body(x[:, :3])))


@pytest.mark.parametrize(
    ("module", "made"), [(Recurrent, sequences), (Convolution, images)], ids=["LSTM", "Conv2d"]
)
def test_sequences_and_images(module, made):
    X, y = made()
    given = small(module, **PLAIN).fit(X, y)
    for method in METHODS:
        result = finetune_head(given, X, y, method=method)
        changed = [
            name
            for name, tensor in result.module_.state_dict().items()
            if not torch.equal(tensor, given.module_.state_dict()[name])
        ]
        assert changed == ["output.weight", "output.bias"]
    assert set(tau_normalize(given).predict(X)) <= set(y)


def test_each_member_is_normalised_by_itself():
    X, y = data()
    given = small(TabM((8,), k=3), **PLAIN).fit(X, y)
    head = tau_normalize(given).module_[-1]
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(3, 3))
    assert not head.bias.any()


@pytest.mark.parametrize("method", METHODS)
def test_the_default_net_recognises_rare_classes_better(method):
    X, y = make_long_tailed(*load_digits(return_X_y=True), 50, random_state=0)
    given = ImbalancedNetClassifier(**PLAIN, max_epochs=5, random_state=0).fit(X, y)
    result = finetune_head(given, X, y, method=method)
    assert isinstance(result.module_[-1], type(given.module_[-1]))
    assert balanced_accuracy_score(y, result.predict(X)) > balanced_accuracy_score(
        y, given.predict(X)
    )


def test_cosine_head():
    X, y = data()
    given = small(MLP((8,), head="cosine"), loss=LDAMLoss()).fit(X, y)
    result = finetune_head(given, X, y, loss=LDAMLoss(), max_epochs=20)
    assert balanced_accuracy_score(y, result.predict(X)) > 0.7
    for second_stage in (lambda: finetune_head(given, X, y, method="lws"),
                         lambda: tau_normalize(given)):  # fmt: skip
        with pytest.raises(ValueError, match="torch.nn.Linear with 3 rows, .* got CosineLinear"):
            second_stage()


def test_one_column_for_two_classes():
    X, y = data(2)
    given = small(OneColumn, **PLAIN).fit(X, y)
    result = finetune_head(given, X, y)
    assert result.predict_proba(X).shape == (len(y), 2)
    with pytest.raises(ValueError, match="with 2 rows, .* got Linear"):
        finetune_head(given, X, y, method="lws")
    with pytest.raises(ValueError, match="with 2 rows, .* got Linear"):
        tau_normalize(given)


def test_head_of_several_layers_is_named():
    X, y = data()
    given = small(TwoLayerHead, **PLAIN).fit(X, y)
    alone, both = (finetune_head(given, X, y, head=name) for name in (None, "head"))

    def changed(result):
        old = given.module_.state_dict()
        new = result.module_.state_dict()
        return {name.rsplit(".", 1)[0] for name in new if not torch.equal(new[name], old[name])}

    assert changed(alone) == {"head.2"}
    assert changed(both) == {"head.0", "head.2"}


def test_a_module_that_is_nothing_but_a_head():
    X, y = data()
    assert (
        finetune_head(small(nn.Linear(8, 3), **PLAIN).fit(X, y), X, y).predict(X).shape == y.shape
    )


def test_head_that_is_not_found():
    X, y = data(2)
    given = small(LogProba, **PLAIN).fit(X, y)
    with pytest.raises(ValueError, match="Found no head in LogProba.*name it with head="):
        finetune_head(given, X, y)
    with pytest.raises(ValueError, match="'output' is not"):
        finetune_head(given, X, y, head="output")
    with pytest.raises(ValueError, match=r"no layer 'fc'; it has \['hidden', 'output'\]"):
        tau_normalize(given, head="fc")
    with pytest.raises(ValueError, match="shares weights"):
        finetune_head(small(TiedHead, **PLAIN).fit(*data()), *data())


def test_head_that_cannot_start_anew():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 8))

        def forward(self, x):
            return x @ self.weight.T

    X, y = data()
    with pytest.raises(ValueError, match=r"no reset_parameters\(\)"):
        finetune_head(small(Own, **PLAIN).fit(X, y), X, y)


# -- tau normalisation ---------------------------------------------------------------------


def test_tau_normalisation_of_known_rows():
    X, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 3
    given = small(nn.Linear(2, 3), **PLAIN).fit(X, y)
    rows = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.5]])
    given.module_.weight.data = rows.clone()
    expected = [[1.341640786, 1.788854382], [1, 0], [0, 0.707106781]]
    half = tau_normalize(given, 0.5).module_
    np.testing.assert_allclose(half.weight.detach(), expected, rtol=1e-6)
    np.testing.assert_array_equal(half.bias.detach(), np.zeros(3))
    torch.testing.assert_close(tau_normalize(given, 0).module_.weight.data, rows)
    torch.testing.assert_close(tau_normalize(given).module_.weight.norm(dim=1), torch.ones(3))
    assert given.module_.bias.any()
    given.module_.weight.data[1] = 0
    assert torch.isfinite(tau_normalize(given).module_.weight).all()


def test_tau_normalised_scores_are_no_posterior():
    X, y = data()
    given = first()
    result = tau_normalize(given)
    np.testing.assert_allclose(result.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    result.set_params(target_prior="train")
    with pytest.raises(ValueError, match="TauNormalizedScores.*target_prior=None"):
        result.predict(X)
    with pytest.raises(ValueError, match="TauNormalizedScores.*target_prior=None"):
        tau_normalize(given.set_params(target_prior="uniform"))
    finetune_head(result, X, y).predict(X)  # which has one again


@pytest.mark.parametrize("tau", [-0.5, float("inf"), float("nan")])
def test_tau_out_of_range(tau):
    with pytest.raises(ValueError, match="tau"):
        tau_normalize(first(), tau)


# -- bad input -----------------------------------------------------------------------------


def test_bad_estimators():
    X, y = data()
    for second_stage in (lambda clf: finetune_head(clf, X, y), tau_normalize):
        with pytest.raises(NotFittedError):
            second_stage(small())
        with pytest.raises(TypeError, match="ImbalancedNetClassifier"):
            second_stage(MLP())
        labels = small(**PLAIN).fit(X, np.stack([y == 1, y == 2, y > 0], axis=1).astype(int))
        with pytest.raises(ValueError, match="one label per row"):
            second_stage(labels)


def test_bad_data():
    X, y = data()
    given = first()
    with pytest.raises(ValueError, match="7 features"):
        finetune_head(given, X[:, :7], y)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        finetune_head(given, X, y[:-1])
    with pytest.raises(ValueError, match=r"\[0, 1, 2\], and no other; it has \[0, 1\]"):
        finetune_head(given, X[y < 2], y[y < 2])
    with pytest.raises(ValueError, match="and no other"):
        finetune_head(given, X, y + 1)
    with pytest.raises(ValueError, match="sample_weight"):
        finetune_head(given, X, y, sample_weight=-np.ones(len(y)))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"method": "CRT"}, "'crt' or 'lws'; got 'CRT'"),
        ({"loss": "none"}, "Unknown loss"),
        ({"sampler": "none"}, "Unknown sampler"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"lr": 0}, "lr"),
    ],
)
def test_bad_parameters(parameter, message):
    with pytest.raises(ValueError, match=message):
        finetune_head(first(), *data(), **parameter)


def test_target_prior_needs_a_posterior():
    given = first().set_params(target_prior="train")
    with pytest.raises(ValueError, match="target_prior"):
        finetune_head(given, *data(), loss="hinge")


# -- what it is good for -------------------------------------------------------------------


@pytest.mark.slow
def test_posterior_is_as_good_as_that_of_one_stage():
    plain, corrected, raw = [], {m: [] for m in METHODS}, {m: [] for m in METHODS}
    for seed in range(3):
        X, _ = sample(100 + seed)
        truth = true_posterior(X)
        given = ImbalancedNetClassifier(
            MLP((16,)), **PLAIN, max_epochs=10, batch_size=256, target_prior="train",
            random_state=seed, device="cpu",
        ).fit(*sample(seed))  # fmt: skip

        def error(clf, X=X, truth=truth):
            return np.abs(clf.predict_proba(X)[:, 1] - truth).mean()

        plain.append(error(given))
        for method in METHODS:
            result = finetune_head(given, *sample(seed), method=method)
            corrected[method].append(error(result))
            raw[method].append(error(result.set_params(target_prior=None)))
    for method in METHODS:
        assert np.mean(corrected[method]) < 1.5 * np.mean(plain)
        assert np.mean(raw[method]) > 20 * np.mean(corrected[method])


@pytest.mark.slow
def test_rare_digits_are_recognised():
    X, y = load_digits(return_X_y=True)
    scores = []
    for seed in range(5):
        X_train, X_test, y_train, y_test = train_test_split(
            X / 16, y, test_size=0.4, stratify=y, random_state=seed
        )
        order = np.random.default_rng(seed).permutation(10)
        rows = make_long_tailed(X_train, y_train, 50, class_order=order, random_state=seed)
        given = ImbalancedNetClassifier(
            MLP((64,)),
            features=TableFeatures(numeric_embedding=None),
            **PLAIN,
            max_epochs=30,
            random_state=seed,
            device="cpu",
        ).fit(*rows)
        models = [
            given,
            *(finetune_head(given, *rows, method=m) for m in METHODS),
            tau_normalize(given, 0.5),
        ]
        scores.append([balanced_accuracy_score(y_test, m.predict(X_test)) for m in models])
    scores = np.array(scores)
    plain, crt, lws, tau = scores.mean(axis=0)
    assert crt > plain + 0.1
    assert (scores[:, 1] > scores[:, 0]).all()
    assert lws > plain + 0.02
    assert tau > plain + 0.05


def test_schedules_of_the_first_stage_stay_there():
    X, y = data()
    given = small(NORMALIZED, **PLAIN, class_weight="balanced").fit(X, y)
    if "class_weight_schedule" not in given.get_params():
        pytest.skip("no such parameter")
    plain = finetune_head(given, X, y, random_state=0)
    scheduled = small(NORMALIZED, **PLAIN, class_weight="balanced").fit(X, y)
    scheduled.set_params(class_weight_schedule="deferred", sampler_schedule="deferred")
    result = finetune_head(scheduled, X, y, random_state=0)
    np.testing.assert_array_equal(parameters_of(result), parameters_of(plain))
