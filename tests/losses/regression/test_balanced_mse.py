"""Balanced MSE: what it is for, its noise, and the distribution that it learns."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from imbtorch.losses.regression import BalancedMSELoss, MSELoss
from imbtorch.testing._regression_checks import batch

TRUE_NOISE, SPREAD, ROWS = 1.0, 0.5, 20_000


def narrow_labels(seed):
    """The authors' 1-D benchmark: labels from N(5, 0.5), noise 1; the line has slope 1."""
    rng = np.random.default_rng(seed)
    y = rng.normal(5, SPREAD, ROWS)
    x = y + rng.normal(0, TRUE_NOISE, ROWS)
    return torch.tensor(x - 5), torch.tensor((y - y.mean()) / y.std()), y.std()


def slope(loss, seed):
    """Slope of a line fitted by batches of 400 rows, all of them in each step."""
    x, y, unit = narrow_labels(seed)
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    loss = loss.double().prepare(y.numpy())
    n = 400 if getattr(loss, "kind", "") == "bmc" else ROWS
    parts = list(zip(x.split(n), y.split(n), strict=True))
    learned = [parameter for parameter in loss.parameters() if parameter.requires_grad]
    # constant factors in the gradient rule out a line search, so that learned noise needs Adam
    if learned:
        optimizer = torch.optim.Adam([line, *learned], lr=0.1)
        steps = 150
    else:
        optimizer = torch.optim.LBFGS([line], max_iter=30, line_search_fn="strong_wolfe")
        steps = 1

    def closure():
        optimizer.zero_grad()
        total = sum(loss(line[0] * a + line[1], b) for a, b in parts) / len(parts)
        total.backward()
        return total

    for _ in range(steps):
        optimizer.step(closure)
    return line[0].item() * unit


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_slope_of_the_benchmark(seed):
    expected = SPREAD**2 / (SPREAD**2 + TRUE_NOISE**2)
    assert slope(MSELoss(), seed) == pytest.approx(expected, rel=0.05)  # 0.2: it collapses
    for kind in ("bmc", "gai", "bni"):
        loss = BalancedMSELoss(kind, noise=TRUE_NOISE / SPREAD, learn_noise=False)
        assert slope(loss, seed) == pytest.approx(1, rel=0.05), kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gai", "bni"])
def test_noise_is_learned(kind):
    loss = BalancedMSELoss(kind, noise=1.0, n_bins=30)
    assert slope(loss, 0) == pytest.approx(1, rel=0.15)
    assert loss.sigma.item() == pytest.approx(TRUE_NOISE / SPREAD, rel=0.15)


def test_noise_is_a_parameter_where_it_is_learned():
    learned = BalancedMSELoss().prepare([0.0, 1.0])
    fixed = BalancedMSELoss(learn_noise=False).prepare([0.0, 1.0])
    for loss in (learned, fixed):
        prediction = torch.tensor([0.0, 0.5], requires_grad=True)
        loss(prediction, torch.tensor([0.0, 1.0])).backward()
    assert learned.log_scale.grad is not None
    assert fixed.log_scale.grad is None
    assert [p.requires_grad for p in fixed.parameters()] == [False]
    assert_close(learned.set_params(noise=2.0).sigma.detach(), torch.tensor(2.0))


def test_factor_of_the_noise_is_constant_in_the_gradient():
    prediction, target = batch()
    loss = BalancedMSELoss(noise=0.7).double()
    loss(prediction, target).backward()

    def unscaled(log_scale):
        variance = (0.7 * log_scale.exp()) ** 2
        logits = -((prediction - target.T) ** 2) / (2 * variance)
        return torch.nn.functional.cross_entropy(logits, torch.arange(12))

    expected = torch.func.grad(unscaled)(torch.zeros((), dtype=torch.float64)) * 2 * 0.7**2
    assert_close(loss.log_scale.grad, expected)


def test_bmc_of_several_targets_is_cross_entropy_of_distances():
    prediction, target = batch(k=3)
    logits = -torch.cdist(prediction, target).square() / (2 * 0.5**2)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(12)) * 2 * 0.5**2 / 3
    assert_close(BalancedMSELoss().double()(prediction, target), expected)


