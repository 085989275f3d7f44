"""Fits that two processes do together, and one alone: run by test_parallel.py, in all three.

``torchrun ... -m tests.training.parallel_job FOLDER`` writes what each process found.
"""

import contextlib
import io
import os
import pickle
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import skorch.callbacks as sc
import torch
import torch.distributed as dist
from scipy import sparse
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier, ImbalancedNetRegressor
from imbtorch.ensemble import NetEnsembleClassifier
from imbtorch.losses import BaseLoss, all_losses
from imbtorch.losses.regression import BalancedMSELoss, all_regression_losses
from imbtorch.samplers import all_samplers
from tests.toy import parameters_of, table

TIME_LIMIT = 2400  # seconds, of which a machine that does nothing else needs about 20
PATIENCE = 3  # seconds that one process waits for another one that has stopped
BATCH = 32  # rows of a whole batch
X, Y = table(203, rate=0.1, n_features=5)  # the last batch has 11 rows, 5 and 6 of them
X3, Y3 = table(203, rate=0.02, n_classes=3, n_features=5)  # 2 rows of one class
RNG = np.random.default_rng(0)
WEIGHT = RNG.uniform(0.2, 5, len(X))
LABELS = (RNG.uniform(size=(203, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(int)
VALUES = np.exp(X[:, 0]) + RNG.normal(size=len(X))

CASES = {}  # name -> function of the number of processes and the own number


def case(function):
    CASES[function.__name__] = function
    return function


def classifier(size, *, module=None, **params):
    given = {
        "batch_size": BATCH // size,
        "data_parallel": True,
        "dtype": "float64",
        "max_epochs": 3,
        "random_state": 0,
        **params,
    }
    return ImbalancedNetClassifier(MLP((8,)) if module is None else module, **given)


def regressor(size, **params):
    given = {
        "batch_size": BATCH // size,
        "data_parallel": True,
        "dtype": "float64",
        "max_epochs": 3,
        "random_state": 0,
        **params,
    }
    return ImbalancedNetRegressor(MLP((8,)), **given)


def learned(est, *data, **extra):
    est.fit(*data)
    return told(est, **extra)


def told(est, **extra):
    keys = [
        k
        for k in ("train_loss", "aux_loss", "valid_score", "lr")
        if est.history_ and k in est.history_[-1]
    ]
    history = {key: np.array(est.history_[:, key]) for key in keys}
    own = [p.detach().numpy().ravel() for p in est.loss_.parameters()]
    weights = np.concatenate([parameters_of(est), *own])
    return {"weights": weights, "n_iter": est.n_iter_, **history, **extra}


# -- the same as one process ------------------------------------------------------------------


@case
def uneven_batches(size, rank):
    return learned(classifier(size), X, Y, WEIGHT)


@case
def rare_class(size, rank):
    clf = classifier(size, class_weight="balanced", loss="ldam")
    result = learned(clf, X3, Y3)
    return {**result, "counts": clf.class_counts_, "class_weight": clf.class_weight_}


class Recorder(nn.Module):
    """Remember the rows that it is trained on, by their first feature."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)
        self.seen = []

    def forward(self, x):
        if self.training:
            self.seen.append(x[:, 0].long().tolist())
        return self.layer(x)


NUMBERED = np.column_stack([np.arange(len(X)), X])


@case
def rows_of_each_batch(size, rank):
    return rows_seen(classifier(size, module=Recorder, max_epochs=2, lr=1e-6))


@case
def rows_of_a_balanced_sampler(size, rank):
    clf = classifier(size, module=Recorder, max_epochs=2, lr=1e-6, sampler="class_balanced")
    return rows_seen(clf)


def rows_seen(clf):
    clf.fit(NUMBERED, Y)
    return {"rows": clf.module_.seen}


class RowCount:
    """Accuracy; and how many rows it was asked about."""

    def __init__(self):
        self.rows = []

    def __call__(self, estimator, X, y):
        self.rows.append(len(np.unique(X, axis=0)))
        return estimator.score(X, y)

    def __repr__(self):
        return "RowCount()"


@case
def validation(size, rank):
    scoring = RowCount()
    clf = classifier(size, validation_fraction=0.23, scoring=scoring)
    return {**learned(clf, X, Y), "rows": scoring.rows}


@case
def early_stopping(size, rank):
    clf = classifier(size, early_stopping=True, patience=2, max_epochs=40, lr=0.05)
    return learned(clf, X, Y)


for name in sorted(all_losses()):
    CASES[f"loss {name}"] = lambda size, rank, name=name: learned(
        classifier(size, loss=name, max_epochs=2), X3, Y3, WEIGHT
    )
for name in ("bce", "asymmetric", "focal", "distribution_balanced", "sigmoid_equalization"):
    CASES[f"labels {name}"] = lambda size, rank, name=name: learned(
        classifier(size, loss=name, max_epochs=2, class_weight="balanced"), X, LABELS, WEIGHT
    )
for name in sorted(all_regression_losses()):
    CASES[f"values {name}"] = lambda size, rank, name=name: learned(
        regressor(size, loss=name, max_epochs=2), X, VALUES, WEIGHT
    )
for name in sorted(all_samplers()):
    CASES[f"sampler {name}"] = lambda size, rank, name=name: learned(
        classifier(size, sampler=name, loss="cross_entropy", max_epochs=2), X, Y, WEIGHT
    )


class Autoencoder(nn.Module):
    """Logits, and how far the reconstruction of each row is from the row."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(*input_shape, 3), nn.Linear(3, *input_shape)
        self.out = nn.Linear(3, n_outputs)

    def forward(self, x):
        code = torch.tanh(self.encoder(x))
        rows = (self.decoder(code) - x).square().mean(1)
        return {"logits": self.out(code), "rows": rows, "batch": rows.mean()}


SETTINGS = {
    "sgd": {"optimizer": "sgd", "lr": 0.1},
    "clipping": {"gradient_clipping": 0.1, "optimizer": "sgd"},
    "sharpness": {"sharpness": 0.1},
    "ema": {"averaging": 0.9},
    "swa": {"averaging": "swa", "max_epochs": 5},
    "deferred weights": {
        "loss": "focal",
        "class_weight": "balanced",
        "class_weight_schedule": 0.5,
        "max_epochs": 4,
    },
    "deferred sampling": {"sampler": "class_balanced", "sampler_schedule": 0.5, "max_epochs": 4},
    "cosine": {"lr_schedule": "cosine", "on_divergence": "restore"},
    "loss schedule": {"loss": "focal", "loss_schedule": {"gamma": lambda progress: 2 * progress}},
    "torch loss": {"loss": nn.L1Loss(), "class_weight": "balanced"},
    "automatic batches": {"batch_size": "auto"},
    "accumulated": {"accumulate": 3},
    "auxiliary losses": {"module": Autoencoder, "aux_loss": {"rows": 0.5}, "accumulate": 2},
    "layer norm": {"module": MLP((8,), normalization="layer")},
    "frozen, rates": {
        "module": MLP((8,)),
        "param_groups": {"0.*": {"frozen": 0.5}, "*.bias": {"lr": 0.01}},
        "max_epochs": 4,
    },
}
for name, params in SETTINGS.items():
    CASES[f"setting {name}"] = lambda size, rank, params=params: learned(
        classifier(size, **params), X, Y, WEIGHT
    )


@case
def mixture_of_gaussians(size, rank):
    return learned(regressor(size, loss=BalancedMSELoss("gai", n_components=2)), X, VALUES)


@case
def half_precision(size, rank):
    clf = classifier(size, dtype="float32", precision="float16", accumulate=2, sharpness=0.05)
    return learned(clf, X, Y)


@case
def an_auxiliary_loss_of_the_batch(size, rank):
    return learned(classifier(size, module=Autoencoder, aux_loss="batch"), X, Y)


@case
def sparse_rows(size, rank):
    rows = sparse.csr_array(sparse.random(203, 40, density=0.05, random_state=1))
    return learned(classifier(size), rows, Y)


@case
def several_inputs(size, rank):
    parts = {"input1": X[:, :2], "input2": X[:, 2:]}

    def build(input_shape, n_outputs):
        return nn.Bilinear(*input_shape["input1"], *input_shape["input2"], n_outputs)

    return learned(classifier(size, module=build), parts, Y, WEIGHT)


@case
def several_fits(size, rank):
    clf = classifier(size, warm_start=True).fit(X, Y)
    return learned(clf.set_params(lr=0.001), X, Y)


@case
def chunks(size, rank):
    clf = classifier(size)
    clf.partial_fit(X[:100], Y[:100], classes=[0, 1])
    clf.partial_fit(X[:1], Y[:1])  # one of two processes gets no row
    clf.partial_fit(X[100:], Y[100:])
    return told(clf)


class Unused(nn.Module):
    """A layer that gets no gradient, and must not decay."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(x)


@case
def unused_layer(size, rank):
    return learned(classifier(size, module=Unused, weight_decay=0.5), X, Y)


# -- the same in all processes ----------------------------------------------------------------


@case
def own_seeds(size, rank):
    return learned(classifier(size, random_state=None), X, Y)


@case
def resumed_training(size, rank):
    with tempfile.TemporaryDirectory() as own:
        # the first process writes what both read
        folder = own if size == 1 else f"{sys.argv[1]}/checkpoint"
        FAILURES[:] = [] if rank == size - 1 else [1]  # the module must be the same in both
        params = {"checkpoint": folder, "averaging": 0.9, "validation_fraction": 0.2, "verbose": 1}
        torch.manual_seed(3)
        with (
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.suppress(MemoryError, RuntimeError),
        ):
            faulty(size, out_of_memory_once, **params).fit(X, Y)
        torch.manual_seed(3)
        clf = faulty(size, out_of_memory_once, **params)
        with contextlib.redirect_stderr(io.StringIO()):
            clf.fit(X, Y, resume=True)
        return told(clf)


@case
def batches_in_parts(size, rank):
    torch.manual_seed(3)
    clf = faulty(size, out_of_memory if rank == size - 1 else nothing, on_oom="split")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return learned(clf, X, Y)


@case
def own_modules(size, rank):
    torch.manual_seed(rank)
    return learned(classifier(size, module=nn.Sequential(nn.Linear(5, 2))), X, Y)


@case
def dropout(size, rank):
    return learned(classifier(size, module=MLP((8,), dropout=0.5)), X, Y)


# -- refused, or failed, in all processes -----------------------------------------------------


class Faulty(nn.Module):
    """Do something in one process, at some batch of the training."""

    def __init__(self, act, at=9):
        super().__init__()
        self.layer = nn.Linear(5, 2)
        self.act, self.at, self.n = act, at, 0

    def forward(self, x):
        self.n += self.training
        if self.training and self.n == self.at:
            self.act()
        return self.layer(x)

    def __repr__(self):
        return "Faulty()"


def faulty(size, act, **params):
    return classifier(size, module=Faulty(act), **params)


def out_of_memory():
    raise MemoryError("no more memory")


FAILURES = []


def out_of_memory_once():
    if not FAILURES:
        FAILURES.append(1)
        out_of_memory()


def nothing():
    pass


@case
def failure_in_a_batch(size, rank):
    return learned(faulty(size, out_of_memory if rank == 1 else nothing), X, Y)


@case
def failure_of_a_callback(size, rank):
    class Fails(sc.Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise OSError("disk full")

    return learned(classifier(size, callbacks=[Fails()] if rank == 0 else None), X, Y)


class LateStep(torch.optim.SGD):
    """Fail in a step, after the gradients are summed."""

    fails = False

    def step(self, closure=None):
        super().step(closure)
        if self.fails:
            raise MemoryError("no more memory")


@case
def failure_of_a_step(size, rank):
    LateStep.fails = rank == 1
    return learned(classifier(size, optimizer=LateStep), X, Y)


@case
def failure_of_the_score(size, rank):
    def fails(estimator, X, y):
        raise ArithmeticError("no score")

    return learned(classifier(size, validation_fraction=0.2, scoring=fails), X, Y)


@case
def failure_before_the_training(size, rank):
    bad = np.where(rank == 1, np.inf, X)
    return learned(classifier(size), bad, Y)


@case
def nan_in_one_process(size, rank):
    class Poisoned(Faulty):
        def forward(self, x):
            output = super().forward(x)
            return output * np.nan if self.n == self.at and rank == 1 else output

    return learned(classifier(size, module=Poisoned(nothing)), X, Y)


@case
def other_rows(size, rank):
    mine = slice(rank, None, 2)
    return learned(classifier(size), X[mine], Y[mine])


@case
def other_features(size, rank):
    return learned(classifier(size), X + rank, Y)


@case
def one_other_number(size, rank):
    mine = X.copy()
    mine[57, 3] += 1e-3 * rank
    return learned(classifier(size), mine, Y)


@case
def other_parameters(size, rank):
    return learned(classifier(size, lr=0.01 * (1 + rank)), X, Y)


@case
def weights_that_drift(size, rank):
    class Drifts(sc.Callback):
        def on_epoch_end(self, net, **kwargs):
            net.optimizer_.param_groups[0]["lr"] = 0.5

    callbacks = [Drifts()] if rank == 0 else None
    return learned(classifier(size, callbacks=callbacks, lr_schedule="constant"), X, Y)


@case
def batch_normalisation(size, rank):
    return learned(classifier(size, module=MLP((8,), normalization="batch")), X, Y)


class OwnLoss(BaseLoss):
    """A loss of the user, which does not say that it looks at the whole batch."""

    def per_sample(self, logits, target):
        values = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        return values * values.detach() / values.detach().mean()


@case
def own_loss(size, rank):
    return learned(classifier(size, loss=OwnLoss()), X, Y)


@case
def watched_batches(size, rank):
    class Watches(sc.Callback):
        def on_batch_end(self, net, **kwargs): ...

    return learned(classifier(size, callbacks=[Watches()]), X, Y)


@case
def an_ensemble(size, rank):
    NetEnsembleClassifier(classifier(size), n_estimators=2).fit(X, Y)


@case
def several_threads(size, rank):
    from joblib import Parallel, delayed

    fit = delayed(classifier(size).fit)
    Parallel(2, backend="threading")(fit(X, Y) for _ in range(2))


# -- ends --------------------------------------------------------------------------------------


@case
def an_end_that_one_asks_for(size, rank):
    class Ends(sc.EarlyStopping):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt  # as skorch's class says stop

    return learned(classifier(size, callbacks=[Ends()] if rank == 1 else None), X, Y)


@case
def ctrl_c_in_one_process(size, rank):
    def ctrl_c():
        os.kill(os.getpid(), signal.SIGINT)

    clf = faulty(size, ctrl_c if rank == 1 else nothing, on_interrupt="keep")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        clf.fit(X, Y)
    return told(clf, interrupted=clf.interrupted_)


@case
def a_group_that_was_there(size, rank):
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/group", rank=rank,
                                world_size=size)  # fmt: skip
    result = learned(classifier(size), X, Y)
    if size > 1:
        assert dist.is_initialized()
        dist.destroy_process_group()
    return result


@case
def a_time_limit_for_a_group_that_was_there(size, rank):
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/limited", rank=rank,
                                world_size=size)  # fmt: skip
    try:
        return learned(classifier(size, data_parallel=60), X, Y)
    finally:
        if size > 1:
            dist.destroy_process_group()


@case
def other_time_limits(size, rank):
    return learned(classifier(size, data_parallel=60 + rank), X, Y)


@case
def a_process_that_comes_late(size, rank):
    if size == 1:
        return {}
    gone = Path(sys.argv[1]) / "gone"
    while rank == 1 and not gone.exists():
        time.sleep(0.1)
    try:
        return learned(classifier(size, data_parallel=3), X, Y)
    finally:
        gone.touch()


@case
def a_process_that_stops(size, rank):
    if size == 1:
        return {}
    stopped = Path(sys.argv[1]) / "stopped"

    def stop():
        stopped.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)

    try:
        clf = faulty(size, stop if rank == 1 else nothing, data_parallel=PATIENCE)
        return learned(clf, X, Y)
    finally:
        if rank == 0 and stopped.exists():
            os.kill(int(stopped.read_text()), signal.SIGCONT)


@case
def a_process_that_dies(size, rank):
    """Has to be the last: the launcher then ends the others, which still have to write."""
    if size > 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return learned(faulty(size, (lambda: os._exit(3)) if rank == 1 else nothing), X, Y)


def outcome(name, size, rank):
    """What a case returns; what it raises and how it left the process."""
    try:
        return CASES[name](size, rank)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    signal.alarm(TIME_LIMIT)  # nobody is left behind, whatever happens
    folder = Path(sys.argv[1])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with (folder / f"{rank}.pickle").open("wb") as file:
        for name in CASES:
            pickle.dump((name, outcome(name, size, rank)), file)
            file.flush()
            assert not dist.is_initialized(), name


if __name__ == "__main__":
    main()
