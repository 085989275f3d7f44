"""Torch's own losses, adapted: their values per row, and weights that act on every one."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.base import clone
from torch import nn
from torch.testing import assert_close

from imbtorch.losses import CrossEntropyLoss, TorchLoss, all_losses, as_loss
from imbtorch.testing import loss_checks
from tests.losses.inputs import (
    CLASS_WEIGHT,
    N3,
    W3,
    Y3,
    Z3,
    batch,
    f64,
    rows_of,
    value_and_gradient,
)

# -- what each loss means for class indices, written out -----------------------------------------


def error(z, y):
    return z.softmax(1) - F.one_hot(y, z.shape[1])


def picked(z, y):
    return z.log_softmax(1)[torch.arange(len(y)), y]


def smooth(z, y, delta):
    distance = error(z, y).abs()
    return torch.where(distance < delta, distance**2 / 2, delta * (distance - delta / 2)).mean(1)


def margins(z, y, power=1, margin=1.0):
    own = z[torch.arange(len(y)), y].unsqueeze(1)
    others = 1 - F.one_hot(y, z.shape[1])
    return (others * (margin - own + z).clamp_min(0) ** power).sum(1) / z.shape[1]


def bce(z, y):
    proba, hot = z.softmax(1), F.one_hot(y, z.shape[1])
    return -(hot * proba.log() + (1 - hot) * (1 - proba).log()).mean(1)


def one_vs_rest(z, y):
    if z.shape[1] == 2:  # one log-odds
        return F.softplus((1 - 2 * y) * (z[:, 1] - z[:, 0]))
    return F.softplus((1 - 2 * F.one_hot(y, z.shape[1])) * z).mean(1)


FORMULAS = [
    (nn.L1Loss(), lambda z, y: error(z, y).abs().mean(1)),
    (nn.L1Loss(reduction="sum"), lambda z, y: error(z, y).abs().sum(1)),
    (nn.L1Loss(reduction="none"), lambda z, y: error(z, y).abs().mean(1)),
    (nn.MSELoss(), lambda z, y: (error(z, y) ** 2).mean(1)),
    (nn.MSELoss(reduction="sum"), lambda z, y: (error(z, y) ** 2).sum(1)),
    (nn.SmoothL1Loss(), lambda z, y: smooth(z, y, 1.0)),
    (nn.SmoothL1Loss(beta=0.3), lambda z, y: smooth(z, y, 0.3) / 0.3),
    (nn.HuberLoss(), lambda z, y: smooth(z, y, 1.0)),
    (nn.HuberLoss(delta=0.3), lambda z, y: smooth(z, y, 0.3)),
    (nn.CrossEntropyLoss(), lambda z, y: -picked(z, y)),
    (
        nn.CrossEntropyLoss(label_smoothing=0.1),
        lambda z, y: -0.9 * picked(z, y) - 0.1 * z.log_softmax(1).mean(1),
    ),
    (nn.NLLLoss(), lambda z, y: -picked(z, y)),
    (nn.MultiMarginLoss(), margins),
    (nn.MultiMarginLoss(p=2, margin=0.5), lambda z, y: margins(z, y, 2, 0.5)),
    (nn.BCELoss(), bce),
    (nn.BCEWithLogitsLoss(), one_vs_rest),
    (nn.SoftMarginLoss(), one_vs_rest),
    (nn.KLDivLoss(), lambda z, y: -picked(z, y) / z.shape[1]),
    (nn.KLDivLoss(reduction="batchmean"), lambda z, y: -picked(z, y)),
]
LOSSES = [
    nn.L1Loss(),
    nn.MSELoss(),
    nn.SmoothL1Loss(),
    nn.HuberLoss(),
    nn.CrossEntropyLoss(),
    nn.NLLLoss(),
    nn.MultiMarginLoss(),
    nn.BCELoss(),
    nn.BCEWithLogitsLoss(),
    nn.SoftMarginLoss(),
    nn.KLDivLoss(),
]
WEIGHABLE = [nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss]


def every_loss(function):
    return pytest.mark.parametrize("inner", LOSSES, ids=lambda loss: type(loss).__name__)(function)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("inner", "formula"),
    FORMULAS,
    ids=[f"{type(loss).__name__}-{loss.reduction}-{i}" for i, (loss, _) in enumerate(FORMULAS)],
)
def test_value_and_gradient_per_row(inner, formula, n_classes):
    logits, target = batch(20, n_classes)
    expected = value_and_gradient(lambda z: formula(z, target), logits)
    actual = rows_of(as_loss(inner), logits, target)
    assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    rows = as_loss(inner).set_params(reduction="none")(logits, target)
    assert_close(rows, expected[0], rtol=1e-10, atol=1e-12)


def test_l1_values_of_the_catalogue():
    # section 2.1: row sums, and their mean under balanced weights
    summed = TorchLoss(nn.L1Loss(reduction="sum"), reduction="none")(Z3, Y3)
    assert_close(summed, f64([0.428805931, 0.906779077, 0.538438759, 1.333333333]))
    value = TorchLoss(nn.L1Loss(reduction="sum"), weight=W3)(Z3, Y3)
    assert value.item() == pytest.approx(2.90867166, abs=1e-8)
    averaged = TorchLoss(nn.L1Loss(), weight=W3)(Z3, Y3)
    assert averaged.item() == pytest.approx(0.96955722, abs=1e-8)


def test_multi_margin_values_of_the_catalogue():
    # section 2.4; torch divides weighted rows by N C
    assert as_loss(nn.MultiMarginLoss())(Z3, Y3).item() == pytest.approx(0.191666667, abs=1e-9)
    weighted = as_loss(nn.MultiMarginLoss(weight=W3))(Z3, Y3)
    assert weighted.item() == pytest.approx(0.555555556, abs=1e-9)
    assert_close(weighted, nn.MultiMarginLoss(weight=W3)(Z3, Y3))


def test_keras_class_weights_act_on_l1_with_two_outputs():
    # {0: n / n_0, 1: n / n_1} for 90 negatives and 10 positives
    logits, target = batch(100, 2)
    target = (torch.arange(100) % 10 == 0).long()
    weight = {0: 100 / 90, 1: 100 / 10}
    loss = TorchLoss(nn.L1Loss(), weight=[weight[0], weight[1]])
    wrong = 1 - logits.softmax(1)[torch.arange(100), target]  # the mean of two equal errors
    expected = wrong[target == 0].mean() + wrong[target == 1].mean()
    assert_close(loss(logits, target), expected, rtol=1e-6, atol=0)  # weights are float32


# -- the contract of every loss ------------------------------------------------------------------

SHARED_CHECKS = {
    "check_params_round_trip",
    "check_unknown_parameter",
    "check_pickle",
    "check_prepare_again",
    "check_rows",
    "check_gradient",
    "check_extreme_logits",
    "check_float32_equals_float64",
    "check_autocast",
    "check_permuted_rows",
    "check_permuted_classes",
    "check_row_alone",
    "check_weights_are_repeats",
    "check_reductions",
    "check_extra_dimensions",
    "check_device_follows",
    "check_descent",
    "check_posterior",
}


@every_loss
@pytest.mark.parametrize("name", sorted(SHARED_CHECKS))
def test_shared_check(inner, name):
    loss = as_loss(inner)
    (check,) = (check for check in loss_checks(loss) if check.__name__ == name)
    check(loss)


@every_loss
def test_weights_multiply_rows(inner):
    logits, target = batch()
    rows = as_loss(inner).set_params(reduction="none")(logits, target)
    assert (rows > 0).any()
    weight = f64(CLASS_WEIGHT)[target]
    by_class = as_loss(inner).set_params(weight=CLASS_WEIGHT, reduction="none")(logits, target)
    by_row = as_loss(inner).set_params(reduction="none")(logits, target, weight)
    assert_close(by_class, weight * rows)
    assert_close(by_row, weight * rows)


@pytest.mark.parametrize("cls", WEIGHABLE)
def test_class_weight_inside_is_taken_out(cls):
    logits, target = batch()
    inner = cls(weight=f64(CLASS_WEIGHT))
    loss = as_loss(inner)
    assert loss.weight.tolist() == list(CLASS_WEIGHT)
    expected = f64(CLASS_WEIGHT)[target] * as_loss(cls()).per_sample(logits, target)
    assert_close(loss.set_params(reduction="none")(logits, target), expected)
    # applied once: nothing is left inside
    assert_close(loss.per_sample(logits, target), as_loss(cls()).per_sample(logits, target))
    assert clone(loss).weight.tolist() == list(CLASS_WEIGHT)


@pytest.mark.parametrize("cls", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_weighted_mean_is_the_mean_of_torch(cls):
    logits, target = batch()
    inner = cls(weight=f64(CLASS_WEIGHT))
    inputs = logits if cls is nn.CrossEntropyLoss else logits.log_softmax(1)
    loss = as_loss(inner).set_params(reduction="weighted_mean")
    assert_close(loss(logits, target), inner(inputs, target))


@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 2])
@pytest.mark.parametrize("cls", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_ignore_index_inside_is_taken_over(cls, ignore_index):
    logits, target = batch()
    target[::4] = ignore_index
    inner = cls(ignore_index=ignore_index)
    inputs = logits if cls is nn.CrossEntropyLoss else logits.log_softmax(1)
    assert_close(as_loss(inner)(logits, target), inner(inputs, target))


def test_cross_entropy_becomes_ours():
    loss = as_loss(nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=5))
    assert type(loss) is CrossEntropyLoss
    assert (loss.label_smoothing, loss.ignore_index) == (0.1, 5)


def public(module):
    return {key: value for key, value in vars(module).items() if not key.startswith("_")}


@every_loss
def test_given_loss_is_untouched(inner):
    inner = copy.deepcopy(inner)
    if type(inner) in WEIGHABLE:
        inner = type(inner)(weight=f64(CLASS_WEIGHT), reduction="sum")
    before = public(inner)
    state = {key: value.clone() for key, value in inner.state_dict().items()}
    for loss in (as_loss(inner), TorchLoss(inner)):
        rows_of(loss.prepare([3, 2, 1]), *batch())
    assert public(inner) == before
    assert inner.state_dict().keys() == state.keys()
    assert all(torch.equal(value, inner.state_dict()[key]) for key, value in state.items())


def test_clone_does_not_share_the_inner_loss():
    loss = as_loss(nn.HuberLoss(delta=0.3))
    other = clone(loss)
    assert other.loss is not loss.loss
    assert other.loss.delta == 0.3


def test_adapter_is_no_named_loss():
    assert TorchLoss not in all_losses().values()


# -- the posterior -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "proper"),
    [
        (nn.L1Loss(), False),
        (nn.MSELoss(), True),
        (nn.SmoothL1Loss(), True),
        (nn.SmoothL1Loss(beta=0.9), False),
        (nn.HuberLoss(delta=2.0), True),
        (nn.HuberLoss(delta=0.9), False),
        (nn.CrossEntropyLoss(), True),
        (nn.NLLLoss(), True),
        (nn.MultiMarginLoss(), False),
        (nn.BCELoss(), True),
        (nn.BCEWithLogitsLoss(), True),
        (nn.SoftMarginLoss(), True),
        (nn.KLDivLoss(), True),
        (nn.Hardshrink(), False),
    ],
    ids=repr,
)
def test_has_posterior(inner, proper):
    assert as_loss(inner).has_posterior is proper


@every_loss
def test_initial_bias_belongs_to_losses_with_a_posterior(inner):
    for prior in (f64([0.9, 0.1]), f64([0.8, 0.16, 0.04])):
        loss = as_loss(inner)
        bias = loss.initial_bias(prior.log())
        if not loss.has_posterior:
            assert bias is None
            continue
        assert_close(loss.log_posterior(bias.unsqueeze(0)).exp(), prior.unsqueeze(0))
        # where it starts, a constant has nothing to gain
        risk = value_and_gradient(
            lambda z, loss=loss, prior=prior: prior * loss.per_sample(z, torch.arange(len(prior))),
            bias.expand(len(prior), -1),
        )
        assert_close(risk[1].sum(0), torch.zeros_like(prior), rtol=0, atol=1e-10)


# -- modules that are not torch's ----------------------------------------------------------------


class Reducing(nn.Module):
    """A user's loss with torch's habit of a ``reduction`` attribute."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, logits, target):
        return F.cross_entropy(logits, target, reduction=self.reduction)


