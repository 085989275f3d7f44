"""Describe a finished comparison: its size, its budget, and the arguments of its strategies."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import TimeSeriesSplit

from imbtorch.compare._inner_folds import N_INNER
from imbtorch.compare._preparing import is_frame, label_code, preparing
from imbtorch.compare._run import ComparisonRun, installed, reasons_for_caution
from imbtorch.compare._written import Writer, Written
from imbtorch.tables._words import counted

__all__ = ["describe_run"]

# of default_strategies; its seed is no default worth leaving out
_DEFAULTS = {"module": "tabm", "max_epochs": "auto", "scoring": "average_precision"}
_TIME = ("sklearn.model_selection", "TimeSeriesSplit")
# names that the code of a report uses for something else
_RESERVED = (
    *("X", "y", "groups", "sample_weight", "prepare", "table", "labels", "strategies", "model"),
    *("new", "place", "probability", "clone", "default_strategies", "read_table"),
)


def describe_run(
    *,
    start: float,
    given: tuple[Any, Any],
    X: Any,
    y: NDArray[Any],
    rare: object,
    folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
    strategies: Mapping[str, Any],
    random_state: Any,
    settings: Mapping[str, Any] | None,
    weighted_by: Mapping[str, str] | None,
) -> ComparisonRun:
    """Return what a reader of the report needs in order to repeat the comparison.

    Parameters
    ----------
    start : float
        Time of the start, in seconds since 1970.
    given : tuple of (object, object)
        Features and labels as the caller gave them.
    X, y : array-like of shape (n, n_features) and (n,)
        Features and labels that were compared.
    rare : object
        Label of the rarest class.
    folds : sequence of (ndarray, ndarray)
        Training and test rows of the folds.
    strategies : mapping of str to classifier
        The strategies.
    random_state : int, RandomState or None
        The seed, as it was given.
    settings : mapping or None
        Arguments of the default strategies; None if the strategies were the caller's own.
    weighted_by : mapping of str to str, or None
        For each strategy the parameter of ``fit`` that takes the weights of the rows; None if there
        are no weights.
    """
    tested = np.unique(np.concatenate([test for _, test in folds]))
    sizes, is_default = np.shape(X), settings is not None
    columns = f", {counted(sizes[1], 'column')}" if len(sizes) == 2 else ""
    n_strategies = len(strategies)
    budget = f"{n_strategies} strateg{'y' if n_strategies == 1 else 'ies'}, "
    budget += counted(len(folds), "fold")
    max_epochs = settings["max_epochs"] if settings is not None else "auto"
    if settings is not None:
        found = "found by folds of the training rows" if max_epochs == "auto" else f"{max_epochs}"
        module = settings["module"]
        net = repr(str(module)) if isinstance(module, str) else _name_of(module)
        budget += f", network {net}, epochs {found}"
    writer = Writer(_RESERVED)
    arguments = {} if settings is None else _as_code(settings, writer)
    preparation = preparing(given[0], X, writer)
    labels = label_code(given[1], y, writer)
    return ComparisonRun(
        date=datetime.fromtimestamp(start).astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        seconds=time.time() - start,
        seed=_seed(random_state),
        budget=budget,
        rare=rare.item() if isinstance(rare, np.generic) else rare,
        n_rare=int((y[tested] == rare).sum()),
        reduced=reasons_for_caution(len(folds), max_epochs, is_default=is_default),
        arguments=arguments,
        is_default=is_default,
        versions=installed(),
        rows=f"{len(y):,}{columns}{'' if weighted_by is None else ', weighted'}",
        weights="" if weighted_by is None else "sample_weight",
        weight_names=weighted_by or {},
        is_frame=is_frame(given[0]),
        preparing=preparation,
        labels=labels,
        imports=writer.import_lines(),
        supplied=writer.supplied,
        own={} if is_default else _written(strategies),
    )


def _name_of(module: Any) -> str:
    name = getattr(module, "__name__", type(module).__name__)
    return str(name)


def _written(strategies: Mapping[str, Any]) -> dict[str, Written]:
    """Write strategies as code; leave out those whose class is not known outside of its program."""
    found = {}
    for name, strategy in strategies.items():
        writer = Writer(_RESERVED)
        text = writer.of(strategy, name)
        if text not in writer.supplied:
            found[name] = Written(text, writer.import_lines(), writer.supplied)
    return found


def _seed(random_state: Any) -> str:
    if random_state is None:
        return "None (another run gives other numbers)"
    is_number = isinstance(random_state, int | np.integer)
    return f"{random_state}" if is_number else f"a {type(random_state).__name__}"


def _as_code(settings: Mapping[str, Any], writer: Writer) -> dict[str, str]:
    """Write the arguments as Python; the writer knows which names the reader must define."""
    found = {}
    for name, value in settings.items():
        if value is None or _is_left_out(name, value):
            continue
        if name == "groups":
            found[name] = name
            writer.supplied[name] = "the group of each row of X"
        elif name == "inner_cv":
            splitter = getattr(value, "splitter", value)
            if isinstance(splitter, TimeSeriesSplit):  # groups are stated by themselves
                gap = f", gap={splitter.gap}" if splitter.gap else ""
                found[name] = f"{writer.use(*_TIME)}({N_INNER}{gap})"
        else:
            found[name] = writer.of(value, name)
    return found


def _is_left_out(name: str, value: Any) -> bool:
    return isinstance(value, str) and _DEFAULTS.get(name) == value
