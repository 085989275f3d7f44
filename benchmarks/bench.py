"""One table of speed: imbtorch, other packages, and the matrix products alone.

Short versions of ``bench_fit.py``, ``bench_predict.py`` and ``bench_search.py`` on rows that are
drawn, for all the same net (15-100-100-2; 15-64-64-2 in the search)::

    python benchmarks/bench.py
    python benchmarks/bench.py --keep
    python benchmarks/bench.py --only fit --rounds 21

``floor`` are the matrix products of the same steps, forward and backward, and nothing else: no
library that computes with torch's products can be faster. The spread is half the distance between
the quartiles, as a share of the median.

With one thread, the default, times are those of the processor: what other programs take of it is
left out. They still slow it down a little, so compare the ratios. With ``--threads 2`` times are
those of the clock, and the machine should have nothing else to do.

``--keep`` writes the table to ``results/speed/``, with version, date and threads in the name of the
file; this belongs to a release. The last column compares with the last file there: how many times
the floor imbtorch takes now, divided by how many times it took then. Much more than 1 in several
rows is a slowdown. The floor stands for the machine, so that machines can be compared roughly.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import bench_fit
import bench_predict
import bench_search
import numpy as np
import torch
from common import WIDTHS, limit_threads, make_parser, matrix_products, synthetic, timed_runs
from numpy.typing import NDArray

import imbtorch

Array = NDArray[Any]
Contestants = dict[str, Callable[[], object]]
KEPT = Path(__file__).parent / "results" / "speed"
OURS, FLOOR = "imbtorch", "floor"
SEARCH_WIDTHS = (15, 64, 64, 2)
BATCHES, GAMMAS, FOLDS, SEARCH_BATCH = (64, 256, 1024), (0.0, 1.0, 2.0), 3, 256
N_REQUESTS = 200
TIMES = ["median_s", "quartile1_s", "quartile3_s"]
FIELDS = ["version", "date", "torch", "cpus", "threads", "case", "contestant", *TIMES]


# -- the cases -----------------------------------------------------------------------------------


def fits(X: Array, y: Array) -> Iterable[tuple[str, Contestants, int]]:
    """Yield trainings of one epoch, by the size of the batch; their unit is a step."""
    for size in BATCHES:
        steps = -(-len(X) // size)
        data = (X, y, size, 1, "cpu")
        contestants: Contestants = {
            OURS: partial(bench_fit.imbtorch, *data),
            "bare loop": partial(bench_fit.bare_loop, *data),
            "scikit-learn MLPClassifier": partial(bench_fit.scikit_learn, *data),
            "skorch": partial(bench_fit.skorch, *data, train_split=None),
            FLOOR: partial(repeated, matrix_products(WIDTHS, size), steps),
        }
        yield f"fit, {size} rows per batch", contestants, steps


def predictions(X: Array, y: Array) -> Iterable[tuple[str, Contestants, int]]:
    """Yield predictions of many rows, and of single rows."""
    few = bench_predict.contestants(X, y)
    many = np.tile(X, (2, 1))
    kept = {name.split(",")[0]: call for name, call in few.items() if name != "skorch, defaults"}
    contestants: Contestants = {name: partial(call, many) for name, call in kept.items()}
    chunk = 4096
    step = matrix_products(WIDTHS, chunk, backward=False)
    contestants[FLOOR] = partial(repeated, step, -(-len(many) // chunk))
    yield f"predict_proba, {len(many):,} rows", contestants, 1
    one: Contestants = {
        name: partial(repeated_requests, call, X[:1])
        for name, call in kept.items()
        if "bare loop" not in name
    }
    one[FLOOR] = partial(repeated, matrix_products(WIDTHS, 1, backward=False), N_REQUESTS)
    yield "predict_proba, one row", one, N_REQUESTS


def repeated(step: Callable[[], object], times: int) -> None:
    """Call a step many times, without gradients."""
    with torch.inference_mode():
        for _ in range(times):
            step()


def repeated_requests(predict: Callable[[Array], Array], row: Array) -> None:
    """Answer one request after the other."""
    for _ in range(N_REQUESTS):
        predict(row)


def searches(X: Array, y: Array) -> Iterable[tuple[str, Contestants, int]]:
    """Yield a search over gammas and folds, with one job."""
    some, grid = len(X) // 4, list(GAMMAS)
    data = (FOLDS, 1, None, X[:some], y[:some])
    net, other = bench_search.imbtorch_net(1), bench_search.skorch_net(1, X.shape[1])
    ours, theirs = {"loss__gamma": grid}, {"criterion__gamma": grid}
    n_nets, steps = len(grid) * FOLDS, -(-some * (FOLDS - 1) // FOLDS // SEARCH_BATCH)
    step = matrix_products(SEARCH_WIDTHS, SEARCH_BATCH, n_nets=n_nets)
    contestants: Contestants = {
        OURS: partial(bench_search.stacked, net, ours, FOLDS, X[:some], y[:some]),
        "GridSearchCV, imbtorch": partial(bench_search.fit_by_fit, net, ours, *data),
        "GridSearchCV, skorch": partial(bench_search.fit_by_fit, other, theirs, *data),
        FLOOR: partial(repeated, step, steps),
    }
    yield f"search, {n_nets} nets", contestants, 1


CASES = {"fit": fits, "predict": predictions, "search": searches}


# -- the table -----------------------------------------------------------------------------------


def measured(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all cases, and return one record for each contestant."""
    X, y = synthetic(args.rows, max(16, args.rows // 50))
    threads = limit_threads(args.threads)
    machine = {
        "version": imbtorch.__version__,
        "date": f"{date.today():%Y-%m-%d}",
        "torch": torch.__version__,
        "cpus": f"{os.cpu_count()} {platform.machine()}",
        "threads": threads,
    }
    options: dict[str, Any] = {"pause": 0.05}
    if threads == 1:
        options["clock"] = time.process_time
    records = []
    for case, contestants, units in (one for name in args.only for one in CASES[name](X, y)):
        for call in contestants.values():  # first calls are slower
            call()
        for contestant, runs in timed_runs(contestants, args.rounds, **options).items():
            times = np.quantile(runs, [0.5, 0.25, 0.75]) / units
            shown = {name: float(f"{t:.4g}") for name, t in zip(TIMES, times, strict=True)}
            records.append({**machine, "case": case, "contestant": contestant, **shown})
    return records


def times_floor(records: Sequence[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Return how many times the floor of its case each contestant takes."""
    floors = {r["case"]: float(r["median_s"]) for r in records if r["contestant"] == FLOOR}
    return {(r["case"], r["contestant"]): float(r["median_s"]) / floors[r["case"]] for r in records}


def print_table(records: Sequence[dict[str, Any]], former: Sequence[dict[str, Any]]) -> None:
    """Print the records, and how imbtorch compares with the former ones."""
    floors, then = times_floor(records), times_floor(former)
    ours = {r["case"]: r["median_s"] for r in records if r["contestant"] == OURS}
    case = None
    for record in records:
        if record["case"] != case:
            case = record["case"]
            print(f"\n{case:<30}{'median us':>12}{'spread':>8}{'x imbtorch':>12}{'x floor':>9}"
                  f"{'x last':>8}")  # fmt: skip
        key, median = (case, record["contestant"]), record["median_s"]
        spread = (record["quartile3_s"] - record["quartile1_s"]) / 2 / median
        last = f"{floors[key] / then[key]:8.2f}" if key[1] == OURS and key in then else ""
        print(f"  {key[1]:<28}{1e6 * median:>12,.1f}{spread:>8.0%}{median / ours[case]:>12.3g}"
              f"{floors[key]:>9.3g}{last}")  # fmt: skip


def last_kept(folder: Path, threads: int) -> tuple[str, list[dict[str, Any]]]:
    """Return the name and the records of the newest file for this number of threads."""
    found = []
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as lines:
            records = list(csv.DictReader(lines))
        if records and int(records[0]["threads"]) == threads:
            found.append((records[0]["date"], path.name, records))
    return max(found, key=lambda one: one[:2])[1:] if found else ("none", [])


def keep(folder: Path, records: Sequence[dict[str, Any]]) -> Path:
    """Write the records to a file that version, date and number of threads name."""
    first = records[0]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{first['version']}_{first['date']}_{first['threads']}.csv"
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    return path


def main(argv: Sequence[str] | None = None, folder: Path = KEPT) -> None:
    """Measure, print, and keep the table if asked to."""
    parser = make_parser(__doc__, rounds=9)
    parser.set_defaults(threads=1)
    parser.add_argument("--rows", type=int, default=32_768, help="rows of a fit (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="cases")
    parser.add_argument("--keep", action="store_true", help="write the table to results/speed/")
    args = parser.parse_args(argv)
    records = measured(args)
    name, former = last_kept(folder, records[0]["threads"])
    print(
        f"imbtorch {imbtorch.__version__}, torch {torch.__version__}, {records[0]['threads']} "
        f"threads, {args.rounds} rounds, microseconds of a step, a call or a search. Last: {name}"
    )
    print_table(records, former)
    if args.keep:
        print(f"\nWritten: {keep(folder, records)}")


if __name__ == "__main__":
    main()
