"""A joblib backend that calls scikit-learn's tasks as stacks."""

from __future__ import annotations

from typing import Any

import joblib
from joblib.parallel import ParallelBackendBase
from sklearn.utils.parallel import Parallel, delayed

from imbtorch.model_selection._stacked_tasks import Task, fit_and_score_stacked, is_of_a_search

__all__ = ["StackBackend"]

# parts of a parameter's name that keep nets apart, when they differ
_APART = {"module", "loss", "optimizer", "batch_size", "max_epochs", "device", "dtype"}


class _Collected:
    """Tasks of one call of ``joblib.Parallel``, which all run when the first result is wanted."""

    def __init__(self, backend: StackBackend) -> None:
        self.backend, self.tasks = backend, []
        self.results: list[Any] | None = None

    tasks: list[Task]

    def get(self, place: slice) -> list[Any]:
        if self.results is None:
            self.results = self.backend.run(self)
        return self.results[place]


class _Job:
    """What joblib asks for the results of some of them."""

    def __init__(self, collected: _Collected, place: slice, callback: Any) -> None:
        self.collected, self.place, self.callback = collected, place, callback

    def get(self, timeout: float | None = None) -> list[Any]:
        results = self.collected.get(self.place)
        if self.callback is not None:
            self.callback(results)  # joblib counts what is done
        return results


class StackBackend(ParallelBackendBase):
    """Collect the tasks of a search, and train their nets together.

    joblib's backends are how a search is told where to run. This one runs it here, or, with
    ``n_jobs``, hands whole stacks to the backend that was active before.

    Parameters
    ----------
    max_memory : int or None, default=None
        Bytes that the nets of a stack may take together.
    n_workers : int or None, default=None
        As ``n_jobs`` of joblib: workers that stacks are divided among; None is what the backend
        that was active before has, one as a rule.
    """

    supports_sharedmem = True
    uses_threads = True

    def __init__(
        self,
        max_memory: int | None = None,
        n_workers: int | None = None,
        nesting_level: int | None = None,
    ) -> None:
        super().__init__(nesting_level=nesting_level)
        self.max_memory, self.n_workers = max_memory, n_workers
        self.outer = joblib.parallel.get_active_backend()
        self.collected = _Collected(self)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Count the workers: never 1, which would make joblib call task after task."""
        return 2

    def configure(
        self,
        n_jobs: int | None = None,
        parallel: Any = None,
        prefer: Any = None,
        require: Any = None,
        **backend_kwargs: Any,
    ) -> int:
        """Take all tasks before the first one runs."""
        parallel.pre_dispatch = "all"
        return int(super().configure(n_jobs, parallel, prefer, require, **backend_kwargs))

    def compute_batch_size(self) -> int:
        """Take them in few batches."""
        return 2**20

    def submit(self, func: Any, callback: Any = None) -> _Job:
        """Collect a batch of tasks."""
        tasks = self.collected.tasks
        start = len(tasks)
        tasks.extend(func.items)
        return _Job(self.collected, slice(start, len(tasks)), callback)

    apply_async = submit  # its name before joblib 1.5

    def run(self, collected: _Collected) -> list[Any]:
        """Run what was collected, under the backend that was active before."""
        self.collected = _Collected(self)
        backend, n_jobs = self.outer
        with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
            return run_stacked(collected.tasks, self.max_memory, self.n_workers)


def run_stacked(tasks: list[Task], max_memory: int | None, n_jobs: int | None) -> list[Any]:
    """Call tasks as stacks, on several workers where ``n_jobs`` asks for them."""
    n_workers = joblib.effective_n_jobs(n_jobs)
    # what a step of the refitted pipeline does in parallel may want to share memory
    if n_workers == 1 or len(tasks) < 2 or not all(is_of_a_search(task[0]) for task in tasks):
        return fit_and_score_stacked(tasks, max_memory)
    groups: dict[str, list[int]] = {}
    for place, task in enumerate(tasks):
        groups.setdefault(_kind(task), []).append(place)
    size = -(-len(tasks) // n_workers)
    parts = [
        group[start : start + size]
        for group in groups.values()
        for start in range(0, len(group), size)
    ]
    done = Parallel(n_jobs=n_jobs)(
        delayed(fit_and_score_stacked)([tasks[place] for place in part], max_memory)
        for part in parts
    )
    results: list[Any] = [None] * len(tasks)
    for part, values in zip(parts, done, strict=True):
        for place, value in zip(part, values, strict=True):
            results[place] = value
    return results


def _kind(task: Task) -> str:
    """Name the settings of a candidate that keep its nets apart from others."""
    parameters = task[2].get("parameters") or {}
    apart = {
        name: value
        for name, value in parameters.items()
        if _APART & set(name.split("__"))
        and not ("loss" in name.split("__") and isinstance(value, int | float))
    }
    return repr(sorted(apart.items(), key=lambda item: item[0]))
