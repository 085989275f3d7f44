"""Speed of ``fit`` against skorch, a DataLoader loop, a bare loop and scikit-learn.

All contestants train the same network (15-100-100-2, ReLU) on the same rows with Adam at a learning
rate of 1e-3 on cross-entropy, for the same number of epochs and rows per batch::

    python benchmarks/bench_fit.py
    python benchmarks/bench_fit.py --rounds 3 --batch-sizes 256 --loss focal logit_adjusted

Rows per second are rows of ``X`` given to ``fit`` times epochs. skorch's defaults hold 20% of
them out for validation and score them after each epoch; without that it trains on all of them.

On a machine that others use too, ``--threads 1`` gives steadier numbers. ``--device cuda`` measures
a GPU: scikit-learn, which has none, stays on the CPU::

    python benchmarks/bench_fit.py --device cuda --batch-sizes 256 4096
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from common import (
    limit_threads,
    make_parser,
    network,
    print_ratios,
    timed_rounds,
    training_rows,
    write_json,
)
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from imbtorch import ImbalancedNetClassifier

Array = NDArray[Any]
LR = 1e-3


def imbtorch(
    X: Array, y: Array, batch_size: int, epochs: int, device: str, loss: str = "cross_entropy"
) -> None:
    ImbalancedNetClassifier(
        network(),
        loss=loss,
        optimizer="adam",
        lr=LR,
        weight_decay=0,
        lr_schedule="constant",
        batch_size=batch_size,
        max_epochs=epochs,
        device=device,
        random_state=0,
    ).fit(X, y)


def skorch(
    X: Array, y: Array, batch_size: int, epochs: int, device: str, **parameters: Any
) -> None:
    NeuralNetClassifier(
        network(),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LR,
        batch_size=batch_size,
        max_epochs=epochs,
        device=device,
        verbose=0,
        **parameters,
    ).fit(X, y)


def data_loader_loop(X: Array, y: Array, batch_size: int, epochs: int, device: str) -> None:
    """Train in a loop as tutorials show it."""
    module = network().to(device)
    optimizer = torch.optim.Adam(module.parameters(), lr=LR)
    loader = DataLoader(
        TensorDataset(torch.from_numpy(X), torch.from_numpy(y)),
        batch_size=batch_size,
        shuffle=True,
    )
    for _ in range(epochs):
        total = 0.0
        for features, codes in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(module(features.to(device)), codes.to(device))
            loss.backward()
            optimizer.step()
            total += loss.item()


def bare_loop(X: Array, y: Array, batch_size: int, epochs: int, device: str) -> None:
    """Train with the least work possible: slices of shuffled tensors, a fused optimizer."""
    module = network().to(device)
    optimizer = torch.optim.Adam(module.parameters(), lr=LR, fused=True)
    features, codes = torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)
    for _ in range(epochs):
        order = torch.randperm(len(codes), device=device)
        x_shuffled, y_shuffled = features[order], codes[order]
        for first in range(0, len(codes), batch_size):
            batch = slice(first, first + batch_size)
            optimizer.zero_grad()
            F.cross_entropy(module(x_shuffled[batch]), y_shuffled[batch]).backward()
            optimizer.step()
    next(module.parameters()).sum().item()  # waits for the device


def scikit_learn(X: Array, y: Array, batch_size: int, epochs: int, device: str) -> None:
    del device  # it has the CPU only
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so few epochs do not converge
        MLPClassifier(
            (100, 100),
            learning_rate_init=LR,
            alpha=0.0,
            batch_size=batch_size,
            max_iter=epochs,
            random_state=0,
        ).fit(X, y)


def contestants(losses: Sequence[str]) -> dict[str, Callable[..., None]]:
    """Return the contestants: functions that train."""
    return {
        "imbtorch": imbtorch,
        **{f"imbtorch, {loss}": partial(imbtorch, loss=loss) for loss in losses},
        "bare loop, fused Adam": bare_loop,
        "scikit-learn MLPClassifier": scikit_learn,
        "DataLoader loop": data_loader_loop,
        "skorch, train_split=None": partial(skorch, train_split=None),
        "skorch, defaults": skorch,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--epochs", type=int, default=2, help="passes over the rows (%(default)s)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256, 1024], metavar="N")
    parser.add_argument(
        "--loss", nargs="*", default=[], metavar="NAME", help="further losses of imbtorch"
    )
    parser.add_argument("--rows", type=int, help="use the first so many rows only")
    parser.add_argument("--device", default="cpu", help="where the nets train (%(default)s)")
    args = parser.parse_args(argv)
    X, y = (array[: args.rows] for array in training_rows())
    threads = limit_threads(args.threads)
    print(f"{args.epochs} epochs, median of {args.rounds} rounds, {threads} threads, {args.device}")
    seconds = {}
    for batch_size in args.batch_sizes:
        tasks = {}
        for name, train in contestants(args.loss).items():
            train(X[::8], y[::8], batch_size, 1, args.device)  # first calls are slower
            tasks[name] = partial(train, X, y, batch_size, args.epochs, args.device)
        seconds[batch_size] = timed_rounds(tasks, args.rounds)
        title = f"fit, {batch_size} rows per batch; ratio: seconds / seconds of imbtorch"
        print_ratios(title, seconds[batch_size], "imbtorch", rows=len(X) * args.epochs)
    write_json(args.json, {"epochs": args.epochs, "rounds": args.rounds, "seconds": seconds})


if __name__ == "__main__":
    main()
