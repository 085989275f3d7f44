"""Export fitted estimators to ONNX files: the net and the steps from its outputs to predictions."""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from imbtorch._common.inputs import InputShape, Key, shapes_by_key
from imbtorch._common.log import logger
from imbtorch._publish.onnx_columns import columns_in_float64, encoder_for, with_columns
from imbtorch._publish.onnx_inputs import (
    InputEncoders,
    example_batch,
    input_name,
    name_inputs,
    separate_inputs,
)
from imbtorch._publish.onnx_recurrent import has_recurrent_layers, recurrent_translations
from imbtorch._safe_file import replacing
from imbtorch._version import __version__
from imbtorch.features import TableColumns, TableEncoder
from imbtorch.modules._input_tables import InputTables

__all__ = ["MEDIANS", "ExportMixin", "MeanOf", "Served", "portable", "require", "write"]

Link = Callable[[Tensor], Tensor]

MEDIANS = "medians"  # second output of an ensemble whose members decide by a majority
_LARGEST = 2**31 - 2**20  # most bytes of weights: an ONNX file holds 2 GiB including its graph


class Served(nn.Module):
    """A module from rows to predictions: the net, its output format, and the final function."""

    def __init__(self, net: Any, finish: Link) -> None:
        super().__init__()
        self.loss = net.criterion_  # the link needs its buffers
        self.encoder = _encoder_of(net)
        self.module = net.module_
        self._read, self._finish, self.dtype_of = net.read, finish, net.dtype_of

    def forward(self, X: Tensor) -> Tensor:
        """Predict rows: ``(n, ...) -> (n, n_outputs)`` or ``(n,)``."""
        # the module may write into its input
        rows = X.clone() if self.encoder is None else self.encoder(X)
        return self._finish(self._read(self.module(rows)))