class PerRow(nn.Module):
    """A user's loss that returns rows."""

    def forward(self, logits, target):
        return F.cross_entropy(logits, target, reduction="none")


class PerEntry(nn.Module):
    """A user's loss that returns one value per entry."""

    def forward(self, logits, target):
        return -F.one_hot(target, logits.shape[1]) * logits.log_softmax(1)


class Scalar(nn.Module):
    """A user's loss that leaves nothing to weigh."""

    def forward(self, logits, target):
        return F.cross_entropy(logits, target)


class SubclassOfMSE(nn.MSELoss):
    """A torch loss under another name."""


@pytest.mark.parametrize(
    ("module", "scale"),
    [(Reducing(), 1), (Reducing("sum"), 1), (PerRow(), 1), (PerEntry(), 1 / 3)],
    ids=["mean", "sum", "rows", "entries"],
)
def test_custom_module(module, scale):
    logits, target = batch()
    expected = F.cross_entropy(logits, target, reduction="none") * scale
    loss = as_loss(module).set_params(weight=CLASS_WEIGHT, reduction="none").prepare([3, 2, 1])
    assert_close(loss(logits, target), f64(CLASS_WEIGHT)[target] * expected)


def test_custom_module_that_returns_a_scalar():
    with pytest.raises(ValueError, match=r"Scalar must return one value per row.*'reduction'"):
        as_loss(Scalar())(Z3, Y3)


