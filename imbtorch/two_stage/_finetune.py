"""The second stage of decoupled training: a new head, or one factor per class."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from torch import Tensor, nn

from imbtorch._common.seed import draw_seeds, private_torch_rng
from imbtorch._data.targets import encode_labels
from imbtorch._fit.estimator import BaseNetEstimator
from imbtorch.modules import CosineLinear
from imbtorch.training.data.rows import as_features
from imbtorch.training.prediction import predict_chunks
from imbtorch.two_stage._head import Tap, check_rows, copy_of, find_head, publish, scale_rows

__all__ = ["finetune_head"]

Net = TypeVar("Net", bound=BaseNetEstimator)

# what the second stage knows better than the first
_BALANCE = (
    "class_counts_",
    "class_prior_",
    "effective_prior_",
    "class_weight_",
    "interrupted_",
    "_n_rows_seen",
)
# settings of the first stage that have no place in the second
_PLAIN = {
    "validation_fraction": None,
    "early_stopping": False,
    "warm_start": False,
    "callbacks": None,
}


def finetune_head(
    estimator: Net,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    method: str = "crt",
    head: str | None = None,
    sampler: Any = "class_balanced",
    class_weight: str | Mapping[Any, float] | ArrayLike | None = None,
    loss: Any = "cross_entropy",
    max_epochs: int = 10,
    lr: float | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Net:
    r"""Train the last layer of a fitted classifier again, on balanced classes.

    The second stage of decoupled training. Features are best learned from the data as they are,
    decisions from balanced classes. Everything below the head is frozen, running statistics of
    batch normalisation included, and runs as at prediction. Its outputs are computed once: an
    epoch costs no more than one of a linear model.

    Parameters
    ----------
    estimator : ImbalancedNetClassifier
        Fitted, on one label per row; best with ``loss="cross_entropy"`` and neither weights nor
        sampler. It stays as it is.
    X : array-like or sparse matrix of shape (n_samples, n_features, ...)
        Features, as a rule those that ``estimator`` was fitted on.
    y : array-like of shape (n_samples,)
        Labels; every class of ``estimator`` must occur.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Finite weights >= 0.
    method : {"crt", "lws"}, default="crt"
        ``"crt"`` trains a newly initialised head. ``"lws"`` keeps the head and learns one factor
        per class, :math:`z_j' = s_j z_j` with :math:`z = W x + b`; it needs a ``torch.nn.Linear``
        with one row per class.
    head : str or None, default=None
        Name of the head among ``estimator.module_.named_modules()``. None takes the last layer
        that has one row of weights per output and whose output is the module's.
    sampler : str, object with ``plan`` or ``fit_resample``, or None, default="class_balanced"
        What balances the second stage, see :mod:`imbtorch.samplers`.
    class_weight : None, str, dict, array-like or callable, default=None
        The same by weights. Use it with ``sampler=None``.
    loss : str, BaseLoss or torch loss, default="cross_entropy"
        What the second stage minimises. Cosines need one with a scale, such as
        :class:`imbtorch.losses.LDAMLoss`.
    max_epochs : int, default=10
        Passes over the data in the second stage.
    lr : float or None, default=None
        Its peak learning rate. None is that of ``estimator``; but with Adam and AdamW, whose steps
        have the size of the rate, 0.2 over the root of the width of the features, and 0.05 for
        ``"lws"``: a head alone bears more than a whole net, and gets few steps.
    random_state : int, RandomState or None, default=None
        Seed of the second stage; None derives it from that of ``estimator``.

    Returns
    -------
    ImbalancedNetClassifier
        A new fitted estimator. Its parameters are those of ``estimator``, so that a clone repeats
        the first stage; ``loss_``, ``history_``, ``effective_prior_``, ``class_weight_`` and
        ``class_counts_`` are those of the second.

    Raises
    ------
    TypeError
        If ``estimator`` is not an :class:`ImbalancedNetClassifier`.
    ValueError
        If it has several labels per row, the data do not fit it, no head is found, or a parameter
        is invalid.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Notes
    -----
    The optimizer, its schedule, batch size, device and dtype are those of ``estimator``; ``"lws"``
    has no weight decay.

    The result describes the population of the second stage, balanced classes;
    ``target_prior="train"`` leads back to the data as they came. After ``"crt"`` those
    probabilities are as good as the features. Those of ``"lws"`` are good only where factors
    happen to be enough: between two classes with logits :math:`\pm z` they move no decision.

    Compare it with ``target_prior="uniform"`` on the first stage, which needs no training and
    often decides as well.

    References
    ----------
    .. [1] Kang et al. (2020). "Decoupling Representation and Classifier for Long-Tailed
           Recognition". ICLR. :arxiv:`1910.09217`

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from imbtorch import ImbalancedNetClassifier, finetune_head
    >>> from imbtorch.datasets import make_long_tailed
    >>> X, y = make_long_tailed(*load_digits(return_X_y=True), 20, random_state=0)
    >>> first = ImbalancedNetClassifier(loss="cross_entropy", random_state=0).fit(X, y)
    >>> second = finetune_head(first, X, y)
    >>> second.effective_prior_.round(2)
    array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    >>> proba = second.set_params(target_prior="train").predict_proba(X)
    """
    if method not in ("crt", "lws"):
        raise ValueError(f"method must be 'crt' or 'lws'; got {method!r}.")
    result = copy_of(estimator)
    layer = find_head(result, head)
    given = result.random_state if random_state is None else random_state
    seeds = draw_seeds(given, 8)[6:]  # the first six are those of ``fit``
    changed: dict[str, Any] = {"lr": _rate(result, layer, method) if lr is None else lr}
    if method == "lws":
        check_rows(layer, result, "method='lws' scales the logits of the classes")
        trained: nn.Module = _Scale(len(result.classes_))
        changed["weight_decay"] = 0.0
    else:
        trained = _initialised_anew(layer, seeds[0])
    second = type(result)(
        **{
            **_settings(result),
            **changed,
            "module": nn.Sequential(trained),
            "loss": loss,
            "class_weight": class_weight,
            "sampler": sampler,
            "max_epochs": max_epochs,
            "device": result.device_,
            "random_state": seeds[1],
        }
    )
    second._validate_params()
    X = result._check_X(X, reset=False)
    _check_classes(X, y, result.classes_)
    second.fit(_tapped(result, layer, X, outputs=method == "lws"), y, sample_weight)
    learned = second.module_[0]
    if method == "lws":
        scale_rows(layer, learned.scale)
    else:
        layer.load_state_dict(learned.state_dict())
    publish(result, second.loss_)
    result.__dict__.update({name: getattr(second, name) for name in _BALANCE})
    result.net_.history_ = second.history_
    result._log_target_shift(vars(result))  # complain now rather than at prediction
    fitted: Net = result
    return fitted


class _Scale(nn.Module):
    """One factor per class on given logits, ``(n, c) -> (n, c)``."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n_classes))

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.scale


