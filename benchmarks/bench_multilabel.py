"""Speed and memory of multi-label training on sparse rows, against skorch on dense ones.

bibtex (7,395 x 1,836 sparse, 159 labels) or a synthetic stand-in of its shape; the same net (one
hidden layer of 256, ReLU), Adam, binary cross-entropy and number of epochs for both::

    python benchmarks/bench_multilabel.py

Each contestant runs in processes of its own, in turn. Memory is the peak of the process, less what
it occupied after the imports and the loading of the data.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from common import (
    current_memory,
    data_folder,
    in_fresh_process,
    limit_threads,
    make_parser,
    peak_memory,
)
from scipy import sparse
from torch import nn

N_ROWS, N_FEATURES, N_LABELS, PER_ROW, LABELS_PER_ROW = 7_395, 1_836, 159, 69, 2.4


def bibtex() -> tuple[Any, Any]:
    """Load X and Y as CSR matrices; or draw a stand-in of the same shape and density."""
    path = data_folder() / "bibtex.npz"
    if not path.is_file():
        rng = np.random.default_rng(0)
        X = sparse.random(N_ROWS, N_FEATURES, PER_ROW / N_FEATURES, "csr", np.float32, rng)
        Y = sparse.random(N_ROWS, N_LABELS, LABELS_PER_ROW / N_LABELS, "csr", np.float32, rng)
        X.data[:], Y.data[:] = 1, 1
        return X, Y
    with np.load(path) as data:
        return tuple(  # type: ignore[return-value]
            sparse.csr_matrix(
                (
                    np.ones(len(data[f"{name}_indices"]), dtype=np.float32),
                    data[f"{name}_indices"],
                    data[f"{name}_indptr"],
                ),
                shape=tuple(data[f"{name}_shape"]),
            )
            for name in "XY"
        )


def network(n_features: int, n_labels: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(n_features, 256), nn.ReLU(), nn.Linear(256, n_labels))


def imbtorch(X: Any, Y: Any, batch_size: int, epochs: int) -> None:
    from imbtorch import ImbalancedNetClassifier

    ImbalancedNetClassifier(
        network(X.shape[1], Y.shape[1]),
        loss="bce",
        optimizer="adam",
        lr=1e-3,
        weight_decay=0.0,
        lr_schedule="constant",
        batch_size=batch_size,
        max_epochs=epochs,
        device="cpu",
        random_state=0,
    ).fit(X, Y)


def skorch(X: Any, Y: Any, batch_size: int, epochs: int) -> None:
    from skorch import NeuralNet

    NeuralNet(
        network(X.shape[1], Y.shape[1]),
        criterion=nn.BCEWithLogitsLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=batch_size,
        max_epochs=epochs,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    ).fit(X.toarray(), Y.toarray())


CONTESTANTS = {"imbtorch, sparse": imbtorch, "skorch, dense": skorch}


def measure(name: str, batch_size: int, epochs: int, threads: int | None) -> None:
    """Train once in this process and print seconds and bytes as JSON."""
    import skorch as _  # noqa: F401 - both pay for the same imports

    import imbtorch as _ours  # noqa: F401

    limit_threads(threads)
    X, Y = bibtex()
    CONTESTANTS[name](X[:256], Y[:256], batch_size, 1)  # first calls are slower
    before, start = current_memory(), time.perf_counter()
    CONTESTANTS[name](X, Y, batch_size, epochs)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "bytes": peak_memory() - before}))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--epochs", type=int, default=3, help="passes over the rows (%(default)s)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256], metavar="N")
    parser.add_argument("--measure", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        measure(args.measure, args.batch_sizes[0], args.epochs, args.threads)
        return
    print(f"{'':<26}{'seconds':>10}{'MB':>8}{'time ratio':>12}{'memory ratio':>14}")
    for batch_size in args.batch_sizes:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
        for _ in range(args.rounds):
            for name in CONTESTANTS:
                options = ["--batch-sizes", str(batch_size), "--epochs", str(args.epochs)]
                options += ["--threads", str(args.threads)] if args.threads else []
                found[name].append(in_fresh_process(__file__, "--measure", name, *options))
        medians = {
            name: {key: float(np.median([r[key] for r in runs])) for key in ("seconds", "bytes")}
            for name, runs in found.items()
        }
        ours = medians["imbtorch, sparse"]
        for name, values in medians.items():
            time_ratio, memory_ratio = (values[key] / ours[key] for key in ("seconds", "bytes"))
            print(
                f"{f'{name}, batch {batch_size}':<26}{values['seconds']:>10.2f}"
                f"{values['bytes'] / 2**20:>8.0f}{time_ratio:>12.2f}{memory_ratio:>14.2f}"
            )


if __name__ == "__main__":
    main()
