"""What a regressor does between its data and its net: loss, net, score, outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import check_scoring

from imbtorch._common.memo import Memo
from imbtorch._data.target_scaling import TargetScale, density_factor, read_values
from imbtorch._fit.split import TrainingSplit
from imbtorch._publish.onnx import ExportMixin, Served, portable
from imbtorch.losses.regression import as_regression_loss
from imbtorch.training.checkpoint import Checkpoint
from imbtorch.training.data.features import ChosenFeatures
from imbtorch.training.data.observers import observing_layers
from imbtorch.training.data.rows import as_features
from imbtorch.training.data.validation import rows_to_score
from imbtorch.training.learned_loss import train_loss_parameters
from imbtorch.training.net import Net
from imbtorch.training.prediction import predict_chunks
from imbtorch.training.run import Fitting

__all__ = ["RegressionMixin"]

Floats = NDArray[np.float64]


class RegressionMixin(ExportMixin):
    """Steps of ``fit`` and ``predict`` on standardised targets."""

    _predicts = "predictions"

    # of the estimator
    averaging: Any
    callbacks: Any
    density_weight: Any
    dtype: Any
    early_stopping: Any
    loss: Any
    loss_: Any
    lr_schedule: Any
    max_epochs: Any
    net_: Any
    scoring: Any
    sharpness: float
    target_mean_: Any
    validation_fraction: Any
    warm_start: Any
    _build_net: Any
    _check_X: Any
    _checked: Any
    _learn: Any
    _monitors: Any
    _resolved_batch_size: Any
    _resume_net: Any
    _seeds: Any

    _scale_: TargetScale
    _is_vector_: bool
    _seen_: Floats  # rows trained on, and their weight

    def _net_for(
        self,
        part: TrainingSplit,
        weights: Any,
        seed: int,
        batch_size: int,
        *,
        resumed: bool,
        chunk: bool,
    ) -> Net:
        chosen = part.chosen
        targets = part.targets[chosen]
        if resumed and chunk:
            loss = copy.deepcopy(self.loss_)
        else:
            loss = as_regression_loss(self.loss)
            loss.prepare(targets, None if weights is None else weights[chosen])
        if resumed:
            former = self.loss_
            same = type(former) is type(loss) and former.get_params() == loss.get_params()
            net: Net = self._resume_net(loss, batch_size)
            train_loss_parameters(net, keep=same)
            return net
        n_outputs = targets.shape[1]
        bias = torch.zeros(n_outputs)
        net = self._build_net(part.X, loss, "values", n_outputs, bias, seed, batch_size)
        layers = observing_layers(net.module_)
        if layers and self.sharpness > 0:
            raise ValueError(
                f"sharpness={self.sharpness} evaluates each batch twice, but "
                f"{type(layers[0]).__name__} looks at its targets once; use sharpness=0."
            )
        for layer in layers:
            if hasattr(layer, "prepare"):
                layer.prepare(targets)
        return net

    def _scorer(
        self, attributes: dict[str, Any], X: Any, y: Floats, targets: Floats, weight: Floats
    ) -> Callable[[], float]:
        """Score the present weights on the validation rows."""
        view = copy.copy(self)
        view.__dict__.update(attributes)
        view.__dict__.pop("feature_names_in_", None)  # X is an array by now
        if self.scoring is not None:
            scorer = check_scoring(view, scoring=self.scoring)
            return lambda: float(scorer(view, X, y))
        if not weight.any():
            return lambda: float("nan")

        def minus_mean_squared_error() -> float:
            errors = np.square(view._outputs(X) - targets).mean(axis=1)
            return -float(np.average(errors, weights=weight))

        return minus_mean_squared_error

    def _outputs(self, X: Any) -> NDArray[Any]:
        """Predict the standardised targets, ``(n, n_targets)``."""
        net, features = self.net_, X
        if not isinstance(X, ChosenFeatures):
            X = self._check_X(X, reset=False)
            features = as_features(X, net.dtype, torch.device(net.device), resident=False)
        chunks = predict_chunks(net, features, lambda output: output)
        return np.concatenate([chunk.cpu().numpy() for chunk in chunks])

    def _serving(self) -> Served:
        """From rows to targets in their own units, for an export."""
        mean, scale = (torch.from_numpy(part) for part in (self._scale_.mean, self._scale_.scale))
        vector = self._is_vector_

        def restore(outputs: torch.Tensor) -> torch.Tensor:  # float64: means may be large
            values = outputs.double() * scale + mean
            return values.squeeze(1) if vector else values

        return Served(portable(self).net_, restore)

    # -- training --------------------------------------------------------------------------

    def _fitting(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        rows: NDArray[Any] | None,
        memo: Memo,
        checkpoint: Checkpoint | None,
    ) -> Fitting:
        resumed = self.warm_start and hasattr(self, "net_")
        interrupted: bool = yield from self._train(
            X, y, sample_weight, rows, memo, checkpoint, resumed=resumed, chunk=False
        )
        return interrupted

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        rows: NDArray[Any] | None,
        memo: Memo,
        checkpoint: Checkpoint | None = None,
        *,
        resumed: bool,
        chunk: bool,
        shuffle: bool = True,
    ) -> Fitting:
        given = X, y
        y, is_vector = memo.once(read_values, (y,))
        X, y, sample_weight = self._checked(X, y, sample_weight, reset=not resumed, memo=memo)
        values = y.reshape(len(y), -1)
        if resumed and values.shape[1] != len(self.target_mean_):
            raise ValueError(
                f"y has {values.shape[1]} targets, but {type(self).__name__} was fitted on "
                f"{len(self.target_mean_)}."
            )
        part = TrainingSplit(X, values, sample_weight, rows)
        seeds = self._seeds(4, checkpoint, part)
        valid = None
        if not chunk and (self.early_stopping or self.validation_fraction is not None):
            valid = part.hold_out_at_random(self.validation_fraction or 0.1, seeds[0])
        own = np.ones(len(y)) if sample_weight is None else sample_weight
        counted = own[part.chosen]
        scale = self._scale_ if resumed else TargetScale.of(values[part.chosen], counted)
        factor = density_factor(self.density_weight, values, part.index, sample_weight)
        seen = np.array([part.n_rows, counted.sum()]) + (self._seen_ if resumed and chunk else 0)
        mean = None
        if chunk and seen[1] != seen[0]:  # the scale of the weights is that of the stream
            factor, mean = np.ones(len(y)), seen[1] / seen[0]
        weights = part.weigh_rows(self.dtype, factor, mean)
        part.targets = scale.standardize(values)
        batch_size = self._resolved_batch_size(X.shape[0] if rows is None else len(rows))
        net = self._net_for(part, weights, seeds[1], batch_size, resumed=resumed, chunk=chunk)
        net.keeps_optimizer = net.keeps_optimizer or chunk
        attributes = {"net_": net, "_scale_": scale, "_is_vector_": is_vector, "_seen_": seen}
        score = None
        if valid is not None:
            weight = (own if factor is None else own * factor)[valid]
            rows_scored = (  # a scorer of the user's own may look at them
                X[valid] if callable(self.scoring) else rows_to_score(X, valid, net, X, memo)
            )
            score = self._scorer(attributes, rows_scored, y[valid], part.targets[valid], weight)
        # another order, and other dropout masks, every time
        n_before = len(net.history) if chunk else 0
        interrupted: bool = yield from self._learn(
            net,
            part,
            (weights, None),
            attributes,
            (seeds[2] + n_before, seeds[3] + n_before),
            plan=None if shuffle else lambda epoch, n_epochs: np.arange(part.n_rows),
            epochs=1 if chunk else self.max_epochs,
            lr_schedule="constant" if chunk else self.lr_schedule,
            averaging=None if chunk else self.averaging,
            monitors=self._monitors(score, attributes, given, sample_weight),
            shown=(X, part.targets, part.index, valid) if self.callbacks else None,
            memo=memo,
            checkpoint=checkpoint,
        )
        return interrupted
