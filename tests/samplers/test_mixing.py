"""Mixup and Remix on batches."""

import numpy as np
import pytest
import torch

from imbtorch.samplers import Mixup, Remix

COUNTS = torch.tensor([100, 20, 5])
CODES = np.repeat(np.arange(3), COUNTS.numpy())


def batch(n=20_000, seed=0):
    codes = torch.from_numpy(np.random.default_rng(seed).choice(CODES, n))
    return torch.nn.functional.one_hot(torch.arange(n) % 7, 7).double(), codes


@pytest.mark.parametrize("mixer", [Mixup(), Remix(), Mixup(alpha=1), Remix(alpha=3)], ids=repr)
def test_features_are_mixed_row_by_row(mixer, global_rng_untouched):
    x, codes = batch()
    mixed = mixer.mix(x, codes, COUNTS, np.random.default_rng(1))
    again = mixer.mix(x, codes, COUNTS, np.random.default_rng(1))
    for ours, theirs in zip(mixed, again, strict=True):
        assert torch.equal(ours, theirs)
    torch.testing.assert_close(mixed.x.sum(1), torch.ones(len(x), dtype=x.dtype))
    assert torch.equal(mixed.partner_codes, codes[mixed.partner])
    assert torch.equal(mixed.partner.sort().values, torch.arange(len(x)))
    share = torch.from_numpy(np.random.default_rng(1).beta(mixer.alpha, mixer.alpha, len(x)))
    share = share[:, None]
    torch.testing.assert_close(mixed.x, share * x + (1 - share) * x[mixed.partner])
    if isinstance(mixer, Mixup):
        np.testing.assert_array_equal(mixed.own_share, share[:, 0])


def test_remix_rule():
    x, codes = batch()
    mixed = Remix().mix(x, codes, COUNTS, np.random.default_rng(1))
    share = np.random.default_rng(1).beta(0.2, 0.2, len(x))
    ratio = COUNTS[codes].numpy() / COUNTS[mixed.partner_codes].numpy()
    expected = np.where(
        (ratio >= 3) & (share < 0.5),
        0,
        np.where((ratio <= 1 / 3) & (1 - share < 0.5), 1, share),
    )
    np.testing.assert_array_equal(mixed.own_share, expected)


def test_remix_with_tau_of_zero_is_mixup():
    x, codes = batch(100)
    for ours, theirs in zip(
        Remix(tau=0).mix(x, codes, COUNTS, np.random.default_rng(1)),
        Mixup().mix(x, codes, COUNTS, np.random.default_rng(1)),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("mixer", [Mixup(), Remix(), Remix(2, 4.5, 0.3), Remix(tau=1)], ids=repr)
def test_expected_counts_are_those_of_the_labels(mixer):
    x, codes = batch(400_000)
    mixed = mixer.mix(x, codes, COUNTS, np.random.default_rng(1))
    own = mixed.own_share.numpy()
    labels = np.bincount(codes, own, 3) + np.bincount(mixed.partner_codes, 1 - own, 3)
    expected = mixer.plan(CODES, 3, batch_size=32, seed=0).expected_counts()
    assert expected.sum() == pytest.approx(len(CODES))
    np.testing.assert_allclose(labels / len(codes), expected / len(CODES), atol=3e-3)


@pytest.mark.parametrize("mixer", [Mixup(), Remix()], ids=repr)
def test_plan_is_plain_shuffling(mixer):
    for n in (125, 200_000):  # large ones are shuffled in buckets
        codes = np.arange(n) % 3
        plan = mixer.plan(codes, 3, batch_size=32, seed=0)
        order = plan.order(0, 1)
        np.testing.assert_array_equal(np.sort(order), np.arange(n))
        assert abs(np.corrcoef(order, np.arange(n))[0, 1]) < 4 / np.sqrt(n)


def test_images_half_precision_and_labels():
    x = torch.rand(6, 3, 4, 4, dtype=torch.float16)
    labels = torch.randint(0, 2, (6, 5))
    mixed = Mixup().mix(x, labels, COUNTS, np.random.default_rng(0))
    assert mixed.x.shape == x.shape
    assert mixed.x.dtype == mixed.own_share.dtype == x.dtype
    assert mixed.partner_codes.shape == labels.shape
