"""Speed of a search that trains its nets as one stack, against searches fit by fit.

Six gammas of the focal loss on five folds of 20,000 x 15 rows. All train the same network
(15-64-64-2, ReLU) with Adam at a learning rate of 1e-3, 256 rows per batch, for five epochs; they
are scored by average precision, and none is refitted::

    python benchmarks/bench_search.py
    python benchmarks/bench_search.py --rounds 1 --rows 4000 --epochs 1 --jobs 1

Rows per second are rows to train on, times epochs, times nets. Several jobs are processes of
loky, which share the cores and are started before the time is measured. skorch initialises its
weights in another way than imbtorch, so its best score is another one.

How the cost of a net depends on K, in a search over K gammas on one fold::

    python benchmarks/bench_search.py --cost
    python benchmarks/bench_search.py --cost --up-to 1024 --device cuda

The search of the Fraud Detection Handbook (chapter 7): 162 candidates on its four validation folds,
each net behind a StandardScaler, trained on cross-entropy with Adam::

    python benchmarks/bench_search.py --handbook
    python benchmarks/bench_search.py --handbook --grid book
    python benchmarks/bench_search.py --handbook --limit 3

It is measured once, whatever ``--rounds`` is. The published search took 7,351 s with 10 jobs; its
time includes the same 162 candidates on the four test folds, on which nothing is fitted here.
``book`` is the grid of the book: one or two layers of 500 units, rates up to 1e-3. The book never
trains the second layer; here it is trained, which takes most of the time. The grid ``ours`` has as
many candidates: one layer of 100 or 500 units, and rates up to 1e-2.

On a machine that others use too, ``--threads 1`` gives steadier numbers; two jobs then have twice
the cores of the stack.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from common import (
    limit_threads,
    make_parser,
    print_ratios,
    timed_rounds,
    training_rows,
    write_json,
)
from handbook import FOLDS, load_checked
from joblib import parallel_config
from joblib._parallel_backends import LokyBackend
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import Tensor, nn

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.model_selection import StackedGridSearchCV

Array = NDArray[Any]
Search = Callable[[Array, Array], GridSearchCV]
N_ROWS, HIDDEN, BATCH_SIZE, LR = 20_000, (64, 64), 256, 1e-3
IDLE_SECONDS = 3600  # loky's processes stay alive while other contestants run
PUBLISHED_SECONDS = 7_351  # 10 jobs, validation and test folds
GRIDS = {
    "ours": {
        "net__batch_size": [64, 128, 256],
        "net__max_epochs": [10, 20, 40],
        "net__module__hidden_sizes": [(100,), (500,)],
        "net__module__dropout": [0, 0.2, 0.4],
        "net__lr": [1e-4, 1e-3, 1e-2],
    },
    "book": {
        "net__batch_size": [64, 128, 256],
        "net__max_epochs": [10, 20, 40],
        "net__module__hidden_sizes": [(500,), (500, 500)],
        "net__module__dropout": [0, 0.2, 0.4],
        "net__lr": [1e-4, 2e-4, 1e-3],
    },
}


class FocalCriterion(nn.Module):
    """Mean focal loss of a batch, for skorch."""

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        log_proba = torch.log_softmax(logits, dim=1).gather(1, target.unsqueeze(1)).squeeze(1)
        return -((1 - log_proba.exp()) ** self.gamma * log_proba).mean()


class Network(nn.Sequential):
    """The network for skorch: a class, so that every candidate has new random weights."""

    def __init__(self, n_features: int) -> None:
        layers: list[nn.Module] = []
        for n_inputs, n_outputs in zip((n_features, *HIDDEN), HIDDEN, strict=False):
            layers += [nn.Linear(n_inputs, n_outputs), nn.ReLU()]
        super().__init__(*layers, nn.Linear(HIDDEN[-1], 2))


def softmax(logits: Tensor) -> Tensor:
    """Turn logits into probabilities; skorch does so for its own criteria only."""
    return torch.softmax(logits, dim=-1)


def imbtorch_net(epochs: int, device: str = "cpu") -> ImbalancedNetClassifier:
    return ImbalancedNetClassifier(
        MLP(HIDDEN, activation="relu"),
        loss="focal",
        optimizer="adam",
        lr=LR,
        weight_decay=0,
        lr_schedule="constant",
        batch_size=BATCH_SIZE,
        max_epochs=epochs,
        device=device,
        features=None,  # the waves that the default puts in front would be a larger network
        random_state=0,
    )


def skorch_net(epochs: int, n_features: int) -> NeuralNetClassifier:
    return NeuralNetClassifier(
        Network,
        module__n_features=n_features,
        criterion=FocalCriterion,
        optimizer=torch.optim.Adam,
        lr=LR,
        batch_size=BATCH_SIZE,
        max_epochs=epochs,
        train_split=None,
        iterator_train__shuffle=True,
        predict_nonlinearity=softmax,
        verbose=0,
    )


def stacked(net: Any, grid: Any, cv: Any, X: Array, y: Array, **parameters: Any) -> GridSearchCV:
    """Search with a stack."""
    search = StackedGridSearchCV(
        net, grid, scoring="average_precision", cv=cv, refit=False, **parameters
    )
    return search.fit(X, y)


class PatientLoky(LokyBackend):
    """Loky, whose idle processes wait; ``parallel_config`` of joblib 1.3 cannot say how long."""

    def configure(self, *args: Any, **parameters: Any) -> Any:
        return super().configure(*args, **{"idle_worker_timeout": IDLE_SECONDS, **parameters})


def stacked_on_workers(
    net: Any, grid: Any, cv: Any, n_jobs: int, threads: int | None, X: Array, y: Array
) -> GridSearchCV:
    """Search with one stack for each of several processes."""
    with parallel_config(PatientLoky(inner_max_num_threads=threads)):
        return stacked(net, grid, cv, X, y, n_jobs=n_jobs)


def fit_by_fit(
    net: Any, grid: Any, cv: Any, n_jobs: int, threads: int | None, X: Array, y: Array
) -> GridSearchCV:
    """Search as scikit-learn does; each of several jobs has ``threads`` threads."""
    search = GridSearchCV(net, grid, scoring="average_precision", cv=cv, refit=False, n_jobs=n_jobs)
    if n_jobs == 1:
        return search.fit(X, y)
    with parallel_config(PatientLoky(inner_max_num_threads=threads)):
        return search.fit(X, y)


def contestants(args: argparse.Namespace, n_features: int) -> dict[str, Search]:
    """Return the contestants: searches."""
    ours, theirs = imbtorch_net(args.epochs), skorch_net(args.epochs, n_features)
    searches: dict[str, Search] = {
        "StackedGridSearchCV": partial(stacked, ours, {"loss__gamma": args.gammas}, args.folds)
    }
    for n_jobs in args.jobs:
        if n_jobs > 1:
            searches[f"StackedGridSearchCV, n_jobs={n_jobs}"] = partial(
                stacked_on_workers,
                ours,
                {"loss__gamma": args.gammas},
                args.folds,
                n_jobs,
                args.threads,
            )
    for whose, net, name in (
        ("imbtorch", ours, "loss__gamma"),
        ("skorch", theirs, "criterion__gamma"),
    ):
        for n_jobs in args.jobs:
            searches[f"GridSearchCV, {whose}, n_jobs={n_jobs}"] = partial(
                fit_by_fit, net, {name: args.gammas}, args.folds, n_jobs, args.threads
            )
    return searches


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the contestants, and print."""
    X, y = (array[: args.rows] for array in training_rows())
    n_nets = len(args.gammas) * args.folds
    threads = limit_threads(args.threads)
    print(f"{args.epochs} epochs, median of {args.rounds} rounds, {threads} threads")
    scores: dict[str, float] = {}

    def run(name: str, search: Search) -> None:
        scores[name] = float(search(X, y).best_score_)

    tasks = {}
    few = np.sort(np.concatenate([np.flatnonzero(y == label)[::4] for label in (0, 1)]))
    for name, search in contestants(args, X.shape[1]).items():
        search(X[few], y[few])  # first calls are slower; it also starts the processes
        tasks[name] = partial(run, name, search)
    seconds = timed_rounds(tasks, args.rounds)
    title = (
        f"{len(args.gammas)} gammas x {args.folds} folds, {len(X):,} rows; "
        "ratio: seconds / seconds of the stack"
    )
    rows = round(len(X) * (1 - 1 / args.folds)) * args.epochs * n_nets
    print_ratios(title, seconds, "StackedGridSearchCV", rows)
    print("\nbest mean average precision")
    for name in seconds:
        print(f"{name:<{max(map(len, seconds))}}{scores[name]:>10.4f}")
    return {"seconds": seconds, "best_scores": scores, "rows": len(X)}


