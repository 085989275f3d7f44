"""Decoupling: keep what a net has learned to see, and train or rescale its last layer anew."""

from __future__ import annotations

from imbtorch.two_stage._finetune import finetune_head
from imbtorch.two_stage._tau import tau_normalize

__all__ = ["finetune_head", "tau_normalize"]
