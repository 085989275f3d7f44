"""Module builders, and how a module of the right size is made of whatever the user gives."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, ClassVar, Protocol

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from imbtorch._common.inputs import InputBatch, InputShape, Key, RowDtype, is_one_sequence
from imbtorch._common.registry import Registered, Registry
from imbtorch._common.sklearn_private import validate_parameter_constraints
from imbtorch.modules._failure import failure
from imbtorch.modules._lookups import Lookup, explain_ids, watch_lookups
from imbtorch.modules._member_layers import MemberHeads
from imbtorch.modules._module_class import ModuleClass
from imbtorch.modules._several_inputs import (
    check_arguments,
    part_dtypes,
    take_parts,
)
from imbtorch.modules._structured import keep_logits, logits_in

__all__ = [
    "MODULES",
    "ModuleBuilder",
    "build_module",
    "cast_module",
    "check_width",
    "copied_module",
    "first_outputs",
    "get_module",
    "input_dtypes",
    "is_builder",
    "logits_of",
    "members_of",
    "replace_inference_tensors",
    "set_output_bias",
    "try_module",
    "without_graph",
]

MODULES: Registry[ModuleBuilder] = Registry(
    "module",
    "give a builder, a callable(input_shape, n_outputs), a torch.nn.Module class or an instance",
)


class ModuleBuilder(Registered, BaseEstimator, ABC):
    """Base class of builders: objects that hold parameters and build networks.

    A subclass writes ``__init__``, which stores each parameter under its own name, and ``build``.
    One that sets ``name`` can be given by this name, and its parameters can be searched:
    ``module__hidden_sizes`` is the parameter ``hidden_sizes`` of the builder.

    Notes
    -----
    Subclasses set ``name`` (the key of the registry), ``_parameter_constraints`` (the allowed
    values of each parameter) and ``_test_params`` (settings that the common tests sweep).

    Examples
    --------
    >>> from torch import nn
    >>> from imbtorch.modules import ModuleBuilder
    >>> class LinearModel(ModuleBuilder):
    ...     def __init__(self, bias=True):
    ...         self.bias = bias
    ...
    ...     def build(self, input_shape, n_outputs):
    ...         return nn.Sequential(nn.Flatten(), nn.LazyLinear(n_outputs, bias=self.bias))
    >>> LinearModel().get_params()
    {'bias': True}
    """

    _registry: ClassVar[Registry[Any]] = MODULES
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    @abstractmethod
    def build(self, input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        """Build the network, randomly initialised from torch's current random state.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of one row of ``X``.
        n_outputs : int
            Number of outputs: of classes, of labels or of continuous targets.

        Returns
        -------
        torch.nn.Module
            Maps ``(n, *input_shape)`` to ``(n, n_outputs)``, or with an attribute ``n_members`` to
            ``(n, n_members, n_outputs)``.

        Raises
        ------
        ValueError
            If a parameter is out of range, or the builder cannot work on rows of this shape.
        """

    def smallest_size(self, n_outputs: int) -> tuple[int, int]:
        """Return lower bounds of the size of the network, without building it.

        A file that holds less than this is refused before ``build`` is called, so that a damaged or
        malicious file cannot ask for a network of any size. Override it in a builder whose
        parameters can make the network arbitrarily large.

        Parameters
        ----------
        n_outputs : int
            Number of outputs of the network.

        Returns
        -------
        n_tensors, n_numbers : int
            At least so many tensors, and so many numbers in all of them, are in ``state_dict``.
        """
        return 0, 0

    def _validate_parameters(self) -> None:
        """Raise ValueError if a parameter has a value that its constraints do not allow."""
        validate_parameter_constraints(
            self._parameter_constraints,
            self.get_params(deep=False),
            caller_name=type(self).__name__,
        )


def is_builder(module: Any) -> bool:
    """Return whether a saved file can describe this module: as a registered builder.

    Parameters
    ----------
    module : object
        What the user gave for a module.

    Returns
    -------
    bool
        True for a name, and for a registered subclass of :class:`ModuleBuilder` or an object of
        one. False for a subclass that is not registered: it may hold more than its parameters.

    Examples
    --------
    >>> from torch import nn
    >>> from imbtorch.modules import MLP, is_builder
    >>> [is_builder(module) for module in ("mlp", MLP, MLP((8,)), nn.Linear(2, 2))]
    [True, True, True, False]
    """
    if isinstance(module, str):
        return True
    cls = module if isinstance(module, type) else type(module)
    return any(cls is known for known in MODULES.values())


def get_module(module: str | type) -> Any:
    """Return the builder that a name or a class is short for.

    Parameters
    ----------
    module : str or type
        A registered name, such as ``"mlp"``; the class of a builder, or of modules.

    Returns
    -------
    ModuleBuilder, ModuleClass or callable
        A new builder with its defaults. Other classes are callables of ``(input_shape,
        n_outputs)``, which have no parameters.

    Raises
    ------
    ValueError
        If there is no builder of this name; the message lists those that exist.

    Examples
    --------
    >>> from imbtorch.modules import get_module
    >>> get_module("mlp")
    MLP()
    """
    if isinstance(module, str):
        return MODULES[module]()
    if issubclass(module, nn.Module):
        return ModuleClass(module)
    return module() if hasattr(module, "build") else partial(module)


def build_module(
    module: Any,
    input_shape: InputShape,
    n_outputs: int,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Turn whatever stands for a module into one of the right size.

    Parameters
    ----------
    module : str, builder, callable, torch.nn.Module class or torch.nn.Module
        A name is that of a registered :class:`ModuleBuilder`. A builder has ``build(input_shape,
        n_outputs)``; a callable takes the same two arguments. A class of modules is called with
        those of ``input_shape`` and ``n_outputs`` that its constructor names, whether or not it has
        a method ``build``. An instance is deep-copied.
    input_shape : tuple of int; or a dict or tuple of such tuples
        Shape of one row of ``X``; of each input, by name or position, where there are several. The
        length of sequences is None.
    n_outputs : int
        Number of outputs.
    dtype : torch.dtype or None, default=None
        Dtype of the real numbers of the module; complex numbers get the complex dtype of the same
        precision. None leaves them as they are.

    Returns
    -------
    torch.nn.Module
        A module of its own: training it does not change what the user gave.

    Raises
    ------
    ValueError
        If the name is unknown, or the module cannot have several inputs.
    TypeError
        If what was given, or what it builds, is not a module.

    Examples
    --------
    >>> from torch import nn
    >>> from imbtorch.modules import build_module
    >>> build_module(lambda input_shape, n_outputs: nn.Linear(*input_shape, n_outputs), (4,), 3)
    Linear(in_features=4, out_features=3, bias=True)
    """
    is_several = any(isinstance(size, str | tuple) for size in input_shape)
    if isinstance(module, str | type):
        module = get_module(module)
    if is_several and isinstance(module, ModuleBuilder) and is_builder(module):
        if is_one_sequence(input_shape):
            raise ValueError(
                f"X holds sequences of unequal length, but module={module!r} takes rows of one "
                "length. Give a module of your own whose forward takes padded batches of shape "
                "(b, t, ...), or rows of one length. If no lengths should differ, look for rows "
                "in which values are missing."
            )
        raise ValueError(
            f"X has several inputs, {input_shape}, but module={module!r} takes one array. Give a "
            "module of your own whose forward takes them, or put all columns into one table."
        )
    row_shape: Any = input_shape
    if is_several and is_one_sequence(input_shape):
        row_shape = row_shape[0]
    if isinstance(module, nn.Module):
        built = copied_module(module)
    elif hasattr(module, "build"):
        built = module.build(row_shape, n_outputs)
    elif callable(module):
        built = module(row_shape, n_outputs)
    else:
        built = module
    if not isinstance(built, nn.Module):
        raise TypeError(
            "module must be a name, a builder with build(input_shape, n_outputs), a callable of "
            f"these two arguments, a torch.nn.Module class or instance; {module!r} gave "
            f"{type(built).__name__}."
        )
    if not type(built).__module__.startswith(("torch.nn.", "imbtorch.")):
        keep_logits(built)  # it may return more only while it is trained
    if is_several:
        take_parts(built, input_shape)
    return built if dtype is None else cast_module(built, dtype)


