"""scikit-learn's tasks of fitting and scoring, the fits of which are trained as stacks.

A task is a call of ``sklearn.model_selection._validation._fit_and_score``. What it fits is prepared
for all tasks first, trained together, and then each task is called with a ``fit`` that adopts the
result, so that splitting, scoring, error scores and reports stay scikit-learn's.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from imbtorch._common.log import logger
from imbtorch._common.memo import Memo, digest
from imbtorch._common.sklearn_private import _check_method_params, _fit_and_score, _safe_indexing
from imbtorch._fit.fit import PreparedFit, Stackable
from imbtorch.exceptions import NotStackedWarning
from imbtorch.training.run import Run
from imbtorch.training.stack import Siblings, train_stacked

__all__ = ["Task", "can_be_stacked", "final_step", "fit_and_score_stacked", "is_of_a_search"]

_ALL_ROWS = slice(None)
Task = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def final_step(estimator: Any) -> Any:
    """Return what a pipeline ends in; any other estimator itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def can_be_stacked(estimator: Any) -> bool:
    """Return whether the nets of an estimator, or of a pipeline's last step, can be stacked."""
    return isinstance(final_step(estimator), Stackable)


def is_of_a_search(function: Callable[..., Any]) -> bool:
    """Return whether a task fits and scores, rather than doing a part of another task."""
    return getattr(function, "function", function) is _fit_and_score


def fit_and_score_stacked(tasks: Sequence[Task], max_memory: int | None) -> list[Any]:
    """Call tasks, the nets of which are trained as stacks.

    Parameters
    ----------
    tasks : sequence of (function, arguments, keyword arguments)
        Calls of ``_fit_and_score`` on the same data; any other call is made as it is.
    max_memory : int or None
        Bytes that the nets of a stack may take together.

    Returns
    -------
    list
        What each call returned.
    """
    memo, prefixes = Memo(), _Prefixes()
    members = [_Member(*task) for task in tasks]
    for member in members:
        member.begin(memo, prefixes)
    runs = [run for member in members for run in member.runs]
    start = time.perf_counter()
    if runs:
        train_stacked(runs, max_memory)
    seconds = (time.perf_counter() - start) / max(len(runs), 1)
    for member in members:
        member.publish(seconds)
    if any(run.interrupted for run in runs):
        raise KeyboardInterrupt
    asked_alike: dict[tuple[int, int], list[Run]] = {}  # same fold, same steps before the net
    for member in members:
        for run in member.runs:
            key = id(member.keywords["train"]), id(run.rows.features)
            asked_alike.setdefault(key, []).append(run)
    with ExitStack() as stack:
        for alike in asked_alike.values():
            nets = [run.net for run in alike if run.error is None]
            if len(nets) > 1:
                stack.enter_context(Siblings(nets))
        return [member.score() for member in members]


