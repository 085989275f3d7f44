"""Feature distribution smoothing: share feature statistics between neighbouring target values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from imbtorch.density import kernel_window

__all__ = ["FeatureSmoothing"]

_CLIP = (0.1, 10.0)  # limits of ratios of variances, as in the authors' code


class FeatureSmoothing(nn.Module):
    r"""Feature distribution smoothing (FDS): a layer between the features and the head.

    The range of the target is divided into bins. Mean :math:`\mu_b` and variance :math:`v_b` of
    the features of each bin are tracked over the epochs. They are smoothed across neighbouring
    bins, and the features of the training rows are changed to have the smoothed mean and variance:

    .. math:: \tilde h = (h - \mu_b) \sqrt{\tilde v_b / v_b} + \tilde\mu_b

    In evaluation mode the layer does not change its input, so that predictions need no target.

    Parameters
    ----------
    n_features : int
        Number of columns of the input.
    n_bins : int, default=100
        Number of bins of equal width over the range of the target.
    kernel, kernel_size, sigma : str, int, float
        Window of the smoothing; see :func:`imbtorch.density.kernel_window`.
    momentum : float in [0, 1), default=0.9
        Weight of former epochs in the statistics of a bin.
    start_epoch : int, default=1
        First epoch, counted from 0, in which features are changed. Earlier epochs only collect
        statistics.

    Notes
    -----
    The training loop calls ``prepare(target)`` once, ``observe(target)`` before the forward pass of
    each training batch, and ``end_epoch()`` after each epoch. Bins without rows take no part in the
    smoothing. A feature that does not vary within a bin is not changed there. The statistics are
    collected during the epoch, from the features that the layer receives in training mode; the
    authors compute them in an extra pass over all rows after the epoch.

    References
    ----------
    .. [1] Yang et al. (2021). "Delving into Deep Imbalanced Regression". :arxiv:`2102.09554`

    Examples
    --------
    >>> import torch
    >>> from imbtorch.feature_smoothing import FeatureSmoothing
    >>> layer = FeatureSmoothing(1, n_bins=2, kernel="triangular", kernel_size=3)
    >>> target, features = torch.tensor([0.0, 0, 1, 1]), torch.tensor([[1.0], [3], [6], [8]])
    >>> layer = layer.prepare(target)
    >>> for epoch in range(2):
    ...     layer.observe(target)
    ...     smoothed = layer(features)
    ...     layer.end_epoch()
    >>> [round(value, 3) for value in smoothed.flatten().tolist()]
    [2.667, 4.667, 4.333, 6.333]
    """

    low: Tensor
    high: Tensor
    n_epochs: Tensor
    running_mean: Tensor
    running_var: Tensor
    seen: Tensor
    centre: Tensor
    scale: Tensor
    smoothed_mean: Tensor
    window: Tensor
    epoch_count: Tensor
    epoch_mean: Tensor
    epoch_squares: Tensor

    def __init__(
        self,
        n_features: int,
        n_bins: int = 100,
        kernel: str = "gaussian",
        kernel_size: int = 5,
        sigma: float = 2.0,
        momentum: float = 0.9,
        start_epoch: int = 1,
    ) -> None:
        super().__init__()
        if n_features < 1 or n_bins < 1:
            raise ValueError(f"n_features and n_bins must be >= 1; got {n_features}, {n_bins}.")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1); got {momentum!r}.")
        self.n_features = n_features
        self.n_bins = n_bins
        self.momentum = momentum
        self.start_epoch = start_epoch
        shape = (n_bins, n_features)
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("n_epochs", torch.zeros((), dtype=torch.long))
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))
        self.register_buffer("seen", torch.zeros(n_bins, dtype=torch.bool))
        # only these three change the features; their initial values change nothing
        self.register_buffer("centre", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.register_buffer("smoothed_mean", torch.zeros(shape))
        window = torch.as_tensor(kernel_window(kernel, kernel_size, sigma))
        self.register_buffer("window", window.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("epoch_count", torch.zeros(n_bins, 1), persistent=False)
        self.register_buffer("epoch_mean", torch.zeros(shape), persistent=False)
        self.register_buffer("epoch_squares", torch.zeros(shape), persistent=False)
        self._bins: Tensor | None = None
        self._has_range = False

    def extra_repr(self) -> str:
        """Return the sizes for ``repr``."""
        return f"n_features={self.n_features}, n_bins={self.n_bins}"

    # -- methods that the training loop calls ------------------------------------------------

    def prepare(self, target: Any) -> FeatureSmoothing:
        """Set the range of the bins to the range of the training targets; reset all statistics.

        Parameters
        ----------
        target : array-like of shape (n,) or (n, 1)
            Targets of the training rows, in the units of the targets given to ``observe``.

        Returns
        -------
        FeatureSmoothing
            The layer itself.

        Raises
        ------
        ValueError
            If the targets are constant or not finite.
        """
        values = np.asarray(target, dtype=np.float64)
        if not values.size:
            raise ValueError("prepare needs at least one target.")
        return self.set_range(float(values.min()), float(values.max()))

    def set_range(self, low: float, high: float) -> FeatureSmoothing:
        """Set the range of the bins, and reset all statistics.

        Targets outside the range belong to the first or the last bin.
        """
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(
                f"The range of the bins must be finite and low < high; got {low}, {high}."
            )
        self.low.fill_(low)
        self.high.fill_(high)
        for zero in (self.n_epochs, self.running_mean, self.seen, self.centre, self.smoothed_mean):
            zero.zero_()
        self.running_var.fill_(1)
        self.scale.fill_(1)
        self._forget_epoch()
        return self

    def observe(self, target: Tensor) -> None:
        """Set the targets of the batch whose features the next forward pass receives.

        Parameters
        ----------
        target : Tensor of shape (n,) or (n, 1)
            One target per row.

        Raises
        ------
        ValueError
            If there are several targets per row, or the range of the bins is not set.
        """
        if not self._has_range:  # checked only once, because it waits for the device
            if not bool(self.high > self.low):
                raise ValueError(
                    "FeatureSmoothing does not know the range of the target: call prepare(target) "
                    "or set_range(low, high) before training."
                )
            self._has_range = True
        if target.ndim == 2 and target.shape[1] == 1:
            target = target.squeeze(1)
        if target.ndim != 1:
            raise ValueError(
                f"FeatureSmoothing needs one target per row, shape (n,) or (n, 1); got "
                f"{tuple(target.shape)}."
            )
        position = (target.detach().to(self.low.dtype) - self.low) / (self.high - self.low)
        self._bins = (position * self.n_bins).floor().clamp(0, self.n_bins - 1).long()

    def forward(self, features: Tensor) -> Tensor:
        """Change the features of training rows to the smoothed mean and variance of their bin.

        Parameters
        ----------
        features : Tensor of shape (n, n_features)
            Features of the batch; the tensor itself is not changed.

        Returns
        -------
        Tensor of shape (n, n_features)
            The changed features in training mode, the input itself in evaluation mode.

        Raises
        ------
        ValueError
            In training mode, if the targets of these rows have not been observed.
        """
        if not self.training:
            return features
        bins, self._bins = self._bins, None  # observed targets are used for one batch only
        if bins is None or features.shape != (len(bins), self.n_features):
            known = "none" if bins is None else f"{len(bins)} targets"
            raise ValueError(
                f"FeatureSmoothing got features of shape {tuple(features.shape)}, expected "
                f"(n, {self.n_features}), and has observed {known}: in training mode call "
                "observe(target) right before the forward pass of each batch."
            )
        self._collect(features.detach().to(self.epoch_mean.dtype), bins)
        moved = (features - self.centre[bins]) * self.scale[bins] + self.smoothed_mean[bins]
        return moved.to(features.dtype)

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Update the statistics with the epoch that has ended, and smooth them for the next one."""
        count = self.epoch_count
        if bool(count.any()):
            here = count.squeeze(1) > 0
            variance = self.epoch_squares / (count - 1).clamp_min(1)
            kept = torch.where(self.seen, self.momentum, 0.0).to(count.dtype).unsqueeze(1)
            kept = torch.where(here.unsqueeze(1), kept, 1.0)
            self.running_mean.lerp_(self.epoch_mean, 1 - kept)
            self.running_var.lerp_(variance, 1 - kept)
            self.seen |= here
        self.n_epochs += 1
        if int(self.n_epochs) >= self.start_epoch:
            self._calibrate()
        self._forget_epoch()

    # -- statistics --------------------------------------------------------------------------

    @torch.no_grad()
    def _collect(self, features: Tensor, bins: Tensor) -> None:
        """Merge mean and squares of a batch into those of the epoch, without cancellation."""
        count = torch.zeros_like(self.epoch_count)
        count.index_add_(0, bins, torch.ones_like(features[:, :1]))
        mean = torch.zeros_like(self.epoch_mean).index_add_(0, bins, features)
        mean /= count.clamp_min(1)
        squares = torch.zeros_like(mean).index_add_(0, bins, (features - mean[bins]).square())
        total = self.epoch_count + count
        share = count / total.clamp_min(1)
        gap = mean - self.epoch_mean
        self.epoch_mean += gap * share
        self.epoch_squares += squares + gap.square() * (self.epoch_count * share)
        self.epoch_count.copy_(total)

    def _calibrate(self) -> None:
        centre, variance = self.running_mean, self.running_var
        mean, spread = self._smooth(centre), self._smooth(variance)
        varies = self.seen.unsqueeze(1) & (variance > torch.finfo(variance.dtype).tiny)
        ratio = (spread / torch.where(varies, variance, 1)).clamp(*_CLIP)
        # without statistics a bin's features stay unchanged
        self.centre.copy_(torch.where(varies, centre, 0))
        self.smoothed_mean.copy_(torch.where(varies, mean, 0))
        self.scale.copy_(torch.where(varies, ratio.sqrt(), 1))

    def _smooth(self, values: Tensor) -> Tensor:
        """Average over neighbouring bins that have had rows: ``(n_bins, n_features)``."""
        window = self.window.to(values.dtype).view(1, 1, -1)
        seen = self.seen.to(values.dtype)
        half = window.shape[2] // 2
        sums = nn.functional.conv1d((values.T * seen).unsqueeze(1), window, padding=half)
        mass = nn.functional.conv1d(seen.view(1, 1, -1), window, padding=half)
        smoothed: Tensor = (sums / mass.clamp_min(torch.finfo(mass.dtype).tiny)).squeeze(1).T
        return smoothed

    def _forget_epoch(self) -> None:
        for zero in (self.epoch_count, self.epoch_mean, self.epoch_squares):
            zero.zero_()
        self._bins = None
