"""Notice settings that correct one imbalance more than once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch.exceptions import DoubleCorrectionWarning

__all__ = ["check_double_correction"]

Floats = NDArray[np.float64]
_IMBALANCED = 1.5  # classes closer to each other than 1.5 : 1 count as balanced


def check_double_correction(
    class_prior: Floats, log_effects: Mapping[str, tuple[Any, Floats]]
) -> None:
    """Warn when several settings together over-correct the class imbalance.

    The strength of one setting is the slope of its log effect against minus the log prior: 0
    leaves the imbalance, 1 removes it. Two or more settings whose strengths add up to clearly
    more than 1 turn the imbalance round.

    Parameters
    ----------
    class_prior : ndarray of shape (n_classes,)
        Class frequencies of the training data.
    log_effects : mapping of str to (object, ndarray of shape (n_classes,))
        For each setting, by a name with a place for its value: the value, and the log factor by
        which it multiplies the mass of each class.

    Warns
    -----
    DoubleCorrectionWarning
        Names every setting that takes part.
    """
    seen = class_prior > 0
    for _, effect in log_effects.values():
        seen &= np.isfinite(effect)  # a class of weight 0 is left out, not made rarer
    rarity = -np.log(class_prior[seen])
    if not seen.any() or np.ptp(rarity) < np.log(_IMBALANCED):  # there is nothing to correct
        return
    rarity -= rarity.mean()
    spread = float(rarity @ rarity)
    strengths = {
        name: float(effect[seen] @ rarity) / spread for name, (_, effect) in log_effects.items()
    }
    strong = [name for name, strength in strengths.items() if strength > 0.1]
    if len(strong) > 1 and sum(strengths.values()) > 1.25:
        culprits = [name.format(log_effects[name][0]) for name in strong]
        warnings.warn(
            f"{' and '.join(culprits)} correct the same class imbalance, together "
            f"{sum(strengths.values()):.1f} times over: the model will favour rare classes beyond "
            "balance. Keep one of them; or set target_prior to state the population that "
            "predict_proba shall describe.",
            DoubleCorrectionWarning,
            stacklevel=2,
        )
