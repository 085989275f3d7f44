"""Nets, a loss and a training loop, for packages that leave these to the user."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from features_ways import BATCH_SIZE, EPOCHS, HIDDEN, LR, Array
from torch import Tensor, nn


class Mlp(nn.Sequential):
    """The net for packages that need a module."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__(nn.Linear(n_features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, n_outputs))


class LazyMlp(nn.Module):
    """A net for data of any width and dtype, and up to three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 3))

    def forward(self, X: Tensor) -> Tensor:
        return self.layers(X.float())


class Focal(nn.Module):
    """The focal loss as users of packages without one write it."""

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        p = logits.softmax(-1).gather(1, y[:, None])[:, 0]
        return -((1 - p) ** self.gamma * p.log()).mean()


def softmax(logits: Tensor) -> Tensor:
    return logits.softmax(-1)


def scikeras_net(meta: dict[str, Any], kind: str = "softmax", module: Any = None) -> Any:
    import keras

    n_features = meta["n_features_in_"]
    n_outputs = {"softmax": meta["n_classes_"], "sigmoid": 1}.get(kind, meta["n_classes_"])
    last = keras.layers.Dense(n_outputs, "softmax" if kind == "softmax" else "sigmoid")
    layers = [keras.layers.Dense(HIDDEN, "relu"), last]
    if module is not None:
        inside = nn.Sequential(module(n_features, n_outputs), nn.Softmax(-1))
        layers = [keras.layers.TorchModuleWrapper(inside, output_shape=(None, n_outputs))]
    return keras.Sequential([keras.layers.Input((n_features,)), *layers])


class Loop:
    """A training loop that a user writes: one logit, a loss, a sampler of rows."""

    def __init__(self, loss: Any = None, sampler: Any = None, module: Any = Mlp) -> None:
        self.loss, self.sampler, self.module = loss, sampler, module

    def fit(self, X: Array, y: Array) -> Loop:
        torch.manual_seed(0)
        self.net_ = self.module(X.shape[1], 1)
        loss = self.loss or nn.BCEWithLogitsLoss()
        data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y)[:, None].float())
        batches = torch.utils.data.DataLoader(
            data, BATCH_SIZE, sampler=self.sampler, shuffle=self.sampler is None
        )
        optimizer = torch.optim.Adam(self.net_.parameters(), LR)
        for _ in range(EPOCHS):
            for rows, targets in batches:
                optimizer.zero_grad()
                loss(self.net_(rows), targets).backward()
                optimizer.step()
        return self

    def predict_proba(self, X: Array) -> Array:
        with torch.no_grad():
            p = self.net_(torch.tensor(X)).sigmoid().numpy()
        return np.hstack([1 - p, p])
