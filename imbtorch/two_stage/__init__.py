"""Decoupled training: keep the features of a trained net, and retrain or rescale its last layer."""

from __future__ import annotations

from imbtorch.two_stage._finetune import finetune_head
from imbtorch.two_stage._tau import tau_normalize

__all__ = ["finetune_head", "tau_normalize"]
