"""The inverse links: what minimises each loss, read back as probabilities of the population.

For one input with class probabilities ETA, the logits that minimise the expected (weighted,
resampled) loss are found numerically. The loss's ``log_posterior`` and the bookkeeping of priors
must give ETA back.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.base import clone
from torch import nn
from torch.testing import assert_close

from imbtorch._tasks.classes import ClassBalance
from imbtorch.losses import (
    BalancedSoftmaxLoss,
    BaseLoss,
    BCELoss,
    CDTLoss,
    CrossEntropyLoss,
    FocalLoss,
    GeneralizedCrossEntropyLoss,
    LogitAdjustedLoss,
    MSELoss,
    Poly1Loss,
    SymmetricCrossEntropyLoss,
    VSLoss,
    all_losses,
    as_loss,
)
from imbtorch.priors import log_prior_ratio
from tests.losses.inputs import N3, Z3, batch, extreme, f64, two_columns

ETA = f64([0.6, 0.3, 0.1])
WEIGHT = (1.0, 2.0, 5.0)
CLASSES = np.arange(3)
COUNTS = np.asarray(N3, dtype=np.float64)

REGISTERED = [
    cls(**params)
    for cls in all_losses().values()
    for params in cls._test_params
    if cls.has_posterior
]
OURS = [
    *REGISTERED,
    *(FocalLoss(gamma) for gamma in (0.0, 5.0)),
    *(CrossEntropyLoss(share) for share in (0.01, 0.3)),
]
TORCH = [
    nn.MSELoss(),
    nn.SmoothL1Loss(),
    nn.HuberLoss(),
    nn.CrossEntropyLoss(),
    nn.NLLLoss(),
    nn.BCELoss(),
    nn.BCEWithLogitsLoss(),
    nn.SoftMarginLoss(),
    nn.KLDivLoss(),
]


def minimiser(loss, mass):
    """Logits ``(1, c)`` that minimise the loss of one input with this mass of each class."""
    logits = torch.zeros(1, len(mass), dtype=torch.float64, requires_grad=True)
    target = torch.arange(len(mass))
    optimizer = torch.optim.LBFGS(
        [logits],
        max_iter=500,
        tolerance_grad=1e-11,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def risk():
        optimizer.zero_grad()
        value = (mass * loss.per_sample(logits.expand(len(mass), -1), target)).sum()
        value.backward()
        return value

    optimizer.step(risk)
    assert logits.grad.abs().max() < 1e-6, "the minimiser was not found"
    return logits.detach()


def recovered(loss, eta, *, seen=COUNTS, class_weight=None):
    """Posterior of the training population, from a net that saw ``seen`` rows of each class."""
    classes, counts = CLASSES[: len(eta)], COUNTS[: len(eta)]
    balance = ClassBalance.of(classes, counts, seen, class_weight, loss)
    mass = eta * torch.from_numpy(balance.class_weight * seen / counts)
    log_proba = balance.loss.log_posterior(minimiser(balance.loss, mass / mass.sum()))
    ratio = log_prior_ratio(balance.effective_prior, balance.prior)
    return torch.softmax(log_proba + torch.from_numpy(ratio), dim=1).squeeze(0)


def close(actual, expected, atol):
    assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=0, atol=atol)


# -- recovery ------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_weight", [None, WEIGHT, "balanced"], ids=["none", "1-2-5", "bal"])
@pytest.mark.parametrize("loss", OURS + TORCH, ids=repr)
def test_minimiser_gives_the_posterior_back(loss, class_weight):
    weight = list(class_weight) if isinstance(class_weight, tuple) else class_weight
    close(recovered(loss, ETA, class_weight=weight), ETA, 1e-4)


@pytest.mark.parametrize("loss", OURS, ids=repr)
def test_weights_of_the_loss_itself_count_as_class_weights(loss):
    close(recovered(clone(loss).set_params(weight=WEIGHT), ETA), ETA, 1e-4)


@pytest.mark.parametrize("cls", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_weights_inside_a_torch_loss_count_as_class_weights(cls):
    close(recovered(cls(weight=f64(WEIGHT)), ETA), ETA, 1e-4)


@pytest.mark.parametrize("loss", OURS, ids=repr)
def test_posterior_after_a_sampler_is_that_of_the_data(loss):
    seen = np.array([50.0, 50.0, 25.0])
    close(recovered(loss, ETA, seen=seen, class_weight=list(WEIGHT)), ETA, 1e-4)


@pytest.mark.parametrize("loss", OURS + TORCH, ids=repr)
def test_two_classes(loss):
    eta = f64([0.95, 0.05])
    for weight in (None, [1.0, 9.0]):
        close(recovered(loss, eta, seen=COUNTS[:2], class_weight=weight), eta, 1e-4)


@pytest.mark.parametrize("pos_weight", [3.0, 0.2])
def test_pos_weight_of_torch_is_no_silent_bias(pos_weight):
    # either it counts as a class weight, or the loss must not claim a posterior
    inner = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([pos_weight]))
    if as_loss(inner).has_posterior:
        eta = f64([0.95, 0.05])
        close(recovered(inner, eta, seen=COUNTS[:2]), eta, 1e-4)


@pytest.mark.parametrize("loss", [LogitAdjustedLoss(1.0), BalancedSoftmaxLoss()], ids=repr)
def test_logit_adjusted_posterior_as_it_comes_is_balanced(loss):
    balance = ClassBalance.of(CLASSES, COUNTS, COUNTS, None, loss)
    assert_close(balance.effective_prior, np.full(3, 1 / 3))
    logits = minimiser(balance.loss, ETA)
    odds = ETA / torch.from_numpy(balance.prior)
    close(balance.loss.log_posterior(logits).exp().squeeze(0), odds / odds.sum(), 1e-6)


@pytest.mark.parametrize("prior", [(0.8, 0.16, 0.04), (0.998, 0.002)], ids=len)
@pytest.mark.parametrize("loss", OURS, ids=repr)
def test_initial_bias_is_read_as_the_prior(loss, prior):
    # "output bias at which an uninformed net predicts log_prior": and has nothing to gain there
    counts = np.asarray(prior)
    balance = ClassBalance.of(CLASSES[: len(prior)], counts, counts, None, loss)
    bias = balance.initial_bias.unsqueeze(0)
    ratio = log_prior_ratio(balance.effective_prior, balance.prior)
    read = torch.softmax(balance.loss.log_posterior(bias) + torch.from_numpy(ratio), dim=1)
    close(read, [prior], 1e-6)


# -- published numbers, section 8 of the catalogue -----------------------------------------------


def test_minimiser_of_weighted_cross_entropy():
    mass = ETA * f64(WEIGHT)
    q = minimiser(CrossEntropyLoss(), mass).softmax(1)
    close(q, [[0.352941, 0.352941, 0.294118]], 1e-6)


def test_minimiser_of_focal():
    q = minimiser(FocalLoss(2.0), ETA).softmax(1)
    close(q, [[0.488890658, 0.353123606, 0.157985736]], 1e-8)


def test_inverse_link_of_focal():
    log_q = f64([[0.7, 0.2, 0.1]]).log()
    close(
        FocalLoss(2.0).log_posterior(log_q).exp(), [[0.919711753, 0.054556891, 0.025731357]], 1e-9
    )


def test_inverse_link_of_binary_focal():
    log_q = f64([[0.7, 0.3]]).log()
    eta = FocalLoss(2.0).log_posterior(log_q).exp()[0, 1]
    close(eta, 0.093562487, 1e-9)
    # trained with alpha = .25, a weight of 1 for positives and 3 for negatives
    ratio = torch.from_numpy(log_prior_ratio(np.array([0.75, 0.25]), np.array([0.5, 0.5])))
    corrected = torch.softmax(FocalLoss(2.0).log_posterior(log_q) + ratio, dim=1)[0, 1]
    close(corrected, 0.236443060, 1e-9)


def test_post_hoc_logit_adjustment_of_cross_entropy():
    # argmax z - log pi, from the priors alone
    prior = np.asarray(N3) / sum(N3)
    ratio = torch.from_numpy(log_prior_ratio(prior, np.full(3, 1 / 3)))
    log_proba = CrossEntropyLoss().log_posterior(Z3)
    assert log_proba.argmax(1).tolist() == [0, 2, 1, 0]
    balanced = torch.softmax(log_proba + ratio, dim=1)
    assert balanced.argmax(1).tolist() == [1, 2, 2, 2]
    close(balanced[0], [0.321399536, 0.35856965, 0.320030814], 1e-9)


@pytest.mark.parametrize(
    ("loss", "q", "digits"),
    [
        (Poly1Loss(2.0), [0.733440, 0.211556, 0.055004], 6),
        (GeneralizedCrossEntropyLoss(0.7), [0.907638, 0.090049, 0.002312], 6),
    ],
    ids=repr,
)
def test_minimisers_of_other_losses(loss, q, digits):
    close(minimiser(loss, ETA).softmax(1), [q], 0.51 * 10.0**-digits)


@pytest.mark.parametrize(
    ("loss", "link"),
    [
        (Poly1Loss(2.0), lambda q: q / (1 + 2 * q)),
        (GeneralizedCrossEntropyLoss(0.7), lambda q: q**0.3),
        (SymmetricCrossEntropyLoss(0.1, 1.0), lambda q: q / (0.1 + 4 * q)),
        (MSELoss(), lambda q: q),
    ],
    ids=["poly1", "gce", "sce", "mse"],
)
def test_inverse_links(loss, link):
    logits, _ = batch(30)
    eta = link(logits.softmax(1))
    close(loss.log_posterior(logits).exp(), eta / eta.sum(1, keepdim=True), 1e-12)


def test_inverse_link_of_pos_weight():
    # undersampling with keep-rate 1 / q
    logit = f64([0.1, 0.5, 0.9]).logit()
    eta = torch.sigmoid(BCELoss(20.0).log_odds(logit.unsqueeze(1))).squeeze(1)
    close(eta, [0.005524862, 0.047619048, 0.310344828], 1e-9)


# -- labels ----------------------------------------------------------------------------------------

LABELLED = [loss for loss in OURS if type(loss).per_label is not BaseLoss.per_label]


def label_minimiser(loss, eta):
    """Logit that minimises the loss of one label of this probability, by bisection of the slope."""
    target, mass = f64([[1.0], [0.0]]), f64([[eta], [1 - eta]])
    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        logit = torch.full((1, 1), middle, dtype=torch.float64, requires_grad=True)
        risk = (mass * loss.per_label(logit.expand(2, 1), target)).sum()
        (slope,) = torch.autograd.grad(risk, logit)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return torch.full((1, 1), middle, dtype=torch.float64)


@pytest.mark.parametrize("eta", [0.6, 0.05])
@pytest.mark.parametrize("loss", LABELLED, ids=repr)
def test_log_odds_of_a_label_are_those_of_the_training_population(loss, eta):
    # a shift of the loss is put back, as is pos_weight
    loss = clone(loss).prepare([[90, 10]])
    odds = loss.log_odds(label_minimiser(loss, eta))
    close(torch.sigmoid(odds), [[eta]], 1e-6)


@pytest.mark.parametrize("loss", LABELLED, ids=repr)
def test_log_odds_rise_with_the_logit(loss):
    loss = clone(loss).prepare([[90, 10]])
    logit = torch.linspace(-30, 30, 241, dtype=torch.float64).unsqueeze(1)
    odds = loss.log_odds(logit)
    assert odds.shape == logit.shape
    assert (odds.diff(dim=0) > 0).all()


# -- scores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("cls", all_losses().values(), ids=lambda cls: cls.name)
def test_scores_are_the_posterior_but_for_losses_that_predict_otherwise(cls, n_classes):
    logits, _ = batch(30, n_classes)
    for params in cls._test_params:
        loss = cls(**params).prepare(N3[:n_classes])
        expected = loss.log_posterior(logits)
        if cls in (CDTLoss, VSLoss):  # on the raw logits
            expected = logits.log_softmax(1)
            assert (expected - loss.log_posterior(logits)).abs().max() > 0.1
        elif cls is BCELoss and n_classes > 2:  # as trained, pos_weight included
            expected = F.logsigmoid(logits).log_softmax(1)
        assert_close(loss.log_scores(logits), expected)


def test_posterior_of_classes_against_the_rest_has_the_factors_undone():
    logits, _ = batch(30)
    loss = BCELoss("balanced").prepare(N3)
    odds = logits - loss.positive_factor.log()
    close(loss.log_posterior(logits), F.logsigmoid(odds).log_softmax(1), 1e-12)
    assert (loss.log_scores(logits) - loss.log_posterior(logits)).abs().max() > 0.1


# -- shape of the inverse links ------------------------------------------------------------------

GAMMAS = [0.0, 0.5, 1.0, 2.0, 5.0]


def log_odds(loss, logit):
    """Log-odds of the second class, for logits ``[0, z]``."""
    log_proba = loss.log_posterior(two_columns(logit))
    return log_proba[:, 1] - log_proba[:, 0]


@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_posterior_is_the_formula(gamma):
    logits, _ = batch(30)
    q = logits.softmax(1)
    phi = (1 - q) ** gamma - gamma * (1 - q) ** (gamma - 1) * q * q.log()
    expected = q / phi / (q / phi).sum(1, keepdim=True)
    close(FocalLoss(gamma).log_posterior(logits).exp(), expected, 1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_focal_posterior_is_finite_at_extreme_logits(gamma, n_classes):
    logits, _ = extreme(n_classes)
    log_proba = FocalLoss(gamma).log_posterior(logits)
    assert log_proba.isfinite().all()
    double = FocalLoss(gamma).log_posterior(logits.double())
    assert_close(log_proba.double(), double, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_posterior_rises_with_the_logit(gamma, dtype):
    # ranking metrics must not see the correction
    far = torch.logspace(0.01, 4, 300, dtype=torch.float64)
    near = torch.linspace(-1, 1, 201, dtype=torch.float64)
    logit = torch.cat([-far.flip(0), near, far]).to(dtype)
    odds = log_odds(FocalLoss(gamma), logit)
    assert odds.isfinite().all()
    assert (odds.diff() > 0).all()
    assert_close(odds, -odds.flip(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_posterior_tends_to_its_asymptote(gamma, dtype):
    # q -> 1: phi -> (1 - q)^gamma (1 + gamma), where 1 - q is far below the rounding of q
    logit = torch.tensor([40, 60, 80, 1000], dtype=dtype)
    expected = (1 + gamma) * logit - np.log1p(gamma)
    assert_close(log_odds(FocalLoss(gamma), logit), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_posterior_has_no_seam(gamma):
    # rest = 1 - q is .45 and .5 at these log-odds
    for rest in (0.45, 0.5, 0.4):
        edge = np.log1p(-rest) - np.log(rest)
        logit = edge + torch.linspace(-1e-6, 1e-6, 101, dtype=torch.float64)
        slope = log_odds(FocalLoss(gamma), logit).diff() / logit.diff()
        assert_close(slope.max(), slope.min(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_smoothing_inverse_is_the_formula(share):
    q = f64([[0.6, 0.25, 0.15], [0.4, 0.35, 0.25]])
    eta = (q - share / 3) / (1 - share)
    close(
        CrossEntropyLoss(share).log_posterior(q.log()).exp(), eta / eta.sum(1, keepdim=True), 1e-12
    )


@pytest.mark.parametrize("eta", [0.05, 0.005, 0.001])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_smoothing_inverse_is_exact_for_rare_classes(share, eta):
    # one in a thousand is what the package is for; the same in float32, up to its rounding
    expected = f64([[1 - eta, eta]])
    log_q = ((1 - share) * expected + share / 2).log()
    close(CrossEntropyLoss(share).log_posterior(log_q).exp(), expected, 1e-9)
    close(CrossEntropyLoss(share).log_posterior(log_q.float()).exp().double(), expected, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reach", [12, 100, 1e4])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_smoothing_inverse_keeps_the_ranking(share, reach, dtype):
    # the line (p - share / 2) is negative for most of these logits, which a clip would make ties
    logit = torch.linspace(-reach, reach, 241, dtype=dtype)
    odds = log_odds(CrossEntropyLoss(share), logit)
    assert odds.isfinite().all()
    assert (odds.diff() > 0).all()
    order = CrossEntropyLoss(share).log_posterior(Z3.to(dtype)).argsort(1)
    assert torch.equal(order, Z3.to(dtype).argsort(1))
