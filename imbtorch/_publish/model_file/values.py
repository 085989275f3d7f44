"""Convert values of parameters and attributes to JSON, and back.

Values that JSON supports are stored directly. Every other value becomes an object with one key,
which begins with ``$``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imbtorch._publish.model_file.known_classes import build, classes_of, key_of, params_of
from imbtorch._safe_file import NAMES
from imbtorch.exceptions import FileFormatError

__all__ = ["ALLOWANCE", "MAX_MEMBERS", "Budget", "Reader", "Writer", "bytes_of_records", "refusal"]

_TENSOR_KINDS = "biuf"  # kinds of numpy dtypes that are written as tensors
_SCALARS: dict[str, type[np.generic]] = {
    kind.__name__.rstrip("_"): kind
    for kind in (
        np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
        np.float16, np.float32, np.float64,
    )
}  # fmt: skip
_KEYS = (str, bool, int, float, np.generic)  # whose hashes cannot all be made equal
MAX_MEMBERS = 500  # members of an ensemble, each of which takes milliseconds to build
ALLOWANCE = 48 * 2**20  # bytes that the content may take, besides three times the tensors
_OBJECT = 16 * 2**10  # bytes that an object takes, such as a loss
_MAX_TEXT = 2**24  # most bytes of an array of strings; each takes as much as the longest one


def refusal(where: str, value: Any, advice: str) -> ValueError:
    """Return the error for a value that cannot be written, with advice on what to do."""
    shown = repr(value)
    shown = shown if len(shown) <= 100 else f"{shown[:97]}..."
    return ValueError(f"{where}={shown} cannot be written to a file. {advice}")


class Writer:
    """Encoder of values, which collects the tensors among them.

    Attributes
    ----------
    tensors : dict of str to Tensor
        Tensors that the encoded values refer to by name.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._trial = Budget(0)
        self._trial.left //= 8  # the rest is for the history and the parameters

    def encode(self, value: Any, where: str, advice: str) -> Any:
        """Encode a value.

        Parameters
        ----------
        value : object
            Value to encode.
        where : str
            Name of the value, for messages.
        advice : str
            Advice for the message if the value cannot be written.

        Raises
        ------
        ValueError
            If the value cannot be written.
        """
        if value is None or isinstance(value, bool | int | float | str | np.generic):
            return _scalar(value, where, advice)
        if type(value) is list:
            return [self.encode(item, where, advice) for item in value]
        if type(value) is tuple:
            return {"$tuple": [self.encode(item, where, advice) for item in value]}
        if isinstance(value, dict):
            if any(type(key) is int and abs(key) >= 2**64 for key in value):
                raise refusal(where, value, "Use keys of dicts that fit into 64 bits.")
            return self._dict(value, where, advice)
        if isinstance(value, np.ndarray):
            return self._array(value, where, advice)
        if isinstance(value, Tensor) and value.layout == torch.strided and value.dtype in NAMES:
            return {"$tensor": self._keep(value.detach())}
        if isinstance(value, torch.device):
            return {"$device": str(value)}
        if isinstance(value, np.random.RandomState):
            _, keys, position, has_gauss, gauss = value.get_state(legacy=True)
            kept = self._keep(torch.from_numpy(np.array(keys)))
            return {"$random_state": [kept, int(position), int(has_gauss), float(gauss)]}
        return self._object(value, where, advice)

    def try_out(self, encoded: Any) -> None:
        """Decode a value, to learn whether a reader will accept it.

        Raises
        ------
        FileFormatError
            If it will not, or if all values that were tried out would take too much memory.
        """
        Reader(dict(self.tensors), self._trial).decode(encoded)

    def _keep(self, tensor: Tensor) -> str:
        name = f"value.{len(self.tensors)}"
        self.tensors[name] = tensor
        return name

    def _dict(self, value: dict[Any, Any], where: str, advice: str) -> Any:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.encode(item, f"{where}.{key}", advice) for key, item in value.items()}
        return {"$dict": [self.encode(list(pair), where, advice) for pair in value.items()]}

    def _array(self, value: NDArray[Any], where: str, advice: str) -> Any:
        if value.dtype.kind in _TENSOR_KINDS:
            native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
            try:
                return {"$array": self._keep(torch.from_numpy(native))}
            except TypeError as error:  # float128
                raise refusal(where, value, advice) from error
        wide = value.dtype.kind == "U" and value.nbytes > _MAX_TEXT
        if value.dtype.kind not in "UO" or wide:
            raise refusal(where, value, advice)
        items = [_scalar(item, where, advice) for item in value.ravel().tolist()]
        kind = "object" if value.dtype.kind == "O" else value.dtype.itemsize // 4
        return {"$texts": [kind, list(value.shape), items]}

    def _object(self, value: Any, where: str, advice: str) -> Any:
        key = key_of(value if isinstance(value, type) else type(value))
        if key is None:
            raise refusal(where, value, advice)
        if isinstance(value, type):
            return {"$class": list(key)}
        params = params_of(key[0], value)
        encoded = {
            name: self.encode(item, f"{where}__{name}", advice) for name, item in params.items()
        }
        return {"$object": [*key, encoded]}


