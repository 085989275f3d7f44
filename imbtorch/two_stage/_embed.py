"""The features that a trained net has learned: what its last layer gets."""

from __future__ import annotations

import copy
from typing import Any

from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from imbtorch._fit.estimator import BaseNetEstimator
from imbtorch.modules._build import copied_module
from imbtorch.modules._member_layers import MemberHeads
from imbtorch.two_stage._finetune import tapped
from imbtorch.two_stage._head import find_head

__all__ = ["embed"]


def embed(estimator: BaseNetEstimator, X: ArrayLike, *, head: str | None = None) -> NDArray[Any]:
    """Compute the features of rows: the inputs of the last layer of a fitted net.

    They serve as columns for another estimator, for a search of similar rows, or for a picture.

    Parameters
    ----------
    estimator : ImbalancedNetClassifier or ImbalancedNetRegressor
        Fitted estimator. It is not changed.
    X : array-like or sparse matrix of shape (n_samples, n_features, ...)
        Rows like those that ``estimator`` was fitted on.
    head : str or None, default=None
        Name of the last layer among ``estimator.module_.named_modules()``; it may consist of
        several layers. None takes the last layer that has one row of weights per output and whose
        output is the output of the module.

    Returns
    -------
    ndarray of shape (n_samples, ...)
        Input of the head for each row, in the ``dtype`` of ``estimator``; usually
        ``(n_samples, n_hidden)``. The members of a TabM stand side by side,
        ``(n_samples, n_members * n_hidden)``.

    Raises
    ------
    TypeError
        If ``estimator`` is not of these two classes.
    ValueError
        If the rows do not fit ``estimator``, or no head is found.
    sklearn.exceptions.NotFittedError
        If ``estimator`` is not fitted.

    See Also
    --------
    finetune_head : Train the last layer again.

    Notes
    -----
    The layers work as in prediction: no dropout, and batch normalisation by running statistics.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from imbtorch import MLP, ImbalancedNetClassifier, embed
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = ImbalancedNetClassifier(MLP((32, 16)), random_state=0).fit(X, y)
    >>> embed(clf, X).shape
    (150, 16)
    >>> neighbours = KNeighborsClassifier().fit(embed(clf, X), y)
    """
    if not isinstance(estimator, BaseNetEstimator):
        raise TypeError(
            "estimator must be a fitted ImbalancedNetClassifier or ImbalancedNetRegressor; got "
            f"{estimator!r}. For a pipeline give the last step, and the X that the steps before it "
            "return; for an ensemble give one of its estimators_."
        )
    check_is_fitted(estimator)
    view = _with_own_module(estimator)
    layer = find_head(view, head)
    features = tapped(view, layer, view._features(X), outputs=False)
    return features.reshape(len(features), -1) if isinstance(layer, MemberHeads) else features


def _with_own_module(estimator: BaseNetEstimator) -> BaseNetEstimator:
    """Return a shallow copy with a module of its own, because other threads may predict."""
    net = object.__new__(type(estimator.net_))
    net.__dict__.update(vars(estimator.net_), siblings=None)
    net.__dict__["module_"] = copied_module(estimator.net_.module_)
    view = copy.copy(estimator)
    view.net_ = net
    return view
