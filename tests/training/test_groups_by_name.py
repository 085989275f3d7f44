"""``param_groups``: rates, decays and freezing by patterns of names."""

import copy
import functools
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

import imbtorch
from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NotStackedWarning,
    finetune_head,
)
from imbtorch.features import TableFeatures
from imbtorch.model_selection import StackedGridSearchCV
from tests.toy import small, table
from tests.training import stacked
from tests.training.helpers import WatchBatches
from tests.training.stacked import FOLDS, assert_same, check, net, refitted
from tests.training.test_parameter_groups import Scaled

pytestmark = pytest.mark.filterwarnings("ignore:.*not used by partial_fit")

X, Y = table(120)
RATES = {"backbone.*": {"lr": 0.01}, "*.bias": {"weight_decay": 0.0}}
FROZEN = {"backbone.*": {"frozen": True}}


class TwoParts(nn.Module):
    """A backbone and a head, both with weights and biases."""

    def __init__(self, input_shape, n_outputs, normalization=False):
        super().__init__()
        width = input_shape[0]
        norm = [nn.BatchNorm1d(6)] if normalization else []
        self.backbone = nn.Sequential(nn.Linear(width, 6), *norm, nn.Tanh(), nn.Linear(6, 4))
        self.head = nn.Linear(4, n_outputs)

    def forward(self, x):
        return self.head(torch.tanh(self.backbone(x)))


def classifier(groups=RATES, module=TwoParts, **params):
    params = {"optimizer": "adamw", "lr": 0.1, "weight_decay": 0.2, "batch_size": 30, **params}
    return small(module, param_groups=groups, **params)


def groups_of(clf):
    """Return rate, decay and names of the parameters of each group."""
    names = {id(p): name for name, p in clf.net_.module_.named_parameters()}
    names |= {id(p): f"loss.{name}" for name, p in clf.loss_.named_parameters()}
    return [
        (g["lr"], g["weight_decay"], [names[id(p)] for p in g["params"]])
        for g in clf.net_.optimizer_.param_groups
    ]


def state_of(clf, part=""):
    own = clf.net_.module_.named_parameters()
    return {name: p.detach().clone() for name, p in own if name.startswith(part)}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def untrained(module=TwoParts, **params):
    """Return the values at which the fits of ``classifier`` begin."""
    module = classifier(None, module, lr=1e-300, weight_decay=0.0, **params).fit(X, Y)
    return state_of(module)


# -- rates and decays -----------------------------------------------------------------------------


def test_patterns_make_groups_and_a_later_pattern_wins():
    groups = {**RATES, "backbone.2.*": {"lr": 0.02, "weight_decay": 0.5}}
    assert groups_of(classifier(groups).fit(X, Y)) == [
        (0.1, 0.2, ["head.weight"]),
        (0.01, 0.2, ["backbone.0.weight"]),
        (0.01, 0.0, ["backbone.0.bias"]),
        (0.02, 0.5, ["backbone.2.weight", "backbone.2.bias"]),
        (0.1, 0.0, ["head.bias"]),
    ]


@pytest.mark.parametrize("groups", [None, {}, {"*": {}}, {"head.*": {"lr": 0.1}}, FROZEN], ids=str)
def test_without_other_rates_there_is_one_group(groups):
    assert len(groups_of(classifier(groups).fit(X, Y))) == 1


def test_auto_decay_keeps_its_meaning_for_the_others():
    for optimizer, auto in {"adamw": 0.1, "adam": 0.0, "sgd": 0.0}.items():
        options = {"weight_decay": "auto", "optimizer": optimizer, "lr": 0.01}
        found = groups_of(classifier({"head.*": {"weight_decay": 0.3}}, **options).fit(X, Y))
        assert [decay for _, decay, _ in found] == [auto, 0.3]