def cost(args: argparse.Namespace) -> dict[str, Any]:
    """Measure searches over 1, 2, 4, ... nets on one fold, and print."""
    X, y = (array[: args.rows] for array in training_rows())
    counts = [2**power for power in range(args.up_to.bit_length())]
    fold = [next(StratifiedKFold(5).split(X, y))]
    net = imbtorch_net(args.epochs, args.device)
    threads = limit_threads(args.threads)
    print(
        f"{len(fold[0][0]):,} rows to train on, {args.epochs} epochs, device {args.device}, "
        f"median of {args.rounds} rounds, {threads} threads"
    )
    tasks = {}
    for count in counts:
        grid = {"loss__gamma": np.linspace(1, 5, count).tolist()}
        # without a bound on memory all of them are one stack
        tasks[str(count)] = partial(stacked, net, grid, fold, X, y, max_memory=None)
    for count in counts[:2]:  # first calls are slower, of one net and of a stack
        tasks[str(count)]()
    seconds = timed_rounds(tasks, args.rounds)
    print(f"\n{'nets':>6}{'seconds':>10}{'ms per net and epoch':>22}{'of one net':>12}")
    for count in counts:
        each = seconds[str(count)] / count
        share = each / seconds["1"]
        print(
            f"{count:>6}{seconds[str(count)]:>10.3f}{1e3 * each / args.epochs:>22.2f}{share:>12.3f}"
        )
    return {"seconds": seconds, "device": args.device, "rows": len(X)}


