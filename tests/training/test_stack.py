"""Nets that are trained as one stack, against each of them trained alone, in float64."""

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE, RandomOverSampler
from scipy import sparse
from torch import nn

from imbtorch import MLP, ImbalancedNetRegressor
from imbtorch._common.memo import Memo
from imbtorch.losses import BaseLoss, FocalLoss, all_losses
from imbtorch.losses._whole_batch import WholeBatchMixin
from imbtorch.losses.regression import all_regression_losses
from imbtorch.samplers import UnderSampler, all_samplers
from imbtorch.training.stack import batches as stack_batches
from imbtorch.training.stack.losses import _Flat, _Looped, _Mapped, losses_of
from tests.toy import table
from tests.training.stacked import (
    FOLDS,
    ROWS,
    N,
    X,
    Y,
    assert_same,
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


PAIR = FOLDS[:2]
APART = {"label_aware_smoothing": 3, "bce": 4}  # stacks of settings that are no numbers


def numbers_of(name):
    """Return every setting of a loss that its common tests sweep, as parameters of a net."""
    return [{f"loss__{k}": v for k, v in p.items()} for p in all_losses()[name]._test_params]


# -- losses ----------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("y", [Y, THREE], ids=["two", "three"])
@pytest.mark.parametrize("name", sorted(all_losses()))
def test_every_loss_by_name(name, y):
    check(loss=name, y=y, grid=numbers_of(name), folds=PAIR, n_stacks=APART.get(name, 1))


@pytest.mark.matrix
@pytest.mark.parametrize("name", OF_LABELS)
def test_every_loss_of_labels(name):
    options = {"class_weight": "balanced", "folds": PAIR, "n_stacks": APART.get(name, 1)}
    check(loss=name, y=LABELS, grid=numbers_of(name), **options)


@pytest.mark.matrix
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


@pytest.mark.slow
def test_warm_up_ends_in_the_stack_too():
    for name in ("auc_margin", "soft_fbeta", "smooth_ap"):
        check(loss=name, loss__warmup_epochs=2, folds=PAIR)
        check(loss=name, grid=[{"loss__warmup_epochs": n} for n in (0, 1, 2)], folds=PAIR)


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


class Overwriting(Branching):
    """Changes the outputs in place."""

    def per_sample(self, logits, target):
        logits.sub_(logits.detach().max(1, keepdim=True).values)
        return super().per_sample(logits.mul_(2), target)


class OverwritingMapped(Overwriting):
    """Changes the outputs in place, which torch can map."""

    def per_sample(self, logits, target):
        logits.mul_(2)
        return self.gain * torch.nn.functional.cross_entropy(logits, target, reduction="none")


@pytest.mark.matrix
@pytest.mark.parametrize("cls", [Branching, Deferred, InTraining, Overwriting, OverwritingMapped])
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
    runs = [e._prepare_fit(X, Y, rows=r).runs[0] for e, r in members(net(loss=name), grid)]
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


@pytest.mark.matrix
@EACH_NET
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["even", "weighted"])
def test_weights_of_classes_and_rows(module, weight):
    grid = [{"class_weight": w} for w in (None, "balanced", "sqrt", [1.0, 4.0], {1: 0.5})]
    check(module=module, grid=grid, weight=weight, loss="focal", folds=FOLDS[1:])


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


@pytest.mark.matrix
@pytest.mark.parametrize("name", OURS)
def test_every_sampler_by_name(name):
    check(sampler=name, loss="cross_entropy", grid=[{}, {"random_state": 1}], folds=PAIR)


def test_samplers_of_all_kinds_in_one_stack():
    samplers = [None, "class_balanced", UnderSampler(2.0), "bootstrap"]
    check(loss="cross_entropy", grid=[{"sampler": s} for s in samplers])


def test_resampled_data_beside_the_given():
    smote = [{"sampler": SMOTE(random_state=s, k_neighbors=2)} for s in (0, 1)]
    check(loss="cross_entropy", grid=[{}, *smote])
    repeating = [{"sampler": RandomOverSampler(random_state=s)} for s in (0, 1)]
    check(loss="cross_entropy", grid=[{}, *repeating], weight=WEIGHT)


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


@pytest.mark.matrix
@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedules_of(name):
    check(**SCHEDULES[name], max_epochs=4)