def set_output_bias(builder: Any, module: nn.Module, bias: Tensor) -> None:
    """Start the last linear layer of a network that a builder made at this bias.

    Parameters
    ----------
    builder : str, ModuleBuilder or other
        What the module was built from. Only a name or a builder changes the bias: the user's own
        modules stay as the user made them.
    module : torch.nn.Module
        The built module. Its last layer is looked for in a ``torch.nn.Sequential``.
    bias : Tensor of shape (n_outputs,)
        New bias, of every member where the module has several; entries that are not finite are
        replaced by 0.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules import build_module, set_output_bias
    >>> module = build_module("mlp", (4,), 2)
    >>> set_output_bias("mlp", module, torch.tensor([0.0, -2.0]))
    >>> module[-1].bias.tolist()
    [0.0, -2.0]
    """
    if not isinstance(builder, str | ModuleBuilder):
        return
    output = module[-1] if isinstance(module, nn.Sequential) and len(module) else module
    if isinstance(output, nn.Linear | MemberHeads) and output.bias is not None:
        with torch.no_grad():
            output.bias.copy_(torch.nan_to_num(bias, posinf=0.0, neginf=0.0))


def input_dtypes(
    module: nn.Module, dtype: torch.dtype, *, integers: bool | dict[Key, bool]
) -> tuple[RowDtype, ...]:
    """Return the dtypes in which a module may get its rows, the preferred one first.

    This is the one rule for integers, such as identifiers for an embedding. The attribute
    ``takes_integers`` of a module decides: True stands for int64, False for ``dtype``. A module
    without it gets ``dtype``, unless its first layer is an embedding. Then it gets ``X`` of an
    integer type as int64, and other ``X`` in ``dtype``; if it fails on two rows, the other way
    round.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.
    dtype : torch.dtype
        Dtype to compute in.
    integers : bool, or dict of str or int to bool
        Whether ``X`` is of an integer type; of several inputs which, see
        :func:`imbtorch.modules._several_inputs.part_dtypes`.

    Returns
    -------
    tuple of torch.dtype, or of dict
        Dtypes to try, one after the other.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from imbtorch.modules._build import input_dtypes
    >>> module = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.LazyLinear(2))
    >>> input_dtypes(module, torch.float32, integers=True)
    (torch.int64, torch.float32)
    >>> input_dtypes(module[-1], torch.float32, integers=True)
    (torch.float32,)
    """
    if isinstance(integers, dict):
        return part_dtypes(module, dtype, integers)
    tag = getattr(module, "takes_integers", None)
    if tag is not None:
        return (torch.int64,) if tag else (dtype,)
    first = module
    while first._modules:
        first = next(first.children(), nn.Identity())
    if not isinstance(first, nn.Embedding | nn.EmbeddingBag):
        return (dtype,)
    return (torch.int64, dtype) if integers else (dtype, torch.int64)


