"""Modules that return several outputs for each row: training, predictions, and their errors."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from skorch.callbacks import Callback, EpochScoring
from torch import nn

from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NetEnsembleRegressor,
    finetune_head,
)
from imbtorch._tasks.base import log_mean
from imbtorch.losses import BaseLoss, all_losses, get_loss
from imbtorch.losses._members import batch_loss_of_members, sums_over_members
from imbtorch.losses.regression import all_regression_losses, get_regression_loss
from imbtorch.modules import members_of
from imbtorch.samplers import Mixup
from imbtorch.testing import check_module
from tests.toy import overlapping, small, table
from tests.training.stacked import assert_same, members, refitted, together

K, N = 3, 40
X, Y = table(200)
WEIGHT = np.random.default_rng(0).integers(0, 3, len(Y)).astype(float)


class Heads(nn.Module):
    """A shared layer, and K heads in one linear layer: a module of a user."""

    def __init__(self, input_shape, n_outputs, width=None):
        super().__init__()
        self.n_members, self.width = K, width or n_outputs
        self.shared = nn.Sequential(nn.Linear(input_shape[0], 6), nn.Tanh())
        self.heads = nn.Linear(6, K * self.width)

    def forward(self, x):
        return self.heads(self.shared(x)).view(len(x), K, self.width)


class OneHead(nn.Module):
    """Member ``i`` of a module with heads, as a net of its own."""

    def __init__(self, heads, i):
        super().__init__()
        self.heads, self.i = heads, i

    def forward(self, x):
        return self.heads(x)[:, self.i]


def heads(n_outputs=2, width=None, n_features=X.shape[1]):
    torch.manual_seed(0)
    return Heads((n_features,), n_outputs, width)


def raw(clf, X):
    with torch.no_grad():
        return clf.module_(torch.from_numpy(X).to(clf.net_.dtype))


# -- the loss -----------------------------------------------------------------------------------


def batches(form, n_classes, seed=0):
    """Three batches of outputs of K members, targets, and shares that differ."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(3):
        output = torch.randn(N, K, n_classes, generator=draw, dtype=torch.float64)
        share = torch.rand(N, generator=draw, dtype=torch.float64) / N
        if form == "softmax":
            target = torch.randint(0, n_classes, (N,), generator=draw)
        else:
            target = torch.randint(0, 2, (N, n_classes), generator=draw).double()
            share = share.unsqueeze(1) * torch.rand(n_classes, generator=draw) / n_classes
        yield output, target, share


def forms_of(name):
    cls = all_losses()[name]
    for form in ("softmax", "sigmoid"):
        task = type("Form", (), {"form": form})
        if cls.has_form_for(get_loss(name), task):
            yield form


FORMS = [(name, form) for name in all_losses() for form in forms_of(name)]


def assert_mean_of_separate_losses(loss, rounds):
    """Each member has a copy of the loss, which remembers what only this member returned."""
    own = [copy.deepcopy(loss).train() for _ in range(K)]
    loss = loss.train()
    for output, target, share in rounds:
        together, apart = (output.clone().requires_grad_() for _ in range(2))
        value = batch_loss_of_members(loss, together, target, share)
        values = [one.batch_loss(apart[:, i], target, share) for i, one in enumerate(own)]
        expected = torch.stack(values).mean()
        value.backward()
        expected.backward()
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(together.grad, apart.grad)


@pytest.mark.matrix
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_loss_is_the_mean_of_the_losses_of_the_members(name, form, n_classes):
    counts = np.arange(1.0, n_classes + 1) * 10
    loss = get_loss(name).prepare(
        counts if form == "softmax" else np.stack([100 - counts, counts], 1)
    )
    assert_mean_of_separate_losses(loss.double(), batches(form, n_classes))


@pytest.mark.parametrize("reduction", ["sum", "weighted_mean", "none"])
@pytest.mark.parametrize("epoch", [0, 1])  # of warm-up, and of the loss itself
@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_whole_batch_losses_average_the_members_in_every_reduction(form, epoch, reduction):
    loss = all_losses()["smooth_ap"](warmup_epochs=1, reduction=reduction)
    counts = np.array([30.0, 10.0, 20.0])
    loss.prepare(counts if form == "softmax" else np.stack([60 - counts, counts], 1)).set_epoch(
        epoch
    )
    assert_mean_of_separate_losses(loss.double(), batches(form, 3))