class MeanOf(nn.Module):
    """The mean over several nets of ``last(link(outputs))``, each net with its own link.

    Parameters
    ----------
    nets : sequence of Net
        The nets.
    links : sequence of callable
        Link of each net.
    last : callable
        What follows every link.
    shares : Tensor of shape (n_nets,) or None, default=None
        Share of each net in the mean, which sum to 1; None if all have the same share.
    fold_models : list of list of int or None, default=None
        Which nets together are the model of each fold, over which the median is taken; None if
        each net is the model of a fold.

    Attributes
    ----------
    has_median : bool
        Whether the median is a second output, for decisions by the majority of the nets.
    """

    has_median = False

    def __init__(
        self,
        nets: Sequence[Any],
        links: Sequence[Link],
        last: Link,
        shares: Tensor | None = None,
        fold_models: list[list[int]] | None = None,
    ) -> None:
        super().__init__()
        self.dtype_of = nets[0].dtype_of
        self.shares, self.fold_models = shares, fold_models or [[i] for i in range(len(nets))]
        pairs = zip(nets, links, strict=True)
        members = [Served(net, _in_turn(link, last)) for net, link in pairs]
        self.members = nn.ModuleList(members)
        self.encoder: TableEncoder | InputEncoders | None = None
        if all(member.encoder is members[0].encoder for member in members):
            self.encoder = members[0].encoder  # which encodes the rows once for all members
            for member in members:
                member.encoder = None

    def forward(self, X: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Predict rows: ``(n, ...) -> (n, n_outputs)``."""
        rows = X if self.encoder is None else self.encoder(X)
        values = torch.stack([member(rows) for member in self.members])
        if not self.has_median:
            return self._mean(values)
        folds = torch.stack([self._mean(values[members], members) for members in self.fold_models])
        ordered, middle = folds.sort(dim=0).values, len(folds) // 2
        return self._mean(values), (ordered[middle] + ordered[-middle - 1]) / 2

    def _mean(self, values: Tensor, members: list[int] | None = None) -> Tensor:
        """Return the mean of the values of some nets, ``(m, n, c) -> (n, c)``."""
        if self.shares is None:
            return values.mean(dim=0)
        shares = self.shares if members is None else self.shares[members]
        return (
            values * (shares / shares.sum()).to(values).reshape(-1, *[1] * (values.ndim - 1))
        ).sum(dim=0)


def _encoder_of(net: Any) -> TableEncoder | InputEncoders | None:
    """Return what encodes the table of a net, or the tables among its inputs."""
    encoder: TableEncoder | None = net.encoder_
    return encoder if net.tables is None else InputEncoders(net.tables)


def _prepare_encoders(serving: nn.Module, *, float32: bool) -> dict[Any, frozenset[int]]:
    """Replace encoders by copies for the file, and return which columns come in float64.

    They are returned by the name or the position of the input; by None for a single table.
    """
    parts = [part for part in serving.modules() if isinstance(part, Served | MeanOf)]
    exact: dict[Any, frozenset[int]] = {}
    for part in parts:
        for key, encoder in _by_key(part.encoder).items():
            wide = frozenset() if float32 else columns_in_float64(encoder)
            exact[key] = exact.get(key, frozenset()) | wide
    for part in parts:
        copies = {
            key: encoder_for(encoder, exact[key]) for key, encoder in _by_key(part.encoder).items()
        }
        if isinstance(part.encoder, InputEncoders):
            part.encoder = InputEncoders(InputTables(copies, {}))
        elif copies:
            part.encoder = copies[None]
    return exact


def _by_key(encoder: TableEncoder | InputEncoders | None) -> dict[Any, TableEncoder]:
    if isinstance(encoder, InputEncoders):
        return encoder.by_key()
    return {} if encoder is None else {None: encoder}


def _in_turn(first: Link, then: Link) -> Link:
    return lambda outputs: then(first(outputs))


def portable(estimator: Any) -> Any:
    """Return a shallow copy of a fitted estimator whose net is on the CPU and in float32."""
    view = copy.copy(estimator)
    view.net_ = estimator.net_.portable()
    return view


class ExportMixin:
    """Add the method ``to_onnx`` to an estimator that has ``_serving``."""

    _serving: Callable[[], Served | MeanOf]  # builds a module from rows to the output ``_predicts``
    _predicts = "probabilities"
    _input_shape: InputShape
    _columns: TableColumns | dict[Key, TableColumns] | None

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model as an ONNX file, for runtimes without Python or torch.

        The file holds the network and the steps from its outputs to predictions. For a classifier
        these are the posterior of the loss and the shift to the present ``target_prior``: the
        output ``"probabilities"`` equals the result of ``predict_proba``. For a regressor it is
        the conversion to the units of ``y``: the output ``"predictions"`` equals the result of
        ``predict``.

        Parameters
        ----------
        path : str or path-like
            File to write. It is written completely or not at all; an existing file is replaced.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ImportError
            If onnx or onnxscript is not installed.
        ValueError
            If the weights take more than the 2 GB that one ONNX file can hold, or inputs or
            columns of a table have equal names, or the name of the output.
        RuntimeError
            If torch cannot export the module, or its graph is not a valid one; its ``__cause__``
            is the error of torch or onnx.

        Notes
        -----
        The input is ``"X"``, float32 of shape ``(n, n_features, ...)`` with any n >= 1. It is
        float32 even if the estimator computes in float64, because runtimes lack many operations in
        float64. Where the module gets integers (an embedding, see the parameter ``module``), it is
        int64. NaN is a missing value where the estimator accepts it. Probabilities are float32,
        predictions of a regressor float64.

        A net that reads a table with categories has one input per column, of shape ``(n, 1)`` and
        the name of the column: float32 for numbers and for categories that are numbers, string for
        categories that are text (``""`` is a missing value).

        Several inputs of the estimator are inputs of the file, by their names; those of a tuple are
        ``"X0"``, ``"X1"``, ... They are float32, or int64 where the module gets integers. A table
        with categories among them has one input per column, such as ``"table.town"``. Sequences of
        unequal length are padded, ``(n, n_steps, ...)``; if the module asks for lengths or masks,
        their ``"lengths"`` are an int64 input of shape ``(n,)``, among several inputs
        ``"text_lengths"`` for ``"text"``.

        The inputs of columns whose values need more digits than float32 has, such as the seconds
        since 1970, are float64; so is ``"X"`` if it has such a column.

        The metadata of the file have an entry ``"imbtorch"``: a JSON object with the ``version`` of
        this package, the name of the ``estimator``, the ``classes`` in the order of the columns,
        and the ``features`` if they have names. :func:`imbtorch.to_onnx` also writes the steps of a
        Pipeline, and decisions.

        Examples
        --------
        >>> import json, tempfile
        >>> import numpy as np
        >>> import onnxruntime
        >>> from sklearn.datasets import make_classification
        >>> from imbtorch import ImbalancedNetClassifier
        >>> X, y = make_classification(500, weights=[0.9], random_state=0)
        >>> X, y = X.astype(np.float32), np.where(y == 1, "fraud", "fine")
        >>> clf = ImbalancedNetClassifier(target_prior="train", random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.to_onnx(f"{folder}/model.onnx")
        ...     session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
        >>> (proba,) = session.run(["probabilities"], {"X": X})
        >>> bool(np.allclose(proba, clf.predict_proba(X), atol=1e-6))
        True
        >>> json.loads(session.get_modelmeta().custom_metadata_map["imbtorch"])["classes"]
        ['fine', 'fraud']
        """
        write(self._graph(), self, path)

    def _graph(self, *, behind_steps: bool = False, with_median: bool = False) -> Any:
        """Return the model of ONNX; behind other steps its input is one matrix of float32.

        With a median, the second output ``"medians"`` is that of the members of an ensemble.
        """
        check_is_fitted(self)
        require(("onnx", "onnxscript"))
        serving, outputs = self._serving().eval(), [self._predicts]
        if with_median:
            serving.has_median = True
            outputs.append(MEDIANS)
        _check_size(serving)
        if shapes_by_key(self._input_shape) is not None:
            return self._graph_of_inputs(serving, outputs)
        columns = self._columns
        assert not isinstance(columns, dict)
        named = columns is not None and bool(columns.vocabulary)
        if named and behind_steps:
            raise ValueError(
                f"The steps of the pipeline hand on categories to {type(self).__name__}, but steps "
                "in an ONNX file hand on numbers only. Give the estimator the table itself, "
                "without steps before it."
            )
        exact = _prepare_encoders(serving, float32=behind_steps).get(None, frozenset())
        rows = torch.zeros(2, *self._input_shape, dtype=torch.int64)
        if columns is not None:
            rows = rows.to(torch.float64 if exact else torch.float32)
        else:
            rows = rows.to(serving.dtype_of(rows))
        moving = {0: torch.export.Dim("n")}
        graph = _exported(serving, (rows,), ["X"], moving, outputs).model_proto
        if columns is not None and named:
            return with_columns(graph, {"X": (columns, exact)})
        return graph

    def _graph_of_inputs(self, serving: Any, outputs: list[str]) -> Any:
        """Return the model of ONNX of a net that has several inputs, or sequences."""
        exact = _prepare_encoders(serving, float32=False)
        batch = example_batch(serving, self._input_shape, serving.dtype_of(None), exact)
        names, moving = name_inputs(batch, self._input_shape)
        separate, rows = separate_inputs(serving, list(batch.parts)), tuple(batch.parts.values())
        # torch does not see whether a name of the user is that of a tensor inside the graph
        neutral = [f"given/{place}" for place in range(len(names))]
        graph = _exported(separate, rows, neutral, tuple(moving), outputs).model_proto
        columns = self._columns if isinstance(self._columns, dict) else {}
        tables = {
            input_name(key): (table, exact[key])
            for key, table in columns.items()
            if table.vocabulary
        }
        return with_columns(graph, tables, names)


def write(model: Any, estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a model of ONNX with a description of the estimator, completely or not at all.

    Parameters
    ----------
    model : onnx.ModelProto
        Model.
    estimator : estimator
        Fitted estimator that it predicts for.
    path : str or path-like
        File to write.

    Raises
    ------
    RuntimeError
        If the model is not valid; nothing is written.
    """
    from onnx import checker, helper

    known = {"version": __version__, "estimator": type(estimator).__name__}
    arrays = {"classes": "classes_", "features": "feature_names_in_"}
    named = {key: getattr(estimator, name, None) for key, name in arrays.items()}
    found = {key: np.asarray(value).tolist() for key, value in named.items() if value is not None}
    helper.set_model_props(model, {"imbtorch": json.dumps(known | found, default=str)})
    content = model.SerializeToString()
    try:
        checker.check_model(content)
    except checker.ValidationError as error:
        raise RuntimeError(
            f"The export of {type(estimator).__name__} is not a valid graph of ONNX, so that no "
            "file was written; onnx's own error is shown above. If it speaks of a name that is "
            "defined twice, rename the input or the column of this name and fit again."
        ) from error
    with replacing(path) as file:
        file.write(content)
    logger.info("%s written to %s", type(estimator).__name__, os.fspath(path))


def require(packages: Sequence[str]) -> None:
    """Raise ImportError if a package is missing; the message has the line that installs it."""
    try:
        for package in packages:
            import_module(package)
    except ImportError as error:
        raise ImportError(
            f"to_onnx needs the package {error.name}, which is not installed: "
            'pip install "imbtorch[onnx]".'
        ) from error


def _check_size(serving: nn.Module) -> None:
    """Raise ValueError if the weights are more than one file can hold."""
    state = serving.state_dict().values()
    n_bytes = sum(value.nbytes for value in state if isinstance(value, Tensor))
    if n_bytes > _LARGEST:
        raise ValueError(
            f"The weights take {n_bytes / 2**30:.1f} GiB, but one ONNX file holds at most 2 GiB. "
            "Export module_ with torch.onnx.export(..., external_data=True)."
        )


def _exported(
    serving: nn.Module, rows: tuple[Tensor, ...], names: list[str], moving: Any, outputs: list[str]
) -> Any:
    """Trace a module on two rows, and return a graph for any number of rows, and of steps."""
    try:
        with _quiet():
            # traced here, because torch.onnx.export may return a graph for exactly two rows
            graph = torch.export.export(serving, rows, dynamic_shapes={"X": moving}, strict=False)
            return torch.onnx.export(
                graph,
                dynamo=True,
                external_data=False,
                input_names=names,
                output_names=outputs,
                custom_translation_table={
                    torch.ops.aten.log_sigmoid.default: _log_sigmoid,
                    **(recurrent_translations() if has_recurrent_layers(serving) else {}),
                },
                verbose=False,
            )
    except Exception as error:
        raise RuntimeError(
            "torch cannot export this module as an ONNX graph. Its forward must not depend on "
            "values of tensors (`if x.sum() > 0`) nor on a fixed number of rows, and may use only "
            "operations that torch.export supports; torch's own error is shown above."
        ) from error


def _log_sigmoid(x: Any) -> Any:
    """Translate log_sigmoid to ONNX as -softplus(-x).

    Torch's own translation takes the logarithm of a rounded sigmoid, which is inexact far from 0.
    """
    from onnxscript import opset18

    return opset18.Neg(opset18.Softplus(opset18.Neg(x)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's messages about its own deprecations and optional packages."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            # recurrent layers list their weights anew in each call
            warnings.filterwarnings("ignore", "The tensor attributes .* assigned during export")
            yield
    finally:
        exporter.setLevel(level)
