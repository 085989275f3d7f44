"""What every loss of continuous targets must satisfy, found through the registry."""

import copy
import inspect
import pickle
from numbers import Integral

import pytest
import torch
from sklearn.base import clone
from torch import nn
from torch.testing import assert_close

from imbtorch._common.sklearn_private import Interval
from imbtorch.losses.regression import (
    BalancedMSELoss,
    BaseRegressionLoss,
    TorchRegressionLoss,
    all_regression_losses,
    as_regression_loss,
    get_regression_loss,
)

LOSSES = [
    cls(**params) for cls in all_regression_losses().values() for params in cls._test_params
] + [TorchRegressionLoss(nn.SmoothL1Loss())]
ELEMENTWISE = [loss for loss in LOSSES if not isinstance(loss, BalancedMSELoss)]


def name_of(loss):
    return repr(loss)


every = pytest.mark.parametrize("loss", LOSSES, ids=name_of)
every_width = pytest.mark.parametrize(
    ("loss", "k"),
    [(x, k) for x in LOSSES for k in (1, 3) if k == 1 or getattr(x, "kind", "") != "bni"],
    ids=str,
)
elementwise = pytest.mark.parametrize("loss", ELEMENTWISE, ids=name_of)


def batch(n=12, k=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(n, k, generator=generator, dtype=torch.float64)
    prediction = target + torch.randn(n, k, generator=generator, dtype=torch.float64)
    return prediction.to(dtype), target.to(dtype)


def prepared(loss, dtype=torch.float64, k=1, **params):
    """Copy of the loss, prepared for targets of k columns (one, if it is for one)."""
    target = batch(200, k)[1].numpy()
    return clone(loss).set_params(**params).prepare(target).to(dtype)


def value_and_gradient(function, prediction):
    prediction = prediction.clone().requires_grad_()
    value = function(prediction)
    return value.detach(), torch.autograd.grad(value.sum(), prediction)[0]


# -- parameters ----------------------------------------------------------------------------------


@every
def test_parameters_round_trip(loss):
    changed = clone(loss).set_params(reduction="sum")
    assert repr(clone(changed)) == repr(changed) == repr(copy.deepcopy(changed))
    assert clone(changed).get_params()["reduction"] == "sum"
    with pytest.raises(ValueError, match="no_such_parameter"):
        clone(loss).set_params(no_such_parameter=1)


@pytest.mark.parametrize("loss", LOSSES[:-1], ids=name_of)
def test_repr_builds_the_loss(loss):
    built = eval(repr(loss), {type(loss).__name__: type(loss)})
    assert built.get_params() == loss.get_params()


@every
def test_out_of_range(loss):
    _, target = batch()
    constraints = {**loss._parameter_constraints, **BaseRegressionLoss._base_constraints}
    assert constraints.keys() == loss.get_params(deep=False).keys()
    for name, allowed in constraints.items():
        wrong = ["no such value"]
        for interval in allowed:
            if isinstance(interval, Interval):
                wrong += [interval.left - 1] if interval.left is not None else []
                wrong += [interval.right + 1] if interval.right is not None else []
                wrong += [] if interval.type is Integral else [float("nan")]
        for value in wrong:
            with pytest.raises(ValueError, match=name):
                type(loss)(**{**loss.get_params(deep=False), name: value}).prepare(target)


@every
def test_docstring(loss):
    doc = inspect.getdoc(type(loss))
    sections = ("Parameters", "Examples")
    if loss.name:
        sections += ("Notes", "References")
        assert ".. math::" in doc
        assert ":arxiv:" in doc or ":doi:" in doc
        assert "\nUse it " in doc
    for section in sections:
        assert f"\n{section}\n{'-' * len(section)}\n" in doc, section
    for name in loss.get_params(deep=False):
        assert f"\n{name} : " in doc, name


@every
def test_copies_give_the_same(loss):
    ready = prepared(loss)
    expected = ready(*batch())
    for other in (pickle.loads(pickle.dumps(ready)), copy.deepcopy(ready)):
        assert torch.equal(other(*batch()), expected)
    restored = clone(loss).double()
    restored.load_state_dict(ready.state_dict())
    assert torch.equal(restored(*batch()), expected)


@every
def test_clone_forgets_and_prepare_starts_again(loss):
    again = prepared(clone(prepared(loss)).prepare([5.0, 7.0, 11.0]))
    assert torch.equal(again(*batch()), prepared(loss)(*batch()))
    assert clone(again).state_dict().keys() == clone(loss).state_dict().keys()


@every
def test_dtype_follows(loss):
    for dtype in (torch.float32, torch.float64):
        ready = prepared(loss, dtype)
        assert ready(*batch(dtype=dtype)).dtype == dtype
        assert {p.dtype for p in [*ready.parameters(), *ready.buffers()]} == {dtype}


# -- values --------------------------------------------------------------------------------------


@every_width
def test_gradient(loss, k):
    ready, (prediction, target) = prepared(loss, k=k), batch(6, k)
    assert torch.autograd.gradcheck(lambda p: ready(p, target), prediction.requires_grad_())


@every_width
def test_weights_are_repeats(loss, k):
    repeats = torch.arange(12) % 4
    ready, (prediction, target) = prepared(loss, k=k, reduction="sum"), batch(k=k)
    weighted = value_and_gradient(lambda p: ready(p, target, repeats), prediction)
    repeated = value_and_gradient(
        lambda p: ready(p.repeat_interleave(repeats, 0), target.repeat_interleave(repeats, 0)),
        prediction,
    )
    assert_close(weighted, repeated)


@every
def test_extreme_values(loss):
    prediction = torch.tensor([1e4, -1e4, 1e4, 0, 1e-4, 0], dtype=torch.float32)
    target = torch.tensor([1e4, 1e4, -1e4, 1e4, 0, 0], dtype=torch.float32)
    ready = prepared(loss, torch.float32, reduction="none")
    for values in value_and_gradient(lambda p: ready(p, target), prediction):
        assert values.isfinite().all()


@every
def test_half_precision_is_raised(loss):
    for dtype in (torch.float16, torch.bfloat16):
        ready, pair = prepared(loss, torch.float32), batch(dtype=dtype)
        value = ready(*pair)
        assert value.dtype == torch.float32
        assert_close(value, ready(*(values.float() for values in pair)))


@every
def test_vectors_are_one_column(loss):
    ready, (prediction, target) = prepared(loss), batch()
    assert_close(ready(prediction[:, 0], target[:, 0]), ready(prediction, target))


@every
def test_reductions(loss):
    weight = torch.linspace(0.5, 2, 12, dtype=torch.float64)
    values = {
        reduction: prepared(loss, reduction=reduction)(*batch(), weight).squeeze()
        for reduction in ("none", "sum", "mean", "weighted_mean")
    }
    assert values["none"].shape == (12,)
    assert_close(values["none"].sum(), values["sum"])
    assert_close(values["sum"] / 12, values["mean"])
    assert_close(values["sum"] / weight.sum(), values["weighted_mean"])


@every_width
def test_batch_loss_is_the_weighted_mean_over_rows(loss, k):
    weight = torch.linspace(0, 2, 12, dtype=torch.float64)
    ready, pair = prepared(loss, k=k), batch(k=k)
    ready.set_epoch(0)
    assert_close(ready.batch_loss(*pair, weight / 12), ready(*pair, weight))
    assert ready.batch_loss(*pair, 0 * weight) == 0


@every
def test_bad_input(loss):
    ready, (prediction, target) = prepared(loss), batch()
    for wrong in (target[:, 0], target[:5], target.unsqueeze(2)):
        with pytest.raises(ValueError, match="same shape"):
            ready(prediction, wrong)
    with pytest.raises(ValueError, match="floating point"):
        ready(prediction, target.long())
    with pytest.raises(ValueError, match="weight"):
        ready(prediction, target, torch.ones(5))
    for wrong in ([], [1.0, float("nan")], [[[1.0]]]):
        with pytest.raises(ValueError, match="target"):
            clone(loss).prepare(wrong)
    for wrong in ([1.0], [1.0, -1.0], [0.0, 0.0]):
        with pytest.raises(ValueError, match="weight"):
            clone(loss).prepare([1.0, 2.0], wrong)


@every
def test_learns(loss):
    """Gradient descent on the predictions themselves lowers the loss and the error."""
    ready = prepared(loss, reduction="sum")
    start, target = batch()
    prediction, path = start, []
    for _ in range(50):
        value, grad = value_and_gradient(lambda p: ready(p, target), prediction)
        path.append(value)
        prediction = prediction - 0.05 * grad
    assert path[-1] < path[0]
    if not isinstance(loss, BalancedMSELoss):  # which overshoots on purpose
        assert (prediction - target).square().mean() < (start - target).square().mean()


@elementwise
def test_outputs_are_averaged_and_weighted_alone(loss):
    ready, (prediction, target) = prepared(loss, k=3, reduction="none"), batch(k=3)
    values = ready(prediction, target)
    assert values.shape == (12, 3)
    assert_close(values, ready.per_output(prediction, target))
    columns = [ready(prediction[:, i], target[:, i]) for i in range(3)]
    assert_close(values, torch.stack(columns, dim=1))
    assert_close(clone(ready).set_params(reduction="mean")(prediction, target), values.mean())
    weight = torch.rand(12, 3, dtype=torch.float64)
    assert_close(ready(prediction, target, weight), values * weight)


@pytest.mark.parametrize(
    "cls", [c for c in all_regression_losses().values() if c._neutral_params is not None]
)
def test_neutral_is_a_loss_of_torch(cls):
    kind, factor = cls._neutral_of
    (prediction, target), reference = batch(), kind(reduction="none")
    actual = value_and_gradient(
        lambda p: cls(**cls._neutral_params, reduction="none")(p, target), prediction
    )
    expected = value_and_gradient(lambda p: factor * reference(p, target), prediction)
    assert_close(actual, expected)


@elementwise
def test_hyper_parameter_vectors(loss):
    """A stack of nets carries a vector of hyper-parameters: no branch on the value of one."""
    prediction, target = batch()
    ready = prepared(loss)
    for name in [n for n, v in loss.get_params().items() if isinstance(v, float)]:
        values = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)

        def result(value, name=name):
            setattr(ready, name, value)
            return ready.per_output(prediction, target)

        assert_close(torch.func.vmap(result)(values), torch.stack([result(v) for v in values]))


