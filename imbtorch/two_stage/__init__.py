"""What a trained net has learned below its last layer: use it, and train that layer again."""

from __future__ import annotations

from imbtorch.two_stage._embed import embed
from imbtorch.two_stage._finetune import finetune_head
from imbtorch.two_stage._tau import tau_normalize

__all__ = ["embed", "finetune_head", "tau_normalize"]
