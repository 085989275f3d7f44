"""Training from a file on the disk: peak memory, and rows per second.

The script writes normal features, chunk by chunk, to a temporary folder, and trains one epoch on
the memory map, in a fresh process::

    python benchmarks/bench_disk.py
    python benchmarks/bench_disk.py --rows 1000000 --dtype float64

Resident memory includes pages of the file, which the system keeps until it needs the memory;
anonymous memory is what the training itself occupies.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from common import N_FEATURES, in_fresh_process, make_parser, network, write_json

from imbtorch import ImbalancedNetClassifier

MB = 1e6
CHUNK = 500_000
PERIOD = 0.005  # seconds between two measurements of the memory


def write_rows(folder: Path, n_rows: int, dtype: str, share: float = 0.01) -> None:
    """Write ``X.npy`` and ``y.npy``, of which ``share`` is rare and moved by half a deviation."""
    shape = (n_rows, N_FEATURES)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", dtype, shape)
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", "uint8", (n_rows,))
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, CHUNK):
        size = min(CHUNK, n_rows - start)
        rare = rng.random(size) < share
        rows = rng.standard_normal((size, N_FEATURES), dtype=np.float32)
        rows[rare] += np.float32(0.5)
        X[start : start + size], y[start : start + size] = rows, rare
    X.flush()
    y.flush()


def forget(path: Path) -> None:
    """Ask the system to drop the file from its cache, so that reading starts at the disk."""
    if hasattr(os, "posix_fadvise"):
        os.sync()
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Watch:
    """Record the largest memory of each kind while something runs.

    The system itself keeps no record of the peak of anonymous memory.
    """

    def __enter__(self) -> Watch:
        self.most = {"VmRSS": 0, "RssAnon": 0}
        self._running = True
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while self._running:
            words = Path("/proc/self/status").read_text().split()
            for kind, most in self.most.items():
                now = int(words[words.index(f"{kind}:") + 1]) * 1024
                self.most[kind] = max(most, now)
            time.sleep(PERIOD)

    def __exit__(self, *error: object) -> None:
        self._running = False
        self._thread.join()


def inside(folder: Path, batch_size: int) -> None:
    """Train in this process, and print seconds and memory as JSON."""
    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "Xy")
    net = ImbalancedNetClassifier(
        network(), batch_size=batch_size, max_epochs=1, device="cpu", random_state=0
    )
    with Watch() as watch:
        start = time.perf_counter()
        net.fit(X, y)
        seconds = time.perf_counter() - start
    resident, anonymous = watch.most.values()
    print(json.dumps({"seconds": seconds, "resident": resident, "anonymous": anonymous}))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows to write (%(default)s)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--batch-size", type=int, default=4096, help="rows per step (%(default)s)")
    parser.add_argument("--folder", type=Path, help="folder to make the temporary folder in")
    args = parser.parse_args(argv)
    if not Path("/proc/self/status").exists():
        parser.error("memory is read from /proc, which this system does not have")
    with TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_rows(folder, args.rows, args.dtype)
        size = (folder / "X.npy").stat().st_size
        print(f"{args.rows:,} x {N_FEATURES} rows of {args.dtype} on the disk: {size / MB:.0f} MB")
        forget(folder / "X.npy")
        found = in_fresh_process(__file__, "--inside", name, str(args.batch_size))
    print(f"one epoch:        {found['seconds']:>9.1f} s")
    print(f"rows per second:  {args.rows / found['seconds']:>9,.0f}")
    print(f"resident memory:  {found['resident'] / MB:>9,.0f} MB at its peak, file pages included")
    print(f"anonymous memory: {found['anonymous'] / MB:>9,.0f} MB at its peak")
    write_json(args.json, {"rows": args.rows, "bytes": size, **found})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
