"""Training on mixtures: all rows in a new order, each mixed with another of its batch."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betainc
from torch import Tensor

from imbtorch._common.sklearn_private import Interval
from imbtorch.samplers._base import BaseSampler, Plan, ShufflePlan

__all__ = ["Mixed", "Mixup", "Remix"]

_ALPHA = [Interval(Real, 0, None, closed="neither")]


class Mixed(NamedTuple):
    """A batch of mixtures.

    Attributes
    ----------
    x : Tensor of shape (b, ...)
        Mixed features.
    partner : Tensor of int64, shape (b,)
        Place in the batch of the row that each was mixed with; for its target and its weight.
    partner_codes : Tensor
        ``codes[partner]``.
    own_share : Tensor of shape (b,)
        Weight of the row's own target in the loss; the partner's has the rest.

    Examples
    --------
    >>> import torch
    >>> from imbtorch.samplers import Mixed
    >>> one, two = torch.tensor([1.0]), torch.tensor([2])
    >>> Mixed(x=one, partner=two, partner_codes=two, own_share=one).own_share
    tensor([1.])
    """

    x: Tensor
    partner: Tensor
    partner_codes: Tensor
    own_share: Tensor


def _mix(x: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each row with a random other; return the mixtures, the others and the own shares.

    numpy draws the shares: torch's beta takes no generator, and so the same seed gives the same
    mixtures on every device.
    """
    own = torch.from_numpy(rng.beta(alpha, alpha, len(x))).to(device=x.device, dtype=x.dtype)
    partner = torch.from_numpy(rng.permutation(len(x))).to(x.device)
    mixed = torch.lerp(x[partner], x, own.reshape(-1, *[1] * (x.ndim - 1)))
    return mixed, partner, own


class Mixup(BaseSampler):
    r"""Mix each row, and its target, with another row of the batch.

    .. math::
        \tilde x = \lambda x_i + (1 - \lambda) x_j, \qquad
        L = \lambda\, l(z, y_i) + (1 - \lambda)\, l(z, y_j), \qquad
        \lambda \sim \text{Beta}(\alpha, \alpha)

    with one :math:`\lambda` per row.

    Parameters
    ----------
    alpha : float > 0, default=0.2
        With small values most rows are hardly mixed; with 1 every share is equally likely.

    Notes
    -----
    Use it as a regulariser: it does nothing about imbalance by itself.

    References
    ----------
    Zhang et al. (2018), "mixup: Beyond empirical risk minimization", ICLR. :arxiv:`1710.09412`

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from imbtorch.samplers import Mixup
    >>> x, codes = torch.eye(4), torch.tensor([0, 0, 0, 1])
    >>> mixed = Mixup().mix(x, codes, torch.tensor([3, 1]), np.random.default_rng(0))
    >>> mixed.x.sum(dim=1)
    tensor([1., 1., 1., 1.])
    """

    name = "mixup"
    _takes_labels = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"alpha": _ALPHA}

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = alpha

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        return ShufflePlan(targets, n_classes, seed)

    def mix(self, x: Tensor, codes: Tensor, counts: Tensor, rng: np.random.Generator) -> Mixed:
        """Mix one batch.

        Parameters
        ----------
        x : Tensor of shape (b, ...)
            Features, of a floating type.
        codes : Tensor of shape (b,) or (b, n_labels)
            Class of each row, or its labels.
        counts : Tensor of shape (n_classes,)
            Rows of each class in the training part; not needed here.
        rng : numpy.random.Generator
            Random numbers.

        Returns
        -------
        Mixed
            The mixtures, and what the loss needs.
        """
        mixed, partner, own = _mix(x, self.alpha, rng)
        return Mixed(mixed, partner, codes[partner], own)


