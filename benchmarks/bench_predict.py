"""Speed and memory of ``predict_proba`` against skorch, a bare loop and scikit-learn.

All contestants have the same network (15-100-100-2, ReLU) and compute probabilities of 1.75 million
rows::

    python benchmarks/bench_predict.py
    python benchmarks/bench_predict.py --rounds 1 --rows 200000

On a machine that others use too, ``--threads 1`` gives steadier numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from bench_memory import MB, memory_beyond
from common import (
    all_rows,
    limit_threads,
    make_parser,
    network,
    print_ratios,
    timed_rounds,
    write_json,
)
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from torch import nn

from imbtorch import ImbalancedNetClassifier

Array = NDArray[Any]


def bare_loop(module: nn.Module, X: Array, batch_size: int = 16_384) -> Array:
    """Predict with the least work possible."""
    features = torch.from_numpy(X)
    with torch.inference_mode():
        chunks = [torch.softmax(module(x), dim=1) for x in features.split(batch_size)]
        return torch.cat(chunks).numpy()


def contestants(X: Array, y: Array) -> dict[str, Callable[[Array], Array]]:
    """Fit every contestant a little, and return its ``predict_proba``; torch's share a module."""
    few = np.union1d(np.arange(0, len(y), 100), np.flatnonzero(y)[:10])  # some of both classes
    net = ImbalancedNetClassifier(
        network(), loss="cross_entropy", max_epochs=1, device="cpu", random_state=0
    )
    net.fit(X[few], y[few])
    module = net.module_.eval()

    def skorch(**parameters: Any) -> Callable[[Array], Array]:
        wrapped = NeuralNetClassifier(
            module, criterion=nn.CrossEntropyLoss, verbose=0, **parameters
        )
        return wrapped.initialize().predict_proba

    perceptron = MLPClassifier((100, 100), max_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch does not converge
        perceptron.fit(X[few], y[few])
    return {
        "imbtorch": net.predict_proba,
        "bare loop, 16 384 rows a batch": partial(bare_loop, module),
        "scikit-learn MLPClassifier": perceptron.predict_proba,
        "skorch, 65 536 rows a batch": skorch(batch_size=65_536),
        "skorch, defaults": skorch(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, help="use the first so many rows only")
    args = parser.parse_args(argv)
    X, y = all_rows(args.rows)
    print(f"median of {args.rounds} rounds, {limit_threads(args.threads)} threads")
    predictors = contestants(X, y)
    expected = predictors["imbtorch"](X[:1000])
    for name, predict in predictors.items():  # first calls are slower
        proba = predict(X[:1000])
        if "scikit-learn" not in name:
            np.testing.assert_allclose(proba, expected, atol=1e-5)
    tasks = {name: partial(predict, X) for name, predict in predictors.items()}
    seconds = timed_rounds(tasks, args.rounds)
    title = f"predict_proba, {len(X):,} rows; ratio: seconds / seconds of imbtorch"
    print_ratios(title, seconds, "imbtorch", rows=len(X))
    extra = memory_beyond("predict_proba", X, y)
    print(
        f"\nextra memory of imbtorch: {extra / MB:.0f} MB, {extra / X.nbytes:.2f} of X "
        f"({X.nbytes / MB:.0f} MB), of which the result is {len(X) * 8 / MB:.0f} MB"
    )
    results = {"rounds": args.rounds, "rows": len(X), "seconds": seconds, "extra_bytes": extra}
    write_json(args.json, results)


if __name__ == "__main__":
    main()
