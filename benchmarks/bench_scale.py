"""How time and memory grow: rows in memory and on a disk, classes, labels, sparse columns.

Each case trains one epoch and predicts, with one thread, in a process of its own that has trained
a small net before. Seconds are those of the processor, so that other programs disturb them little.
Memory is the most that the process occupied, less what it occupied before the fit::

    python benchmarks/bench_scale.py
    python benchmarks/bench_scale.py --axes classes labels --rounds 3
    python benchmarks/bench_scale.py --axes disk --folder /path/with/five/gigabytes
    python benchmarks/bench_scale.py --summary

``--share`` trains on a part of the rows of the file, spread over all of it. Resident memory
includes pages of the file; anonymous memory is what the training itself occupies.

Each measurement is a line of ``results/scale.csv``; a line of the same case and round replaces the
former one. To each axis a power law is fitted by least squares on the logarithms.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from bench_disk import Watch
from common import limit_threads
from numpy.typing import NDArray
from scipy import sparse

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.tables import parquet_to_memmap

RESULTS = Path(__file__).resolve().parent / "results" / "scale.csv"
MB = 1e6
CHUNK = 250_000
N_ROWS, N_COLUMNS = 20_000, 20
PER_ROW, LABELS_PER_ROW = 50, 3
# axis -> what is counted, and the sizes
AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "rows": ("rows x 50 in memory", (10_000, 30_000, 100_000, 300_000)),
    "classes": ("classes", (50, 160, 500, 1_600, 5_000)),
    "labels": ("labels", (20, 63, 200, 630, 2_000)),
    "columns": ("sparse columns", (1_000, 3_200, 10_000, 32_000, 100_000)),
}
DISK_ROWS = 10_000_000
WAYS = ("conversion", "map", "memory")
KINDS = ("VmRSS", "RssAnon")
KEYS = ["axis", "size", "round"]
FOUND = {"seconds": "seconds of an epoch", "memory": "MB", "predict": "seconds to predict"}
SCALE = {"seconds": 1, "memory": MB, "predict": 1}


def with_rows(n: int) -> tuple[Any, Any]:
    """Return rows of 50 numbers, of which 1% is rare."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 50), dtype=np.float32), rng.random(n) < 0.01


def with_classes(n: int) -> tuple[Any, Any]:
    """Return 20 numbers, and classes whose frequencies fall as those of words do."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, N_COLUMNS), dtype=np.float32)
    share = 1 / np.arange(1, n + 1)
    y = rng.choice(n, N_ROWS, p=share / share.sum())
    y[: 2 * n] = np.arange(2 * n) % n  # every class has two rows at least
    return X, y


def with_labels(n: int) -> tuple[Any, Any]:
    """Return 20 numbers, and three labels for each row."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, N_COLUMNS), dtype=np.float32)
    return X, sparse_ones(rng, n, LABELS_PER_ROW)


def with_columns(n: int) -> tuple[Any, Any]:
    """Return sparse rows with 50 ones each, 5% of which are rare."""
    rng = np.random.default_rng(0)
    return sparse_ones(rng, n, PER_ROW).astype(np.float32), rng.random(N_ROWS) < 0.05


def sparse_ones(rng: np.random.Generator, width: int, per_row: int) -> Any:
    """Draw a CSR matrix of so many ones in each row; the first rows have every column."""
    columns = rng.integers(width, size=(N_ROWS, per_row))
    columns[:, 0] = np.arange(N_ROWS) % width
    rows = np.repeat(np.arange(N_ROWS), per_row)
    matrix = sparse.csr_array((np.ones(rows.size), (rows, columns.ravel())), (N_ROWS, width))
    matrix.data[:] = 1
    return matrix


DATA: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "rows": with_rows,
    "classes": with_classes,
    "labels": with_labels,
    "columns": with_columns,
}


def net_for(axis: str) -> ImbalancedNetClassifier:
    """Return the net of an axis: a perceptron on scaled rows, one epoch."""
    hidden, batch_size = ((100, 100), 1024) if axis in ("rows", "disk") else ((64,), 256)
    return ImbalancedNetClassifier(
        MLP(hidden),
        features=None,
        batch_size=batch_size,
        max_epochs=1,
        device="cpu",
        random_state=0,
    )


def measured(call: Callable[[], object]) -> dict[str, float]:
    """Return processor seconds, wall seconds, and the largest memory of each kind."""
    with Watch() as watch:
        wall, start = time.perf_counter(), time.thread_time()
        call()
        seconds, wall = time.thread_time() - start, time.perf_counter() - wall
    return {"seconds": seconds, "wall": wall, **watch.most}


def grown(axis: str, size: int) -> dict[str, float]:
    """Measure one case of an axis in this process."""
    small = with_rows(2_000) if axis == "rows" else DATA[axis](10)
    net_for(axis).fit(small[0][:2_000], small[1][:2_000]).predict_proba(small[0][:2_000])
    X, y = DATA[axis](size)
    with Watch() as before:
        time.sleep(0.02)
    net = net_for(axis)
    fit = measured(lambda: net.fit(X, y))
    predict = measured(lambda: net.predict_proba(X[:2_000]))
    memory = fit["VmRSS"] - before.most["VmRSS"]
    return {"seconds": fit["seconds"], "memory": memory, "predict": predict["seconds"]}


