"""Feature distribution smoothing: the formula, when it acts, and what it leaves alone."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from imbtorch.density import kernel_window
from imbtorch.feature_smoothing import FeatureSmoothing


def layer(n_features=2, n_bins=6, **params):
    return FeatureSmoothing(n_features, n_bins, **params).set_range(0, n_bins).double()


def rows(n_bins=6, per_bin=5, n_features=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(n_bins, dtype=torch.float64).repeat_interleave(per_bin) + 0.5
    noise = torch.randn(len(target), n_features, generator=generator, dtype=torch.float64)
    return (1 + target).unsqueeze(1) * noise + target.unsqueeze(1), target


def epoch(module, features, target, batch_size=7):
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(1))
    result = torch.empty_like(features)
    for part in order.split(batch_size):
        module.observe(target[part])
        result[part] = module(features[part])
    module.end_epoch()
    return result


def statistics(features, target, n_bins=6):
    groups = [features[target.floor() == b] for b in range(n_bins)]
    return torch.stack([g.mean(0) for g in groups]), torch.stack([g.var(0) for g in groups])


def smooth(values):
    window, n = kernel_window(), len(values)
    result = torch.zeros_like(values)
    for b in range(n):
        near = [j for j in range(b - 2, b + 3) if 0 <= j < n]
        w = torch.tensor([window[j - b + 2] for j in near])
        result[b] = (w.unsqueeze(1) * values[near]).sum(0) / w.sum()
    return result


def calibrated(features, target, mean, var):
    b = target.floor().long()
    ratio = (smooth(var) / var).clamp(0.1, 10)
    return (features - mean[b]) * ratio.sqrt()[b] + smooth(mean)[b]


def test_statistics_do_not_depend_on_the_batches():
    features, target = rows()
    for size in (1, 7, 30):
        module = layer()
        epoch(module, features, target, size)
        assert_close((module.running_mean, module.running_var), statistics(features, target))


def test_statistics_of_features_far_from_zero():
    features, target = rows()
    module = layer().float()
    epoch(module, (features + 1000).float(), target.float())
    expected = statistics(features, target)[1].float()
    assert_close(module.running_var, expected, rtol=1e-3, atol=1e-3)


def test_first_epoch_is_the_identity_and_the_second_follows_the_formula():
    features, target = rows()
    module = layer()
    assert torch.equal(epoch(module, features, target), features)
    expected = calibrated(features, target, *statistics(features, target))
    assert_close(epoch(module, features, target), expected)


def test_statistics_are_those_of_the_epoch_just_finished():
    """The authors' smoothed and unsmoothed statistics are one epoch apart."""
    module, momentum = layer(momentum=0.75), 0.75
    first, target = rows()
    second, _ = rows(seed=1)
    epoch(module, first, target)
    epoch(module, second, target)
    pairs = zip(statistics(first, target), statistics(second, target), strict=True)
    mean, var = (momentum * old + (1 - momentum) * new for old, new in pairs)
    assert_close((module.running_mean, module.running_var), (mean, var))
    assert_close(module.centre, mean)
    third, _ = rows(seed=2)
    before = [buffer.clone() for buffer in (module.centre, module.scale, module.smoothed_mean)]
    module.observe(target)
    assert_close(module(third), calibrated(third, target, mean, var))
    after = (module.centre, module.scale, module.smoothed_mean)
    assert all(map(torch.equal, before, after))  # they do not move within an epoch


def test_equal_statistics_are_the_identity():
    features = rows(n_bins=1)[0].repeat(6, 1)
    target = rows()[1]
    module = layer()
    for _ in range(3):
        assert_close(epoch(module, features, target), features)


def test_start_epoch():
    features, target = rows()
    module = layer(start_epoch=3)
    for _ in range(3):
        assert torch.equal(epoch(module, features, target), features)
    assert not torch.equal(epoch(module, features, target), features)


def test_nothing_is_edited_in_place_and_gradients_flow():
    features, target = rows()
    module = layer()
    epoch(module, features, target)
    leaf = features.clone().requires_grad_()
    hidden = leaf * 1
    module.observe(target)
    moved = module(hidden)
    moved.sum().backward()
    assert torch.equal(hidden, features)
    assert moved.data_ptr() != hidden.data_ptr()
    assert_close(leaf.grad, module.scale[target.floor().long()])


