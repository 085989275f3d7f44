"""Run a script of the gallery with the look of the gallery, and write its figures.

    python examples/gallery.py examples/plot_fraud_focal.py --out figures

The scripts need neither this file nor each other.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt

# Okabe and Ito's palette: readers with a colour vision deficiency can distinguish it, too
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#0072B2")
LOOK = {
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "grid.color": "0.9",
    "legend.frameon": False,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the script that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("script", type=Path, help="examples/plot_fraud_focal.py")
    add("--quick", action="store_true", help="little data and few epochs")
    parser.add_argument(
        "--out", type=Path, default=Path("figures"), help="the folder of the figures"
    )
    args = parser.parse_args(argv)
    if not args.script.is_file():
        parser.error(f"there is no script {args.script}")
    args.out.mkdir(parents=True, exist_ok=True)
    plt.switch_backend("agg")
    plt.rcParams.update(LOOK)
    sys.argv = [str(args.script), *(["--quick"] if args.quick else [])]
    runpy.run_path(str(args.script), run_name="__main__")
    write_figures(args.out, args.script.stem.removeprefix("plot_"))


def write_figures(folder: Path, name: str) -> None:
    """Write all figures that are open as PNG files, and print their names."""
    numbers = plt.get_fignums()
    for number in numbers:
        path = folder / f"{name}{'' if len(numbers) == 1 else f'_{number}'}.png"
        plt.figure(number).savefig(path, dpi=150)
        print(f"Figure: {path}")


if __name__ == "__main__":
    main()
