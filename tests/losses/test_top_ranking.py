"""Recall at the top and average precision: published numbers, limits, the queue of Smooth AP.

Section numbers are those of the catalogue of losses.
"""

import copy
import pickle

import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import average_precision_score
from torch.testing import assert_close

from imbtorch.losses import RecallAtTopLoss, SmoothAPLoss, _top_ranking
from tests.losses.inputs import batch, close, f64, labels, value_and_gradient

SR, YR = f64([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])  # FR: scores, labels


def column(n=60, seed=5):
    """Scores and a rare binary target without ties."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(n, generator=generator, dtype=torch.float64)
    return scores, torch.randint(4, (n,), generator=generator) == 0


# -- smooth AP, section 2.4 ----------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "value"), [(0.01, 0.165921354), (0.1, 0.139102188)])
def test_smooth_ap_values(temperature, value):
    close(SmoothAPLoss(temperature)(SR, YR), value)


@pytest.mark.parametrize("seed", range(5))
def test_smooth_ap_tends_to_the_average_precision_of_sklearn(seed):
    scores, target = column(seed=seed)
    expected = 1 - average_precision_score(target.numpy(), scores.numpy())
    value = SmoothAPLoss(1e-6, 0)(scores, target.long())
    assert value.item() == pytest.approx(expected, abs=1e-9)


def test_smooth_ap_of_labels_tends_to_the_macro_average_of_sklearn():
    logits, target = labels(40)
    expected = 1 - average_precision_score(target.numpy(), logits.numpy(), average="macro")
    value = SmoothAPLoss(1e-6, 0)(logits, target)
    assert value.item() == pytest.approx(expected, abs=1e-9)


def test_weighted_smooth_ap_tends_to_the_weighted_average_precision():
    scores, target = column()
    weight = torch.linspace(0.5, 2, len(scores), dtype=torch.float64)
    expected = average_precision_score(target.numpy(), scores.numpy(), sample_weight=weight)
    value = SmoothAPLoss(1e-6, 0)(scores, target.long(), weight)
    assert value.item() == pytest.approx(1 - expected, abs=1e-9)


# -- the queue -----------------------------------------------------------------------------------


def batches(n_batches, n=10):
    scores, target = column(n_batches * n)
    target = target.long()
    target[::n] = 1  # a positive in each
    return list(zip(scores.split(n), target.split(n), strict=True))


def centred(scores):
    return scores - scores.mean()


def formula(scores, target, temperature=0.1):
    """Smooth AP of a batch, written once more."""
    above = torch.sigmoid((scores.unsqueeze(0) - scores.unsqueeze(1)) / temperature)
    above.fill_diagonal_(1)
    precision = (above * target).sum(1) / above.sum(1)
    return 1 - precision[target == 1].mean()


def test_queue_lengthens_the_batch():
    # by scores relative to the mean of the batch that they came with
    loss = SmoothAPLoss(queue_size=100)
    all_scores, all_targets = torch.zeros(0).double(), torch.zeros(0).long()
    for scores, target in batches(4):
        all_scores = torch.cat([centred(scores), all_scores])
        all_targets = torch.cat([target, all_targets])
        assert_close(loss(scores, target), formula(all_scores, all_targets))


def test_raising_all_scores_of_a_batch_wins_nothing():
    # against scores of earlier steps a net could, by raising every score a little each step
    (first, second) = batches(2)
    values = []
    for shift in (0.0, 5.0):
        loss = SmoothAPLoss()
        loss(*first)
        scores = second[0] + shift
        values.append(value_and_gradient(lambda z, f=loss: f(z, second[1]), scores))
    assert_close(values[0], values[1])
    assert_close(values[0][1].sum(), f64(0.0), rtol=0, atol=1e-12)


def test_weights_are_remembered():
    # a negative of weight 2 remembered is two of them remembered; positives tie with themselves
    (first, y_first), (second, y_second) = batches(2)
    weight = 1 + (torch.arange(10) % 2) * (1 - y_first)
    weighted, repeated = SmoothAPLoss(), SmoothAPLoss()
    weighted(first, y_first, weight)
    repeated(first.repeat_interleave(weight), y_first.repeat_interleave(weight))
    assert_close(weighted(second, y_second), repeated(second, y_second))


def test_queue_fills_in_training_mode_only():
    (first, second) = batches(2)
    loss = SmoothAPLoss().eval()
    loss(*first)
    assert loss.queue is None
    loss.train()(*first)
    filled = loss.queue.clone()
    loss.eval()
    with_memory = loss(*second)  # evaluation still ranks against what training remembers
    assert torch.equal(loss.queue, filled)
    assert with_memory != SmoothAPLoss()(*second)


def test_queue_passes_no_gradient():
    (first, second) = batches(2)
    loss = SmoothAPLoss()
    early = first[0].clone().requires_grad_()
    loss(early, first[1])
    assert not loss.queue.requires_grad
    value = loss(second[0].clone().requires_grad_(), second[1])
    value.backward()
    assert early.grad is None


def test_queue_keeps_the_latest_rows_up_to_its_size():
    loss = SmoothAPLoss(queue_size=25)
    given = batches(5)
    for scores, target in given:
        loss(scores, target)
        assert loss.queue.shape[1] <= 25
    latest = torch.cat([centred(given[k][0]) for k in (4, 3, 2)])[:25]
    assert loss.queue.shape == (3, 25, 1)
    assert_close(loss.queue[0, :, 0], latest)


def test_queue_smaller_than_a_batch_keeps_part_of_it():
    loss = SmoothAPLoss(queue_size=4)
    loss(*batches(1)[0])
    assert loss.queue.shape == (3, 4, 1)


def test_queue_of_size_zero_remembers_nothing():
    loss = SmoothAPLoss(queue_size=0)
    for scores, target in batches(3):
        assert_close(loss(scores, target), formula(scores, target))
        assert loss.queue is None


def test_batch_without_positives_is_remembered():
    (first, second) = batches(2)
    none = torch.zeros(10).long()
    loss = SmoothAPLoss()
    value, grad = value_and_gradient(lambda z: loss(z, none), first[0])
    assert value == 0
    assert (grad == 0).all()
    both = torch.cat([centred(second[0]), centred(first[0])])
    assert_close(loss(*second), formula(both, torch.cat([second[1], none])))


def test_batch_without_positives_ranks_against_those_remembered():
    (first, second) = batches(2)
    none = torch.zeros(10).long()
    loss = SmoothAPLoss()
    loss(*first)
    value, grad = value_and_gradient(lambda z: loss(z, none), second[0])
    both = torch.cat([centred(second[0]), centred(first[0])])
    assert_close(value, formula(both, torch.cat([none, first[1]])))
    assert (grad != 0).any()


def test_queue_is_forgotten_by_prepare_and_clone():
    (first, second) = batches(2)
    loss = SmoothAPLoss()
    loss(*first)
    assert clone(loss).queue is None
    assert loss.prepare([3, 1]).queue is None
    assert_close(loss(*second), SmoothAPLoss()(*second))


def test_another_number_of_columns_starts_a_new_queue():
    loss = SmoothAPLoss()
    loss(*batches(1)[0])
    logits, target = batch()
    assert_close(loss(logits, target), SmoothAPLoss()(logits, target))
    assert loss.queue.shape == (3, 12, 3)


def test_queue_travels_with_pickle_copy_and_state_dict():
    (first, second) = batches(2)
    loss = SmoothAPLoss()
    loss(*first)
    loss.eval()
    restored = SmoothAPLoss().eval()
    restored.load_state_dict(loss.state_dict())
    for other in (restored, pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert torch.equal(other.queue, loss.queue)
        assert torch.equal(other(*second), loss(*second))


def test_queue_serves_logits_of_another_dtype():
    (first, second) = batches(2)
    loss = SmoothAPLoss()
    loss(*first)
    value = loss(second[0].float(), second[1])
    assert value.dtype == torch.float32


# -- recall at the top ---------------------------------------------------------------------------


def recall(scores, target, n_top):
    top = scores.topk(n_top).indices
    return target[top].double().sum() / target.sum()


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_recall_at_top_tends_to_the_recall(fraction, seed):
    scores, target = column(seed=seed)
    loss = RecallAtTopLoss(fraction, 1e-6)
    n_top = round(60 * fraction)
    expected = 1 - recall(scores, target, n_top)
    # the row at the threshold counts half
    if target[scores.topk(n_top).indices[-1]]:
        expected = expected + 0.5 / target.sum().item()
    assert loss(scores, target.long()).item() == pytest.approx(expected.item(), abs=1e-9)


def test_recall_at_top_is_the_formula():
    scores, target = column()
    threshold = scores.sort(descending=True).values[11]  # a fifth of 60 rows are 12
    found = torch.sigmoid((scores - threshold) / 0.5)
    expected = 1 - found[target].mean()
    assert_close(RecallAtTopLoss(0.2, 0.5)(scores, target.long()), expected)


def test_weights_count_in_the_share_of_recall_at_top():
    # three heavy rows fill half of the weight
    scores = torch.arange(10).double()
    weight = torch.where(scores >= 7, 7 / 3, 1.0)
    target = (scores >= 5).long()
    expected = 1 - (weight * torch.sigmoid(scores - 7))[5:].sum() / weight[5:].sum()
    assert_close(RecallAtTopLoss(0.5)(scores, target, weight), expected)


def test_recall_at_top_of_a_batch_too_small_for_the_share_takes_one_row():
    scores, target = f64([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
    expected = 1 - torch.sigmoid(scores - 0.8)[2:].mean()
    assert_close(RecallAtTopLoss(0.001)(scores, target), expected)


# -- work ----------------------------------------------------------------------------------------


def largest_comparison(n_columns, monkeypatch, n=20):
    """Return the most pairs of scores that are compared at once."""
    sizes = []
    sigmoid = torch.sigmoid
    monkeypatch.setattr(torch, "sigmoid", lambda x: sizes.append(x.numel()) or sigmoid(x))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, n_columns, generator=generator)
    SmoothAPLoss()(logits, torch.arange(n) % n_columns)
    monkeypatch.undo()
    return max(sizes)


def test_comparisons_do_not_grow_with_the_classes(monkeypatch):
    assert [largest_comparison(n, monkeypatch) for n in (5, 10, 20)] == [20 * 20] * 3


def test_all_rows_of_all_columns_give_the_same_values(monkeypatch):
    # the way of accelerators, which do not select rows
    logits, target = labels(12)
    selected = value_and_gradient(lambda z: SmoothAPLoss()(z, target), logits)
    monkeypatch.setattr(_top_ranking, "_selects", lambda tensor: False)
    assert_close(value_and_gradient(lambda z: SmoothAPLoss()(z, target), logits), selected)
