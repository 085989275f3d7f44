"""Restate probabilities that describe one population for another population.

The effective prior is the class prior of the population that the outputs of a trained model
describe: training prior x sampler x class weights x loss adjustment. Changing the class prior of a
population from ``s`` to ``t`` multiplies the odds of class ``c`` by ``t_c / s_c`` (Saerens et al.
2002, :doi:`10.1162/089976602753284446`). All functions assume that only the class frequencies
differ between populations, not the distribution of the features in each class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from imbtorch._common.probabilities import check_masses, check_matrix, check_prior, check_proba
from imbtorch.priors._classifier import PriorShiftClassifier
from imbtorch.priors._estimate import estimate_prior
from imbtorch.priors._interval import PriorInterval, prior_interval
from imbtorch.priors._resolve import normalize, resolve_label_prior, resolve_target_prior

__all__ = [
    "PriorInterval",
    "PriorShiftClassifier",
    "estimate_prior",
    "log_prior_ratio",
    "logit_adjust",
    "normalize",
    "prior_interval",
    "resolve_label_prior",
    "resolve_target_prior",
    "shift_prior",
    "undersampling_correction",
]

Floats = NDArray[np.float64]


def log_prior_ratio(source: Floats, target: Floats) -> Floats:
    """Compute ``log(target / source)`` per class, and 0 for classes of frequency 0 in ``source``.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.priors import log_prior_ratio
    >>> log_prior_ratio(np.array([0.5, 0.5]), np.array([0.9, 0.1])).round(3).tolist()
    [0.588, -1.609]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(target) - np.log(source)
    return np.where(source > 0, ratio, 0.0)


def shift_prior(proba: ArrayLike, source: ArrayLike, target: ArrayLike) -> Floats:
    """Restate probabilities of one population for another one.

    ``p'_c`` is proportional to ``p_c * target_c / source_c``.

    Parameters
    ----------
    proba : array-like of shape (n, n_classes)
        Probabilities that describe ``source``.
    source : array-like of shape (n_classes,)
        Class frequencies that ``proba`` describes, which sum to 1.
    target : array-like of shape (n_classes,)
        Class frequencies that the result shall describe, which sum to 1.

    Returns
    -------
    ndarray of float64, shape (n, n_classes)
        Probabilities that describe ``target``; rows sum to 1. The probability of a class of
        frequency 0 in ``source`` is not multiplied before the rows are normalised; a class of
        frequency 0 in ``target`` gets probability 0.

    Raises
    ------
    ValueError
        If ``proba`` does not hold probabilities, a prior is not a distribution over the same
        classes, or a row has all its probability on classes of frequency 0 in ``target``.

    References
    ----------
    .. [1] Saerens et al. (2002). "Adjusting the Outputs of a Classifier to New a Priori
           Probabilities". :doi:`10.1162/089976602753284446`
    .. [2] Elkan (2001). "The Foundations of Cost-Sensitive Learning". IJCAI, pp. 973-978.

    Examples
    --------
    >>> from imbtorch.priors import shift_prior
    >>> shift_prior([[0.5, 0.5], [0.1, 0.9]], source=[0.5, 0.5], target=[0.98, 0.02]).round(4)
    array([[0.98  , 0.02  ],
           [0.8448, 0.1552]])
    """
    proba = check_proba(proba)
    n_classes = proba.shape[1]
    ratio = log_prior_ratio(
        check_prior(source, n_classes, "source"), check_prior(target, n_classes, "target")
    )
    return _multiply_odds(proba, ratio)


