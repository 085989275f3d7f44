"""Several processes that train one net together, and how they communicate.

A launcher (``torchrun``, ``accelerate launch``) starts the processes and gives each a number; they
communicate through ``torch.distributed``. Everything that they exchange between batches goes
through one method, :meth:`Processes.exchange`, which also sends errors. A process that fails sends
its error at the next exchange, so that no other process waits for it forever. After an error
nothing more is exchanged.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from numbers import Real
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from imbtorch.modules._state import extra_state
from imbtorch.training.checkpoint import describe

__all__ = ["ONE", "Processes", "joined", "refuse_company", "together"]

# Seconds that a process waits for the others before it raises an error, with data_parallel=True:
# more than the first process takes to score an epoch or to write a checkpoint.
PROCESS_TIMEOUT = 600.0

T = TypeVar("T")
_c10d: Any = dist  # typed as Any, because its type hints leave out some names
# Parameters that may differ between processes; all use the seeds of the first process.
_OWN = {"callbacks", "device", "n_threads", "random_state", "verbose"}


@dataclass(eq=False)
class Processes:
    """The group of processes that trains one net, as seen by this process.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes in the group. A single process exchanges nothing.
    interrupted : bool
        Whether this process has received Ctrl-C and the others do not know it yet.
    failed : bool
        Whether an error was exchanged; nothing is exchanged after it.
    timeout : float or None
        Seconds that this process waits for the others; None where the process group was there
        before the fit and has a time limit of its own.
    """

    rank: int = 0
    size: int = 1
    interrupted: bool = False
    failed: bool = False
    timeout: float | None = None

    # -- between batches ---------------------------------------------------------------------

    def exchange(self, value: T, error: Exception | None = None) -> list[T]:
        """Send a value to the other processes; return the values of all, ordered by rank.

        Parameters
        ----------
        value : object
            Small value of plain types.
        error : Exception or None, default=None
            Error of this process, which is sent to the others.

        Raises
        ------
        Exception
            The ``error`` of this process, if it has one.
        RuntimeError
            If another process has an error, or cannot be reached.
        """
        if self.failed:
            raise error or RuntimeError("The processes stopped communicating after an error.")
        if self.size == 1:
            if error is not None:
                raise error
            return [value]
        answers: list[Any] = [None] * self.size
        failure = None if error is None else f"{type(error).__name__}: {error}"
        try:
            dist.all_gather_object(answers, (failure, value))
        except RuntimeError as lost:
            raise error or self.lost() from lost
        failures = [f"process {i}: {answer[0]}" for i, answer in enumerate(answers) if answer[0]]
        if failures:
            self.failed = True
            raise error or RuntimeError(f"Training failed in {'; in '.join(failures)}")
        return [answer[1] for answer in answers]

    def lost(self) -> RuntimeError:
        """Return the error to raise when this process cannot reach the others."""
        self.failed = True
        if self.timeout is None:
            limit = "the time limit of the process group"
            remedy = "give init_process_group a longer timeout"
        else:
            limit = f"{self.timeout:g} s"
            remedy = f"give all of them more seconds, such as data_parallel={2 * self.timeout:g}"
        return RuntimeError(
            f"Process {self.rank} of {self.size} has lost the connection to the others: one of "
            f"them has ended, has not called fit or did not answer within {limit}, or the network "
            "is down. Read the output of the process that ended. If one needs more time, "
            f"{remedy}."
        )

    def tell(self, error: Exception) -> None:
        """Let the others know that this process fails, unless they already know."""
        if self.size > 1 and not self.failed:
            try:
                self.exchange(None, error)
            except Exception:
                self.failed = True

    def of_first(self, compute: Callable[[], T]) -> T:
        """Compute a value in the first process, and return it in every process."""
        value: Any = None
        error = None
        try:
            value = compute() if self.rank == 0 else None
        except Exception as caught:
            error = caught
        first: T = self.exchange(value, error)[0]
        return first

    def check_same(self, facts: Mapping[str, str]) -> None:
        """Check that all processes have the same data and parameters.

        Parameters
        ----------
        facts : mapping of str to str
            Descriptions that must be the same in every process, by name.

        Raises
        ------
        ValueError
            In every process, if a description differs; the message names it, and the processes
            that are unlike the others.
        """
        answers = self.exchange(dict(facts))
        names = {name: None for answer in answers for name in answer}
        differing = [name for name in names if len({answer.get(name) for answer in answers}) > 1]
        if differing:
            self.failed = True
            raise ValueError(
                f"With data_parallel=True each of the {self.size} processes gets all of the data "
                f"and the same parameters, but they differ in {', '.join(differing)}. "
                f"{_unlike([[answer.get(name) for name in differing] for answer in answers])} Give "
                "every process the whole X and y in the same order; fit divides the rows itself."
            )

    def agree(self, run: Any) -> None:
        """Share an error, the end or an interruption of a run with all processes.

        Raises
        ------
        KeyboardInterrupt
            In every process, if one of them has received Ctrl-C.
        """
        if self.size == 1 or self.failed:
            return
        try:
            state = (run.done, self.interrupted, _sums(run.net.module_))
            states = self.exchange(state, run.error)
            weights = [sums for *_, sums in states]
            if len(set(weights)) > 1:
                self.failed = True
                raise RuntimeError(
                    "The weights of the processes differ, though they must stay equal. "
                    f"{_unlike(weights)} Look for a callback, layer or optimizer that does not do "
                    "the same in each of them."
                )
        except Exception as error:
            run.error, run.done = error, True
            return
        run.done = any(done for done, *_ in states)
        if any(interrupted for _, interrupted, _ in states):
            self.interrupted = False
            raise KeyboardInterrupt

    # -- tensors -----------------------------------------------------------------------------

    def device(self, name: str | torch.device) -> str | torch.device:
        """Return the accelerator of this process, if the name of the device leaves that open."""
        if self.size == 1 or str(name) not in {"auto", "cuda"} or not torch.cuda.is_available():
            return name
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"

    def part(self, n: int) -> slice:
        """Return which of the ``n`` rows of a batch belong to this process."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum(self, buffer: Tensor) -> None:
        """Replace a buffer by the sum of the buffers of all processes, in place."""
        try:
            dist.all_reduce(buffer)
        except RuntimeError as lost:
            raise self.lost() from lost

    def copy_of_first(self, module: nn.Module) -> None:
        """Copy parameters and buffers of a module from the first process."""
        for tensor in itertools.chain(module.parameters(), module.buffers()):
            if tensor.numel():
                place = tensor.device if tensor.is_cuda else "cpu"
                values = tensor.detach().to(place).contiguous().clone()
                dist.broadcast(values.view(-1).view(torch.uint8), 0)
                with torch.no_grad():
                    tensor.copy_(values)


