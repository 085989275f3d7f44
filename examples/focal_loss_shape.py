"""Shape of the focal loss: how rows that are classified well fade out.

Draws the loss and its gradient against the probability of the true class, for several gamma::

    python examples/focal_loss_shape.py --out demo_output
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from imbtorch.losses import FocalLoss

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00")  # Okabe and Ito's palette


def loss_and_gradient(proba: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Evaluate the focal loss where the true class has these probabilities.

    Parameters
    ----------
    proba : Tensor of shape (n,)
        Probability of the true class, in (0, 1).
    gamma : float
        Focusing parameter; 0 is cross-entropy.

    Returns
    -------
    loss, gradient : Tensor of shape (n,)
        The loss, and the size of its derivative by the log-odds of the true class.
    """
    log_odds = torch.logit(proba).requires_grad_()
    logits = torch.stack([torch.zeros_like(log_odds), log_odds], dim=1)
    loss = FocalLoss(gamma, reduction="none")(logits, torch.ones(len(proba), dtype=torch.long))
    (gradient,) = torch.autograd.grad(loss.sum(), log_odds)
    return loss.detach(), gradient.abs()


def draw(gammas: Sequence[float] = GAMMAS) -> Figure:
    """Draw both panels, one curve per gamma."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    proba = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    for gamma, colour in zip(gammas, COLOURS, strict=True):
        loss, gradient = loss_and_gradient(proba, gamma)
        label = f"{gamma:g}" + (" (cross-entropy)" if gamma == 0 else "")
        left.plot(proba, loss, color=colour, label=label)
        right.plot(proba, gradient, color=colour, label=label)
    left.set(title="Focal loss", ylabel="loss", ylim=(0, 5))
    right.set(title="Size of its gradient", ylabel="|d loss / d log-odds of the true class|")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set(xlabel="probability of the true class", xlim=(0, 1))
        axes.grid(color="0.9")
        axes.axvspan(0.5, 1, color="0.96", zorder=0)
    left.text(0.75, 4.7, "classified correctly", ha="center", color="0.4")
    left.legend(title="gamma", loc="center right")
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Write ``focal_loss_shape.png``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder to write to")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "focal_loss_shape.png"
    draw().savefig(path, dpi=150)
    print(f"Loss and gradient: {path}. A row with probability 0.9 of its true class weighs")
    at = torch.tensor([0.9], dtype=torch.float64)
    reference = loss_and_gradient(at, 0.0)[0].item()
    for gamma in GAMMAS[1:]:
        share = loss_and_gradient(at, gamma)[0].item() / reference
        print(f"  1/{1 / share:,.0f} of what it does in cross-entropy, with gamma {gamma:g}")


if __name__ == "__main__":
    main()
