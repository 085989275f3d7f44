"""Cross-entropy and focal loss: published numbers, closed-form gradients, identities.

Section numbers are those of the catalogue of losses, numbers marked [doc] there come from the
documentation or the tests of other libraries.
"""

import pytest
import torch
from sklearn.base import clone
from torch.testing import assert_close

from imbtorch.losses import CrossEntropyLoss, FocalLoss
from tests.losses.inputs import (
    W3,
    Y2,
    Y3,
    YM,
    Z2,
    Z3,
    ZM,
    batch,
    close,
    f64,
    labels,
    one_hot,
    rows_of,
    two_columns,
    value_and_gradient,
)

CE_ROWS = [0.241311297, 0.604018867, 0.313641973, 1.098612289]
FOCAL_ROWS = [0.01109275, 0.124163371, 0.02273248, 0.488272128]
ALPHA_ROWS = [0.001352672126, 0.09435290021, 0.04332169878, 0.8529542367, 0.00002732083112]


def sigmoid_gradient(loss, logits, target, weight=None):
    return value_and_gradient(lambda z: loss(z, target, weight), logits)[1]


# -- cross-entropy, section 2.1 ------------------------------------------------------------------


def test_cross_entropy_rows_and_mean():
    close(CrossEntropyLoss(reduction="none")(Z3, Y3), CE_ROWS)
    close(CrossEntropyLoss()(Z3, Y3), 0.564396106)


@pytest.mark.parametrize(
    ("reduction", "value"), [("mean", 2.019058327), ("weighted_mean", 0.625256772)]
)
def test_two_means_of_weighted_cross_entropy(reduction, value):
    # divided by the rows (Keras, Chainer) or by the weights (torch): section 1.1
    close(CrossEntropyLoss(weight=W3, reduction=reduction)(Z3, Y3), value)
    close(CrossEntropyLoss(reduction=reduction)(Z3, Y3, W3[Y3]), value)


def test_weighted_mean_is_the_mean_of_torch():
    expected = torch.nn.CrossEntropyLoss(weight=W3)(Z3, Y3)
    assert_close(CrossEntropyLoss(weight=W3, reduction="weighted_mean")(Z3, Y3), expected)


def test_weighted_rows_of_a_torch_issue():
    # pytorch #25571 [doc]
    logits, target = f64([[0.2, 0.3, 0.5], [0.5, 0.2, 0.3]]), torch.tensor([2, 1])
    weight = [2, 4, 6]
    rows = CrossEntropyLoss(weight=weight, reduction="none")(logits, target)
    close(rows, [5.6390, 4.9593], 4)
    close(CrossEntropyLoss(weight=weight, reduction="sum")(logits, target), 10.5983, 4)
    close(CrossEntropyLoss(weight=weight, reduction="weighted_mean")(logits, target), 1.0598, 4)


def test_numbers_of_chainer():
    # softmax_cross_entropy(x=[[1, 0]], t=[1], class_weight=[1, 2]) [doc]
    logits, target = torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([1])
    value = CrossEntropyLoss(weight=[1, 2])(logits, target)
    value.backward()
    assert value.item() == pytest.approx(2.62652325630188, rel=1e-7)
    assert logits.grad.tolist() == [pytest.approx([1.4621172, -1.4621172], abs=1e-7)]
    # torch's mean lets the weight of a lone row cancel
    cancelled = CrossEntropyLoss(weight=[1, 2], reduction="weighted_mean")(logits, target)
    assert cancelled.item() == pytest.approx(1.313261688, rel=1e-7)


def test_label_smoothing_weighs_the_smoothed_row():
    # section 1.5; torch's own path gives 0.733803348, its rare classes weigh on every row
    smoothed = CrossEntropyLoss(0.1, weight=W3, reduction="weighted_mean")
    close(smoothed(Z3, Y3), 0.689772901)
    close(CrossEntropyLoss(0.1)(Z3, Y3), 0.649396106)
    rows = CrossEntropyLoss(0.1, reduction="none")(Z3, Y3)
    close((W3[Y3] * rows).sum() / W3[Y3].sum(), 0.689772901)


def test_label_smoothing_value_of_another_library():
    # section 10 [doc]
    logits = f64([[2, 1, 0, -1, 0.5]])
    close(CrossEntropyLoss(0.1)(logits, torch.tensor([0])), 0.7244379, 7)


