"""The classifier: labels, class weights and priors around a net."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin

from imbtorch._classification import ClassificationMixin
from imbtorch._estimator import BaseNetEstimator
from imbtorch._posterior import PosteriorMixin
from imbtorch._seed import draw_seeds
from imbtorch._sklearn import StrOptions, _check_partial_fit_first_call, fit_context
from imbtorch._training_part import TrainingPart
from imbtorch.samplers import get_sampler
from imbtorch.targets import (
    encode_known_labels,
    encode_label_matrix,
    encode_labels,
    has_several_columns,
)
from imbtorch.weights import depends_on_counts

__all__ = ["ImbalancedNetClassifier"]


class ImbalancedNetClassifier(
    ClassifierMixin, PosteriorMixin, ClassificationMixin, BaseNetEstimator
):
    """Neural network classifier for imbalanced data: binary, multiclass or multi-label.

    Wraps any torch module. Class weights, sample weights and samplers act on every loss, and
    ``predict_proba`` can describe a stated population whatever the net was trained with.

    Parameters
    ----------
    module : str, builder, callable, torch.nn.Module class or instance, default="mlp"
        The network, which returns logits of shape ``(n, n_classes)``, or ``(n, 1)`` for two
        classes. ``"mlp"`` is :class:`imbtorch.MLP` with its defaults, so that
        ``module__hidden_sizes`` works. A builder has ``build(input_shape, n_outputs)``, a callable
        takes the same two arguments, a class is called with those of the two that its constructor
        names. An instance is deep-copied.
    loss : str, BaseLoss or torch loss, default="logit_adjusted"
        What to minimise: a name from :func:`imbtorch.losses.all_losses`, such as ``"focal"``
        (``loss__gamma`` works), an object from :mod:`imbtorch.losses`, or one of torch's losses
        such as ``torch.nn.L1Loss()``.
    class_weight : None, str, dict, array-like or callable, default=None
        Weight of each class: ``"balanced"``, ``"sqrt"``, ``"effective_number"`` or ``"log"``; a
        dict keyed by labels; an array in the order of ``classes_``; a callable of the class
        counts. It multiplies ``sample_weight``.
    sampler : object with ``fit_resample`` or None, default=None
        An imbalanced-learn sampler, applied to the training part only.
    target_prior : {None, "train", "uniform"}, dict or array-like, default=None
        The population that probabilities and predictions describe: None is what the training
        amounted to (``effective_prior_``), ``"train"`` the training data as they came,
        ``"uniform"`` equally frequent classes, or the frequency of each class. It acts at
        prediction and may be changed without refitting.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adamw"
        A callable gets ``(params, lr=..., weight_decay=...)``, as torch's optimizer classes do.
    lr : float, default=3e-3
        Learning rate; the peak, under a schedule.
    weight_decay : float or "auto", default="auto"
        Weight decay; ``"auto"`` is 0.1 for ``"adamw"``, where it is decoupled from the gradient,
        and 0 for every other optimizer.
    lr_schedule : {"constant", "cosine", "one_cycle"} or callable, default="one_cycle"
        Factor on ``lr``; a callable gets the share of the training that is done, in [0, 1]. A
        skorch ``LRScheduler`` among ``callbacks`` takes its place.
    max_epochs : int, default=20
        Passes over the training data.
    batch_size : int or "auto", default="auto"
        Rows per step; ``"auto"`` is about 1/256 of the rows, as a power of 2 from 64 to 1024.
    validation_fraction : float or None, default=None
        Share of each class to hold out and score after every epoch. None holds out nothing, or
        0.1 with ``early_stopping``.
    early_stopping : bool, default=False
        Stop after ``patience`` epochs without a better validation score, and keep the best epoch.
    patience : int, default=5
        See ``early_stopping``.
    scoring : str, callable or None, default=None
        scikit-learn scorer for the validation part; None is average precision, averaged over
        classes where there are more than two.
    device : str or torch.device, default="auto"
        ``"auto"`` takes cuda, then mps, then cpu.
    dtype : {"float32", "float64"}, default="float32"
        Type to compute in.
    random_state : int, RandomState or None, default=None
        Seed of everything random. The global generators are neither used nor changed.
    warm_start : bool, default=False
        Whether ``fit`` continues from the previous fit, with the module, optimizer and dtype of
        that one; other parameters may change.
    callbacks : list of skorch callbacks or None, default=None
        Passed through to the skorch net.
    on_divergence : {"raise", "restore", "warn"}, default="raise"
        When the loss or a weight is not finite: raise :class:`imbtorch.DivergenceError`, go back
        to the last finite epoch with a warning, or stop with a warning.
    on_interrupt : {"raise", "keep"}, default="raise"
        On Ctrl-C: pass it on, after leaving a usable model with ``interrupted_ = True``; or keep
        that model with a warning.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    class_counts_ : ndarray of shape (n_classes,)
        Rows of each class in the training part, weighted by ``sample_weight``.
    class_prior_ : ndarray of shape (n_classes,)
        ``class_counts_`` as frequencies.
    effective_prior_ : ndarray of shape (n_classes,)
        The population that the raw posterior describes: training prior x sampler x weights x loss.
    class_weight_ : ndarray of shape (n_classes,)
        Weight of each class, as computed.
    module_ : torch.nn.Module
        The trained module.
    loss_ : BaseLoss
        The loss, prepared.
    net_ : skorch.NeuralNet
        The net, for experts.
    history_ : skorch.history.History
        One record per epoch: ``train_loss``, ``valid_score``, ``lr``, ``dur`` (seconds).
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Columns of ``X``.
    feature_names_in_ : ndarray of str
        Names of the columns, where ``X`` has them.
    device_ : str
        Where the module lies.
    interrupted_ : bool
        Whether the last training was cut short by Ctrl-C.

    References
    ----------
    .. [1] Menon et al. (2021). "Long-tail learning via logit adjustment". :arxiv:`2007.07314`
           (the default loss)
    .. [2] Saerens et al. (2002). "Adjusting the Outputs of a Classifier to New a Priori
           Probabilities". :doi:`10.1162/089976602753284446` (``target_prior``)

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import ImbalancedNetClassifier
    >>> X, y = make_classification(1000, weights=[0.95], class_sep=2, random_state=0)
    >>> clf = ImbalancedNetClassifier(loss="focal", class_weight="balanced", random_state=0)
    >>> clf.set_params(loss__gamma=1.0).fit(X, y).n_iter_
    20
    >>> clf.set_params(target_prior="train").predict_proba(X).mean(axis=0).round(1)
    array([0.9, 0.1], dtype=float32)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseNetEstimator._parameter_constraints,
        "class_weight": [None, str, dict, "array-like", callable],
        "target_prior": [None, StrOptions({"train", "uniform"}), dict, "array-like"],
    }

    def __init__(
        self,
        module: Any = "mlp",
        *,
        loss: Any = "logit_adjusted",
        class_weight: Any = None,
        sampler: Any = None,
        target_prior: str | Mapping[Any, float] | ArrayLike | None = None,
        optimizer: str | Callable[..., torch.optim.Optimizer] = "adamw",
        lr: float = 3e-3,
        weight_decay: float | str = "auto",
        lr_schedule: str | Callable[[float], float] = "one_cycle",
        max_epochs: int = 20,
        batch_size: int | str = "auto",
        validation_fraction: float | None = None,
        early_stopping: bool = False,
        patience: int = 5,
        scoring: str | Callable[..., float] | None = None,
        device: str | torch.device = "auto",
        dtype: str = "float32",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        callbacks: Sequence[Any] | None = None,
        on_divergence: str = "raise",
        on_interrupt: str = "raise",
        verbose: int = 0,
    ) -> None:
        self.module = module
        self.loss = loss
        self.class_weight = class_weight
        self.sampler = sampler
        self.target_prior = target_prior
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.patience = patience
        self.scoring = scoring
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.on_divergence = on_divergence
        self.on_interrupt = on_interrupt
        self.verbose = verbose

    # -- training --------------------------------------------------------------------------

    @fit_context
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> ImbalancedNetClassifier:
        """Train the net.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Finite features; more dimensions for sequences and images. CSR matrices are made dense
            batch by batch.
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Finite weights >= 0. A weight of 2 is a row given twice, 0 a row left out.

        Returns
        -------
        ImbalancedNetClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid. The estimator stays as it was.
        DivergenceError
            If the loss or a weight is not finite and ``on_divergence="raise"``.
        """
        with self._all_or_nothing():
            interrupted = self._fit(X, y, sample_weight)
        self._pass_on(interrupted)
        return self

    @fit_context
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> ImbalancedNetClassifier:
        """Train for one epoch on a chunk of a larger data set.

        The class prior is that of all chunks so far, and row weights are scaled by their mean over
        all chunks so far. ``lr_schedule``, ``early_stopping`` and ``sampler`` belong to ``fit``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features.
        y : array-like of shape (n_samples,)
            Labels; a chunk may lack some of the classes.
        classes : array-like of shape (n_classes,) or None, default=None
            Every label that will ever come; required on the first call.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Finite weights >= 0.

        Returns
        -------
        ImbalancedNetClassifier
            The estimator.

        Raises
        ------
        ValueError
            If ``classes`` is missing on the first call or differs later, ``y`` holds another
            label, or ``class_weight`` needs the counts of the whole data set.
        """
        with self._all_or_nothing():
            interrupted = self._partial_fit(X, y, classes, sample_weight)
        self._pass_on(interrupted)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> bool:
        resumed = self.warm_start and hasattr(self, "net_")
        given = X, y
        X, y = self._check_X(X, reset=not resumed, y=y)
        sample_weight = self._check_weights(sample_weight, X)
        classes, targets = _encode(y)
        if resumed and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start=True continues with the classes {self.classes_.tolist()}, but y has "
                f"{classes.tolist()}. Use warm_start=False to start anew."
            )
        seeds = draw_seeds(self.random_state, 6)
        part = TrainingPart(X, targets, sample_weight)
        valid = None
        if self.early_stopping or self.validation_fraction is not None:
            valid = part.hold_out(self.validation_fraction or 0.1, classes, seeds[0])
        counts = part.counts(len(classes))
        sampler = get_sampler(self.sampler) if isinstance(self.sampler, str) else self.sampler
        trained = part.resampled(sampler, classes, seeds[1])
        batch_size = self._resolved_batch_size(X.shape[0])
        plan = trained.plan(sampler, len(classes), batch_size, seeds[5])
        seen = trained.seen(plan, len(classes))
        balance = self._balance_of(classes, counts, seen)
        balance.check_double_correction(sampler, self.class_weight)
        n_rows = trained.n_rows
        weights = balance.weigh(trained, self.dtype)
        if plan is not None and trained.n_rows < n_rows:  # classes of weight 0 have left
            plan = trained.plan(sampler, len(classes), batch_size, seeds[5])
        net = self._net_for(X, balance, seeds[2], resumed=resumed)
        attributes = self._attributes(net, balance, part.n_rows)
        score = None if valid is None else self._scorer(attributes, X, y, sample_weight, valid)
        return self._learn(
            net,
            trained,
            weights,
            attributes,
            (seeds[3], seeds[4]),
            plan=None if plan is None else plan.order,
            epochs=self.max_epochs,
            lr_schedule=self.lr_schedule,
            monitors=self._monitors(score, attributes, given, sample_weight),
            shown=(X, targets, part.index, valid) if self.callbacks else None,
        )

    def _partial_fit(self, X: Any, y: Any, classes: Any, sample_weight: Any) -> bool:
        if depends_on_counts(self.class_weight):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs the class counts of the whole data set, "
                "which partial_fit never sees. Compute the weights once, for example with "
                "imbtorch.weights.class_weights('balanced', counts, classes), and give them as an "
                "array or dict."
            )
        if self.sampler is not None:
            raise ValueError("sampler needs the whole data set: use fit, or sample each chunk.")
        self._validate_params()  # scikit-learn does it on the first call only
        first = not hasattr(self, "net_")
        given = X, y
        multilabel = has_several_columns(y)
        if multilabel and first and classes is None:
            self.classes_ = np.arange(y.shape[1])
        else:
            _check_partial_fit_first_call(self, classes)
        X, y = self._check_X(X, reset=first, y=y)
        sample_weight = self._check_weights(sample_weight, X)
        targets = encode_label_matrix(y) if multilabel else encode_known_labels(y, self.classes_)
        part = TrainingPart(X, targets, sample_weight)
        seeds = draw_seeds(self.random_state, 6)
        n_classes = len(self.classes_)
        if multilabel and targets.shape[1] != n_classes:
            raise ValueError(f"y has {targets.shape[1]} labels, expected {n_classes}.")
        counts = part.counts(n_classes) + (0 if first else self.class_counts_)
        balance = self._balance_of(self.classes_, counts, counts, at_least=1)
        # The scale of the weights is that of the stream, not of one chunk: a chunk without
        # positives must not count as much as one full of them.
        n_rows = part.n_rows + (0 if first else self._n_rows_seen)
        weights = balance.weigh(part, self.dtype, n_rows)
        net = self._net_for(X, balance, seeds[2], resumed=not first)
        attributes = self._attributes(net, balance, n_rows)
        return self._learn(
            net,
            part,
            weights,
            attributes,
            (seeds[3], seeds[4] + len(net.history)),  # another order every time
            epochs=1,
            lr_schedule="constant",
            monitors=self._monitors(None, attributes, given, sample_weight),
            shown=(X, targets, None, None) if self.callbacks else None,
        )

    def __sklearn_tags__(self) -> Any:
        """Say that several labels a row are welcome."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags


def _encode(y: Any) -> tuple[NDArray[Any], Any]:
    """Classes and codes; or the numbers of the labels and their matrix."""
    if has_several_columns(y):
        return np.arange(y.shape[1]), encode_label_matrix(y)
    return encode_labels(y)
