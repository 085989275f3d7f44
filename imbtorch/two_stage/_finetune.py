"""The second stage of decoupled training: train a new head, or one factor per class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from torch import Tensor, nn

from imbtorch._common.seed import draw_seeds, private_torch_rng
from imbtorch._fit.estimator import BaseNetEstimator
from imbtorch._tasks.classes import encode_labels
from imbtorch.modules import CosineLinear
from imbtorch.modules._build import copied_module, members_of
from imbtorch.modules._member_layers import MemberHeads
from imbtorch.modules._state import full_state, restore_full_state
from imbtorch.training.data.features import Features
from imbtorch.training.prediction import predict_chunks
from imbtorch.two_stage._head import Tap, check_rows, copy_of, find_head, publish, scale_rows

__all__ = ["finetune_head", "tapped"]

Net = TypeVar("Net", bound=BaseNetEstimator)

# fitted attributes that the result takes from the second stage
_BALANCE = (
    "class_counts_",
    "class_prior_",
    "effective_prior_",
    "class_weight_",
    "interrupted_",
    "_n_rows_seen",
)
# settings of the first stage that are replaced in the second
_PLAIN = {
    "validation_fraction": None,
    "early_stopping": False,
    "warm_start": False,
    "callbacks": None,
    "param_groups": None,
    "aux_loss": None,
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

    This is the second stage of decoupled training: features are best learned from the unchanged
    data, decisions from balanced classes. All layers below the head are frozen, including running
    statistics of batch normalisation, and work as in prediction. Their outputs are computed only
    once, so an epoch takes no longer than an epoch of a linear model.

    Parameters
    ----------
    estimator : ImbalancedNetClassifier
        Classifier fitted on one label per row, preferably with ``loss="cross_entropy"`` and
        without weights and sampler. It is not changed.
    X : array-like or sparse matrix of shape (n_samples, n_features, ...)
        Features, usually those that ``estimator`` was fitted on.
    y : array-like of shape (n_samples,)
        Labels; every class of ``estimator`` must occur.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Finite weights >= 0 of the rows.
    method : {"crt", "lws"}, default="crt"
        ``"crt"`` trains a newly initialised head. ``"lws"`` keeps the head and learns one factor
        per class, :math:`z_j' = s_j z_j` with :math:`z = W x + b`; it needs a ``torch.nn.Linear``
        with one row per class, or the heads of a TabM, whose members share the factors.
    head : str or None, default=None
        Name of the head among ``estimator.module_.named_modules()``. None takes the last layer
        that has one row of weights per output and whose output is the output of the module.
    sampler : str, object with ``plan`` or ``fit_resample``, or None, default="class_balanced"
        Sampler that balances the second stage; see :mod:`imbtorch.samplers`.
    class_weight : None, str, dict, array-like or callable, default=None
        Class weights that balance the second stage instead; use them with ``sampler=None``.
    loss : str, BaseLoss or torch loss, default="cross_entropy"
        Loss of the second stage. A cosine head needs a loss with a scale, such as
        :class:`imbtorch.losses.LDAMLoss`.
    max_epochs : int, default=10
        Number of passes over the data in the second stage.
    lr : float or None, default=None
        Peak learning rate of the second stage. None is the rate of ``estimator``, except with Adam
        and AdamW: there it is 0.2 divided by the square root of the number of features of the
        head, and 0.05 for ``"lws"``. A head alone allows larger steps than a whole net, and gets
        few of them.
    random_state : int, RandomState or None, default=None
        Seed of the second stage; None derives it from the ``random_state`` of ``estimator``.

    Returns
    -------
    ImbalancedNetClassifier
        A new fitted estimator. It has the parameters of ``estimator``, so that a clone of it
        repeats the first stage. Its ``loss_``, ``history_``, ``effective_prior_``,
        ``class_weight_`` and ``class_counts_`` come from the second stage.

    Raises
    ------
    TypeError
        If ``estimator`` is not an :class:`ImbalancedNetClassifier`.
    ValueError
        If ``estimator`` has several labels per row, the data do not fit it, no head is found, or a
        parameter is invalid.
    sklearn.exceptions.NotFittedError
        If ``estimator`` is not fitted.

    Notes
    -----
    Optimizer, schedule, batch size, device and dtype are those of ``estimator``; ``"lws"`` uses no
    weight decay. ``aux_loss`` and ``param_groups`` belong to the first stage.

    The probabilities describe the population of the second stage, with balanced classes;
    ``target_prior="train"`` restates them for the original data. After ``"crt"`` these
    probabilities are as good as the features. After ``"lws"`` they are good only if factors are
    sufficient: between two classes with logits :math:`\pm z` factors change no decision.

    Compare the result with ``target_prior="uniform"`` on the first stage, which needs no training
    and often makes decisions that are just as good.

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
    seeds = draw_seeds(given, 8)[6:]  # ``fit`` uses the first six
    changed: dict[str, Any] = {"lr": _rate(result, layer, method) if lr is None else lr}
    if method == "lws":
        check_rows(layer, result, "method='lws' scales the logits of the classes")
        trained: nn.Module = _Scale(len(result.classes_), members_of(result.module_))
        changed["weight_decay"] = 0.0
    else:
        trained = _on_rows(_initialised_anew(layer, seeds[0]))
    second = type(result)(
        **{
            **_settings(result),
            **changed,
            "module": nn.Sequential(trained),
            "features": None,
            "loss": loss,
            "class_weight": class_weight,
            "sampler": sampler,
            "max_epochs": max_epochs,
            "device": result.device_,
            "random_state": seeds[1],
        }
    )
    second._validate_params()
    features = result._features(X)
    _check_classes(features, y, result.classes_)
    second.fit(tapped(result, layer, features, outputs=method == "lws"), y, sample_weight)
    learned = second.module_[0]
    if method == "lws":
        scale_rows(layer, learned.scale)
    else:
        head_alone = learned.heads if isinstance(learned, _RowsToMembers) else learned
        restore_full_state(layer, full_state(head_alone))
    publish(result, second.loss_)
    result.__dict__.update({name: getattr(second, name) for name in _BALANCE})
    result.net_.history_ = second.history_
    result._link()  # raises an error now rather than at prediction
    fitted: Net = result
    return fitted


class _Scale(nn.Module):
    """Module that multiplies the logits of each class, also those of members, by a factor."""

    def __init__(self, n_classes: int, n_members: int | None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n_classes))
        self.n_members = n_members

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.scale


class _RowsToMembers(nn.Module):
    """Module that gives each member of a TabM its own features, ``(n, k, w) -> (n, k, c)``."""

    def __init__(self, heads: MemberHeads) -> None:
        super().__init__()
        self.heads, self.n_members = heads, heads.n_members

    def forward(self, rows: Tensor) -> Tensor:
        output: Tensor = self.heads(rows.transpose(0, 1) if rows.ndim == 3 else rows)
        return output


def _on_rows(layer: nn.Module) -> nn.Module:
    """Return a module that maps the features of rows, of each member where there are several."""
    return _RowsToMembers(layer) if isinstance(layer, MemberHeads) else layer


def _initialised_anew(layer: nn.Module, seed: int) -> nn.Module:
    """Copy the head to the CPU, with newly initialised weights."""
    fresh = copied_module(layer).cpu().requires_grad_(True)
    with private_torch_rng(seed, torch.device("cpu")):
        for part in fresh.modules():
            reset = getattr(part, "reset_parameters", None)
            if isinstance(part, CosineLinear):
                nn.init.uniform_(part.weight, -1, 1)
            elif callable(reset):
                reset()
            elif any(True for _ in part.parameters(recurse=False)):
                raise ValueError(
                    f"The head holds {part}, which has no reset_parameters() to initialise it "
                    "again. Add this method to its class."
                )
    return fresh


def _settings(estimator: Any) -> dict[str, Any]:
    """Return the parameters of the first stage that the second stage uses, too."""
    params = estimator.get_params(deep=False)
    ours = {name for name in params if name.endswith("_schedule")} - {"lr_schedule"}
    return {**params, **_PLAIN, **dict.fromkeys(ours)}  # schedules fit only the first stage


def _rate(estimator: Any, layer: nn.Module, method: str) -> float:
    """Return the default learning rate of the second stage."""
    if estimator.optimizer not in ("adam", "adamw"):
        return float(estimator.lr)
    if method == "lws":
        return 0.05
    if isinstance(layer, MemberHeads):
        width = layer.in_features
    else:
        width = max((p[0].numel() for p in layer.parameters() if p.ndim > 1), default=1)
    return float(0.2 / width**0.5)  # initial weights scale like this, too


def _check_classes(X: Any, y: Any, classes: NDArray[Any]) -> None:
    check_consistent_length(X, y)
    present, _ = encode_labels(column_or_1d(y))
    if not np.array_equal(present, classes):
        raise ValueError(
            f"y must hold every class of the estimator, {classes.tolist()}, and no other; it has "
            f"{present.tolist()}."
        )


def tapped(estimator: Any, layer: nn.Module, features: Features, *, outputs: bool) -> NDArray[Any]:
    """Compute the inputs of the head for each row, or its outputs, without autograd."""
    net = estimator.net_
    with Tap(layer) as tap:

        def read(logits: Tensor) -> Tensor:
            if len(tap.rows) != len(logits) or not torch.equal(net.read(tap.output), logits):
                raise ValueError(
                    "For these rows the output of the head is not the output of the module. Name "
                    "another layer with head=."
                )
            return logits if outputs else tap.rows.to(net.dtype)

        return np.concatenate(
            [chunk.cpu().numpy() for chunk in predict_chunks(net, features, read)]
        )
