"""A last layer whose outputs are cosines."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["CosineLinear"]


class CosineLinear(nn.Module):
    r"""Last layer whose logits are cosines, in [-1, 1].

    .. math:: z_j = \frac{w_j^\top x}{\lVert w_j \rVert \, \lVert x \rVert}

    The length of the weights has no effect; it would be larger for frequent classes. Losses with a
    margin and a scale, such as :class:`imbtorch.losses.LDAMLoss`, are made for it.

    Parameters
    ----------
    in_features : int
        Width of the features.
    out_features : int
        Number of logits.

    References
    ----------
    .. [1] Cao et al. (2019). "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
           Loss". :arxiv:`1906.07413`

    Examples
    --------
    >>> import torch
    >>> from imbtorch import CosineLinear
    >>> bool((CosineLinear(4, 3)(torch.randn(5, 4)).abs() <= 1).all())
    True
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Compute cosines: ``(n, in_features) -> (n, out_features)``."""
        return F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}"
