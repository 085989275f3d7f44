"""Inputs of the tests of losses: the catalogue's fixtures, and those of the public checks."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from imbtorch.testing._loss_inputs import (
    CLASS_WEIGHT,
    COUNTS,
    LABEL_COUNTS,
    batch,
    extreme,
    labels,
    rows_of,
    value_and_gradient,
)
from imbtorch.testing._loss_inputs import prepared as prepared_with

__all__ = [
    "CLASS_WEIGHT",
    "COUNTS",
    "LABEL_COUNTS",
    "batch",
    "extreme",
    "labels",
    "prepared",
    "rows_of",
    "value_and_gradient",
]


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


# F3, multiclass: logits, classes, class counts and "balanced" weights N / (C n)
Z3 = f64([[2, 0.5, -1], [0.1, -0.3, 0.8], [-1.2, 1.5, 0.3], [0, 0, 0]])
Y3 = torch.tensor([0, 2, 1, 1])
N3 = [100, 20, 5]
W3 = 125 / (3 * f64(N3))

# F2, binary, one logit per row
Z2 = f64([-2, -0.5, 0, 1.5, 3])
Y2 = f64([0, 1, 1, 0, 1])

# FM, multi-label
ZM = f64([[1, -2, 0.5], [-0.5, 0.3, -1.5]])
YM = f64([[1, 0, 0], [0, 1, 1]])


def close(actual, expected, digits=9):
    """Compare with a number that was printed with so many digits after the point."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert_close(actual.double(), expected, rtol=1e-8, atol=0.5001 * 10.0**-digits)


def one_hot(target, n_classes):
    """Class indices as labels, in double precision."""
    return F.one_hot(target, n_classes).double()


def two_columns(logit):
    """Logits ``[0, z]`` of the two-class model that a single logit stands for."""
    return torch.stack([torch.zeros_like(logit), logit], dim=1)


def prepared(loss, counts=COUNTS, **params):
    """Copy of the loss with some parameters changed, prepared as an estimator would."""
    return prepared_with(loss, counts, params=params)
