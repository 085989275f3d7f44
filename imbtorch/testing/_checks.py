"""The public functions: which checks apply to an object, and all of them at once."""

from __future__ import annotations

from typing import Any

from imbtorch.losses._base import BaseLoss
from imbtorch.losses._whole_batch import WholeBatchMixin
from imbtorch.losses.regression._base import BaseRegressionLoss
from imbtorch.modules import ModuleBuilder, get_module
from imbtorch.samplers._base import BaseSampler
from imbtorch.testing import (
    _module_checks,
    _parameter_checks,
    _regression_checks,
    _sampler_checks,
    _sigmoid_checks,
    _softmax_checks,
    _whole_batch_checks,
)
from imbtorch.testing._contract import Check

__all__ = [
    "check_loss",
    "check_module",
    "check_regression_loss",
    "check_sampler",
    "loss_checks",
    "module_checks",
    "regression_loss_checks",
    "sampler_checks",
]


# -- losses of classes and labels --------------------------------------------------------------


def loss_checks(loss: BaseLoss) -> list[Check]:
    """List the checks that apply to a loss, by what it declares and what it overrides.

    Parameters
    ----------
    loss : BaseLoss
        The loss, with the hyper-parameters to check it with. It need not be prepared.

    Returns
    -------
    list of callable
        Functions of the loss that raise AssertionError. The attribute ``__name__`` says what each
        one checks, and the docstring why it matters. Losses with a ``name`` are also checked for
        constraints of each parameter and a complete docstring.

    Raises
    ------
    TypeError
        If it is not an object of a subclass of ``BaseLoss``.

    Examples
    --------
    One test for each check, with pytest::

        @pytest.mark.parametrize("check", loss_checks(MyLoss()), ids=lambda check: check.__name__)
        def test_my_loss(check):
            check(MyLoss())

    >>> from imbtorch.losses import FocalLoss
    >>> from imbtorch.testing import loss_checks
    >>> "check_gradient" in [check.__name__ for check in loss_checks(FocalLoss())]
    True
    """
    _require_type(loss, BaseLoss, "check_loss")
    cls = type(loss)
    softmax = cls.per_sample is not BaseLoss.per_sample
    sigmoid = cls.per_label is not BaseLoss.per_label
    neutral = cls._neutral_params is not None
    return [
        *_parameter_checks.PARAMETER_CHECKS,
        *_parameter_checks.DOCUMENTATION_CHECKS * bool(loss.name),
        *_whole_batch_checks.WHOLE_BATCH_CHECKS * isinstance(loss, WholeBatchMixin),
        *_softmax_checks.SOFTMAX_CHECKS * softmax,
        *_sigmoid_checks.SIGMOID_CHECKS * sigmoid,
        *_softmax_checks.NEUTRAL_CHECKS * (softmax and neutral),
        *_sigmoid_checks.NEUTRAL_SIGMOID_CHECKS * (sigmoid and neutral),
    ]


def check_loss(loss: BaseLoss) -> None:
    """Check that a loss keeps the contract of :class:`imbtorch.losses.BaseLoss`.

    Among others: gradients against finite differences; finite values and gradients at logits of
    +-1e4, in float32 as exact as in float64; weights against rows that are repeated; permuted rows
    and classes; reductions, extra dimensions, dtypes, devices, pickling and ``state_dict``.

    Parameters
    ----------
    loss : BaseLoss
        The loss, with the hyper-parameters to check it with. It need not be prepared.

    Raises
    ------
    AssertionError
        If the loss breaks the contract. The message says what was found and how to fix it.
    TypeError
        If it is not an object of a subclass of ``BaseLoss``.

    See Also
    --------
    loss_checks : The checks one by one.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses import BaseLoss, FocalLoss
    >>> from imbtorch.testing import check_loss
    >>> check_loss(FocalLoss(gamma=1.0))
    >>> class UnsafeLoss(BaseLoss):
    ...     def per_sample(self, logits, target):
    ...         return -torch.softmax(logits, dim=1).gather(1, target[:, None])[:, 0].log()
    >>> check_loss(UnsafeLoss())
    Traceback (most recent call last):
        ...
    AssertionError: UnsafeLoss() fails check_extreme_logits.
    What must hold: Value and gradient are finite for logits of +-1e4, as after a too large step.
    What was found: values of logits up to 1e4 are not finite: ...
    How to fix it: Compute in log space: torch.log_softmax(logits, dim=1) instead of ...
    """
    for check in loss_checks(loss):
        check(loss)


