"""What skorch's callbacks see of the data: built only where there are callbacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from skorch.dataset import Dataset
from torch.utils.data import Subset

from imbtorch._common.inputs import Inputs, given_form
from imbtorch._data.targets import has_unknown
from imbtorch.modules._build import without_graph
from imbtorch.training.data.features import ChosenFeatures, as_features
from imbtorch.training.data.rows import ArrayRows, Rows

__all__ = ["Validation"]


class Validation:
    """The data as skorch datasets, and the validation part as rows.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, ...)
        All rows.
    targets : ndarray of shape (n,) or (n, k), or CSR matrix of shape (n, l)
        Class of each row, values, or labels.
    train, valid : ndarray of int or None
        Positions of the two parts; None for all, and for none.
    dtype : torch.dtype
        Dtype to compute in.
    device : torch.device
        Device to compute on.
    input_dtype : torch.dtype, dict or None, default=None
        Dtype in which the module gets its rows, or that of each input; None for ``dtype``.
    encoded : array or None, default=None
        All rows as the module gets them, if these are not the rows of ``X``.
    """

    def __init__(
        self,
        X: Any,
        targets: Any,
        train: NDArray[Any] | None,
        valid: NDArray[Any] | None,
        dtype: torch.dtype,
        device: torch.device,
        input_dtype: Any = None,
        encoded: Any = None,
    ) -> None:
        # skorch's dataset indexes rows as sparse matrices do, not as sparse arrays do
        self.given = {
            "X": _indexable(X),
            "y": _dense(targets) if sparse.issparse(targets) else targets.astype(_kind(targets)),
        }
        if isinstance(X, Inputs):
            self.given["X"] = given_form(X.map(lambda _, part: _indexable(part)).parts)
        whole = Dataset(self.given["X"], self.given["y"])
        self.datasets = {
            "dataset_train": whole if train is None else Subset(whole, train.tolist()),
            "dataset_valid": None if valid is None else Subset(whole, valid.tolist()),
        }
        self.rows: Rows | None = None
        self.has_unknown = sparse.issparse(targets) and has_unknown(targets)
        if valid is not None:
            seen = as_features(X if encoded is None else encoded, input_dtype or dtype, device)
            features = ChosenFeatures(seen, valid, device)
            self.rows = ArrayRows(features, targets[valid], None, dtype, device)

    def show(self, net: Any, train_loss: float, hooks: frozenset[str]) -> float | None:
        """Show the end of an epoch to skorch's callbacks; return the validation loss, if any."""
        if not hooks:  # skorch's checkpoints read a last batch
            net.history.new_batch()
            net.history.record_batch("train_loss", train_loss)
        return None if self.rows is None else self._loss(net, self.rows, hooks)

    def _loss(self, net: Any, rows: Rows, hooks: frozenset[str]) -> float:
        """Mean loss of the validation part, its batches shown to the callbacks that ask."""
        total = 0.0
        order = torch.arange(len(rows), device=net.device)
        for x, codes, share in rows.batches(order, net.batch_size):
            if hooks:
                net.notify("on_batch_begin", batch=(x, codes), training=False)
            with torch.no_grad():
                with net.autocast():
                    output = without_graph(net.module_, x.clone)
                logits = net.read(output)
                if self.has_unknown:
                    loss = net.batch_loss(codes, share, logits)
                else:
                    loss = net.unweighted(logits, codes)
            total += float(loss) * len(x)
            if hooks:
                net.history.record_batch("valid_loss", float(loss))
                net.history.record_batch("valid_batch_size", len(x))
                net.notify(
                    "on_batch_end", batch=(x, codes), training=False, loss=loss, y_pred=logits
                )
        return total / len(rows)


def _indexable(X: Any) -> Any:
    return sparse.csr_matrix(X) if sparse.issparse(X) else X


def _kind(targets: NDArray[Any]) -> type[np.generic]:
    """Codes come in the smallest type that holds them; skorch's callbacks expect the usual one."""
    return np.int64 if targets.dtype.kind in "iu" else targets.dtype.type


def _dense(labels: Any) -> NDArray[Any]:
    """Return labels as a dense matrix, with NaN where a label is not known."""
    matrix: NDArray[Any] = labels.toarray()
    return np.where(matrix < 0, np.nan, matrix) if has_unknown(labels) else matrix
