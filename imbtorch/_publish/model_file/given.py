"""The caller's own module: build it for the sizes in a file, and load the weights into it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from imbtorch._common.inputs import shapes_by_key
from imbtorch._common.seed import private_torch_rng
from imbtorch._publish.model_file.net_input import NetInput
from imbtorch._publish.model_file.outside import Outside, fill, outside_buffers
from imbtorch._publish.model_file.state import printable_lines
from imbtorch._publish.model_file.values import Budget
from imbtorch._safe_file import Layout, printable
from imbtorch.exceptions import FileFormatError
from imbtorch.modules._build import input_dtypes
from imbtorch.modules._several_inputs import zero_rows
from imbtorch.modules._state import is_extra
from imbtorch.modules._structured import keep_logits

__all__ = ["GivenModule"]

_MAX_UNSEEN = 2**24  # features of a module whose size only building it shows


class GivenModule:
    """Module of the caller for one net of a file.

    Parameters
    ----------
    module : object
        What the caller gives as ``module=``.
    rows : NetInput
        What the rows are that the module gets.
    n_outputs : int
        Number of outputs.
    dtype : torch.dtype
        Dtype of the net.
    numbers : int
        How many numbers the file holds for the module.
    budget : Budget or None
        Memory that buffers which no ``state_dict`` holds may take. None if the file does not list
        such buffers, because an earlier version wrote it.

    Attributes
    ----------
    module : torch.nn.Module
        The module, built anew.

    Raises
    ------
    FileFormatError
        If the file is too small for the module, or it cannot be built.
    """

    def __init__(
        self,
        module: Any,
        rows: NetInput,
        n_outputs: int,
        dtype: torch.dtype,
        numbers: int,
        budget: Budget | None,
    ) -> None:
        self._name, shape = printable(_name(module)), rows.shape
        sizes = f"for rows of shape {shape} and {n_outputs} outputs"
        with private_torch_rng(0, torch.device("cpu")):
            try:
                with torch.device("meta"):
                    needed, besides = _sizes(_built(module, rows, n_outputs, dtype))
            except Exception:  # code that needs real numbers: a bound without building it
                needed = 0 if max(_size(shape), n_outputs) < _MAX_UNSEEN else numbers + 1
                besides = 0
            if needed > numbers:
                raise FileFormatError(
                    f"module={self._name} {sizes} does not fit the weights in the file, which has "
                    f"only {numbers} numbers. Give the module that the estimator was trained with; "
                    "or the file is damaged."
                )
            if budget is not None:
                budget.spend(besides)
            elif besides > 4 * _MAX_UNSEEN:
                raise FileFormatError(
                    f"module={self._name} {sizes} does not fit the file, which lacks its buffers."
                )
            try:
                self.module = _built(module, rows, n_outputs, dtype).to("cpu")
                keep_logits(self.module)
            except Exception as error:
                if not callable(module) and not hasattr(module, "build"):
                    raise  # it is no module, whatever the file holds
                raise FileFormatError(
                    f"module={self._name} cannot be built {sizes}, as the file describes them: "
                    f"{printable_lines(error)}"
                ) from error

    def into(self, prefix: str, by_feature: list[Any], layout: Layout) -> dict[str, Tensor]:
        """Return the tensors of the module, to read the weights into without a copy.

        Parameters
        ----------
        prefix : str
            Prefix of the names of the module's tensors in the file.
        by_feature : list
            Names of the matrices that the file holds by column.
        layout : Layout
            Dtypes and shapes of the tensors in the file.

        Returns
        -------
        dict of str to Tensor
            Tensors by their names in the file.
        """
        state = self.module.state_dict()
        return {
            name: tensor
            for key, tensor in {**state, **outside_buffers(self.module, state)}.items()
            if isinstance(tensor, Tensor)
            and not is_extra(key)
            and key not in by_feature
            and layout.get(name := f"{prefix}{key}") == (tensor.dtype, tuple(tensor.shape))
            and tensor.is_contiguous()
        }

    def fill(self, state: dict[str, Tensor], outside: Outside) -> list[str]:
        """Load weights into the module; most were read into its tensors already.

        Parameters
        ----------
        state : dict of str to Tensor
            Tensors of its ``state_dict`` in the file.
        outside : Outside
            Other buffers and extra state in the file.

        Returns
        -------
        list of str
            Names of buffers that the file lacks, because an earlier version wrote it.

        Raises
        ------
        ValueError
            If they do not fit the module.
        """
        kinds = {k: v.dtype for k, v in self.module.state_dict().items() if isinstance(v, Tensor)}
        try:
            for key, value in state.items():
                if kinds.get(key, value.dtype) != value.dtype:
                    raise ValueError(f"{key} is {kinds[key]}, in the file {value.dtype}")
            return fill(self.module, state, outside)
        except Exception as error:  # set_extra_state of the caller may raise anything
            raise ValueError(
                f"module={self._name} does not fit the weights in the file: "
                f"{printable_lines(error)}"
            ) from error


def _built(module: Any, rows: NetInput, n_outputs: int, dtype: torch.dtype) -> nn.Module:
    """Build a module on the default device; lazy layers see rows, from which they get a size."""
    built = rows.build(module, n_outputs, dtype)
    if any(is_lazy(tensor) for tensor in [*built.parameters(), *built.buffers()]):
        with torch.no_grad():
            wanted = rows.dtypes or input_dtypes(built, dtype, integers=True)[0]
            built.train(False)(zero_rows(rows.shape, wanted))
    return built


def _size(input_shape: Any) -> int:
    """Return the largest number of values in a row of an input."""
    shapes = shapes_by_key(input_shape) or {0: input_shape}
    return max(math.prod(size or 1 for size in shape) for shape in shapes.values())


def _sizes(module: nn.Module) -> tuple[int, int]:
    """Return how many numbers the state of a module has, and how many bytes its other buffers."""
    state = {k: v for k, v in module.state_dict().items() if not is_extra(k)}
    besides = [buffer for buffer in outside_buffers(module, state).values() if buffer is not None]
    numbers = sum(value.numel() for value in state.values() if isinstance(value, Tensor))
    return numbers, sum(buffer.nbytes for buffer in besides)


def _name(module: Any) -> str:
    return str(getattr(module, "__name__", type(module).__name__))