def in_child(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Call a function in a forked process, which need not import anything again."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(write, json.dumps(function(*arguments)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    found: dict[str, float] = json.loads(text)
    return found


def write_parquet(path: Path, n_rows: int) -> None:
    """Write 50 columns of numbers and the labels, the same rows in each row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    X, y = with_rows(CHUNK)
    group = pa.table({**{f"x{j}": np.ascontiguousarray(X[:, j]) for j in range(50)}, "rare": y})
    with pq.ParquetWriter(path, group.schema, compression="none", use_dictionary=False) as out:
        for start in range(0, n_rows, CHUNK):
            out.write_table(group.slice(0, min(CHUNK, n_rows - start)))


def on_disk(folder: Path, way: str, share: float) -> dict[str, float]:
    """Measure one way to train on a file: its conversion, or an epoch."""
    if way == "conversion":
        source = folder / "rows.parquet"

        def convert() -> None:
            _, y = parquet_to_memmap(source, folder / "X.npy", "rare")
            assert y is not None
            np.save(folder / "y.npy", y)

        return measured(convert)
    X = np.load(folder / "X.npy", mmap_mode=None if way == "memory" else "r")
    y = np.load(folder / "y.npy")
    chosen = None if share == 1 else np.random.default_rng(0).random(len(y)) < share
    return measured(lambda: net_for("disk").fit(X, y, sample_weight=chosen))


def disk(n_rows: int, share: float, folder: Path | None, out: Path) -> None:
    """Train on the same rows in memory, on a map, and on a map of a Parquet file."""
    with TemporaryDirectory(dir=folder) as name:
        path = Path(name) / "rows.parquet"
        write_parquet(path, n_rows)
        found = {}
        for way in WAYS:
            found[way] = here = in_child(on_disk, Path(name), way, share)
            path.unlink(missing_ok=True)
            memory = ", ".join(f"{here[kind] / MB:,.0f} MB {kind}" for kind in KINDS)
            print(
                f"{way:<11}{here['seconds']:>8.1f} s ({here['wall']:.1f} s wall), {memory}",
                flush=True,
            )
            note({"axis": f"disk, {way}", "size": n_rows, "round": 0, **here}, out)
    share = found["memory"]["seconds"] / found["map"]["seconds"]
    print(f"speed on the map, relative to memory: {share:.0%}")


def note(line: dict[str, Any], out: Path) -> None:
    """Write a measurement to the results, in the place of a former one of the same case."""
    table = pd.DataFrame([line])
    if out.is_file():
        table = pd.concat([pd.read_csv(out), table])
    table = table.drop_duplicates(KEYS, keep="last").sort_values(KEYS)
    table.round(4).convert_dtypes().to_csv(out, index=False)


def power_law(size: NDArray[Any], value: NDArray[Any]) -> tuple[float, float, float]:
    """Fit ``value = factor * size ** exponent`` by least squares on the logarithms.

    Returns
    -------
    exponent, error : float
        Exponent and its standard error.
    expected : float
        Value at a hundred times the largest size.
    """
    x, z = np.log(size), np.log(np.maximum(value, 1e-9))
    (exponent, offset), covariance = np.polyfit(x, z, 1, cov="unscaled")
    rest = z - (exponent * x + offset)
    error = float(np.sqrt(covariance[0, 0] * (rest @ rest) / (len(x) - 2)))
    return float(exponent), error, float(np.exp(exponent * np.log(100 * size.max()) + offset))


def summary(out: Path) -> None:
    """Print the medians of each size, and the power law of the three largest ones."""
    table = pd.read_csv(out)
    for axis, (unit, _) in AXES.items():
        part = table[table["axis"] == axis]
        if part["size"].nunique() < 3:
            continue
        part = part.groupby("size")[list(FOUND)].median()
        print(f"\n| {unit} | {' | '.join(FOUND.values())} |\n|---:|---:|---:|---:|")
        for size, row in part.iterrows():
            print(f"| {size:,} | {' | '.join(f'{row[k] / SCALE[k]:.3g}' for k in FOUND)} |")
        last = part.iloc[-3:]  # what does not grow hides the growth at small sizes
        size = last.index.to_numpy(float)
        for kind, title in FOUND.items():
            exponent, error, expected = power_law(size, last[kind].to_numpy(float))
            linear = 100 * float(last[kind].iloc[-1])
            print(
                f"{title}: exponent {exponent:.2f} +- {error:.2f}; at {100 * size[-1]:,.0f} "
                f"{expected / SCALE[kind]:,.3g}, or {linear / SCALE[kind]:,.3g} if proportional"
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", nargs="+", choices=[*AXES, "disk"], default=list(AXES))
    parser.add_argument("--rounds", type=int, default=2, help="measurements (%(default)s)")
    parser.add_argument("--disk-rows", type=int, default=DISK_ROWS, help="rows (%(default)s)")
    parser.add_argument("--share", type=float, default=1, help="part to train on (%(default)s)")
    parser.add_argument("--folder", type=Path, help="folder to make the temporary folder in")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results (%(default)s)")
    parser.add_argument("--summary", action="store_true", help="only print what the file holds")
    args = parser.parse_args(argv)
    if not Path("/proc/self/status").exists():
        parser.error("memory is read from /proc, which this system does not have")
    limit_threads(1)
    for axis in [] if args.summary else args.axes:
        if axis == "disk":
            disk(args.disk_rows, args.share, args.folder, args.out)
            continue
        for number in range(args.rounds):
            for size in AXES[axis][1]:
                found = in_child(grown, axis, size)
                note({"axis": axis, "size": size, "round": number, **found}, args.out)
                print(axis, size, found, flush=True)
    summary(args.out)


if __name__ == "__main__":
    main()
