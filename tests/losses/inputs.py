"""Inputs of the tests of losses: the catalogue's fixtures, generic batches, extreme logits."""

import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.base import clone
from torch.testing import assert_close

COUNTS = (100, 20, 5)
CLASS_WEIGHT = (1.0, 2.0, 5.0)
LABEL_COUNTS = ((25, 100), (105, 20), (120, 5))  # rows without and with each label


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
    return clone(loss).set_params(**params).prepare(counts)


def batch(n=12, n_classes=3, dtype=torch.float64):
    """Moderate logits, and a target in which every class occurs."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, n_classes, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.arange(n) % n_classes


def labels(n=8, n_labels=3, dtype=torch.float64):
    """Logits and a 0/1 target of the same shape, for the sigmoid form."""
    logits, _ = batch(n, n_labels, dtype)
    generator = torch.Generator().manual_seed(1)
    return logits, torch.randint(2, (n, n_labels), generator=generator).to(dtype)


def extreme(n_classes, dtype=torch.float32):
    """Every combination of logits 0, +-200 and +-1e4, with every target."""
    levels = torch.tensor([0, 200, -200, 1e4, -1e4], dtype=dtype)
    rows = torch.cartesian_prod(*[levels] * n_classes)
    target = torch.arange(n_classes).repeat(len(rows))
    return rows.repeat_interleave(n_classes, dim=0), target


def value_and_gradient(function, logits):
    """Values of ``function(logits)``, and the gradient of their sum."""
    logits = logits.detach().clone().requires_grad_()
    values = function(logits)
    (grad,) = torch.autograd.grad(values.sum(), logits)
    return values.detach(), grad


def rows_of(loss, logits, target):
    """Values and gradient of ``per_sample``."""
    return value_and_gradient(lambda z: loss.per_sample(z, target), logits)
