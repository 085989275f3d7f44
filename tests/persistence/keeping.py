"""Modules whose outputs depend on what their state dict lacks, or holds as other than tensors."""

import numpy as np
import torch
from torch import nn


class Keeping(nn.Module):
    """Uses buffers outside of the state dict, a cache that grows, and a counter as extra state."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.out = nn.Linear(input_shape[0], n_outputs)
        self.register_buffer("centre", torch.zeros(input_shape[0]), persistent=False)
        self.register_buffer("cache", torch.zeros(1), persistent=False)
        self.register_buffer("late", None, persistent=False)
        self.steps, self.shift, self.log, self.rates = 0, torch.zeros(n_outputs), [], {}

    def forward(self, x):
        if self.training:
            self.steps += 1
            self.centre.mul_(0.9).add_(0.1 * x.detach().mean(0))
            self.cache = torch.linspace(0, 1, 1 + self.steps % 7).to(self.centre)
            self.late = 0.01 * self.steps * torch.ones(2).to(self.centre)
            self.shift = self.shift + 0.01 * torch.rand(len(self.shift))
            self.rates[self.steps % 3] = float(self.shift[0]), np.float32(0.1)
            self.log.append(self.steps % 5)
        scale = 1 + 0.01 * self.steps + 0.1 * float(self.cache.sum()) + 0.1 * sum(self.log) / 100
        late = 0.0 if self.late is None else self.late.sum()
        rates = sum(number * factor for number, factor in self.rates.values())
        return scale * self.out(x - self.centre) + self.shift + torch.arange(2) * (rates + late)

    def get_extra_state(self):
        plain = {"steps": self.steps, "none": None, "inf": float("inf"), "name": "ä"}
        return {**plain, "shift": self.shift, "log": self.log, "rates": self.rates}

    def set_extra_state(self, state):
        assert state["none"] is None
        assert state["inf"] == float("inf")
        assert state["name"] == "ä"
        self.steps, self.log = state["steps"], list(state["log"])
        self.shift = state["shift"].clone()
        for number, factor in state["rates"].values():
            assert type(number) is float
            assert type(factor) is np.float32
        self.rates = dict(state["rates"])


class Returning(nn.Linear):
    """Its extra state is what the test says."""

    extra = None

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state