# -- losses of continuous targets --------------------------------------------------------------


def regression_loss_checks(loss: BaseRegressionLoss) -> list[Check]:
    """List the checks that apply to a loss of continuous targets.

    Parameters
    ----------
    loss : BaseRegressionLoss
        The loss, with the hyper-parameters to check it with. It need not be prepared.

    Returns
    -------
    list of callable
        Functions of the loss that raise AssertionError. Losses with a ``name`` are also checked for
        constraints of each parameter and a complete docstring.

    Raises
    ------
    TypeError
        If it is not an object of a subclass of ``BaseRegressionLoss``.

    Examples
    --------
    >>> from imbtorch.losses.regression import HuberLoss
    >>> from imbtorch.testing import regression_loss_checks
    >>> "check_gradient" in [check.__name__ for check in regression_loss_checks(HuberLoss())]
    True
    """
    _require_type(loss, BaseRegressionLoss, "check_regression_loss")
    elementwise = type(loss).per_output is not BaseRegressionLoss.per_output
    return [
        *_regression_checks.REGRESSION_CHECKS,
        *_regression_checks.NAMED_CHECKS * bool(loss.name),
        *_regression_checks.ELEMENTWISE_CHECKS * elementwise,
        *_regression_checks.NEUTRAL_CHECKS * (loss._neutral_params is not None),
    ]


def check_regression_loss(loss: BaseRegressionLoss) -> None:
    """Check that a loss of continuous targets keeps the contract of ``BaseRegressionLoss``.

    Among others: gradients against finite differences, finite values for large errors, weights
    against rows that are repeated, reductions, several outputs, dtypes, pickling.

    Parameters
    ----------
    loss : BaseRegressionLoss
        The loss, with the hyper-parameters to check it with. It need not be prepared.

    Raises
    ------
    AssertionError
        If the loss breaks the contract. The message says what was found and how to fix it.
    TypeError
        If it is not an object of a subclass of ``BaseRegressionLoss``.

    See Also
    --------
    regression_loss_checks : The checks one by one.

    Examples
    --------
    >>> from imbtorch.losses.regression import BaseRegressionLoss
    >>> from imbtorch.testing import check_regression_loss
    >>> class FourthPower(BaseRegressionLoss):
    ...     def per_output(self, prediction, target):
    ...         return (prediction - target) ** 4
    >>> check_regression_loss(FourthPower())
    """
    for check in regression_loss_checks(loss):
        check(loss)


# -- samplers ----------------------------------------------------------------------------------


def sampler_checks(sampler: BaseSampler) -> list[Check]:
    """List the checks that apply to a sampler.

    Parameters
    ----------
    sampler : BaseSampler
        The sampler, with parameters that fit four classes of 300, 60, 0 and 15 rows in batches of
        32.

    Returns
    -------
    list of callable
        Functions of the sampler that raise AssertionError. Samplers with a ``name`` are also
        checked for constraints of each parameter and a complete docstring.

    Raises
    ------
    TypeError
        If it is not an object of a subclass of ``BaseSampler``.

    Examples
    --------
    >>> from imbtorch.samplers import UnderSampler
    >>> from imbtorch.testing import sampler_checks
    >>> "check_expected_counts" in [check.__name__ for check in sampler_checks(UnderSampler())]
    True
    """
    _require_type(sampler, BaseSampler, "check_sampler")
    return [*_sampler_checks.SAMPLER_CHECKS, *_sampler_checks.NAMED_CHECKS * bool(sampler.name)]