@pytest.mark.parametrize(
    ("optimizer", "by_hand"),
    {
        "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        torch.optim.RMSprop: torch.optim.RMSprop,
        functools.partial(torch.optim.SGD, momentum=0.5): functools.partial(
            torch.optim.SGD, momentum=0.5
        ),
    }.items(),
    ids=["sgd", "adam", "adamw", "class", "partial"],
)
def test_groups_train_as_a_loop_by_hand(optimizer, by_hand):
    options = {"dtype": "float64", "loss": "cross_entropy", "batch_size": len(Y), "max_epochs": 4}
    groups = {**RATES, "backbone.0.*": {"frozen": True}}
    options |= {"optimizer": optimizer, "lr_schedule": lambda t: 1 - t / 2, "lr": 0.05}
    clf = classifier(groups, **options).fit(X, Y)
    start = classifier(None, **options).set_params(lr=1e-300, weight_decay=0.0).fit(X, Y)
    module = start.module_
    backbone, head = module.backbone[2], module.head
    own = by_hand(
        [
            {"params": [head.weight]},
            {"params": [head.bias], "weight_decay": 0.0},
            {"params": [backbone.weight], "lr": 0.01},
            {"params": [backbone.bias], "lr": 0.01, "weight_decay": 0.0},
        ],
        lr=0.05,
        weight_decay=0.2,
    )
    rates = [group["lr"] for group in own.param_groups]
    for epoch in range(4):
        for group, rate in zip(own.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - epoch / 8)
        own.zero_grad()
        nn.functional.cross_entropy(module(torch.from_numpy(X)), torch.from_numpy(Y)).backward()
        own.step()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(dict(clf.module_.named_parameters())[name], parameter)


def test_function_that_may_make_groups_itself_is_an_error_that_tells_the_way_out():
    def own(params, lr, weight_decay):
        return torch.optim.SGD(params, lr=lr)

    class Named(torch.optim.SGD):
        def __init__(self, named_params, lr, weight_decay):
            super().__init__([p for _, p in named_params], lr=lr)

    for optimizer in (own, Named):
        with pytest.raises(ValueError, match="functools.partial of one; or set all groups in"):
            classifier(optimizer=optimizer).fit(X, Y)
        before = untrained()
        clf = classifier(FROZEN, optimizer=optimizer).fit(X, Y)  # but it may freeze
        assert same(state_of(clf, "backbone"), before)
        assert not same(state_of(clf, "head"), before)


# -- names ----------------------------------------------------------------------------------------


def test_pattern_without_a_parameter_is_an_error_that_lists_the_names():
    clf = classifier({"body.*": {"lr": 0.1}})
    with pytest.raises(ValueError, match=r"'body.\*', which matches no.*backbone.0.weight, .*head"):
        clf.fit(X, Y)
    assert not hasattr(clf, "net_")
    deep = nn.Sequential(*(nn.Linear(5, 5) for _ in range(20)), nn.Linear(5, 2))
    with pytest.raises(ValueError, match=r"Of 42 names the nearest are 20.weight, "):
        classifier({"20.weights": {"lr": 0.1}}, deep).fit(X, Y)


def test_letters_of_either_case_differ():
    with pytest.raises(ValueError, match="matches no parameter"):
        classifier({"Head.*": {"lr": 0.1}}).fit(X, Y)


class Tied(TwoParts):
    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.again = nn.Linear(4, n_outputs)
        self.again.weight = self.head.weight

    def forward(self, x):
        return super().forward(x) + self.again(torch.tanh(self.backbone(x)))


def test_any_name_of_a_shared_parameter_counts():
    clf = classifier({"again.*": {"lr": 0.5}}, Tied).fit(X, Y)
    assert groups_of(clf)[1] == (0.5, 0.2, ["head.weight", "again.bias"])
    with pytest.raises(ValueError, match="head.weight, again.weight, head.bias"):
        classifier({"more.*": {"lr": 0.5}}, Tied).fit(X, Y)


def test_parameters_of_the_loss_have_names():
    groups = {"loss.*": {"lr": 0.5}, "loss.shift": {"frozen": True}}
    clf = classifier(groups, loss=Scaled()).fit(X, Y)
    assert groups_of(clf)[1] == (0.5, 0.2, ["loss.shift", "loss.scale"])
    assert (clf.loss_.shift == 0).all()
    assert clf.loss_.scale.item() != 1
    second = finetune_head(clf, X, Y, head="head")  # whose loss learns nothing
    assert [len(names) for _, _, names in groups_of(second)] == [6]


