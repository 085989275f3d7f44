"""What estimators have in common that predict by the mean of several nets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import get_tags
from torch import Tensor

from imbtorch._common.seed import draw_seeds
from imbtorch._fit.estimator import BaseNetEstimator
from imbtorch._fit.validation_rows import ValidationRows
from imbtorch._publish.model_card import ModelCardMixin
from imbtorch._publish.model_file import SaveMixin
from imbtorch._publish.notebook import NotebookMixin
from imbtorch._publish.onnx import ExportMixin
from imbtorch.ensemble._folds import member_folds
from imbtorch.model_selection._cross_fit import refuse_lost_groups
from imbtorch.training.prediction import predict_chunks
from imbtorch.training.stack import predict_chunks_stacked

__all__ = ["NetMembers", "spread"]

Floats = NDArray[np.float64]
Reduction = Callable[[Sequence[Tensor]], Tensor]


class NetMembers(
    SaveMixin, ExportMixin, ModelCardMixin, NotebookMixin, MetaEstimatorMixin, BaseEstimator
):
    """Base of the estimators that predict by the mean of several nets."""

    _blends: ClassVar[bool] = False  # whether members have different shares in the mean
    _out_of_fold: ClassVar[tuple[str, ...]]  # attributes that only folds leave behind
    _sets_need: ClassVar[str] = "subset='folds'"  # the parameter without which there are no sets

    cv: object
    random_state: int | np.random.RandomState | None
    estimators_: Sequence[BaseNetEstimator]

    @property
    @abstractmethod
    def _base(self) -> BaseNetEstimator:
        """What the members are clones of."""

    @property
    @abstractmethod
    def _rows_of_members(self) -> str:
        """Which rows a member is trained on, for the model card."""

    @abstractmethod
    def _fold_targets(self, y: Any) -> NDArray[Any]:
        """Check the targets, and return them as an array that splitters take."""

    @abstractmethod
    def _folds_of(self, n_folds: int, targets: NDArray[Any], seed: int) -> Any:
        """Return a splitter that shuffles the rows and makes so many folds."""

    def _divided(self, y: Any, rows: Any, groups: Any, n_folds: int) -> list[ValidationRows]:
        """Divide the rows of a fit by ``cv``; None makes so many folds."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None."
            )
        targets = self._fold_targets(y)
        everything = np.arange(len(targets))
        chosen = everything if rows is None else everything[rows]
        splitter = self.cv
        if splitter is None or isinstance(splitter, int | np.integer):
            refuse_lost_groups(splitter, groups)
            n_folds = n_folds if splitter is None else int(splitter)
            seed = draw_seeds(self.random_state, 1)[0]
            splitter = self._folds_of(n_folds, targets[chosen], seed)
        return member_folds(splitter, targets, chosen, groups)

    @property
    def _member_weights(self) -> Floats | None:
        """Share of each member in the mean; None if all members have the same share."""
        return None

    def _fold_models(self) -> list[list[int]]:
        """Return which members together are the model of each fold, by their positions."""
        return [[i] for i in range(len(self.estimators_))]

    @abstractmethod
    def _predict_folds(
        self, X: Any, y: Any, sample_weight: Any, tests: Sequence[NDArray[np.integer[Any]]]
    ) -> None:
        """Predict the rows of each fold by the members that were not trained on them."""

    def _shares(self) -> Tensor | None:
        """Return the same as a tensor."""
        shares = self._member_weights
        return None if shares is None else torch.from_numpy(shares)

    def _publish(self, members: Sequence[Any]) -> None:
        """Set the attributes that follow from the fitted members."""
        first = members[0]
        self.estimators_ = list(members)
        self.n_features_in_, self._input_shape = first.n_features_in_, first._input_shape
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(first, "feature_names_in_"):
            self.feature_names_in_ = first.feature_names_in_
        self._columns = first._columns

    def _over_members(self, X: Any, reduce: Reduction) -> NDArray[Any]:
        """Reduce the outputs of all members, a list of ``(n, n_outputs)``, chunk by chunk.

        Raises
        ------
        ValueError
            If an output of a member is NaN or infinite; the message names the rows.
        """
        first, nets = self.estimators_[0], [member.net_ for member in self.estimators_]
        every: Iterator[Sequence[Tensor]]
        shared = first.net_.encoder_, first.net_.tables
        if all(net.encoder_ is shared[0] and net.tables is shared[1] for net in nets):
            every = predict_chunks_stacked(nets, first._features(X))
        else:  # members with rows or weights of their own have learned other scales of a table
            every = _side_by_side([_outputs(member, X) for member in self.estimators_])
        values = torch.cat([reduce(outputs) for outputs in every]).cpu().numpy()
        if not np.isfinite(values).all():
            for member in self.estimators_:  # each looks at its own outputs
                self._check_member(member, X)
        return np.asarray(values)

    @abstractmethod
    def _check_member(self, member: Any, X: Any) -> None:
        """Raise ValueError if outputs of a member are NaN or infinite."""

    def __sklearn_tags__(self) -> Any:
        """Say that it accepts what its members accept."""
        tags, inner = super().__sklearn_tags__(), get_tags(self._base)
        tags.input_tags, tags.target_tags = inner.input_tags, inner.target_tags
        tags.classifier_tags, tags.regressor_tags = inner.classifier_tags, inner.regressor_tags
        return tags


def _outputs(member: BaseNetEstimator, X: Any) -> Iterator[Tensor]:
    return predict_chunks(member.net_, member._features(X), lambda outputs: outputs)


def _side_by_side(members: Sequence[Iterator[Tensor]]) -> Iterator[list[Tensor]]:
    """Cut the chunks of all members at the same rows.

    Encoded rows of one member may be wider than those of another, so that its chunks are shorter.
    """
    held = [next(chunks) for chunks in members]
    while held:
        n_rows = min(map(len, held))
        yield [outputs[:n_rows] for outputs in held]
        rest = [outputs[n_rows:] for outputs in held]
        following = [
            outputs if len(outputs) else next(chunks, None)
            for outputs, chunks in zip(rest, members, strict=True)
        ]
        held = [outputs for outputs in following if outputs is not None]


def spread(values: Tensor, shares: Tensor | None) -> Tensor:
    """Return the standard deviation over the first axis.

    Parameters
    ----------
    values : Tensor of shape (n_members, ...)
        Values of the members.
    shares : Tensor of shape (n_members,) or None
        Share of each member, which sum to 1; None if all have the same share.

    Returns
    -------
    Tensor of shape (...)
        Standard deviation of the members around their mean.
    """
    if shares is None:
        return values.std(0, correction=0)
    shares = shares.to(values).reshape(-1, *[1] * (values.ndim - 1))
    mean = (shares * values).sum(0)
    variance: Tensor = (shares * (values - mean).square()).sum(0)
    return variance.sqrt()