def test_schedule_of_the_weights_of_labels_inside_the_loss():
    rise = {"pos_weight": lambda t: torch.tensor([1.0, 1.0 + t, 1.0 + 4 * t]).numpy()}
    check(loss="bce", y=LABELS, grid=[{"loss_schedule": rise}, {"loss_schedule": rise, "lr": 0.1}])


# -- steps -----------------------------------------------------------------------------------------

OPTIMIZERS = ["adam", "adamw", "sgd", torch.optim.RMSprop]


@pytest.mark.matrix
@EACH_NET
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_with_rates_and_decay_of_each_net(module, optimizer):
    grid = [
        {"lr": 0.01, "weight_decay": 0.0},
        {"lr": 0.01, "weight_decay": 0.3},
        {"lr": 0.003, "weight_decay": 0.1, "random_state": 3},
        {"lr": 0.02, "weight_decay": "auto", "lr_schedule": "constant"},
        {"lr_schedule": "cosine"},
        {"lr_schedule": lambda progress: 1 - progress},
    ]
    check(module=module, optimizer=optimizer, grid=grid, folds=PAIR)


class WithoutHash:
    __hash__ = None

    def __call__(self, progress):
        return 1 - progress


def test_schedule_of_the_rates_may_be_any_callable():
    check(lr_schedule=WithoutHash(), folds=FOLDS[:2])


STEPS = {
    "clipping": [{"gradient_clipping": c} for c in (0.05, 0.5, 1e9)],
    "sharpness": [{"sharpness": r} for r in (0.05, 0.5)],
    "both": [{"sharpness": 0.1, "gradient_clipping": c} for c in (0.1, 1.0)],
    "averaging": [{"averaging": a} for a in ("ema", "swa", 0.5, None)],
    "all": [{"averaging": a, "sharpness": 0.1, "gradient_clipping": 1.0} for a in ("swa", 0.9)],
}


@pytest.mark.matrix
@pytest.mark.parametrize("module", [MLP((8,)), MLP((8,), normalization="batch")], ids=["", "batch"])
@pytest.mark.parametrize("name", sorted(STEPS))
def test_steps_with(name, module):
    check(module=module, grid=STEPS[name], max_epochs=5, folds=PAIR)


def test_averages_are_what_is_scored_and_kept():
    grid = [{"averaging": a} for a in ("ema", "swa", None)]
    check(grid=grid, validation_fraction=0.3, max_epochs=5, folds=PAIR)
    check(grid=grid, early_stopping=True, patience=2, max_epochs=9, lr=0.05, folds=PAIR)


# -- early stopping --------------------------------------------------------------------------------


@pytest.mark.matrix
@EACH_NET
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", torch.optim.RMSprop])
def test_nets_stop_at_epochs_of_their_own(module, optimizer):
    nets = check(
        module=module, optimizer=optimizer, early_stopping=True, validation_fraction=0.3,
        max_epochs=12, grid=[{"patience": p} for p in (1, 2, 4)], lr=0.05, folds=FOLDS[:3],
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


@pytest.mark.matrix
@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    grid = [{}, {"random_state": 5}]
    check(module=MODULES[name], grid=grid, class_weight="balanced", folds=FOLDS[:3])


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["Frozen", "Tied", "Unused", "without bias"])
@pytest.mark.parametrize("optimizer", ["sgd", torch.optim.RMSprop])
def test_modules_and_optimizers(name, optimizer):
    check(module=MODULES[name], optimizer=optimizer, weight_decay=0.01, folds=PAIR)


def test_frozen_stays_and_tied_stays_tied():
    for clf in check(module=Frozen):
        assert not clf.module_.first.weight.requires_grad
    for clf in check(module=Tied):
        assert clf.module_.back.weight is clf.module_.enter.weight


def test_several_architectures_are_several_stacks():
    grid = [{"module__hidden_sizes": s} for s in ((4,), (8,), (8, 4))]
    check(grid=[*grid, {"batch_size": 16}, {"max_epochs": 2}, {"optimizer": "sgd"}], n_stacks=6)


def dropping(input_shape, n_outputs):
    """Build a module with dropout that is no chain."""
    return nn.Sequential(tanh_net(input_shape, 8), nn.Dropout(0.5), nn.Linear(8, n_outputs))