def categories():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    towns = rng.choice([f"town {i}" for i in range(40)], len(Y))
    return pd.DataFrame({"size": X[:, 0], "age": X[:, 1], "town": towns})


@pytest.mark.parametrize("module", [TwoParts, None], ids=["own", "mlp"])
def test_names_in_front_of_a_table_are_those_of_the_module(module):
    frame = categories()
    features = TableFeatures(numeric_embedding="periodic", max_one_hot=4)
    first = "backbone.0" if module else "0"
    groups = {"table.categories.*": {"lr": 0.5}, "table.numbers.*": {"frozen": True}}
    groups[f"{first}.*"] = {"frozen": True}
    clf = classifier(groups, module, features=features).fit(frame, Y)
    start = classifier(None, module, features=features, lr=1e-300, weight_decay=0.0).fit(frame, Y)
    moved = [name for name, p in state_of(clf).items() if not torch.equal(p, state_of(start)[name])]
    inner = "2.backbone.0" if module else "2"
    frozen = [f"1.{name}" for name in ("frequency", "phase", "weight", "bias")]
    frozen += [f"{inner}.weight", f"{inner}.bias"]
    assert set(state_of(clf)) - set(moved) == set(frozen)
    assert groups_of(clf)[1][0] == 0.5
    assert groups_of(clf)[1][2] == ["0.weight"]
    with pytest.raises(ValueError, match=rf"table.categories.weight.*table.numbers.*{first}.wei"):
        classifier({"none": {"lr": 1.0}}, module, features=features).fit(frame, Y)


def test_named_parameters_of_a_callable_have_the_same_names():
    names = []

    def optimizer(named_params, lr, weight_decay):
        names.extend(name for name, _ in named_params)
        return torch.optim.SGD([p for _, p in named_params], lr=lr)

    classifier(None, optimizer=optimizer, features="table").fit(categories(), Y)
    first = ["table.categories.weight", "table.numbers.frequency"]
    assert names[:2] == first
    assert names[5] == "backbone.0.weight"


# -- frozen ---------------------------------------------------------------------------------------

SETTINGS = [
    {},
    {"optimizer": "adam"},
    {"optimizer": "sgd"},
    {"sharpness": 0.1, "gradient_clipping": 0.1},
    {"averaging": "ema"},
    {"averaging": "swa", "max_epochs": 4},
    {"early_stopping": True, "on_divergence": "restore"},
    {"on_oom": "split"},
    {"callbacks": [WatchBatches()]},
    {"sampler": "mixup"},
]
each_setting = pytest.mark.parametrize("options", SETTINGS, ids=lambda s: " ".join(s) or "plain")


@each_setting
def test_frozen_parameters_keep_their_values_to_the_bit(options):
    clf, before = classifier(FROZEN, **options).fit(X, Y), untrained(**options)
    assert same(state_of(clf, "backbone"), before)
    assert not any(torch.equal(p, before[name]) for name, p in state_of(clf, "head").items())
    assert all(p.requires_grad for p in clf.module_.parameters())
    assert not any(p in clf.net_.optimizer_.state for p in clf.module_.backbone.parameters())


@each_setting
def test_unfrozen_parameters_are_trained_like_the_others(options):
    clf, before = classifier({"backbone.*": {"frozen": 0.5}}, **options).fit(X, Y), untrained()
    assert not any(torch.equal(p, before[name]) for name, p in state_of(clf).items())


def test_mlp_may_be_frozen_and_goes_on_without_a_graph():
    """A chain is differentiated by autograd while a layer is frozen."""
    for dtype in ("float32", "float64"):
        params = {"dtype": dtype, "max_epochs": 4}
        frozen = classifier({"0.*": {"frozen": 0.5}}, None, **params).fit(X, Y)
        hooked = classifier({"0.*": {"frozen": 0.5}}, None, **params, callbacks=[WatchBatches()])
        one, other = state_of(frozen), state_of(hooked.fit(X, Y))
        for name in one:
            torch.testing.assert_close(one[name], other[name])


class Watch(WatchBatches):
    def on_batch_end(self, net, **kwargs):
        self.seen.append(
            (len(net.history), [n for n, p in net.module_.named_parameters() if p.requires_grad])
        )


