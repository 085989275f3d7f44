"""Values as Python code, with what the code imports and what its reader must supply."""

from __future__ import annotations

import inspect
import keyword
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imbtorch._common.sklearn_private import is_known_by_its_parameters

__all__ = ["Writer", "Written", "call", "comments"]

_LONGEST = 100  # numbers of an array; a longer one is no code that a person reads
# kinds of parameters whose arguments have no name of their own
_NO_NAME = tuple(
    getattr(inspect.Parameter, kind)
    for kind in ("POSITIONAL_ONLY", "VAR_POSITIONAL", "VAR_KEYWORD")
)


class _NoCodeError(Exception):
    """A value cannot be written."""


@dataclass(frozen=True)
class Written:
    """An object as Python code.

    Parameters
    ----------
    text : str
        An expression.
    imports : list of str
        The import statements that it needs.
    supplied : dict of str to str
        What each name stands for that the reader of the code must define.
    """

    text: str
    imports: list[str] = field(default_factory=list)
    supplied: Mapping[str, str] = field(default_factory=dict)


class Writer:
    """Write values as Python code, and collect what this code needs.

    Parameters
    ----------
    reserved : iterable of str
        Names that the program uses for something else.

    Attributes
    ----------
    imports : dict of str to str
        Module of each name that is imported; of a whole module the empty string.
    supplied : dict of str to str
        What each name stands for that the code uses, and that its reader must define.

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.compare._written import Writer
    >>> writer = Writer()
    >>> writer.of({np.int64(1): np.float64(0.5)}, "class_weight")
    '{1: 0.5}'
    >>> writer.of(lambda scores: scores, "scoring"), writer.supplied
    ('scoring', {'scoring': 'the function <lambda>'})
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self.imports: dict[str, str] = {}
        self.supplied: dict[str, str] = {}
        self._reserved = set(reserved)
        self._known: dict[int, tuple[str, Any]] = {}  # with the object, so that the id is its own

    def of(self, value: Any, name: str) -> str:
        """Return an expression; of what has none the name, which the reader must define.

        Parameters
        ----------
        value : object
            Value to write.
        name : str
            Name of the argument that it is.
        """
        known = self._known.get(id(value))
        if known is not None:
            return known[0]
        before = dict(self.imports), dict(self.supplied)
        try:
            return self._written(value, name)
        except _NoCodeError:
            self.imports, self.supplied = before
            return self._asked_for(value, name)

    def import_lines(self) -> list[str]:
        """Return the import statements, whole modules first."""
        whole = sorted(name for name, module in self.imports.items() if not module)
        parts: dict[str, list[str]] = {}
        for name, module in self.imports.items():
            if module:
                parts.setdefault(module, []).append(name)
        lines = [f"from {module} import {', '.join(sorted(parts[module]))}" for module in parts]
        return [*(f"import {name}" for name in whole), *sorted(lines)]

    def use(self, module: str, name: str = "") -> str:
        """Return how the code calls what it imports: a module, or a name of it."""
        if not name:
            self.imports[module] = ""
            return module
        if name in self._reserved or self.imports.get(name, module) != module:
            self.imports[module] = ""
            return f"{module}.{name}"
        self.imports[name] = module
        return name

    def _asked_for(self, value: Any, name: str) -> str:
        # a class or a function keeps its name, which the reader's program may have, too
        own = getattr(value, "__name__", "")
        base = own if own.isidentifier() else re.sub(r"\W", "_", name).lstrip("_0123456789")
        base = base or "given"
        free, number = base, 1
        while self._is_taken(free):
            number += 1
            free = f"{base}_{number}"
        self._known[id(value)] = free, value
        self.supplied[free] = _description(value)
        return free

    def _is_taken(self, name: str) -> bool:
        return (
            name in self._reserved
            or name in self.imports
            or name in self.supplied
            or keyword.iskeyword(name)
        )

    def _written(self, value: Any, name: str) -> str:
        if isinstance(value, np.generic):
            return self._plain(value.item())
        if type(value) is np.ndarray:
            return self._array(value)
        if type(value) in (list, tuple, set, frozenset, dict):
            return self._collection(value, name)
        if callable(value) and hasattr(value, "__qualname__"):  # a class or a function
            return self._imported(value)
        if hasattr(value, "get_params") or _is_splitter(value):
            return self._constructed(value)
        return self._plain(value)

    def _plain(self, value: Any) -> str:
        if value is None or value is ... or type(value) in (bool, int, str, bytes, complex, range):
            return repr(value)
        if type(value) is float:
            return repr(value) if np.isfinite(value) else f"float({str(value)!r})"
        raise _NoCodeError

    def _array(self, value: Any) -> str:
        if value.dtype.kind not in "biufU" or value.size > _LONGEST or 0 in value.shape:
            raise _NoCodeError
        array = self.use("numpy")
        items = self._collection(value.tolist() if value.ndim else [value.item()], "")
        shaped = "" if value.ndim else ".reshape(())"
        kind = "" if value.dtype.kind == "U" else f", dtype={value.dtype.name!r}"
        return f"{array}.array({items}{kind}){shaped}"

    def _collection(self, value: Any, name: str) -> str:
        if type(value) is dict:
            pairs = (f"{self.of(k, name)}: {self.of(v, name)}" for k, v in value.items())
            return f"{{{', '.join(pairs)}}}"
        if type(value) is tuple and value and isinstance(value[0], str):
            name = value[0]  # of a step of a pipeline
        items = [self.of(one, name) for one in value]
        if type(value) is list:
            return f"[{', '.join(items)}]"
        if type(value) is tuple:
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        inside = f"{{{', '.join(sorted(items))}}}" if items else "set()"
        return inside if type(value) is set else f"frozenset({inside if items else ''})"

    def _imported(self, value: Any) -> str:
        module, name = _place(value)
        if module == "builtins":
            return name
        return self.use(module, name)

    def _constructed(self, value: Any) -> str:
        if not is_known_by_its_parameters(value):
            raise _NoCodeError
        given = _arguments(value)
        kind = self._imported(type(value))
        return call(kind, {key: self.of(one, key) for key, one in given.items()})


def call(name: str, arguments: Mapping[str, str], first: str = "") -> str:
    """Write the call of a function, whose arguments are Python code.

    Examples
    --------
    >>> from imbtorch.compare._written import call
    >>> call("read_table", {"sep": repr(";")}, "'data.csv', 'y'")
    "read_table('data.csv', 'y', sep=';')"
    """
    given = [first] if first else []
    return f"{name}({', '.join([*given, *(f'{k}={v}' for k, v in arguments.items())])})"


def comments(supplied: Mapping[str, str]) -> list[str]:
    r"""Return comments that say what the reader of the code must define.

    Parameters
    ----------
    supplied : mapping of str to str
        What each name stands for.

    Examples
    --------
    >>> from imbtorch.compare._written import comments
    >>> print("\n".join(comments({"module": "the module MyNet"})))
    # Define these names before you run the code; it cannot write what they stand for:
    #   module: the module MyNet
    """
    if not supplied:
        return []
    title = "# Define these names before you run the code; it cannot write what they stand for:"
    return [title, *(f"#   {name}: {' '.join(text.split())}" for name, text in supplied.items())]


def _place(value: Any) -> tuple[str, str]:
    """Return from where a class or function can be imported, by public names if it has them."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", "")
    if not module or module == "__main__" or name != getattr(value, "__qualname__", None):
        raise _NoCodeError
    parts = module.split(".")
    places = [".".join(parts[: n + 1]) for n in range(len(parts))]
    public = [place for place in places if "._" not in place and not place.startswith("_")]
    for place in [*public, module]:
        if getattr(sys.modules.get(place), name, None) is value:
            return place, name
    raise _NoCodeError