class _RemixPlan(ShufflePlan):
    """Plain shuffling, whose expected counts are of labels of mixtures instead of rows."""

    def __init__(
        self, codes: Any, n_classes: int, seed: int, alpha: float, kappa: float, tau: float
    ) -> None:
        super().__init__(codes, n_classes, seed)
        self.kappa = kappa
        # E[share; share >= tau] of a Beta(alpha, alpha) share: what a frequent class keeps
        self.kept = 0.5 * (1 - float(betainc(alpha + 1, alpha, tau)))

    def expected_counts(self, n_epochs: int | None = None) -> NDArray[np.float64]:
        """Sum the shares of each class in the labels of the mixtures."""
        n = self.counts
        expected = np.zeros(len(n))
        for code in np.flatnonzero(n):  # a row of the table at a time: c^2 may be large
            # rows of this class meet n_j / n of class j, as first or as second of the pair
            share = np.ones(len(n))
            share[n[code] >= self.kappa * n] = 2 * self.kept
            share[self.kappa * n[code] <= n] = 2 - 2 * self.kept
            expected[code] = n[code] * (n @ share) / self.n_rows
        return expected


class Remix(BaseSampler):
    r"""Mix rows as mixup does, but give the label to the rarer class where it clearly is rarer.

    Features are mixed with :math:`\lambda \sim \text{Beta}(\alpha, \alpha)`; the weight of the
    row's own label is

    .. math::
        \lambda_y = \begin{cases}
            0 & n_i / n_j \ge \kappa \text{ and } \lambda < \tau \\
            1 & n_i / n_j \le 1 / \kappa \text{ and } 1 - \lambda < \tau \\
            \lambda & \text{otherwise}
        \end{cases}

    where :math:`n_i` and :math:`n_j` are the sizes of the classes of the row and its partner.

    Parameters
    ----------
    alpha : float > 0, default=0.2
        With small values most rows are hardly mixed; with 1 every share is equally likely.
    kappa : float > 1, default=3.0
        How many times larger the other class has to be.
    tau : float in [0, 1], default=0.5
        Mixtures with less than this share of the larger class get the label of the smaller one; 0
        is mixup.

    Notes
    -----
    Use it to push the boundary towards frequent classes without repeating rare rows. Rows are drawn
    as they are: ``expected_counts`` counts the labels of the mixtures, since the net learns the
    prior from these.

    References
    ----------
    Chou et al. (2020), "Remix: Rebalanced mixup", ECCV workshops. :arxiv:`2007.03943`

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from imbtorch.samplers import Remix
    >>> x, codes = torch.eye(4), torch.tensor([0, 0, 0, 1])
    >>> mixed = Remix().mix(x, codes, torch.tensor([90, 10]), np.random.default_rng(0))
    >>> mixed.own_share.shape
    torch.Size([4])
    """

    name = "remix"
    _counts_rows = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": _ALPHA,
        "kappa": [Interval(Real, 1, None, closed="neither")],
        "tau": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, alpha: float = 0.2, kappa: float = 3.0, tau: float = 0.5) -> None:
        self.alpha = alpha
        self.kappa = kappa
        self.tau = tau

    def _plan(self, targets: Any, n_classes: int, batch_size: int, seed: int) -> Plan:
        return _RemixPlan(targets, n_classes, seed, self.alpha, self.kappa, self.tau)

    def mix(self, x: Tensor, codes: Tensor, counts: Tensor, rng: np.random.Generator) -> Mixed:
        """Mix one batch.

        Parameters
        ----------
        x : Tensor of shape (b, ...)
            Features, of a floating type.
        codes : Tensor of int64, shape (b,)
            Class of each row.
        counts : Tensor of shape (n_classes,)
            Rows of each class in the training part, on the device of ``codes``.
        rng : numpy.random.Generator
            Random numbers.

        Returns
        -------
        Mixed
            The mixtures, and what the loss needs.
        """
        mixed, partner, own = _mix(x, self.alpha, rng)
        n_own = counts[codes]
        n_partner = n_own[partner]
        goes_away = (n_own >= self.kappa * n_partner) & (own < self.tau)
        stays = (self.kappa * n_own <= n_partner) & (1 - own < self.tau)
        own = own.masked_fill(goes_away, 0.0).masked_fill(stays, 1.0)
        return Mixed(mixed, partner, codes[partner], own)