def check_sampler(sampler: BaseSampler) -> None:
    """Check that a sampler keeps the contract of :class:`imbtorch.samplers.BaseSampler`.

    Among others: epochs that follow from the seed alone, in any order; the expected counts against
    the mean over 400 epochs; classes without rows; a sampler and targets that stay as they are;
    bad targets.

    Parameters
    ----------
    sampler : BaseSampler
        The sampler, with parameters that fit four classes of 300, 60, 0 and 15 rows in batches of
        32.

    Raises
    ------
    AssertionError
        If the sampler breaks the contract. The message says what was found and how to fix it.
    TypeError
        If it is not an object of a subclass of ``BaseSampler``.

    See Also
    --------
    sampler_checks : The checks one by one.

    Examples
    --------
    >>> from imbtorch.samplers import UnderSampler
    >>> from imbtorch.testing import check_sampler
    >>> check_sampler(UnderSampler(ratio=2.0))
    """
    for check in sampler_checks(sampler):
        check(sampler)


# -- modules -----------------------------------------------------------------------------------


def module_checks(module: Any) -> list[Check]:
    """List the checks that apply to whatever may stand for a module.

    Parameters
    ----------
    module : str, ModuleBuilder, callable, torch.nn.Module class or torch.nn.Module
        What would be given to an estimator as ``module``.

    Returns
    -------
    list of callable
        Functions of ``(module, input_shape, n_outputs)`` that raise AssertionError. A builder's
        parameters are checked as well, and those with a ``name`` for constraints of each parameter
        and a complete docstring.

    Examples
    --------
    >>> from imbtorch import MLP
    >>> from imbtorch.testing import module_checks
    >>> "check_row_alone" in [check.__name__ for check in module_checks(MLP())]
    True
    """
    return _module_checks.checks_of(_builder_of(module))


def check_module(module: Any, input_shape: tuple[int, ...], n_outputs: int) -> None:
    """Check that an estimator can train, copy, save and predict with a module.

    Among others: outputs of the right shape and dtype that are logits, one row at a time; a network
    that is new in each fit and follows from the seed; gradients of all parameters; pickling and
    ``state_dict``; and, of a builder, its parameters.

    Parameters
    ----------
    module : str, ModuleBuilder, callable, torch.nn.Module class or torch.nn.Module
        What would be given to an estimator as ``module``.
    input_shape : tuple of int
        Shape of one row of ``X``.
    n_outputs : int
        Number of outputs to check it with.

    Raises
    ------
    AssertionError
        If the module breaks the contract. The message says what was found and how to fix it.

    See Also
    --------
    module_checks : The checks one by one.

    Examples
    --------
    >>> from torch import nn
    >>> from imbtorch import MLP
    >>> from imbtorch.testing import check_module
    >>> check_module(MLP((8,)), input_shape=(5,), n_outputs=3)
    >>> check_module(nn.Sequential(nn.Linear(5, 3), nn.Softmax(dim=1)), (5,), 3)
    Traceback (most recent call last):
        ...
    AssertionError: Sequential(
      (0): Linear(in_features=5, out_features=3, bias=True)
      (1): Softmax(dim=1)
    ) fails check_logits.
    What must hold: Outputs are logits, not probabilities.
    What was found: its last layer is Softmax(dim=1).
    How to fix it: Leave out the softmax or sigmoid at the end: losses take logits.
    """
    module = _builder_of(module)
    for check in _module_checks.checks_of(module):
        check(module, tuple(input_shape), n_outputs)


def _builder_of(module: Any) -> Any:
    """Turn the name or the class of a builder into a builder."""
    if isinstance(module, str):
        return get_module(module)
    if isinstance(module, type) and issubclass(module, ModuleBuilder):
        return module()
    return module


def _require_type(thing: object, cls: type, name: str) -> None:
    if not isinstance(thing, cls):
        hint = f"Give an object: {name}({thing.__name__}())." if isinstance(thing, type) else ""
        raise TypeError(
            f"{name} takes an object of a subclass of {cls.__name__}; got {thing!r}. {hint}".strip()
        )
