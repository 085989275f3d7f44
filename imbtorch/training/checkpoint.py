"""Checkpoints: resume an interrupted training after an epoch, with results equal to the bit."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from imbtorch._common.seed import rng_states, set_rng_states
from imbtorch._common.versions import changed_versions, versions
from imbtorch._safe_file import read_file, write_file
from imbtorch.exceptions import FileFormatError
from imbtorch.training.state import pack, unpack

__all__ = ["Checkpoint", "describe"]

_NAME = "checkpoint.safetensors"
_FORMAT = 1
_KEYS = {
    "identity", "seeds", "epoch", "done", "module", "loss", "optimizer", "history", "monitors",
    "engine", "rng",
}  # fmt: skip


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
        ``repr`` of the value, without addresses in memory.
    """
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


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
        try:
            saved: dict[str, Any] = unpack(tensors)
        except ValueError as error:
            raise FileFormatError(f"{self.path} holds no valid training: {error}") from error
        if not isinstance(saved, dict) or set(saved) != _KEYS:
            raise FileFormatError(
                f"{self.path} holds no valid training: parts are missing or unknown."
            )
        changed = changed_versions(document.get("versions", {}))
        if changed:
            warnings.warn(
                f"This checkpoint was written with {', '.join(changed)}: the training continues, "
                "but its results may differ in the last digits.",
                UserWarning,
                stacklevel=2,
            )
        return saved

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
            told = "; ".join(
                f"{name} was {theirs.get(name)}, is {identity.get(name)}" for name in names
            )
            raise ValueError(
                f"The checkpoint in {self.path.parent} is of another training: {told}. Use the "
                "former values to continue it, or fit with resume=False to replace it by a new "
                "training."
            )
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
        net = run.net
        state = {
            "identity": self.identity,
            "seeds": self.seeds,
            "epoch": epoch,
            "done": run.done,
            "module": _tensors_of(net.module_),
            "loss": dict(net.criterion_.state_dict()),
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
            write_file(self.path, document, pack(state))
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
        """
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
        _copy_into(net.module_, saved["module"])
        net.criterion_.load_state_dict(saved["loss"])
        _load_optimizer(net.optimizer_, saved["optimizer"])
        net.history[:] = saved["history"]
        for monitor, state in zip(run.monitors, saved["monitors"], strict=True):
            monitor.restore(state, net)
        engine.restore(saved["engine"])
        run.resume(saved["epoch"], done=saved["done"])
        set_rng_states(saved["rng"], run.device)  # last, because the calls above may draw numbers
        self.saved = None
        return int(run.epochs) if run.done else int(saved["epoch"]) + 1


def _tensors_of(module: Any) -> dict[str, Tensor]:
    """Return all parameters and buffers, including those that ``state_dict`` leaves out."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@torch.no_grad()
def _copy_into(module: Any, values: dict[str, Tensor]) -> None:
    own = _tensors_of(module)
    if own.keys() != values.keys():
        raise ValueError(
            f"The checkpoint holds tensors {sorted(values)}, the module has {sorted(own)}."
        )
    for name, tensor in own.items():
        tensor.copy_(values[name])


def _load_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    """Load the state of an optimizer, with each tensor in the memory layout of its parameter."""
    groups = optimizer.param_groups
    optimizer.load_state_dict(state)
    for group, loaded in zip(groups, optimizer.param_groups, strict=True):
        group.update({**loaded, "lr": group["lr"]})  # the saved rate was changed by a schedule
    optimizer.param_groups = groups  # the same objects, because other objects refer to them
    for param, remembered in optimizer.state.items():
        for name, value in remembered.items():
            if isinstance(value, Tensor) and value.shape == param.shape:
                remembered[name] = torch.empty_like(param, dtype=value.dtype).copy_(value)