@pytest.mark.parametrize(("share", "first"), [(0.25, 4), (0.3, 4), (0.5, 6), (0.95, None)])
def test_share_of_the_epochs(share, first):
    groups = {"backbone.0.*": {"frozen": share}, "backbone.2.*": {"frozen": True}}
    clf = classifier(groups, callbacks=[Watch()], max_epochs=10).fit(X, Y)
    ((_, watch),) = clf.net_.callbacks_
    epochs = {epoch for epoch, names in watch.seen if "backbone.0.weight" in names}
    assert min(epochs, default=None) == first
    assert not any("backbone.2.weight" in names for _, names in watch.seen)


def test_later_pattern_may_take_parameters_out():
    clf = classifier({"*": {"frozen": True}, "head.bias": {"frozen": False}}).fit(X, Y)
    before = untrained()
    moved = [name for name, p in state_of(clf).items() if not torch.equal(p, before[name])]
    assert moved == ["head.bias"]


@pytest.mark.parametrize("frozen", [True, 0.5])
def test_freezing_everything_is_an_error(frozen):
    with pytest.raises(ValueError, match="freezes all parameters"):
        classifier({"*": {"frozen": frozen}}).fit(X, Y)


def half_frozen(input_shape, n_outputs):
    module = TwoParts(input_shape, n_outputs)
    module.backbone.requires_grad_(False)
    return module


@pytest.mark.parametrize("settings", [{"lr": 0.1}, {"frozen": 0.5}, {"frozen": False}], ids=str)
def test_what_the_module_does_not_train_stays_so(settings):
    with pytest.raises(ValueError, match="requires_grad is False"):
        classifier({"backbone.*": settings}, half_frozen).fit(X, Y)
    groups = {"*.weight": settings, "*": {"lr": 0.5}, "backbone.*": {"frozen": True}}
    clf = classifier(groups, half_frozen).fit(X, Y)
    assert [len(names) for _, _, names in groups_of(clf)] == [2]
    trained = [n for n, p in clf.module_.named_parameters() if p.requires_grad]
    assert trained == ["head.weight", "head.bias"]


def test_statistics_of_frozen_layers_follow_the_data():
    def build(shape, n):
        return TwoParts(shape, n, normalization=True)

    clf = classifier(FROZEN, build).fit(X, Y)
    assert clf.module_.backbone[1].num_batches_tracked == 2 * 4
    assert same(state_of(clf, "backbone"), untrained(build))


# -- training goes on -----------------------------------------------------------------------------


def test_partial_fit_keeps_groups_and_takes_new_ones():
    clf = classifier().partial_fit(X, Y, classes=[0, 1])
    first = groups_of(clf)
    for again in (clf, copy.deepcopy(clf), pickle.loads(pickle.dumps(clf))):
        assert groups_of(again.partial_fit(X, Y)) == first
        steps = {state["step"].item() for state in again.net_.optimizer_.state.values()}
        assert steps == {2 * 4}
    clf.set_params(lr=0.3, param_groups={"head.*": {"lr": 0.5}}).partial_fit(X, Y)
    assert [(rate, decay) for rate, decay, _ in groups_of(clf)] == [(0.3, 0.2), (0.5, 0.2)]
    clf.set_params(param_groups=None).partial_fit(X, Y)
    assert [(rate, decay) for rate, decay, _ in groups_of(clf)] == [(0.3, 0.2)]
    assert {s["step"].item() for s in clf.net_.optimizer_.state.values()} == {4 * 4}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_chunks_may_freeze_and_unfreeze(optimizer):
    clf = classifier(FROZEN, optimizer=optimizer).partial_fit(X, Y, classes=[0, 1])
    before = state_of(clf)
    assert same(state_of(clf.partial_fit(X, Y), "backbone"), before)
    assert not same(state_of(clf.set_params(param_groups=None).partial_fit(X, Y)), before)
    half = clone(clf).set_params(param_groups={"backbone.*": {"frozen": 0.5}})
    with pytest.raises(ValueError, match="change it by set_params before the chunk"):
        half.partial_fit(X, Y, classes=[0, 1])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_warm_start_unfreezes(optimizer):
    clf = classifier(FROZEN, warm_start=True, optimizer=optimizer).fit(X, Y)
    before = state_of(clf)
    clf.set_params(param_groups={"backbone.*": {"lr": 1e-3}}).fit(X, Y)
    assert not same(state_of(clf, "backbone"), before)
    assert [rate for rate, _, _ in groups_of(clf)] == [0.1, 1e-3]


