"""Intervals of the class frequencies of unlabelled rows, from out-of-fold predictions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import xlogy
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_scalar

from imbtorch._common.gaps import is_missing
from imbtorch._common.probabilities import check_proba
from imbtorch._common.seed import draw_seeds
from imbtorch.priors._resolve import normalize

__all__ = ["PriorInterval", "prior_interval"]

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

_SMOOTHING = 1.0  # rows that each class has besides its own, spread evenly over all cells
_MAX_ITER = 1000
_TOL = 1e-7
_BATCH = 2**20  # numbers in the largest array of a batch of resamples
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class PriorInterval:
    """Class frequencies of unlabelled rows, and how certain they are.

    Attributes
    ----------
    prior : ndarray of shape (n_classes,) or (n_labels,)
        The estimate, which sums to 1; for several labels per row the share of the rows that have
        each label.
    low, high : ndarray of shape (n_classes,) or (n_labels,)
        Ends of the interval of each class.
    std : ndarray of shape (n_classes,) or (n_labels,)
        Standard error of the estimate.
    pvalue : float or ndarray of shape (n_labels,)
        Probability of scores that fit as badly as these, or worse, if only the class frequencies
        have changed. If it is small, such as 0.01, do not trust the estimate.

    See Also
    --------
    prior_interval : Computes it.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.priors import PriorInterval
    >>> share = np.array([0.9, 0.1])
    >>> found = PriorInterval(share, share - 0.02, share + 0.02, np.full(2, 0.01), 0.4)
    >>> found.high.round(2).tolist()
    [0.92, 0.12]
    """

    prior: Floats
    low: Floats
    high: Floats
    std: Floats
    pvalue: float | Floats


@dataclass(frozen=True)
class _Settings:
    confidence: float
    n_bins: int
    n_resamples: int
    rng: np.random.Generator


def prior_interval(
    proba: ArrayLike,
    oof_proba: ArrayLike,
    y: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    confidence: float = 0.9,
    n_bins: int = 5,
    n_resamples: int = 500,
    random_state: int | np.random.RandomState | None = None,
) -> PriorInterval:
    """Estimate the class frequencies of unlabelled rows, with an interval of each class.

    Both errors count: that there are finitely many unlabelled rows, and that the scores of each
    class are known from finitely many labelled ones. It needs no calibrated probabilities, nor the
    population that they describe.

    Parameters
    ----------
    proba : array-like of shape (n, n_classes) or (n_models, n, n_classes)
        Probabilities of the unlabelled rows. Give those of each model of a cross-validation, since
        their mean is less noisy than the predictions of a single model in ``oof_proba``: of each
        row one of the models is taken, at random.
    oof_proba : array-like of shape (n_labelled, n_classes)
        Probabilities of labelled rows by a model that was not trained on them, such as
        ``oof_predict_proba_`` of :func:`~imbtorch.model_selection.cross_fit`; for the same
        population as ``proba``. Rows of NaN do not count.
    y : array-like of shape (n_labelled,) or (n_labelled, n_labels)
        Their labels, one or several per row; with several, the columns of both arrays of
        probabilities are labels. NaN, None and labels that are not in ``classes`` do not count.
    classes : array-like of shape (n_classes,) or None, default=None
        The labels in the order of the columns; None takes the sorted labels of ``y``.
    confidence : float, default=0.9
        Probability with which the interval of a class holds its frequency, between 0 and 1.
    n_bins : int, default=5
        Number of groups into which the rows of each predicted class are divided by their score.
    n_resamples : int, default=500
        Number of simulated samples, at least 20.
    random_state : int, RandomState or None, default=None
        Seed of the random numbers.

    Returns
    -------
    PriorInterval
        The estimate, its interval, and whether the scores fit to it.

    Raises
    ------
    ValueError
        If an argument is invalid, a class has no row with an out-of-fold prediction, or the scores
        do not distinguish the classes.

    Warns
    -----
    ConvergenceWarning
        If the estimation has not converged.

    See Also
    --------
    estimate_prior : The estimate alone, from calibrated probabilities.

    Notes
    -----
    Rows are divided into cells: by the class that a balanced decision predicts, and by its
    probability. The shares of the cells among the labelled rows of each class are mixed so that
    the likelihood of the unlabelled rows is greatest; with ``n_bins=1`` this is the information of
    the confusion matrix that [1]_ uses. The interval consists of quantiles of a bootstrap that
    draws both samples anew, the labelled rows class by class [2]_. ``pvalue`` is that of a
    likelihood ratio test of the fit, whose distribution is simulated from the estimate.

    The interval is about the population of which the unlabelled rows are a random sample. It
    assumes that in each class the scores are distributed as before. The test detects scores that
    no mixture of the classes has; it cannot detect a change that looks like a mixture, such as
    positives that have become as inconspicuous as negatives.

    References
    ----------
    .. [1] Lipton, Wang and Smola (2018). "Detecting and Correcting for Label Shift with Black Box
           Predictors". :arxiv:`1802.03916`
    .. [2] Tasche (2019). "Confidence Intervals for Class Prevalences under Prior Probability
           Shift". :doi:`10.3390/make1030047`

    Examples
    --------
    The rare class, 10% of the training data, has become more frequent:

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from imbtorch.model_selection import cross_fit
    >>> from imbtorch.priors import prior_interval
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], [1800, 200])
    >>> X = rng.normal(size=(2000, 1)) + 2 * y[:, None]
    >>> X_new = rng.normal(size=(1000, 1)) + 2 * np.repeat([0, 1], [750, 250])[:, None]
    >>> folds = cross_fit(LogisticRegression(), X, y)
    >>> each = np.stack([model.predict_proba(X_new) for model in folds.estimators_])
    >>> found = prior_interval(each, folds.oof_predict_proba_, y, random_state=0)
    >>> bool(found.low[1] < 0.25 < found.high[1]), bool(found.low[1] > 0.2)
    (True, True)
    """
    check_scalar(confidence, "confidence", Real, min_val=0, max_val=1, include_boundaries="neither")
    check_scalar(n_bins, "n_bins", Integral, min_val=1)
    check_scalar(n_resamples, "n_resamples", Integral, min_val=20)
    rng = np.random.default_rng(draw_seeds(random_state, 1)[0])
    given: Any = y
    labels = np.asarray(given.toarray() if sparse.issparse(given) else given)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels.ravel()
    new, old = _one_model_per_row(proba, rng), np.asarray(oof_proba, dtype=np.float64)
    _check_shapes(new, old, labels)
    settings = _Settings(confidence, n_bins, n_resamples, rng)
    if labels.ndim == 1:
        known = np.asarray(~np.isnan(old).all(axis=1))
        codes = _codes(labels, known, classes, new.shape[1])
        known &= codes >= 0
        proba_new, proba_old = check_proba(new), check_proba(old[known], "oof_proba")
        return _interval(proba_new, proba_old, codes[known], settings)
    if classes is not None:
        raise ValueError("classes are for one label per row; leave it out with a matrix of labels.")
    found = [_of_label(j, new, old, labels, settings) for j in range(labels.shape[1])]
    return PriorInterval(
        prior=np.array([one.prior[1] for one in found]),
        low=np.array([one.low[1] for one in found]),
        high=np.array([one.high[1] for one in found]),
        std=np.array([one.std[1] for one in found]),
        pvalue=np.array([one.pvalue for one in found]),
    )


# -- input -----------------------------------------------------------------------------------------


def _one_model_per_row(proba: Any, rng: np.random.Generator) -> Floats:
    """Return probabilities of shape ``(n, n_columns)``, each row of a model drawn at random."""
    found = np.asarray(proba, dtype=np.float64)
    if found.ndim == 3 and len(found):
        rows = np.arange(found.shape[1])
        found = found[rng.integers(0, len(found), len(rows)), rows]
    return found


def _check_shapes(new: Floats, old: Floats, labels: NDArray[Any]) -> None:
    if new.ndim != 2 or old.ndim != 2 or new.shape[1] != old.shape[1]:
        raise ValueError(
            f"proba has shape {new.shape} and oof_proba {old.shape}; expected (n, n_classes), or "
            "(n_models, n, n_classes), and (n_labelled, n_classes) with the same columns."
        )
    if not len(new):
        raise ValueError("proba has no rows; at least one is needed to estimate a prior.")
    if len(labels) != len(old) or labels.ndim > 2 or labels.ndim == 0:
        raise ValueError(
            f"y has shape {labels.shape}, but oof_proba has {len(old)} rows; give the labels of "
            "these rows, in the same order."
        )
    if labels.ndim == 2 and labels.shape[1] != old.shape[1]:
        raise ValueError(
            f"y has {labels.shape[1]} labels per row, but oof_proba has {old.shape[1]} columns; "
            "expected one column for each label."
        )


def _is_unknown(labels: NDArray[Any]) -> NDArray[np.bool_]:
    if labels.dtype.kind == "f":
        return np.asarray(np.isnan(labels))
    if labels.dtype.kind == "O":
        return np.array([is_missing(label) for label in labels.tolist()], dtype=bool)
    return np.zeros(len(labels), dtype=bool)


def _codes(
    labels: NDArray[Any], known: NDArray[np.bool_], classes: Any, n_classes: int
) -> Integers:
    """Return the column of each label, and -1 for labels that do not count."""
    given = ~_is_unknown(labels)
    names = np.unique(labels[given]) if classes is None else np.asarray(classes)
    if len(names) != n_classes:
        raise ValueError(
            f"proba has {n_classes} columns, but the classes are {names.tolist()[:20]}. Give the "
            "labels in the order of the columns as classes, for example classes=model.classes_."
        )
    codes = np.full(len(labels), -1, dtype=np.intp)
    for code, name in enumerate(names.tolist()):
        codes[given] = np.where(labels[given] == name, code, codes[given])
    lacking = [name for j, name in enumerate(names.tolist()) if not (codes[known] == j).any()]
    if lacking:
        raise ValueError(
            f"No row of the classes {lacking[:20]} has an out-of-fold prediction, so that their "
            "scores are not known. Give rows of each class, or leave out these columns."
        )
    return codes


def _of_label(
    j: int, new: Floats, old: Floats, labels: NDArray[Any], settings: _Settings
) -> PriorInterval:
    """Estimate the share of the rows that have label ``j``."""
    column = labels[:, j]
    known = ~(np.isnan(old[:, j]) | _is_unknown(column))
    values = np.unique(column[known]).tolist()
    if values != [0, 1]:
        raise ValueError(
            f"Label {j} has the values {values[:5]} among the rows with out-of-fold predictions; "
            "expected rows with 0 and rows with 1. Leave out this column of y, proba and oof_proba."
        )
    pairs = (np.column_stack([1 - p, p]) for p in (new[:, j], old[known, j]))
    proba, oof_proba = check_proba(next(pairs)), check_proba(next(pairs), "oof_proba")
    return _interval(proba, oof_proba, column[known].astype(np.intp), settings)


# -- estimation ------------------------------------------------------------------------------------


def _interval(
    new: Floats,
    old: Floats,
    codes: Integers,
    settings: _Settings,
) -> PriorInterval:
    """Estimate the class frequencies, then those of samples that are drawn anew."""
    n_classes = old.shape[1]
    old_cells, new_cells, n_cells = _cells(old, codes, new, settings.n_bins)
    labelled = np.bincount(codes * n_cells + old_cells, minlength=n_classes * n_cells)
    labelled = labelled.reshape(n_classes, n_cells)
    shares, seen = _smoothed(labelled), labelled / labelled.sum(axis=1, keepdims=True)
    if np.linalg.matrix_rank(seen) < n_classes:
        raise ValueError(
            "The out-of-fold probabilities do not distinguish the classes, so that nothing can be "
            "said about their frequencies. Train a better model, or merge classes."
        )
    observed = np.bincount(new_cells, minlength=n_cells) / len(new)
    (prior,), converged = _mixture(observed[None], shares[None])
    if not converged:
        warnings.warn(
            f"prior_interval has not converged after {_MAX_ITER} iterations: the classes are hard "
            "to distinguish. Train a better model, or give more labelled rows.",
            ConvergenceWarning,
            stacklevel=3,
        )
    drawn, misfits = _redrawn(prior, shares, observed, np.bincount(codes), len(new), settings)
    tails = (1 - settings.confidence) / 2, (1 + settings.confidence) / 2
    low, high = np.quantile(drawn, tails, axis=0)
    worse = misfits >= _misfit(observed, prior @ shares) - _TOL / len(new)
    return PriorInterval(
        prior=prior,
        low=np.minimum(low, prior),
        high=np.maximum(high, prior),
        std=drawn.std(axis=0),
        pvalue=float((worse.sum() + 1) / (len(worse) + 1)),
    )


def _redrawn(
    prior: Floats,
    shares: Floats,
    observed: Floats,
    n_labelled: Integers,
    n_new: int,
    settings: _Settings,
) -> tuple[Floats, Floats]:
    """Draw both samples anew, and estimate the class frequencies again.

    Returns
    -------
    estimates : ndarray of shape (n_resamples, n_classes)
        Estimates of samples that are drawn from the unlabelled rows.
    misfits : ndarray of shape (n_resamples,)
        How badly samples that are drawn from the estimated mixture fit to their own estimate.
    """
    rng, estimates, misfits = settings.rng, [], []
    size = max(1, _BATCH // shares.size)
    for done in range(0, settings.n_resamples, size):
        n = min(size, settings.n_resamples - done)
        drawn = [rng.multinomial(k, p, n) for k, p in zip(n_labelled, shares, strict=True)]
        again = _smoothed(np.stack(drawn, axis=1))
        estimates.append(_mixture(rng.multinomial(n_new, observed, n) / n_new, again)[0])
        sample = rng.multinomial(n_new, normalize(prior @ shares), n) / n_new
        fitted = np.einsum("rc,rck->rk", _mixture(sample, again)[0], again)
        misfits.append(_misfit(sample, fitted))
    return np.concatenate(estimates), np.concatenate(misfits)


def _cells(
    old: Floats, codes: Integers, new: Floats, n_bins: int
) -> tuple[Integers, Integers, int]:
    """Divide rows by the class of a balanced decision, then by its probability.

    The limits of the cells are quantiles of the labelled rows, in which all classes together have
    the same weight, so that the rows of the rarest class are divided, too.
    """
    mean = np.maximum(old.mean(axis=0), _TINY)
    weights = 1 / np.bincount(codes)[codes]
    predicted, scores = zip(*(_decision(proba / mean) for proba in (old, new)), strict=True)
    cells = [np.zeros(len(rows), dtype=np.intp) for rows in scores]
    n_cells = 0
    for j in range(old.shape[1]):
        inside = [chosen == j for chosen in predicted]
        values = scores[0][inside[0]]
        order = np.argsort(values)
        passed = np.cumsum(weights[inside[0]][order])
        limits = np.empty(0)
        if len(values):
            places = np.searchsorted(passed, passed[-1] * np.arange(1, n_bins) / n_bins)
            limits = np.unique(values[order][places])
        for own, rows, score in zip(cells, inside, scores, strict=True):
            own[rows] = n_cells + np.searchsorted(limits, score[rows], side="right")
        n_cells += len(limits) + 1
    return cells[0], cells[1], n_cells


def _decision(masses: Floats) -> tuple[Integers, Floats]:
    """Return the class of the greatest mass of each row, and its share."""
    return masses.argmax(axis=1), masses.max(axis=1) / masses.sum(axis=1)


def _smoothed(counts: NDArray[Any]) -> Floats:
    """Return the share of each cell, the last axis, of which none is 0."""
    more = counts + _SMOOTHING / counts.shape[-1]
    shares: Floats = more / more.sum(axis=-1, keepdims=True)
    return shares


def _mixture(observed: Floats, shares: Floats) -> tuple[Floats, bool]:
    """Find the class frequencies of the greatest likelihood.

    Expectation maximisation, accelerated by squared extrapolation (Varadhan and Roland 2008,
    :doi:`10.1111/j.1467-9469.2007.00585.x`).

    Parameters
    ----------
    observed : ndarray of shape (r, k)
        Share of each cell among the unlabelled rows, for each of r samples.
    shares : ndarray of shape (r, c, k)
        Positive share of each cell among the labelled rows of each class.

    Returns
    -------
    prior : ndarray of shape (r, c)
        Class frequencies, which sum to 1.
    converged : bool
        Whether the last step changed no frequency by more than the tolerance.
    """

    def mixed(prior: Floats) -> Floats:
        return np.asarray(np.einsum("rc,rck->rk", prior, shares))

    def step(prior: Floats) -> Floats:
        return np.asarray(prior * np.einsum("rck,rk->rc", shares, observed / mixed(prior)))

    prior = np.full(shares.shape[:2], 1 / shares.shape[1])
    for _ in range(_MAX_ITER):
        one = step(prior)
        two = step(one)
        change, bend = one - prior, two - 2 * one + prior
        length = np.linalg.norm(change, axis=1, keepdims=True)
        length /= np.maximum(np.linalg.norm(bend, axis=1, keepdims=True), _TINY)
        length = np.clip(length, 1, 1e6)
        # a frequency of 0 could not grow again
        far = np.maximum(prior + 2 * length * change + length**2 * bend, two / 1000)
        far /= far.sum(axis=1, keepdims=True)
        is_worse = _misfit(observed, mixed(far)) > _misfit(observed, mixed(two))
        far[is_worse] = two[is_worse]
        before, prior = prior, step(far)
        if np.abs(prior - before).max() <= _TOL:
            return prior, True
    return prior, False


def _misfit(observed: Floats, fitted: Floats) -> Any:
    """Return the divergence of observed shares from fitted ones, which is 0 if they agree."""
    return (xlogy(observed, observed) - xlogy(observed, fitted)).sum(axis=-1)
