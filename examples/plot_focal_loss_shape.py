"""
Shape of the focal loss
=======================

The focal loss multiplies cross-entropy by :math:`(1 - p)^\\gamma`, where :math:`p` is the
probability of the true class. Rows that are classified well lose their influence on the net; rows
that are not keep it.
"""

import matplotlib.pyplot as plt
import numpy as np

from imbtorch.losses import FocalLoss
from imbtorch.plotting import LossShapeDisplay

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)

# %%
# Loss and gradient
# -----------------
# The gradient is with respect to the log-odds of the true class: how strongly a row changes the
# net. Rows in the shaded half are classified correctly.

proba = np.arange(1, 1000) / 1000
names = {gamma: f"gamma {gamma:g}" + " (cross-entropy)" * (gamma == 0) for gamma in GAMMAS}
display = LossShapeDisplay.from_losses(
    {name: FocalLoss(gamma) for gamma, name in names.items()}, proba=proba
)
display.ax_[0].set_ylim(0, 5)
for ax in display.ax_:
    ax.axvspan(0.5, 1, color="0.95", zorder=0)

# %%
# How fast the influence of a row decreases
# -----------------------------------------
# The table shows loss and gradient of a row relative to those of cross-entropy. The gradient, from
# which a net learns, decreases less than the loss; at small probabilities it is even larger than
# that of cross-entropy.

at = np.searchsorted(proba, [0.1, 0.5, 0.9, 0.99])
print(f"{'gamma':<8}{'relative':<10}" + "".join(f"{f'p = {p:g}':>12}" for p in proba[at]))
cross_entropy, *focal = display.curves
for gamma, curve in zip(GAMMAS[1:], focal, strict=True):
    loss = curve.value[at] / cross_entropy.value[at]
    gradient = curve.gradient[at] / cross_entropy.gradient[at]
    for kind, ratios in {"loss": loss, "gradient": gradient}.items():
        print(f"{gamma:<8g}{kind:<10}" + "".join(f"{ratio:>12.3g}" for ratio in ratios))

# %%
# As a consequence, the outputs of a net that is trained on the focal loss are less extreme than
# probabilities. The estimators know the inverse link, so that ``predict_proba`` gives probabilities
# nevertheless; see :ref:`the fraud example <sphx_glr_auto_examples_plot_fraud_focal.py>`.

plt.show()
