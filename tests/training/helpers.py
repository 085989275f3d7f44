"""Modules and callbacks that the tests of the training share."""

import skorch.callbacks as sc
import torch
from torch import nn


class Plain(nn.Module):
    """Not a chain, because of the copy, so that autograd does the work."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        return torch.tanh(self.layer(x)).clone()


class WatchBatches(sc.Callback):
    def initialize(self):
        self.seen = []
        return self

    def on_batch_end(self, net, batch=None, training=None, loss=None, y_pred=None, **kwargs):
        self.seen.append((training, len(batch[0]), tuple(y_pred.shape), loss.item()))


def watched(clf):
    """Return what WatchBatches saw in the last fit."""
    (seen,) = [cb.seen for _, cb in clf.net_.callbacks_ if isinstance(cb, WatchBatches)]
    return seen
