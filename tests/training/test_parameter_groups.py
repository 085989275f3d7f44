"""Parameter groups of an optimizer keep their own rate and decay."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from imbtorch import NotStackedWarning
from imbtorch.losses import BaseLoss, TorchLoss
from imbtorch.training.optimizers import build_optimizer
from tests.toy import plain_columns, small, table
from tests.training import stacked
from tests.training.stacked import FOLDS, assert_same, net, refitted, tanh_net

X, Y = table(120)


def groups(params, lr, weight_decay):
    """Biases do not decay, and have a tenth of the rate."""
    params = list(params)
    matrices = {"params": [p for p in params if p.ndim > 1]}
    biases = {"params": [p for p in params if p.ndim == 1], "lr": lr / 10, "weight_decay": 0.0}
    return torch.optim.SGD([matrices, biases], lr=lr, weight_decay=weight_decay)


def by_name(named_params, lr, weight_decay):
    """The head trains at its own rate."""
    named = list(named_params)
    body = [p for name, p in named if not name.startswith("2.")]
    head = [p for name, p in named if name.startswith("2.")]
    return torch.optim.AdamW(
        [{"params": body}, {"params": head, "lr": 0.5}], lr=lr, weight_decay=weight_decay
    )


def by_layer(module, lr, weight_decay):
    return torch.optim.SGD(
        [{"params": module[0].parameters()}, {"params": module[2].parameters(), "lr": 0.5}], lr=lr
    )


STEPS = []


class FailingOnce(torch.optim.SGD):
    """Fail in the seventh step of all."""

    def step(self, closure=None):
        STEPS.append(1)
        if len(STEPS) == 7:
            raise ArithmeticError("stop")
        return super().step(closure)


def failing_once(params, lr, weight_decay):
    return FailingOnce(groups(params, lr, weight_decay).param_groups)


def classifier(optimizer=groups, **params):
    """Return a net of the three layers that ``by_name`` and ``by_layer`` count."""
    settings = {"lr": 0.1, "weight_decay": 0.2, "batch_size": 30, "features": plain_columns()}
    return small(optimizer=optimizer, **settings, **params)


def check(**options):
    """Fail unless such nets come out of a stack as each of them does alone."""
    return stacked.check(features=plain_columns(), **options)


def settings_of(clf):
    groups = clf.net_.optimizer_.param_groups
    return [(group["lr"], group["weight_decay"]) for group in groups]


OWN = [(0.1, 0.2), (0.1 / 10, 0.0)]


# -- rates of their own ---------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_groups_keep_rate_and_decay_over_chunks_fits_and_copies(schedule):
    clf = classifier(lr_schedule=schedule, warm_start=True)
    clf.partial_fit(X, Y, classes=[0, 1])
    assert settings_of(clf) == OWN
    for again in (clf, copy.deepcopy(clf), pickle.loads(pickle.dumps(clf))):
        assert settings_of(again.partial_fit(X, Y)) == OWN
        assert settings_of(again.fit(X, Y)) == OWN
        assert settings_of(again.partial_fit(X, Y)) == OWN


def test_schedule_scales_the_rate_of_each_group():
    rates = []

    class Noting(torch.optim.SGD):
        def step(self, closure=None):
            rates.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    def noting(params, lr, weight_decay):
        params = list(params)
        return Noting([{"params": params[:1]}, {"params": params[1:], "lr": 0.5}], lr=lr)

    classifier(noting, lr_schedule=lambda t: 1 - t, max_epochs=1).fit(X, Y)
    assert rates == [[0.1 * f, 0.5 * f] for f in (1, 0.75, 0.5, 0.25)]


def test_changed_rate_is_followed_by_the_groups_that_had_the_former_one():
    clf = classifier().partial_fit(X, Y, classes=[0, 1])
    fitted = copy.deepcopy(clf)
    clf.set_params(lr=0.05, weight_decay=0.3).partial_fit(X, Y)
    assert settings_of(clf) == [(0.05, 0.3), (0.1 / 10, 0.0)]
    assert settings_of(fitted) == OWN  # the copy that training continued from is as it was
    clf.set_params(lr=0.01).partial_fit(X, Y)  # now equal to the other's, which does not follow it
    assert settings_of(clf) == [(0.01, 0.3), (0.1 / 10, 0.0)]


def test_single_group_follows_whatever_a_scheduler_made_of_its_rate():
    from skorch.callbacks import LRScheduler

    clf = classifier("adamw", callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.1)])
    clf.fit(X, Y).set_params(callbacks=None)
    assert settings_of(clf.partial_fit(X, Y)) == [(0.1, 0.2)]
    assert settings_of(clf.set_params(lr=0.3).partial_fit(X, Y)) == [(0.3, 0.2)]


def test_optimizer_without_weight_decay_gets_none():
    clf = classifier(lambda params, lr, weight_decay: torch.optim.Rprop(params, lr=lr))
    clf.partial_fit(X, Y, classes=[0, 1]).partial_fit(X, Y)
    assert "weight_decay" not in clf.net_.optimizer_.param_groups[0]


def test_resumed_training_has_the_groups_of_an_uninterrupted_one(tmp_path):
    STEPS.clear()
    params = {"optimizer": failing_once, "max_epochs": 4, "lr_schedule": "cosine"}
    with pytest.raises(ArithmeticError, match="stop"):
        classifier(checkpoint=tmp_path, **params).fit(X, Y)
    resumed = classifier(checkpoint=tmp_path, **params).fit(X, Y, resume=True)
    whole = classifier(**params).fit(X, Y)
    assert settings_of(resumed) == settings_of(whole) == OWN
    for one, other in zip(resumed.module_.parameters(), whole.module_.parameters(), strict=True):
        assert torch.equal(one, other)


# -- parameters of the loss -----------------------------------------------------------------------


class Scaled(BaseLoss):
    """Cross-entropy of logits that are shifted, then scaled, by numbers that are learned."""

    def __init__(self, *, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.shift, self.scale = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(1, 1))

    def per_sample(self, logits, target):
        scaled = (logits + self.shift) * self.scale
        return nn.functional.cross_entropy(scaled, target, reduction="none")


def loss_parameters_of(clf):
    return dict(clf.loss_.named_parameters())


def test_loss_that_no_group_holds_is_left_alone():
    clf = classifier(by_layer, loss=Scaled()).partial_fit(X, Y, classes=[0, 1])
    clf.partial_fit(X, Y)
    assert [len(g["params"]) for g in clf.net_.optimizer_.param_groups] == [2, 2]
    assert clf.loss_.scale.item() == 1


def test_new_loss_joins_the_group_of_the_former_one():
    def optimizer(named_params, lr, weight_decay):
        parts = [[p for n, p in named_params if n.startswith("loss.") == own] for own in (0, 1)]
        return torch.optim.SGD([{"params": part} for part in parts if part], lr=lr)

    clf = classifier(optimizer, loss=Scaled()).partial_fit(X, Y, classes=[0, 1])
    clf.set_params(loss=Scaled(ignore_index=-1)).partial_fit(X, Y)
    body, own = clf.net_.optimizer_.param_groups
    assert len(body["params"]) == 4
    assert list(map(id, own["params"])) == list(map(id, clf.loss_.parameters()))


def test_parameters_of_the_loss_stay_in_their_groups_with_their_values():
    loss = Scaled()
    clf = classifier(loss=loss).partial_fit(X, Y, classes=[0, 1])
    first = [[tuple(p.shape) for p in g["params"]] for g in clf.net_.optimizer_.param_groups]
    before = {name: p.detach().clone() for name, p in loss_parameters_of(clf).items()}
    clf.set_params(lr=1e-12).net_.group_settings[1]["lr"] = 1e-12
    clf.partial_fit(X, Y)
    again = [[tuple(p.shape) for p in g["params"]] for g in clf.net_.optimizer_.param_groups]
    assert again == first
    trained = {id(p) for g in clf.net_.optimizer_.param_groups for p in g["params"]}
    for name, p in loss_parameters_of(clf).items():
        assert id(p) in trained
        torch.testing.assert_close(p.detach(), before[name])


class ScaledModule(nn.Module):
    """A loss that is no loss of this package: cross-entropy of logits that it learns to scale."""

    def __init__(self, n_classes=2):
        super().__init__()
        self.scale, self.reduction = nn.Parameter(torch.ones(n_classes)), "mean"

    def forward(self, logits, target):
        return nn.functional.cross_entropy(logits * self.scale, target, reduction=self.reduction)


@pytest.mark.parametrize(
    "loss",
    [
        ScaledModule(),
        TorchLoss(ScaledModule(), weight=[1.0, 2.0]),
        Scaled(weight=np.array([1.0, 2.0])),
    ],
    ids=["module", "weighted module", "weighted loss"],
)
def test_learned_parameters_of_a_loss_go_on_from_chunk_to_chunk(loss):
    clf = classifier("adamw", loss=loss).partial_fit(X, Y, classes=[0, 1])
    former = copy.deepcopy(clf)
    for again in (clf.set_params(lr=1e-12), pickle.loads(pickle.dumps(clf))):
        again.partial_fit(X, Y)
        for name, p in loss_parameters_of(again).items():
            before = loss_parameters_of(former)[name]
            torch.testing.assert_close(p, before)
            assert (before != 1).any()
        steps = {state["step"].item() for state in again.net_.optimizer_.state.values()}
        assert steps == {2 * 4}


def test_learned_parameters_of_a_loss_go_on_in_a_warm_start():
    params = {"loss": ScaledModule(), "lr_schedule": "constant", "optimizer": "sgd"}
    clf = classifier(warm_start=True, **params).fit(X, Y)
    before = clf.loss_.loss.scale.detach().clone()
    torch.testing.assert_close(clf.set_params(lr=1e-12).fit(X, Y).loss_.loss.scale.detach(), before)


def test_learned_parameters_of_another_loss_begin_anew():
    clf = classifier("adamw", loss=ScaledModule()).partial_fit(X, Y, classes=[0, 1])
    clf.set_params(loss=ScaledModule(1), lr=1e-12).partial_fit(X, Y)
    torch.testing.assert_close(clf.loss_.loss.scale.detach(), torch.ones(1))


# -- what a callable may ask for ------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [by_name, by_layer])
def test_groups_by_layer(optimizer):
    clf = classifier(optimizer).fit(X, Y)
    body, head = clf.net_.optimizer_.param_groups
    assert [id(p) for p in body["params"]] == [id(p) for p in clf.net_.module_[0].parameters()]
    assert [id(p) for p in head["params"]] == [id(p) for p in clf.net_.module_[2].parameters()]
    assert (body["lr"], head["lr"]) == (0.1, 0.5)
    again = pickle.loads(pickle.dumps(clf))  # builds a new optimizer
    assert [group["lr"] for group in again.net_.optimizer_.param_groups] == [0.1, 0.5]


def test_params_come_first_beside_whatever_else_is_asked_for():
    seen = {}

    def optimizer(params, named_params, module, lr, weight_decay):
        seen.update(params=list(params), named=list(named_params), module=module)
        return torch.optim.SGD(params, lr=lr)

    module = nn.Linear(3, 2)
    named = list(module.named_parameters())
    build_optimizer(optimizer, [p for _, p in named], 0.1, 0.0, named=named, module=module)
    assert seen == {"params": [p for _, p in named], "named": named, "module": module}


def test_named_parameters_are_those_that_are_trained():
    names = []

    def optimizer(named_params, lr, weight_decay):
        names.extend(name for name, _ in named_params)
        return torch.optim.SGD([p for _, p in named_params], lr=lr)

    def build(shape, n):
        module = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2))
        module[0].requires_grad_(False)
        return module

    classifier(optimizer, module=build, loss=Scaled()).fit(X, Y)
    assert names[:2] == ["1.weight", "1.bias"]
    assert len(names) == 4
    assert all(name.startswith("loss.") for name in names[2:])


# -- stacks ---------------------------------------------------------------------------------------

BY_GROUP = pytest.mark.parametrize("optimizer", [groups, by_name, by_layer])
RATES = [{"lr": 0.05}, {"lr": 0.2, "weight_decay": 0.1}]  # and folds of unequal size


@BY_GROUP
@pytest.mark.parametrize("schedule", ["constant", "cosine", lambda t: 1 - t])
def test_stack_trains_groups_as_single_fits_do(optimizer, schedule):
    check(grid=RATES, folds=FOLDS[:2], optimizer=optimizer, lr_schedule=schedule)


@pytest.mark.parametrize(
    "options",
    [
        {"sharpness": 0.05, "gradient_clipping": 0.1},
        {"averaging": 0.5},
        {"module": tanh_net, "optimizer": groups},
        {"early_stopping": True, "patience": 1, "max_epochs": 6, "on_divergence": "restore"},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_stack_of_groups_beside_other_settings(options):
    check(grid=RATES, folds=FOLDS[:2], **{"optimizer": by_layer, **options})


def test_candidates_may_have_other_groups():
    grid = [{"optimizer": optimizer} for optimizer in (groups, by_name, torch.optim.RMSprop)]
    check(grid=grid, folds=FOLDS[:1], lr=0.02)


@BY_GROUP
def test_groups_of_a_stacked_net_are_trained_further_as_after_a_single_fit(optimizer):
    options = {"optimizer": optimizer, "warm_start": True, "lr_schedule": "cosine"}
    for clf in check(grid=RATES, folds=FOLDS[:1], **options):
        rows = FOLDS[0]
        alone = refitted(clf, rows)
        for method in ("partial_fit", "fit", "partial_fit"):
            again, expected = (
                getattr(c, method)(stacked.X[rows], stacked.Y[rows]) for c in (clf, alone)
            )
            assert settings_of(again) == settings_of(expected)
            assert_same(again, expected)


def test_groups_with_a_checkpoint_are_trained_one_by_one(tmp_path):
    grid = [{"checkpoint": tmp_path / str(i), "lr": lr} for i, lr in enumerate((0.05, 0.2))]
    pairs = stacked.members(net(optimizer=by_layer, features=plain_columns()), grid, FOLDS[:1])
    with pytest.warns(NotStackedWarning, match="checkpoint"):
        assert stacked.together(pairs) == ([], [None, None])
    for clf, rows in pairs:
        alone = refitted(clf.set_params(checkpoint=None), rows)
        assert settings_of(clf) == settings_of(alone)
        assert_same(clf, alone)


def head_only(module, lr, weight_decay):
    """Leave out the first layer, which still has gradients."""
    return torch.optim.SGD(module[-1].parameters(), lr=lr)


def test_stack_leaves_out_what_no_group_holds():
    check(grid=RATES, folds=FOLDS[:2], optimizer=head_only)


@pytest.mark.parametrize("options", [{"gradient_clipping": 0.05}, {"sharpness": 0.5}], ids=str)
def test_norm_of_the_gradient_is_that_of_the_groups(options):
    pairs = stacked.members(net(optimizer=head_only, **options), RATES, FOLDS[:1])
    with pytest.warns(NotStackedWarning, match="holds only some of the parameters"):
        stacked.together(pairs)
    for clf, rows in pairs:
        assert_same(clf, refitted(clf, rows))
