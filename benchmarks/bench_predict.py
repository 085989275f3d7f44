"""Speed and memory of ``predict_proba`` against skorch, a bare loop and scikit-learn.

All contestants have the same network (15-100-100-2, ReLU) and compute probabilities of 1.75 million
rows; then single rows, one request after the other: arrays of numbers, and rows of a table with
text and gaps. They are answered by single nets and ensembles, in Python and by ONNX Runtime, and by
scikit-learn, skorch and, where it is installed, LightGBM::

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
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
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
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.datasets import make_payments
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

    ensembles: dict[str, Any] = {
        "ensemble of 8 nets": NetEnsembleClassifier(net(**plain), 8, random_state=0),
        "ensemble of 3 default nets": NetEnsembleClassifier(net(), 3, random_state=0),
    }
    models: dict[str, Any] = {
        "one net": net(**plain),
        "with target_prior": net(**plain, target_prior=[0.9, 0.1]),
        "with a table encoder": net(**{**plain, "features": TableFeatures(numeric_embedding=None)}),
        "with an encoder and waves": net(module=MLP((100, 100)), features="table"),
        "the default net": net(),
        **ensembles,
    }
    fitted = {name: model.fit(X[few], y[few]).predict_proba for name, model in models.items()}
    for name in ("one net", "the default net", *ensembles):
        fitted[f"{name}, ONNX Runtime"] = by_onnx_runtime(models[name])
    skorch = NeuralNetClassifier(network(), criterion=nn.CrossEntropyLoss, verbose=0).initialize()
    perceptron, scaler = fitted_perceptron(X[few], y[few]), StandardScaler().fit(X[few])
    return {
        **fitted,
        "scikit-learn MLPClassifier": perceptron.predict_proba,
        "the same behind a StandardScaler": make_pipeline(scaler, perceptron).predict_proba,
        "skorch": skorch.predict_proba,
        **{name: trees.fit(X[few], y[few]).predict_proba for name, trees in lightgbm().items()},
    }


def by_onnx_runtime(model: Any) -> Callable[[Any], Any]:
    """Return what answers rows by the ONNX file of a model: an array, or one array per column."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with TemporaryDirectory() as folder:
        model.to_onnx(f"{folder}/model.onnx")
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options)
    first = session.get_inputs()[0].name

    def answer(row: Any) -> Any:
        return session.run(["probabilities"], row if isinstance(row, dict) else {first: row})[0]

    return answer


def lightgbm() -> dict[str, Any]:
    """Return LightGBM of 100 trees and one thread, if it is installed."""
    if find_spec("lightgbm") is None:
        return {}
    from lightgbm import LGBMClassifier

    return {"LightGBM, 100 trees": LGBMClassifier(n_jobs=1, verbose=-1)}


class Table(NamedTuple):
    """A row of a table in the forms in which models take it."""

    frame: pd.DataFrame
    categories: pd.DataFrame  # LightGBM takes no text
    columns: dict[str, Array]  # the inputs of an ONNX file


def tables(frame: pd.DataFrame) -> list[Table]:
    """Return single rows of a table in each form."""
    text = [name for name in frame if frame[name].dtype.kind not in "iuf"]
    coded = frame.astype(dict.fromkeys(text, "category"))
    found = []
    for i in range(len(frame)):
        row = frame[i : i + 1]
        columns = {
            name: row[[name]].fillna("").to_numpy(object)
            if name in text
            else row[[name]].to_numpy(np.float32)
            for name in frame
        }
        found.append(Table(row, coded[i : i + 1], columns))
    return found


def table_contestants(frame: pd.DataFrame, y: Any) -> dict[str, Callable[[Table], Any]]:
    """Fit what answers rows of a table with text and gaps a little."""
    text = [name for name in frame if frame[name].dtype.kind not in "iuf"]
    coded = frame.astype(dict.fromkeys(text, "category"))
    net = ImbalancedNetClassifier(max_epochs=1, device="cpu", random_state=0)
    models: dict[str, Any] = {
        "the default net": net,
        "module='mlp'": clone(net).set_params(module="mlp"),
        "ensemble of 3 default nets": NetEnsembleClassifier(net, 3, random_state=0),
    }
    answers: dict[str, Callable[[Table], Any]] = {}
    for name, model in models.items():
        answers[name] = partial(_ask, model.fit(frame, y).predict_proba, "frame")
        answers[f"{name}, ONNX Runtime"] = partial(_ask, by_onnx_runtime(model), "columns")
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), text),
        remainder=make_pipeline(SimpleImputer(), StandardScaler()),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch does not converge
        perceptron = make_pipeline(columns, MLPClassifier((100, 100), max_iter=1)).fit(frame, y)
    answers["scikit-learn MLPClassifier"] = partial(_ask, perceptron.predict_proba, "frame")
    for name, trees in lightgbm().items():
        answers[name] = partial(_ask, trees.fit(coded, y).predict_proba, "categories")
    return answers


def _ask(predict: Callable[[Any], Any], form: str, row: Table) -> Any:
    return predict(getattr(row, form))


def request_times(
    predictors: dict[str, Callable[[Any], Any]], rows: Sequence[Any], rounds: int
) -> dict[str, list[float]]:
    """Return percentiles of the microseconds that one row takes; contestants take turns."""
    taken: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(rounds):
        for name, predict in predictors.items():
            for i in range(-20, N_REQUESTS):  # the first ones are slower
                row = rows[i % len(rows)]
                start = time.perf_counter()
                predict(row)
                if i >= 0:
                    taken[name].append(1e6 * (time.perf_counter() - start))
    return {name: np.percentile(times, PERCENTILES).tolist() for name, times in taken.items()}


def print_requests(found: dict[str, list[float]], kind: str) -> None:
    """Print microseconds, and medians as multiples of those of one net and of scikit-learn."""
    width = max(map(len, found))
    heads = "".join(f"{f'{p} %':>9}" for p in PERCENTILES)
    title = f"one row of {kind}, microseconds by percentile; ratios of medians"
    print(f"\n{title}\n{'':<{width}}{heads}{'to the first':>14}{'to scikit-learn':>17}")
    net, peer = next(iter(found.values()))[1], found["scikit-learn MLPClassifier"][1]
    for name, times in found.items():
        shown = "".join(f"{value:>9,.0f}" for value in times)
        print(f"{name:<{width}}{shown}{times[1] / net:>14.2f}{times[1] / peer:>17.2f}")


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
    few = [X[i : i + 1] for i in range(min(len(X), N_REQUESTS))]
    results["one_row"] = request_times(one_row_contestants(X, y), few, args.rounds)
    print_requests(results["one_row"], "numbers")
    frame, fraud = make_payments(2000, random_state=0)
    answers, rows = table_contestants(frame, fraud), tables(frame[:N_REQUESTS])
    results["one_row_of_table"] = request_times(answers, rows, args.rounds)
    print_requests(results["one_row_of_table"], "a table with text and gaps")
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
