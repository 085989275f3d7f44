"""Several processes train one net, each on a part of every batch.

Run it with one process or with two; the weights are the same up to rounding::

    python examples/data_parallel.py --batch-size 512
    torchrun --nproc_per_node=2 examples/data_parallel.py --batch-size 256

The data are in a file that the processes map into memory: each reads the rows that it needs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from imbtorch import MLP, ImbalancedNetClassifier

N_FEATURES = 20


def table(n_rows: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw rows of which about 3% are positive."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, N_FEATURES))
    y = X[:, 0] * X[:, 1] + X[:, 2] + 0.5 * rng.normal(size=n_rows) > 2.8
    return X, y.astype(np.int64)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, and print the result in the first process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=256, help="rows per process")
    args = parser.parse_args(argv)

    with (
        tempfile.TemporaryDirectory() as folder
    ):  # on a cluster, use a file that all processes can read
        path = Path(folder) / "X.npy"
        X, y = table(args.rows, seed=0)
        np.save(path, X)
        clf = ImbalancedNetClassifier(
            MLP((128, 64)),
            batch_size=args.batch_size,
            max_epochs=args.epochs,
            data_parallel=True,
            dtype="float64",
            random_state=0,
        )
        clf.fit(np.load(path, mmap_mode="r"), y)

    if os.environ.get("RANK", "0") == "0":
        X, y = table(20_000, seed=1)
        precision = average_precision_score(y, clf.decision_function(X))
        weights = sum(float(p.detach().abs().sum()) for p in clf.module_.parameters())
        print(f"{clf.n_iter_} epochs by {os.environ.get('WORLD_SIZE', '1')} process(es)")
        print(f"sum of all absolute weights {weights:.9f}, average precision {precision:.6f}")


if __name__ == "__main__":
    main()
