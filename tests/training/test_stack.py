"""Nets that are trained as one stack, against each of them trained alone, in float64."""

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE
from scipy import sparse
from torch import nn

from imbtorch import MLP
from imbtorch.losses import BaseLoss, FocalLoss, all_losses
from imbtorch.losses._whole_batch import WholeBatchMixin
from imbtorch.samplers import UnderSampler, all_samplers
from imbtorch.training.stack.losses import _Flat, _Looped, _Mapped, losses_of
from tests.toy import small, table
from tests.training.stacked import (
    FOLDS,
    ROWS,
    N,
    X,
    Y,
    check,
    members,
    net,
    refitted,
    tanh_net,
    together,
)

pytestmark = pytest.mark.filterwarnings("ignore::imbtorch.DoubleCorrectionWarning")

THREE = table(N, n_classes=3, rate=0.5)[1]
LABELS = np.stack([Y, X[:, 0] > 0.5, X[:, 1] > 0], axis=1).astype(int)
OF_LABELS = [
    name
    for name, cls in all_losses().items()
    if cls.per_label is not BaseLoss.per_label or issubclass(cls, WholeBatchMixin)
]
EACH_NET = pytest.mark.parametrize("module", [MLP((8,)), tanh_net], ids=["chain", "mapped"])


def numbers_of(name):
    """Return every setting of a loss that its common tests sweep, as parameters of a net."""
    return [{f"loss__{k}": v for k, v in p.items()} for p in all_losses()[name]._test_params]


# -- losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [Y, THREE], ids=["two", "three"])
@pytest.mark.parametrize("name", sorted(all_losses()))
def test_every_loss_by_name(name, y):
    check(
        loss=name, y=y, n_stacks=2 if name == "label_aware_smoothing" else 1, grid=numbers_of(name)
    )


@pytest.mark.parametrize("name", OF_LABELS)
def test_every_loss_of_labels(name):
    check(loss=name, y=LABELS, grid=numbers_of(name), class_weight="balanced")


@pytest.mark.parametrize(
    "loss",
    [
        nn.L1Loss(), nn.MSELoss(), nn.HuberLoss(delta=0.5), nn.BCEWithLogitsLoss(), nn.NLLLoss(),
        nn.MultiMarginLoss(), nn.SoftMarginLoss(), nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0])),
    ],
    ids=repr,
)  # fmt: skip
def test_losses_of_torch(loss):
    check(loss=loss)


def test_warm_up_ends_in_the_stack_too():
    for name in ("auc_margin", "soft_fbeta", "smooth_ap"):
        check(loss=name, grid=[{"loss__warmup_epochs": n} for n in (2, 2)])
        check(loss=name, grid=[{"loss__warmup_epochs": n} for n in (0, 1, 2)])


