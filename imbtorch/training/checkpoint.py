"""Checkpoints: resume an interrupted training after an epoch, with results equal to the bit."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from imbtorch._common.log import logger
from imbtorch._common.seed import rng_states, set_rng_states
from imbtorch._common.versions import changed_versions, versions
from imbtorch._safe_file import printable, read_file, write_file
from imbtorch.exceptions import FileFormatError
from imbtorch.training.module_state import load_loss, load_module, loss_state, module_state
from imbtorch.training.packing import MAX_RECORDS, pack, unpack
from imbtorch.training.state import (
    are_texts,
    check_fits,
    check_history,
    check_module,
    check_monitor,
    checked_optimizer,
)

__all__ = ["Checkpoint", "describe"]

_NAME = "checkpoint.safetensors"
_FORMAT = 1
_KEYS = {
    "identity", "seeds", "epoch", "done", "module", "loss", "optimizer", "history", "monitors",
    "engine", "rng",
}  # fmt: skip


_SHOWN = 200  # characters of the repr in a description
_LIBRARIES = {  # their classes are described by name
    "builtins", "imblearn", "imbtorch", "numpy", "scipy", "sklearn", "skorch", "torch",
}  # fmt: skip
_FIXED = {"decay"}  # settings among the state of an average


class _Engine(Protocol):
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


def describe(value: Any) -> str:
    """Describe a parameter by a text that is the same for equal values in every process.

    Parameters
    ----------
    value : object
        Value of the parameter.

    Returns
    -------
    str
        The beginning of its ``repr``, without addresses in memory, and, unless that says
        everything, a digest: of all numbers of arrays and tensors, of the code of functions and
        of the attributes of objects.

    Examples
    --------
    >>> describe((0.9, 0.999))
    '(0.9, 0.999)'
    >>> import numpy as np
    >>> rates = np.zeros(2000)
    >>> before = describe(rates)
    >>> rates[1000] = 1
    >>> describe(rates) == before
    False
    """
    shown = _without_addresses(repr(value))
    if len(shown) <= _SHOWN and _is_plain(value):
        return shown
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(len(part).to_bytes(8, "little") + part)
    return f"{shown[:_SHOWN]} (digest {digest.hexdigest()[:16]})"


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _is_plain(value: Any) -> bool:
    """Return whether ``repr`` says everything about a value."""
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _parts(value: Any, around: tuple[int, ...] = ()) -> Iterator[bytes]:
    """Yield the bytes that tell a value from others; ``around`` are the values that hold it."""
    cls = type(value)
    yield cls.__qualname__.encode()  # a script and a module that imports it give different modules
    if id(value) in around:  # a circle of references
        yield str(around.index(id(value))).encode()
        return
    around = (*around, id(value))
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield repr(value).encode(errors="surrogatepass")
    elif isinstance(value, np.ndarray | np.generic | Tensor):
        yield from _numbers(value, around)
    elif isinstance(value, set | frozenset):
        yield from sorted(b"".join(_parts(item, around)) for item in value)
    else:
        for part in _pieces(value):
            yield from _parts(part, around)


def _numbers(value: Any, around: tuple[int, ...]) -> Iterator[bytes]:
    yield f"{value.dtype} {tuple(value.shape)}".encode()
    if isinstance(value, Tensor):
        dense = value.detach() if value.layout == torch.strided else value.detach().to_dense()
        flat = dense.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        yield flat.view(torch.uint8).numpy().tobytes()
    elif value.dtype.kind == "O":
        yield from _parts(value.tolist(), around)
    else:
        yield np.ascontiguousarray(value).tobytes()


def _pieces(value: Any) -> Iterable[Any]:
    """Return what a value consists of."""
    if isinstance(value, dict):
        return [piece for item in value.items() for piece in item]
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, types.CodeType):
        return value.co_code, value.co_consts, value.co_names, value.co_varnames
    if isinstance(value, types.FunctionType | type):
        return _pieces_of_code(value)
    if isinstance(value, types.MethodType):
        return value.__func__, value.__self__
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if hasattr(value, "to_numpy"):  # a table or a column of pandas or polars
        return value.to_numpy(), *(np.array(getattr(value, k, ())) for k in ("index", "columns"))
    if callable(getattr(value, "get_params", None)):
        return type(value), value.get_params(deep=False)
    if hasattr(value, "__dict__"):
        return type(value), {k: v for k, v in vars(value).items() if not k.endswith("_")}
    return (_without_addresses(repr(value)),)


def _pieces_of_code(value: Any) -> Iterable[Any]:
    """Return name and code of a function or a class; of those of libraries only the name."""
    # libraries wrap methods of the user's, some of them, as torch.optim, when they are first used
    while hasattr(value, "__wrapped__") and _of_library(value.__globals__["__name__"]):
        value = value.__wrapped__
    name = value.__qualname__
    if _of_library(value.__module__):
        return (name,)
    if isinstance(value, types.FunctionType):
        cells = [_content(cell) for cell in value.__closure__ or ()]
        return name, value.__code__, value.__defaults__, value.__kwdefaults__, cells
    members = {k: getattr(v, "__func__", v) for k, v in vars(value).items()}
    routines = {k: v for k, v in members.items() if isinstance(v, types.FunctionType)}
    return name, value.__bases__, routines


def _of_library(module: Any) -> bool:
    return str(module).split(".")[0] in _LIBRARIES


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return None


class Checkpoint:
    """The checkpoint file of one training.

    Parameters
    ----------
    folder : str or path
        Folder of the file; it is created if it does not exist.
    interval : int
        Number of epochs between two writes; the end of the training is always written.
    resume : bool
        Whether to continue the training in the file. Without a file a new training begins.
    """

    def __init__(self, folder: str | os.PathLike[str], interval: int, *, resume: bool) -> None:
        self.path, self.interval = Path(folder) / _NAME, interval
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.saved: dict[str, Any] | None = None
        if resume and self.path.exists():
            self.saved = self._read()

    def _read(self) -> dict[str, Any]:
        with read_file(self.path) as file:
            document = file.document
            if document.get("kind") != "checkpoint" or document.get("checkpoint_format") != _FORMAT:
                raise FileFormatError(
                    f"{self.path} is not a checkpoint of format {_FORMAT}; its document is "
                    f"{document!r:.200}."
                )
            tensors = file.tensors(finite=False)
        with self._refusing():
            saved: dict[str, Any] = unpack(tensors)
            if not isinstance(saved, dict) or set(saved) != _KEYS:
                raise ValueError("parts are missing or unknown.")
            if not are_texts(saved["identity"]) or not are_texts(document.get("versions")):
                raise ValueError("identity and versions must be dicts of text.")
        made_with = {printable(k, 40): printable(v, 40) for k, v in document["versions"].items()}
        changed = changed_versions(made_with)
        if changed:
            warnings.warn(
                f"This checkpoint was written with {', '.join(changed)}: the training continues, "
                "but its results may differ in the last digits.",
                UserWarning,
                stacklevel=2,
            )
        return saved

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Convert any error about the content of the file to :class:`FileFormatError`."""
        try:
            yield
        except FileFormatError:
            raise
        except Exception as error:
            what = f"{self.path} holds no valid training: {printable(error, 500)}"
            raise FileFormatError(what) from error

    def begin(self, identity: Mapping[str, str], seeds: list[int]) -> list[int]:
        """Check that the saved training, if there is one, has the same parameters and data.

        Parameters
        ----------
        identity : mapping of str to str
            Descriptions of the parameters and the data of this training.
        seeds : list of int
            Seeds of its random numbers.

        Returns
        -------
        list of int
            Seeds to train with: the saved ones if a training is continued, else ``seeds``.

        Raises
        ------
        ValueError
            If the saved training has other parameters or data.
        """
        self.identity = dict(identity)
        if self.saved is None:
            self.seeds = seeds
            return seeds
        theirs = self.saved["identity"]
        names = [name for name in {**theirs, **identity} if theirs.get(name) != identity.get(name)]
        if names:
            differences = "; ".join(
                f"{printable(name)} was {printable(theirs.get(name), 300)}, is {identity.get(name)}"
                for name in names
            )
            raise ValueError(
                f"The checkpoint in {self.path.parent} is of another training: {differences}. "
                "Use the former values to continue it, or fit with resume=False to replace it by "
                "a new training."
            )
        with self._refusing():
            check_fits(self.saved["seeds"], seeds, "seeds")
            if max(self.saved["seeds"]) >= 2**31:
                raise ValueError("seeds are out of range.")
        self.seeds = list(self.saved["seeds"])
        return self.seeds

    def write(self, run: Any, engine: _Engine, epoch: int) -> None:
        """Write the state of the training after an epoch, if the interval or the end is reached.

        If the file cannot be written, a warning says so, the training continues and the former
        file stays. If several processes train one net, only the first one writes.
        """
        if run.processes.rank > 0:
            return
        if (epoch + 1) % self.interval and not run.done and epoch + 1 < run.epochs:
            return
        if not run.guard.weights_are_finite:  # a resumed training diverges again, and says so
            return
        net, loss = run.net, run.net.criterion_
        state = {
            "identity": self.identity,
            "seeds": self.seeds,
            "epoch": epoch,
            "done": run.done,
            "module": module_state(net.module_),
            "loss": loss_state(loss),
            "optimizer": net.optimizer_.state_dict(),
            "history": list(net.history),
            "monitors": [monitor.state() for monitor in run.monitors],
            "engine": engine.state(),
            "rng": rng_states(run.device),
        }
        document = {
            "kind": "checkpoint", "checkpoint_format": _FORMAT, "versions": versions()
        }  # fmt: skip
        try:
            if len(net.history) > MAX_RECORDS:
                raise OSError(f"a checkpoint holds at most {MAX_RECORDS} epochs")
            write_file(self.path, document, pack(state))
            logger.debug("Checkpoint written after epoch %d: %s", epoch + 1, self.path)
        except OSError as error:
            warnings.warn(
                f"No checkpoint was written after epoch {epoch + 1} ({error}). The training "
                "continues; the checkpoint written before is still there.",
                UserWarning,
                stacklevel=2,
            )

    def restore(self, run: Any, engine: _Engine) -> int:
        """Restore the saved state into a training that is about to start.

        Returns
        -------
        int
            Number of the next epoch, from 0.

        Raises
        ------
        FileFormatError
            If the saved state does not fit the training.
        ValueError
            If checkpoints cannot hold the extra state of the module or the loss.
        """
        # errors that a later write would raise, now rather than after an epoch
        module_state(run.net.module_), loss_state(run.net.criterion_)
        if self.saved is None:
            self.path.unlink(missing_ok=True)  # else a later resume might continue the old training
            return 0
        saved, net = self.saved, run.net
        if net.callbacks_:
            warnings.warn(
                "Callbacks of skorch start again from zero when a training is resumed: those that "
                "count epochs, such as LRScheduler or EarlyStopping, do not continue exactly.",
                UserWarning,
                stacklevel=2,
            )
        with self._refusing():
            _check(saved, run, engine)
            load_module(net.module_, saved["module"])
            load_loss(net, saved["loss"], saved["epoch"] + 1)
            _load_optimizer(net, saved["optimizer"])
            net.history[:] = saved["history"]
            for monitor, state in zip(run.monitors, saved["monitors"], strict=True):
                monitor.restore(state, net)
            engine.restore(saved["engine"])
            run.resume(saved["epoch"], done=saved["done"])
            set_rng_states(saved["rng"], run.device)  # last: the calls above may draw numbers
        self.saved = None
        logger.info("Training goes on after epoch %d: %s", len(net.history), self.path)
        return int(run.epochs) if run.done else int(saved["epoch"]) + 1


