"""Balanced MSE: squared error as if the training targets were uniformly distributed."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from imbtorch._common.sklearn_private import Interval, StrOptions
from imbtorch.losses._shapes import reduce, row_weights, single_precision
from imbtorch.losses.regression._base import BaseRegressionLoss, Floats, check_pair

__all__ = ["BalancedMSELoss"]

_MAX_ROWS = 50_000  # of a mixture of a few Gaussians; more change its third digit only


class BalancedMSELoss(BaseRegressionLoss):
    r"""Balanced MSE: squared error as if the training targets were uniformly distributed.

    A net with Gaussian noise of variance :math:`s^2` models :math:`p(y | x)` for uniform targets;
    the likelihood that is maximised is that of the training rows, which are not uniform:

    .. math:: \ell_i = 2 s^2 \Bigl[ \frac{(\hat y_i - y_i)^2}{2 s^2} +
        \log \int e^{-(\hat y_i - y)^2 / 2 s^2} \, p_{\mathrm{train}}(y) \, dy \Bigr]

    The integral is a sum over the targets of the batch (``"bmc"``), exact for a Gaussian mixture
    fitted to the targets (``"gai"``), or a sum over the bins of a histogram (``"bni"``).

    Parameters
    ----------
    kind : {"bmc", "gai", "bni"}, default="bmc"
        How the integral is computed. Only ``"bmc"`` needs no ``prepare``. ``"bni"`` is for one
        target.
    noise : float > 0, default=0.5
        Initial standard deviation :math:`s` of the noise, in units of the target that the loss
        sees. The estimators standardise their targets: there 1 would mean that nothing is known.
    learn_noise : bool, default=True
        Whether :math:`s` is a parameter of the loss, to be given to the optimizer: ``log_scale``,
        the logarithm of its ratio to ``noise``. The leading factor is constant in the gradient.
    n_components : int, default=8
        Gaussians of the mixture, for ``"gai"``.
    n_bins : int, default=100
        Bins of equal width, for ``"bni"``.
    reduction : {"mean", "sum", "none", "weighted_mean"}, default="mean"
        See :class:`BaseRegressionLoss`; ``"none"`` gives one value per row.

    Notes
    -----
    Use it where the score gives all parts of the target's range the same weight, and the relation
    is about as noisy everywhere. It overshoots on purpose: its squared error on data distributed
    like the training rows is larger. With ``"gai"`` and ``"bni"`` values may be negative.

    Several targets are one vector with the same noise in each direction; values are divided by
    their number. Row weights multiply the terms of the rows and, with ``"bmc"``, the summands in
    the integral too, so that a weight of 2 equals the row twice. ``"bmc"`` compares the rows of a
    batch: its value depends on the batch size, and its cost grows with the square; from a few
    thousand rows in a batch on prefer ``"gai"``.

    References
    ----------
    .. [1] Ren et al. (2022). "Balanced MSE for Imbalanced Visual Regression". :arxiv:`2203.16427`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.losses.regression import BalancedMSELoss
    >>> prediction, target = torch.tensor([0.2, 1.0, 3.0]), torch.tensor([0.0, 1.5, 2.0])
    >>> round(BalancedMSELoss(noise=1.0)(prediction, target).item(), 4)
    1.2001
    """

    name = "balanced_mse"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "kind": [StrOptions({"bmc", "gai", "bni"})],
        "noise": [Interval(Real, 0, None, closed="neither")],
        "learn_noise": ["boolean"],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "n_bins": [Interval(Integral, 1, None, closed="left")],
    }
    _test_params: ClassVar[tuple[dict[str, Any], ...]] = (
        {"noise": 1.0},
        {"kind": "gai", "n_components": 2},
        {"kind": "bni", "n_bins": 5, "learn_noise": False},
    )

    log_frequency: Tensor | None
    means: Tensor | None
    variances: Tensor | None
    axes: Tensor | None

    def __init__(
        self,
        kind: str = "bmc",
        noise: float = 0.5,
        learn_noise: bool = True,
        n_components: int = 8,
        n_bins: int = 100,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.kind = kind
        self.noise = noise
        self.learn_noise = learn_noise
        self.n_components = n_components
        self.n_bins = n_bins
        self.log_scale = nn.Parameter(torch.zeros(()))
        for name in ("log_frequency", "means", "variances", "axes"):
            self.register_buffer(name, None)

    @property
    def sigma(self) -> Tensor:
        """The noise's standard deviation, now: ``noise * exp(log_scale)``."""
        log_scale = self.log_scale if self.learn_noise else self.log_scale.detach()
        return self.noise * log_scale.exp()

    @property
    def _takes_several_targets(self) -> bool:
        return self.kind != "bni"

    @property
    def sums_over_rows(self) -> bool:
        """Whether a batch's loss is a sum over rows; with ``"bmc"`` rows are compared."""
        return self.kind != "bmc"

    # -- the distribution of the training targets ----------------------------------------------

    def _prepare(self, target: Floats, weight: Floats | None) -> None:
        with torch.no_grad():
            self.log_scale.zero_()
        self.log_scale.requires_grad_(bool(self.learn_noise))
        self.log_frequency = self.means = self.variances = self.axes = None
        if self.kind == "gai":
            self.set_distribution(*_mixture(_resampled(target, weight), self.n_components))
        elif self.kind == "bni":
            self.set_distribution(*_histogram(target, weight, self.n_bins))

    def set_distribution(self, frequency: Any, means: Any, covariances: Any = None) -> None:
        """Set the distribution of the training targets, for ``"gai"`` and ``"bni"``.

        ``prepare`` estimates it and calls this; call it where the distribution is known.

        Parameters
        ----------
        frequency : array-like of shape (m,)
            Positive weights of the components or bins; scaled to sum to 1.
        means : array-like of shape (m,) or (m, k)
            Their means or centres.
        covariances : array-like of shape (m,) or (m, k, k), optional
            Their variances or covariance matrices; None is 0, that of bins.

        Raises
        ------
        ValueError
            If the shapes do not fit, or a frequency is not positive.
        """
        shares = np.asarray(frequency, dtype=np.float64)
        centres = np.asarray(means, dtype=np.float64)
        centres = centres[:, None] if centres.ndim == 1 else centres
        m, k = centres.shape
        spread = np.zeros((m, k, k)) if covariances is None else np.asarray(covariances, np.float64)
        spread = spread[:, None, None] if spread.ndim == 1 else spread
        if shares.shape != (m,) or spread.shape != (m, k, k) or not (shares > 0).all():
            raise ValueError(
                f"Got frequencies of shape {shares.shape}, means {centres.shape} and covariances "
                f"{spread.shape}: give (m,) positive numbers, (m, k) and (m, k, k)."
            )
        # along its principal axes, isotropic noise only adds to each variance of a component
        variances, axes = np.linalg.eigh(spread)
        self.log_frequency = self._tensor(np.log(shares / shares.sum()))
        self.means, self.axes = self._tensor(centres), self._tensor(axes)
        self.variances = self._tensor(variances.clip(min=0))

    def _tensor(self, values: Floats) -> Tensor:
        return torch.as_tensor(values, dtype=self.log_scale.dtype, device=self._home.device)

    # -- value -----------------------------------------------------------------------------

    def per_row(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Loss of each row, not yet multiplied by its weight: ``(n, k), (n, k), (n,) -> (n,)``."""
        sigma = self.sigma.to(prediction.dtype)
        form = self._against_batch if self.kind == "bmc" else self._against_distribution
        values = form(prediction, target, weight, sigma)
        return values * (2 * sigma.detach().square() / prediction.shape[1])

    def _against_batch(
        self, prediction: Tensor, target: Tensor, weight: Tensor | None, sigma: Tensor
    ) -> Tensor:
        # |p_i - y_i|^2 - |p_i - y_j|^2 over 2 s^2, without squares that cancel
        others, own = target.unsqueeze(0), target.unsqueeze(1)
        product = (own - others) * ((own + others) / 2 - prediction.unsqueeze(1))
        single = product.shape[2] == 1  # a sum of one term would still be a copy
        exponent = (product.squeeze(2) if single else product.sum(dim=2)) / sigma.square()
        if weight is not None:
            log_weight = torch.where(weight > 0, weight, 0).log()
            # without any weight nothing is left to sum; each value is multiplied by 0 anyway
            exponent = exponent + torch.where((weight > 0).any(), log_weight, 0)
        return torch.logsumexp(exponent, dim=1)

    def _against_distribution(
        self, prediction: Tensor, target: Tensor, weight: Tensor | None, sigma: Tensor
    ) -> Tensor:
        if self.log_frequency is None:
            raise ValueError(
                f"BalancedMSELoss(kind={self.kind!r}) needs the distribution of the training "
                "targets: call loss.prepare(target) or loss.set_distribution(...) before using it."
            )
        assert self.means is not None
        assert self.axes is not None
        assert self.variances is not None
        dtype, k = prediction.dtype, prediction.shape[1]
        if self.means.shape[1] != k:
            raise ValueError(
                f"BalancedMSELoss was prepared for {self.means.shape[1]} outputs, but the "
                f"prediction has {k}."
            )
        distance = prediction.unsqueeze(1) - self.means.to(dtype)  # (n, m, k)
        if k > 1:
            distance = torch.einsum("nmk,mkc->nmc", distance, self.axes.to(dtype))
        variance = self.variances.to(dtype) + sigma.square()
        log_density = -0.5 * (distance.square() / variance + variance.log()).sum(dim=2)
        own = (prediction - target).square().sum(dim=1) / (2 * sigma.square())
        log_integral = torch.logsumexp(log_density + self.log_frequency.to(dtype), dim=1)
        return own + k * sigma.log() + log_integral

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Reduce the loss over rows.

        Parameters
        ----------
        prediction : Tensor of shape (n,) or (n, k)
            Outputs of a module.
        target : Tensor of the shape of ``prediction``
            Floating point numbers.
        weight : Tensor of shape (n,) or (n, 1), or a scalar, optional
            Row weights.

        Returns
        -------
        Tensor
            A scalar, or a tensor of shape ``(n,)`` with ``reduction="none"``.

        Raises
        ------
        ValueError
            If the shapes differ, the target is not of floats, or ``kind`` needs ``prepare``.
        """
        prediction, target = check_pair(prediction, target)
        n_rows = len(target)
        prediction, target = (
            values.unsqueeze(1) if values.ndim == 1 else values for values in (prediction, target)
        )
        weights = torch.ones_like(target[:, 0])
        if weight is not None:
            given = row_weights(weight, target[:, :1])
            weights = given.to(weights.dtype).expand(n_rows, 1).squeeze(1)
        rows = self.per_row(prediction, target, None if weight is None else weights)
        return reduce(rows * weights, weights, n_rows, self.reduction)

    def batch_loss(self, prediction: Tensor, target: Tensor, share: Tensor) -> Tensor:
        """Loss of a batch, a scalar.

        Parameters
        ----------
        prediction, target : Tensor of shape (n, k)
            Outputs of the module, and what they should be.
        share : Tensor of shape (n,)
            Row weights divided by n.
        """
        rows = self.per_row(single_precision(prediction), target, share * len(share))
        return torch.dot(rows.to(share.dtype), share)


def _resampled(target: Floats, weight: Floats | None) -> Floats:
    """Rows in proportion to their weight: scikit-learn's mixture takes no weights."""
    if weight is None and len(target) <= _MAX_ROWS:
        return target
    # taken at equal steps of the sorted weights: for one target as good as the weights themselves
    order = np.lexsort(target.T[::-1])
    mass = np.cumsum(np.ones(len(target)) if weight is None else weight[order])
    n_rows = min(_MAX_ROWS, max(len(target), 1000))
    steps = (np.arange(n_rows) + 0.5) * (mass[-1] / n_rows)
    drawn: Floats = target[order[np.searchsorted(mass, steps)]]
    return drawn


def _mixture(target: Floats, n_components: int) -> tuple[Floats, Floats, Floats]:
    n_distinct = len(np.unique(target, axis=0))
    # a component narrower than a hundredth of the spread is a value that repeats
    floor = max(1e-4 * float(target.var()), math.ulp(1.0))
    mixture = GaussianMixture(min(n_components, n_distinct), reg_covar=floor, random_state=0)
    if len(target) == 1:  # scikit-learn asks for two rows
        target = np.repeat(target, 2, axis=0)
    mixture.fit(target)
    used = mixture.weights_ > 0
    return mixture.weights_[used], mixture.means_[used], mixture.covariances_[used]


def _histogram(target: Floats, weight: Floats | None, n_bins: int) -> tuple[Floats, Floats]:
    if target.shape[1] != 1:
        raise ValueError(
            f"kind='bni' is for one target, but there are {target.shape[1]}: most bins of a joint "
            "histogram are empty. Use kind='gai' or kind='bmc'."
        )
    counts, edges = np.histogram(target[:, 0], bins=n_bins, weights=weight)
    used = counts > 0
    return counts[used].astype(np.float64), ((edges[1:] + edges[:-1]) / 2)[used]
