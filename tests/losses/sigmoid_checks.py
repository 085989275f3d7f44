"""What the sigmoid form of every loss must satisfy; see ``checks.py``."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from tests.losses import inputs
from tests.losses.inputs import CLASS_WEIGHT, LABEL_COUNTS, labels, value_and_gradient


def prepared(loss, counts=LABEL_COUNTS, **params):
    return inputs.prepared(loss, counts, **params)


def sigmoid_extreme(dtype=torch.float32):
    """Logits 0, +-200 and +-1e4 of two labels, with each 0/1 target."""
    levels = torch.tensor([0, 200, -200, 1e4, -1e4], dtype=dtype)
    logits = levels.repeat(4, 2).T
    target = torch.tensor([[0, 0, 1, 1]], dtype=dtype).expand_as(logits)
    return logits.reshape(-1, 2), target.reshape(-1, 2)


def check_sigmoid_rows(loss):
    """One value per label, in the dtype of the logits, whatever the dtype of the target."""
    for dtype in (torch.float64, torch.float32):
        logits, target = labels(dtype=dtype)
        values = prepared(loss).per_label(logits, target)
        assert (values.shape, values.dtype) == (logits.shape, dtype)
        assert values.isfinite().all()
        assert (values >= 0).all()
        rows = prepared(loss, reduction="none")
        for kind in (torch.int64, torch.bool, torch.float32):
            assert torch.equal(rows(logits, target.to(kind)), values)


def check_sigmoid_gradient(loss):
    """Autograd agrees with finite differences."""
    logits, target = labels(4)
    loss = prepared(loss)
    assert torch.autograd.gradcheck(
        lambda z: loss.per_label(z, target), logits.requires_grad_(), raise_exception=False
    )


def check_sigmoid_extreme_logits(loss):
    """Finite in value and gradient, and as exact in float32 as in float64."""
    loss = prepared(loss, LABEL_COUNTS[:2])
    logits, target = sigmoid_extreme()
    for scale in (1.0, 0.1, 0.01):
        single = value_and_gradient(lambda z: loss.per_label(z, target), scale * logits)
        double = value_and_gradient(
            lambda z: loss.per_label(z, target.double()), (scale * logits).double()
        )
        for actual, expected in zip(single, double, strict=True):
            assert actual.isfinite().all()
            assert_close(actual.double(), expected, rtol=1e-4, atol=1e-5)


def check_sigmoid_permutation(loss):
    """Order of rows and of labels carries no information."""
    logits, target = labels()
    rows = torch.randperm(len(target), generator=torch.Generator().manual_seed(3))
    order = torch.tensor([2, 0, 1])
    values = prepared(loss).per_label(logits, target)
    shuffled = prepared(loss, torch.tensor(LABEL_COUNTS)[order]).per_label(
        logits[rows][:, order], target[rows][:, order]
    )
    assert_close(shuffled, values[rows][:, order])


def check_sigmoid_weights(loss):
    """Label weights and row weights multiply; each mean divides as it says."""
    logits, target = labels()
    row_weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype).unsqueeze(1)
    weight = torch.tensor(CLASS_WEIGHT, dtype=logits.dtype) * row_weight
    values = prepared(loss).per_label(logits, target) * weight
    expected = {
        "none": values,
        "sum": values.sum(),
        "mean": values.mean(),
        "weighted_mean": values.sum() / weight.sum(),
    }
    for reduction, value in expected.items():
        ready = prepared(loss, weight=CLASS_WEIGHT, reduction=reduction)
        assert_close(ready(logits, target, row_weight), value)
        assert_close(ready(logits, target.long(), row_weight), value)


def check_sigmoid_extra_dimensions(loss):
    """``(n, l, d)`` is ``n d`` rows of l labels, and weights belong to the labels."""
    logits, target = labels(8)
    shaped = [values.reshape(2, 4, 3).movedim(-1, 1) for values in (logits, target)]
    for weight in (None, CLASS_WEIGHT):
        ready = prepared(loss, weight=weight, reduction="none")
        flat = ready(logits, target)
        assert_close(ready(*shaped).movedim(1, -1).reshape(-1, 3), flat)


def check_neutral_sigmoid_is_bce(loss):
    """The sigmoid form of a loss that generalises cross-entropy generalises its binary form."""
    for logits, target in (labels(), sigmoid_extreme(torch.float64)):
        neutral = prepared(loss, LABEL_COUNTS[: logits.shape[1]], **loss._neutral_params)
        actual = value_and_gradient(lambda z, y=target, n=neutral: n.per_label(z, y), logits)
        expected = value_and_gradient(
            lambda z, y=target: F.binary_cross_entropy_with_logits(z, y, reduction="none"), logits
        )
        assert_close(actual, expected, rtol=1e-10, atol=1e-12)
