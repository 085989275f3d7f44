"""Whether calls of a module's ``forward`` may be left out.

A training step without an autograd graph computes what ``forward`` computes, but does not call it.
So nothing else may depend on the call (a counter, a list that grows, a message), and the next call
must do the same again (no random numbers of Python or numpy, no clock). This is decided from the
code of the user's classes: it may use the module's own layers, functions of torch that become
layers of a chain, and simple Python. Whatever is not known to be harmless counts as harmful.
"""

from __future__ import annotations

import builtins
import dis
import math
from functools import lru_cache
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from imbtorch.training.single.chain import has_hooks
from imbtorch.training.single.recording import KNOWN_FUNCTIONS

__all__ = ["ImpureError", "pure_state"]

_PLAIN = (type(None), bool, int, float, str, torch.dtype, torch.device)
_INTERNAL = set(vars(nn.Module()))
# what a class of the user may define anew although torch's classes define it, too
_REDEFINED = {
    "forward", "__init__", "__repr__", "extra_repr", "reset_parameters", "train", "__constants__",
    "__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate_func__",
    "__annotations_cache__", "__static_attributes__", "__firstlineno__", "__parameters__",
    "__orig_bases__",
}  # fmt: skip
_USED_OF_MODULE = {"forward", "training", "children", "modules", "named_children"}
# Instructions of Python 3.10 to 3.14 that store nothing beyond the variables of their function. An
# instruction that is not here, such as one of a later Python, is taken for harmful.
_HARMLESS = {
    "CACHE", "CALL", "CALL_FUNCTION_EX", "CALL_INTRINSIC_1", "CALL_KW", "COMPARE_OP", "CONTAINS_OP",
    "CONVERT_VALUE", "COPY", "COPY_FREE_VARS", "DICT_MERGE", "DICT_UPDATE", "END_FOR",
    "EXTENDED_ARG", "FOR_ITER", "GEN_START", "GET_ITER", "GET_LEN", "IS_OP", "KW_NAMES",
    "LIST_APPEND", "LIST_EXTEND", "LIST_TO_TUPLE", "LOAD_ASSERTION_ERROR", "LOAD_ATTR",
    "LOAD_CLOSURE", "LOAD_COMMON_CONSTANT", "LOAD_CONST", "LOAD_DEREF", "LOAD_GLOBAL",
    "LOAD_METHOD", "LOAD_NAME", "LOAD_SMALL_INT", "LOAD_SUPER_ATTR", "MAKE_CELL", "MAKE_FUNCTION",
    "MAP_ADD", "NOP", "NOT_TAKEN", "POP_ITER", "PRECALL", "PUSH_NULL", "RAISE_VARARGS", "RERAISE",
    "RESUME", "RETURN_GENERATOR", "SET_ADD", "SET_FUNCTION_ATTRIBUTE", "SET_UPDATE", "STORE_DEREF",
    "SWAP", "TO_BOOL", "YIELD_VALUE",
}  # fmt: skip
_HARMLESS_FAMILIES = (
    "BINARY_", "BUILD_", "CALL_FUNCTION", "CALL_METHOD", "DELETE_FAST", "DUP_", "FORMAT_",
    "INPLACE_", "JUMP_", "LOAD_FAST", "POP_JUMP", "POP_TOP", "RETURN_", "ROT_", "STORE_FAST",
    "UNARY_", "UNPACK_",
)  # fmt: skip
_BUILTINS = {
    abs, all, any, bool, enumerate, float, int, isinstance, len, list, max, min, range, reversed,
    str, sum, super, tuple, zip,
}  # fmt: skip


class ImpureError(Exception):
    """Calls of ``forward`` may not be left out."""


def pure_state(module: nn.Module) -> tuple[Any, ...]:
    """Return what layers hold besides tensors, if calls of ``forward`` may be left out.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.

    Returns
    -------
    tuple
        Layers, their parameters and their attributes. A call of ``forward`` that changes it may
        not be left out.

    Raises
    ------
    ImpureError
        If a call may have an effect besides its result, or not the same result each time.
    """
    layers = list(module.modules())
    own = {type(layer): _own_classes(type(layer)) for layer in layers}
    code = _Code(layers, [cls for classes in own.values() for cls in classes])
    state: list[Any] = []
    for layer in layers:
        if "forward" in vars(layer) or has_hooks(layer):
            raise ImpureError
        tensors = [*layer._parameters.values(), *layer._buffers.values()]
        state.append((layer, layer.training, *map(id, tensors)))
        for name, value in vars(layer).items() if own[type(layer)] else ():
            if name not in _INTERNAL:
                state.append((name, code.described(value, may_change=True)))
    for cls in code.classes:
        for name in ("forward", "extra_repr", "__repr__"):  # text of a module calls the latter two
            if name in vars(cls):
                code.check(vars(cls)[name])
    code.check_rest()
    return tuple(state)


def _own_classes(cls: type) -> list[type]:
    """Return the classes of the user among the bases of a class.

    Raises
    ------
    ImpureError
        If a class is of another package of torch or of this one, or changes how a module is called
        or what Python's own operations do with it.
    """
    torchs = [base for base in cls.__mro__ if base.__module__.startswith("torch.nn.modules.")]
    own = [base for base in cls.__mro__ if base not in torchs and base is not object]
    known = {name for base in torchs for name in vars(base)} - _REDEFINED
    for base in own:
        special = {name for name in vars(base) if name.startswith("__")} - _REDEFINED
        foreign = base.__module__.split(".")[0] in ("torch", "imbtorch")
        if foreign or special or vars(base).keys() & known:
            raise ImpureError
    return own


