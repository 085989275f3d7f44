"""What half precision and ``torch.compile`` do to the time of an epoch, by the width of the layers.

Nets of two hidden layers are trained on random rows, each kind several times in turn::

    python benchmarks/bench_precision.py --threads 1
    python benchmarks/bench_precision.py --threads 1 --widths 64 --kinds bfloat16 compiled
    python benchmarks/bench_precision.py --device cuda --widths 512 4096

A ratio is the shortest epoch of a kind, divided by the shortest epoch of the same net in float32.
``compiled`` is the net in ``torch.compile``; its first epoch, in which it is compiled, is extra.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from common import limit_threads, make_parser, write_json
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier

KINDS = ("bfloat16", "float16", "compiled")
N_ROWS, BATCH_SIZE, EPOCHS = 4096, 512, 3


def classifier(kind: str | None, width: int, device: str) -> ImbalancedNetClassifier:
    """Return a net of two hidden layers, of this kind; None stands for float32."""
    builder = MLP((width, width))

    def compiled(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        return torch.compile(builder.build(input_shape, n_outputs))

    return ImbalancedNetClassifier(
        compiled if kind == "compiled" else builder,
        features=None,
        precision=kind if kind in ("bfloat16", "float16") else None,
        batch_size=BATCH_SIZE,
        max_epochs=EPOCHS,
        device=device,
        random_state=0,
    )


def epochs(kind: str | None, width: int, device: str) -> list[float]:
    """Train a net, and return the seconds of its epochs."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(N_ROWS, width)).astype(np.float32)
    y = (X[:, 0] + draw.normal(size=N_ROWS) > 2).astype(int)
    clf = classifier(kind, width, device).fit(X, y)
    return [float(seconds) for seconds in clf.history_[:, "dur"]]


def main() -> None:
    """Print one row for each width."""
    parser = make_parser(__doc__ or "", rounds=2)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    limit_threads(args.threads)
    warnings.simplefilter("ignore", UserWarning)  # float16 is slow on the CPU: that is measured
    found: list[dict[str, Any]] = []
    for width in args.widths:
        row: dict[str, Any] = {"width": width}
        times: dict[str | None, list[float]] = {kind: [] for kind in (None, *args.kinds)}
        for _ in range(args.rounds):
            for kind, seconds in times.items():
                seconds += epochs(kind, width, args.device)
        row["float32_s"] = min(times[None])
        row |= {kind: min(times[kind]) / min(times[None]) for kind in args.kinds}
        if "compiled" in times:
            row["first_epoch_s"] = times["compiled"][0]
        print({name: round(value, 3) for name, value in row.items()}, flush=True)
        found.append(row)
    write_json(args.json, {"widths": found})


if __name__ == "__main__":
    main()