@pytest.mark.parametrize("name", all_regression_losses())
def test_regression_loss_is_the_mean_of_the_losses_of_the_members(name):
    n_targets = 2 if name == "mse" else 1
    target = np.random.default_rng(0).normal(size=(N, n_targets))
    loss = get_regression_loss(name).prepare(target).double()
    rounds = [
        (output, torch.from_numpy(target), share)
        for output, _, share in batches("softmax", n_targets)
    ]
    assert_mean_of_separate_losses(loss, rounds)


class Spread(BaseLoss):
    """A loss of a user that compares rows, and does not say so."""

    def batch_loss(self, logits, target, share):
        return logits[:, 1].var() + share.sum() * 0

    def per_sample(self, logits, target):
        return logits[:, 1]


def test_a_loss_with_a_batch_loss_of_its_own_gets_the_members_one_by_one():
    assert not sums_over_members(Spread())
    assert_mean_of_separate_losses(Spread(), batches("softmax", 2))


# -- training -----------------------------------------------------------------------------------


def stepped(module, *, y=Y, estimator=ImbalancedNetClassifier, **params):
    """Fit for one step of plain gradient descent on all rows."""
    defaults = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0, "max_epochs": 1}
    defaults |= {"batch_size": len(X), "lr_schedule": lambda t: 1.0, "dtype": "float64"}
    est = estimator(module, features=None, random_state=0, **{**defaults, **params})
    return est.fit(X, y, sample_weight=WEIGHT)


LABELS = np.stack([Y, X[:, 0] > 1, X[:, 1] > 0], axis=1).astype(int)
UNKNOWN = np.where(np.random.default_rng(1).random(LABELS.shape) < 0.2, np.nan, LABELS)
STEPS = {
    "cross-entropy": {"loss": "cross_entropy"},
    "focal, class weights": {"loss": "focal", "class_weight": "balanced"},
    "logit adjusted": {"loss": "logit_adjusted"},
    "ldam": {"loss": "ldam", "class_weight": {0: 1.0, 1: 5.0}},
    "auc": {"loss": "auc_margin"},
    "smooth ap": {"loss": "smooth_ap"},
    "mixup": {"loss": "cross_entropy", "sampler": Mixup()},
    "sampler": {"loss": "cross_entropy", "sampler": "class_balanced"},
    "labels": {"loss": "bce", "class_weight": "balanced", "y": LABELS},
    "unknown labels": {"loss": "focal", "y": UNKNOWN},
    "one value": {"estimator": ImbalancedNetRegressor, "loss": "huber", "y": X[:, 0]},
    "values": {"estimator": ImbalancedNetRegressor, "y": X[:, :2]},
    "balanced mse": {"estimator": ImbalancedNetRegressor, "loss": "balanced_mse", "y": X[:, 0]},
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_the_mean_of_the_steps_of_the_members(name):
    params = STEPS[name]
    y = params.get("y", Y)
    n_outputs = 2 if y is Y else y.reshape(len(y), -1).shape[1]
    start = heads(n_outputs).double()
    found = stepped(start, **params)
    before = dict(start.named_parameters())
    moves = dict.fromkeys(before, 0.0)
    losses = []
    for i in range(K):
        one = stepped(OneHead(start, i), **params)
        losses.append(one.history_[0, "train_loss"])
        for name, value in one.module_.named_parameters():
            name = name.removeprefix("heads.")
            moves[name] = moves[name] + (value - before[name]).detach() / K
    np.testing.assert_allclose(found.history_[0, "train_loss"], np.mean(losses))
    for name, value in found.module_.named_parameters():
        torch.testing.assert_close((value - before[name]).detach(), moves[name])


def test_the_way_of_callbacks_gives_the_same():
    shapes = set()

    class Look(Callback):
        def on_batch_end(self, net, y_pred, **kwargs):
            shapes.add(tuple(y_pred.shape[1:]))

    callbacks = [EpochScoring("average_precision", lower_is_better=False), Look()]
    lean, hooked = (
        small(Heads, callbacks=given, dtype="float64", validation_fraction=0.2).fit(X, Y)
        for given in (None, callbacks)
    )
    assert shapes == {(K, 2)}
    np.testing.assert_allclose(lean.predict_proba(X), hooked.predict_proba(X))
    assert "average_precision" in hooked.history_[-1]


def test_validation_loss_of_labels_is_the_mean_over_members_and_labels():
    clf = small(Heads, loss="bce", dtype="float64").fit(X, LABELS)
    output, target = raw(clf, X), torch.from_numpy(LABELS).double()
    each = [nn.functional.binary_cross_entropy_with_logits(output[:, i], target) for i in range(K)]
    value = clf.net_.unweighted(output, target)
    torch.testing.assert_close(value, torch.stack(each).mean())


def test_parts_of_a_batch_give_the_same_gradient():
    whole, split = (
        small(Heads, on_oom=way, dtype="float64").fit(X, Y) for way in ("raise", "split")
    )
    np.testing.assert_allclose(whole.predict_proba(X), split.predict_proba(X))


# -- predictions --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "logit_adjusted", "balanced_softmax"])
@pytest.mark.parametrize("prior", ["train", [0.3, 0.7]])
def test_members_are_restated_before_they_are_averaged(loss, prior):
    weight = "balanced" if loss in ("cross_entropy", "focal") else None
    clf = small(Heads, loss=loss, target_prior=prior, class_weight=weight, dtype="float64")
    clf.fit(X, Y)
    target = clf.class_prior_ if prior == "train" else np.array(prior)
    logits = raw(clf, X)
    probabilities = []
    for i in range(K):
        own = clf.loss_.log_posterior(logits[:, i]).exp().numpy()
        own = own * target / clf.effective_prior_
        probabilities.append(own / own.sum(axis=1, keepdims=True))
    expected = np.mean(probabilities, axis=0)
    np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=1e-6)
    log_odds = np.log(expected[:, 1] / expected[:, 0])
    np.testing.assert_allclose(clf.decision_function(X), log_odds, rtol=1e-5, atol=1e-8)
    assert (clf.predict(X) == expected.argmax(axis=1)).all()


