"""A new loss is one class: registered, checked, and trained with, by its name."""

from numbers import Real

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from imbtorch import ImbalancedNetClassifier
from imbtorch._common.sklearn_private import Interval
from imbtorch.losses import BaseLoss, all_losses, as_loss, get_loss
from imbtorch.testing import check_loss, loss_checks, temporary_names
from tests.losses.inputs import batch

NAME = "sharpened"


def write_a_loss():
    """The one class that a user writes."""

    class SharpenedLoss(BaseLoss):
        r"""Cross-entropy of logits times a factor.

        .. math:: \ell = -\log \mathrm{softmax}(s z)_t

        Parameters
        ----------
        sharpness : float > 0, default=2.0
            The factor.
        weight : array-like of shape (n_classes,) or None, default=None
            One factor per class, used as given.
        ignore_index : int, default=-100
            Rows with this target are ignored.
        reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
            See :class:`BaseLoss`.

        References
        ----------
        .. [1] Guo et al. (2017). "On Calibration of Modern Neural Networks". :arxiv:`1706.04599`

        Examples
        --------
        >>> SharpenedLoss()
        SharpenedLoss()
        """

        name = NAME
        _parameter_constraints = {"sharpness": [Interval(Real, 0, None, closed="neither")]}
        _neutral_params = {"sharpness": 1.0}
        _test_params = ({}, {"sharpness": 0.5})

        def __init__(self, sharpness=2.0, *, weight=None, ignore_index=-100, reduction="mean"):
            super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
            self.sharpness = sharpness

        def per_sample(self, logits, target):
            return F.cross_entropy(self.sharpness * logits, target, reduction="none")

        def log_posterior(self, logits):
            return torch.log_softmax(self.sharpness * logits, dim=1)

        def initial_bias(self, log_prior):
            return log_prior / self.sharpness

    return SharpenedLoss


@pytest.fixture
def sharpened(monkeypatch):
    with temporary_names():
        cls = write_a_loss()
        cls.__qualname__ = cls.__name__  # where pickle looks for it
        monkeypatch.setitem(globals(), cls.__name__, cls)
        yield cls


def test_a_loss_is_one_class(sharpened):
    assert all_losses()[NAME] is sharpened
    assert type(get_loss(NAME)) is type(as_loss(NAME)) is sharpened
    with pytest.raises(ValueError, match=f"'{NAME}'"):
        get_loss("no such loss")  # it is among those that the message lists

    names = set()
    for params in sharpened._test_params:
        check_loss(sharpened(**params))
        names.update(check.__name__ for check in loss_checks(sharpened(**params)))
    assert {
        "check_gradient",
        "check_neutral_is_cross_entropy",
        "check_pickle",
        "check_docstring",
    } <= names

    generator = np.random.default_rng(0)
    y = (generator.random(300) < 0.2).astype(int)
    X = generator.normal(size=(300, 2)) + 2 * y[:, None]
    for loss in (NAME, sharpened(), sharpened):
        net = ImbalancedNetClassifier(loss=loss, random_state=0, max_epochs=5).fit(X, y)
        proba = net.predict_proba(X)[:, 1]
        assert proba[y == 1].mean() > 0.2 + proba[y == 0].mean()


def test_the_toy_is_gone_again():
    assert NAME not in all_losses()
    with pytest.raises(ValueError, match="Unknown loss"):
        get_loss(NAME)
    assert batch()[0].isfinite().all()