ONE = Processes()
_joined = ONE
_store: Any = None
_groups = itertools.count()


def joined() -> Processes:
    """Return the processes that train one net together now; this one alone outside of a fit."""
    return _joined


def launched() -> int:
    """Return the number of processes that were launched together."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def together(device: str | torch.device, parameters: Mapping[str, Any]) -> Iterator[None]:
    """Join the processes that were launched together, while an estimator is fitted.

    They use the process group of ``torch.distributed``; if there is none, one is created for the
    fit. A single process does nothing.

    Parameters
    ----------
    device : str or torch.device
        Device on which the estimator trains.
    parameters : mapping of str to object
        Parameters of the estimator, which must be the same in every process. ``data_parallel`` is
        True, or the number of seconds that a process waits for the others.

    Raises
    ------
    ValueError
        If parameters differ, the fit is one of several in threads or workers, or
        ``data_parallel`` is a number of seconds but the process group has a time limit already.
    RuntimeError
        If a process does not answer in time.
    """
    global _joined
    if launched() == 1:
        yield
        return
    _refuse_workers()
    asked = _seconds(parameters["data_parallel"])
    timeout = None if dist.is_initialized() else asked or PROCESS_TIMEOUT
    with _process_group(str(device), timeout):
        processes = Processes(dist.get_rank(), dist.get_world_size(), timeout=timeout)
        try:
            if timeout is None and asked is not None:
                raise ValueError(
                    f"data_parallel={asked:g} asks for a time limit in seconds, but a process "
                    "group exists already and has its own. Use data_parallel=True, and give the "
                    "limit to torch.distributed.init_process_group(timeout=...)."
                )
            with _noting_interrupts(processes):
                _joined = processes
                processes.check_same(
                    {name: _told(value) for name, value in parameters.items() if name not in _OWN}
                )
                yield
                processes.exchange(None)  # learn whether another process has failed
        except Exception as error:
            processes.tell(error)
            raise
        finally:
            _joined = ONE


def _seconds(data_parallel: bool | float) -> float | None:
    """Return the time limit that the parameter asks for; None if it is a truth value."""
    is_number = isinstance(data_parallel, Real) and not isinstance(data_parallel, bool)
    return float(data_parallel) if is_number else None


def _told(value: Any) -> str:
    """Describe a parameter; a module by its layers, as its first values are the first process's."""
    if isinstance(value, nn.Module):
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    return describe(value)


