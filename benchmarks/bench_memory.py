"""Peak memory that ``fit`` and ``predict_proba`` occupy in addition to ``X`` itself.

Each is measured in a fresh process, on 1.75 million rows::

    python benchmarks/bench_memory.py
    python benchmarks/bench_memory.py --rows 200000

Bounds: ``fit`` may take 1.2 times the float32 copy of ``X``, ``predict_proba`` a quarter of ``X``.
A float32 ``X`` that is C-contiguous is not copied, so that ``fit`` takes well below one copy.
The working memory of a batch does not depend on the number of rows: with few rows it dominates.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import (
    all_rows,
    current_memory,
    in_fresh_process,
    make_parser,
    network,
    peak_memory,
    write_json,
)
from numpy.typing import NDArray

from imbtorch import ImbalancedNetClassifier

MB = 1e6
# method, dtype of X, bound in units of the float32 copy
CASES = (("fit", "float64", 1.2), ("fit", "float32", 1.2), ("predict_proba", "float32", 0.25))


def memory_beyond(method: str, X: NDArray[Any], y: NDArray[Any]) -> int:
    """Measure the memory that a method occupies in addition to ``X`` and ``y``.

    Parameters
    ----------
    method : {"fit", "predict_proba"}
        Method to measure.
    X : ndarray of shape (n, n_features)
        Features, of the dtype to measure.
    y : ndarray of shape (n,)
        Classes.

    Returns
    -------
    int
        Number of bytes.
    """
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "X.npy", X)
        np.save(Path(folder) / "y.npy", y)
        return int(in_fresh_process(__file__, "--inside", method, folder)["bytes"])


def inside(method: str, folder: Path) -> None:
    """Measure the memory of this process, and print it as JSON."""
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    net = ImbalancedNetClassifier(
        network(), batch_size=1024, max_epochs=1, device="cpu", random_state=0
    )
    few = X[::100]
    both = np.arange(len(few)) % 2  # few rows of rare data may hold one class only
    net.fit(few, both).predict_proba(few)  # first calls take memory that later ones do not
    before = current_memory()
    if method == "fit":
        net.fit(X, y)
    else:
        net.predict_proba(X)
    print(json.dumps({"bytes": peak_memory() - before}))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, help="use the first so many rows only")
    args = parser.parse_args(argv)
    X, y = all_rows(args.rows)
    copy = X.nbytes
    print(f"float32 copy of X: {copy / MB:.0f} MB\n")
    print(f"{'':<24}{'beyond X':>12}{'of the copy':>14}{'bound':>8}")
    results = {}
    for method, dtype, bound in CASES:
        extra = memory_beyond(method, X.astype(dtype, copy=False), y)
        verdict = "" if extra <= bound * copy else "  exceeded"
        name = f"{method}, X {dtype}"
        print(
            f"{name:<24}{extra / MB:>9.0f} MB{extra / copy:>14.2f}{bound:>8}{verdict}", flush=True
        )
        results[name] = extra
    write_json(args.json, {"rows": len(X), "copy_bytes": copy, "extra_bytes": results})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
