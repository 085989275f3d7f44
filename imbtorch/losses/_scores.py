"""What stands for the loss of a net whose outputs are scores of no loss."""

from __future__ import annotations

from imbtorch.losses._cross_entropy import CrossEntropyLoss

__all__: list[str] = []


class TauNormalizedScores(CrossEntropyLoss):
    """Stands for the loss after ``tau_normalize``: the outputs are no posterior of any loss."""

    has_posterior = False
