r"""Losses that look at the probability of the true class only: one formula, every form.

Write a loss as a function of the margin :math:`m = \log p_t - \log(1 - p_t)`. In the sigmoid form
:math:`m = \pm z`; in the softmax form it is the logit of the true class against all others
together. The margin does not saturate where :math:`p_t` rounds to 0 or 1, so nothing here does.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from scipy.optimize import brentq
from torch import Tensor

from imbtorch.losses._base import BaseLoss
from imbtorch.losses._log_space import log_not_each, pick

__all__ = ["TrueClassMixin"]

_NEWTON_STEPS, _NEWTON_TOLERANCE = 50, 1e-7  # whose square is what the last step leaves
_LARGEST_MARGIN = 1e4


def _log_odds_of_others(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits above that of the true class, minus infinity at it, and their log-sum-exp."""
    # the difference first: two logits of 1e4 are close to each other, their sums are rounded
    index = target.unsqueeze(1)
    above = (logits - logits.gather(1, index)).scatter(1, index, float("-inf"))
    return above, torch.logsumexp(above, dim=1)


class TrueClassMixin(BaseLoss):
    """Softmax form, sigmoid form, gradient and inverse link from ``_value`` and ``_log_slope``.

    Place it before ``BaseLoss`` in the bases.
    """

    def _value(self, margin: Tensor) -> Tensor:
        """Loss at this margin, element by element."""
        raise NotImplementedError

    def _log_slope(self, margin: Tensor) -> Tensor:
        r"""Compute :math:`\log(-\partial \ell / \partial \log p_t)`, element by element."""
        raise NotImplementedError

    def _value_and_derivative(self, margin: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and its derivative with respect to the margin."""
        log_rest = F.logsigmoid(-margin)  # d log p / d m = 1 - p
        return self._value(margin), -torch.exp(self._log_slope(margin) + log_rest)

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``(n, c), (n,) -> (n,)``."""
        if logits.shape[1] == 2:
            return self._value(pick(logits, target) - pick(logits, 1 - target))
        return self._value(-_log_odds_of_others(logits, target)[1])

    def per_label(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of each label: ``(n, l), (n, l) -> (n, l)``."""
        return self._value((2 * target - 1) * logits)

    def with_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Multiply the derivative by the margin with what a logit does to the margin."""
        if logits.shape[1] == 2:
            sign = target.to(logits.dtype).mul_(2).sub_(1)
            value, derivative = self._value_and_derivative((logits[:, 1] - logits[:, 0]) * sign)
            upper = derivative * sign
            return value, torch.stack([-upper, upper], dim=1)
        above, log_sum = _log_odds_of_others(logits, target)
        value, derivative = self._value_and_derivative(-log_sum)
        derivative, softmax = derivative.unsqueeze(1), torch.exp(above - log_sum.unsqueeze(1))
        return value, (-derivative * softmax).scatter(1, target.unsqueeze(1), derivative)

    def with_label_gradient(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Give the derivative by the margin the sign of the label."""
        sign = (2 * target).sub_(1)
        value, derivative = self._value_and_derivative(sign * logits)
        return value, derivative * sign

    def log_posterior(self, logits: Tensor) -> Tensor:
        r"""Inverse link: the risk minimiser :math:`q` has :math:`\eta_j \propto q_j / slope(q_j)`.

        Minimising :math:`\sum_j \eta_j \ell(q_j)` on the simplex makes
        :math:`\eta_j \, \partial \ell / \partial q_j` equal for all classes.
        """
        log_q = torch.log_softmax(logits, dim=1)
        if not self.has_posterior:
            return log_q
        return torch.log_softmax(log_q - self._log_slope(log_q - log_not_each(log_q)), dim=1)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log-odds of each label, as the posterior of two classes: ``(n, l) -> (n, l)``."""
        if not self.has_posterior:
            return logits
        return logits - self._log_slope(logits) + self._log_slope(-logits)

    def initial_bias(self, log_prior: Tensor) -> Tensor | None:
        """Output bias that minimises the loss of a net without inputs.

        Newton's method on ``log q_j - log slope(q_j) = log prior_j + c`` and ``sum_j q_j = 1``; of
        two classes only the margin between them is unknown.
        """
        if not self.has_posterior:
            return None
        shift = self.log_prior_shift()
        wanted = torch.log_softmax(log_prior if shift is None else log_prior + shift, dim=0)
        if len(wanted) == 2:
            margin = self._margin_at(float(wanted[1] - wanted[0]))
            return F.logsigmoid(wanted.new_tensor([-margin, margin]))
        log_q, constant = wanted.detach().clone(), torch.zeros((), dtype=wanted.dtype)
        for _ in range(_NEWTON_STEPS):
            log_q = log_q.clamp_max(-1e-15).detach().requires_grad_()
            log_rest = torch.log(-torch.expm1(log_q))
            link = log_q - self._log_slope(log_q - log_rest)
            (rise,) = torch.autograd.grad(link.sum(), log_q)
            q, error = log_q.detach().exp(), wanted + constant - link.detach()
            change = (1 - q.sum() - (q * error / rise).sum()) / (q / rise).sum()
            step = ((error + change) / rise).clamp(-1, 1)
            log_q, constant = log_q.detach() + step, constant + change
            if step.abs().max() < _NEWTON_TOLERANCE:
                break
        return log_q

    def _margin_at(self, log_odds: float) -> float:
        """Margin whose posterior has these log-odds: a root that searches find once per net."""

        def excess(margin: float) -> float:
            slope = self._log_slope(torch.tensor([margin, -margin], dtype=torch.float64))
            return margin - float(slope[0] - slope[1]) - abs(log_odds)

        reach = max(abs(log_odds), 1.0)
        while excess(reach) < 0 and reach < _LARGEST_MARGIN:
            reach *= 2
        margin = brentq(excess, 0, reach) if excess(reach) > 0 else reach
        return math.copysign(margin, log_odds)
