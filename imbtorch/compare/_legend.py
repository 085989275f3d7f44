"""What the numbers of a comparison mean, for its report."""

from __future__ import annotations

from imbtorch.compare._alarms import recall_error
from imbtorch.compare._findings import Findings, has_intervals
from imbtorch.compare._metrics import ALARMS_RECALL, PRECISION_RECALL

__all__ = ["legend"]

_DIFFERENCES = (
    "Each mean over the folds has the standard deviation of the folds, divided by the root of "
    "their number, behind ±. Folds share training rows, so that this number is smaller than the "
    "error of the mean: compare strategies by their differences. A difference is the mean over the "
    "folds of strategy minus reference on the same test rows, and positive if the strategy is "
    "better. "
)
_INTERVALS = (
    "Its 95% confidence interval and p are those of the corrected resampled t-test (Nadeau "
    "and Bengio 2003). The interval covers what the choice of training and test rows changes, for "
    "tables of this size from the same source. It does not cover other seeds, later times or other "
    "sources, nor that the best of several strategies is looked at: p is adjusted for the number "
    "of comparisons (Holm), the intervals are not. "
)
_NO_INTERVALS = (
    "It has no interval and no p, because fewer than three folds, or folds that all differ by the "
    "same amount, do not say how much a difference varies. "
)
_LENGTHS = (
    "Epochs are those of the fit on one fold (trees "
    "of gradient boosting). Seconds are the time of this fit, with the search for its length."
)
_DECISIONS = (
    "An alarm is a row whose probability of the rarest class reaches the threshold, which is the "
    f"highest one that catches {PRECISION_RECALL:.0%} or {ALARMS_RECALL:.0%} of this class. The "
    "test rows of all folds are taken together, each with the probability of a model that was not "
    "trained on it. Precision is the share of right alarms. The threshold was chosen on the rows "
    "that it is measured on, so that precision on new rows tends to be slightly lower. "
)
_OTHERS = (
    "Smaller Brier scores and ECEs are better. Both are computed of probabilities as trained and "
    'with target_prior="train", which restates them for the class frequencies of the data without '
    "another training. ECE has bins of equal mass and is averaged over the classes. A dash stands "
    "for a number that does not exist."
)


def legend(comparison: Findings) -> dict[str, str]:
    """Return what the numbers of each table mean, by the subject.

    Parameters
    ----------
    comparison : Findings
        Result.
    """
    tested = _INTERVALS if has_intervals(comparison) else _NO_INTERVALS
    found = {"Differences": f"{_DIFFERENCES}{tested}{_LENGTHS}"}
    if comparison.predictions:
        found["Decisions"] = f"{_DECISIONS}{_recall_on_new_rows(comparison)}"
    return {**found, "Ranking and probabilities": _OTHERS}


def _recall_on_new_rows(comparison: Findings) -> str:
    run = comparison.run
    if run is None:
        return ""
    error = recall_error(ALARMS_RECALL, run.n_rare)
    return (
        f"A recall of {ALARMS_RECALL:.0%} that was found with {run.n_rare:,} rows of class "
        f"{run.rare} has a standard error of about {100 * error:.1f} percentage points"
        f"{', and a larger one if their weights differ' if run.weights else ''}."
    )
