"""Gradients in closed form are those of autograd."""

import pytest
import torch

from imbtorch.losses import BalancedSoftmaxLoss, BaseLoss, CrossEntropyLoss, all_losses

PER_ROW = [cls for cls in all_losses().values() if cls.per_sample is not BaseLoss.per_sample]
SETTINGS = [cls(**params) for cls in PER_ROW for params in cls._test_params]


def by_autograd(loss, logits, target):
    logits = logits.clone().requires_grad_()
    values = loss.per_sample(logits, target)
    values.sum().backward()
    return values.detach(), logits.grad


@pytest.mark.parametrize("cls", PER_ROW, ids=lambda cls: cls.name)
def test_every_loss_per_row_knows_its_gradient(cls):
    # without one it would train correctly, but a good deal more slowly
    assert cls.with_gradient is not BaseLoss.with_gradient


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])  # at 0 all margins are exactly 0
@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("loss", SETTINGS, ids=repr)
def test_closed_form_equals_autograd(loss, n_classes, scale):
    loss = loss.__sklearn_clone__().prepare(torch.arange(1, n_classes + 1))
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(64, n_classes, generator=generator, dtype=torch.float64)
    target = torch.randint(n_classes, (64,), generator=generator)
    known = loss.with_gradient(logits, target)
    assert known is not None
    torch.testing.assert_close(known, by_autograd(loss, logits, target), rtol=1e-12, atol=1e-12)


def test_the_default_losses_know_their_gradient():
    logits, target = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    for loss in (CrossEntropyLoss(), BalancedSoftmaxLoss().prepare([3, 1])):
        assert loss.with_gradient(logits, target) is not None
