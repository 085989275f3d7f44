"""Speed and memory of ``predict_proba`` against skorch, a bare loop and scikit-learn.

All contestants have the same network (15-100-100-2, ReLU) and compute probabilities of 1.75 million
rows; then single rows, one request after the other, also by nets with a target prior, with a table
encoder, by the default net, and by an ensemble::

    python benchmarks/bench_predict.py
    python benchmarks/bench_predict.py --rounds 1 --rows 200000
    python benchmarks/bench_predict.py --only-one-row --threads 1

On a machine that others use too, ``--threads 1`` gives steadier numbers. Where other programs take
the processor away from a request, only its 99th percentile shows it.
"""

from __future__ import annotations

import time
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
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.features import TableFeatures

Array = NDArray[Any]
N_REQUESTS = 500  # single rows for each contestant in a round
PERCENTILES = (10, 50, 99)


def bare_loop(module: nn.Module, X: Array, batch_size: int = 16_384) -> Array:
    """Predict with the least work possible."""
    features = torch.from_numpy(X)
    with torch.inference_mode():
        chunks = [torch.softmax(module(x), dim=1) for x in features.split(batch_size)]
        return torch.cat(chunks).numpy()


def some_of_both(y: Array) -> Array:
    """Return positions of few rows, which hold both classes."""
    return np.union1d(np.arange(0, len(y), 100), np.flatnonzero(y)[:10])


def fitted_perceptron(X: Array, y: Array) -> MLPClassifier:
    """Fit scikit-learn's net a little."""
    perceptron = MLPClassifier((100, 100), max_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch does not converge
        return perceptron.fit(X, y)


def contestants(X: Array, y: Array) -> dict[str, Callable[[Array], Array]]:
    """Fit every contestant a little, and return its ``predict_proba``; torch's share a module."""
    few = some_of_both(y)
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

    return {
        "imbtorch": net.predict_proba,
        "bare loop, 16,384 rows per batch": partial(bare_loop, module),
        "scikit-learn MLPClassifier": fitted_perceptron(X[few], y[few]).predict_proba,
        "skorch, 65,536 rows per batch": skorch(batch_size=65_536),
        "skorch, defaults": skorch(),
    }


def one_row_contestants(X: Array, y: Array) -> dict[str, Callable[[Array], Array]]:
    """Fit what answers single rows a little, and return its ``predict_proba``."""
    few = some_of_both(y)
    plain: dict[str, Any] = {"module": network(), "features": None}

    def net(**parameters: Any) -> ImbalancedNetClassifier:
        return ImbalancedNetClassifier(max_epochs=1, device="cpu", random_state=0, **parameters)

    models: dict[str, Any] = {
        "one net": net(**plain),
        "with target_prior": net(**plain, target_prior=[0.9, 0.1]),
        "with a table encoder": net(**{**plain, "features": TableFeatures(numeric_embedding=None)}),
        "with an encoder and waves": net(module=MLP((100, 100)), features="table"),
        "the default net": net(),
        "ensemble of 8 nets": NetEnsembleClassifier(net(**plain), 8, random_state=0),
    }
    fitted = {name: model.fit(X[few], y[few]).predict_proba for name, model in models.items()}
    skorch = NeuralNetClassifier(network(), criterion=nn.CrossEntropyLoss, verbose=0).initialize()
    perceptron, scaler = fitted_perceptron(X[few], y[few]), StandardScaler().fit(X[few])
    return {
        **fitted,
        "scikit-learn MLPClassifier": perceptron.predict_proba,
        "the same behind a StandardScaler": make_pipeline(scaler, perceptron).predict_proba,
        "skorch": skorch.predict_proba,
    }


def request_times(
    predictors: dict[str, Callable[[Array], Array]], X: Array, rounds: int
) -> dict[str, list[float]]:
    """Return percentiles of the microseconds that one row takes; contestants take turns."""
    taken: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(rounds):
        for name, predict in predictors.items():
            for i in range(-20, N_REQUESTS):  # the first ones are slower
                row = X[i % len(X)][None]
                start = time.perf_counter()
                predict(row)
                if i >= 0:
                    taken[name].append(1e6 * (time.perf_counter() - start))
    return {name: np.percentile(times, PERCENTILES).tolist() for name, times in taken.items()}


def print_requests(found: dict[str, list[float]]) -> None:
    """Print microseconds, and medians as multiples of those of one net and of scikit-learn."""
    width = max(map(len, found))
    heads = "".join(f"{f'{p} %':>9}" for p in PERCENTILES)
    print(f"\none row, microseconds by percentile; ratios of medians\n{'':<{width}}{heads}", end="")
    print(f"{'to one net':>12}{'to scikit-learn':>17}")
    net, peer = found["one net"][1], found["scikit-learn MLPClassifier"][1]
    for name, times in found.items():
        shown = "".join(f"{value:>9,.0f}" for value in times)
        print(f"{name:<{width}}{shown}{times[1] / net:>12.2f}{times[1] / peer:>17.2f}")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, help="use the first so many rows only")
    parser.add_argument("--only-one-row", action="store_true", help="leave out the many rows")
    args = parser.parse_args(argv)
    X, y = all_rows(args.rows)
    print(f"median of {args.rounds} rounds, {limit_threads(args.threads)} threads")
    results: dict[str, Any] = {"rounds": args.rounds}
    if not args.only_one_row:
        results |= many_rows(X, y, args.rounds)
    results["one_row"] = request_times(one_row_contestants(X, y), X, args.rounds)
    print_requests(results["one_row"])
    write_json(args.json, results)


def many_rows(X: Array, y: Array, rounds: int) -> dict[str, Any]:
    """Measure predictions of all rows, and their memory."""
    predictors = contestants(X, y)
    expected = predictors["imbtorch"](X[:1000])
    for name, predict in predictors.items():  # first calls are slower
        proba = predict(X[:1000])
        if "scikit-learn" not in name:
            np.testing.assert_allclose(proba, expected, atol=1e-5)
    tasks = {name: partial(predict, X) for name, predict in predictors.items()}
    seconds = timed_rounds(tasks, rounds)
    title = f"predict_proba, {len(X):,} rows; ratio: seconds / seconds of imbtorch"
    print_ratios(title, seconds, "imbtorch", rows=len(X))
    extra = memory_beyond("predict_proba", X, y)
    print(
        f"\nextra memory of imbtorch: {extra / MB:.0f} MB, {extra / X.nbytes:.2f} of X "
        f"({X.nbytes / MB:.0f} MB), of which the result is {len(X) * 8 / MB:.0f} MB"
    )
    return {"rows": len(X), "seconds": seconds, "extra_bytes": extra}


if __name__ == "__main__":
    main()