@pytest.mark.parametrize("module", [MLP((8,), dropout=0.5), dropping], ids=["chain", "mapped"])
def test_dropout_is_drawn_for_each_net_from_the_same_distribution(module):
    still = net(module=module, lr_schedule=lambda progress: 0.0, max_epochs=30)
    pairs = members(still, [{}] * 4, folds=[ROWS])
    assert together(pairs)[0] == [4]
    alone = np.array(refitted(still, ROWS).history_[:, "train_loss"])
    found = np.array([clf.history_[:, "train_loss"] for clf, _ in pairs])
    assert len(np.unique(found)) == found.size  # equal nets, but for the units that are dropped
    assert alone.std() > 0.002
    assert found.std() == pytest.approx(alone.std(), rel=0.5)
    error = alone.std() / np.sqrt(len(alone))
    np.testing.assert_allclose(found.mean(axis=1), alone.mean(), atol=5 * error)


def test_nets_with_dropout_learn():
    pairs = members(net(module=MLP((16,), dropout=0.3), max_epochs=15, lr=0.02), [{}] * 3)
    together(pairs)
    assert min(clf.score(X, Y) for clf, _ in pairs) > 0.85
    again = members(net(module=MLP((16,), dropout=0.3), max_epochs=15, lr=0.02), [{}] * 3)
    together(again)
    for (first, _), (second, _) in zip(pairs, again, strict=True):
        assert_same(first, second)


# -- targets ---------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("y", [Y, THREE, LABELS], ids=["two", "three", "labels"])
@EACH_NET
def test_kinds_of_targets(module, y):
    loss = "bce" if y.ndim == 2 else "logit_adjusted"
    check(module=module, y=y, loss=loss, early_stopping=True, max_epochs=4, lr=0.05)


def test_names_of_classes_and_a_class_that_a_fold_lacks():
    names = np.array(["often", "rare", "never"])[Y]
    check(y=names, grid=[{"class_weight": {"often": 1, "rare": 3}}, {}])
    few = np.where(np.arange(N) == FOLDS[2][0], 2, Y)  # one row of class 2
    lacking = np.setdiff1d(ROWS, FOLDS[2])
    pairs = members(net(), folds=[FOLDS[2], lacking])
    assert together(pairs, y=few)[0] == []  # nets of two and of three outputs
    for clf, rows in pairs:
        assert_same(clf, refitted(clf, rows, y=few))


def regressor(loss="mse", **params):
    params = {"module": MLP((8,)), "batch_size": 32, "max_epochs": 3, "lr": 0.02, **params}
    return ImbalancedNetRegressor(loss=loss, dtype="float64", random_state=0, **params)


VALUES = X[:, 0] + np.exp(X[:, 1])


@pytest.mark.matrix
@pytest.mark.parametrize("name", sorted(set(all_regression_losses()) - {"balanced_mse"}))
def test_losses_of_continuous_targets(name):  # the other one has parameters: test_stack_life
    cls = all_regression_losses()[name]
    grid = [{f"loss__{k}": v for k, v in p.items()} for p in cls._test_params]
    check(regressor(name), grid, y=VALUES, n_stacks=None)


@pytest.mark.slow
@EACH_NET
def test_regressors(module):
    two = np.stack([VALUES, X[:, 2]], axis=1)
    grid = [{"lr": 0.01}, {"density_weight": "lds"}, {"sharpness": 0.1}]
    check(regressor(module=module), grid[:2], y=VALUES, weight=WEIGHT)
    check(regressor(module=module), y=two, early_stopping=True, max_epochs=12)
    check(regressor(nn.HuberLoss(delta=0.5), module=module), grid[2:], y=two)


# -- features --------------------------------------------------------------------------------------


