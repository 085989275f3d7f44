"""What the scripts of the gallery share: two options, the look and the files of figures."""

from __future__ import annotations

import argparse
import sys
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


def start() -> bool:
    """Set the look of figures; return whether to be quick: little data, few epochs.

    The command line of each script is ``[--quick] [--out FOLDER]``. sphinx-gallery runs scripts
    without a command line.
    """
    plt.rcParams.update(LOOK)
    return bool(_options().quick)


def finish() -> None:
    """Write the figures to the folder named by ``--out``, else show them."""
    if "sphinx_gallery" in sys.modules:  # it collects the figures by itself
        return
    folder, script = _options().out, Path(sys.argv[0]).stem.removeprefix("plot_")
    if folder is None:
        if "agg" in plt.get_backend().lower() and plt.get_fignums():
            print("There is no display for the figures: name a folder, --out FOLDER.")
        else:
            plt.show()
        return
    folder.mkdir(parents=True, exist_ok=True)
    numbers = plt.get_fignums()
    for number in numbers:
        path = folder / f"{script}{'' if len(numbers) == 1 else f'_{number}'}.png"
        plt.figure(number).savefig(path, dpi=150)
        print(f"Figure: {path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="little data and few epochs")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the figures to it")
    return parser.parse_args()