def logit_adjust(logits: ArrayLike, prior: ArrayLike, tau: float = 1.0) -> Floats:
    """Subtract ``tau * log(prior)`` from logits, after training.

    With ``tau=1`` the class of the largest adjusted logit is the best decision for balanced
    accuracy, if the logits come from plain cross-entropy on data of frequencies ``prior``.

    Parameters
    ----------
    logits : array-like of shape (n, n_classes)
        Outputs of the model, or log-probabilities.
    prior : array-like of shape (n_classes,)
        Class frequencies or counts of the training data, all of them positive.
    tau : float, default=1.0
        Strength of the adjustment: 0 changes nothing, 1 corrects to balanced classes.

    Returns
    -------
    ndarray of float64, shape (n, n_classes)
        Adjusted logits.

    Raises
    ------
    ValueError
        If the frequency of a class is not positive, or the shapes do not match.

    References
    ----------
    .. [1] Menon et al. (2021). "Long-tail learning via logit adjustment". :arxiv:`2007.07314`

    Examples
    --------
    >>> from imbtorch.priors import logit_adjust
    >>> logit_adjust([[2.0, 0.5, -1.0]], prior=[0.8, 0.16, 0.04]).argmax(axis=1)
    array([1])
    """
    scores = check_matrix(logits, "logits")
    masses = check_masses(prior, scores.shape[1], "prior")
    if not (masses > 0).all():
        raise ValueError(
            f"prior must be positive for every class, to have a logarithm; got {masses.tolist()}. "
            "Give a class without rows half the count of the rarest class that has rows."
        )
    if not np.isfinite(tau):
        raise ValueError(f"tau must be finite, for example 1.0; got {tau!r}.")
    adjusted: Floats = scores - tau * np.log(normalize(masses))
    return adjusted


def undersampling_correction(proba: ArrayLike, keep_rate: float | ArrayLike) -> Floats:
    """Undo the effect of random undersampling on probabilities.

    ``p_c`` is proportional to ``p_s,c / keep_rate_c``. If only class 0 of two classes was
    undersampled, at rate ``b``, the probability of class 1 is ``b p_s / (b p_s - p_s + 1)``.

    Parameters
    ----------
    proba : array-like of shape (n, n_classes)
        Probabilities from a model that was trained on the undersampled data.
    keep_rate : float or array-like of shape (n_classes,)
        Share of the rows of each class that was kept, in (0, 1]. A single number is the rate of
        class 0 of two classes.

    Returns
    -------
    ndarray of float64, shape (n, n_classes)
        Probabilities for the data before undersampling. Rows sum to 1.

    Raises
    ------
    ValueError
        If ``proba`` does not hold probabilities, or a rate is not in (0, 1].

    References
    ----------
    .. [1] Dal Pozzolo et al. (2015). "Calibrating Probability with Undersampling for Unbalanced
           Classification". :doi:`10.1109/SSCI.2015.33`

    Examples
    --------
    >>> from imbtorch.priors import undersampling_correction
    >>> undersampling_correction([[0.5, 0.5]], keep_rate=0.05).round(4)
    array([[0.9524, 0.0476]])
    """
    proba = check_proba(proba)
    rates = np.asarray(keep_rate, dtype=np.float64)
    if rates.ndim == 0 and proba.shape[1] == 2:
        rates = np.array([rates.item(), 1.0])
    if rates.shape != (proba.shape[1],):
        raise ValueError(
            f"keep_rate has shape {rates.shape}, expected ({proba.shape[1]},): one rate for each "
            "column of proba (a single number is the rate of class 0 of two)."
        )
    if not ((rates > 0) & (rates <= 1)).all():
        raise ValueError(
            f"keep_rate must lie in (0, 1], the share of rows kept; got {rates.tolist()}. After "
            "oversampling use shift_prior with the class frequencies of the sampled data as source."
        )
    return _multiply_odds(proba, -np.log(rates))


def _multiply_odds(proba: Floats, log_factors: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        scores = np.log(proba) + log_factors
    lost = np.isneginf(scores).all(axis=1)
    if lost.any():
        raise ValueError(
            f"Row {int(lost.argmax())} of proba, and {int(lost.sum()) - 1} more, is impossible in "
            "the target population: it has all its probability on classes of target frequency 0. "
            "Give those classes a small frequency in target."
        )
    result: Floats = np.exp(log_softmax(scores, axis=1))
    return result