def members_of(module: nn.Module) -> int | None:
    """Return how many outputs a module may return for each row, or None if it returns one.

    The attribute ``n_members`` of the module says it, or that of the last module of a
    ``torch.nn.Sequential``.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.

    Returns
    -------
    int or None
        Number k of the members: outputs of shape ``(n, k, n_outputs)`` are those of k nets that
        share layers.

    Examples
    --------
    >>> from torch import nn
    >>> from imbtorch.modules import TabM, members_of
    >>> members_of(TabM(k=8).build((5,), 2)), members_of(nn.Linear(5, 2))
    (8, None)
    """
    while type(module) is nn.Sequential and len(module) and not hasattr(module, "n_members"):
        module = module[-1]
    found = getattr(module, "n_members", None)
    return found if type(found) is int and found >= 1 else None


def check_width(
    output: Any,
    n_rows: int,
    n_outputs: int,
    module: nn.Module,
    *,
    noun: str = "classes",
    one_column: bool = True,
) -> None:
    """Check that a module returned one row of outputs per row, of a width that fits the targets.

    Parameters
    ----------
    output : object
        What ``module`` returned for ``n_rows`` rows.
    n_rows : int
        How many rows it was given.
    n_outputs : int
        Number of classes, of labels or of continuous targets: as many columns are expected.
    module : torch.nn.Module
        The module, for the message.
    noun : str, default="classes"
        What the columns stand for, in the plural, for the message.
    one_column : bool, default=True
        Whether one column may stand for two classes.

    Raises
    ------
    ValueError
        If the output is not a tensor of such a shape. A module with members, see
        :func:`members_of`, may also return ``(n_rows, n_members, n_outputs)``.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from imbtorch.modules import check_width
    >>> module = nn.Linear(4, 5)
    >>> check_width(module(torch.zeros(2, 4)), n_rows=2, n_outputs=3, module=module)
    Traceback (most recent call last):
        ...
    ValueError: Linear returned (2, 5) for 2 rows; y has 3 classes, so its outputs must have ...
    """
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    wanted: list[tuple[int, ...]] = [(n_rows, n_outputs)]
    if one_column and n_outputs == 2:
        wanted.append((n_rows, 1))
    if got in wanted:
        return
    n_members = members_of(module)
    if n_members is not None:
        wanted = [(n_rows, n_members, *columns) for _, *columns in wanted]
    if got not in wanted:
        raise ValueError(
            f"{type(module).__name__} returned {got} for {n_rows} rows; y has {n_outputs} "
            f"{noun}, so its outputs must have shape {' or '.join(map(str, wanted))}."
            + _advice(output, n_members)
        )


