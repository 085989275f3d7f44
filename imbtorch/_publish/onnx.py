"""ONNX files of fitted estimators: the net, and what makes predictions of its outputs."""

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

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from imbtorch._safe_file import replacing
from imbtorch._version import __version__

__all__ = ["ExportMixin", "MeanOf", "Served", "portable"]

Link = Callable[[Tensor], Tensor]

_LARGEST = 2**31 - 2**20  # bytes of weights: one ONNX file holds 2 GiB, its graph included


class Served(nn.Module):
    """From rows to predictions: module, reading of its outputs, and what is made of them."""

    def __init__(self, net: Any, finish: Link) -> None:
        super().__init__()
        self.module, self.loss = net.module_, net.criterion_  # the link reads the loss's buffers
        self._read, self._finish = net.read, finish

    def forward(self, X: Tensor) -> Tensor:
        """Predict: ``(n, ...) -> (n, n_outputs)`` or ``(n,)``."""
        return self._finish(self._read(self.module(X)))


class MeanOf(nn.Module):
    """Mean of what ``last`` makes of the linked outputs of several nets."""

    def __init__(self, nets: Sequence[Any], links: Sequence[Link], last: Link) -> None:
        super().__init__()
        pairs = zip(nets, links, strict=True)
        self.members = nn.ModuleList(Served(net, _in_turn(link, last)) for net, link in pairs)

    def forward(self, X: Tensor) -> Tensor:
        """Predict: ``(n, ...) -> (n, n_outputs)``."""
        return torch.stack([member(X) for member in self.members]).mean(dim=0)


def _in_turn(first: Link, then: Link) -> Link:
    return lambda outputs: then(first(outputs))


def portable(estimator: Any) -> Any:
    """View of a fitted estimator whose net is a copy, on the CPU and in float32."""
    view = copy.copy(estimator)
    view.net_ = estimator.net_.portable()
    return view


class ExportMixin:
    """ONNX files of an estimator that has ``_serving``."""

    _serving: Callable[[], nn.Module]  # from rows to what ``_predicts`` names
    _predicts = "probabilities"
    _input_shape: tuple[int, ...]

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model as an ONNX file, for runtimes without Python or torch.

        The file holds the network and what this estimator makes of its outputs. Of a classifier
        that is the posterior of the loss and the shift to ``target_prior``, as set now: its output
        ``"probabilities"`` is what ``predict_proba`` returns. Of a regressor it is the way back to
        the units of ``y``: its output ``"predictions"`` is what ``predict`` returns.

        Parameters
        ----------
        path : str or path-like
            File to write. It appears complete or not at all; one that was there is replaced.

        Raises
        ------
        NotFittedError
            If there is nothing to write yet.
        ImportError
            If onnx or onnxscript is not installed.
        ValueError
            If the weights take more than the 2 GB that one ONNX file can hold.
        RuntimeError
            If torch cannot export the module; the cause is torch's own error.

        Notes
        -----
        The input is ``"X"``, float32 of shape ``(n, n_features, ...)`` with any n >= 1, also of an
        estimator that computes in float64: runtimes lack many operations in that type.
        Probabilities are float32, predictions of a regressor float64.

        The metadata of the file hold, under ``"imbtorch"``, a JSON object with the ``version`` of
        this package, the name of the ``estimator``, the ``classes`` in the order of the columns,
        and the ``features`` where they have names. Steps before the net in a Pipeline are not
        part of the file.

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
        check_is_fitted(self)
        _require_onnx()
        serving = self._serving().eval()
        n_bytes = sum(value.nbytes for value in serving.state_dict().values())
        if n_bytes > _LARGEST:
            raise ValueError(
                f"The weights take {n_bytes / 2**30:.1f} GiB, and one ONNX file holds 2. Export "
                "module_ with torch.onnx.export(..., external_data=True)."
            )
        program = _exported(serving, torch.zeros(2, *self._input_shape), [self._predicts])
        program.model.metadata_props["imbtorch"] = json.dumps(self._described(), default=str)
        content = program.model_proto.SerializeToString()
        with replacing(path) as file:
            file.write(content)

    def _described(self) -> dict[str, Any]:
        known = {"version": __version__, "estimator": type(self).__name__}
        arrays = {"classes": "classes_", "features": "feature_names_in_"}
        named = {key: getattr(self, name, None) for key, name in arrays.items()}
        return known | {key: value.tolist() for key, value in named.items() if value is not None}


def _require_onnx() -> None:
    try:
        for package in ("onnx", "onnxscript"):
            import_module(package)
    except ImportError as error:
        raise ImportError(
            f"to_onnx needs the package {error.name}, which is not installed: "
            'pip install "imbtorch[onnx]".'
        ) from error


def _exported(serving: nn.Module, rows: Tensor, outputs: list[str]) -> Any:
    """Trace a module on two rows, as a graph for any number of them."""
    try:
        with _quiet():
            # traced here: torch.onnx.export would settle for a graph of exactly two rows
            graph = torch.export.export(
                serving, (rows,), dynamic_shapes={"X": {0: torch.export.Dim("n")}}, strict=False
            )
            return torch.onnx.export(
                graph,
                dynamo=True,
                external_data=False,
                input_names=["X"],
                output_names=outputs,
                custom_translation_table={torch.ops.aten.log_sigmoid.default: _log_sigmoid},
                verbose=False,
            )
    except Exception as error:
        raise RuntimeError(
            "torch cannot export this module as an ONNX graph. Its forward must not look at values "
            "of tensors (`if x.sum() > 0`) nor fix the number of rows, and may use only what "
            "torch.export knows; torch's own words are above."
        ) from error


def _log_sigmoid(x: Any) -> Any:
    """Translate to ONNX without saturation; torch's own is the logarithm of a rounded sigmoid."""
    from onnxscript import opset18

    return opset18.Neg(opset18.Softplus(opset18.Neg(x)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch's exporter says about itself: deprecations, absent packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