def _initialised_anew(layer: nn.Module, seed: int) -> nn.Module:
    """Copy the head, on the CPU, with new weights that can be trained."""
    fresh = copy.deepcopy(layer).cpu().requires_grad_(True)
    with private_torch_rng(seed, torch.device("cpu")):
        for part in fresh.modules():
            reset = getattr(part, "reset_parameters", None)
            if isinstance(part, CosineLinear):
                nn.init.uniform_(part.weight, -1, 1)
            elif callable(reset):
                reset()
            elif any(True for _ in part.parameters(recurse=False)):
                raise ValueError(
                    f"The head holds {part}, which has no reset_parameters() to start anew with."
                )
    return fresh


def _settings(estimator: Any) -> dict[str, Any]:
    """Parameters of the first stage that the second one shares."""
    params = estimator.get_params(deep=False)
    ours = {name for name in params if name.endswith("_schedule")} - {"lr_schedule"}
    return {**params, **_PLAIN, **dict.fromkeys(ours)}  # a schedule belongs to its loss or sampler


def _rate(estimator: Any, layer: nn.Module, method: str) -> float:
    """Learning rate of the second stage."""
    if estimator.optimizer not in ("adam", "adamw"):
        return float(estimator.lr)
    if method == "lws":
        return 0.05
    widths = (p[0].numel() for p in layer.parameters() if p.ndim > 1)
    return float(0.2 / max(widths, default=1) ** 0.5)  # weights start at 1 over the root, too


def _check_classes(X: Any, y: Any, classes: NDArray[Any]) -> None:
    check_consistent_length(X, y)
    present, _ = encode_labels(column_or_1d(y))
    if not np.array_equal(present, classes):
        raise ValueError(
            f"y must hold each class of the estimator, {classes.tolist()}, and no other; it has "
            f"{present.tolist()}."
        )


def _tapped(estimator: Any, layer: nn.Module, X: Any, *, outputs: bool) -> NDArray[Any]:
    """Compute what goes into the head for each row, or its outputs, without autograd."""
    net = estimator.net_
    features = as_features(X, net.dtype, torch.device(net.device), resident=False)
    with Tap(layer) as tap:

        def read(logits: Tensor) -> Tensor:
            if tap.args[0].shape[0] != len(logits) or not torch.equal(net.read(tap.output), logits):
                raise ValueError("The output of the head is not that of the module on these rows.")
            return logits if outputs else tap.args[0].to(net.dtype)

        return np.concatenate(
            [chunk.cpu().numpy() for chunk in predict_chunks(net, features, read)]
        )