@dataclass
class _Member:
    """One task on its way."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    fit: PreparedFit | None = None
    runs: list[Run] = field(default_factory=list)
    error: Exception | None = None
    seconds: float = 0.0

    def begin(self, memo: Memo, prefixes: _Prefixes) -> None:
        """Prepare the fit, up to where its nets are to be trained."""
        if not is_of_a_search(self.function):
            return
        (self.estimator, X, y), keywords = self.arguments, self.keywords
        if keywords["parameters"]:
            self.estimator.set_params(**clone(keywords["parameters"], safe=False))
        if not can_be_stacked(self.estimator) or y is None:
            return
        start = time.perf_counter()
        try:
            self.fit = self._prepare_fit(X, y, memo, prefixes)
            self.runs = self.fit.runs if self.fit is not None else []
        except Exception as error:
            self.error = error
        self.seconds = time.perf_counter() - start

    def _prepare_fit(self, X: Any, y: Any, memo: Memo, prefixes: _Prefixes) -> PreparedFit | None:
        train, params = self.keywords["train"], self.keywords["fit_params"] or {}
        others = sorted(name for name in params if name.split("__")[-1] != "sample_weight")
        if others:  # scikit-learn's own call hands them on, or says what is wrong with them
            logger.info("Nets are trained one by one: fit has the parameters %s", others)
            warnings.warn(
                f"Nets are trained one by one, not as a stack: fit has the parameters {others}. "
                "The results are the same; it takes longer.",
                NotStackedWarning,
                stacklevel=2,
            )
            return None
        if not isinstance(self.estimator, Pipeline):
            # all folds share X: a fold is rows of it
            weight = params.get("sample_weight")
            rows = memo.once(_positions, (train, y))
            return self.stackable._prepare_fit(X, y, weight, rows=rows, memo=memo)
        X, y, weight = prefixes.transform(self.estimator, X, y, train, params)
        return self.stackable._prepare_fit(X, y, weight, memo=memo)

    @property
    def stackable(self) -> Stackable:
        """The estimator whose nets are trained."""
        last: Stackable = final_step(self.estimator)
        return last

    def publish(self, seconds: float) -> None:
        """Let the fit set its attributes, now that its nets are trained."""
        self.seconds += seconds * len(self.runs)
        if self.fit is None or self.error is not None:
            return
        try:
            with self.fit:
                self.fit.publish()
        except Exception as error:
            self.error = error

    def score(self) -> Any:
        """Call the task; its ``fit`` finds everything done."""
        if self.fit is None and self.error is None:
            return self.function(*self.arguments, **self.keywords)
        own = vars(self.estimator)
        own["fit"] = self._adopt
        own["set_params"] = lambda **params: self.estimator
        try:
            result = self.function(*self.arguments, **self.keywords)
        finally:
            del own["fit"], own["set_params"]
        result["fit_time"] = self.seconds
        return result

    def _adopt(self, X: Any, y: Any = None, **params: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self.estimator


def _positions(rows: Any, y: Any) -> NDArray[np.integer[Any]]:
    """Row numbers, of whatever selects rows: numbers, negative ones too, or a mask."""
    everything = np.arange(y.shape[0] if hasattr(y, "shape") else len(y))
    chosen: NDArray[np.integer[Any]] = everything[rows]
    return chosen


class _Recorder(BaseEstimator):
    """Stands at the end of a pipeline and keeps what arrives there."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def get_metadata_routing(self) -> Any:
        """Ask for what the estimator asks for."""
        return self.estimator.get_metadata_routing()

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> _Recorder:
        """Keep the data."""
        self.arrived_ = X, y, sample_weight
        return self


@dataclass
class _Fitted:
    """Steps of a pipeline, and what arrives behind them."""

    steps: list[Any]
    arrived: tuple[Any, Any, Any]
    alive: tuple[object, ...]  # objects whose identity is in the key


class _Prefixes:
    """The steps before the net, fitted once for each fold and each setting of them."""

    def __init__(self) -> None:
        self._known: dict[Any, _Fitted] = {}

    def transform(
        self, pipeline: Pipeline, X: Any, y: Any, train: Any, params: dict[str, Any]
    ) -> tuple[Any, Any, Any]:
        """Fit all steps but the last; return what arrives there, with its weights."""
        name, last = pipeline.steps[-1]
        key = (id(X), id(train), name, digest(pipeline.steps[:-1]))
        if key not in self._known:
            fitted = copy.copy(pipeline)
            fitted.steps = [*pipeline.steps[:-1], (name, _Recorder(last))]
            params = _check_method_params(X, params=params, indices=train)
            fitted.fit(_safe_indexing(X, train), _safe_indexing(y, train), **params)
            arrived = fitted.steps[-1][1].arrived_
            self._known[key] = _Fitted(fitted.steps[:-1], arrived, alive=(X, train))
        known = self._known[key]
        pipeline.steps[:-1] = known.steps
        if not isinstance(last, Pipeline):
            return known.arrived
        X, y, weight = known.arrived
        params = {} if weight is None else {"sample_weight": weight}
        return self.transform(last, X, y, _ALL_ROWS, params)
