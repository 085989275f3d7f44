"""``target_prior="train"`` gives the true posterior back, whatever the net was trained with.

Two Gaussians, one shifted, 2 % positives: the posterior is known in closed form. The error of each
remedy is compared with that of plain cross-entropy on the same data and net.
"""

from functools import cache

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.losses import (
    BalancedSoftmaxLoss,
    BCELoss,
    ClassBalancedLoss,
    CrossEntropyLoss,
    FocalLoss,
    GeneralizedCrossEntropyLoss,
    LogitAdjustedLoss,
    Poly1Loss,
    VSLoss,
)
from imbtorch.modules import TabM
from tests.toy import plain_columns

SHARE, DISTANCE, SEEDS = 0.02, 2.0, range(3)
PLAIN = {"loss": "cross_entropy"}
# Samplers change the rows of an epoch: their epochs are set for a like number of steps. GCE has
# q = 0.3: at 0.7 rows of low probability hardly pull, and even the exact minimiser of a linear
# model has five times the error of cross-entropy here.
REMEDIES = {
    "class weights": {**PLAIN, "class_weight": "balanced"},
    "weights of the loss": {"loss": CrossEntropyLoss(weight=[0.5, 25.0])},
    "pos_weight": {"loss": BCELoss("balanced")},
    "class-balanced": {"loss": ClassBalancedLoss(0.9999, 1.0)},
    "focal 0.5": {"loss": FocalLoss(0.5)},
    "focal 2": {"loss": FocalLoss(2.0)},
    "focal 5": {"loss": FocalLoss(5.0)},
    "focal 2 with class weights": {"loss": FocalLoss(2.0), "class_weight": "balanced"},
    "logit adjusted": {"loss": LogitAdjustedLoss()},
    "balanced softmax": {"loss": BalancedSoftmaxLoss()},
    "vs": {"loss": VSLoss()},
    "poly1": {"loss": Poly1Loss()},
    "gce": {"loss": GeneralizedCrossEntropyLoss(0.3)},
    "smote": {**PLAIN, "sampler": SMOTE(random_state=0), "max_epochs": 5},
    "undersampling": {
        **PLAIN,
        "sampler": RandomUnderSampler(sampling_strategy=0.2, random_state=0),
        "max_epochs": 40,
        "batch_size": 64,
    },
    "balanced sampler": {**PLAIN, "sampler": RandomOverSampler(random_state=0), "max_epochs": 5},
}


def sample(seed, n=20_000):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < SHARE).astype(int)
    X = rng.normal(size=(n, 4))
    X[:, 0] += DISTANCE * y
    return X, y


def true_posterior(X):
    log_odds = np.log(SHARE / (1 - SHARE)) + DISTANCE * X[:, 0] - DISTANCE**2 / 2
    return 1 / (1 + np.exp(-log_odds))


def raw_softmax(clf, X):
    """Read the logits as if the net had been trained with plain cross-entropy."""
    with torch.no_grad():
        return clf.module_(torch.from_numpy(X).float()).softmax(1)[:, 1].numpy()


@cache
def errors(name):
    """Mean absolute errors of the corrected and of the raw probabilities, over the seeds."""
    settings = {"module": MLP((16,)), "features": plain_columns()}  # that learns no row by heart
    settings |= {"max_epochs": 10, "batch_size": 256}
    settings |= PLAIN if name == "plain" else REMEDIES[name]
    found = []
    for seed in SEEDS:
        X, _ = sample(100 + seed)
        clf = ImbalancedNetClassifier(
            **settings, target_prior="train", random_state=seed, device="cpu"
        ).fit(*sample(seed))
        truth = true_posterior(X)
        corrected = clf.predict_proba(X)[:, 1]
        found.append([np.abs(p - truth).mean() for p in (corrected, raw_softmax(clf, X))])
    return np.mean(found, axis=0)


@pytest.mark.matrix
@pytest.mark.parametrize("name", REMEDIES)
def test_posterior_is_as_good_as_that_of_cross_entropy(name):
    assert errors(name)[0] < 1.5 * errors("plain")[0]


@pytest.mark.matrix
@pytest.mark.parametrize("name", REMEDIES)
def test_without_the_correction_it_is_far_off(name):
    corrected, raw = errors(name)
    assert raw > 2 * corrected


# -- the default net -----------------------------------------------------------------------------

DEFAULT_NET = ("class weights", "pos_weight", "focal 2", "logit adjusted", "vs", "balanced sampler")


@cache
def errors_of_default_net(name):
    """Errors as above, of a TabM of 16 units and 4 members behind waves, on one seed."""
    settings = {"max_epochs": 10, "batch_size": 256} | (
        PLAIN if name == "plain" else REMEDIES[name]
    )
    clf = ImbalancedNetClassifier(
        TabM((16,), k=4), **settings, target_prior="train", random_state=0
    )
    clf.fit(*sample(0))
    X, _ = sample(100)
    with torch.no_grad():
        raw = clf.module_(torch.from_numpy(X).float()).softmax(2)[:, :, 1].mean(dim=1).numpy()
    corrected = clf.predict_proba(X)[:, 1]
    return [np.abs(p - true_posterior(X)).mean() for p in (corrected, raw)]


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFAULT_NET)
def test_members_behind_waves_recover_the_posterior(name):
    """A wider bound than above: such a net follows the noise of few weighted rows further."""
    corrected, raw = errors_of_default_net(name)
    assert corrected < 2.5 * errors_of_default_net("plain")[0]
    assert raw > 2 * corrected
