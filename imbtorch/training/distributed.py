"""The processes that train one net together: who they are, and how they agree.

A launcher (``torchrun``, ``accelerate launch``) only starts processes and tells each its number;
the rest is ``torch.distributed``. Whatever the processes exchange between batches goes through one
function, :meth:`Processes.exchange`, which also carries errors. So a process that fails, wherever
it does, meets the others at the next exchange, and none waits for it. An error is the last thing
that is exchanged.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from imbtorch.training.checkpoint import describe

__all__ = ["ONE", "Processes", "joined", "refuse_company", "together"]

T = TypeVar("T")
_c10d: Any = dist  # whose types leave out some of its names
_OWN = {"callbacks", "device", "random_state", "verbose"}  # may differ; seeds are the first one's


@dataclass(eq=False)
class Processes:
    """Those that train a net together, as one of them sees it.

    Attributes
    ----------
    rank : int
        Number of this process.
    size : int
        How many there are; one needs no others and asks none.
    interrupted : bool
        Whether Ctrl-C has come here and the others do not know.
    failed : bool
        Whether an error was exchanged, after which nothing is.
    """

    rank: int = 0
    size: int = 1
    interrupted: bool = False
    failed: bool = False

    # -- between batches ---------------------------------------------------------------------

    def exchange(self, value: T, error: Exception | None = None) -> list[T]:
        """Tell the others a value; return those of all, in the order of their numbers.

        Parameters
        ----------
        value : object
            Small, and of plain types.
        error : Exception or None, default=None
            What went wrong here.

        Raises
        ------
        Exception
            ``error``.
        RuntimeError
            If something went wrong elsewhere.
        """
        if self.failed:
            raise error or RuntimeError("The processes have parted after an error.")
        if self.size == 1:
            if error is not None:
                raise error
            return [value]
        answers: list[Any] = [None] * self.size
        told = None if error is None else f"{type(error).__name__}: {error}"
        try:
            dist.all_gather_object(answers, (told, value))
        except RuntimeError as lost:
            raise error or self.lost() from lost
        failures = [f"process {i}: {answer[0]}" for i, answer in enumerate(answers) if answer[0]]
        if failures:
            self.failed = True
            raise error or RuntimeError(f"Training failed in {'; in '.join(failures)}")
        return [answer[1] for answer in answers]

    def lost(self) -> RuntimeError:
        """Build the error of a process that cannot reach the others."""
        self.failed = True
        return RuntimeError(
            f"Process {self.rank} of {self.size} has lost the others: one of them has ended, or "
            "the connection is down. Its own output says why."
        )

    def tell(self, error: Exception) -> None:
        """Let the others know that this process fails, unless they do."""
        if self.size > 1 and not self.failed:
            try:
                self.exchange(None, error)
            except Exception:
                self.failed = True

    def of_first(self, compute: Callable[[], T]) -> T:
        """Let the first process compute a value, for all."""
        value: Any = None
        error = None
        try:
            value = compute() if self.rank == 0 else None
        except Exception as caught:
            error = caught
        first: T = self.exchange(value, error)[0]
        return first

    def check_same(self, facts: Mapping[str, str]) -> None:
        """Compare what must be the same everywhere.

        Raises
        ------
        ValueError
            In every process, if something differs; it says what.
        """
        told = self.exchange(dict(facts))
        names = {name: None for others in told for name in others}
        differing = [name for name in names if len({others.get(name) for others in told}) > 1]
        if differing:
            self.failed = True
            raise ValueError(
                f"With data_parallel=True each of the {self.size} processes gets all of the data "
                f"and the same parameters, but they differ in {', '.join(differing)}. Give every "
                "process the whole X and y in the same order; fit takes each one's part of them."
            )

    def agree(self, run: Any) -> None:
        """Let what came of a run here count for all: an error, the end, an interruption.

        Raises
        ------
        KeyboardInterrupt
            In every process, if Ctrl-C came to one.
        """
        if self.size == 1 or self.failed:
            return
        try:
            told = self.exchange((run.done, self.interrupted, _sums(run.net.module_)), run.error)
            if len({sums for *_, sums in told}) > 1:
                self.failed = True
                raise RuntimeError(
                    "The weights of the processes have drifted apart. Look for a callback, layer "
                    "or optimizer that does not do the same in each of them."
                )
        except Exception as error:
            run.error, run.done = error, True
            return
        run.done = any(done for done, *_ in told)
        if any(interrupted for _, interrupted, _ in told):
            self.interrupted = False
            raise KeyboardInterrupt

    # -- tensors -----------------------------------------------------------------------------

    def device(self, name: str | torch.device) -> str | torch.device:
        """Take the accelerator of this process, where the name leaves that open."""
        if self.size == 1 or str(name) not in {"auto", "cuda"} or not torch.cuda.is_available():
            return name
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"

    def part(self, n: int) -> slice:
        """Rows of this process among ``n`` of a batch."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum(self, buffer: Tensor) -> None:
        """Add up the buffers of all processes, in place."""
        try:
            dist.all_reduce(buffer)
        except RuntimeError as lost:
            raise self.lost() from lost

    def copy_of_first(self, module: nn.Module) -> None:
        """Give a module the values that it has in the first process."""
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


