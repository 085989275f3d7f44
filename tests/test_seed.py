"""Private random streams."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from imbtorch._common.seed import draw_seeds, private_torch_rng
from tests.toy import parameters_of, small, table

CPU = torch.device("cpu")


def torch_state():
    return torch.get_rng_state().numpy().tobytes()


def test_block_draws_from_its_own_seed():
    def draw(seed):
        with private_torch_rng(seed, CPU):
            return torch.rand(3)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_block_draws_what_manual_seed_would():
    with private_torch_rng(5, CPU):
        drawn = torch.rand(3)
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(drawn, torch.rand(3, generator=generator))


def test_state_is_put_back():
    before = torch_state()
    with private_torch_rng(1, CPU):
        torch.rand(3)
    assert torch_state() == before


def raise_inside():
    with private_torch_rng(1, CPU):
        torch.rand(3)
        raise RuntimeError("inside")


def test_state_is_put_back_after_an_error():
    before = torch_state()
    with pytest.raises(RuntimeError, match="inside"):
        raise_inside()
    assert torch_state() == before


def test_blocks_nest():
    with private_torch_rng(1, CPU):
        first = torch.rand(1)
        with private_torch_rng(2, CPU):
            torch.rand(10)
        second = torch.rand(1)
    with private_torch_rng(1, CPU):
        assert torch.equal(torch.rand(2), torch.cat([first, second]))


def test_blocks_in_two_threads_do_not_mix():
    def draw(seed, out):
        with private_torch_rng(seed, CPU):
            out[seed] = torch.cat([torch.rand(1) for _ in range(2000)])

    together, alone = {}, {}
    threads = [threading.Thread(target=draw, args=(seed, together)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        draw(seed, alone)
        assert torch.equal(together[seed], alone[seed])


def test_lock_is_free_after_an_error():
    with pytest.raises(RuntimeError, match="inside"):
        raise_inside()
    drawn = []

    def draw():
        with private_torch_rng(1, CPU):
            drawn.append(torch.rand(1))

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    thread.join(timeout=200)
    assert drawn


def test_random_numbers_of_other_threads_change_no_fit_that_draws_none():
    # rows are ordered, held out and sampled by private generators; only torch's own layers, such as
    # dropout, use the generators that all threads share
    X, y = table(200)
    module = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2))
    clf = small(module, sampler="class_balanced", loss="cross_entropy", early_stopping=True)
    alone = parameters_of(clf.fit(X, y))
    done = threading.Event()

    def draw():
        while not done.is_set():
            torch.rand(1)

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        np.testing.assert_array_equal(parameters_of(clf.fit(X, y)), alone)
    finally:
        done.set()
        thread.join(timeout=200)


def test_seeds_are_those_of_the_random_state():
    assert draw_seeds(3, 4) == draw_seeds(3, 4)
    assert draw_seeds(3, 4) != draw_seeds(4, 4)
    assert len(set(draw_seeds(3, 100))) == 100


@pytest.mark.parametrize("random_state", [0, np.int64(7), None, np.random.RandomState(0)])
def test_seeds_are_plain_integers_that_fit_in_31_bits(random_state):
    seeds = draw_seeds(random_state, 50)
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)


def test_random_state_object_moves_on():
    rng = np.random.RandomState(0)
    assert draw_seeds(rng, 3) != draw_seeds(rng, 3)
    assert draw_seeds(np.random.RandomState(0), 3) == draw_seeds(np.random.RandomState(0), 3)


def test_none_draws_new_seeds_and_leaves_the_global_state(global_rng_untouched):
    assert draw_seeds(None, 3) != draw_seeds(None, 3)


@pytest.mark.gpu
def test_state_of_the_device_is_put_back():
    device = torch.device("cuda")
    before = torch.cuda.get_rng_state(device)
    with private_torch_rng(1, device):
        first = torch.rand(3, device=device)
    assert torch.equal(torch.cuda.get_rng_state(device), before)
    with private_torch_rng(1, device):
        assert torch.equal(torch.rand(3, device=device), first)
