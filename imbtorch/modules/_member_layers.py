"""Layers of nets that share most of their weights, all of which compute in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BatchEnsembleLinear", "MemberHeads"]


class BatchEnsembleLinear(nn.Module):
    r"""Linear layer whose weights k members share, except for factors and a bias of their own.

    .. math:: y_j = s_j \odot W (r_j \odot x_j) + b_j

    It multiplies the shared matrix by the factors, and not the features and the results: for
    batches of tables the matrices of all members are smaller than their activations.

    Parameters
    ----------
    in_features, out_features : int
        Width of the rows, and of the results.
    n_members : int
        Number of members.
    random_signs : bool, default=False
        Whether the factors of the features start as random signs, which differ between the members,
        and not as ones.

    References
    ----------
    .. [1] Wen, Tran & Ba (2020). "BatchEnsemble: An Alternative Approach to Efficient Ensemble and
           Lifelong Learning". :arxiv:`2002.06715`
    .. [2] Gorishniy, Kotelnikov & Babenko (2024). "TabM: Advancing Tabular Deep Learning with
           Parameter-Efficient Ensembling". :arxiv:`2410.24210`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules._member_layers import BatchEnsembleLinear
    >>> BatchEnsembleLinear(4, 3, n_members=2)(torch.zeros(5, 4)).shape
    torch.Size([2, 5, 3])
    """

    def __init__(
        self, in_features: int, out_features: int, n_members: int, *, random_signs: bool = False
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.n_members, self.random_signs = n_members, random_signs
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.scale_in = nn.Parameter(torch.empty(n_members, in_features))
        self.scale_out = nn.Parameter(torch.empty(n_members, out_features))
        self.bias = nn.Parameter(torch.empty(n_members, out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as in the paper: all members start with the same weights, up to the signs."""
        bound = self.in_features**-0.5
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
            self.scale_in.fill_(1.0)
            if self.random_signs:
                self.scale_in.bernoulli_(0.5).mul_(2).sub_(1)
            self.scale_out.fill_(1.0)
            self.bias.copy_(torch.empty_like(self.bias[0]).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the results of all members.

        Parameters
        ----------
        x : Tensor of shape (n, in_features) or (n_members, n, in_features)
            Rows that all members share, or rows of each member.

        Returns
        -------
        Tensor of shape (n_members, n, out_features)
            Results of each member.
        """
        weight = self.weight.t() * self.scale_in.unsqueeze(2) * self.scale_out.unsqueeze(1)
        return torch.baddbmm(self.bias.unsqueeze(1), _for_each(x, self.n_members), weight)

    def extra_repr(self) -> str:
        """Show the sizes."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, n_members={self.n_members}, random_signs={self.random_signs}"


class MemberHeads(nn.Module):
    """Last layer: a linear layer of each member, which shares nothing with the others.

    Parameters
    ----------
    in_features, out_features : int
        Width of the features, and number of outputs.
    n_members : int
        Number of members.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules._member_layers import MemberHeads
    >>> MemberHeads(4, 3, n_members=2)(torch.zeros(2, 5, 4)).shape
    torch.Size([5, 2, 3])
    """

    def __init__(self, in_features: int, out_features: int, n_members: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.n_members = n_members
        self.weight = nn.Parameter(torch.empty(n_members, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(n_members, out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise each head as torch initialises a linear layer."""
        bound = self.in_features**-0.5
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
            self.bias.uniform_(-bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs of all members.

        Parameters
        ----------
        x : Tensor of shape (n, in_features) or (n_members, n, in_features)
            Features that all members share, or features of each member.

        Returns
        -------
        Tensor of shape (n, n_members, out_features)
            Outputs of each member, row by row.
        """
        given = _for_each(x, self.n_members)
        return torch.baddbmm(self.bias.unsqueeze(1), given, self.weight).transpose(0, 1)

    def extra_repr(self) -> str:
        """Show the sizes."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, n_members={self.n_members}"


def _for_each(x: Tensor, n_members: int) -> Tensor:
    """Show rows that all members share to each of them, without a copy."""
    return x.expand(n_members, *x.shape) if x.ndim == 2 else x
