"""Which population a posterior describes, and how to restate it for another one.

Bookkeeping: training prior x sampler x class weights x loss adjustment = effective prior. Changing
the class prior of a population from ``s`` to ``t`` multiplies the odds of class ``c`` by
``t_c / s_c`` (Saerens et al. 2002, :doi:`10.1162/089976602753284446`).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch.exceptions import DoubleCorrectionWarning

__all__ = ["check_double_correction", "log_prior_ratio", "normalize", "resolve_target_prior"]

Floats = NDArray[np.float64]
_IMBALANCED = 1.5  # classes closer to each other than 1.5 : 1 count as balanced


def normalize(masses: Floats) -> Floats:
    """Scale non-negative masses of shape ``(c,)`` to sum to 1."""
    prior: Floats = masses / masses.sum()
    return prior


def resolve_target_prior(target_prior: Any, classes: NDArray[Any], class_prior: Floats) -> Floats:
    """Turn ``target_prior`` into one probability per class.

    Parameters
    ----------
    target_prior : {"train", "uniform"}, mapping or array-like of shape (n_classes,)
        The population that probabilities shall describe.
    classes : ndarray of shape (n_classes,)
        The labels.
    class_prior : ndarray of shape (n_classes,)
        Class frequencies of the training data.

    Returns
    -------
    ndarray of shape (n_classes,)
        Sums to 1.

    Raises
    ------
    ValueError
        If a label is missing or unknown, or the numbers are not a distribution.
    """
    labels = classes.tolist()
    if isinstance(target_prior, str):
        if target_prior == "train":
            return class_prior
        return np.full(len(labels), 1 / len(labels))
    if isinstance(target_prior, Mapping):
        if set(target_prior) != set(labels):
            raise ValueError(
                f"target_prior must name every class once: it has {sorted(map(repr, target_prior))}"
                f", the classes are {labels}."
            )
        target_prior = [target_prior[label] for label in labels]
    prior = np.asarray(target_prior, dtype=np.float64)
    if prior.shape != (len(labels),):
        raise ValueError(
            f"target_prior has shape {prior.shape}, expected ({len(labels)},): one probability for "
            f"each of the classes {labels}."
        )
    if not (np.isfinite(prior).all() and (prior >= 0).all() and abs(prior.sum() - 1) < 1e-6):
        raise ValueError(
            f"target_prior must be probabilities >= 0 that sum to 1; got {prior.tolist()} with sum "
            f"{prior.sum():g}."
        )
    return normalize(prior)


def log_prior_ratio(source: Floats, target: Floats) -> Floats:
    """Compute ``log(target / source)`` per class, 0 for classes the source has never seen."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(target) - np.log(source)
    return np.where(source > 0, ratio, 0.0)


def check_double_correction(class_prior: Floats, log_effects: Mapping[str, Floats]) -> None:
    """Warn when several settings together over-correct the class imbalance.

    The strength of one setting is the slope of its log effect against minus the log prior: 0
    leaves the imbalance, 1 removes it. Two or more settings whose strengths add up to clearly
    more than 1 turn the imbalance round.

    Parameters
    ----------
    class_prior : ndarray of shape (n_classes,)
        Class frequencies of the training data.
    log_effects : mapping of str to ndarray of shape (n_classes,)
        For each setting, the log factor by which it multiplies the mass of each class.

    Warns
    -----
    DoubleCorrectionWarning
        Names every setting that takes part.
    """
    seen = class_prior > 0
    for effect in log_effects.values():
        seen &= np.isfinite(effect)  # a class of weight 0 is left out, not made rarer
    rarity = -np.log(class_prior[seen])
    if not seen.any() or np.ptp(rarity) < np.log(_IMBALANCED):  # there is nothing to correct
        return
    rarity -= rarity.mean()
    spread = float(rarity @ rarity)
    strengths = {
        name: float(effect[seen] @ rarity) / spread for name, effect in log_effects.items()
    }
    culprits = [name for name, strength in strengths.items() if strength > 0.1]
    if len(culprits) > 1 and sum(strengths.values()) > 1.25:
        warnings.warn(
            f"{' and '.join(culprits)} correct the same class imbalance, together "
            f"{sum(strengths.values()):.1f} times over: the model will favour rare classes beyond "
            "balance. Keep one of them; or set target_prior to state the population that "
            "predict_proba shall describe.",
            DoubleCorrectionWarning,
            stacklevel=2,
        )
