"""What ``BaseLoss`` does for every loss: shapes, weights, and messages about bad input."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from imbtorch.losses import (
    BaseLoss,
    ClassBalancedLoss,
    CrossEntropyLoss,
    FocalLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    SoftFbetaLoss,
    TorchLoss,
)
from imbtorch.losses._base import LossModule
from imbtorch.losses.regression import BalancedMSELoss, BaseRegressionLoss, HuberLoss
from tests.losses.inputs import Y3, YM, Z3, ZM, f64

# -- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [3, 7, -1])
def test_class_out_of_range_names_class_and_columns(wrong):
    target = torch.tensor([0, 2, wrong, 1])
    with pytest.raises(ValueError, match=rf"class {wrong}\b.* 3 columns"):
        CrossEntropyLoss()(Z3, target)


def test_ignored_class_is_not_out_of_range():
    target = torch.tensor([0, 2, -100, 7])
    with pytest.raises(ValueError, match="class 7"):
        CrossEntropyLoss()(Z3, target)
    assert CrossEntropyLoss(ignore_index=7)(Z3, torch.tensor([0, 2, 7, 1])).isfinite()
    with pytest.raises(ValueError, match="class -100"):
        CrossEntropyLoss(ignore_index=7)(Z3, target)


def test_float_class_indices_are_refused():
    with pytest.raises(ValueError, match=r"integers.*torch\.float64"):
        CrossEntropyLoss()(Z3, Y3.double())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_integer_class_indices_of_any_width(dtype):
    assert torch.equal(CrossEntropyLoss()(Z3, Y3.to(dtype)), CrossEntropyLoss()(Z3, Y3))


def test_boolean_classes_of_two_columns():
    logits, target = Z3[:, :2], torch.tensor([True, False, True, True])
    assert torch.equal(CrossEntropyLoss()(logits, target), CrossEntropyLoss()(logits, target.int()))


@pytest.mark.parametrize(
    ("logits", "target"),
    [((4, 3), (5,)), ((4, 3), (4, 1)), ((4, 3), (4, 2)), ((4, 3, 2), (4, 3)), ((4,), (3,))],
    ids=str,
)
def test_wrong_shapes_are_named(logits, target):
    with pytest.raises(ValueError, match="softmax form") as caught:
        CrossEntropyLoss()(torch.zeros(logits), torch.zeros(target, dtype=torch.long))
    assert str(logits) in str(caught.value)
    assert str(target) in str(caught.value)


def test_forms_that_a_loss_lacks_are_named():
    with pytest.raises(NotImplementedError, match="LDAMLoss has no sigmoid form"):
        LDAMLoss().prepare([3, 2, 1])(ZM, YM)
    with pytest.raises(NotImplementedError, match="BaseLoss has no softmax form"):
        BaseLoss()(Z3, Y3)


def test_ignored_rows_get_no_value_and_no_gradient():
    logits = Z3.clone().requires_grad_()
    rows = FocalLoss(reduction="none")(logits, torch.tensor([0, -100, 1, -100]))
    rows.sum().backward()
    assert rows[[1, 3]].tolist() == [0, 0]
    assert (rows[[0, 2]] > 0).all()
    assert (logits.grad[[1, 3]] == 0).all()
    assert (logits.grad[[0, 2]] != 0).all()


@pytest.mark.parametrize("ignore_index", [-100, 0, 1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool])
def test_ignore_index_has_no_part_in_the_sigmoid_form(ignore_index, dtype):
    # 0 and 1 are labels there
    loss = CrossEntropyLoss(ignore_index=ignore_index)
    assert loss(ZM, YM.to(dtype)).item() == pytest.approx(0.690685365, abs=1e-9)


# -- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [[1, 2, 5], (1, 2, 5), np.array([1, 2, 5]), f64([1, 2, 5])])
def test_class_weight_is_a_buffer_whatever_it_is_given_as(weight):
    for loss in (FocalLoss(weight=weight), FocalLoss().set_params(weight=weight)):
        assert loss.weight.tolist() == [1, 2, 5]
        assert loss.state_dict().keys() == {"weight"}
    assert FocalLoss(weight=weight).set_params(weight=None).weight is None


def test_class_weight_keeps_the_dtype_of_the_logits():
    for dtype in (torch.float32, torch.float64):
        assert CrossEntropyLoss(weight=[1, 2, 5])(Z3.to(dtype), Y3).dtype == dtype
        assert CrossEntropyLoss()(Z3.to(dtype), Y3, f64([1, 2, 3, 4])).dtype == dtype


@pytest.mark.parametrize("weight", [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0]], ids=len)
def test_class_weight_of_wrong_length_softmax_form(weight):
    # too long would pass silently, too short only where no row has a late class
    loss = CrossEntropyLoss(weight=weight)
    with pytest.raises(ValueError, match=rf"weight.*\b{len(weight)}\b"):
        loss(Z3, torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize("weight", [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0]], ids=len)
def test_class_weight_of_wrong_length_sigmoid_form(weight):
    with pytest.raises(ValueError, match=rf"weight.*\b{len(weight)}\b"):
        CrossEntropyLoss(weight=weight)(ZM, YM)


def test_class_weight_of_wrong_length_is_found_by_prepare():
    with pytest.raises(ValueError, match=r"weight.*\b2\b"):
        CrossEntropyLoss(weight=[1.0, 2.0]).prepare([5, 3, 2])


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_class_weight_that_is_no_weight_is_found_by_prepare(bad):
    with pytest.raises(ValueError, match="weight"):
        CrossEntropyLoss(weight=[1.0, bad, 2.0]).prepare([5, 3, 2])


@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1), (4, 4)], ids=str)
def test_row_weights_of_wrong_shape(shape):
    # (4, 1) and (4, 4) would broadcast to four times four rows
    with pytest.raises(ValueError, match="weight") as caught:
        CrossEntropyLoss()(Z3, Y3, torch.ones(shape))
    assert str(shape) in str(caught.value)


def test_one_weight_per_row_of_labels_or_pixels():
    # as many labels as rows: a weight that broadcast would fall on the labels
    logits, target = Z3[:3], torch.eye(3).double()
    weight = f64([1, 2, 5])
    rows = CrossEntropyLoss(reduction="none")
    assert_close(rows(logits, target, weight), rows(logits, target) * weight.unsqueeze(1))
    pixels, classes = Z3.expand(3, 4, 3).movedim(-1, 1)[:, :, :3], Y3[:3].expand(3, 3)
    assert_close(rows(pixels, classes, weight), rows(pixels, classes) * weight.unsqueeze(1))


def test_one_row_weight_serves_all_rows():
    assert_close(CrossEntropyLoss()(Z3, Y3, f64(2.0)), 2 * CrossEntropyLoss()(Z3, Y3))


def test_weights_that_are_all_zero():
    zeros = torch.zeros(4)
    assert CrossEntropyLoss()(Z3, Y3, zeros) == 0
    assert CrossEntropyLoss(reduction="weighted_mean")(Z3, Y3, zeros).isnan()  # as torch has it


# -- reduction -----------------------------------------------------------------------------------


def test_wrong_reduction_lists_the_right_ones():
    loss = CrossEntropyLoss(reduction="average")
    for use in (lambda: loss(Z3, Y3), lambda: loss.prepare([3, 2, 1])):
        with pytest.raises(ValueError, match="reduction.*average|average.*reduction") as caught:
            use()
        for known in ("mean", "sum", "none", "weighted_mean"):
            assert repr(known) in str(caught.value)


def test_default_reduction_divides_by_rows_not_by_weights():
    assert_close(CrossEntropyLoss(weight=[3, 3, 3])(Z3, Y3), 3 * CrossEntropyLoss()(Z3, Y3))


# -- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "counts",
    [
        [-1, 2, 3],
        [1, float("nan"), 3],
        [1, float("inf"), 3],
        [0, 0, 0],
        [[1, 2, 3], [3, 4, 5]],
        [[1, 2], [0, 0]],
        [],
        5,
    ],
    ids=str,
)
@pytest.mark.parametrize("loss", [CrossEntropyLoss, LogitAdjustedLoss])
def test_bad_counts(loss, counts):
    with pytest.raises(ValueError, match="class_counts must be finite"):
        loss().prepare(counts)


@pytest.mark.parametrize("bad", [None, ["a", "b"], "abc"], ids=str)
def test_counts_that_are_no_numbers(bad):
    with pytest.raises(ValueError, match=r"class_counts|could not convert string"):
        LogitAdjustedLoss().prepare(bad)


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda c: np.array(c) * 1.0])
def test_counts_of_any_kind(kind):
    shift = LogitAdjustedLoss().prepare(kind([3, 2, 1])).log_prior_shift()
    assert_close(shift, -torch.log(f64([3, 2, 1]) / 6))


def test_failed_prepare_changes_nothing():
    loss = LogitAdjustedLoss().prepare([3, 2, 1])
    before = loss.log_prior.clone()
    for bad in ([0, 0, 0], [-1, 2, 3]):
        with pytest.raises(ValueError, match="class_counts"):
            loss.prepare(bad)
    with pytest.raises(ValueError, match="tau"):
        loss.set_params(tau=-1).prepare([1, 1, 1])
    assert torch.equal(loss.log_prior, before)


# -- forms ---------------------------------------------------------------------------------------

CLASSES, LABELS = SimpleNamespace(form="softmax"), SimpleNamespace(form="sigmoid")


@pytest.mark.parametrize(
    ("loss", "forms"),
    [
        (FocalLoss(), (True, True)),
        (LDAMLoss(), (True, False)),
        (SoftFbetaLoss(), (True, True)),  # of a whole batch: neither per_sample nor per_label
        (TorchLoss(torch.nn.L1Loss()), (True, False)),
        (BaseLoss(), (False, False)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_forms_that_a_loss_has(loss, forms):
    assert (loss.has_form_for(CLASSES), loss.has_form_for(LABELS)) == forms


@pytest.mark.parametrize(
    ("loss", "posteriors"),
    [
        (FocalLoss(), (True, True)),
        (LDAMLoss(), (False, False)),
        (ClassBalancedLoss(), (True, False)),
        (TorchLoss(torch.nn.MSELoss()), (True, True)),
        (TorchLoss(torch.nn.L1Loss()), (False, False)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_posteriors_that_a_loss_has(loss, posteriors):
    assert (loss.has_posterior_for(CLASSES), loss.has_posterior_for(LABELS)) == posteriors


# -- what it shares with losses of continuous targets ----------------------------------------------


@pytest.mark.parametrize("base", [BaseLoss, BaseRegressionLoss])
def test_losses_have_one_foundation(base):
    assert issubclass(base, LossModule)
    for name in ("get_params", "extra_repr", "set_epoch", "_apply", "_load_from_state_dict"):
        assert getattr(base, name) is getattr(LossModule, name)


@pytest.mark.parametrize(
    "loss",
    [
        LogitAdjustedLoss().prepare([3, 2, 1]),
        BalancedMSELoss(kind="gai", n_components=2).double().prepare([1.0, 2.0, 5.0, 6.0]),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_device_without_float64_gets_float32(loss):
    """What ``prepare`` has computed moves to Apple's devices, which refuse float64."""

    def move(tensor):
        if tensor.dtype == torch.float64 and not isinstance(tensor, torch.nn.Parameter):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return tensor

    assert any(buffer.dtype == torch.float64 for buffer in loss.buffers())
    loss._apply(move)
    assert {buffer.dtype for buffer in loss.buffers()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loaded_buffers_keep_the_dtype_of_the_file(dtype):
    for loss, data in ((LogitAdjustedLoss(), [3, 2, 1]), (BalancedMSELoss("bni"), [1.0, 2.0])):
        saved = loss.prepare(data).to(dtype).state_dict()
        restored = type(loss)(**loss.get_params())
        restored.load_state_dict(saved)
        kinds = {name: value.dtype for name, value in restored.named_buffers() if name in saved}
        assert set(kinds.values()) == {dtype}


def test_clones_have_the_class_of_the_original():
    for loss in (FocalLoss(gamma=1.0), HuberLoss(delta=2.0)):
        assert type(loss.__sklearn_clone__()) is type(loss)
        assert loss.__sklearn_clone__().get_params() == loss.get_params()
