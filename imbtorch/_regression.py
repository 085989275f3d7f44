"""What a regressor does between its data and its net: loss, net, score, outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import check_scoring

from imbtorch._training_part import TrainingPart
from imbtorch.losses.regression import as_regression_loss
from imbtorch.training.batches import as_features
from imbtorch.training.learned_loss import train_loss_parameters
from imbtorch.training.net import _Net
from imbtorch.training.observers import observing_layers
from imbtorch.training.prediction import predict_chunks

__all__ = ["RegressionMixin"]

Floats = NDArray[np.float64]


class RegressionMixin:
    """Steps of ``fit`` and ``predict`` on standardised targets."""

    sharpness: float
    loss: Any
    loss_: Any
    net_: Any
    scoring: Any
    _build_net: Any
    _resume_net: Any

    def _net_for(
        self,
        part: TrainingPart,
        weights: Any,
        seed: int,
        batch_size: int,
        *,
        resumed: bool,
        chunk: bool,
    ) -> _Net:
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
            net: _Net = self._resume_net(loss, batch_size)
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
        """Predict the standardised targets of checked rows, ``(n, n_targets)``."""
        net = self.net_
        features = as_features(X, net.dtype, torch.device(net.device), resident=False)
        chunks = predict_chunks(net, features, lambda output: output)
        return np.concatenate([chunk.cpu().numpy() for chunk in chunks])
