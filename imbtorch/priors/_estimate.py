"""Class frequencies of unlabelled rows, by expectation maximisation."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from imbtorch._common.probabilities import check_prior, check_proba, row_shares
from imbtorch.priors._resolve import normalize

__all__ = ["estimate_prior"]

Floats = NDArray[np.float64]


def estimate_prior(
    proba: ArrayLike,
    source: ArrayLike,
    *,
    max_iter: int = 1000,
    tol: float = 1e-8,
    sample_weight: ArrayLike | None = None,
) -> Floats:
    """Estimate the class frequencies of unlabelled data, by expectation maximisation.

    The result is the maximum-likelihood prior, assuming that only the class frequencies have
    changed since training. It needs calibrated probabilities of a known population: with
    ``ImbalancedNetClassifier`` use ``target_prior="train"``.

    Parameters
    ----------
    proba : array-like of shape (n, n_classes)
        Probabilities of the unlabelled rows, which describe ``source``.
    source : array-like of shape (n_classes,)
        Class frequencies that ``proba`` describes, all of them positive, which sum to 1.
    max_iter : int, default=1000
        Largest number of iterations.
    tol : float, default=1e-8
        The iterations stop when no frequency changes by more than this.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights >= 0 of the rows.

    Returns
    -------
    ndarray of float64, shape (n_classes,)
        The estimated class frequencies, which sum to 1.

    Raises
    ------
    ValueError
        If ``proba`` does not hold probabilities or has no rows, or ``source`` is not a positive
        distribution.

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` iterations were not enough.

    References
    ----------
    .. [1] Saerens et al. (2002). "Adjusting the Outputs of a Classifier to New a Priori
           Probabilities". :doi:`10.1162/089976602753284446`

    Examples
    --------
    Six months later the rare class, 10% of the training data, has become more frequent:

    >>> import numpy as np
    >>> from imbtorch import ImbalancedNetClassifier
    >>> from imbtorch.priors import estimate_prior
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], [1800, 200])
    >>> X = rng.normal(size=(2000, 1)) + 3 * y[:, None]
    >>> clf = ImbalancedNetClassifier(target_prior="train", random_state=0).fit(X, y)
    >>> X_new = rng.normal(size=(1000, 1)) + 3 * np.repeat([0, 1], [600, 400])[:, None]
    >>> prior = estimate_prior(clf.predict_proba(X_new), clf.class_prior_)
    >>> prior.round(1)
    array([0.6, 0.4])
    >>> clf = clf.set_params(target_prior=prior)  # predictions now describe the new data
    """
    proba = check_proba(proba)
    base = check_prior(source, proba.shape[1], "source")
    if not (base > 0).all():
        raise ValueError(
            f"source must be positive for every class; got {base.tolist()}. Leave out the columns "
            "of classes without training rows."
        )
    weights = row_shares(sample_weight, len(proba))
    prior = base
    for _ in range(max_iter):
        posterior = proba * (prior / base)
        posterior /= posterior.sum(axis=1, keepdims=True)
        before, prior = prior, normalize(weights @ posterior)
        if np.abs(prior - before).max() <= tol:
            return prior
    warnings.warn(
        f"estimate_prior has not converged after max_iter={max_iter} iterations. Raise max_iter or "
        "tol. Convergence is slow if the classes are hard to distinguish.",
        ConvergenceWarning,
        stacklevel=2,
    )
    return prior
