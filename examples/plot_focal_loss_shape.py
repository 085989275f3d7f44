"""
Shape of the focal loss
=======================

The focal loss multiplies cross-entropy by :math:`(1 - p)^\\gamma`, where :math:`p` is the
probability of the true class. Rows that are classified well fade out, and those that are not keep
their say.
"""

import matplotlib.pyplot as plt
import torch
from gallery import finish, start

from imbtorch.losses import FocalLoss

start()
GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)

# %%
# Loss and gradient
# -----------------
# Two classes with logits (0, z): z is the log-odds of the true class. ``reduction="none"`` gives
# the loss of each row; autograd gives its derivative by z.

proba = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)


def loss_and_gradient(proba, gamma):
    """Evaluate the loss, and the size of its gradient, at probabilities of the true class."""
    log_odds = torch.logit(proba).requires_grad_()
    logits = torch.stack([torch.zeros_like(log_odds), log_odds], dim=1)
    loss = FocalLoss(gamma, reduction="none")(logits, torch.ones(len(proba), dtype=torch.long))
    (gradient,) = torch.autograd.grad(loss.sum(), log_odds)
    return loss.detach(), gradient.abs()


fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
for gamma in GAMMAS:
    loss, gradient = loss_and_gradient(proba, gamma)
    label = f"{gamma:g}" + (" (cross-entropy)" if gamma == 0 else "")
    left.plot(proba, loss, label=label)
    right.plot(proba, gradient, label=label)
left.set(title="Focal loss", ylabel="loss", ylim=(0, 5))
right.set(title="Size of its gradient", ylabel="|d loss / d log-odds of the true class|")
right.set_ylim(bottom=0)
for ax in (left, right):
    ax.set(xlabel="probability of the true class", xlim=(0, 1))
    ax.axvspan(0.5, 1, color="0.95", zorder=0)
left.text(0.75, 4.7, "classified correctly", ha="center", color="0.4")
left.legend(title="gamma", loc="center right")

# %%
# How fast a good row fades
# -------------------------
# Loss and gradient of a row relative to those in cross-entropy. The gradient, which is what a net
# learns from, fades less than the loss, and at small probabilities it is larger than in
# cross-entropy: there the focal loss insists.

at = torch.tensor([0.1, 0.5, 0.9, 0.99], dtype=torch.float64)
reference = loss_and_gradient(at, 0.0)
header = "".join(f"{f'p = {p:g}':>12}" for p in at.tolist())
print(f"{'gamma':<8}{'relative':<10}{header}")
for gamma in GAMMAS[1:]:
    values = loss_and_gradient(at, gamma)
    for kind, value, base in zip(("loss", "gradient"), values, reference, strict=True):
        print(f"{gamma:<8g}{kind:<10}" + "".join(f"{r:>12.3g}" for r in (value / base).tolist()))

# %%
# A consequence: the outputs of a net trained so are less extreme than probabilities. The
# estimators know the inverse link, so that ``predict_proba`` gives probabilities all the same;
# see :ref:`the fraud example <sphx_glr_auto_examples_plot_fraud_focal.py>`.

finish()
