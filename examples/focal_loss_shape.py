"""Shape of the focal loss: how rows that are classified well fade out.

Draws the loss and its gradient against the probability of the true class, for several gamma::

    python examples/focal_loss_shape.py --out demo_output
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from imbtorch.losses import FocalLoss
from imbtorch.plotting import LossShapeDisplay

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)


def draw(gammas: Sequence[float] = GAMMAS) -> LossShapeDisplay:
    """Draw both panels, one curve per gamma."""
    names = [f"gamma {gamma:g}" + (" (cross-entropy)" if gamma == 0 else "") for gamma in gammas]
    losses = dict(zip(names, map(FocalLoss, gammas), strict=True))
    display = LossShapeDisplay.from_losses(losses, proba=np.linspace(0.001, 0.999, 999))
    for panel, title in zip(display.ax_, ("Focal loss", "Size of its gradient"), strict=True):
        panel.axvspan(0.5, 1, color="0.96", zorder=0)
        panel.set_title(title)
    display.ax_[0].set_ylim(0, 5)
    display.ax_[0].text(0.75, 4.7, "classified correctly", ha="center", color="0.4")
    return display


def main(argv: Sequence[str] | None = None) -> None:
    """Write ``focal_loss_shape.png``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder to write to")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    mpl.use("Agg")
    path = args.out / "focal_loss_shape.png"
    display = draw()
    display.figure_.savefig(path, dpi=150)
    plt.close(display.figure_)
    print(f"Loss and gradient: {path}. A row with probability 0.9 of its true class weighs")
    at = np.abs(display.proba - 0.9).argmin()
    reference, *others = (curve.value[at] for curve in display.curves)
    for gamma, value in zip(GAMMAS[1:], others, strict=True):
        print(
            f"  1/{reference / value:,.0f} of what it does in cross-entropy, with gamma {gamma:g}"
        )


if __name__ == "__main__":
    main()
