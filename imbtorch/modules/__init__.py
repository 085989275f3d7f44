"""Networks sized from the data, and whatever else may stand for one."""

from __future__ import annotations

from imbtorch.modules._modules import (
    MLP,
    CosineLinear,
    build_module,
    check_width,
    get_module,
    logits_of,
    set_output_bias,
)

__all__ = [
    "MLP",
    "CosineLinear",
    "build_module",
    "check_width",
    "get_module",
    "logits_of",
    "set_output_bias",
]
