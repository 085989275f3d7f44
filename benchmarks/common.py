"""What the benchmarks share: data, nets and what they are compared with, timing, memory, tables."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn

FRAUD_FILE = "fraud_transactions.npz"
N_ROWS, N_FEATURES, FRAUD_SHARE = 1_754_155, 15, 0.0084
WIDTHS = (N_FEATURES, 100, 100, 2)  # of the network of all contestants: features, layers, logits
FIT_DAY, FIT_ROWS, FIT_FRAUDS = 115, 67_240, 598
# two hidden layers on scaled numbers: the net of the studies that compare remedies and lengths
PLAIN_MLP: dict[str, Any] = {"module": "mlp", "features__numeric_embedding": None}


def data_folder() -> Path:
    """Return the folder that ``$IMBTORCH_DATA`` names, else ``../shared/data`` by the checkout."""
    named = os.environ.get("IMBTORCH_DATA")
    checkout = Path(__file__).resolve().parents[1]
    return Path(named) if named else checkout.parent / "shared" / "data"


def fraud_file() -> Path | None:
    """Return the path of the card fraud data, or None if they are not in the data folder."""
    path = data_folder() / FRAUD_FILE
    return path if path.is_file() else None


def training_rows() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load one week of transactions, standardised: 67,240 x 15 with 598 frauds.

    Returns
    -------
    X : ndarray of float32, shape (67240, 15)
    y : ndarray of int64, shape (67240,)
        A synthetic stand-in of this shape and imbalance where the data are not found.
    """
    path = fraud_file()
    if path is None:
        print("Data: synthetic stand-in; the fraud data are not here.")
        return synthetic(FIT_ROWS, FIT_FRAUDS)
    with np.load(path) as data:
        week = (data["day"] >= FIT_DAY) & (data["day"] < FIT_DAY + 7)
        X, y = data["X"][week], data["y"][week].astype(np.int64)
    print(f"Data: fraud transactions, {X.shape[0]:,} x {X.shape[1]}, {y.sum()} frauds.")
    return standardized(X), y


def all_rows(first: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Load the ``first`` or all transactions, standardised: 1,754,155 x 15; or a stand-in."""
    path = fraud_file()
    if path is None:
        print("Data: synthetic stand-in; the fraud data are not here.")
        n = N_ROWS if first is None else min(first, N_ROWS)
        return synthetic(n, round(n * FRAUD_SHARE))
    with np.load(path) as data:
        X, y = data["X"][:first], data["y"][:first].astype(np.int64)
    print(f"Data: fraud transactions, {X.shape[0]:,} x {X.shape[1]}, {y.sum():,} frauds.")
    return standardized(X), y


def standardized(X: NDArray[Any]) -> NDArray[np.float32]:
    """Scale columns to mean 0 and variance 1."""
    mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1  # the first days have no frauds to count yet
    return np.ascontiguousarray((X - mean) / deviation, dtype=np.float32)


def synthetic(n: int, n_rare: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw normal features, moved by half a deviation in the ``n_rare`` rare rows."""
    rng = np.random.default_rng(0)
    y = np.zeros(n, dtype=np.int64)
    y[rng.choice(n, n_rare, replace=False)] = 1
    X = rng.standard_normal((n, N_FEATURES), dtype=np.float32)
    X[y == 1] += np.float32(0.5)
    return X, y


def network() -> nn.Sequential:
    """Build the network of all contestants: two hidden layers of 100, ReLU, two logits."""
    torch.manual_seed(0)
    n_inputs, first, second, n_outputs = WIDTHS
    return nn.Sequential(
        nn.Linear(n_inputs, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, n_outputs),
    )


def matrix_products(
    widths: Sequence[int],
    rows: int,
    *,
    n_nets: int = 1,
    backward: bool = True,
    like_linear: bool = False,
) -> Callable[[], None]:
    """Return a function that computes the matrix products of one step, and nothing else.

    Each product is written into memory that is kept.

    Parameters
    ----------
    widths : sequence of int
        Number of features, width of each hidden layer, number of outputs.
    rows : int
        Number of rows of a batch.
    n_nets : int, default=1
        Number of nets whose products are computed together.
    backward : bool, default=True
        Whether the products of the gradients are computed, too.
    like_linear : bool, default=False
        Whether weights and their gradients lie in memory as those of ``torch.nn.Linear``, one
        output after the other; else one input after the other, as in the tables that ``bench.py``
        has kept so far. This changes the time by up to a tenth.
    """
    x = [torch.randn(n_nets, rows, width) for width in widths]
    sizes = list(zip(widths, widths[1:], strict=False))
    if like_linear:
        w = [torch.randn(n_nets, n_out, n_in).mT for n_in, n_out in sizes]
    else:
        w = [torch.randn(n_nets, n_in, n_out) for n_in, n_out in sizes]
    if n_nets == 1:
        x, w = [a[0] for a in x], [a[0] for a in w]
    multiply: Any = torch.mm if n_nets == 1 else torch.bmm
    layers = [(x[i], w[i], torch.empty_like(x[i + 1])) for i in range(len(w))]
    back = [(x[i + 1], x[i], w[i].mT, torch.empty_like(w[i]), torch.empty_like(x[i]))
            for i in reversed(range(len(w)))]  # fmt: skip

    def step() -> None:
        for a, b, out in layers:
            multiply(a, b, out=out)
        for place, (gradient, a, b, of_weight, of_rows) in enumerate(back if backward else []):
            multiply(a.mT, gradient, out=of_weight)
            if place + 1 < len(back):  # nobody needs the gradient of the features
                multiply(gradient, b, out=of_rows)

    return step


def train_in_bare_loop(
    module: nn.Module,
    X: NDArray[Any],
    y: NDArray[Any],
    batch_size: int,
    epochs: int,
    device: str = "cpu",
    lr: float = 1e-3,
) -> None:
    """Train with the least work possible: slices of shuffled tensors, a fused optimizer.

    Parameters
    ----------
    module : torch.nn.Module
        Net with one output for each class.
    X, y : ndarray of shape (n, n_features) and (n,)
        Rows and classes.
    batch_size, epochs : int
        Number of rows of a batch, and of passes over the rows.
    device : str, default="cpu"
        Where the net is trained.
    lr : float, default=1e-3
        Learning rate of Adam.
    """
    module = module.to(device).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=lr, fused=True)
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


