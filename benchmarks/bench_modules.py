"""Speed of ``fit`` by the kind of module: with a graph, without one, and in a bare loop.

All nets have layers 15-100-100-2 and ReLU, in a ``Sequential``, in a module of one's own, with
normalisations, residual connections, or behind the encoder of a table and waves of the numbers.
Each is trained for the same number of epochs on the same rows, with Adam at a learning rate of 1e-3
on cross-entropy::

    python benchmarks/bench_modules.py --threads 1

"graph" is the same fit with all gradients computed by autograd. "bare loop" is torch alone on
shuffled tensors with a fused optimizer, without an encoder of the table. Numbers are microseconds
of processor time a step: the least of the rounds, in which the ways alternate, so that other
programs on the machine disturb little. They hold the whole fit, with its checks of the data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from common import limit_threads, make_parser, train_in_bare_loop, training_rows, write_json
from numpy.typing import NDArray
from torch import Tensor, nn

from imbtorch import ImbalancedNetClassifier
from imbtorch.training.single.engine import SingleEngine

Array = NDArray[Any]
LR, WIDTH = 1e-3, 100


def plain(n_inputs: int, n_outputs: int) -> nn.Module:
    """Build a sequence of layers."""
    return nn.Sequential(
        nn.Linear(n_inputs, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, n_outputs),
    )


class Own(nn.Module):
    """The same layers in a module of one's own, maybe with normalisation."""

    def __init__(
        self, n_inputs: int, n_outputs: int, normalization: type[nn.Module] = nn.Identity
    ) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(n_inputs, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norms = nn.ModuleList([normalization(WIDTH), normalization(WIDTH)])
        self.head = nn.Linear(WIDTH, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits."""
        x = F.relu(self.norms[0](self.first(x)))
        x = F.relu(self.norms[1](self.second(x)))
        return self.head(x)


class Residual(Own):
    """The same layers, the second one around a residual connection, and a head for each class."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__(n_inputs, n_outputs)
        self.heads = nn.ModuleList([nn.Linear(WIDTH, 1) for _ in range(n_outputs)])
        del self.head

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits."""
        x = F.relu(self.first(x))
        x = x + F.relu(self.second(x))
        return torch.cat([head(x) for head in self.heads], dim=1)


NETS: dict[str, Callable[[int, int], nn.Module]] = {
    "plain sequence": plain,
    "module of one's own": Own,
    "... with batch normalisation": partial(Own, normalization=nn.BatchNorm1d),
    "... with layer normalisation": partial(Own, normalization=nn.LayerNorm),
    "... with a residual connection and two heads": Residual,
}
BEHIND = {
    "plain sequence, behind a table encoder and waves": plain,
    "module of one's own, behind a table encoder and waves": Own,
}


def fit(
    build: Callable[[int, int], nn.Module],
    X: Array,
    y: Array,
    batch_size: int,
    epochs: int,
    numeric_embedding: str | None = None,
) -> None:
    """Train by ``fit``."""
    clf = ImbalancedNetClassifier(
        lambda shape, n_outputs: build(*shape, n_outputs),
        optimizer="adam",
        lr=LR,
        weight_decay=0,
        lr_schedule="constant",
        batch_size=batch_size,
        max_epochs=epochs,
        random_state=0,
        device="cpu",
    )
    clf.set_params(features=None if numeric_embedding is None else "auto")
    if numeric_embedding is not None:
        clf.set_params(features__numeric_embedding=numeric_embedding)
    clf.fit(X, y)


def fit_with_graph(*args: Any) -> None:
    """Train by ``fit``, with all gradients computed by autograd."""
    with mock.patch.object(SingleEngine, "_needs_graph", return_value=True):
        fit(*args)


def bare_loop(
    build: Callable[[int, int], nn.Module], X: Array, y: Array, batch_size: int, epochs: int
) -> None:
    """Train with the least work possible."""
    torch.manual_seed(0)
    train_in_bare_loop(build(X.shape[1], 2), X, y, batch_size, epochs, lr=LR)


def ways(X: Array, y: Array, batch_size: int, epochs: int) -> dict[str, Callable[[], object]]:
    """Return what is measured: ``{"net|way": function}``."""
    tasks: dict[str, Callable[[], object]] = {}
    for name, build in NETS.items():
        data = (build, X, y, batch_size, epochs)
        tasks[f"{name}|fit"] = partial(fit, *data)
        tasks[f"{name}|graph"] = partial(fit_with_graph, *data)
        tasks[f"{name}|bare loop"] = partial(bare_loop, *data)
    for name, build in BEHIND.items():
        data = (build, X, y, batch_size, epochs, "periodic")
        tasks[f"{name}|fit"] = partial(fit, *data)
        tasks[f"{name}|graph"] = partial(fit_with_graph, *data)
    return tasks


def least_seconds(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Measure every task once a round, and return the least time of the processor for each."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            seconds[name].append(time.process_time() - start)
    return {name: min(values) for name, values in seconds.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument("--epochs", type=int, default=1, help="passes over the rows (%(default)s)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256, 1024], metavar="N")
    parser.add_argument("--rows", type=int, default=16_384, help="first rows (%(default)s)")
    args = parser.parse_args(argv)
    X, y = (array[: args.rows] for array in training_rows())
    threads = limit_threads(args.threads)
    print(f"{len(X)} rows, {args.epochs} epochs, least of {args.rounds} rounds, {threads} threads")
    measured = {}
    for batch_size in args.batch_sizes:
        tasks = ways(X, y, batch_size, args.epochs)
        least_seconds(ways(X[::16], y[::16], batch_size, 1), 1)  # first calls are slower
        seconds = least_seconds(tasks, args.rounds)
        steps = args.epochs * -(-len(X) // batch_size)
        table = {name: 1e6 * value / steps for name, value in seconds.items()}
        measured[batch_size] = table
        print(f"\n{batch_size} rows per batch: microseconds a step")
        print(f"{'':<55}{'fit':>8}{'graph':>8}{'ratio':>8}{'bare loop':>11}{'fit/plain':>11}")
        for name in [*NETS, *BEHIND]:
            of_fit, graph = table[f"{name}|fit"], table[f"{name}|graph"]
            bare = table.get(f"{name}|bare loop", np.nan)
            like = next(iter(BEHIND)) if name in BEHIND else next(iter(NETS))
            shares = f"{graph / of_fit:>8.2f}{bare:>11.0f}{of_fit / table[f'{like}|fit']:>11.2f}"
            print(f"{name:<55}{of_fit:>8.0f}{graph:>8.0f}{shares}", flush=True)
    write_json(args.json, {"rounds": args.rounds, "microseconds": measured})


if __name__ == "__main__":
    main()
