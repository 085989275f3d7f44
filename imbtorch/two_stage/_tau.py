"""Normalise the weights of a trained head."""

from __future__ import annotations

from numbers import Real
from typing import TypeVar

import numpy as np
import torch
from sklearn.utils import check_scalar

from imbtorch._fit.estimator import BaseNetEstimator
from imbtorch.losses._scores import TauNormalizedScores
from imbtorch.two_stage._head import check_rows, copy_of, find_head, publish, scale_rows

__all__ = ["tau_normalize"]

Net = TypeVar("Net", bound=BaseNetEstimator)


def tau_normalize(estimator: Net, tau: float = 1.0, *, head: str | None = None) -> Net:
    r"""Normalise the weights of the classes by their norms, without training.

    .. math:: \tilde w_j = w_j / \lVert w_j \rVert^\tau, \qquad b_j = 0

    A frequent class often has weights of a large norm, which favours it. ``tau=0`` changes only
    the bias, ``tau=1`` gives all weights the same norm. This is fast enough for a search on
    validation data.

    Parameters
    ----------
    estimator : ImbalancedNetClassifier
        Classifier fitted on one label per row, whose head is a ``torch.nn.Linear`` with one row
        per class, or the heads of a TabM, each of which is normalised by itself. It is not changed.
    tau : float, default=1.0
        Strength of the normalisation, 0 or more.
    head : str or None, default=None
        Name of the head; see :func:`finetune_head`.

    Returns
    -------
    ImbalancedNetClassifier
        A new fitted estimator. Its outputs are scores for decisions, not a posterior: a
        ``target_prior`` other than None is an error, here and in ``predict``.

    Raises
    ------
    TypeError
        If ``estimator`` is not an :class:`ImbalancedNetClassifier`.
    ValueError
        If ``estimator`` has several labels per row, its head is not found or is not linear,
        ``tau`` is negative or not finite, or ``target_prior`` is not None.
    sklearn.exceptions.NotFittedError
        If ``estimator`` is not fitted.

    Notes
    -----
    This works if the norm of the weights grows with the frequency of the classes, as after long
    training with SGD. Otherwise it fails, as with Adam [2]_: look at the norms first.
    :func:`finetune_head` and ``target_prior="uniform"`` do not depend on the norms.

    References
    ----------
    .. [1] Kang et al. (2020). "Decoupling Representation and Classifier for Long-Tailed
           Recognition". ICLR. :arxiv:`1910.09217`
    .. [2] Menon et al. (2021). "Long-tail learning via logit adjustment", section 2.
           :arxiv:`2007.07314`

    Examples
    --------
    Choose ``tau`` on validation data:

    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.metrics import balanced_accuracy_score
    >>> from sklearn.model_selection import train_test_split
    >>> from imbtorch import ImbalancedNetClassifier, tau_normalize
    >>> from imbtorch.datasets import make_long_tailed
    >>> X, y = make_long_tailed(*load_digits(return_X_y=True), 20, random_state=0)
    >>> X, X_valid, y, y_valid = train_test_split(X, y, stratify=y, random_state=0)
    >>> clf = ImbalancedNetClassifier(loss="cross_entropy", random_state=0).fit(X, y)
    >>> def score(tau):
    ...     return balanced_accuracy_score(y_valid, tau_normalize(clf, tau).predict(X_valid))
    >>> best = tau_normalize(clf, tau=max(np.arange(0, 2.1, 0.1), key=score))
    """
    tau = check_scalar(tau, "tau", Real, min_val=0)
    if not np.isfinite(tau):
        raise ValueError(f"tau must be finite; got {tau!r}.")
    result = copy_of(estimator)
    layer = find_head(result, head)
    check_rows(layer, result, "tau_normalize compares the weights of the classes")
    with torch.no_grad():
        norms = layer.weight.norm(dim=1)  # of each class, and of each member if there are several
        scale_rows(layer, torch.where(norms > 0, norms, 1.0) ** -float(tau))
        if layer.bias is not None:
            layer.bias.zero_()
    kind = result.net_.dtype
    loss = TauNormalizedScores().prepare(result.class_counts_)
    publish(result, loss.to(torch.device(result.device_), kind))
    result._link()  # raises an error now rather than at prediction
    fitted: Net = result
    return fitted