def test_gai_of_several_targets_is_a_mixture_of_gaussians():
    prediction, target = batch(k=2)
    means = torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    covariances = torch.tensor([[[1, 0.5], [0.5, 1]], [[0.3, -0.1], [-0.1, 0.2]]]).double()
    loss = BalancedMSELoss("gai", noise=0.8, reduction="none").double()
    loss.set_distribution([0.25, 0.75], means, covariances)

    def log_normal(values, mean, covariance):
        return torch.distributions.MultivariateNormal(mean, covariance).log_prob(values)

    noise = 0.64 * torch.eye(2, dtype=torch.float64)
    terms = [
        np.log(w) + log_normal(prediction, m, c + noise)
        for w, m, c in zip([0.25, 0.75], means, covariances, strict=True)
    ]
    nll = torch.logsumexp(torch.stack(terms), 0) - log_normal(target, prediction, noise)
    assert_close(loss(prediction, target), nll * 2 * 0.64 / 2, rtol=1e-6, atol=1e-6)


def test_gai_learns_the_mixture():
    rng = np.random.default_rng(0)
    target = np.concatenate([rng.normal(0, 0.5, 3000), rng.normal(5, 1, 1000)])
    for weight, share in ((None, 0.75), (np.r_[np.ones(3000), np.full(1000, 3.0)], 0.5)):
        loss = BalancedMSELoss("gai", n_components=2).prepare(target, weight)
        order = loss.means[:, 0].argsort()
        assert_close(loss.means[order, 0], torch.tensor([0.0, 5.0]), rtol=0, atol=0.1)
        assert_close(loss.variances[order, 0], torch.tensor([0.25, 1.0]), rtol=0.15, atol=0)
        assert loss.log_frequency[order].exp()[0].item() == pytest.approx(share, abs=0.02)
    once = BalancedMSELoss("gai").prepare(target)
    assert torch.equal(once.means, BalancedMSELoss("gai").prepare(target).means)


def test_bni_learns_the_histogram():
    loss = BalancedMSELoss("bni", n_bins=4).prepare([0.0, 0.1, 3.9, 4.0], [1, 1, 1, 5])
    assert loss.means[:, 0].tolist() == [0.5, 3.5]  # empty bins have no part
    assert_close(loss.log_frequency.exp(), torch.tensor([0.25, 0.75]))
    with pytest.raises(ValueError, match="one target"):
        BalancedMSELoss("bni").prepare(np.zeros((3, 2)))


@pytest.mark.parametrize("kind", ["gai", "bni"])
@pytest.mark.parametrize("target", [[1.0], [2.0, 2.0, 2.0], [0.0, 1.0]])
def test_few_values(kind, target):
    loss = BalancedMSELoss(kind).prepare(target)
    values = torch.tensor(target)
    assert loss(values + 1, values).isfinite()


def test_distribution_must_be_known_and_fit():
    with pytest.raises(ValueError, match="prepare"):
        BalancedMSELoss("gai")(*batch())
    loss = BalancedMSELoss("gai").prepare([0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="outputs"):
        loss(*batch(k=2))
    for wrong in (([1.0], [0.0, 1.0]), ([1.0, 0.0], [0.0, 1.0]), ([1.0], [0.0], [[1.0, 2.0]])):
        with pytest.raises(ValueError, match="frequencies"):
            loss.set_distribution(*wrong)


def test_rows_without_weight_do_not_appear_in_any_integral():
    prediction, target = batch()
    weight = torch.ones(12, dtype=torch.float64)
    weight[5:] = 0
    loss = BalancedMSELoss(reduction="sum").double()
    far = target.clone()
    far[5:] = 1e3
    assert_close(loss(prediction, far, weight), loss(prediction[:5], target[:5]))
    nothing = loss(prediction.requires_grad_(), target, 0 * weight)
    nothing.backward()
    assert nothing == 0
    assert (prediction.grad == 0).all()