class _Names(NamedTuple):
    """What a piece of code uses: chains of names that begin with a global one, and attributes."""

    chains: list[tuple[str, ...]]
    attributes: set[str]
    inner: list[CodeType]


@lru_cache(maxsize=256)
def _names_in(code: CodeType) -> _Names | None:
    """Return the names that code uses; None if it stores something beyond its own variables."""
    chains: list[tuple[str, ...]] = []
    attributes: set[str] = set()
    is_open = False
    for step in dis.get_instructions(code):
        name = step.opname
        if name not in _HARMLESS and not name.startswith(_HARMLESS_FAMILIES):
            return None
        is_outer = "DEREF" in name and step.argval in code.co_freevars
        if is_outer and not name.startswith("LOAD"):  # a variable of a function around it
            return None
        if is_outer or name in ("LOAD_GLOBAL", "LOAD_NAME"):
            chains.append((step.argval,))
            is_open = True
        elif name in ("LOAD_ATTR", "LOAD_METHOD") and is_open:
            chains[-1] += (step.argval,)
        elif name.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER")):
            attributes.add(step.argval)
        elif name not in ("PUSH_NULL", "EXTENDED_ARG"):
            is_open = False
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return _Names(chains, attributes, inner)


class _Code:
    """Code that ``forward`` reaches, looked through function by function.

    Parameters
    ----------
    layers : list of torch.nn.Module
        The module and all its layers.
    classes : list of type
        Classes of the user, whose methods and properties the code may name.
    """

    def __init__(self, layers: list[nn.Module], classes: list[type]) -> None:
        self.layers, self.classes = {id(layer) for layer in layers}, classes
        self.waiting: list[FunctionType] = []
        self.seen: set[int] = set()

    def check(self, function: Any) -> None:
        """Look a function through, now or later."""
        if not isinstance(function, FunctionType) or vars(function):  # it may collect what it sees
            raise ImpureError
        if id(function) not in self.seen:
            self.seen.add(id(function))
            self.waiting.append(function)

    def check_rest(self) -> None:
        """Look through the functions that wait, and those that they name.

        Raises
        ------
        ImpureError
            If one of them is not known to be harmless.
        """
        while self.waiting:
            function = self.waiting.pop()
            for default in (function.__defaults__, function.__kwdefaults__):
                self.described(default)
            cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
            known = {**vars(builtins), **function.__globals__}
            for name, cell in cells:
                known[name] = _contents(cell)
            self._check_code(function.__code__, known)

    def _check_code(self, code: CodeType, known: dict[str, Any]) -> None:
        names = _names_in(code)
        if names is None:
            raise ImpureError
        # a variable of the function around it is no name from outside
        for inner in names.inner:
            self._check_code(inner, {**known, **dict.fromkeys(code.co_cellvars)})
        for first, *rest in names.chains:
            if first not in known:
                raise ImpureError
            self._check_value(known[first], rest)
        for name in names.attributes:
            self._check_attribute(name)

    def _check_value(self, value: Any, names: list[str]) -> None:
        """Check a value from outside of the function, of which attributes may be used."""
        while isinstance(value, ModuleType):
            package = value.__name__.split(".")[0]
            if package not in ("torch", "math") or not names or not hasattr(value, names[0]):
                raise ImpureError
            value, names = getattr(value, names[0]), names[1:]
        self.described(value)
        for name in names:
            self._check_attribute(name)

    def _check_attribute(self, name: str) -> None:
        """Check what the name may stand for in a class of the user, or in torch's modules."""
        is_special = name.startswith("__")  # such as the global names of a function
        if is_special or (hasattr(nn.Module, name) and name not in _USED_OF_MODULE):
            raise ImpureError
        for cls in self.classes:
            value = vars(cls).get(name)
            if isinstance(value, property):
                self.check(value.fget)
            elif isinstance(value, staticmethod | classmethod):
                self.check(value.__func__)
            else:
                self.described(value)

    def described(self, value: Any, *, may_change: bool = False, depth: int = 0) -> Any:
        """Return a key of a value that has no effects, and does not change by itself.

        Parameters
        ----------
        value : object
            What code may use.
        may_change : bool, default=False
            Whether lists and dicts are allowed, because the caller will compare keys.
        depth : int, default=0
            How many lists and dicts are around the value.

        Raises
        ------
        ImpureError
            If the value may be anything else.
        """
        if type(value) in _PLAIN:
            return value
        kinds = (tuple, torch.Size, list, dict) if may_change else (tuple, torch.Size)
        if type(value) in kinds and depth < 9:
            parts = [p for pair in value.items() for p in pair] if type(value) is dict else value
            inner = [self.described(p, may_change=may_change, depth=depth + 1) for p in parts]
            return (type(value), *inner)
        if isinstance(value, FunctionType) and value not in KNOWN_FUNCTIONS:
            self.check(value)
        elif not self._is_harmless(value):
            raise ImpureError
        return id(value)

    def _is_harmless(self, value: Any) -> bool:
        if isinstance(value, type):
            is_layer = issubclass(value, nn.Module)
            is_known = value in self.classes or value.__module__.startswith("torch.nn.modules.")
            is_error = issubclass(value, Exception) and value.__module__ == "builtins"
            return value in _BUILTINS or value is Tensor or is_error or (is_layer and is_known)
        if isinstance(value, FunctionType | BuiltinFunctionType):
            is_math = getattr(value, "__module__", None) == math.__name__
            return is_math or value in KNOWN_FUNCTIONS or value in _BUILTINS
        return isinstance(value, nn.Module) and id(value) in self.layers


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        raise ImpureError from None
