"""Builders of networks that are sized from the data, and whatever else may stand for a module.

A new builder is one subclass of ``ModuleBuilder`` in a file of its own, imported here.
"""

from __future__ import annotations

from imbtorch.modules._build import (
    ModuleBuilder,
    build_module,
    check_width,
    get_module,
    is_builder,
    logits_of,
    members_of,
    set_output_bias,
)
from imbtorch.modules._cosine import CosineLinear
from imbtorch.modules._embedding import CategoryEmbeddings
from imbtorch.modules._mlp import MLP
from imbtorch.modules._module_class import ModuleClass
from imbtorch.modules._periodic import PeriodicEmbeddings
from imbtorch.modules._tabm import TabM

__all__ = [
    "MLP",
    "CategoryEmbeddings",
    "CosineLinear",
    "ModuleBuilder",
    "ModuleClass",
    "PeriodicEmbeddings",
    "TabM",
    "build_module",
    "check_width",
    "get_module",
    "is_builder",
    "logits_of",
    "members_of",
    "set_output_bias",
]
