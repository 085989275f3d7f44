"""Checks whether losses, samplers and modules of your own keep their contract.

Each check raises AssertionError with a message that says what is wrong and how to fix it. They need
no test framework; the lists of checks suit ``pytest.mark.parametrize``.
"""

from __future__ import annotations

from imbtorch.testing._checks import (
    check_loss,
    check_module,
    check_regression_loss,
    check_sampler,
    loss_checks,
    module_checks,
    regression_loss_checks,
    sampler_checks,
)
from imbtorch.testing._names import temporary_names

__all__ = [
    "check_loss",
    "check_module",
    "check_regression_loss",
    "check_sampler",
    "loss_checks",
    "module_checks",
    "regression_loss_checks",
    "sampler_checks",
    "temporary_names",
]