def test_subclass_of_a_torch_loss_is_read_like_its_base():
    # its posterior is, so its inputs must be as well
    assert as_loss(SubclassOfMSE()).has_posterior
    assert_close(as_loss(SubclassOfMSE())(Z3, Y3), as_loss(nn.MSELoss())(Z3, Y3))


def test_class_instead_of_object():
    assert type(as_loss(nn.L1Loss).loss) is nn.L1Loss
    assert type(as_loss(PerRow).loss) is PerRow


def test_kl_divergence_with_log_target():
    with pytest.raises(ValueError, match=r"KLDivLoss\(log_target=True\)"):
        as_loss(nn.KLDivLoss(log_target=True)).prepare(N3)


@pytest.mark.parametrize(
    "given",
    [F.l1_loss, 3, None, 0.5, ["focal"], np.float64(2)],
    ids=lambda given: type(given).__name__,
)
def test_what_is_no_loss(given):
    with pytest.raises(TypeError, match="loss must be a name") as caught:
        as_loss(given)
    assert all(repr(name) in str(caught.value) for name in all_losses())


@pytest.mark.parametrize("given", [None, 3])
def test_adapter_around_nothing(given):
    with pytest.raises(ValueError, match="TorchLoss wraps a torch loss such as"):
        TorchLoss(given)(Z3, Y3)
    with pytest.raises(ValueError, match="TorchLoss wraps a torch loss|parameter of TorchLoss"):
        TorchLoss(given).prepare(N3)


