"""The regressor: a standardised target and density weights around a net."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from imbtorch._common.inputs import SeveralInputs
from imbtorch._common.sklearn_private import fit_context
from imbtorch._data.dataset_rows import DatasetRows
from imbtorch._data.target_scaling import TargetScale
from imbtorch._fit.estimator import BaseNetEstimator, explains_arguments
from imbtorch._fit.input_checks import check_fitted
from imbtorch._fit.parameters import ARRAY_LIKE
from imbtorch._fit.sources import ChunkSource
from imbtorch._publish.model_card import ModelCardMixin
from imbtorch._publish.model_file import SaveMixin
from imbtorch._publish.notebook import NotebookMixin
from imbtorch._publish.onnx import ExportMixin, Served, portable
from imbtorch._tasks import Balance, FormerScale, Task, ValueBalance, Values
from imbtorch.features import FeatureEncoder, get_features
from imbtorch.losses.regression import get_regression_loss
from imbtorch.modules import get_module
from imbtorch.training.net import Net

__all__ = ["ImbalancedNetRegressor"]

Floats = NDArray[np.float64]


class ImbalancedNetRegressor(
    SaveMixin, ExportMixin, ModelCardMixin, NotebookMixin, RegressorMixin, BaseNetEstimator
):
    """Neural network regressor for targets of which some ranges are rare.

    Wraps any torch module. Weights by density and sample weights act on every loss. The net sees
    the target standardised, each column by mean and standard deviation of the training rows (with
    ``sample_weight``); predictions are in the units of ``y``.

    Parameters
    ----------
    module : str, builder, callable, torch.nn.Module class or instance, default="tabm"
        The network, which returns one column per target. ``"tabm"`` is
        :class:`imbtorch.modules.TabM` with its defaults, ``"mlp"`` is :class:`imbtorch.MLP`. See
        :class:`imbtorch.ImbalancedNetClassifier` for the other forms.
    features : {"auto", "table"}, TableFeatures, dict or None, default="auto"
        What encodes the columns of a table: scales numbers, fills gaps, and encodes categories; see
        :class:`imbtorch.features.TableFeatures`. It is learned from the training rows and belongs
        to the net. ``"auto"`` encodes two-dimensional ``X`` for modules of this package; modules of
        your own, and rows of more dimensions, get ``X`` as it is. A dict names the tables among
        several inputs: ``{"table": "table"}``; those in a tuple by position. Then
        ``features__table__scaling`` is a parameter of the encoder of the input ``"table"``.
    loss : str, BaseRegressionLoss or torch loss, default="mse"
        What to minimise: a name from :func:`imbtorch.losses.regression.all_regression_losses`,
        such as ``"huber"`` (``loss__delta`` works), an object from
        :mod:`imbtorch.losses.regression`, or one of torch's such as ``torch.nn.SmoothL1Loss()``.
        It sees the standardised target: a ``delta``, ``beta`` or ``noise`` is in standard
        deviations of ``y``. What it learns, the noise of ``"balanced_mse"``, is trained with the
        net.
    aux_loss : str, dict of str to float, callable or None, default=None
        What a module of your own adds to the loss while it trains: the name of a value that it
        returns beside its logits, such as ``"aux_loss"``; names and their factors,
        ``{"reconstruction": 0.1}``; or ``callable(output, target)`` of everything that it
        returns and of the standardised target. One value per row, ``(b,)``, is weighed by the
        weights of the rows; one number is added as it is, and cannot be used with ``accumulate``,
        ``on_oom="split"`` or ``data_parallel``. Scores and predictions do not contain it. See
        ``docs/adding_a_module.md``.
    density_weight : None, str, tuple, callable or array-like of shape (n_samples,), default=None
        Weight of each row by how rare its target is: ``"lds"``, ``"dense_weight"`` or
        ``"extremes"``; with parameters ``("dense_weight", {"alpha": 0.5})``; a callable of one
        column of ``y``; or the relevance of each row, in [0, 1]. See :mod:`imbtorch.density`.
        Computed on the training part, in units of ``y``. It multiplies ``sample_weight``.
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
        Radius of sharpness-aware minimisation, which doubles the cost of a step. Not with layers
        that look at the targets.
    averaging : {"ema", "swa"}, float in (0, 1) or None, default=None
        Average of the weights that is scored and kept; see
        :class:`imbtorch.ImbalancedNetClassifier`.
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
        Share of the rows to hold out, drawn at random, and score after every epoch. None holds out
        nothing, or 0.1 with ``early_stopping``.
    early_stopping : bool, default=False
        Stop after ``patience`` epochs without a better validation score, and keep the best epoch.
    patience : int, default=5
        See ``early_stopping``.
    scoring : str, callable or None, default=None
        scikit-learn scorer for the validation part; None is minus the mean squared error of the
        standardised targets, with ``sample_weight`` and ``density_weight``. A scorer that takes
        ``sample_weight`` gets the sample weights alone.
    random_state : int, RandomState or None, default=None
        Seed of everything random. The global generators are put back as they were. torch has one
        default generator for all threads: a thread that draws from it during a fit changes
        initial weights and dropout, so give such threads a generator of their own.
    warm_start : bool, default=False
        Whether ``fit`` continues from the previous fit, with the module, optimizer, dtype and
        scale of the target of that one; other parameters may change.

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
        Predictions are always float64.
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
        Passed through to the skorch net. They see the standardised target, ``(n, n_targets)``.
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
    target_mean_, target_scale_ : ndarray of shape (n_targets,)
        What the target was standardised with.
    module_ : torch.nn.Module
        The trained module; its outputs are standardised targets.
    loss_ : BaseRegressionLoss
        The loss, prepared.
    net_ : skorch.NeuralNet
        The net, for experts.
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
    n_features_in_ : int
        Columns of ``X``.
    feature_names_in_ : ndarray of str
        Names of the columns, where ``X`` has them.
    device_ : str
        Device on which the module lies.
    interrupted_ : bool
        Whether the last training was cut short by Ctrl-C.

    References
    ----------
    .. [1] Yang et al. (2021). "Delving into Deep Imbalanced Regression". :arxiv:`2102.09554`
    .. [2] Steininger et al. (2021). "Density-based weighting for imbalanced regression".
           :doi:`10.1007/s10994-021-06023-5`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch import ImbalancedNetRegressor
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> y = 20 + np.exp(X[:, 0])
    >>> reg = ImbalancedNetRegressor(loss="huber", density_weight="lds", random_state=0)
    >>> reg.set_params(loss__delta=0.5).fit(X, y).predict(X[:3]).shape
    (3,)
    >>> bool(reg.score(X, y) > 0.9)
    True
    """

    _components: ClassVar[Mapping[str, Callable[[str], Any]]] = {
        "features": get_features,
        "loss": get_regression_loss,
        "module": get_module,
    }
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseNetEstimator._parameter_constraints,
        "loss": [str, nn.Module, callable],
        "density_weight": [None, str, *ARRAY_LIKE, callable],
    }
    _seed_names = ("hold_out", "net", "training", "order")
    _tasks = (Values,)
    _predicts = "predictions"

    # set by fit
    _scale_: TargetScale
    _is_vector_: bool
    _seen_: Floats

    @explains_arguments
    def __init__(
        self,
        module: Any = "tabm",
        *,
        features: str | FeatureEncoder | dict[Any, Any] | None = "auto",
        loss: Any = "mse",
        aux_loss: str | Mapping[str, float] | Callable[..., torch.Tensor] | None = None,
        density_weight: Any = None,
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
        self.aux_loss = aux_loss
        self.density_weight = density_weight
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
        resume: bool = False,
    ) -> ImbalancedNetRegressor:
        """Train the net.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or torch Dataset
            Finite features; more dimensions for sequences and images. CSR matrices are made dense
            batch by batch, memory maps are read so. Items of a map-style Dataset are ``(X, y)`` or
            ``(X, y, sample_weight)``; one more pass over it collects targets and weights.
            Several inputs are a mapping of arrays by the names of the arguments of ``forward``, a
            tuple of arrays, or :class:`imbtorch.Inputs` of one of these.
            Sequences of unequal length are a list of arrays, or :class:`imbtorch.Sequences`.
            Rows of a Dataset that a search divides are :class:`imbtorch.DatasetRows`.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Finite numbers, no column of which is constant; None with a Dataset.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Finite weights >= 0. A weight of 2 is a row given twice, 0 a row left out.
        X_val, y_val, sample_weight_val : array-like or None, default=None
            Validation rows, for ``early_stopping`` or to record ``valid_score``, of the same kinds
            as ``X``, ``y`` and ``sample_weight``. Nothing is learned from them.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, for the splitter ``validation``.
        resume : bool, default=False
            Whether to continue the training whose state lies in ``checkpoint``, with the same
            parameters and data. Where none lies there the training begins.

        Returns
        -------
        ImbalancedNetRegressor
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
        if isinstance(X, IterableDataset):
            raise ValueError(
                "A regressor must know the scale of its targets before the first row, and an "
                "IterableDataset shows them only as it goes. Use a map-style Dataset, or "
                "partial_fit on chunks, the first of which sets the scale."
            )
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
            resume=resume,
        )
        return self

    @fit_context
    def partial_fit(
        self,
        X: ArrayLike | SeveralInputs | Dataset[Any] | DatasetRows,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        shuffle: bool = True,
    ) -> ImbalancedNetRegressor:
        """Train for one epoch on a chunk of a larger data set.

        The first chunk sets the scale of the target and prepares the loss: it should be a typical
        one, with different targets. Weights are scaled by their mean over all chunks so far.
        ``lr_schedule`` and ``early_stopping`` belong to ``fit``.

        The scales, fillings and categories of a table (``features``) are those of the first chunk.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features; or a map-style Dataset, or :class:`imbtorch.DatasetRows`, as for ``fit``.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Finite numbers.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Finite weights >= 0.
        shuffle : bool, default=True
            Whether the rows of the chunk are shuffled, or trained on in the order given.

        Returns
        -------
        ImbalancedNetRegressor
            The estimator.

        Raises
        ------
        ValueError
            If the data are invalid, or ``density_weight`` is given.
        """
        if self.density_weight is not None:
            raise ValueError(
                "density_weight needs the whole data set, which partial_fit never sees. Use fit, "
                "or give the weights of imbtorch.density.density_weights as sample_weight."
            )
        former = self._seen_ if hasattr(self, "net_") else np.zeros(2)
        self._fit_chunk(ChunkSource(X, y, sample_weight, former, shuffle=shuffle))
        return self

    @staticmethod
    def _encode(y: Any, given: Any, rows: NDArray[Any] | None) -> tuple[Task, Any]:
        values = y.reshape(len(y), -1)
        return Values(values.shape[1], is_vector=np.asarray(given).ndim == 1), values

    def _balance(self, source: Any, counts: Floats, seen: Floats) -> Balance:
        former = None
        if source.resumed:
            # a chunk continues with the prepared loss; fit prepares it for all of its rows
            loss = copy.deepcopy(self.loss_) if source.is_chunk else None
            former = FormerScale(self._scale_, loss)
        return ValueBalance.of(
            source.split,
            seen,
            self.loss,
            self.density_weight,
            self.dtype,
            former=former,
            by_stream=source.is_chunk,
        )

    def _check_fit(self, source: Any, balance: Any, net: Net) -> None:
        """Prepare layers that look at the targets; sharpness would show them each batch twice."""
        layers = [] if source.resumed else net.observing_layers()
        if layers and self.sharpness > 0:
            raise ValueError(
                f"sharpness={self.sharpness} evaluates each batch twice, but "
                f"{type(layers[0]).__name__} looks at its targets once; use sharpness=0."
            )
        for layer in layers:
            if hasattr(layer, "prepare"):
                layer.prepare(source.split.targets[source.split.chosen])

    # -- predictions -----------------------------------------------------------------------

    def _outputs(self, X: Any) -> NDArray[Any]:
        """Predict the standardised targets, ``(n, n_targets)``."""
        check_fitted(self, "net_")
        return self._linked_outputs(X, self.net_.task.over_members(lambda output: output))

    def _serving(self) -> Served:
        """Return what makes targets in their own units of rows, for an export."""
        mean, scale = (torch.from_numpy(part) for part in (self._scale_.mean, self._scale_.scale))
        vector = self._is_vector_
        averaged = self.net_.task.over_members(lambda outputs: outputs)

        def restore(outputs: torch.Tensor) -> torch.Tensor:  # float64: means may be large
            values = averaged(outputs).double() * scale + mean
            return values.squeeze(1) if vector else values

        return Served(portable(self).net_, restore)

    def predict(self, X: ArrayLike | SeveralInputs) -> Floats:
        """Predict the targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features, ...), or several inputs
            Features.

        Returns
        -------
        ndarray of float64, shape (n_samples,) or (n_samples, n_targets)
            In the units of ``y``, and of its number of dimensions.
        """
        check_fitted(self, "net_")
        values = self._scale_.restore(self._outputs(X))
        return values.ravel() if self._is_vector_ else values

    @property
    def target_mean_(self) -> Floats:
        """Mean of each target, ``(n_targets,)``."""
        return self._scale_.mean

    @property
    def target_scale_(self) -> Floats:
        """Standard deviation of each target, ``(n_targets,)``."""
        return self._scale_.scale
