"""Mean of the predictions of regressing nets, in the units of the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.model_selection import KFold
from sklearn.utils.validation import check_array
from torch import Tensor

from imbtorch._common.inputs import SeveralInputs
from imbtorch._common.sklearn_private import _safe_indexing
from imbtorch._data.target_scaling import read_values
from imbtorch._fit.input_checks import check_fitted
from imbtorch._publish.onnx import MeanOf, portable
from imbtorch.ensemble._members import NetMembers, spread
from imbtorch.model_selection._cross_fit import mean_over_folds
from imbtorch.regressor import ImbalancedNetRegressor

__all__ = ["RegressingMembers", "as_matrix", "read_targets"]

Floats = NDArray[np.float64]
Positions = NDArray[np.integer[Any]]


class RegressingMembers(RegressorMixin, NetMembers):
    """Base of the regressors that predict by the mean of several nets."""

    _out_of_fold: ClassVar[tuple[str, ...]] = ("oof_predict_",)
    _predicts = "predictions"

    estimator: ImbalancedNetRegressor | None
    estimators_: list[ImbalancedNetRegressor]

    @property
    def _base(self) -> ImbalancedNetRegressor:
        return ImbalancedNetRegressor() if self.estimator is None else self.estimator

    def _fold_targets(self, y: Any) -> NDArray[Any]:
        return np.asarray(read_targets(y))

    def _folds_of(self, n_folds: int, targets: NDArray[Any], seed: int) -> Any:
        return KFold(n_folds, shuffle=True, random_state=seed)

    # -- folds -----------------------------------------------------------------------------

    def _predict_folds(
        self, X: Any, y: Any, sample_weight: Any, tests: Sequence[Positions]
    ) -> None:
        """Predict the rows of each fold by the members that were not trained on them."""
        predictions = [
            self._mean_of(members, _safe_indexing(X, rows))
            for members, rows in zip(self._fold_models(), tests, strict=True)
        ]
        n_rows = len(read_targets(y))
        self.oof_predict_ = self._shaped(mean_over_folds(tests, predictions, n_rows)[0])

    def _mean_of(self, members: Sequence[int], X: Any) -> Floats:
        """Return the mean of the predictions of some members, ``(n, n_targets)``."""
        found = [as_matrix(self.estimators_[i].predict(X)) for i in members]
        shares = self._member_weights
        mean = np.average(found, axis=0, weights=None if shares is None else shares[list(members)])
        return np.asarray(mean)

    # -- predictions -----------------------------------------------------------------------

    def _shaped(self, values: NDArray[Any]) -> Floats:
        """Return values of shape (n, n_targets) with the number of dimensions that ``y`` had."""
        return values.ravel() if self.estimators_[0]._is_vector_ else values

    def _restored(self) -> list[Callable[[Tensor], Tensor]]:
        """Return what makes targets in their own units of the outputs of each member."""
        return [
            member.net_.task.over_members(_in_units(member.target_mean_, member.target_scale_))
            for member in self.estimators_
        ]

    def _check_member(self, member: Any, X: Any) -> None:
        member.predict(X)

    def _serving(self) -> MeanOf:
        """Return what makes mean predictions of rows, for an export."""
        nets = [portable(member).net_ for member in self.estimators_]
        vector = self.estimators_[0]._is_vector_
        shares, folds = self._shares(), self._fold_models()
        return MeanOf(
            nets, self._restored(), lambda v: v.squeeze(1) if vector else v, shares, folds
        )

    def predict(self, X: ArrayLike | SeveralInputs) -> Floats:
        """Mean of the predictions of the members.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of float64, shape (n_samples,) or (n_samples, n_targets)
            In the units of ``y``, and of its number of dimensions.
        """
        check_fitted(self, "estimators_")
        restored, shares = self._restored(), self._shares()

        def mean(outputs: Sequence[Tensor]) -> Tensor:
            pairs = zip(restored, outputs, strict=True)
            values = torch.stack([restore(output.cpu()) for restore, output in pairs])
            return values.mean(dim=0) if shares is None else torch.tensordot(shares, values, dims=1)

        return self._shaped(self._over_members(X, mean))

    def predict_std(self, X: ArrayLike | SeveralInputs) -> Floats:
        """Disagreement of the members: standard deviation of their predictions.

        It is not the spread of the targets around the prediction, which may be much larger.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of float64, shape (n_samples,) or (n_samples, n_targets)
            In the units of ``y``; 0 where all members agree.
        """
        check_fitted(self, "estimators_")
        restored = self._restored()
        unit = torch.from_numpy(self.estimators_[0].target_scale_)  # squares of it could overflow

        def std(outputs: Sequence[Tensor]) -> Tensor:
            pairs = zip(restored, outputs, strict=True)
            values = torch.stack([restore(output.cpu()) / unit for restore, output in pairs])
            return spread(values, self._shares()) * unit

        return self._shaped(self._over_members(X, std))


def read_targets(y: Any) -> NDArray[Any]:
    """Check targets, and return them as an array of finite numbers."""
    read = read_values(y)
    checked: NDArray[Any] = check_array(read, ensure_2d=False, dtype=np.float64, input_name="y")
    return checked


def as_matrix(values: NDArray[Any]) -> NDArray[Any]:
    """Return targets of shape ``(n,)`` or ``(n, n_targets)`` as ``(n, n_targets)``."""
    return values.reshape(len(values), -1)


def _in_units(mean: Floats, scale: Floats) -> Callable[[Tensor], Tensor]:
    """Return a function from standardised targets to targets in float64, which keeps digits."""
    centre, unit = torch.from_numpy(mean), torch.from_numpy(scale)
    return lambda outputs: outputs.double() * unit + centre