def _advice(output: Any, n_members: int | None) -> str:
    """Say how outputs of another shape are allowed, or avoided."""
    if not isinstance(output, Tensor):
        return _ONE_OUTPUT
    if n_members is not None:
        return f" Its attribute n_members={n_members} is the second number."
    if output.ndim == 3:
        return (
            " If these are several outputs for each row, which are to be trained and averaged as "
            f"members of an ensemble, say so: self.n_members = {output.shape[1]} in __init__ of "
            "the module."
        )
    return ""


def logits_of(output: Tensor) -> Tensor:
    """Read one column as the logits ``[0, z]`` of two classes, ``(..., 1) -> (..., 2)``.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules import logits_of
    >>> logits_of(torch.tensor([[1.5]])).tolist()
    [[0.0, 1.5]]
    """
    if output.shape[-1] == 1:
        return torch.cat([torch.zeros_like(output), output], dim=-1)
    return output


class _Outputs(Protocol):
    """What is known of the outputs of a module."""

    n_outputs: int
    outputs_are_logits: ClassVar[bool]

    def check_outputs(self, output: object, n_rows: int, module: nn.Module) -> None: ...


def copied_module(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Deep-copy a module, even if it stores tensors of an autograd graph, such as activations.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.
    memo : dict or None, default=None
        Memo of :func:`copy.deepcopy`. Stored tensors with a graph are entered as copies without it.

    Returns
    -------
    torch.nn.Module
        The copy.
    """
    memo = {} if memo is None else memo
    seen: dict[int, Any] = {}  # the values keep the ids valid
    waiting: list[Any] = [vars(part) for part in module.modules()]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, Tensor):
            if value.grad_fn is not None:  # torch copies only tensors without a graph
                memo[id(value)] = value.detach().clone()
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            waiting.extend(value)
        elif not isinstance(value, type | FunctionType | MethodType | ModuleType):
            waiting.extend([vars(value)] if hasattr(value, "__dict__") else [])
    copied: nn.Module = copy.deepcopy(module, memo)
    for part in copied.modules():
        if isinstance(
            part, nn.RNNBase
        ):  # cuDNN warns of weights that are not in one block of memory
            part.flatten_parameters()
    return copied


def cast_module(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast the real numbers of a module to a dtype, and complex ones to its complex counterpart.

    ``Module.to`` alone would drop the imaginary parts.
    """
    tensors = [*module.parameters(), *module.buffers()]
    if not any(tensor.is_complex() for tensor in tensors):
        return module.to(dtype)
    to_complex = dtype.to_complex()

    def cast(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(to_complex)
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    applied: nn.Module = module._apply(cast)
    return applied


def without_graph(module: nn.Module, rows: Callable[[], Any]) -> Tensor:
    """Compute outputs without a graph; a module that differentiates in ``forward`` may do so.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.
    rows : callable() -> Tensor
        Function that returns a new copy of the rows, because the module may write into them.

    Returns
    -------
    Tensor
        Outputs, detached.

    Raises
    ------
    ValueError
        If an embedding lacks an identifier.
    """
    try:
        with torch.no_grad():
            output: Tensor = module(rows())
            return output
    except (RuntimeError, IndexError) as error:
        if "does not require grad" not in str(error):
            explain_ids(module, rows(), error)
            raise
    with torch.enable_grad():
        output = module(rows())
    return output.detach() if isinstance(output, Tensor) else output


def replace_inference_tensors(module: nn.Module) -> None:
    """Replace tensors that were made in inference mode, because autograd refuses them."""
    held: Any  # torch types parameters and buffers differently
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is not None and tensor.is_inference():
                    with torch.inference_mode(False):
                        held[name] = type(tensor)(tensor.clone())


def first_outputs(
    module: nn.Module,
    rows: Callable[[Any], Any],
    task: _Outputs,
    dtype: torch.dtype,
    *,
    integers: bool | dict[Key, bool],
) -> tuple[Tensor, RowDtype, list[Lookup]]:
    """Try a module on a few rows, which decides in which dtype it gets its rows.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.
    rows : callable(dtype) -> Tensor or InputBatch
        Function that returns the rows in a dtype; several inputs have one each.
    task : Task
        What the outputs are for.
    dtype : torch.dtype
        Dtype to compute in.
    integers : bool, or dict of str or int to bool
        Whether ``X`` is of an integer type; of several inputs which.

    Returns
    -------
    output : Tensor
        Outputs of the rows.
    input_dtype : torch.dtype, or dict
        The first of :func:`input_dtypes` that the module can compute.
    lookups : list of Lookup
        What the module looks up in embeddings.

    Raises
    ------
    ValueError
        If the module can compute none of them; the error is that of the preferred one.
    """
    failure: ValueError | None = None
    for wanted in input_dtypes(module, dtype, integers=integers):
        lookups: list[Lookup] = []
        watch = None if wanted == dtype else partial(watch_lookups, found=lookups)
        try:
            return try_module(module, rows(wanted), task, watch), wanted, lookups
        except ValueError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def try_module(
    module: nn.Module,
    rows: Tensor | InputBatch,
    task: _Outputs,
    watch: Callable[[nn.Module], None] | None = None,
) -> Tensor:
    """Compute the outputs of a few rows by a copy of the module, and check their shape.

    The module itself stays as it was built, so that layers which take statistics from the first
    batch take them from a batch of the training. Only layers that are created by the first call
    are created here.

    Parameters
    ----------
    module : torch.nn.Module
        Module of any class.
    rows : Tensor or InputBatch
        A few rows, in the dtype in which the module may want them.
    task : Task
        What the outputs are for.
    watch : callable(module) or None, default=None
        Function that gets the copy before it is called, to register hooks.

    Returns
    -------
    Tensor
        Outputs of the rows.

    Raises
    ------
    ValueError
        If the module cannot compute, with its own error as the cause, or returns another shape.

    Warns
    -----
    UserWarning
        If the outputs of a classifier look like probabilities.
    """
    if isinstance(rows, InputBatch):
        check_arguments(module, rows)
    try:
        given = _output_of_copy(module, rows, watch)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(failure(module, rows, task.n_outputs, error)) from error
    output: Tensor = given if isinstance(given, Tensor) else _logits_alone(module, given)
    task.check_outputs(output, len(rows), module)
    if task.outputs_are_logits and _are_probabilities(module, output):
        warnings.warn(
            f"{type(module).__name__} seems to return probabilities, but losses take logits and "
            "predict_proba turns them into probabilities: leave out the softmax or sigmoid at the "
            "end of the module.",
            UserWarning,
            stacklevel=2,
        )
    return output


def _output_of_copy(
    module: nn.Module, rows: Tensor | InputBatch, watch: Callable[[nn.Module], None] | None
) -> Any:
    """Compute outputs by a copy; then let lazy layers of the module itself find their sizes."""
    try:
        copied = copied_module(module)
    except Exception:  # for example a lock or an open file among the attributes
        return without_graph(module, rows.clone)
    if watch is not None:
        watch(copied)
    inputs: list[tuple[Any, Any, Any]] = []
    for part, twin in zip(module.modules(), copied.modules(), strict=True):
        if isinstance(part, LazyModuleMixin) and part.has_uninitialized_params():

            def keep(_: Any, args: Any, kwargs: Any, part: Any = part) -> None:
                inputs.append((part, args, kwargs))

            twin.register_forward_pre_hook(keep, prepend=True, with_kwargs=True)
    accelerators = [rows.device] if rows.device.type == "cuda" else []
    with torch.random.fork_rng(accelerators):  # the module itself will draw the same numbers
        output = without_graph(copied, rows.clone)
    for part, args, kwargs in inputs:
        if part.has_uninitialized_params():
            part._infer_parameters(part, args, kwargs)
    if _shapes(module) != _shapes(copied):  # layers that the first call of the user's code creates
        return without_graph(module, rows.clone)
    return output


def _logits_alone(module: nn.Module, output: Any) -> Any:
    """Return the logits; a module with other outputs beside them returns them alone from now on."""
    found = logits_in(output)
    return found if found is output or keep_logits(module) else output


def _shapes(module: nn.Module) -> list[tuple[str, torch.Size | None]]:
    return [(name, None if is_lazy(p) else p.shape) for name, p in module.named_parameters()]


def _are_probabilities(module: nn.Module, output: Tensor) -> bool:
    if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.Softmax | nn.Sigmoid):
        return True
    if output.shape[-1] < 2 or output.min() < 0:
        return False
    sums = output.sum(dim=-1, dtype=torch.float64)
    return bool(torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-5))


_ONE_OUTPUT = (
    " It may return a tensor; a tuple or list, whose first entry counts; or a mapping or object "
    "with 'logits'. For anything else, return the logits in forward of a module around this one."
)