def handbook(args: argparse.Namespace, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Search as the Handbook does, once, and print."""
    starts = FOLDS["validation"]
    data = load_checked(parser).between(min(starts), max(starts) + 20)
    folds = [data.fold(start) for start in starts]
    candidates = list(ParameterGrid(GRIDS[args.grid]))[: args.limit]
    threads = limit_threads(args.threads)
    print(f"{len(candidates)} candidates x {len(folds)} folds, {threads} threads", flush=True)
    net = imbtorch_net(1, args.device).set_params(loss="cross_entropy")
    pipeline = Pipeline([("scale", StandardScaler()), ("net", net)])
    grid = [{name: [value] for name, value in one.items()} for one in candidates]
    began = time.perf_counter()
    search = stacked(pipeline, grid, folds, data.X, data.y, n_jobs=args.stack_jobs)
    seconds = time.perf_counter() - began
    print(f"\nseconds          {seconds:.1f}")
    print(f"best parameters  {search.best_params_}")
    print(f"best score       {search.best_score_:.4f}")
    print(f"\nPublished, 162 candidates on 8 folds, 10 jobs: {PUBLISHED_SECONDS:,} seconds")
    return {
        "seconds": seconds,
        "grid": args.grid,
        "device": args.device,
        "candidates": len(candidates),
        "best_params": repr(search.best_params_),
        "best_score": float(search.best_score_),
    }


def positive(text: str) -> int:
    """Read a number of at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, rounds=3)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--cost", action="store_true", help="cost against the number of nets")
    what.add_argument("--handbook", action="store_true", help="the Handbook's search, once")
    parser.add_argument("--epochs", type=positive, default=5, help="of each net (%(default)s)")
    parser.add_argument(
        "--rows", type=positive, default=N_ROWS, help="use the first so many rows (%(default)s)"
    )
    one = parser.add_argument_group("the comparison")
    one.add_argument(
        "--gammas", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0, 3.0, 5.0], metavar="GAMMA"
    )
    one.add_argument("--folds", type=positive, default=5, help="inner folds (%(default)s)")
    one.add_argument(
        "--jobs", type=positive, nargs="+", default=[1, 2], metavar="N", help="jobs of GridSearchCV"
    )
    two = parser.add_argument_group("--cost and --handbook")
    two.add_argument("--device", default="cpu", help="where the nets are trained (%(default)s)")
    two.add_argument(
        "--up-to", type=positive, default=256, metavar="K", help="most nets (%(default)s)"
    )
    two.add_argument("--grid", choices=GRIDS, default="ours", help="candidates (%(default)s)")
    two.add_argument("--limit", type=positive, metavar="N", help="only the first N candidates")
    two.add_argument("--stack-jobs", type=int, metavar="N", help="workers that share the stacks")
    args = parser.parse_args(argv)
    if args.handbook:
        results = handbook(args, parser)
    else:
        results = cost(args) if args.cost else compare(args)
        results |= {"epochs": args.epochs, "rounds": args.rounds}
    write_json(args.json, results)


if __name__ == "__main__":
    main()
