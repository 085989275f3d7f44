"""Trainings that are cut short and taken up again; run as a script, in a process of its own.

``python -m tests.training.resume FOLDER begin|continue NAME...`` trains the named cases up to the
interruption, or takes them up, and writes what came out.
"""

import itertools
import os
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from imbtorch import MLP, ImbalancedNetClassifier, ImbalancedNetRegressor
from imbtorch.losses import all_losses
from imbtorch.losses.regression import all_regression_losses
from imbtorch.samplers import all_samplers
from imbtorch.training.run import Run

EPOCHS, STOP = 4, 2
MULTILABEL = ("bce", "asymmetric", "distribution_balanced", "sigmoid_equalization")


def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3)).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=90) > 1.0).astype(int)
    return X, y


X, Y = data()
LABELS = np.stack([Y, X[:, 1] > 1, X[:, 2] > 0.5], axis=1).astype(int)
TARGET = X[:, 0] - 0.5 * X[:, 1]


def cases(*, full):
    """Every loss with every sampler; optimizers and averages all if ``full``, else in turn.

    Yields names ``loss/sampler/optimizer/average``.
    """
    settings = list(itertools.product(["sgd", "adamw"], ["none", "ema"]))
    turn = 0
    for loss, sampler in itertools.product(all_losses(), [None, *all_samplers()]):
        if not _fits(loss, sampler):
            continue
        for optimizer, average in settings if full else [settings[turn % len(settings)]]:
            yield f"{loss}/{sampler}/{optimizer}/{average}"
        turn += 1
    for loss, (optimizer, average) in itertools.product(all_regression_losses(), settings):
        yield f"regression:{loss}/None/{optimizer}/{average}"


def _fits(loss, sampler):
    if loss not in MULTILABEL or sampler is None:
        return True
    return bool(getattr(all_samplers()[sampler], "_takes_labels", False))


def estimator(name, folder):
    """Build the estimator of a case, and its target."""
    loss, sampler, optimizer, average = name.split("/")
    params = {
        "module": MLP((5,), dropout=0.3),
        "optimizer": optimizer,
        "lr": 0.01,
        "averaging": None if average == "none" else average,
        "max_epochs": EPOCHS,
        "batch_size": 32,
        "random_state": 3,
        "device": "cpu",
        "checkpoint_interval": STOP,
        "checkpoint": folder / name.replace("/", "-").replace(":", "-"),
    }
    if loss.startswith("regression:"):
        return ImbalancedNetRegressor(loss=loss.removeprefix("regression:"), **params), TARGET
    params["sampler"] = None if sampler == "None" else sampler
    return ImbalancedNetClassifier(loss=loss, **params), LABELS if loss in MULTILABEL else Y


class Cut(Exception):
    """What ends a training here."""


def cut_short(fit, epoch=STOP):
    """Run ``fit`` up to the start of an epoch; for the disk it is as if the process was killed."""
    open_epoch = Run.open_epoch

    def opened(run, number):
        if number == epoch:
            raise Cut
        open_epoch(run, number)

    with mock.patch.object(Run, "open_epoch", opened):
        try:
            fit()
        except Cut:
            return
    raise AssertionError("the training was not cut short")


def outcome(est):
    """All numbers that a fit ends with."""
    numbers = [p.detach().numpy().ravel() for p in est.module_.state_dict().values()]
    for state in est.net_.optimizer_.state.values():
        numbers += [np.ravel(v.numpy()) for v in state.values() if torch.is_tensor(v)]
    numbers.append(np.array(est.history_[:, "train_loss"]))
    numbers += [p.detach().numpy().ravel() for p in est.net_.criterion_.parameters()]
    return np.concatenate([np.asarray(n, dtype=np.float64) for n in numbers])


def main(folder, action, names):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = {}
    for name in names:
        est, y = estimator(name, folder)
        if action == "begin":
            cut_short(lambda est=est, y=y: est.fit(X, y))
        else:
            found[name] = outcome(est.fit(X, y, resume=True))
    if action == "continue":
        np.savez(folder / "found.npz", **{name.replace("/", "|"): v for name, v in found.items()})


if __name__ == "__main__":
    where, what, *rest = sys.argv[1:]
    names = rest or list(cases(full=os.environ.get("IMBTORCH_FULL_MATRIX") == "1"))
    main(Path(where), what, names)
