"""What a module holds besides the tensors of its ``state_dict``.

These are buffers with ``persistent=False``, which become tensors of the file, and what
``get_extra_state`` returns, which is encoded as values of parameters are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from imbtorch._publish.model_file.values import Reader, Writer
from imbtorch.exceptions import FileFormatError
from imbtorch.modules._state import extra_state, other_buffers, put_buffers, unset_buffers

__all__ = ["Outside", "encoded_extra", "fill", "outside_buffers", "outside_of"]

Document = dict[str, Any]
_HOME = "_home"  # an empty buffer of each loss, which only knows the device


def outside_buffers(module: nn.Module, state: Document) -> dict[str, Tensor | None]:
    """Return the buffers of a module that are not in its state.

    Parameters
    ----------
    module : torch.nn.Module
        A module or a loss.
    state : dict
        What its ``state_dict`` returns, or the part of it that a file holds.

    Returns
    -------
    dict of str to Tensor or None
        Buffers by name; None for one without a value.
    """
    return {
        name: buffer
        for name, buffer in other_buffers(module).items()
        if name not in state and name.rpartition(".")[2] != _HOME
    }


def encoded_extra(part: str, module: nn.Module, writer: Writer) -> Document:
    """Encode what ``get_extra_state`` of each part of a module returns.

    Parameters
    ----------
    part : {"module", "loss"}
        Which module of the net it is.
    module : torch.nn.Module
        The module.
    writer : Writer
        Writer that collects the tensors.

    Returns
    -------
    dict
        Encoded values by name, such as ``"module.0._extra_state"``.

    Raises
    ------
    ValueError
        If a value cannot be written, or the class has no ``set_extra_state``.
    """
    encoded = {}
    for name, (owner, value) in extra_state(module).items():
        where = f"{part}_.{name}"
        advice = (
            f"It is part of what {type(owner).__name__}.get_extra_state() returns, which may hold "
            "numbers, text, None, dense tensors, arrays of numbers, and lists, tuples and dicts "
            "of these. Change it; or use pickle."
        )
        try:
            encoded[f"{part}.{name}"] = writer.encode(value, where, advice)
            writer.try_out(encoded[f"{part}.{name}"])
        except (FileFormatError, RecursionError) as error:
            raise ValueError(f"{where} cannot be written to a file: {error} {advice}") from error
    return encoded


@dataclass(frozen=True)
class Outside:
    """What a file holds for one module besides the tensors of its ``state_dict``.

    Attributes
    ----------
    buffers : dict of str to Tensor or None, or None
        Other buffers by name. None if the file lists no buffers, as those of earlier versions.
    extra : dict
        Extra state by the names of ``state_dict``.
    """

    buffers: dict[str, Tensor | None] | None
    extra: Document


def outside_of(net: Document, part: str, state: dict[str, Tensor], reader: Reader) -> Outside:
    """Take from the tensors of a module those that are no part of its ``state_dict``.

    Parameters
    ----------
    net : dict
        Description of the net in the file.
    part : {"module", "loss"}
        Which module of the net it is.
    state : dict of str to Tensor
        Tensors of the module in the file. The other buffers are removed from it.
    reader : Reader
        Reader of the encoded values.

    Returns
    -------
    Outside
        The other buffers and the extra state.

    Raises
    ------
    FileFormatError
        If the lists in the description are not valid.
    """
    held = None if "buffers" not in net else _named(net["buffers"], part)
    if held is not None and not all(type(is_set) is bool for is_set in held.values()):
        raise FileFormatError("the list of buffers is not valid.")
    if held is not None and not {name for name in held if held[name]} <= state.keys():
        raise FileFormatError("the list of buffers names tensors that are not in the file.")
    buffers = None if held is None else {n: state.pop(n) if held[n] else None for n in held}
    extra = {name: reader.decode(v) for name, v in _named(net.get("extra_state", {}), part).items()}
    if extra.keys() & (state.keys() | (buffers or {}).keys()):
        raise FileFormatError("a name stands for a tensor and for an extra state.")
    return Outside(buffers, extra)


def _named(described: Document, part: str) -> Document:
    """Return the entries of a part, without its name."""
    if not all(name.startswith(("module.", "loss.")) for name in described):
        raise FileFormatError("the document names a part of the net that does not exist.")
    start = f"{part}."
    return {k.removeprefix(start): v for k, v in described.items() if k.startswith(start)}


def fill(
    module: nn.Module, state: dict[str, Tensor], outside: Outside, *, assign: bool = False
) -> list[str]:
    """Load into a module all that a file holds for it.

    Parameters
    ----------
    module : torch.nn.Module
        Module that was built anew.
    state : dict of str to Tensor
        Tensors of its ``state_dict``; their dtypes have been compared.
    outside : Outside
        What the file holds besides.
    assign : bool, default=False
        Whether the tensors become those of the module; else they are copied into them.

    Returns
    -------
    list of str
        Names of buffers that the file lacks, because an earlier version wrote it.

    Raises
    ------
    ValueError
        If names, shapes or dtypes do not fit the module. Shapes of buffers outside of the
        ``state_dict`` may differ, because they may be caches.
    Exception
        Whatever ``set_extra_state`` of the user's class raises.
    """
    # torch would not load a buffer that has no value before the first batch
    put_buffers(module, {n: state[n] for n in unset_buffers(module) if n in state})
    own = outside_buffers(module, state)
    if outside.buffers is not None:
        if own.keys() != outside.buffers.keys():
            raise ValueError(
                f"its buffers with persistent=False are {sorted(own)}, in the file "
                f"{sorted(outside.buffers)}"
            )
        for name, value in outside.buffers.items():
            here = own[name]
            if value is not None and here is not None and value.dtype != here.dtype:
                raise ValueError(f"{name} is {here.dtype}, in the file {value.dtype}")
        put_buffers(module, outside.buffers)
    module.load_state_dict({**state, **outside.extra}, strict=True, assign=assign)
    return sorted(own) if outside.buffers is None else []