def _is_splitter(value: Any) -> bool:
    """Return whether this is a splitter of scikit-learn, whose attributes are its parameters."""
    is_sklearn = type(value).__module__.startswith("sklearn.model_selection.")
    return is_sklearn and hasattr(value, "get_n_splits")


def _arguments(value: Any) -> dict[str, Any]:
    """Return the arguments of a constructor that are not its defaults.

    Raises
    ------
    _NoCodeError
        If the arguments cannot be known.
    """
    parameters = inspect.signature(type(value)).parameters
    if any(p.kind in _NO_NAME for p in parameters.values()):
        raise _NoCodeError
    has_params = hasattr(value, "get_params")
    given = value.get_params(deep=False) if has_params else vars(value)
    if parameters.keys() - given.keys() or (has_params and given.keys() - parameters.keys()):
        raise _NoCodeError
    return {
        name: given[name]
        for name, parameter in parameters.items()
        if not _is_default(given[name], parameter.default)
    }


def _is_default(value: Any, default: Any) -> bool:
    if value is default:
        return True
    plain = (bool, int, float, str, tuple)
    return (
        type(value) is type(default) and isinstance(value, plain) and repr(value) == repr(default)
    )


def _description(value: Any) -> str:
    """Say what an object is, in a few words."""
    if isinstance(value, type):
        return f"the class {value.__module__}.{value.__qualname__}"
    if inspect.isroutine(value):
        return f"the function {getattr(value, '__name__', type(value).__name__)}"
    kind = type(value)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    shape = getattr(value, "shape", None)
    return f"an object of type {name}{f', of shape {tuple(shape)}' if shape is not None else ''}"