def test_label_smoothing_of_labels_is_that_of_two_classes():
    rows = CrossEntropyLoss(0.2, reduction="none")
    assert_close(rows(Z2, Y2), rows(two_columns(Z2), Y2.long()))


def test_binary_cross_entropy_values():
    close(CrossEntropyLoss()(Z2, Y2), 0.708830561)
    close(CrossEntropyLoss()(ZM, YM), 0.690685365)


def test_pos_weight_is_a_weight_of_positives():
    weight = torch.where(Y2 == 1, 3.0, 1.0).double()
    rows = CrossEntropyLoss(reduction="none")(Z2, Y2, weight)
    close(rows, [0.126928011, 2.922230953, 2.079441542, 1.701413278, 0.145762055])
    close(CrossEntropyLoss()(Z2, Y2, weight), 1.395155168)
    close(CrossEntropyLoss(reduction="weighted_mean")(Z2, Y2, weight), 0.63416144, 8)


# -- focal loss, section 2.1 ---------------------------------------------------------------------


def test_focal_rows_and_means():
    close(FocalLoss(2.0, reduction="none")(Z3, Y3), FOCAL_ROWS, 8)
    close(FocalLoss(2.0)(Z3, Y3), 0.161565182)
    close(FocalLoss(0.5)(Z3, Y3), 0.394549464)


def test_focal_weights_multiply_the_row_and_leave_p_alone():
    # section 1.7: a weight inside p_t would give 1.741898687
    close(FocalLoss(2.0, weight=W3)(Z3, Y3), 0.525977417)
    close(FocalLoss(2.0, weight=W3, reduction="weighted_mean")(Z3, Y3), 0.162883329)


def test_sigmoid_focal_values():
    close(FocalLoss(2.0)(Z2, Y2), 0.337976712)
    close(FocalLoss(0.5)(Z2, Y2), 0.570291327)


def test_sigmoid_focal_alpha_is_a_weight():
    weight = torch.where(Y2 == 1, 0.25, 0.75).double()
    rows = FocalLoss(2.0, reduction="none")(Z2, Y2, weight)
    close(rows, ALPHA_ROWS, 12)
    close(FocalLoss(2.0)(Z2, Y2, weight), 0.198401766)
    close(FocalLoss(2.0, reduction="sum")(Z2, Y2, weight) / Y2.sum(), 0.33066961, 8)


def keras_binary(shape):
    logits = f64([-18.6, 0.51, 2.94, -12.8]).reshape(shape)
    target = f64([0, 1, 0, 0]).reshape(shape)
    return logits, target, torch.where(target == 1, 0.25, 0.75).double()


def test_binary_focal_values_of_keras():
    # section 10 [doc]; Keras averages over labels, and its alpha is a weight
    logits, target, alpha = keras_binary(4)
    close(FocalLoss(2.0)(logits, target), 0.691, 3)
    close(FocalLoss(2.0)(logits, target, alpha), 0.51, 2)


@pytest.mark.parametrize("balanced", [False, True])
def test_binary_focal_values_of_keras_with_two_labels(balanced):
    logits, target, alpha = keras_binary((2, 2))
    alpha = alpha if balanced else torch.ones_like(alpha)
    rows = {g: FocalLoss(g, reduction="none")(logits, target, alpha).mean(1) for g in (3, 4, 5)}
    close(rows[3].mean(), 0.482 if balanced else 0.647, 3)
    close((rows[3] * f64([0.8, 0.2])).mean(), 0.097 if balanced else 0.133, 3)
    close(rows[4].sum(), 0.914 if balanced else 1.222, 3)
    expected = [0.0004, 0.8670] if balanced else [0.0017, 1.1561]
    assert rows[5].tolist() == pytest.approx(expected, abs=1e-4)  # cut off there, not rounded


def test_categorical_focal_values_of_keras():
    # section 10 [doc]; probabilities are clipped to 1e-7 there
    proba = f64([[0.05, 0.95, 0], [0.1, 0.8, 0.1]]).clamp(1e-7, 1 - 1e-7)
    loss = FocalLoss(2.0, weight=[0.25] * 3, reduction="none")
    rows = loss(proba.log(), torch.tensor([1, 2]))
    close(rows, [3.2058331e-05, 0.46627346], 7)
    close(rows.mean(), 0.23315276, 7)
    close(
        FocalLoss(2.0, weight=[0.25] * 3)(proba.log(), torch.tensor([1, 2]), f64([0.3, 0.7])),
        0.1632,
        4,
    )


