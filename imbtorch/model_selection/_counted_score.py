"""Scorers of scikit-learn as functions of counts, so that many thresholds are scored at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import get_scorer

from imbtorch._common.counted import COUNTED, Counted, fbeta
from imbtorch._common.sklearn_private import metric_of

__all__ = ["counted_score"]

Floats = NDArray[np.float64]
_PLAIN = {  # functions of sklearn.metrics that know no positive class
    "accuracy_score": "accuracy",
    "balanced_accuracy_score": "balanced_accuracy",
    "matthews_corrcoef": "matthews_corrcoef",
}
_AVERAGED = {"precision_score": "precision", "recall_score": "recall", "jaccard_score": "jaccard"}


def counted_score(scoring: Any, classes: list[Any], *, multilabel: bool) -> Counted | None:
    """Return the score of one threshold as a function of counts, if there is such a function.

    Parameters
    ----------
    scoring : str or callable
        scikit-learn scorer.
    classes : list
        The two labels in ascending order; not used with several labels per row.
    multilabel : bool
        Whether rows have several labels. Then the score must be a plain mean over the labels
        (``average="macro"``), so that each label has a score of its own.

    Returns
    -------
    callable or None
        Function of true positives, false positives, false negatives and true negatives of
        ``classes[1]``, or of one label; None for other scorers.

    Examples
    --------
    >>> tp, fp, fn, tn = (np.array([float(number)]) for number in (3, 1, 1, 5))
    >>> counted_score("f1", [0, 1], multilabel=False)(tp, fp, fn, tn)
    array([0.75])
    >>> counted_score("roc_auc", [0, 1], multilabel=False) is None
    True
    """
    known = metric_of(get_scorer(scoring) if isinstance(scoring, str) else scoring)
    if known is None or not getattr(known[0], "__module__", "").startswith("sklearn.metrics."):
        return None
    name, arguments = known[0].__name__, known[1]
    if name in _PLAIN:
        return None if arguments or multilabel else COUNTED[_PLAIN[name]]
    pos_label, average = arguments.pop("pos_label", 1), arguments.pop("average", "binary")
    if name in ("f1_score", "fbeta_score"):
        metric = fbeta(arguments.pop("beta", 1))
    elif name in _AVERAGED:
        metric = COUNTED[_AVERAGED[name]]
    else:
        return None
    if arguments or average not in ("binary", "macro"):
        return None
    if multilabel:
        return metric if average == "macro" else None
    if average == "macro":
        return _mean_of_classes(metric)
    if pos_label not in classes:
        return None
    return metric if classes.index(pos_label) == 1 else _swapped(metric)


def _swapped(metric: Counted) -> Counted:
    """Return the same metric of the other class."""
    return lambda tp, fp, fn, tn: metric(tn, fn, fp, tp)


def _mean_of_classes(metric: Counted) -> Counted:
    """Return the mean of a metric over both classes; 0 for one that is not defined."""
    other = _swapped(metric)
    return lambda *counts: (np.nan_to_num(metric(*counts)) + np.nan_to_num(other(*counts))) / 2