def test_loss_that_learns_goes_on_in_its_group():
    groups = {"loss.*": {"lr": 0.5}}
    clf = classifier(groups, loss=Scaled()).partial_fit(X, Y, classes=[0, 1])
    clf.set_params(lr=1e-12, param_groups={"loss.*": {"lr": 1e-12}})
    before = clf.loss_.scale.detach().clone()
    clf.partial_fit(X, Y)
    torch.testing.assert_close(clf.loss_.scale.detach(), before)
    assert clf.net_.optimizer_.state[clf.loss_.scale]["step"].item() == 2 * 4


STOP = []


def stopping(progress):
    """Fail once, at the share of the training that ``STOP`` holds."""
    if STOP and progress >= STOP[0]:
        STOP.clear()
        raise ArithmeticError("stop")
    return 1 - progress


@pytest.mark.parametrize("stop", [0.3, 0.6], ids=["frozen", "unfrozen"])
@pytest.mark.parametrize("module", [TwoParts, None], ids=["own", "mlp"])
@pytest.mark.parametrize("averaging", [None, "ema"])
def test_resumed_training_is_an_uninterrupted_one(tmp_path, stop, module, averaging):
    first = "backbone.0.*" if module else "0.*"
    groups = {first: {"frozen": 0.5}, "*.bias": {"lr": 0.01}}
    params = {"max_epochs": 8, "lr_schedule": stopping, "averaging": averaging}
    STOP[:] = [stop]
    clf = classifier(groups, module, checkpoint=tmp_path, **params)
    with pytest.raises(ArithmeticError, match="stop"):
        clf.fit(X, Y)
    with pytest.raises(ValueError, match="param_groups was .*frozen"):
        clone(clf).set_params(param_groups=None).fit(X, Y, resume=True)
    resumed, whole = clone(clf).fit(X, Y, resume=True), clone(clf).set_params(checkpoint=None)
    assert same(state_of(resumed), state_of(whole.fit(X, Y)))
    assert resumed.n_iter_ == 8


def test_file_holds_the_groups(tmp_path):
    groups = {"0.*": {"frozen": 0.5, "lr": np.float32(0.01)}, "*.bias": {"weight_decay": 0.0}}
    clf = classifier(groups, None).fit(X, Y)
    clf.save(tmp_path / "model")
    again = imbtorch.load(tmp_path / "model")
    assert again.param_groups == groups
    assert groups_of(again) == groups_of(clf)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_model_card_names_the_groups():
    assert "settings of parameters by name" in classifier().fit(X, Y).model_card()
    assert "settings of parameters by name" not in classifier(None).fit(X, Y).model_card()


def test_second_stage_does_not_ask_for_names_of_the_first():
    clf = classifier({**FROZEN, "head.*": {"lr": 0.01}}).fit(X, Y)
    second = finetune_head(clf, X, Y)
    assert second.param_groups == clf.param_groups
    assert same(state_of(second, "backbone"), state_of(clf, "backbone"))
    assert not same(state_of(second, "head"), state_of(clf, "head"))


def test_auto_length_with_freezing():
    clf = classifier(FROZEN, max_epochs="auto", batch_size=120).fit(X, Y)
    assert clf.n_epochs_ == clf.n_iter_
    with pytest.raises(ValueError, match="give a number of epochs, or frozen=True"):
        clf.set_params(param_groups={"backbone.*": {"frozen": 0.5}}).fit(X, Y)


