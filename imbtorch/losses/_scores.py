"""A stand-in for the loss of a net whose outputs are scores that no loss belongs to."""

from __future__ import annotations

from imbtorch.losses._cross_entropy import CrossEntropyLoss

__all__: list[str] = []


class TauNormalizedScores(CrossEntropyLoss):
    """Stand-in for the loss after ``tau_normalize``: the outputs are no posterior of a loss."""

    has_posterior = False