def _scalar(value: Any, where: str, advice: str) -> Any:
    if isinstance(value, np.generic) and value.dtype.name in _SCALARS:
        return {"$scalar": [value.dtype.name, _scalar(value.item(), where, advice)]}
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, int) and abs(value) < 10**1000:
        return int(value)
    raise refusal(where, value, advice)


class Budget:
    """The memory that the content of a file may take in Python, for all of its parts together.

    Parameters
    ----------
    n_bytes : int
        Number of bytes of the tensors in the file.
    """

    def __init__(self, n_bytes: int) -> None:
        self.left = ALLOWANCE + 3 * n_bytes

    def spend(self, n_bytes: int) -> None:
        """Count memory that is about to be taken; raise FileFormatError if it is too much."""
        self.left -= n_bytes
        if self.left < 0:
            raise FileFormatError("the content would take much more memory than the file has bytes")


def bytes_of_records(n_records: int, n_columns: int) -> int:
    """Return the memory that the records of a history take, as dicts of numbers."""
    return n_records * (150 + 60 * n_columns)


class Reader:
    """Decoder of values that :class:`Writer` has encoded; it rejects all other values.

    Parameters
    ----------
    tensors : dict of str to Tensor
        All tensors of the file. Decoding a value removes the tensors that it uses.
    budget : Budget
        Memory that the decoded values may take.
    """

    def __init__(self, tensors: dict[str, Tensor], budget: Budget) -> None:
        self.tensors, self.budget = tensors, budget

    def take(self, name: Any) -> Tensor:
        """Remove and return the tensor of this name, which may be used only once."""
        if not isinstance(name, str) or name not in self.tensors:
            raise FileFormatError("a tensor is missing, or used twice.")
        return self.tensors.pop(name)

    def decode(self, value: Any, kinds: tuple[str, ...] = ()) -> Any:
        """Decode a value.

        Parameters
        ----------
        value : object
            Parsed JSON.
        kinds : tuple of str, default=()
            Kinds of objects that are allowed here.

        Raises
        ------
        FileFormatError
            If the value is not one that :class:`Writer` makes.
        """
        if not isinstance(value, list | dict):
            return value
        self.budget.spend(400 if isinstance(value, dict) else 120)  # parsed, and decoded
        self.budget.spend(16 * len(value))
        if isinstance(value, list):
            return [self.decode(item, kinds) for item in value]
        tags = [key for key in value if key.startswith("$")]
        if not tags:
            return {key: self.decode(item, kinds) for key, item in value.items()}
        if len(value) != 1 or tags[0] not in _DECODERS:
            raise FileFormatError("the document holds an unknown kind of value.")
        return _DECODERS[tags[0]](self, value[tags[0]], kinds)

    def _tuple(self, value: Any, kinds: tuple[str, ...]) -> tuple[Any, ...]:
        return tuple(self.decode(item, kinds) for item in _listed(value))

    def _dict(self, value: Any, kinds: tuple[str, ...]) -> dict[Any, Any]:
        pairs = [(self.decode(key), self.decode(item, kinds)) for key, item in _listed(value)]
        for key, _ in pairs:
            if not (key is None or isinstance(key, _KEYS)) or (
                isinstance(key, int) and abs(key) >= 2**64
            ):
                raise FileFormatError("a key of a dict must be text or a number of 64 bits.")
        if len(dict(pairs)) != len(pairs):
            raise FileFormatError("a key appears twice.")
        return dict(pairs)

    def _array(self, value: Any, kinds: tuple[str, ...]) -> NDArray[Any]:
        array: NDArray[Any] = self.take(value).numpy()
        return array

    def _tensor(self, value: Any, kinds: tuple[str, ...]) -> Tensor:
        return self.take(value)

    def _texts(self, value: Any, kinds: tuple[str, ...]) -> NDArray[Any]:
        kind, shape, items = _listed(value)
        items = [self.decode(item) for item in _listed(items)]
        if not isinstance(shape, list) or not all(type(size) is int for size in shape):
            raise FileFormatError("invalid value for the shape of an array of strings.")
        self.budget.spend(100 * len(items))
        if kind == "object":
            array = np.empty(len(items), dtype=object)
            array[:] = items
            return array.reshape(shape)
        fits = type(kind) is int and kind > 0 and kind * 4 * max(len(items), 1) <= _MAX_TEXT
        if not fits or not all(isinstance(item, str) and len(item) <= kind for item in items):
            raise FileFormatError("invalid value for an array of strings.")
        self.budget.spend(4 * kind * max(len(items), 1))
        return np.array(items, dtype=f"U{kind}").reshape(shape)

    def _scalar(self, value: Any, kinds: tuple[str, ...]) -> Any:
        name, number = _listed(value)
        number = self.decode(number)
        if not (isinstance(name, str) and name in _SCALARS and type(number) in (bool, int, float)):
            raise FileFormatError("a number or its dtype is not valid.")
        return _SCALARS[name](number)

    def _float(self, value: Any, kinds: tuple[str, ...]) -> float:
        if value not in ("nan", "inf", "-inf"):
            raise FileFormatError("a special float must be 'nan', 'inf' or '-inf'.")
        return float(value)

    def _device(self, value: Any, kinds: tuple[str, ...]) -> torch.device:
        return torch.device(str(value))

    def _random_state(self, value: Any, kinds: tuple[str, ...]) -> np.random.RandomState:
        name, position, has_gauss, gauss = _listed(value)
        state = np.random.RandomState()
        keys = self.take(name).numpy()
        if not (type(position) is int and 0 <= position <= 624 and has_gauss in (0, 1)):
            raise FileFormatError("invalid value for a random state.")
        state.set_state(("MT19937", keys, position, has_gauss, float(gauss)))
        return state

    def _class(self, value: Any, kinds: tuple[str, ...]) -> type:
        kind, key = _listed(value)
        if kind not in kinds or key not in classes_of(kind):
            raise FileFormatError("the document names a class that is not allowed in this place.")
        return classes_of(kind)[key]

    def _object(self, value: Any, kinds: tuple[str, ...]) -> Any:
        kind, key, params = _listed(value)
        if kind not in kinds or not isinstance(key, str) or not isinstance(params, dict):
            raise FileFormatError("the document names an object that is not allowed in this place.")
        self.budget.spend(_OBJECT)
        decoded = {name: self.decode(item, ("torch_loss",)) for name, item in params.items()}
        return build(kind, key, decoded)


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise FileFormatError("the document has a value that must be a list but is not.")
    return value


_DECODERS = {
    "$array": Reader._array,
    "$class": Reader._class,
    "$device": Reader._device,
    "$dict": Reader._dict,
    "$float": Reader._float,
    "$object": Reader._object,
    "$random_state": Reader._random_state,
    "$scalar": Reader._scalar,
    "$tensor": Reader._tensor,
    "$texts": Reader._texts,
    "$tuple": Reader._tuple,
}