class Convolution(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer, self.last = nn.Conv1d(input_shape[0], 4, 3), nn.Linear(4, n_outputs)

    def forward(self, x):
        return self.last(torch.relu(self.layer(x)).mean(2))


def test_sequences():
    series = np.random.default_rng(0).normal(size=(N, 2, 7)) + Y[:, None, None]
    check(module=Convolution, X=series, grid=[{}, {"lr": 0.1}])
    check(module=Convolution, X=series, early_stopping=True, max_epochs=5)


def test_single_precision_up_to_rounding():
    options = {"dtype": "float32", "tol": 1e-5, "grid": [{"class_weight": "balanced"}, {}]}
    check(**options)
    check(X=X.astype(np.float32), **options)
    check(module=MLP((8,), normalization="layer"), **options)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_on_a_disk(tmp_path, kind, dtype):
    X.astype(kind).tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", dtype=kind, mode="r", shape=X.shape)
    check(
        X=mapped, dtype=dtype, grid=[{}, {"random_state": 1}], tol=1e-8 if kind == dtype else 1e-5
    )


def test_features_that_are_mostly_not_zero_in_rows_of_csr():
    thinned = sparse.csr_array(X * (np.random.default_rng(0).random(X.shape) < 0.4))
    check(X=thinned, grid=[{}, {"random_state": 1}], class_weight="balanced")
    check(X=thinned, module=tanh_net)


def test_features_of_columns_in_any_order_of_memory():
    check(X=np.asfortranarray(X))
    check(X=X[:, ::-1])
    check(X=np.rint(X).astype(int))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_fits_on_rows_share_the_given_numbers(kind):
    features, memo = X.astype(kind), Memo()
    precision = np.dtype(kind).name
    plain_net = net(dtype=precision, features=None)
    pairs = members(plain_net, [{}, {"early_stopping": True}, {"sampler": "bootstrap"}])
    runs = [clf._prepare_fit(features, Y, rows=r, memo=memo).runs[0] for clf, r in pairs]
    assert len({id(run.rows.features) for run in runs}) == 1
    assert runs[0].rows.features.tensor.data_ptr() == features.ctypes.data
    plain = [run for run in runs if run.row_order.n_rows in map(len, FOLDS)]
    assert len({id(run.row_order) for run in plain}) == len(FOLDS)  # candidates see the same order


def test_fits_on_the_same_rows_share_encoded_numbers():
    memo, pairs = Memo(), members(net(), [{}, {"lr": 0.1}, {"sampler": "bootstrap"}])
    runs = [clf._prepare_fit(X, Y, rows=r, memo=memo).runs[0] for clf, r in pairs]
    assert len({id(run.net.encoder_) for run in runs}) == len(FOLDS)
    assert len({id(run.rows.features) for run in runs}) == len(FOLDS)


# -- batches ---------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("batch_size", [1, 7, 32, 75, 1000])
def test_every_number_of_rows_and_size_of_batches(batch_size):
    folds = [ROWS[:n] for n in (76, 77, 96, 97, 98, 140, 64)]
    check(folds=folds, batch_size=batch_size, max_epochs=1, class_weight="balanced")


def test_fold_of_a_single_row():
    pairs = members(regressor(batch_size=4), folds=[ROWS[:2], ROWS[:5], ROWS[:3]])
    assert together(pairs, y=VALUES)[1] == [None] * 3
    for est, rows in pairs:
        assert_same(est, refitted(est, rows, y=VALUES))


@pytest.mark.parametrize("block", [1, 32 * 5 * 8 * 3, 2**22])
def test_batches_of_a_stack_are_those_of_each_net(monkeypatch, block):
    monkeypatch.setattr(stack_batches, "BLOCK_BYTES", block)
    grid = [{}, {}, {"class_weight": "balanced"}, {"random_state": 1}, {"sampler": "bootstrap"}]
    memo = Memo()
    pairs = members(net(), grid)
    runs = [clf._prepare_fit(X, Y, WEIGHT, rows=r, memo=memo).runs[0] for clf, r in pairs]
    runs.sort(key=lambda run: -run.n_rows)
    for run in runs:
        run.begin()
        run.open_epoch(0)
    seen = [[] for _ in runs]
    for batch in stack_batches.batches(runs, 32):
        for place, parts in zip(
            range(*batch.nets.indices(len(runs))),
            zip(batch.x, batch.target, batch.share, strict=True),
            strict=True,
        ):
            assert len(seen[place]) == batch.step
            assert len(parts[0]) == batch.size
            seen[place].append(parts)
    for run, found in zip(runs, seen, strict=True):
        expected = list(run.rows.batches(run.order, 32))
        assert len(found) == len(expected)
        for mine, theirs in zip(found, expected, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-14, atol=0)


def test_nets_that_see_the_same_rows_in_the_same_order_share_what_is_gathered():
    memo = Memo()
    grid = [{}, {"lr": 0.1}, {"random_state": 1}, {"class_weight": "balanced"}]
    runs = [
        clf._prepare_fit(X, Y, rows=r, memo=memo).runs[0]
        for clf, r in members(net(), grid, FOLDS[:2])
    ]
    for run in runs:
        run.begin()
        run.open_epoch(0)
    assert stack_batches.streams_of(runs) == [0, 1, 0, 1, 2, 3, 0, 1]