def _check(saved: dict[str, Any], run: Any, engine: _Engine) -> None:
    """Raise ValueError if a part of a saved training does not fit the training that goes on."""
    epoch, net = saved["epoch"], run.net
    check_fits({"epoch": epoch, "done": saved["done"]}, {"epoch": 0, "done": True}, "training")
    if epoch >= run.epochs:
        raise ValueError(f"it has {epoch + 1} epochs, this training has only {run.epochs}.")
    check_module(saved["module"], module_state(net.module_), net.module_, "module")
    variances = [v for name, v in saved["module"].items() if name.endswith("running_var")]
    if any((value < 0).any() for value in variances):
        raise ValueError("a variance of the module is negative.")
    check_history(saved["history"], epoch)
    _check_generators(saved["rng"], rng_states(run.device))
    monitors = saved["monitors"]
    if not isinstance(monitors, list) or len(monitors) != len(run.monitors):
        raise ValueError("the monitors of the training are others.")
    for monitor, state in zip(run.monitors, monitors, strict=True):
        check_monitor(monitor, state, epoch, net)
    own = engine.state()
    check_fits(saved["engine"], own, "engine")
    if not 1 <= saved["engine"].get("n_parts", 1) <= net.batch_size:
        raise ValueError("the number of parts of a batch is out of range.")
    average = own.get("average") or {}
    if any(saved["engine"]["average"].get(name) != average[name] for name in _FIXED & set(average)):
        raise ValueError("the average of the weights has other settings.")


def _check_generators(saved: Any, own: list[Tensor]) -> None:
    """Raise ValueError if the file holds no states of generators.

    The training may go on on another kind of device. The generator of the CPU, which comes first,
    exists on every machine; that of an accelerator counts only where both have one.
    """
    if not isinstance(saved, list) or not saved:
        raise ValueError("the states of the generators are missing.")
    known = min(len(saved), len(own))
    check_fits(saved[:known], own[:known], "generators")


def _load_optimizer(net: Any, state: Any) -> None:
    """Load the state of an optimizer, with each tensor in the memory layout of its parameter."""
    optimizer = net.optimizer_
    groups = optimizer.param_groups
    optimizer.load_state_dict(checked_optimizer(optimizer, state, fixed=not net.callbacks_))
    for group, loaded in zip(groups, optimizer.param_groups, strict=True):
        group.update({**loaded, "lr": group["lr"]})  # the saved rate was changed by a schedule
    optimizer.param_groups = groups  # the same objects, because other objects refer to them
    for param, remembered in optimizer.state.items():
        for name, value in remembered.items():
            if isinstance(value, Tensor) and value.shape == param.shape:
                remembered[name] = torch.empty_like(param, dtype=value.dtype).copy_(value)