def joined(estimator: Any) -> Processes:
    """Return the processes that train the net of an estimator together now."""
    return _joined if estimator.data_parallel else ONE


def launched() -> int:
    """Count the processes that were launched together."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def together(estimator: Any) -> Iterator[None]:
    """Join the processes that were launched together, for the fit of an estimator.

    They are those of the process group, which is made for the fit where there is none. One process
    alone has nothing to join.

    Parameters
    ----------
    estimator : estimator instance
        Its parameters must be the same in all of them.

    Raises
    ------
    ValueError
        If parameters differ, or the fit is one of several in threads or workers.
    """
    global _joined
    if launched() == 1:
        yield
        return
    _refuse_workers()
    with _process_group(str(estimator.device)):
        processes = Processes(dist.get_rank(), dist.get_world_size())
        try:
            with _noting_interrupts(processes):
                _joined = processes
                processes.check_same(_parameters(estimator))
                yield
                processes.exchange(None)  # has everybody come through?
        except Exception as error:
            processes.tell(error)
            raise
        finally:
            _joined = ONE


def refuse_company(estimator: Any) -> None:
    """Refuse to divide a fit whose net is trained with those of others.

    Raises
    ------
    ValueError
        If several processes are to train the net of the estimator.
    """
    if estimator.data_parallel and launched() > 1:
        raise ValueError(
            "data_parallel=True divides the training of one net among processes; nets of an "
            "ensemble or a stacked search are trained together in one. Use data_parallel=False."
        )


def _refuse_workers() -> None:
    worker = multiprocessing.current_process().name.startswith("LokyProcess")
    if worker or threading.current_thread() is not threading.main_thread():
        raise ValueError(
            "data_parallel=True divides one fit among the processes that were launched; this one "
            "is one of several fits in the workers or threads of joblib. Use n_jobs=1, or "
            "data_parallel=False."
        )
    if _joined.size > 1:
        raise ValueError("A fit with data_parallel=True is under way; another must wait for it.")


@contextmanager
def _process_group(device: str) -> Iterator[None]:
    """Use the process group that is there; make one for the time being where there is none."""
    global _store
    if dist.is_initialized():
        yield
        return
    if _store is None:  # kept: the launcher's rendezvous can be used once
        _store = next(_c10d.rendezvous("env://"))
    store, rank, size = _store
    on_cuda = device.startswith(("auto", "cuda")) and torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
    own = _c10d.PrefixStore(f"imbtorch/{next(_groups)}", store)
    dist.init_process_group(backend, store=own, rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _noting_interrupts(processes: Processes) -> Iterator[None]:
    """Take a note of Ctrl-C, so that no process leaves in mid-step; a second one is heard."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # somebody else is in charge
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


def _parameters(estimator: Any) -> dict[str, str]:
    """Name the parameters as every process would."""
    return {
        name: describe(value) for name, value in estimator.get_params().items() if name not in _OWN
    }


def _sums(module: nn.Module) -> str:
    """Summarise the values of a module, so that equal modules can be told from others."""
    tensors = [t.detach() for t in itertools.chain(module.parameters(), module.buffers())]
    norms = [t.double().norm() if t.device.type != "mps" else t.float().norm() for t in tensors]
    return repr(torch.stack([n.cpu() for n in norms]).tolist()) if norms else ""