def test_evaluation_is_the_identity():
    features, target = rows()
    module = layer()
    epoch(module, features, target)
    state = copy.deepcopy(module.state_dict())
    module.eval()
    assert module(features) is features
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())


def test_bins_without_rows_take_no_part():
    features, target = rows()
    kept = (target.floor() != 2) & (target.floor() != 3)
    module = layer()
    epoch(module, features[kept], target[kept])
    mean, _ = statistics(features, target)
    window = torch.tensor(kernel_window())
    # of the last bin's neighbours 3 to 5, only 4 and 5 have been seen
    expected = (window[1] * mean[4] + mean[5]) / (1 + window[1])
    assert_close(module.smoothed_mean[5], expected)
    assert_close(module.scale[[2, 3]], torch.ones(2, 2, dtype=torch.float64))
    module.observe(target)
    assert torch.equal(module(features)[~kept], features[~kept])


def test_features_that_do_not_vary_are_left_alone():
    features, target = rows()
    features[:, 1] = 3
    single = torch.cat([features, features[:1] + 2]), torch.cat([target, target[-1:] + 1])
    module = layer(n_bins=7)
    for _ in range(3):
        result = epoch(module, *single)
    assert (result[:-1, 1] == 3).all()
    assert torch.equal(result[-1], single[0][-1])  # one row has no variance
    assert result.isfinite().all()


def test_targets_beyond_the_range_belong_to_the_outer_bins():
    module = layer(n_features=1, n_bins=3)
    module.observe(torch.tensor([-5.0, 0.0, 2.9, 3.0, 9.0]).unsqueeze(1))
    assert module._bins.tolist() == [0, 0, 2, 2, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    features, target = (values.to(dtype) for values in rows())
    module = layer().float()
    epoch(module, features, target)
    assert epoch(module, features, target).dtype == dtype


def test_state_dict_pickle_and_copy():
    features, target = rows()
    module = layer()
    epoch(module, features, target)
    restored = FeatureSmoothing(2, 6).double()
    restored.load_state_dict(module.state_dict())
    assert not list(module.parameters())
    expected = epoch(copy.deepcopy(module), features, target)
    for other in (restored, pickle.loads(pickle.dumps(module))):
        assert torch.equal(epoch(other, features, target), expected)
        assert torch.equal(other.running_var, epoch_state(module, features, target).running_var)


def epoch_state(module, features, target):
    module = copy.deepcopy(module)
    epoch(module, features, target)
    return module


def test_prepare_forgets():
    features, target = rows()
    module = layer()
    epoch(module, features, target)
    module.prepare(np.array([0.0, 6.0]))
    assert torch.equal(epoch(module, features, target), features)
    assert_close(module.running_mean, statistics(features, target)[0])


def test_in_a_net():
    features, target = rows(n_features=4)
    module = FeatureSmoothing(8, 6).prepare(target)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), module, torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    inputs, expected, path = features.float(), target.float().unsqueeze(1), []
    for _ in range(100):
        module.observe(expected)
        loss = (net(inputs) - expected).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        module.end_epoch()
        path.append(loss.item())
    assert path[-1] < 0.3 * path[0]


def test_bad_input():
    features, target = rows()
    with pytest.raises(ValueError, match="range of the target"):
        FeatureSmoothing(2).observe(target)
    module = layer()
    with pytest.raises(ValueError, match="observe"):
        module(features)
    module.observe(target[:3])
    with pytest.raises(ValueError, match="observed 3 targets"):
        module(features)
    with pytest.raises(ValueError, match="one target"):
        module.observe(torch.zeros(3, 2))
    for wrong in ([], [1.0, 1.0], [0.0, np.nan]):
        with pytest.raises(ValueError, match="range|target"):
            module.prepare(wrong)
    for params in ({"momentum": 1}, {"n_bins": 0}, {"kernel": "typo"}, {"kernel_size": 2}):
        with pytest.raises(ValueError, match="|".join(params)):
            FeatureSmoothing(2, **params)
