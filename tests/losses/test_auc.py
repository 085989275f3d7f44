"""Losses of the area under the ROC curve: published numbers, pairs, saddle point, hard negatives.

Section numbers are those of the catalogue of losses.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from torch.testing import assert_close

from imbtorch.losses import AUCMarginLoss, PairwiseLogisticLoss, PartialAUCLoss, _top_ranking
from tests.losses.inputs import batch, close, f64, labels, value_and_gradient

SR, YR = f64([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])  # FR: scores, labels


def column(n=40, seed=5):
    """Scores and a rare binary target without ties."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(n, generator=generator, dtype=torch.float64)
    return scores, (torch.arange(n) % 4 == 0).long()


def pairs(scores, target):
    """Difference of each positive to each negative, ``(n_pos, n_neg)``."""
    return scores[target == 1].unsqueeze(1) - scores[target == 0]


# -- numbers, section 2.4 ------------------------------------------------------------------------


def test_auc_margin_value():
    close(AUCMarginLoss()(SR.logit(), YR), 0.52875)


def test_pairwise_logistic_value():
    close(PairwiseLogisticLoss()(SR, YR), 0.552650092)


# -- AUC margin ----------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [1.0, 0.5])
def test_auc_margin_is_the_mean_square_of_the_pairs(margin):
    # section 2.4; wherever the means are less than a margin apart, and that is everywhere at 1
    for logits, target in ((SR.logit(), YR), column()):
        scores = logits.sigmoid()
        expected = (margin - pairs(scores, target)).square().mean()
        assert_close(AUCMarginLoss(margin)(logits, target), expected)


def test_auc_margin_is_the_saddle_value_of_the_authors_loss():
    # LibAUC's second version, minimised over a and b and maximised over alpha >= 0
    def authors(scores, target, a, b, alpha):
        upper, lower = scores[target == 1], scores[target == 0]
        spread = (upper - a).square().mean() + (lower - b).square().mean()
        return spread + 2 * alpha * (1 + lower.mean() - upper.mean()) - alpha**2

    close(authors(SR, YR, 0.3, 0.1, 0.2), 0.40125)
    close(0.25 * authors(SR, YR, 0.3, 0.1, 0.2), 0.1003125)
    for logits, target in ((SR.logit(), YR), column()):
        scores = logits.sigmoid()
        a, b = scores[target == 1].mean(), scores[target == 0].mean()
        saddle = authors(scores, target, a, b, (1 + b - a).clamp_min(0))
        assert_close(AUCMarginLoss()(logits, target), saddle)


def test_auc_margin_beyond_the_margin_leaves_the_spreads():
    logits, target = f64([-9, -9, 9, 9]), torch.tensor([0, 0, 1, 1])
    assert AUCMarginLoss(0.5)(logits, target) < 1e-12
    assert AUCMarginLoss(1.0)(logits, target) > 0


# -- pairs ---------------------------------------------------------------------------------------


def test_pairwise_logistic_is_the_mean_over_pairs():
    scores, target = column()
    expected = F.softplus(-pairs(scores, target)).mean()
    assert_close(PairwiseLogisticLoss()(scores, target), expected)


def test_steep_pairs_count_the_wrong_ones():
    # log(1 + exp(-d s)) / s tends to relu(-d): its sign is that of the AUC's pairs
    scores, target = column()
    wrong = 1 - roc_auc_score(target.numpy(), scores.numpy())
    assert (pairs(scores, target) < 0).double().mean().item() == pytest.approx(wrong)
    expected = F.relu(-pairs(scores, target)).mean()
    assert_close(PairwiseLogisticLoss()(1e4 * scores, target) / 1e4, expected, rtol=1e-3, atol=1e-4)


def test_a_pair_weighs_as_the_product_of_its_rows():
    scores, target = column()
    weight = torch.linspace(0.5, 2, len(scores), dtype=torch.float64)
    both = weight[target == 1].unsqueeze(1) * weight[target == 0]
    expected = (both * F.softplus(-pairs(scores, target))).sum() / both.sum()
    assert_close(PairwiseLogisticLoss()(scores, target, weight), expected)
    assert_close(PartialAUCLoss(1.0)(scores, target, weight), expected)


