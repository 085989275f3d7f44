"""TabM: an ensemble of nets for tables that share most of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

from torch import nn

from imbtorch._common.sklearn_private import Interval, StrOptions
from imbtorch.modules._build import ModuleBuilder
from imbtorch.modules._member_layers import BatchEnsembleLinear, MemberHeads
from imbtorch.modules._mlp import check_table, layer_sizes

__all__ = ["TabM"]


class TabM(ModuleBuilder):
    r"""Builder of TabM: k multilayer perceptrons that share their weight matrices.

    Each member has factors of its own before and after every shared matrix, biases and a head of
    its own. Every member is trained on every row, and the mean of their probabilities predicts.

    Parameters
    ----------
    hidden_sizes : int or sequence of int, default=(64, 64)
        Width of each hidden layer; a number is one layer. ``()`` leaves the heads alone.
    k : int, default=8
        Number of members. A step takes time in proportion to it.
    dropout : float in [0, 1), default=0.0
        Probability of zeroing a hidden unit of a member during training.
    normalization : "layer" or None, default="layer"
        Layer normalisation of the hidden units of each member, before the activation. Its factors
        are shared by the members. Batch normalisation is left out: it would mix the rows.

    Notes
    -----
    Initialised as in the paper [1]_: the factors before the first matrix are random signs, all
    other factors are ones, and the members share the initial values of their biases. The paper
    has three layers of 512 units, 32 members, a dropout of 0.1 and no normalisation, for tables of
    up to millions of rows. The defaults here are for thousands of rows and one core, and were
    chosen on the development sets of the board (``benchmarks/bench_nets.py``).

    References
    ----------
    .. [1] Gorishniy, Kotelnikov & Babenko (2024). "TabM: Advancing Tabular Deep Learning with
           Parameter-Efficient Ensembling". :arxiv:`2410.24210`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.modules import TabM
    >>> net = TabM(hidden_sizes=(8,), k=4).build(input_shape=(3,), n_outputs=2)
    >>> net[0]
    BatchEnsembleLinear(in_features=3, out_features=8, n_members=4, random_signs=True)
    >>> net(torch.zeros(5, 3)).shape
    torch.Size([5, 4, 2])
    """

    name = "tabm"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_sizes": ["array-like", Integral],
        "k": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "normalization": [StrOptions({"layer"}), None],
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"hidden_sizes": (), "k": 3},
        {"hidden_sizes": (8, 4), "k": 2, "dropout": 0.2, "normalization": None},
        {"hidden_sizes": 8, "k": 1},
    )

    def __init__(
        self,
        hidden_sizes: int | Sequence[int] = (64, 64),
        k: int = 8,
        *,
        dropout: float = 0.0,
        normalization: str | None = "layer",
    ) -> None:
        self.hidden_sizes = hidden_sizes
        self.k = k
        self.dropout = dropout
        self.normalization = normalization

    def build(self, input_shape: tuple[int, ...], n_outputs: int) -> nn.Sequential:
        """Build the network, randomly initialised from torch's current state.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of one row of ``X``; must have one dimension.
        n_outputs : int
            Number of outputs of each member.

        Returns
        -------
        torch.nn.Sequential
            Maps ``(n, n_features)`` to ``(n, k, n_outputs)``.

        Raises
        ------
        ValueError
            If a parameter is out of range, or a row has more than one dimension.
        """
        check_table(self, input_shape)
        sizes = layer_sizes(self.hidden_sizes)
        self._validate_parameters()
        n_members, width = int(self.k), input_shape[0]
        layers: list[nn.Module] = []
        for size in sizes:
            layers.append(BatchEnsembleLinear(width, size, n_members, random_signs=not layers))
            if self.normalization == "layer":
                layers.append(nn.LayerNorm(size))
            layers.append(nn.ReLU(inplace=True))
            if self.dropout > 0:
                layers.append(nn.Dropout(self.dropout))
            width = size
        return nn.Sequential(*layers, MemberHeads(width, n_outputs, n_members))

    def smallest_size(self, n_outputs: int) -> tuple[int, int]:
        """Return lower bounds of the size of the network: each layer has factors and biases.

        Parameters
        ----------
        n_outputs : int
            Number of outputs of each member.

        Returns
        -------
        n_tensors, n_numbers : int
            At least so many tensors, and so many numbers in all of them, are in ``state_dict``.
        """
        sizes = layer_sizes(self.hidden_sizes)
        n_of_layer = 4 if self.normalization is None else 6
        return n_of_layer * len(sizes) + 2, int(self.k) * (2 * sum(sizes) + n_outputs)
