"""Folds inside of the training rows of a fold: what a strategy finds out, it finds out there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, TimeSeriesSplit

from imbtorch._fit.fit import Stackable

__all__ = [
    "N_INNER",
    "CompleteFolds",
    "KnownGroups",
    "inner_folds",
    "lost_groups",
    "splitters",
    "with_groups",
]

Positions = NDArray[np.integer[Any]]
Split = tuple[Positions, Positions]
N_INNER = 3


class CompleteFolds:
    """Folds of a splitter, without those that lack a class in one of their parts.

    A model that never saw a class, or is not asked for it, says nothing about its length or its
    parameters. Groups are in one part of a fold only, whatever the splitter makes of them.

    Parameters
    ----------
    splitter : splitter of scikit-learn
        Splitter to take the folds from.
    """

    def __init__(self, splitter: Any) -> None:
        self.splitter = splitter

    def __repr__(self) -> str:
        """Name the splitter, too."""
        return f"{type(self).__name__}({self.splitter!r})"

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yield the positions of training and test rows of each complete fold.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows to divide.
        y : array-like of shape (n,)
            Labels.
        groups : array-like of shape (n,) or None, default=None
            Group of each row.

        Raises
        ------
        ValueError
            If no fold has all classes in both parts.
        """
        labels, n_folds = np.asarray(y), 0
        classes = np.unique(labels)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The groups parameter is ignored")
            warnings.filterwarnings("ignore", message="The least populated class")
            folds = list(self.splitter.split(X, labels, groups))
        for train, test in folds:
            if groups is not None:
                apart = ~np.isin(np.asarray(groups)[train], np.asarray(groups)[test])
                train = train[apart]
            parts = (labels[train], labels[test])
            if all(np.array_equal(np.unique(part), classes) for part in parts):
                n_folds += 1
                yield train, test
        if not n_folds:
            raise ValueError(
                f"no inner fold of {self.splitter!r} has every class among its training rows and "
                "among its test rows, so that folds inside of the training rows can find nothing. "
                "Give max_epochs=number, and strategies without a search; or more rows."
            )

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of complete folds."""
        return len(list(self.split(X, y, groups)))


class KnownGroups:
    """A splitter that knows the groups of the rows that it will divide.

    What trains inside of a strategy, such as a calibration or a net with ``max_epochs="auto"``,
    need not pass groups on, then.

    Parameters
    ----------
    splitter : splitter of scikit-learn
        Splitter to give the groups to.
    groups : ndarray of shape (n,)
        Group of each row.
    """

    def __init__(self, splitter: Any, groups: NDArray[Any]) -> None:
        self.splitter, self.groups = splitter, groups

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yield the positions of training and test rows of each fold.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows to divide.
        y : array-like of shape (n,)
            Labels.
        groups : None
            Not used.

        Raises
        ------
        ValueError
            If these are not the rows whose groups are known.
        """
        self._check_rows(X)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The groups parameter is ignored")
            folds = list(self.splitter.split(X, y, self.groups))
        yield from folds

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        if X is not None:
            self._check_rows(X)
        return int(self.splitter.get_n_splits(X, y, self.groups))

    def _check_rows(self, X: Any) -> None:
        n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        if n_rows != len(self.groups):
            raise ValueError(
                f"{self.splitter!r} gets {n_rows} rows, but the groups of {len(self.groups)}: "
                "groups are known for all training rows of a fold, and not for a part of them or "
                "for rows that a sampler made. Use one splitter in a strategy, not one inside of "
                "another one."
            )


def inner_folds(
    folds: Sequence[Split], groups: NDArray[Any] | None, seed: int
) -> CompleteFolds | None:
    """Return the splitter of the inner folds that follows from the outer folds.

    Parameters
    ----------
    folds : sequence of (ndarray, ndarray)
        Training and test rows of the outer folds. If each of them trains on rows before its test
        rows, as those of ``TimeSeriesSplit``, so do the inner ones, with at least as many rows
        left out in between.
    groups : ndarray of shape (n,) or None
        Group of each row, which inner folds keep together.
    seed : int
        Seed of the order of the groups.

    Returns
    -------
    CompleteFolds or None
        None where there are neither groups nor an order of time: then three folds that are
        stratified by class, with shuffled rows, are what every strategy makes by itself.
    """
    gap = min(int(test.min()) - int(train.max()) - 1 for train, test in folds)
    if gap >= 0:
        return CompleteFolds(TimeSeriesSplit(N_INNER, gap=gap))
    if groups is None:
        return None
    return CompleteFolds(StratifiedGroupKFold(N_INNER, shuffle=True, random_state=seed))


def splitters(estimator: Any) -> dict[str, Any]:
    """Return the parameters of a strategy that are splitters, by name."""
    parameters = estimator.get_params(deep=True)
    return {
        name: value
        for name, value in parameters.items()
        if hasattr(value, "split") and hasattr(value, "get_n_splits")
    }


def with_groups(estimator: Any, groups: NDArray[Any]) -> Any:
    """Return a clone of a strategy, the splitters of which know the groups of its rows.

    Parameters
    ----------
    estimator : estimator
        Strategy; each of its parameters that is a splitter gets the groups.
    groups : ndarray of shape (n,)
        Group of each row that the clone will be fitted to.
    """
    known = {name: KnownGroups(one, groups) for name, one in splitters(estimator).items()}
    return clone(estimator).set_params(**known)


def lost_groups(estimator: Any) -> list[str]:
    """Return which parameters of a strategy make folds that do not keep groups together."""
    parameters = estimator.get_params(deep=True)
    return [
        f"{name}={value!r}"
        for name, value in parameters.items()
        if name.split("__")[-1] == "cv"
        and (value is None or isinstance(value, int | np.integer))
        # an ensemble whose parts are not folds has no use for cv
        and not isinstance(parameters.get(name.rpartition("__")[0], estimator), Stackable)
    ]