class Branching(BaseLoss):
    """Looks at the numbers, which torch cannot map."""

    name = ""

    def __init__(self, gain=1.0, *, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        self.gain = gain

    def per_sample(self, logits, target):
        value = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        return self.gain * value if float(value.detach().max()) > 0.5 else value


class Deferred(Branching):
    """Changes with the epochs, in a tensor, a buffer and a flag."""

    def set_epoch(self, epoch):
        self.late, self.factor = epoch >= 2, torch.tensor(1.0 + epoch).double()

    def per_sample(self, logits, target):
        value = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        return self.gain * value * getattr(self, "factor", 1.0)


class InTraining(Branching):
    """Is another one in training."""

    def per_sample(self, logits, target):
        value = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        return self.gain * value if self.training else value


@pytest.mark.parametrize("cls", [Branching, Deferred, InTraining])
def test_losses_of_the_user_that_are_hard_to_map(cls):
    check(loss=cls(), grid=[{"loss__gain": g} for g in (1.0, 2.0, 3.0)])
    check(loss=cls(2.0), grid=[{}, {"lr": 0.1}])


@pytest.mark.parametrize(
    ("name", "grid", "way"),
    [
        ("focal", [{"loss__gamma": g} for g in (0, 1.5)], _Flat),
        ("logit_adjusted", [{}], _Mapped),
        ("logit_adjusted", [{"loss__tau": t} for t in (0.5, 1)], _Mapped),
        ("tversky", [{"loss__alpha": a} for a in (0.2, 0.4)], _Mapped),
        ("smooth_ap", [{}], _Looped),  # remembers rows
    ],
)
def test_losses_are_evaluated_in_the_fastest_way_that_is_right(name, grid, way):
    runs = [next(e._begin_fit(X, Y, rows=r))[0] for e, r in members(net(loss=name), grid)]
    z = torch.randn(len(runs), 6, 2, generator=torch.Generator().manual_seed(0)).double()
    target = torch.tensor([0, 1, 0, 0, 1, 0]).expand(len(runs), 6)
    share = torch.full((len(runs), 6), 1 / 6).double()
    losses = losses_of([run.net for run in runs], z, target, share)
    assert type(losses) is way
    for nets in (slice(0, len(runs)), slice(1, 3)):
        values, gradient = losses(nets, z[nets], target[nets], share[nets])
        expected = _Looped([run.net for run in runs])(nets, z[nets], target[nets], share[nets])
        torch.testing.assert_close(values, expected[0], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(gradient, expected[1], rtol=1e-10, atol=1e-12)


def test_candidates_with_losses_of_several_classes_are_several_stacks():
    grid = [{"loss": loss} for loss in ("focal", FocalLoss(1.0), "bce", nn.L1Loss(), nn.L1Loss())]
    check(grid=grid, n_stacks=3)


# -- weights ---------------------------------------------------------------------------------------

WEIGHT = np.random.default_rng(1).uniform(0, 2, N) * (np.arange(N) % 7 > 0)


@EACH_NET
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
def test_weights_of_classes_and_rows(module, weight):
    grid = [{"class_weight": w} for w in (None, "balanced", "sqrt", [1.0, 4.0], {1: 0.5})]
    check(module=module, grid=grid, weight=weight, loss="focal")


def test_weights_of_labels():
    grid = [{"class_weight": w} for w in (None, "balanced", [1.0, 2.0, 5.0])]
    check(loss="bce", y=LABELS, grid=grid)
    check(loss="bce", y=LABELS, grid=grid, weight=WEIGHT)
    check(loss="bce", y=sparse.csr_array(LABELS), weight=WEIGHT)


def test_class_of_weight_zero_leaves():
    grid = [{"class_weight": {2: 0.0}}, {"class_weight": {0: 2.0}}, {}]
    check(loss="cross_entropy", y=THREE, grid=grid)


# -- samplers and schedules ------------------------------------------------------------------------

OURS = sorted(set(all_samplers()) - {"mixup", "remix"})


@pytest.mark.parametrize("name", OURS)
def test_every_sampler_by_name(name):
    check(sampler=name, loss="cross_entropy", grid=[{}, {"random_state": 1}])


def test_samplers_of_all_kinds_in_one_stack():
    samplers = [None, "class_balanced", UnderSampler(2.0), "bootstrap"]
    check(loss="cross_entropy", grid=[{"sampler": s} for s in samplers])


def test_resampled_data_beside_the_given():
    smote = [{"sampler": SMOTE(random_state=s, k_neighbors=2)} for s in (0, 1)]
    check(loss="cross_entropy", grid=[{}, *smote])
    check(loss="cross_entropy", grid=smote, weight=WEIGHT)


SCHEDULES = {
    "class weights": {
        "class_weight": "balanced",
        "grid": [{"class_weight_schedule": s} for s in (None, 0.5, "cumulative", lambda t: t / 2)],
    },
    "sampler": {"sampler": "class_balanced", "grid": [{"sampler_schedule": s} for s in (0.3, 0.6)]},
    "loss": {
        "loss": "focal",
        "grid": [{}, *({"loss_schedule": {"gamma": lambda t, g=g: g * t}} for g in (1, 3))],
    },
    "prior of the loss": {
        "loss": "logit_adjusted",
        "grid": [{"loss_schedule": {"tau": lambda t, g=g: g * t}} for g in (0.5, 1.5)],
    },
    "word of the loss": {
        "loss": "label_aware_smoothing",
        "grid": [{"loss_schedule": {"shape": lambda t: "convex" if t > 0.5 else "linear"}}] * 2,
    },
}


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedules_of(name):
    check(**SCHEDULES[name], max_epochs=4)


def test_schedule_of_the_weights_of_labels_inside_the_loss():
    rise = {"pos_weight": lambda t: torch.tensor([1.0, 1.0 + t, 1.0 + 4 * t]).numpy()}
    check(loss="bce", y=LABELS, grid=[{"loss_schedule": rise}, {"loss_schedule": rise, "lr": 0.1}])


# -- steps -----------------------------------------------------------------------------------------

OPTIMIZERS = ["adam", "adamw", "sgd", torch.optim.RMSprop]


@EACH_NET
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_with_rates_and_decay_of_each_net(module, optimizer):
    grid = [
        {"lr": 0.01, "weight_decay": 0.0},
        {"lr": 0.003, "weight_decay": 0.1, "random_state": 3},
        {"lr": 0.02, "weight_decay": "auto", "lr_schedule": "constant"},
        {"lr_schedule": "cosine"},
        {"lr_schedule": lambda progress: 1 - progress},
    ]
    check(module=module, optimizer=optimizer, grid=grid)


STEPS = {
    "clipping": [{"gradient_clipping": c} for c in (0.05, 0.5, 1e9)],
    "sharpness": [{"sharpness": r} for r in (0.05, 0.5)],
    "both": [{"sharpness": 0.1, "gradient_clipping": c} for c in (0.1, 1.0)],
    "averaging": [{"averaging": a} for a in ("ema", "swa", 0.5, None)],
    "all": [{"averaging": a, "sharpness": 0.1, "gradient_clipping": 1.0} for a in ("swa", 0.9)],
}


@pytest.mark.parametrize("module", [MLP((8,)), MLP((8,), normalization="batch")], ids=["", "batch"])
@pytest.mark.parametrize("name", sorted(STEPS))
def test_steps_with(name, module):
    check(module=module, grid=STEPS[name], max_epochs=5)


def test_averages_are_what_is_scored_and_kept():
    grid = [{"averaging": a} for a in ("ema", "swa", None)]
    check(grid=grid, validation_fraction=0.3, max_epochs=6)
    check(grid=grid, early_stopping=True, patience=2, max_epochs=12, lr=0.05)


# -- early stopping --------------------------------------------------------------------------------


@EACH_NET
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", torch.optim.RMSprop])
def test_nets_stop_at_epochs_of_their_own(module, optimizer):
    nets = check(
        module=module, optimizer=optimizer, early_stopping=True, validation_fraction=0.3,
        max_epochs=25, grid=[{"patience": p} for p in (1, 2, 4)], lr=0.05, loss="logit_adjusted",
    )  # fmt: skip
    assert len({clf.n_iter_ for clf in nets}) > 3


def test_loss_goes_back_to_the_values_of_the_kept_epoch():
    nets = check(
        loss="logit_adjusted", loss_schedule={"tau": lambda t: t}, early_stopping=True,
        max_epochs=12, patience=2, validation_fraction=0.3, grid=[{"lr": r} for r in (0.01, 0.3)],
    )  # fmt: skip
    assert len({clf.loss_.tau for clf in nets}) > 1


def test_last_net_of_a_stack_goes_on_by_itself():
    stops = [lambda clf, X, y, n=n: float(-abs(clf.n_iter_ - n)) for n in (1, 9)]
    grid = [{"scoring": scoring} for scoring in stops]
    nets = check(grid=grid, folds=FOLDS[:1], early_stopping=True, patience=1, max_epochs=10)
    assert nets[0].n_iter_ < nets[1].n_iter_


# -- modules ---------------------------------------------------------------------------------------


class OneColumn(nn.Module):
    def __init__(self, input_shape):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], 1)

    def forward(self, x):
        return torch.tanh(self.layer(x))