def refuse_company() -> None:
    """Refuse a fit that would both be divided among processes and be one of several nets.

    Call it for an estimator with ``data_parallel=True``.

    Raises
    ------
    ValueError
        If several processes were launched.
    """
    if launched() > 1:
        raise ValueError(
            "data_parallel=True divides the training of one net among processes, but the nets of "
            "an ensemble or a stacked search are trained in one process. Use data_parallel=False."
        )


def _refuse_workers() -> None:
    worker = multiprocessing.current_process().name.startswith("LokyProcess")
    if worker or threading.current_thread() is not threading.main_thread():
        raise ValueError(
            "data_parallel=True divides one fit among the processes that were launched, but this "
            "fit is one of several in the workers or threads of joblib. Use n_jobs=1, or "
            "data_parallel=False."
        )
    if _joined.size > 1:
        raise ValueError(
            "Another fit with data_parallel=True is still running; begin this one after its end."
        )


@contextmanager
def _process_group(device: str, timeout: float | None) -> Iterator[None]:
    """Create a process group for the time of the block; with None, use the existing one."""
    if timeout is None:
        yield
        return
    _create_group(device, timeout)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _create_group(device: str, seconds: float) -> None:
    """Create the process group of one fit, whose processes wait for each other for so long."""
    global _store
    rank, size = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE"))
    timeout = timedelta(seconds=seconds)
    on_cuda = device.startswith(("auto", "cuda")) and torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
    try:
        if _store is None:  # kept for later fits: the launcher's rendezvous can be used only once
            _store = next(_c10d.rendezvous("env://", timeout=timeout))
        store, rank, size = _store
        own = _c10d.PrefixStore(f"imbtorch/{next(_groups)}", store)
        own.set_timeout(timeout)
        dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=timeout)
    except RuntimeError as lost:
        raise Processes(rank, size, timeout=seconds).lost() from lost


def _unlike(values: Sequence[Any]) -> str:
    """Say which processes have another value than most; where as many agree, the first is right."""
    texts = list(map(repr, values))
    usual, _ = Counter(texts).most_common(1)[0]
    ranks = [str(rank) for rank, text in enumerate(texts) if text != usual]
    word, verb = ("Process", "is") if len(ranks) == 1 else ("Processes", "are")
    return f"{word} {', '.join(ranks)} {verb} unlike process {texts.index(usual)}."


@contextmanager
def _noting_interrupts(processes: Processes) -> Iterator[None]:
    """Record the first Ctrl-C, so that no process stops within a step; raise at the second."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # the program has a handler of its own
        yield
        return

    def note(number: int, frame: Any) -> None:
        if processes.interrupted:
            raise KeyboardInterrupt
        processes.interrupted = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if processes.interrupted:
        raise KeyboardInterrupt


def _sums(module: nn.Module) -> str:
    """Return a text of the tensors and extra states of a module, the same for equal modules."""
    tensors = [t.detach() for t in itertools.chain(module.parameters(), module.buffers())]
    norms = [t.double().norm() if t.device.type != "mps" else t.float().norm() for t in tensors]
    numbers = torch.stack([n.cpu() for n in norms]).tolist() if norms else []
    extra = {name: describe(value) for name, (_, value) in extra_state(module).items()}
    return repr((numbers, extra) if extra else numbers)
