"""Decisions that keep a promise: a precision, a recall, or a number of alarms."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

__all__ = ["Constraint", "constrained_threshold"]

Floats = NDArray[np.float64]
_MEASURES = ("precision", "recall", "alarms")
_FORM = re.compile(r"\s*(precision|recall|alarms)\s*(>=|<=)\s*([0-9.eE+-]+)\s*")
_STARTS = 6  # numbers of alarms at which a search for a certain precision begins
_STEP = 1.05  # factor from one tried number of alarms to the next


@dataclass(frozen=True)
class Constraint:
    """A promise that decisions keep.

    Parameters
    ----------
    measure : {"precision", "recall", "alarms"}
        What is bounded.
    bound : float
        Smallest precision or recall, or largest number of alarms.

    Raises
    ------
    ValueError
        If the measure is unknown, or the bound is invalid for it.

    Examples
    --------
    >>> from imbtorch.model_selection import Constraint
    >>> Constraint("recall", 0.8) == Constraint.parse("recall>=0.8")
    True
    """

    measure: str
    bound: float

    def __post_init__(self) -> None:
        if self.measure not in _MEASURES:
            raise ValueError(f"measure={self.measure!r} is not one of {list(_MEASURES)}.")
        if self.measure != "alarms" and not 0 < self.bound < 1:
            raise ValueError(
                f"A bound of {self.measure} must be between 0 and 1, both excluded; got "
                f"{self.bound:g}."
            )
        if self.measure == "alarms" and not (self.bound >= 1 and float(self.bound).is_integer()):
            raise ValueError(
                f"A bound of alarms must be a whole number of 1 or more; got {self.bound:g}."
            )

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read ``"precision>=0.9"``, ``"recall>=0.8"`` or ``"alarms<=100"``.

        Parameters
        ----------
        text : str
            The constraint in words.

        Returns
        -------
        Constraint
            The constraint as an object.

        Raises
        ------
        ValueError
            If the text has another form.

        Examples
        --------
        >>> Constraint.parse("precision >= 0.9")
        Constraint(measure='precision', bound=0.9)
        """
        found = _FORM.fullmatch(text)
        wanted = "'precision>=0.9', 'recall>=0.8' or 'alarms<=100'"
        if found is None:
            raise ValueError(f"constraint={text!r} is not of the form {wanted}.")
        measure, sign, number = found[1], found[2], float(found[3])
        if (sign == "<=") != (measure == "alarms"):
            raise ValueError(f"constraint={text!r} bounds {measure} by {sign}; use {wanted}.")
        return cls(measure, number)


def constrained_threshold(
    constraint: Constraint,
    scores: Floats,
    truth: NDArray[np.bool_],
    weights: Floats | None,
    confidence: float | None,
) -> tuple[float, float]:
    """Find the threshold that keeps a constraint, and is best among those.

    Parameters
    ----------
    constraint : Constraint
        A bound of precision, for which the recall is maximised, or of recall, for which the
        precision is.
    scores : ndarray of shape (n,)
        Scores of rows on which the model was not trained; greater is more probable. Rows with a
        score of minus infinity are never flagged, but count in the recall.
    truth : ndarray of bool, shape (n,)
        Which rows are positive.
    weights : ndarray of shape (n,) or None
        Row weights; None with ``confidence``.
    confidence : float or None
        Probability with which the constraint holds on new data; None for the rows themselves.

    Returns
    -------
    threshold, counterpart : float
        Rows with a score of at least ``threshold`` are flagged; the recall or precision of that.

    Raises
    ------
    ValueError
        If no threshold keeps the constraint; the message says what is reachable.

    Notes
    -----
    With ``confidence`` a recall is kept by an order statistic of the scores of the positives, whose
    exceedance is beta distributed [1]_. A precision is kept by testing numbers of alarms with the
    bound of Clopper and Pearson [2]_, from a few starts upwards, in an order that does not depend
    on the data, so that the tests together err with the stated probability [3]_. Both hold if new
    rows come from the same population, and for the model whose scores these are.

    References
    ----------
    .. [1] Wilks (1941). "Determination of Sample Sizes for Setting Tolerance Limits".
           :doi:`10.1214/aoms/1177731788`
    .. [2] Clopper and Pearson (1934). "The Use of Confidence or Fiducial Limits Illustrated in the
           Case of the Binomial". :doi:`10.1093/biomet/26.4.404`
    .. [3] Angelopoulos et al. (2021). "Learn then Test". :arxiv:`2110.01052`
    """
    if not truth.any():
        raise ValueError("There is no positive row, so that nothing can be promised.")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    w = np.ones(len(scores)) if weights is None else weights[order]
    hits, alarms = np.cumsum(w * truth[order]), np.cumsum(w)
    is_last = np.append(ranked[1:] < ranked[:-1], True)  # of the rows with equal score
    ends = np.flatnonzero(is_last & (ranked > -np.inf))
    if not len(ends):
        raise ValueError("All rows have got another class, so that none can be flagged.")
    precision, recall = hits[ends] / alarms[ends], hits[ends] / hits[-1]
    if constraint.measure == "recall":
        if confidence is None:
            kept = recall >= constraint.bound - 1e-12
        else:
            lowest = _tolerance_limit(scores[truth], constraint.bound, confidence)
            kept = ranked[ends] <= lowest
        if not kept.any():
            raise ValueError(
                f"No threshold has a recall of {constraint.bound}: the highest one is "
                f"{recall[-1]:.3f}, because other rows have got another class. Promise less, or "
                "name this class first."
            )
        best = int(np.flatnonzero(kept)[precision[kept].argmax()])
        return _between(ranked, ends, best), float(precision[best])
    if confidence is None:
        kept = precision >= constraint.bound - 1e-12
        if not kept.any():
            top = int(precision.argmax())
            raise ValueError(
                f"No threshold has a precision of {constraint.bound}: the highest one is "
                f"{precision[top]:.3f}, at a recall of {recall[top]:.3f}. Promise less, or train a "
                "better model."
            )
        best = int(np.flatnonzero(kept)[recall[kept].argmax()])
    else:
        best = _certain_precision(hits[ends], alarms[ends], constraint.bound, confidence)
    return _between(ranked, ends, best), float(recall[best])