def test_one_column_stands_for_two_classes_in_every_member():
    loss = {"loss": "cross_entropy", "class_weight": {0: 1, 1: 3}}
    clf = small(heads(2, width=1), **loss, dtype="float64", target_prior="train").fit(X, Y)
    shift = np.log(clf.class_prior_ / clf.effective_prior_)
    z = raw(clf, X).numpy()
    assert z.shape == (len(X), K, 1)
    expected = expit(z[..., 0] + shift[1] - shift[0]).mean(axis=1)
    np.testing.assert_allclose(clf.predict_proba(X)[:, 1], expected, rtol=1e-6)


def test_labels_are_averaged_as_probabilities():
    clf = small(Heads, loss="bce", dtype="float64").fit(X, LABELS)
    expected = expit(raw(clf, X).numpy()).mean(axis=1)
    np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=1e-6)
    scores = np.log(expected / (1 - expected))
    np.testing.assert_allclose(clf.decision_function(X), scores, rtol=1e-5, atol=1e-8)


def test_values_are_averaged():
    reg = ImbalancedNetRegressor(Heads, max_epochs=2, random_state=0, dtype="float64")
    reg.fit(X, X[:, 0])
    expected = raw(reg, X).numpy().mean(axis=1)[:, 0] * reg.target_scale_ + reg.target_mean_
    np.testing.assert_allclose(reg.predict(X), expected)


def test_scores_do_not_saturate_where_the_members_agree():
    scores = torch.tensor([[[0.0, -800.0]], [[0.0, -900.0]]])
    assert torch.isfinite(log_mean(scores)).all()
    clf = small(Heads, dtype="float64").fit(X, Y)
    with torch.no_grad():
        clf.module_.heads.bias.add_(torch.tensor([0.0, 900.0] * K))
    assert np.isfinite(clf.decision_function(X)).all()
    assert (clf.decision_function(X) > 600).all()


