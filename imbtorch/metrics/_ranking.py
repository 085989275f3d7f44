"""Metrics of how well scores rank the rare class first."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score
from sklearn.utils import assert_all_finite, check_consistent_length, check_scalar

from imbtorch._common.sklearn_private import _check_sample_weight
from imbtorch.metrics._average_precision import BLOCK, column_precision
from imbtorch.metrics._inputs import as_labels, as_numbers, encode, is_positive

__all__ = ["card_precision_at_k", "mean_average_precision", "precision_at_k"]


def mean_average_precision(
    codes: NDArray[Any], scores: NDArray[Any], sample_weight: NDArray[Any] | None = None
) -> float:
    """Compute the average precision of the rarer of two classes, or the mean over all classes.

    Classes without rows are left out of the mean.

    Parameters
    ----------
    codes : ndarray of int, shape (n,), or of numbers, shape (n, n_labels)
        Class of each row; or labels of 0 and 1, with NaN where a label is not known: such a row
        does not count for this label.
    scores : ndarray of shape (n,), (n, n_classes) or (n, n_labels)
        Score of class 1, or of every class or label; greater means more likely.
    sample_weight : ndarray of shape (n,) or None, default=None
        Row weights.

    Returns
    -------
    float
        The average precision in [0, 1]; NaN if all rows belong to one class, or no label has both
        known values.

    Raises
    ------
    ValueError
        If labels are not 0, 1 or NaN, or have another shape than the scores; if scores are not
        finite, or weights are negative, not finite or not as many as rows.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.metrics import mean_average_precision
    >>> round(mean_average_precision(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.8333

    Labels that are not known do not count. As a scorer of a net for labels it is
    ``make_scorer(mean_average_precision, response_method="decision_function")``:

    >>> labels = np.array([[1, 0], [0, np.nan], [np.nan, 1]])
    >>> mean_average_precision(labels, np.array([[0.9, 0.2], [0.1, 0.8], [0.5, 0.7]]))
    1.0
    """
    scores = np.asarray(scores)
    check_consistent_length(codes, scores, sample_weight)
    if sample_weight is not None:
        sample_weight = _check_sample_weight(
            sample_weight, scores, dtype=np.float64, ensure_non_negative=True
        )
    if np.ndim(codes) == 2:
        return _mean_over_labels(codes, scores, sample_weight)
    if scores.ndim == 2 and scores.shape[1] > 2:
        return _mean_over_classes(codes, scores, sample_weight)
    columns = dict(enumerate(scores.T))
    if scores.ndim == 1:
        rarer = int(2 * np.count_nonzero(codes) <= len(codes))
        columns = {rarer: scores if rarer else -scores}
    values = [
        _average_precision(codes == code, column, sample_weight)
        for code, column in columns.items()
        if 0 < np.count_nonzero(codes == code) < len(codes)
    ]
    return float(np.mean(values)) if values else float("nan")


def _mean_over_classes(
    codes: NDArray[Any], scores: NDArray[Any], sample_weight: NDArray[Any] | None
) -> float:
    """Rank the rows for many classes at once: scikit-learn takes a millisecond for each class."""
    assert_all_finite(scores, input_name="scores")
    classes = np.arange(scores.shape[1])
    classes = classes[np.isin(classes, codes)]
    if not len(classes) or (codes == classes[0]).all():
        return float("nan")
    n = len(codes)
    weights = np.ones(n) if sample_weight is None else sample_weight
    step = max(BLOCK // n, 1)
    total = 0.0
    for start in range(0, len(classes), step):
        some = classes[start : start + step]
        total += column_precision(codes == some[:, None], scores.T[some], weights).sum()
    return float(total / len(classes))


def _mean_over_labels(
    labels: NDArray[Any], scores: NDArray[Any], sample_weight: NDArray[Any] | None
) -> float:
    labels = np.asarray(labels, dtype=np.float64)
    if labels.shape != scores.shape:
        raise ValueError(f"labels have shape {labels.shape}, but scores have {scores.shape}.")
    known = ~np.isnan(labels)
    if not np.isin(labels[known], (0, 1)).all():
        raise ValueError("labels must be 0 or 1, or NaN where a label is not known.")
    values = []
    for label, score, rows in zip(labels.T, scores.T, known.T, strict=True):
        weight = None if sample_weight is None else sample_weight[rows]
        if len(np.unique(label[rows])) == 2:
            values.append(_average_precision(label[rows] == 1, score[rows], weight))
    return float(np.mean(values)) if values else float("nan")


def _average_precision(
    positive: NDArray[np.bool_], score: NDArray[Any], sample_weight: NDArray[Any] | None
) -> float:
    """Compute the number that scikit-learn computes, without its checks of the arguments.

    A net that is scored after each epoch would spend more time on these than on its predictions.
    The bits are those of scikit-learn, which those of ``column_precision`` are not always.
    """
    if sample_weight is not None or not np.isfinite(score).all():  # scikit-learn explains the error
        return float(average_precision_score(positive, score, sample_weight=sample_weight))
    order = np.argsort(score)[::-1]
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # of equal scores
    found = np.cumsum(positive[order], dtype=np.float64)[ends]
    gained = np.diff(found / found[-1], prepend=0.0)  # recall
    return float(np.sum((gained * (found / (ends + 1)))[::-1]))


def precision_at_k(y_true: ArrayLike, y_score: ArrayLike, k: int, *, pos_label: Any = 1) -> float:
    """Compute the share of positives among the ``k`` rows of greatest score.

    Use this metric if only ``k`` cases can be examined.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels, of any type.
    y_score : array-like of shape (n,)
        Scores; greater means more likely positive.
    k : int
        Number of rows to examine, 1 to n.
    pos_label : label, default=1
        The positive class; all others are negative.

    Returns
    -------
    float
        The precision in [0, 1]. If other rows have the same score as the last of the ``k``, it is
        the expected value over their random order.

    Raises
    ------
    ValueError
        If ``k`` is out of range, lengths differ, a score is NaN, or ``pos_label`` is not one of the
        labels.

    Examples
    --------
    >>> from imbtorch.metrics import precision_at_k
    >>> precision_at_k([0, 1, 0, 1, 0], [0.1, 0.9, 0.8, 0.7, 0.2], k=2)
    0.5

    As a scorer:

    >>> from sklearn.metrics import make_scorer
    >>> scorer = make_scorer(
    ...     precision_at_k, response_method=("decision_function", "predict_proba"), k=20
    ... )
    """
    positive = is_positive(y_true, pos_label)
    n = len(positive)
    score = as_numbers(y_score, "y_score", n, allow_inf=True)
    check_scalar(k, "k", Integral, min_val=1, max_val=n)
    last = np.partition(score, n - k)[n - k]
    above, level = score > last, score == last
    left = k - np.count_nonzero(above)
    return float((np.count_nonzero(positive & above) + left * positive[level].mean()) / k)


def card_precision_at_k(
    y_true: ArrayLike,
    y_score: ArrayLike,
    days: ArrayLike,
    customers: ArrayLike,
    k: int = 100,
    *,
    pos_label: Any = 1,
) -> float:
    """Compute the share of compromised cards among the ``k`` most suspicious, averaged over days.

    The score of a card is the largest score of its transactions on that day. The card is
    compromised if one of these transactions is a fraud. A compromised card among the first ``k``
    counts as found, and is left out on later days, because it will be blocked.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        True labels of the transactions, of any type.
    y_score : array-like of shape (n,)
        Scores; greater means more suspicious.
    days : array-like of shape (n,)
        Day of each transaction: numbers or dates, without the time of day.
    customers : array-like of shape (n,)
        Card, or customer, of each transaction.
    k : int, default=100
        Number of cards that can be checked per day. The number of cards that are found on a day is
        divided by ``k`` even if the day has fewer cards.
    pos_label : label, default=1
        The class of frauds.

    Returns
    -------
    float
        The precision in [0, 1]. The best possible value is below 1 if a day has fewer than ``k``
        compromised cards. Cards of the same score are checked in the order of their sorted names.

    Raises
    ------
    ValueError
        If ``k`` is below 1, lengths differ, a score is NaN, or ``pos_label`` is not one of the
        labels.

    References
    ----------
    .. [1] Le Borgne et al. (2022). "Reproducible Machine Learning for Credit Card Fraud Detection
           - Practical Handbook", section "Precision top-k metrics".
           https://fraud-detection-handbook.github.io/fraud-detection-handbook/

    Examples
    --------
    Card "a" was found on day 1, so it is left out on day 2:

    >>> from imbtorch.metrics import card_precision_at_k
    >>> days, cards = [1, 1, 1, 2, 2], ["a", "a", "b", "a", "b"]
    >>> card_precision_at_k([0, 1, 0, 1, 1], [0.1, 0.9, 0.2, 0.8, 0.3], days, cards, k=1)
    1.0
    """
    check_scalar(k, "k", Integral, min_val=1)
    positive = is_positive(y_true, pos_label)
    n = len(positive)
    score = as_numbers(y_score, "y_score", n, allow_inf=True)
    dates, day = encode(as_labels(days, "days", n))
    names, card = encode(as_labels(customers, "customers", n))
    # one line for each pair of card and day, ordered by day
    lines, line = np.unique(day * len(names) + card, return_inverse=True)
    suspicion = np.full(len(lines), -np.inf)
    np.maximum.at(suspicion, line, score)
    compromised = np.bincount(line, positive) > 0
    cards = lines % len(names)
    ends = np.searchsorted(lines, np.arange(1, len(dates) + 1) * len(names))
    found = np.zeros(len(names), dtype=bool)
    n_found, start = 0, 0
    for end in ends:
        today = np.arange(start, end)[~found[cards[start:end]]]
        checked = today[np.argsort(-suspicion[today], kind="stable")[:k]]
        hits = checked[compromised[checked]]
        found[cards[hits]] = True
        n_found, start = n_found + len(hits), end
    return n_found / (k * len(dates))
