"""A joblib backend that trains the nets of scikit-learn's search tasks as stacks."""

from __future__ import annotations

from typing import Any

import joblib
from joblib.parallel import ParallelBackendBase
from sklearn.utils.parallel import Parallel, delayed

from imbtorch.model_selection._stacked_tasks import Task, fit_and_score_stacked, is_of_a_search

__all__ = ["StackBackend"]

# parts of parameter names: nets whose values of such a parameter differ cannot share a stack
_APART = {
    "module",
    "loss",
    "optimizer",
    "batch_size",
    "accumulate",
    "max_epochs",
    "device",
    "n_threads",
    "dtype",
}


class _Collected:
    """Tasks of one call of ``joblib.Parallel``, which run when the first result is requested."""

    def __init__(self, backend: StackBackend) -> None:
        self.backend, self.tasks = backend, []
        self.results: list[Any] | None = None

    tasks: list[Task]

    def get(self, place: slice) -> list[Any]:
        if self.results is None:
            self.results = self.backend.run(self)
        return self.results[place]


class _Job:
    """Handle from which joblib gets the results of some of the collected tasks."""

    def __init__(self, collected: _Collected, place: slice, callback: Any) -> None:
        self.collected, self.place, self.callback = collected, place, callback

    def get(self, timeout: float | None = None) -> list[Any]:
        results = self.collected.get(self.place)
        if self.callback is not None:
            self.callback(results)  # joblib counts the finished tasks
        return results


class StackBackend(ParallelBackendBase):
    """Collect the tasks of a search, and train their nets together.

    scikit-learn's searches run their tasks in the active joblib backend. This backend runs them in
    the current process; or, with ``n_workers``, it passes whole stacks to the backend that was
    active before.

    Parameters
    ----------
    max_memory : int or None, default=None
        Largest number of bytes that the nets of a stack may take together; None for no limit.
    n_workers : int or None, default=None
        Number of workers that stacks are divided among, like ``n_jobs`` of joblib. None is the
        number of the backend that was active before, usually one.
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
        """Return 2, because with one worker joblib would run the tasks one after the other."""
        return 2

    def configure(
        self,
        n_jobs: int | None = None,
        parallel: Any = None,
        prefer: Any = None,
        require: Any = None,
        **backend_kwargs: Any,
    ) -> int:
        """Make joblib dispatch all tasks before the first one runs."""
        parallel.pre_dispatch = "all"
        return int(super().configure(n_jobs, parallel, prefer, require, **backend_kwargs))

    def compute_batch_size(self) -> int:
        """Return a large batch size, so that joblib dispatches the tasks in few batches."""
        return 2**20

    def submit(self, func: Any, callback: Any = None) -> _Job:
        """Collect a batch of tasks."""
        tasks = self.collected.tasks
        start = len(tasks)
        tasks.extend(func.items)
        return _Job(self.collected, slice(start, len(tasks)), callback)

    apply_async = submit  # name of ``submit`` before joblib 1.5

    def run(self, collected: _Collected) -> list[Any]:
        """Run the collected tasks in the backend that was active before."""
        self.collected = _Collected(self)
        backend, n_jobs = self.outer
        with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
            return run_stacked(collected.tasks, self.max_memory, self.n_workers)


def run_stacked(tasks: list[Task], max_memory: int | None, n_jobs: int | None) -> list[Any]:
    """Run tasks as stacks, on several workers if ``n_jobs`` is greater than one."""
    n_workers = joblib.effective_n_jobs(n_jobs)
    # other parallel calls, such as those of a pipeline step, may need shared memory: run them here
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
    """Return a text that is equal for candidates whose nets may share a stack."""
    parameters = task[2].get("parameters") or {}
    apart = {
        name: value
        for name, value in parameters.items()
        if _APART & set(name.split("__"))
        and not ("loss" in name.split("__") and isinstance(value, int | float))
    }
    return repr(sorted(apart.items(), key=lambda item: item[0]))
