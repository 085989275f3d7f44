"""Make data sets with a chosen class imbalance, for experiments."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import check_consistent_length, check_scalar, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from imbtorch._common.seed import draw_seeds

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["make_long_tailed", "make_payments"]

_ROUNDING = 1e-9  # in floats 1000 * 100 ** -0.5 may be less than 100

_COUNTRIES = ("BR", "DE", "FR", "GB", "JP", "NG", "US")
_CARDS = ("credit", "debit", "prepaid")
_N_SHOPS = 40


def make_long_tailed(
    X: Any,
    y: Any,
    imbalance_ratio: float,
    *,
    profile: str = "exp",
    step_fraction: float = 0.5,
    class_order: Sequence[Any] | None = None,
    return_indices: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    """Leave out random rows of a data set, so that it has a chosen class imbalance.

    With ``profile="exp"`` and an imbalance ratio ``r``, class ``j`` of ``c``, in the order of
    ``class_order``, keeps ``n_max * r**(-j / (c - 1))`` rows. With ``profile="step"`` the first
    classes keep ``n_max`` rows and the others ``n_max / r``. ``n_max`` is the largest number for
    which every class has enough rows.

    Parameters
    ----------
    X : array-like, sparse matrix or data frame of n rows
        Features, of any number of dimensions.
    y : array-like of shape (n,)
        Labels of any type. They should be roughly balanced, or ``n_max`` is small.
    imbalance_ratio : float
        Number of rows of the most frequent class divided by that of the rarest class, at least 1.
    profile : {"exp", "step"}, default="exp"
        How the class frequencies decrease: exponentially, or in one step.
    step_fraction : float, default=0.5
        Share of the classes that are rare with ``profile="step"``, in (0, 1). The number of rare
        classes is rounded down, but at least one class is rare and one is frequent.
    class_order : sequence of labels or None, default=None
        All labels, the most frequent one first. None takes the sorted labels.
    return_indices : bool, default=False
        Whether to return the positions of the rows, too.
    random_state : int, RandomState or None, default=None
        Seed of the random choice of rows; an int gives the same rows each time.

    Returns
    -------
    X, y
        Features and labels of the rows that are kept, in their former order. They have the types
        of the input, except that COO matrices become CSR.
    indices : ndarray of int
        Positions of the rows that are kept; only with ``return_indices=True``.

    Raises
    ------
    ValueError
        If lengths differ, ``y`` has less than two classes or is continuous, ``class_order`` does
        not hold each label once, or a parameter is out of range.

    Notes
    -----
    Numbers of rows are rounded down, but every class keeps at least one row. The resulting ratio is
    close to ``imbalance_ratio`` if ``n_max`` is much larger than ``imbalance_ratio``.

    References
    ----------
    .. [1] Cao et al. (2019). "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
           Loss". :arxiv:`1906.07413`
    .. [2] Buda et al. (2018). "A systematic study of the class imbalance problem in convolutional
           neural networks". :arxiv:`1710.05381`

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from imbtorch.datasets import make_long_tailed
    >>> X, y = load_digits(return_X_y=True)
    >>> X_tail, y_tail = make_long_tailed(X, y, imbalance_ratio=50, random_state=0)
    >>> np.bincount(y_tail)
    array([178, 115,  74,  48,  31,  20,  13,   8,   5,   3])
    """
    labels = column_or_1d(y)
    check_consistent_length(X, labels)
    if labels.dtype.kind == "O" and any(label is None for label in labels):
        raise ValueError("y holds None; leave out rows without a label.")
    check_classification_targets(labels)
    check_scalar(imbalance_ratio, "imbalance_ratio", Real, min_val=1)
    if not np.isfinite(imbalance_ratio):
        raise ValueError(f"imbalance_ratio must be finite; got {imbalance_ratio}.")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y has one class, {classes.tolist()}; at least two are needed.")
    order = _order(classes, class_order)
    shares = _shares(len(classes), imbalance_ratio, profile, step_fraction)
    numbers = _numbers(np.bincount(codes)[order], shares)
    rng = np.random.default_rng(draw_seeds(random_state, 1)[0])
    kept = [
        rng.permutation(np.flatnonzero(codes == code))[:number]
        for code, number in zip(order, numbers, strict=True)
    ]
    indices = np.sort(np.concatenate(kept))
    rows = (_take(X, indices), _take(y, indices))
    return (*rows, indices) if return_indices else rows


def make_payments(
    n_rows: int = 3000,
    *,
    fraud_share: float = 0.03,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[pd.DataFrame, pd.Series]:
    """Make up a table of card payments, few of which are frauds, with text and missing values.

    Parameters
    ----------
    n_rows : int, default=3000
        Number of payments, at least 10.
    fraud_share : float, default=0.03
        Share of the frauds, in (0, 1); there is at least one.
    random_state : int, RandomState or None, default=None
        Seed of all random numbers; an int gives the same table each time.

    Returns
    -------
    X : DataFrame of shape (n_rows, 6)
        ``amount`` in cents, with a few very large ones; ``hour`` of the day; ``shop``, one of 40
        names; ``country`` and ``card`` as text, of which 5% are missing; and ``age`` of the
        customer in years, of which 15% are missing.
    y : Series of int, shape (n_rows,)
        1 for a fraud, 0 for a genuine payment.

    Raises
    ------
    ImportError
        If pandas is not installed.
    ValueError
        If a parameter is out of range.

    Notes
    -----
    Some shops, countries and prepaid cards see more frauds than others; large amounts do so at
    night only, and a missing age raises the risk. The rest is chance.

    Examples
    --------
    >>> from imbtorch.datasets import make_payments
    >>> X, y = make_payments(1000, random_state=0)
    >>> X.columns.tolist(), int(y.sum())
    (['amount', 'hour', 'shop', 'country', 'card', 'age'], 30)
    """
    import pandas

    check_scalar(n_rows, "n_rows", Integral, min_val=10)
    check_scalar(
        fraud_share, "fraud_share", Real, min_val=0, max_val=1, include_boundaries="neither"
    )
    rng = np.random.default_rng(draw_seeds(random_state, 1)[0])
    amount, hour = rng.lognormal(8, 1.2, n_rows), rng.integers(0, 24, n_rows)
    shop, card = rng.integers(0, _N_SHOPS, n_rows), rng.integers(0, len(_CARDS), n_rows)
    country = rng.integers(0, len(_COUNTRIES), n_rows)
    age_missing = rng.random(n_rows) < 0.15
    risk = 4 * np.sin(5 * np.arange(_N_SHOPS))[shop] + 2 * np.cos(3 * country)
    risk += 2 * (card == 2) + 2 * age_missing + 2 * (hour < 6) * (np.log(amount) - 7)
    risk += rng.logistic(size=n_rows)
    is_fraud = np.zeros(n_rows, dtype=np.int64)
    is_fraud[np.argsort(-risk)[: max(1, round(fraud_share * n_rows))]] = 1
    table = pandas.DataFrame(
        {
            "amount": amount.round(),
            "hour": hour,
            "shop": [f"shop {j}" for j in shop],
            "country": np.array(_COUNTRIES, dtype=object)[country],
            "card": np.array(_CARDS, dtype=object)[card],
            "age": np.where(age_missing, np.nan, rng.integers(18, 90, n_rows)),
        }
    )
    for name in ("country", "card"):
        table.loc[rng.random(n_rows) < 0.05, name] = None
    return table, pandas.Series(is_fraud, name="fraud")


def _order(classes: NDArray[Any], class_order: Sequence[Any] | None) -> list[int]:
    """Return the codes of the classes, the most frequent one first."""
    if class_order is None:
        return list(range(len(classes)))
    code = {label: position for position, label in enumerate(classes.tolist())}
    wanted = np.asarray(class_order).tolist()
    if len(wanted) != len(code) or set(wanted) != set(code):
        raise ValueError(
            f"class_order must hold each of the labels {classes[:20].tolist()} once; got {wanted}."
        )
    return [code[label] for label in wanted]


def _shares(
    n_classes: int, ratio: float, profile: str, step_fraction: float
) -> NDArray[np.float64]:
    """Return the frequency of each class, relative to the most frequent one."""
    if profile == "exp":
        exponents: NDArray[np.float64] = np.arange(n_classes) / (n_classes - 1)
        return float(ratio) ** -exponents
    if profile != "step":
        raise ValueError(f"profile must be 'exp' or 'step'; got {profile!r}.")
    check_scalar(
        step_fraction, "step_fraction", Real, min_val=0, max_val=1, include_boundaries="neither"
    )
    n_rare = max(1, int(n_classes * step_fraction + _ROUNDING))
    return np.repeat([1.0, 1 / ratio], [n_classes - n_rare, n_rare])


def _numbers(available: NDArray[np.intp], shares: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the number of rows that each class keeps."""
    largest = int(np.min((available + 1) / shares))  # an upper bound, too large by at most 1 or 2
    while True:
        numbers = np.maximum((largest * shares + _ROUNDING).astype(np.intp), 1)
        if (numbers <= available).all():
            return numbers
        largest -= 1


def _take(data: Any, indices: NDArray[np.intp]) -> Any:
    """Select rows of the user's data, and keep its type."""
    if hasattr(data, "iloc"):
        return data.iloc[indices]
    if issparse(data) and data.format == "coo":
        data = data.tocsr()
    if hasattr(data, "shape"):
        return data[indices]
    return [data[index] for index in indices]