def _between(ranked: Floats, ends: NDArray[np.intp], best: int) -> float:
    """Return the threshold midway between the last flagged row and the next one."""
    last = ends[best]
    if last + 1 == len(ranked):
        return float(ranked[last])
    middle = (ranked[last] + ranked[last + 1]) / 2
    return float(middle if middle > ranked[last + 1] else ranked[last])


def _tolerance_limit(positives: Floats, recall: float, confidence: float) -> float:
    """Return a score that new positives exceed with this probability, with this confidence."""
    n = len(positives)
    places = np.arange(1, n + 1)
    certain = beta.cdf(1 - recall, places, n - places + 1) >= confidence
    if not certain[0]:
        needed = int(np.ceil(np.log(1 - confidence) / np.log(recall)))
        raise ValueError(
            f"A recall of {recall} with confidence {confidence} needs {needed} positive rows or "
            f"more; there are {n}. Promise a recall of {(1 - confidence) ** (1 / n):.3f} or less, "
            "or give more rows."
        )
    return float(np.sort(positives)[np.flatnonzero(certain)[-1]])


def _certain_precision(hits: Floats, alarms: Floats, precision: float, confidence: float) -> int:
    """Return the place with the most alarms whose precision is certain."""
    smallest = int(np.ceil(np.log(1 - confidence) / np.log(precision)))
    starts = [smallest * 2**i for i in range(_STARTS) if smallest * 2**i <= alarms[-1]]
    share = (1 - confidence) / max(len(starts), 1)
    passed = -1
    for start in starts:
        wanted = float(start)
        while wanted <= alarms[-1]:
            place = int(np.searchsorted(alarms, wanted))
            lower = beta.ppf(share, hits[place], alarms[place] - hits[place] + 1)
            if not lower >= precision:
                break
            passed = max(passed, place)
            wanted = max(wanted * _STEP, wanted + 1)
    if passed < 0:
        if not starts:
            raise ValueError(
                f"A precision of {precision} with confidence {confidence} needs {smallest} rows or "
                f"more; there are {int(alarms[-1])}. Promise less, or give more rows."
            )
        tried = np.searchsorted(alarms, starts)
        lowest = beta.ppf(share, hits[tried], alarms[tried] - hits[tried] + 1)
        top = int(np.nan_to_num(lowest).argmax())
        raise ValueError(
            f"No threshold has a precision of {precision} with confidence {confidence}: the most "
            f"that can be promised is about {np.nan_to_num(lowest)[top]:.3f}, at "
            f"{int(alarms[tried[top]])} alarms. Promise less, give more rows, or train a better "
            "model."
        )
    return passed
