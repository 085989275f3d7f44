import numpy as np
import pytest
import torch

from imbtorch.losses import FocalLoss, LogitAdjustedLoss, all_losses
from imbtorch.plotting import LossShapeDisplay
from tests.toy import overlapping, small, table

P = np.array([0.05, 0.5, 0.9])


def test_focal_loss_is_that_of_the_formula():
    display = LossShapeDisplay.from_losses({"f": FocalLoss(2.0)}, proba=P)
    loss, slope = display.lines_["f"]
    np.testing.assert_allclose(loss.get_xdata(), P)
    np.testing.assert_allclose(loss.get_ydata(), -((1 - P) ** 2) * np.log(P))
    by_p = 2 * (1 - P) * np.log(P) - (1 - P) ** 2 / P
    np.testing.assert_allclose(slope.get_ydata(), -by_p * P * (1 - P))


@pytest.mark.parametrize("counts", [(1, 1), (5, 3, 2)])
@pytest.mark.parametrize("loss", ["cross_entropy", torch.nn.CrossEntropyLoss()])
def test_cross_entropy_of_any_number_of_classes(loss, counts):
    (curve,) = LossShapeDisplay.from_losses(loss, class_counts=counts, proba=P).curves
    np.testing.assert_allclose(curve.value, -np.log(P))
    np.testing.assert_allclose(curve.gradient, P - 1)


def test_classes_that_differ_get_a_curve_each():
    display = LossShapeDisplay.from_losses(
        ["cross_entropy", "logit_adjusted"], class_counts=[90, 10], proba=P
    )
    assert list(display.lines_) == [
        "cross_entropy", "logit_adjusted, true class 0", "logit_adjusted, true class 1",
    ]  # fmt: skip
    z = np.log(P / (1 - P))
    for line, shift in zip(list(display.lines_.values())[1:], (np.log(9), -np.log(9)), strict=True):
        np.testing.assert_allclose(line[0].get_ydata(), np.log1p(np.exp(-z - shift)))
    looks = {(a.get_color(), a.get_linestyle(), a.get_marker()) for a, _ in display.lines_.values()}
    assert len(looks) == 3


def test_label_losses_get_one_label():
    (curve,) = LossShapeDisplay.from_losses("bce", proba=P).curves
    np.testing.assert_allclose(curve.value, -np.log(P))
    assert curve.true_class is None


def test_whole_batches_have_one_probability():
    (curve,) = LossShapeDisplay.from_losses("tversky", class_counts=[19, 1], proba=[0.5]).curves
    loss = all_losses()["tversky"]()
    target = torch.tensor([0] * 19 + [1])
    np.testing.assert_allclose(curve.value, loss(torch.zeros(20, 2).double(), target).item())


@pytest.mark.matrix
@pytest.mark.parametrize("name", all_losses())
def test_every_loss_can_be_drawn(name):
    display = LossShapeDisplay.from_losses(name, class_counts=[95, 5], proba=[0.2, 0.8])
    for curve in display.curves:
        assert np.isfinite(curve.value).all()
        assert np.isfinite(curve.gradient).all()
        assert curve.value[0] >= curve.value[1] - 1e-9  # better predictions cost no more


def test_loss_of_an_estimator_is_the_prepared_one():
    X, y = overlapping(200, 0.1)
    clf = small().fit(X, np.array(["no", "yes"])[y])
    display = LossShapeDisplay.from_estimator(clf, proba=P)
    assert list(display.lines_) == [
        "logit_adjusted, true class no", "logit_adjusted, true class yes", "cross-entropy",
    ]  # fmt: skip
    expected = LossShapeDisplay.from_losses(LogitAdjustedLoss(), class_counts=[9, 1], proba=P)
    for ours, theirs in zip(display.curves, expected.curves, strict=False):
        np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-5)


def test_estimator_keeps_its_loss():
    X, y = table(n_classes=3)
    clf = small().fit(X, y)
    before = clf.predict_proba(X)
    LossShapeDisplay.from_estimator(clf)
    assert clf.loss_.reduction == "mean"
    np.testing.assert_array_equal(clf.predict_proba(X), before)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"losses": "vocal"}, ValueError, "Unknown loss 'vocal'"),
        ({"losses": []}, ValueError, "losses is empty"),
        ({"losses": 3}, TypeError, "loss must be a name"),
        ({"losses": "focal", "proba": [0.0, 0.5]}, ValueError, "proba must be"),
        ({"losses": "focal", "class_counts": [3]}, ValueError, r"class_counts has shape \(1,\)"),
        ({"losses": FocalLoss(-1)}, ValueError, "gamma"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        LossShapeDisplay.from_losses(**arguments)


def test_labels_are_drawn_by_name():
    X, y = overlapping(100, 0.3)
    clf = small(loss="bce").fit(X, np.column_stack([y, 1 - y]))
    with pytest.raises(ValueError, match="from_losses"):
        LossShapeDisplay.from_estimator(clf)
