"""What a training step costs with each loss, against cross-entropy.

The default net is trained on the same rows each time, so that steps differ in the loss alone::

    python benchmarks/bench_losses.py
    python benchmarks/bench_losses.py --threads 1 --batch-sizes 256 --losses focal seesaw

A ratio is the time of a step with the loss, divided by the time of a step with cross-entropy that
is measured right before it; the table shows the median over the rounds. ``F.cross_entropy`` is the
same step in a bare loop of torch, with autograd and the fused optimizer.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from common import PLAIN_MLP, limit_threads, make_parser, training_rows, write_json
from numpy.typing import NDArray

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.losses import BaseLoss, all_losses

Array = NDArray[Any]
REFERENCE = "cross_entropy"
BARE = "F.cross_entropy, bare loop"


def fit(X: Array, y: Array, batch_size: int, loss: str) -> None:
    ImbalancedNetClassifier(
        loss=loss, batch_size=batch_size, max_epochs=1, device="cpu", random_state=0
    ).set_params(**PLAIN_MLP).fit(X, y)


def bare_loop(X: Array, y: Array, batch_size: int) -> None:
    torch.manual_seed(0)
    module = MLP().build((X.shape[1],), 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=0.1, fused=True)
    features, codes = torch.from_numpy(X), torch.from_numpy(y)
    order = torch.randperm(len(codes))
    features, codes = features[order], codes[order]
    for first in range(0, len(codes), batch_size):
        batch = slice(first, first + batch_size)
        optimizer.zero_grad()
        F.cross_entropy(module(features[batch]), codes[batch]).backward()
        optimizer.step()


def seconds_of(task: Callable[[], None]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def ratios(tasks: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Return the median ratio of each task to the reference, which runs before it each time."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for name in rng.permutation(list(tasks)).tolist():
            gc.collect()
            reference = seconds_of(tasks[REFERENCE])
            found[name].append(seconds_of(tasks[name]) / reference)
    return {name: float(np.median(values)) for name, values in found.items()}


def is_per_row(name: str) -> bool:
    """Return whether the loss is a sum over rows, rather than a function of the whole batch."""
    cls = all_losses()[name]
    return cls.per_sample is not BaseLoss.per_sample


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256, 1024], metavar="N")
    parser.add_argument("--losses", nargs="+", default=list(all_losses()), metavar="NAME")
    parser.add_argument("--rows", type=int, default=20_000, help="rows to train on (%(default)s)")
    args = parser.parse_args(argv)
    X, y = (array[: args.rows] for array in training_rows())
    threads = limit_threads(args.threads)
    print(f"default net, {len(y):,} rows, median of {args.rounds} rounds, {threads} threads")
    table = {}
    for batch_size in args.batch_sizes:
        tasks: dict[str, Callable[[], None]] = {
            name: partial(fit, X, y, batch_size, name) for name in {REFERENCE, *args.losses}
        }
        tasks[BARE] = partial(bare_loop, X, y, batch_size)
        for task in tasks.values():
            task()  # first calls are slower
        table[batch_size] = ratios(tasks, args.rounds)
    names = sorted(args.losses, key=lambda name: (not is_per_row(name), name))
    header = "".join(f"{f'batch {size}':>12}" for size in args.batch_sizes)
    print(f"\n{'time of a step / with cross-entropy':<38}{header}")
    for name in [BARE, *names]:
        kind = "" if name == BARE or is_per_row(name) else " (whole batch)"
        cells = "".join(f"{table[size][name]:>12.2f}" for size in args.batch_sizes)
        print(f"{name + kind:<38}{cells}")
    write_json(args.json, {"rows": len(y), "rounds": args.rounds, "ratios": table})


if __name__ == "__main__":
    main()
