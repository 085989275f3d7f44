"""Decisions that keep constraints: for the positive class, for each label, or for named classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imbtorch.model_selection._constraints import Constraint, constrained_threshold

__all__ = ["ConstrainedDecisions"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ConstrainedDecisions:
    """Which columns of probabilities keep which constraint, and how rows are decided.

    Attributes
    ----------
    constraints : dict of int to Constraint
        Constraints by column. With one label per row, a row gets the first of these classes that
        it may have, in this order; bounds of alarms are last, because they are kept by rank.
    names : list
        Class or label of each column.
    multilabel : bool
        Whether every column is a separate decision.
    per : int or None
        Number of predicted rows for which alarms are stated; None for all.
    """

    constraints: dict[int, Constraint]
    names: list[Any]
    multilabel: bool
    per: int | None = None

    @classmethod
    def of(
        cls, constraint: Any, names: list[Any], *, multilabel: bool, per: int | None = None
    ) -> ConstrainedDecisions:
        """Read the constraint of one class, of all labels, or of those in a mapping.

        Parameters
        ----------
        constraint : str, Constraint, or mapping of classes or labels to these
            What a user gave.
        names : list
            Class or label of each column.
        multilabel : bool
            Whether every column is a separate decision.
        per : int or None, default=None
            Number of predicted rows for which alarms are stated; None for all.

        Raises
        ------
        ValueError
            If the constraint has another form, names an unknown class, or leaves no class free.

        Examples
        --------
        >>> names = ["a", "b", "c"]
        >>> chosen = ConstrainedDecisions.of({"b": "recall>=0.8"}, names, multilabel=False)
        >>> chosen.constraints
        {1: Constraint(measure='recall', bound=0.8)}
        """
        if isinstance(constraint, Mapping):
            given = {_column(key, names, multilabel): _read(c) for key, c in constraint.items()}
            if not given:
                raise ValueError(
                    f"constraint={constraint!r} is empty; name at least one of {names}, such as "
                    f"{{{names[-1]!r}: 'recall>=0.8'}}, or use None."
                )
        elif multilabel:
            given = dict.fromkeys(range(len(names)), _read(constraint))
        elif len(names) == 2:
            given = {1: _read(constraint)}
        else:
            raise ValueError(
                f"constraint={constraint!r} is about the positive one of two classes, or about "
                f"each of several labels; y has {len(names)} classes. Say which class it is about: "
                f"constraint={{{names[-1]!r}: {constraint!r}}}."
            )
        if not multilabel and len(given) == len(names):
            raise ValueError(
                f"constraint={constraint!r} leaves no class for rows that none of these classes "
                "may have; leave one class without a constraint."
            )
        ranked = sorted(given.items(), key=lambda item: item[1].measure == "alarms")
        return cls(dict(ranked), names, multilabel, per)

    def check(self, confidence: float | None, sample_weight: Floats | None) -> None:
        """Raise ValueError if the confidence or the unit of alarms does not fit the constraints."""
        measures = {constraint.measure for constraint in self.constraints.values()}
        if measures == {"alarms"} and confidence is not None:
            raise ValueError("The number of alarms always holds; leave out confidence.")
        if "alarms" not in measures and self.per is not None:
            raise ValueError(f"per is the unit of alarms; {', '.join(sorted(measures))} has none.")
        if confidence is not None and sample_weight is not None and np.ptp(sample_weight) > 0:
            raise ValueError(
                "confidence counts rows, so that it needs rows of equal weight; leave out "
                "sample_weight or confidence."
            )

    def fit(
        self,
        proba: Floats,
        truth: NDArray[Any],
        sample_weight: Floats | None,
        confidence: float | None,
    ) -> tuple[Floats, float | None]:
        """Find the thresholds that keep the constraints on predictions of rows held out.

        Parameters
        ----------
        proba : ndarray of shape (n, n_columns)
            Probabilities.
        truth : ndarray of shape (n, n_columns)
            1 for rows that have the class or label, 0 for others, NaN where this is not known.
        sample_weight : ndarray of shape (n,) or None
            Row weights.
        confidence : float or None
            Probability with which each constraint holds on new data; None for the rows themselves.

        Returns
        -------
        thresholds : ndarray of shape (n_columns,)
            Probabilities from which a row may have the class. Without a bound of precision or
            recall it is 0 for a class, and for a label the smallest number above 1/2.
        counterpart : float or None
            Mean of the recalls, or precisions, that belong to the bounds; None if all are alarms.

        Raises
        ------
        ValueError
            If a constraint cannot be kept; the message names the class and what is reachable.
        """
        thresholds = np.full(len(self.names), np.nextafter(0.5, 1) if self.multilabel else 0.0)
        taken = np.zeros(len(proba), dtype=bool)
        counterparts, failures = [], []
        for column, constraint in self.constraints.items():
            if constraint.measure == "alarms":
                continue
            labels = truth[:, column]
            rows = np.isfinite(labels) & (sample_weight > 0 if sample_weight is not None else True)
            scores = np.where(taken, -np.inf, proba[:, column])  # of rows that are decided already
            weights = None if sample_weight is None or confidence else sample_weight[rows]
            parts = scores[rows], labels[rows] == 1, weights
            try:
                found, counterpart = constrained_threshold(constraint, *parts, confidence)
            except ValueError as error:
                failures.append(f"{self._called(column)}{error}")
                continue
            thresholds[column] = found
            counterparts.append(counterpart)
            if not self.multilabel:
                taken |= proba[:, column] >= found
        if failures:
            raise ValueError(" ".join(failures))
        return thresholds, float(np.mean(counterparts)) if counterparts else None

    def _called(self, column: int) -> str:
        if len(self.names) == 2 and not self.multilabel:
            return ""
        return f"{'Label' if self.multilabel else 'Class'} {self.names[column]!r}: "

    def decide(self, proba: Floats, thresholds: Floats) -> NDArray[np.intp]:
        """Decide about rows.

        Parameters
        ----------
        proba : ndarray of shape (n, n_columns)
            Probabilities of the rows, which are predicted together.
        thresholds : ndarray of shape (n_columns,)
            What :meth:`fit` returned; of two classes the threshold of the second one is enough.

        Returns
        -------
        ndarray of int, shape (n,) or (n, n_columns)
            Column of each row; with several labels 0 and 1 for each.
        """
        if self.multilabel:
            flagged = proba >= thresholds
            for column, constraint in self.constraints.items():
                if constraint.measure == "alarms":
                    flagged[:, column] = self._alarms(proba[:, column], constraint)
            return flagged.astype(np.intp)
        others = np.setdiff1d(np.arange(len(self.names)), list(self.constraints))
        codes: NDArray[np.intp] = others[proba[:, others].argmax(axis=1)]
        free = np.ones(len(proba), dtype=bool)
        for column, constraint in self.constraints.items():
            scores = np.where(free, proba[:, column], -np.inf)
            if constraint.measure == "alarms":
                chosen = self._alarms(scores, constraint)
            else:  # counted from the end, where a single threshold is that of the second class
                chosen = scores >= thresholds[column - len(self.names)]
            codes[chosen] = column
            free &= ~chosen
        return codes

    def _alarms(self, scores: Floats, constraint: Constraint) -> NDArray[np.bool_]:
        """Return which rows have the highest scores, no more than the constraint allows."""
        n, bound = len(scores), constraint.bound
        n_alarms = int(bound if self.per is None else bound * n / self.per)
        flagged = np.zeros(n, dtype=bool)
        flagged[np.argsort(-scores, kind="stable")[:n_alarms]] = True
        return flagged & (scores > -np.inf)


def _read(constraint: Any) -> Constraint:
    if isinstance(constraint, Constraint):
        return constraint
    if not isinstance(constraint, str):
        raise ValueError(
            f"a constraint must be a string such as 'recall>=0.8'; got {constraint!r} of type "
            f"{type(constraint).__name__}."
        )
    return Constraint.parse(constraint)


def _column(key: Any, names: list[Any], multilabel: bool) -> int:
    if key not in names:
        what = "positions of the labels" if multilabel else "classes"
        raise ValueError(f"constraint names {key!r}, which is not one of the {what} {names}.")
    return names.index(key)