def limit_threads(n: int | None) -> int:
    """Limit the threads of torch and of numpy, and return how many torch uses."""
    if n is not None:
        torch.set_num_threads(n)
        threadpool_limits(n)
    return torch.get_num_threads()


def timed_runs(
    contestants: dict[str, Callable[[], object]],
    rounds: int,
    seed: int = 0,
    pause: float = 0.3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Measure every contestant once a round, in a new random order for each round.

    The thread pools of numpy and torch stay active for a while after use and slow down the next
    measurement. So the order is shuffled, and there is a pause before each measurement.

    Parameters
    ----------
    contestants : dict of callable
        Functions to measure, by name.
    rounds : int
        Number of measurements of each function.
    seed : int, default=0
        Seed of the random order.
    pause : float, default=0.3
        Seconds before each measurement.
    clock : callable() -> seconds, default=time.perf_counter
        ``time.process_time`` leaves out the time in which other programs have the processor.

    Returns
    -------
    dict of list of float
        Seconds of each measurement of each contestant.
    """
    rng = np.random.default_rng(seed)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name in rng.permutation(list(contestants)).tolist():
            gc.collect()
            time.sleep(pause)
            start = clock()
            contestants[name]()
            seconds[name].append(clock() - start)
    return seconds


def timed_rounds(
    contestants: dict[str, Callable[[], object]], rounds: int, seed: int = 0
) -> dict[str, float]:
    """Return the median seconds of each contestant, measured as by :func:`timed_runs`."""
    runs = timed_runs(contestants, rounds, seed)
    return {name: float(np.median(values)) for name, values in runs.items()}


def print_ratios(title: str, seconds: dict[str, float], reference: str, rows: int) -> None:
    """Print seconds, rows per second, and seconds as a multiple of the reference's.

    Parameters
    ----------
    title : str
        Heading of the table.
    seconds : dict of float
        Seconds of each contestant.
    reference : str
        The contestant that the others are compared with.
    rows : int
        Number of rows that every contestant processed.
    """
    width = max(map(len, seconds))
    print(f"\n{title}\n{'':<{width}}{'seconds':>10}{'rows/s':>14}{'ratio':>9}")
    for name, value in seconds.items():
        ratio = value / seconds[reference]
        print(f"{name:<{width}}{value:>10.3f}{rows / value:>14,.0f}{ratio:>9.2f}", flush=True)


def current_memory() -> int:
    """Return the memory that this process occupies, in bytes; its peak where that is unknown."""
    return _memory("VmRSS")


def peak_memory() -> int:
    """Return the most memory that this process has occupied so far, in bytes."""
    return _memory("VmHWM")


def _memory(field: str) -> int:
    # getrusage is not used on Linux: there a process inherits the peak of its parent process
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_fresh_process(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script of this folder in a process of its own.

    Parameters
    ----------
    script : str
        Path of the script.
    *arguments : str
        Arguments of its command line.

    Returns
    -------
    dict
        The JSON object that the script printed on its last line.
    """
    done = subprocess.run(
        [sys.executable, script, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_json(path: Path | None, results: dict[str, Any]) -> None:
    """Write the results as JSON, with the versions and the machine they were measured with."""
    if path is None:
        return
    machine = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    path.write_text(json.dumps({"machine": machine, **results}, indent=2) + "\n")


def make_parser(description: str, rounds: int | None = None) -> argparse.ArgumentParser:
    """Start a command line with the options that the benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="measurements (%(default)s)")
        parser.add_argument(
            "--threads", type=int, help="threads of torch and of numpy (default: theirs)"
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    return parser
