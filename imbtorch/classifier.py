"""The classifier: labels, class weights and priors around a net."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from torch import Tensor
from torch.utils.data import Dataset

from imbtorch._common.inputs import Key, SeveralInputs
from imbtorch._common.sklearn_private import StrOptions, fit_context
from imbtorch._data.class_counts import ClassCounts
from imbtorch._data.dataset_rows import DatasetRows
from imbtorch._data.targets import split_unknown
from imbtorch._fit.estimator import BaseNetEstimator, explains_arguments
from imbtorch._fit.input_advice import explain_labels, warn_of_spellings
from imbtorch._fit.input_checks import check_fitted
from imbtorch._fit.parameters import ARRAY_LIKE
from imbtorch._fit.sources import ClassChunkSource
from imbtorch._publish.model_card import ModelCardMixin
from imbtorch._publish.model_file import SaveMixin
from imbtorch._publish.notebook import NotebookMixin
from imbtorch._publish.onnx import ExportMixin, Served, portable
from imbtorch._tasks import Balance, Classes, ClassificationTask, Labels, Task
from imbtorch._tasks.target_shift import target_shift
from imbtorch._tasks.unlabelled import prior_of_unlabelled
from imbtorch.features import FeatureEncoder
from imbtorch.training.net import Net

__all__ = ["ImbalancedNetClassifier"]


Floats = NDArray[np.float64]


class ImbalancedNetClassifier(
    SaveMixin, ExportMixin, ModelCardMixin, NotebookMixin, ClassifierMixin, BaseNetEstimator
):
    """Neural network classifier for imbalanced data: binary, multiclass or multi-label.

    Wraps any torch module. Class weights, sample weights and samplers act on every loss, and
    ``predict_proba`` can describe a stated population whatever the net was trained with.

    Parameters
    ----------
    module : str, builder, callable, torch.nn.Module class or instance, default="tabm"
        The network, which returns logits of shape ``(n, n_classes)``, or ``(n, 1)`` for two
        classes. ``"tabm"`` is :class:`imbtorch.modules.TabM` with its defaults, eight nets that
        share most of their weights, so that ``module__hidden_sizes`` works; ``"mlp"`` is
        :class:`imbtorch.MLP`, which trains about four times as fast. A module with an attribute
        ``n_members`` returns ``(n, n_members, n_classes)``: each member is trained on every row,
        and the mean of their probabilities predicts. A builder has ``build(input_shape,
        n_outputs)``, a callable takes the same two arguments, a class is called with those of the
        two that its constructor names. An instance is deep-copied. Rows are floats of ``dtype``. A
        module whose first layer is an embedding gets ``X`` of an integer type as int64; its
        attribute ``takes_integers``, True or False, decides otherwise. Of several inputs it may
        name those that come as int64.
    features : {"auto", "table"}, TableFeatures, dict or None, default="auto"
        What encodes the columns of a table: scales numbers, fills gaps, and encodes categories; see
        :class:`imbtorch.features.TableFeatures`. It is learned from the training rows and belongs
        to the net. ``"auto"`` encodes two-dimensional ``X`` for modules of this package; modules of
        your own, and rows of more dimensions, get ``X`` as it is. A dict names the tables among
        several inputs: ``{"table": "table"}``; those in a tuple by position. Then
        ``features__table__scaling`` is a parameter of the encoder of the input ``"table"``.
    loss : str, BaseLoss or torch loss, default="logit_adjusted"
        What to minimise: a name from :func:`imbtorch.losses.all_losses`, such as ``"focal"``
        (``loss__gamma`` works), an object from :mod:`imbtorch.losses`, or one of torch's losses
        such as ``torch.nn.L1Loss()``.
    loss_schedule : dict of str to callable, or None, default=None
        Parameters of the loss that change: name -> callable of the share of the epochs that is
        done, in [0, 1), such as ``{"gamma": lambda t: 5 * (1 - t)}``. They are set at the start of
        each epoch, and the loss is prepared again. Probabilities are read with the values of the
        epoch whose weights are kept.
    aux_loss : str, dict of str to float, callable or None, default=None
        What a module of your own adds to the loss while it trains: the name of a value that it
        returns beside its logits, such as ``"aux_loss"``; names and their factors,
        ``{"reconstruction": 0.1}``; or ``callable(output, target)`` of everything that it
        returns and of the class codes. One value per row, ``(b,)``, is weighed by the weights of
        the rows; one number is added as it is, and cannot be used with ``accumulate``,
        ``on_oom="split"`` or ``data_parallel``. Scores and predictions do not contain it. See
        ``docs/adding_a_module.md``.
    class_weight : None, str, dict, Series, array-like or callable, default=None
        Weight of each class: ``"balanced"``, ``"sqrt"``, ``"effective_number"`` or ``"log"``; a
        dict keyed by labels, or a pandas Series with labels as index; an array in the order of
        ``classes_``; a callable of the class counts. It multiplies ``sample_weight``.
    class_weight_schedule : float in (0, 1), "cumulative", callable or None, default=None
        Power of ``class_weight`` in an epoch; row weights are scaled to mean 1 each time, and
        ``sample_weight`` acts in full always. A float is deferred re-weighting [3]_: power 0
        before this share of the epochs (0.8 in the paper), 1 after it. ``"cumulative"`` is the
        square of the share of the epochs that is done [4]_; a callable gets that share, in [0, 1),
        and returns a power in [0, 1]. ``effective_prior_`` and the counts that the loss is
        prepared for are those of the final stage, here and under a ``sampler_schedule``, also
        where ``early_stopping`` keeps an epoch of an earlier one.
    sampler : object with ``fit_resample`` or None, default=None
        An imbalanced-learn sampler, applied to the training part only.
    sampler_schedule : float in (0, 1) or None, default=None
        Deferred re-sampling [3]_: all rows, shuffled, before this share of the epochs, and what
        the sampler (one of :mod:`imbtorch.samplers`) plans after it.
    target_prior : {None, "train", "uniform"}, dict, Series or array-like, default=None
        The population that probabilities and predictions describe: None is the population of the
        training (``effective_prior_``), ``"train"`` the training data as they were given,
        ``"uniform"`` equally frequent classes, or the frequency of each class. It acts at
        prediction and may be changed without refitting.
    optimizer : {"adam", "adamw", "sgd"} or callable, default="adamw"
        A callable gets ``(params, lr=..., weight_decay=...)``, as torch's optimizer classes do. If
        it has a parameter ``named_params`` or ``module``, it gets that, too, so that groups by
        layer can be written; groups keep their own rate and decay.
    lr : float, default=3e-3
        Learning rate; the peak, under a schedule.
    weight_decay : float or "auto", default="auto"
        Weight decay; ``"auto"`` is 0.1 for ``"adamw"``, where it is decoupled from the gradient,
        and 0 for every other optimizer.
    param_groups : dict of str to dict, or None, default=None
        Settings of some of the parameters, by patterns of their names: ``{"backbone.*": {"lr":
        1e-4}, "*.bias": {"weight_decay": 0.0}}``. The settings are ``lr``, ``weight_decay`` and
        ``frozen``: True, or the share of the epochs for which the parameters are frozen at first.
        Every pattern that matches a name of ``module.named_parameters()`` acts, and a later one
        wins. See ``docs/pretrained.md``.
    lr_schedule : str or callable, default="one_cycle"
        Factor on ``lr``: ``"constant"``, ``"cosine"``, ``"one_cycle"``, ``"step"`` (times 0.1 at
        80% and at 90% of the training) or ``"warmup_cosine"`` (5% of warm-up); a callable gets
        the share of the training that is done, in [0, 1]. A skorch ``LRScheduler`` among
        ``callbacks`` takes its place.
    gradient_clipping : float > 0 or None, default=None
        Largest norm of the gradient over all parameters; longer ones are scaled down to it.
    sharpness : float >= 0, default=0.0
        Radius of sharpness-aware minimisation [5]_, which doubles the cost of a step: gradients
        are those at the worst weights within this distance. 0.05 is common, 0.5 to 0.8 for rare
        classes with deferred re-weighting. The second evaluation draws other dropout masks and
        leaves the running statistics of batch normalisation alone; a loss with a memory sees
        each batch twice; skorch's ``on_grad_computed`` sees the first gradients.
    averaging : {"ema", "swa"}, float in (0, 1) or None, default=None
        Average of the weights that is scored and kept: an exponential one over the steps (a float
        is its decay, ``"ema"`` 0.999), or an even one over the last quarter of the epochs [6]_,
        which wants a ``lr_schedule`` that does not end near 0. At the end, one pass over the
        training rows estimates the statistics of batch normalisation again. ``warm_start``
        continues from the average.
    max_epochs : int or "auto", default=20
        Passes over the training data. ``"auto"`` finds the number: nets of four folds are trained
        as one stack until their mean ``scoring``, on the rows that they do not train on, no longer
        improves; then one net is trained on all rows for as long. ``n_epochs_`` is the number. It
        costs two to four times a fit of this length.
    batch_size : int or "auto", default="auto"
        Rows per step; ``"auto"`` is about 1/256 of the rows, as a power of 2 from 64 to 1,024.
    accumulate : int, default=1
        Batches per step: their gradients are added up, as if one batch had all of their rows, and
        only the activations of one batch are in memory. Batch normalisation takes its statistics
        from each batch. Not for losses that compare the rows of a batch.
    validation : splitter of scikit-learn or None, default=None
        What chooses the validation rows, such as ``GroupShuffleSplit`` (``groups`` go to ``fit``),
        ``TimeSeriesSplit`` or ``PredefinedSplit``; the last one of its splits counts. With
        ``max_epochs="auto"`` it makes the folds, and all of its splits count: ``GroupKFold(3)``.
    validation_fraction : float or None, default=None
        Share of each class to hold out and score after every epoch. None holds out nothing, or
        0.1 with ``early_stopping``.
    early_stopping : bool, default=False
        Stop after ``patience`` epochs without a better validation score, and keep the best epoch.
    patience : int, default=5
        See ``early_stopping``.
    scoring : str, callable or None, default=None
        scikit-learn scorer for the validation part, which gets ``sample_weight`` if it takes it;
        None is average precision, averaged over classes where there are more than two.
    random_state : int, RandomState or None, default=None
        Seed of everything random. The global generators are put back as they were. torch has one
        default generator for all threads: a thread that draws from it during a fit changes
        initial weights and dropout, so give such threads a generator of their own.
    warm_start : bool, default=False
        Whether ``fit`` continues from the previous fit, with the module, optimizer and dtype of
        that one; other parameters may change.

    Other Parameters
    ----------------
    device : str or torch.device, default="auto"
        ``"auto"`` takes cuda, then mps, then cpu.
    data_parallel : bool or float >= 1, default=False
        Whether the processes that ``torchrun`` or ``accelerate launch`` has started train this net
        together (experimental). Each is given all of the data and computes ``batch_size`` rows of
        every batch, so that W of them train as one with a W times larger ``batch_size``; with
        ``"auto"`` they divide the batches of one. A number is how many seconds a process waits for
        the others before it raises an error; True is 600. See ``docs/scaling.md``.
    dtype : {"float32", "float64"}, default="float32"
        Dtype to compute in, and of the rows that the module gets unless it takes integers.
    precision : {"bfloat16", "float16"} or None, default=None
        Half precision in which the module computes, in training and for predictions
        (``torch.autocast``). Weights, losses and probabilities stay in float32, and for float16
        the loss is scaled (``torch.amp.GradScaler``). It pays on GPUs and for large layers; None
        computes in ``dtype``. See ``docs/devices.md``.
    n_threads : "auto", int or None, default="auto"
        Most threads that torch computes with on the CPU, while the net is trained and when it
        predicts; its number is put back afterwards. ``"auto"`` is one thread for small nets in
        small batches, which several threads slow down, and all of torch's threads otherwise. None
        leaves torch alone. It is never more than ``torch.get_num_threads()``. See
        ``docs/devices.md``.
    num_workers : int, default=0
        Processes that read a torch Dataset while the net trains; 0 reads it in this one. They have
        copies of the Dataset, which only callbacks may change during a fit.
    collate_fn : callable(items) -> batch or None, default=None
        Function that makes a batch of a list of items of a torch Dataset, as in a ``DataLoader``.
        It returns ``(X, y)`` or ``(X, y, sample_weight)``, and for predictions it may return ``X``
        alone. None stacks the items. See ``docs/large_data.md``.
    callbacks : list of skorch callbacks or None, default=None
        Passed through to the skorch net.
    on_divergence : {"raise", "restore", "warn"}, default="raise"
        When the loss or a weight is not finite: raise :class:`imbtorch.DivergenceError`, go back
        to the last finite epoch with a warning, or stop with a warning.
    on_interrupt : {"raise", "keep"}, default="raise"
        On Ctrl-C: pass it on, after leaving a usable model with ``interrupted_ = True``; or keep
        that model with a warning.
    on_oom : {"raise", "split"}, default="raise"
        If memory runs out on a batch: pass the error on, or compute the batch in parts whose
        gradients add up to the same one. Not for batch normalisation and losses that compare the
        rows of a batch.
    checkpoint : str, path or None, default=None
        Folder in which the state of the training is kept, in a file without pickle, so that
        ``fit(..., resume=True)`` can continue it, to the bit on the CPU. One folder per fit: a new
        one replaces what is there. Callbacks start from zero again.
    checkpoint_interval : int, default=1
        Number of epochs from one writing to the next.
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
    module_, loss_, net_ : torch.nn.Module, BaseLoss, skorch.NeuralNet
        The trained module, the prepared loss, and the net that holds them.
    history_ : skorch.history.History
        One record per epoch: ``train_loss``, ``valid_score``, ``lr``, ``dur`` (seconds);
        ``aux_loss``, the part of ``train_loss`` that the parameter ``aux_loss`` has added.
    n_iter_ : int
        Epochs trained.
    n_epochs_ : int
        With ``max_epochs="auto"`` the number of epochs that was found.
    training_length_ : TrainingLength
        With ``max_epochs="auto"`` the ``epochs`` after which the folds were scored, their
        ``scores`` of shape ``(n_folds, n_points)``, ``mean_score``, and ``score_error``, the
        standard error of the difference to ``best_epoch``. Files do not hold it.
    n_features_in_, feature_names_in_ : int, ndarray of str
        Number of columns of ``X``, and their names where it has them; of several inputs their
        number, and the keys of a mapping.
    device_ : str
        Device on which the module lies.
    interrupted_ : bool
        Whether the last training was cut short by Ctrl-C.

    References
    ----------
    .. [1] Menon et al. (2021). "Long-tail learning via logit adjustment". :arxiv:`2007.07314`
           (the default loss)
    .. [2] Saerens et al. (2002). "Adjusting the Outputs of a Classifier to New a Priori
           Probabilities". :doi:`10.1162/089976602753284446` (``target_prior``)
    .. [3] Cao et al. (2019). "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
           Loss". :arxiv:`1906.07413`
    .. [4] Yao et al. (2021). "Single Model Deep Learning on Imbalanced Small Datasets for Skin
           Lesion Classification". :arxiv:`2102.01284`
    .. [5] Foret et al. (2021). "Sharpness-Aware Minimization for Efficiently Improving
           Generalization". :arxiv:`2010.01412`
    .. [6] Izmailov et al. (2018). "Averaging Weights Leads to Wider Optima and Better
           Generalization". :arxiv:`1803.05407`

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
        "class_weight": [None, str, Mapping, *ARRAY_LIKE, callable],
        "target_prior": [None, StrOptions({"train", "uniform"}), Mapping, *ARRAY_LIKE],
    }
    _seed_names = ("hold_out", "resampling", "net", "training", "order", "plan")
    _tasks = (Classes, Labels)

    @explains_arguments
    def __init__(
        self,
        module: Any = "tabm",
        *,
        features: str | FeatureEncoder | dict[Any, Any] | None = "auto",
        loss: Any = "logit_adjusted",
        loss_schedule: Mapping[str, Callable[[float], Any]] | None = None,
        aux_loss: str | Mapping[str, float] | Callable[..., Tensor] | None = None,
        class_weight: Any = None,
        class_weight_schedule: float | str | Callable[[float], float] | None = None,
        sampler: Any = None,
        sampler_schedule: float | None = None,
        target_prior: str | Mapping[Any, float] | ArrayLike | None = None,
        optimizer: str | Callable[..., torch.optim.Optimizer] = "adamw",
        lr: float = 3e-3,
        weight_decay: float | str = "auto",
        param_groups: Mapping[str, Mapping[str, Any]] | None = None,
        lr_schedule: str | Callable[[float], float] = "one_cycle",
        gradient_clipping: float | None = None,
        sharpness: float = 0.0,
        averaging: str | float | None = None,
        max_epochs: int | str = 20,
        batch_size: int | str = "auto",
        accumulate: int = 1,
        validation: Any = None,
        validation_fraction: float | None = None,
        early_stopping: bool = False,
        patience: int = 5,
        scoring: str | Callable[..., float] | None = None,
        device: str | torch.device = "auto",
        data_parallel: bool | float = False,
        dtype: str = "float32",
        precision: str | None = None,
        n_threads: int | str | None = "auto",
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        callbacks: Sequence[Any] | None = None,
        on_divergence: str = "raise",
        on_interrupt: str = "raise",
        on_oom: str = "raise",
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_interval: int = 1,
        verbose: int = 0,
    ) -> None:
        self.module = module
        self.features = features
        self.loss = loss
        self.loss_schedule = loss_schedule
        self.aux_loss = aux_loss
        self.class_weight = class_weight
        self.class_weight_schedule = class_weight_schedule
        self.sampler = sampler
        self.sampler_schedule = sampler_schedule
        self.target_prior = target_prior
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.param_groups = param_groups
        self.lr_schedule = lr_schedule
        self.gradient_clipping = gradient_clipping
        self.sharpness = sharpness
        self.averaging = averaging
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.validation = validation
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.patience = patience
        self.scoring = scoring
        self.device = device
        self.data_parallel = data_parallel
        self.dtype = dtype
        self.precision = precision
        self.n_threads = n_threads
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.random_state = random_state
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.on_divergence = on_divergence
        self.on_interrupt = on_interrupt
        self.on_oom = on_oom
        self.checkpoint = checkpoint
        self.checkpoint_interval = checkpoint_interval
        self.verbose = verbose

    # -- training --------------------------------------------------------------------------

    @explains_arguments
    def fit(
        self,
        X: ArrayLike | SeveralInputs | Dataset[Any] | DatasetRows,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | SeveralInputs | Dataset[Any] | DatasetRows | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        class_counts: ClassCounts | Mapping[Any, float] | None = None,
        resume: bool = False,
    ) -> ImbalancedNetClassifier:
        """Train the net.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or torch Dataset
            Finite features; more dimensions for sequences and images. CSR matrices are made dense
            batch by batch, memory maps are read so. Items of a Dataset are ``(X, y)`` or ``(X, y,
            sample_weight)``; one more pass over a map-style one collects targets and weights; of an
            ``IterableDataset`` the first 10,000 items teach how a table is encoded.
            Several inputs are a mapping of arrays by the names of the arguments of ``forward``, a
            tuple of arrays, or :class:`imbtorch.Inputs` of one of these.
            Sequences of unequal length are a list of arrays, or :class:`imbtorch.Sequences`.
            Rows of a Dataset that a search divides are :class:`imbtorch.DatasetRows`.
        y : array-like of shape (n_samples,), or label matrix of shape (n_samples, n_labels)
            Labels of any type; None with a Dataset. Rows whose label is the ``ignore_index`` of the
            loss count for nothing. Losses for ordered classes use the order of an ordered
            Categorical. In a matrix, dense or sparse, labels are 0 or 1, and NaN where a label is
            not known: then this label of this row counts for nothing.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Finite weights >= 0. A weight of 2 is a row given twice, 0 a row left out.
        X_val, y_val, sample_weight_val : array-like or None, default=None
            Validation rows, for ``early_stopping`` or to record ``valid_score``, of the same kinds
            as ``X``, ``y`` and ``sample_weight``. Nothing is learned from them.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, for the splitter ``validation``.
        class_counts : ClassCounts, mapping or None, default=None
            Counts of an ``IterableDataset``, which are required there: what
            :func:`imbtorch.weights.class_counts` returns, or label -> number of rows. Each epoch
            is one pass over it, in its own order.
        resume : bool, default=False
            Whether to continue the training whose state lies in ``checkpoint``, with the same
            parameters and data. Where none lies there the training begins.

        Returns
        -------
        ImbalancedNetClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or the checkpoint is of another training. The
            estimator stays as it was.
        FileFormatError
            If the checkpoint is damaged, or no checkpoint.
        DivergenceError
            If the loss or a weight is not finite and ``on_divergence="raise"``.
        """
        self._fit(
            X,
            y,
            sample_weight,
            held_out=(
                X_val,
                y_val,
                sample_weight_val,
            ),
            groups=groups,
            class_counts=class_counts,
            resume=resume,
        )
        return self

    @fit_context
    def partial_fit(
        self,
        X: ArrayLike | SeveralInputs | Dataset[Any] | DatasetRows,
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        class_counts: ClassCounts | Mapping[Any, float] | None = None,
        shuffle: bool = True,
    ) -> ImbalancedNetClassifier:
        """Train for one epoch on a chunk of a larger data set.

        Class weights, the class prior and the scale of row weights are those of ``class_counts``,
        else of all chunks so far. Schedules, ``averaging``, ``early_stopping`` and ``sampler``
        belong to ``fit``.

        The scales, fillings and categories of a table (``features``) are those of the first chunk.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features; or a map-style Dataset, or :class:`imbtorch.DatasetRows`, as for ``fit``.
        y : array-like of shape (n_samples,), or label matrix of shape (n_samples, n_labels)
            Labels; a chunk may lack some of the classes. See ``fit`` for labels that are not known.
        classes : array-like of shape (n_classes,) or None, default=None
            Every label that will ever come; required on the first call.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Finite weights >= 0.
        class_counts : ClassCounts, mapping or None, default=None
            Counts of the whole stream, on the first call: what
            :func:`imbtorch.weights.class_counts` returns, or label -> number of rows.
            ``class_weight="balanced"`` needs them.
        shuffle : bool, default=True
            Whether the rows of the chunk are shuffled. In the order given, chunks of whole batches
            train as their concatenation does, up to dropout.

        Returns
        -------
        ImbalancedNetClassifier
            The estimator.

        Raises
        ------
        ValueError
            If ``classes`` is missing on the first call or differs later, ``y`` holds another
            label, ``class_counts`` change, or ``class_weight`` needs them.
        """
        chunk = ClassChunkSource(X, y, sample_weight, classes, class_counts, shuffle=shuffle)
        self._fit_chunk(chunk)
        return self

    def _check_X(
        self,
        X: Any,
        *,
        reset: bool,
        y: Any = "no_validation",
        features: FeatureEncoder | dict[Key, FeatureEncoder] | None = None,
    ) -> Any:
        """Validate features and targets; NaN among several labels is a label that is not known."""
        found = split_unknown(y) if getattr(y, "ndim", 2) == 2 else None
        if found is None:
            return super()._check_X(X, reset=reset, y=y, features=features)
        labels, filled = found
        X, _ = super()._check_X(X, reset=reset, y=filled, features=features)
        return X, labels

    @staticmethod
    def _encode(y: Any, given: Any, rows: NDArray[Any] | None) -> tuple[Task, Any]:
        try:
            if y.ndim > 1:
                return Labels.encode(y)
            task, codes = Classes.encode(y, rows)
        except ValueError as error:
            explain_labels(y, error)
            raise
        if task.classes.dtype.kind in "OUT":  # words
            warn_of_spellings(task.classes)
        return task, codes

    def _balance(self, source: Any, counts: Floats, seen: Floats) -> Balance:
        task: ClassificationTask = source.task
        at_least = source.at_least
        if isinstance(task, Classes) and np.count_nonzero(counts) == 1 < min(at_least, len(counts)):
            self._warn_of_one_class(*task.classes[counts > 0].tolist())
            at_least = 1
        if self.class_weight is not None:
            source.check_labels("class_weight", self.class_weight)
        balance = task.balance(counts, seen, self.class_weight, self.loss, at_least=at_least)
        if getattr(balance.loss, "_ordered_classes", False):
            task.order_classes(balance.loss, source.given[1])
        return balance

    @staticmethod
    def _warn_of_one_class(label: Any) -> None:
        warnings.warn(
            f"Only class {label!r} has rows with a weight above 0, so the net learns nothing about "
            "the other classes. If the weights are those of a bootstrap, as in sklearn's "
            "BaggingClassifier, draw more rows, or use "
            "NetEnsembleClassifier(subset='bootstrap'), which draws from each class.",
            UserWarning,
            stacklevel=2,
        )

    def _check_fit(self, source: Any, balance: Any, net: Net) -> None:
        """Raise ValueError now, rather than later, for an invalid target_prior or scoring."""
        if isinstance(self.scoring, str) and source.valid is not None and source.task.n_labels:
            source.task.check_scoring(self.scoring, source.split.targets)
        if self.target_prior is None:
            return
        source.check_labels("target_prior", self.target_prior)
        source.task.log_target_shift(
            net.criterion_, self.target_prior, balance.effective_prior, balance.prior
        )

    # -- predictions -----------------------------------------------------------------------

    @property
    def _task(self) -> ClassificationTask:
        check_fitted(self, "net_")
        task: Any = self.net_.task
        return cast(ClassificationTask, task)

    def _link(self) -> Callable[[Tensor], Tensor]:
        """Return what makes log-probabilities, or log-odds of labels, of the outputs."""
        return self._link_to(self.target_prior)

    def _link_to(self, target_prior: Any) -> Callable[[Tensor], Tensor]:
        """Return the same for a population that is not that of the parameter ``target_prior``.

        The outputs of several members are restated one by one, and then averaged.
        """
        task, net, loss = self._task, self.net_, self.loss_
        priors = self.effective_prior_, self.class_prior_
        shift = target_shift(task, loss, target_prior, *priors, net.device, net.dtype)
        return task.over_members(task.link(loss, shift))

    def _serving(self) -> Served:
        """Return what makes probabilities of rows, for an export."""
        view = portable(self)
        task, link = view._task, view._link()
        return Served(view.net_, lambda outputs: task.log_proba(link(outputs)).exp())

    def predict_log_proba(self, X: ArrayLike | SeveralInputs) -> NDArray[Any]:
        """Log-probabilities of the classes, or of the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of ``classes_``, for the population that ``target_prior`` names.

        Raises
        ------
        ValueError
            If outputs of the module are NaN or infinite; the message names the rows.
        """
        task, link = self._task, self._link()
        return self._linked_outputs(X, lambda outputs: task.log_proba(link(outputs)))

    def predict_proba(self, X: ArrayLike | SeveralInputs) -> NDArray[Any]:
        """Probabilities of the classes, or of the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of ``classes_``, for the population that ``target_prior`` names. Of type
            ``dtype``. A loss without a posterior gives normalised scores.
        """
        log_proba = self.predict_log_proba(X)
        proba: NDArray[Any] = np.exp(log_proba, out=log_proba)
        return proba

    def decision_function(self, X: ArrayLike | SeveralInputs) -> NDArray[Any]:
        """Scores that do not saturate: log-odds, or log-probabilities of several classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_classes) or (n_samples, n_labels)
            For two classes the log-odds of ``classes_[1]``, for several labels those of each label,
            else log-probabilities.
        """
        task = self._task
        return task.decision(self._linked_outputs(X, self._link()))

    def predict(self, X: ArrayLike | SeveralInputs) -> NDArray[Any]:
        """Most probable class of each row, or the labels more probable than not.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels of the classes; for several labels per row, zeros and ones.
        """
        return self._task.decide(self._linked_outputs(X, self._link()))

    def estimate_prior(
        self, X: ArrayLike | SeveralInputs, sample_weight: ArrayLike | None = None
    ) -> Floats:
        """Estimate the class frequencies of unlabelled rows, such as new data.

        It is :func:`imbtorch.priors.estimate_prior` with the probabilities of this net and the
        population that they describe. It assumes that only the class frequencies have changed
        since the training. ``target_prior`` has no influence.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...)
            Features of the unlabelled rows.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0 of the rows.

        Returns
        -------
        ndarray of float64, shape (n_classes,) or (n_labels,)
            Class frequencies, which sum to 1; for several labels per row the share of the rows
            that have each label. They may be given to ``target_prior``.

        Raises
        ------
        ValueError
            If the loss has no posterior, or a class has no training rows.

        Warns
        -----
        ConvergenceWarning
            If the estimation has not converged.

        Examples
        --------
        >>> import numpy as np
        >>> from imbtorch import ImbalancedNetClassifier
        >>> rng = np.random.default_rng(0)
        >>> y = np.repeat([0, 1], [1800, 200])
        >>> X = rng.normal(size=(2000, 1)) + 3 * y[:, None]
        >>> clf = ImbalancedNetClassifier(random_state=0).fit(X, y)
        >>> X_new = rng.normal(size=(1000, 1)) + 3 * np.repeat([0, 1], [600, 400])[:, None]
        >>> clf.estimate_prior(X_new).round(1)
        array([0.6, 0.4])
        """
        check_fitted(self, "net_")
        view = copy.copy(self)
        view.target_prior = "train"
        proba = view.predict_proba(X)
        return prior_of_unlabelled(self._task, proba, self.class_prior_, sample_weight)

    def __sklearn_tags__(self) -> Any:
        """Say that several labels per row are accepted."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
