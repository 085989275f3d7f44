"""Preprocessing of the transactions of the Fraud Detection Handbook, before the net.

``"standard"`` is the preprocessing of the book: 15 columns of mean 0 and variance 1. ``"logs"``
adds their logarithms, which separate amounts and risks that differ by factors, and the logarithm of
the amount minus those of the customer's averages over 1, 7 and 30 days: these columns show what is
unusual for this customer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

__all__ = ["PREPROCESSING", "preprocessing"]

PREPROCESSING = ("standard", "logs")
AMOUNT, CUSTOMER_AVERAGES = [0], [4, 6, 8]  # columns


def signed_logs(X: NDArray[Any]) -> NDArray[Any]:
    """Compute ``sign(x) log(1 + |x|)``."""
    logs: NDArray[Any] = np.sign(X) * np.log1p(np.abs(X))
    return logs


def unusual_amounts(X: NDArray[Any]) -> NDArray[Any]:
    """Compute log amount minus log average amount of the customer, of shape ``(n, 3)``."""
    difference: NDArray[Any] = np.log1p(X[:, AMOUNT]) - np.log1p(X[:, CUSTOMER_AVERAGES])
    return difference


def preprocessing(name: str) -> Any:
    """Build the steps of this name, unfitted.

    Parameters
    ----------
    name : {"standard", "logs"}
        Name of the preprocessing.
    """
    if name == "standard":
        return StandardScaler()
    return make_union(
        StandardScaler(),
        make_pipeline(FunctionTransformer(signed_logs), StandardScaler()),
        make_pipeline(FunctionTransformer(unusual_amounts), StandardScaler()),
    )