def test_sigmoid_focal_ratio_of_optax():
    # section 10 [doc]: focal / cross-entropy = (1 - p_t)^gamma
    logits, target = f64([[2, 0.1, -2], [0.3, -0.1, 1.2]]), f64([[0, 0, 1], [1, 0, 0]])
    proba = torch.sigmoid(torch.where(target == 1, logits, -logits))
    for gamma in (0.0, 1.0, 2.0):
        ratio = FocalLoss(gamma).per_label(logits, target) / CrossEntropyLoss().per_label(
            logits, target
        )
        assert_close(ratio, (1 - proba) ** gamma)


def test_sigmoid_focal_is_finite_where_optax_tests_it():
    logits = torch.tensor([[1e3, -1e3], [1e3, -1e3]])
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    rows, grad = value_and_gradient(lambda z: FocalLoss(2.0).per_label(z, target), logits)
    assert rows.tolist() == [[0.0, 0.0], [1e3, 1e3]]
    assert grad.tolist() == [[0.0, 0.0], [1.0, -1.0]]


# -- gradients, section 3 ------------------------------------------------------------------------


def test_gradient_of_weighted_cross_entropy():
    logits, target = batch(30)
    loss = CrossEntropyLoss(weight=W3, reduction="none")
    _, grad = value_and_gradient(lambda z: loss(z, target), logits)
    expected = W3[target].unsqueeze(1) * (logits.softmax(1) - one_hot(target, 3))
    assert_close(grad, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_gradient_of_focal(gamma):
    logits, target = batch(30)
    proba, log_proba, hot = logits.softmax(1), logits.log_softmax(1), one_hot(target, 3)
    p_t, log_p_t = (proba * hot).sum(1), (log_proba * hot).sum(1)
    factor = gamma * (1 - p_t) ** (gamma - 1) * p_t * log_p_t - (1 - p_t) ** gamma
    expected = factor.unsqueeze(1) * (hot - proba)
    _, grad = rows_of(FocalLoss(gamma), logits, target)
    assert_close(grad, expected, rtol=0, atol=1e-10)


def test_gradient_numbers_of_focal():
    _, grad = rows_of(FocalLoss(2.0), Z3, Y3)
    close(grad[0], [-0.027284674, 0.022307253, 0.004977421])
    close(grad[3], [0.310905524, -0.621811048, 0.310905524])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradient_of_sigmoid_focal(gamma):
    logits, target = labels(30)
    sign = 2 * target - 1
    p_t = torch.sigmoid(sign * logits)
    expected = sign * (1 - p_t) ** gamma * (gamma * p_t * p_t.log() + p_t - 1)
    grad = sigmoid_gradient(FocalLoss(gamma, reduction="none"), logits, target)
    assert_close(grad, expected, rtol=0, atol=1e-10)


def test_gradient_numbers_of_sigmoid_focal():
    grad = sigmoid_gradient(FocalLoss(2.0, reduction="none"), Z2, Y2)
    close(
        grad,
        [0.004870940195, -0.5261518219, -0.2982867951, 0.9614246875, -0.0003148718465],
        10,
    )


@pytest.mark.parametrize("loss", [CrossEntropyLoss(0.1), FocalLoss(0.5), FocalLoss(2.0)])
def test_gradient_rows_sum_to_zero(loss):
    # a constant added to all logits of a row changes nothing
    _, grad = rows_of(loss, *batch(30))
    assert_close(grad.sum(1), torch.zeros(30).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("dtype", "logit"), [(torch.float32, 20), (torch.float32, 200), (torch.float64, 40)]
)
def test_focal_gradient_where_p_rounds_to_one(dtype, logit, n_classes):
    # (1 - p).pow(0.5) has a NaN gradient there: kornia #918, LDAM-DRW #17, optax #1267
    logits = torch.zeros(1, n_classes, dtype=dtype)
    logits[0, 0] = logit
    assert logits.softmax(1)[0, 0] == 1
    for gamma in (0.0, 0.5, 2.0):
        values, grad = rows_of(FocalLoss(gamma), logits, torch.tensor([0]))
        assert values.isfinite().all()
        assert (values >= 0).all()
        assert grad.isfinite().all()
    label = torch.ones(1, dtype=dtype)
    grad = sigmoid_gradient(FocalLoss(0.5), torch.full((1,), logit, dtype=dtype), label)
    assert grad.isfinite().all()


def test_focal_modulator_keeps_its_precision_where_p_rounds_to_one():
    # 1 - p_t = e^-20 / (1 + e^-20), not 0; both factors are about e^-20
    logits, target = torch.tensor([[20.0, 0.0]]), torch.tensor([0])
    for gamma in (0.5, 1.0):
        value = FocalLoss(gamma)(logits, target).item()
        assert value == pytest.approx(torch.exp(f64(-20 * (1 + gamma))).item(), rel=1e-5)


# -- identities ----------------------------------------------------------------------------------


def test_focal_with_gamma_zero_is_cross_entropy_in_every_precision():
    for dtype in (torch.float64, torch.float32):
        for n_classes in (2, 3):
            logits, target = batch(30, n_classes, dtype)
            focal = rows_of(FocalLoss(0.0), logits, target)
            accuracy = 8 * torch.finfo(dtype).eps
            plain = rows_of(CrossEntropyLoss(), logits, target)
            assert_close(focal, plain, rtol=accuracy, atol=accuracy)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_two_class_focal_is_sigmoid_focal_of_the_difference(gamma):
    logits, target = batch(30, n_classes=2)
    loss = FocalLoss(gamma, reduction="none")
    assert_close(loss(logits, target), loss(logits[:, 1] - logits[:, 0], target.double()))


def test_focal_curve_falls_with_gamma_and_with_p():
    logit = torch.linspace(-4, 4, 50, dtype=torch.float64)
    target = torch.ones(50).long()
    curves = [FocalLoss(g, reduction="none")(two_columns(logit), target) for g in (0, 0.5, 1, 2, 5)]
    for curve in curves:
        assert (curve.diff() < 0).all()
    for low, high in zip(curves, curves[1:], strict=False):
        assert (high < low).all()


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), CrossEntropyLoss(0.1), FocalLoss(2.0)])
def test_integer_weights_are_duplicated_rows_under_both_means(loss):
    logits, target = batch()
    repeats = 1 + torch.arange(len(target)) % 3
    doubled = logits.repeat_interleave(repeats, 0), target.repeat_interleave(repeats)
    for reduction, ratio in (("mean", repeats.sum() / len(target)), ("weighted_mean", 1.0)):
        ready = clone(loss).set_params(reduction=reduction)
        assert_close(ready(logits, target, repeats), ratio * ready(*doubled), rtol=1e-12, atol=0)


