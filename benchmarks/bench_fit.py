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

How far a step is from the floor of eager torch, which is the time of its matrix products alone::

    python benchmarks/bench_fit.py --floor

It measures every step by itself, on one thread, and prints the time that one in ten steps stays
below, and the median: other programs on the machine disturb some of the steps only.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from common import (
    WIDTHS,
    limit_threads,
    make_parser,
    matrix_products,
    network,
    print_ratios,
    timed_rounds,
    train_in_bare_loop,
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
from imbtorch.training.data.rows import ArrayRows

Array = NDArray[Any]
LR = 1e-3
FLOOR_ROWS, FLOOR_EPOCHS = 16_384, 4


def imbtorch(
    X: Array,
    y: Array,
    batch_size: int,
    epochs: int,
    device: str,
    loss: str = "cross_entropy",
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
    """Train with the least work possible."""
    train_in_bare_loop(network(), X, y, batch_size, epochs, device, LR)


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


@contextmanager
def seconds_of_steps() -> Iterator[list[float]]:
    """Note how long it takes until the training has the next batch."""
    seconds: list[float] = []
    batches = ArrayRows.batches

    def timed(*given: Any, **parameters: Any) -> Iterator[Any]:
        begin = time.perf_counter()
        for batch in batches(*given, **parameters):
            yield batch
            end = time.perf_counter()
            seconds.append(end - begin)
            begin = end

    with patch.object(ArrayRows, "batches", timed):
        yield seconds


def floor(args: Any, X: Array, y: Array) -> dict[str, Any]:
    """Measure the steps of imbtorch against their matrix products alone, and print."""
    limit_threads(1)
    print("microseconds of a step: the fastest tenth (median)")
    print(f"{'rows':>6}{'products':>16}{'imbtorch':>16}{'times the products':>22}")
    X, y, found = X[:FLOOR_ROWS], y[:FLOOR_ROWS], {}
    for batch_size in args.batch_sizes:
        step, products, ours = matrix_products(WIDTHS, batch_size, like_linear=True), [], []
        for _ in range(args.rounds):
            with seconds_of_steps() as seconds:
                imbtorch(X, y, batch_size, FLOOR_EPOCHS, "cpu")
            ours += seconds
            for _ in seconds:
                begin = time.perf_counter()
                step()
                products.append(time.perf_counter() - begin)
        both = 1e6 * np.quantile([products, ours], [0.1, 0.5], axis=1)
        cells = "".join(f"{f'{tenth:.0f} ({median:.0f})':>16}" for tenth, median in both.T)
        ratios = both[:, 1] / both[:, 0]
        print(f"{batch_size:>6}{cells}{f'{ratios[0]:.2f} ({ratios[1]:.2f})':>22}")
        found[str(batch_size)] = dict(zip(["products", "imbtorch"], both.T.tolist(), strict=True))
    return found


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
    parser.add_argument(
        "--floor", action="store_true", help="a step against its matrix products alone"
    )
    args = parser.parse_args(argv)
    X, y = (array[: args.rows] for array in training_rows())
    if args.floor:
        write_json(args.json, {"microseconds": floor(args, X, y)})
        return
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