class Frozen(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.first, self.last = nn.Linear(input_shape[0], 6), nn.Linear(6, n_outputs)
        self.first.requires_grad_(False)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


class Tied(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.enter, self.back = (nn.Linear(input_shape[0], input_shape[0]) for _ in range(2))
        self.back.weight = self.enter.weight
        self.last = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        return self.last(torch.tanh(self.back(torch.tanh(self.enter(x)))))


class Unused(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer, self.unused = nn.Linear(input_shape[0], n_outputs), nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)


class PerNet(nn.Module):
    """Has a buffer of its own in each net."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)
        self.register_buffer("shift", torch.randn(input_shape[0]))

    def forward(self, x):
        return self.layer(x + self.shift)


MODULES = {
    "default": "mlp",
    "linear": MLP(()),
    "wide": MLP((3, 17)),
    **{a: MLP((8, 4), activation=a) for a in ("relu", "gelu", "elu", "selu", "leaky_relu", "tanh")},
    "batch normalisation": MLP((8, 4), normalization="batch"),
    "layer normalisation": MLP((8, 4), normalization="layer", activation="gelu"),
    "cosine head": MLP((8,), head="cosine"),
    "no chain": tanh_net,
    **{cls.__name__: cls for cls in (OneColumn, Frozen, Tied, Unused, PerNet)},
    "instance": nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)),
    "without bias": lambda shape, n: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Linear(4, n)),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    check(module=MODULES[name], grid=[{}, {"random_state": 5}], class_weight="balanced")


@pytest.mark.parametrize("name", ["Frozen", "Tied", "Unused", "without bias"])
@pytest.mark.parametrize("optimizer", ["sgd", torch.optim.RMSprop])
def test_modules_and_optimizers(name, optimizer):
    check(module=MODULES[name], optimizer=optimizer, weight_decay=0.01)


def test_frozen_stays_and_tied_stays_tied():
    for clf in check(module=Frozen):
        assert not clf.module_.first.weight.requires_grad
    for clf in check(module=Tied):
        assert clf.module_.back.weight is clf.module_.enter.weight


def test_several_architectures_are_several_stacks():
    grid = [{"module__hidden_sizes": s} for s in ((4,), (8,), (8, 4))]
    check(grid=[*grid, {"batch_size": 16}, {"max_epochs": 2}, {"optimizer": "sgd"}], n_stacks=5)


@pytest.mark.parametrize("module", [MLP((8,), dropout=0.5), tanh_net], ids=["chain", "mapped"])
def test_dropout_is_drawn_for_each_net(module):
    if module is tanh_net:
        module = lambda shape, n: nn.Sequential(
            tanh_net(shape, 8), nn.Dropout(0.5), nn.Linear(8, n)
        )
    still = net(module=module, lr_schedule=lambda progress: 0.0, max_epochs=4)
    pairs = members(still, [{}] * 10, folds=[ROWS[:128]])
    sizes, errors = together(pairs)
    assert sizes == [10]
    found = np.array([clf.history_[:, "train_loss"] for clf, _ in pairs])
    assert len(np.unique(found[:, 0])) == 10  # equal nets, but for the units which are dropped
    alone = [
        refitted(clf.set_params(loss="cross_entropy"), rows).history_[:, "train_loss"]
        for clf, rows in members(still, [{}], folds=[ROWS[:128]])
    ]
    assert found.std() > 0
    expected = [
        small(module, **{**still.get_params(deep=False), "module": module}) for _ in range(0)
    ]
    assert not expected
    assert found.mean() == pytest.approx(np.mean(alone), abs=5 * found.std() / np.sqrt(4))