class OwnFocal(nn.CrossEntropyLoss):
    """A loss of a user, who subclasses torch's cross-entropy for its parameters."""

    def forward(self, logits, target):
        entropy = F.cross_entropy(logits, target, reduction="none")
        values = (1 - torch.exp(-entropy)) ** 2 * entropy
        return values if self.reduction == "none" else values.mean()


class OwnLikelihood(nn.NLLLoss):
    """A loss whose formula is not that of its base."""

    def forward(self, log_proba, target):
        return F.nll_loss(log_proba, target, reduction="none") ** 2


class OwnSquare(nn.MSELoss):
    """A loss whose formula is not that of its base."""

    def forward(self, proba, hot):
        return (proba - hot) ** 4


def test_subclass_of_cross_entropy_computes_what_its_author_wrote():
    logits, target = batch()
    loss = as_loss(OwnFocal())
    expected = OwnFocal(reduction="none")(logits, target)
    assert_close(loss.set_params(reduction="none")(logits, target), expected)
    assert type(loss.loss) is OwnFocal


@pytest.mark.parametrize("cls", [OwnFocal, OwnLikelihood, OwnSquare])
def test_another_formula_does_not_inherit_the_posterior(cls):
    assert not as_loss(cls()).has_posterior


def test_replaced_forward_of_cross_entropy_is_kept():
    inner = nn.CrossEntropyLoss()
    inner.forward = lambda logits, target: logits.sum(dim=1)
    loss = as_loss(inner).set_params(reduction="none")
    assert_close(loss(Z3, Y3), Z3.sum(dim=1))
    assert not loss.has_posterior


def test_subclass_without_a_formula_has_its_weight_taken_out():
    class Named(nn.CrossEntropyLoss):
        pass

    logits, target = batch()
    loss = as_loss(Named(weight=f64(CLASS_WEIGHT))).set_params(reduction="weighted_mean")
    assert_close(
        loss(logits, target), nn.CrossEntropyLoss(weight=f64(CLASS_WEIGHT))(logits, target)
    )
    assert loss.has_posterior


def test_ignore_index_of_a_wrapped_loss_is_found_by_both_names():
    assert as_loss(nn.NLLLoss(ignore_index=1))._ignored_target == 1
    assert TorchLoss(nn.NLLLoss(ignore_index=1), ignore_index=2)._ignored_target == 2
    assert TorchLoss(nn.L1Loss())._ignored_target == -100


def test_codes_inside_an_estimator_are_never_ignored():
    # the engine calls per_sample with class codes: the ignored number is a label there, no code
    inner = nn.NLLLoss(ignore_index=1)
    assert (as_loss(inner).per_sample(Z3, torch.ones(len(Z3), dtype=torch.long)) > 0).all()