# -- what may stand for a loss -------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(beta=0.5), nn.HuberLoss(delta=2.0)]
)
def test_losses_of_torch(loss):
    for given in (loss, type(loss)):
        ours = as_regression_loss(given).prepare([1.0, 2.0])
        original = given if given is loss else given()
        assert_close(ours(*batch()), original(*batch()))
        weight = torch.linspace(0, 2, 12, dtype=torch.float64)
        reference = type(loss)(reduction="none")
        if given is not loss:
            rows = reference(*batch()).squeeze(1)
            assert_close(ours(*batch(), weight), (rows * weight).mean())
    assert as_regression_loss(nn.MSELoss(reduction="sum")).reduction == "sum"


def test_names_and_objects():
    losses = all_regression_losses()
    assert {"balanced_mse", "focal_r", "huber", "l1", "mse", "quantile"} <= losses.keys()
    for name, cls in losses.items():
        assert type(get_regression_loss(name)) is type(as_regression_loss(cls)) is cls
    given = losses["huber"](delta=2.0)
    taken = as_regression_loss(given)
    assert taken is not given
    assert taken.delta == 2.0
    with pytest.raises(ValueError, match="balanced_mse"):
        as_regression_loss("no such loss")


def test_what_is_no_loss():
    from imbtorch.losses import FocalLoss

    for wrong in (3, FocalLoss(), FocalLoss, None):
        with pytest.raises(TypeError, match="regression"):
            as_regression_loss(wrong)
    scalar = as_regression_loss(nn.Sequential(nn.Flatten(0)))
    with pytest.raises((TypeError, ValueError)):
        scalar(*batch())
    with pytest.raises(ValueError, match="one value per element"):
        as_regression_loss(nn.PairwiseDistance())(*batch(k=3))
    with pytest.raises(ValueError, match="wraps"):
        TorchRegressionLoss()(*batch())
