"""Time and memory of saving and loading a net of 10 million parameters.

Time is compared with writing the bytes of its weights to a file (on the disk, as ``save`` does) and
reading them back; memory with the weights, in fresh processes::

    python benchmarks/bench_files.py
    python benchmarks/bench_files.py --folder /data --rounds 9

Bounds: twice the time, and less than twice the weights beyond what the process occupies before.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import (
    current_memory,
    in_fresh_process,
    limit_threads,
    make_parser,
    peak_memory,
    synthetic,
    timed_rounds,
    write_json,
)
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier, load

MB = 1e6
HIDDEN = (2500, 2500, 1470)
TIME_BOUND, MEMORY_BOUND = 2.0, 2.0


def given(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """Build the same net, as a user does who wrote the module."""
    return MLP(HIDDEN).build(input_shape, n_outputs)


MODULES = {"ours": MLP(HIDDEN), "the user's": given}


def fitted(module: Any) -> ImbalancedNetClassifier:
    """Fit a net of 10 million parameters for one epoch on a few rows."""
    X, y = synthetic(64, 8)
    return ImbalancedNetClassifier(module, max_epochs=1, random_state=0).fit(X, y)


def weights_of(clf: ImbalancedNetClassifier) -> int:
    """Return the number of bytes of the weights."""
    return sum(p.nbytes for p in clf.module_.parameters())


def write_and_read(data: bytes, path: Path) -> None:
    """Write bytes to the disk and read them, as ``save`` and ``load`` do with a net."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.read_bytes()


def save_and_load(clf: ImbalancedNetClassifier, path: Path) -> None:
    """Save a net and load it."""
    clf.save(path)
    load(path)


def measured(folder: Path, rounds: int) -> dict[str, float]:
    """Return the median seconds of both ways."""
    clf = fitted(MODULES["ours"])
    data = bytes(weights_of(clf))
    save_and_load(clf, folder / "net")  # the first call of a process is slower
    return timed_rounds(
        {
            "bytes": lambda: write_and_read(data, folder / "bytes"),
            "net": lambda: save_and_load(clf, folder / "net"),
        },
        rounds,
    )


def inside(what: str, module: str, path: Path) -> None:
    """Measure memory in this process, and print it."""
    caller = None if module == "ours" else MODULES[module]
    small = path.with_name("small")
    if what == "save":
        clf = load(path, module=caller)  # a fit would have a peak of its own
        before = current_memory()
        clf.save(path)
    else:
        tiny = ImbalancedNetClassifier(MLP((4,)), max_epochs=1).fit(*synthetic(64, 8))
        tiny.save(small)
        load(small)  # the first call of a process takes memory that later calls do not
        before = current_memory()
        load(path, module=caller)
    print(json.dumps({"bytes": max(0, peak_memory() - before)}))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument(
        "--folder", type=Path, help="folder to write to (default: the temporary folder)"
    )
    args = parser.parse_args(argv)
    limit_threads(args.threads)
    with TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        seconds = measured(folder, args.rounds)
        ratio = seconds["net"] / seconds["bytes"]
        size = weights_of(fitted(MODULES["ours"]))
        print(f"{size / MB:.0f} MB of weights, medians of {args.rounds} rounds\n")
        print(f"write and read the bytes {seconds['bytes'] * 1e3:>8.0f} ms")
        print(f"save and load the net    {seconds['net'] * 1e3:>8.0f} ms")
        print(f"ratio                    {ratio:>8.2f}    bound {TIME_BOUND}\n")
        memory = {}
        for module in MODULES:
            fitted(MODULES[module]).save(folder / "net")
            for what in ("save", "load"):
                arguments = (what, module, str(folder / "net"))
                extra = in_fresh_process(__file__, "--inside", *arguments)["bytes"]
                memory[f"{what}, module {module}"] = extra / size
        for what, share in memory.items():
            print(f"memory of {what:<24}{share:>6.2f} of the weights   bound {MEMORY_BOUND}")
    write_json(args.json, {"bytes": size, "seconds": seconds, "memory": memory})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