def test_net_of_skorch_averages_the_members_too():
    clf = small(Heads, loss="cross_entropy", dtype="float64").fit(X, Y)
    np.testing.assert_allclose(clf.net_.predict_proba(X), clf.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize(
    "params", [{"loss": "focal", "class_weight": "balanced"}, {"loss": "logit_adjusted"}]
)
def test_posterior_is_recovered_through_every_weight_and_prior(params):
    X, y = overlapping(4000, 0.05)
    clf = ImbalancedNetClassifier(
        heads(n_features=4),
        **params,
        target_prior="train",
        max_epochs=15,
        batch_size=128,
        random_state=0,
    )
    clf.fit(X, y)
    assert clf.predict_proba(X)[:, 1].mean() == pytest.approx(y.mean(), rel=0.1)
    assert softmax(raw(clf, X.astype(np.float32)).numpy(), -1)[..., 1].mean() > 2 * y.mean()


def test_an_output_that_is_not_finite_names_its_rows():
    clf = small(Heads).fit(X, Y)
    wrong = X.copy()
    wrong[[3, 7]] = 1e38
    with torch.no_grad():
        clf.module_.shared[1] = nn.Identity()
        clf.module_.shared[0].weight.mul_(1e6)
    with pytest.raises(ValueError, match=r"2 of 200 rows of X: 3, 7\."):
        clf.predict_proba(wrong)


# -- many nets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["logit_adjusted", "focal", "soft_fbeta", "smooth_ap"])
def test_a_stack_gives_what_single_fits_give(loss):
    estimator = small(Heads, loss=loss, dtype="float64", batch_size=32, max_epochs=3)
    pairs = members(estimator)
    sizes, errors = together(pairs)
    assert errors == [None] * len(pairs)
    assert sizes == [len(pairs)]
    for stacked, rows in pairs:
        assert_same(stacked, refitted(stacked, rows))


def test_an_ensemble_averages_the_means_of_its_nets():
    clf = NetEnsembleClassifier(
        small(Heads, target_prior="train"), n_estimators=3, random_state=0
    ).fit(X, Y)
    shares = [
        copy.copy(member).set_params(target_prior=clf.class_prior_) for member in clf.estimators_
    ]
    expected = np.mean([member.predict_proba(X) for member in shares], axis=0)
    np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=1e-4)
    net = ImbalancedNetRegressor(Heads, max_epochs=2)
    reg = NetEnsembleRegressor(net, n_estimators=2, random_state=0).fit(X, X[:, 0])
    expected = np.mean([member.predict(X) for member in reg.estimators_], axis=0)
    np.testing.assert_allclose(reg.predict(X), expected, rtol=1e-5)


# -- what is allowed ----------------------------------------------------------------------------


class Wrong(Heads):
    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.n_members = 5


class Undeclared(Heads):
    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        del self.n_members


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Wrong, r"returned \(2, 3, 2\) for 2 rows.*\(2, 5, 2\) or \(2, 5, 1\).*n_members=5"),
        (Undeclared, r"returned \(2, 3, 2\) for 2 rows.*self\.n_members = 3 in __init__"),
        (heads(2, width=4), r"returned \(2, 3, 4\) for 2 rows; y has 2 classes"),
    ],
    ids=["another k", "undeclared", "another width"],
)
def test_wrong_shapes_say_what_is_expected(module, message):
    with pytest.raises(ValueError, match=message):
        small(module).fit(X, Y)


def test_a_module_that_averages_its_members_itself_stays_as_it_is():
    class Averaging(Heads):
        def forward(self, x):
            return super().forward(x).mean(dim=1)

    assert small(Averaging).fit(X, Y).predict_proba(X).shape == (len(X), 2)


@pytest.mark.parametrize("value", [None, 0, -1, 2.0, True, "3"])
def test_only_positive_integers_are_numbers_of_members(value):
    module = nn.Linear(2, 2)
    module.n_members = value
    assert members_of(module) is None


def test_members_of_a_sequence_are_those_of_its_last_module():
    last = nn.Identity()
    last.n_members = 4
    assert members_of(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), last))) == 4
    assert members_of(nn.Sequential(last, nn.Linear(2, 2))) is None
    assert members_of(nn.Sequential()) is None


def test_the_contract_of_modules_knows_members():
    check_module(Heads, (5,), 2)
    with pytest.raises(AssertionError, match="n_members"):
        check_module(Undeclared, (5,), 2)


def test_a_chain_of_plain_layers_may_have_members():
    """Rows that hold the features of each member: the layers are linear, the rows are not."""
    module = nn.Sequential(nn.Linear(4, 2))
    module.n_members = K
    rows = np.random.default_rng(0).normal(size=(60, K, 4))
    clf = small(module).fit(rows, Y[:60])
    assert clf.predict_proba(rows).shape == (60, 2)


def test_finetuning_a_module_without_a_common_head_says_so():
    clf = small(Heads).fit(X, Y)
    with pytest.raises(ValueError, match="Found no head"):
        finetune_head(clf, X, Y)