# -- partial AUC ---------------------------------------------------------------------------------


def test_partial_auc_of_the_whole_curve_is_pairwise_logistic():
    # section 3
    for logits, target in (column(), batch(30), batch(30, 2), labels(30)):
        expected = value_and_gradient(lambda z, y=target: PairwiseLogisticLoss()(z, y), logits)
        actual = value_and_gradient(lambda z, y=target: PartialAUCLoss(1.0)(z, y), logits)
        assert_close(actual, expected)


@pytest.mark.parametrize("n_hard", [1, 3, 12])
def test_partial_auc_takes_the_hardest_negatives(n_hard):
    scores, target = column()  # 30 negatives
    order = scores.masked_fill(target == 1, -torch.inf).argsort(descending=True)
    kept = torch.cat([torch.nonzero(target == 1).squeeze(1), order[:n_hard]])
    loss = PartialAUCLoss(n_hard / 30)
    assert_close(loss(scores, target), PairwiseLogisticLoss()(scores[kept], target[kept]))
    _, grad = value_and_gradient(lambda z: loss(z, target), scores)
    assert (grad[order[n_hard:30]] == 0).all()
    assert (grad[kept] != 0).all()


def test_partial_auc_takes_a_share_of_the_last_negative():
    scores, target = column()
    one, two = (PartialAUCLoss(k / 30)(scores, target) for k in (1, 2))
    between = PartialAUCLoss(1.5 / 30)(scores, target)
    assert_close(1.5 * between, one + 0.5 * (2 * two - one))


def test_descent_on_partial_auc_raises_the_partial_auc_of_sklearn():
    generator = np.random.default_rng(0)
    logits, target = f64(generator.normal(size=200)), torch.from_numpy(generator.random(200) < 0.1)
    target = target.long()
    before = roc_auc_score(target, logits, max_fpr=0.1)
    for _ in range(50):
        _, grad = value_and_gradient(lambda z: PartialAUCLoss(0.1)(z, target), logits)
        logits = logits - 2 * grad
    assert roc_auc_score(target, logits, max_fpr=0.1) > max(0.9, before)


# -- work ----------------------------------------------------------------------------------------

EACH_LOSS = pytest.mark.parametrize("loss", [PairwiseLogisticLoss(), PartialAUCLoss(0.3)], ids=str)


def largest_comparison(loss, n_columns, monkeypatch, n=20):
    """Return the most pairs of scores that are compared at once."""
    sizes = []
    logsigmoid = F.logsigmoid
    monkeypatch.setattr(F, "logsigmoid", lambda x: sizes.append(x.numel()) or logsigmoid(x))
    logits = torch.randn(n, n_columns, generator=torch.Generator().manual_seed(0))
    loss(logits, torch.arange(n) % n_columns)
    monkeypatch.undo()
    return max(sizes)


@EACH_LOSS
def test_comparisons_do_not_grow_with_the_classes(loss, monkeypatch):
    assert [largest_comparison(loss, n, monkeypatch) for n in (5, 10, 20)] == [20 * 20] * 3


@EACH_LOSS
def test_all_rows_of_all_columns_give_the_same_values(loss, monkeypatch):
    # the way of accelerators, which do not select rows
    for logits, target in (batch(12), labels(12)):
        selected = value_and_gradient(lambda z, y=target: loss(z, y), logits)
        with monkeypatch.context() as patched:
            patched.setattr(_top_ranking, "_selects", lambda tensor: False)
            assert_close(value_and_gradient(lambda z, y=target: loss(z, y), logits), selected)


@EACH_LOSS
def test_value_of_a_class_is_that_of_the_class_against_the_rest(loss):
    logits, target = batch(30)
    weight = torch.linspace(0.5, 2, len(logits), dtype=torch.float64)
    each = clone(loss).set_params(reduction="none")(logits, target, weight)
    for column, value in enumerate(each):
        log_p = torch.log_softmax(logits, dim=1)
        odds = log_p[:, column] - torch.log1p(-log_p[:, column].exp())
        assert_close(loss(odds, (target == column).double(), weight), value)