def test_regressor():
    groups = {**FROZEN, "loss.*": {"lr": 0.5}}
    options = {"loss": "balanced_mse", "random_state": 0, "max_epochs": 2, "batch_size": 30}
    start = ImbalancedNetRegressor(TwoParts, lr=1e-300, weight_decay=0.0, **options).fit(X, X[:, 0])
    reg = ImbalancedNetRegressor(TwoParts, param_groups=groups, **options).fit(X, X[:, 0])
    assert same(state_of(reg, "backbone"), state_of(start))
    assert not same(state_of(reg, "head"), state_of(start))
    assert [rate for rate, _, _ in groups_of(reg)] == [3e-3, 0.5]


# -- stacks ---------------------------------------------------------------------------------------

PLAIN = {"0.*": {"lr": 0.01}, "*.bias": {"weight_decay": 0.0}}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", torch.optim.RMSprop])
@pytest.mark.parametrize(
    "groups",
    [PLAIN, {"0.*": {"frozen": True}}, {"*": {"lr": 0.02}}, {**PLAIN, "2.*": {"frozen": True}}],
    ids=["rates", "frozen", "one rate", "rates, frozen"],
)
def test_stack_trains_groups_as_single_fits_do(optimizer, groups):
    grid = [{"lr": 0.02}, {"weight_decay": 0.3}]
    check(net(optimizer=optimizer, param_groups=groups, lr_schedule="cosine"), grid, FOLDS[:2])


def test_stack_of_own_modules_with_other_settings():
    groups = {**RATES, "backbone.0.*": {"frozen": True}}
    for options in ({"sharpness": 0.05, "gradient_clipping": 0.1}, {"averaging": "ema"}):
        check(net(module=TwoParts, param_groups=groups, **options), folds=FOLDS[:2])


def test_candidates_may_have_other_groups():
    grid = [{"param_groups": groups} for groups in (None, PLAIN, {}, {"2.*": {"lr": 0.05}})]
    check(net(), grid, FOLDS[:1], n_stacks=2)


def test_nets_that_are_unfrozen_are_trained_one_by_one():
    groups = {"0.*": {"frozen": 0.5}, "2.*": {"lr": 0.01}}
    pairs = stacked.members(net(param_groups=groups), [{"lr": 0.05}, {"lr": 0.2}], FOLDS[:1])
    with pytest.warns(NotStackedWarning, match="unfreezes parameters during the training"):
        stacked.together(pairs)
    for clf, rows in pairs:
        assert_same(clf, refitted(clf, rows))


def test_stacked_net_is_trained_further_as_after_a_single_fit():
    options = {"param_groups": {**PLAIN, "2.weight": {"frozen": True}}, "warm_start": True}
    for clf in check(net(**options), folds=FOLDS[:1], grid=[{"lr": 0.05}, {"lr": 0.2}]):
        rows = FOLDS[0]
        alone = refitted(clf, rows)
        for fitted in (clf, alone):
            fitted.set_params(param_groups=PLAIN).fit(stacked.X[rows], stacked.Y[rows])
        assert_same(clf, alone)


@pytest.mark.parametrize("search", [GridSearchCV, StackedGridSearchCV])
def test_search_tries_whole_values(search):
    grid = {"param_groups": [None, RATES, FROZEN]}
    found = search(classifier(), grid, cv=2).fit(X, Y)
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()
    assert found.best_params_["param_groups"] in grid["param_groups"]
    assert len(set(found.cv_results_["mean_test_score"])) > 1


def test_ensemble(tmp_path):
    ensemble = NetEnsembleClassifier(classifier(FROZEN), n_estimators=3, random_state=0)
    for member in ensemble.fit(X, Y).estimators_:
        alone = clone(member).fit(X, Y)
        for name, p in state_of(alone).items():
            torch.testing.assert_close(state_of(member)[name], p)


def test_clone_and_parameters():
    clf = clone(classifier())
    assert clf.get_params()["param_groups"] == RATES
    assert isinstance(clf, ImbalancedNetClassifier)


def test_a_share_that_no_epoch_reaches_is_warned_of():
    groups = {"0.*": {"frozen": 0.95}}
    with pytest.warns(UserWarning, match=r"freezes parameters for 0\.95 of the epochs"):
        ImbalancedNetClassifier("mlp", param_groups=groups, max_epochs=10, random_state=0).fit(X, Y)
    clf = ImbalancedNetClassifier("mlp", param_groups=groups, max_epochs=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.fit(X, Y)