def test_label_smoothing_lets_no_row_reach_zero():
    # the smallest value is the entropy of the smoothed target
    smoothed = f64([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    entropy = -(smoothed * smoothed.log()).sum()
    best = CrossEntropyLoss(0.1)(smoothed.log().unsqueeze(0), torch.tensor([0]))
    assert_close(best, entropy)
    for shift in (0.5, -0.5):
        moved = smoothed.log() + f64([shift, 0, 0])
        assert CrossEntropyLoss(0.1)(moved.unsqueeze(0), torch.tensor([0])) > entropy + 1e-3


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [-1, -0.1, float("nan"), float("inf"), "2", None])
def test_bad_gamma(gamma):
    with pytest.raises(ValueError, match="'gamma' parameter of FocalLoss must be a float"):
        FocalLoss(gamma).prepare([3, 2, 1])


@pytest.mark.parametrize("share", [-0.1, 1, 1.0, 1.5, float("nan"), "0.1", None])
def test_bad_label_smoothing(share):
    with pytest.raises(ValueError, match="'label_smoothing' parameter of CrossEntropyLoss must be"):
        CrossEntropyLoss(share).prepare([3, 2, 1])


def test_hyper_parameters_at_the_edge_are_good():
    for loss in (FocalLoss(0), FocalLoss(100.0), CrossEntropyLoss(0), CrossEntropyLoss(0.999)):
        assert loss.prepare([3, 2, 1])(*batch()).isfinite()
