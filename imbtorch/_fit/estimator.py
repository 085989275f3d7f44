"""The base of the estimators that hold one net: they hold a skorch net, they are not one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor, nn
from torch.utils.data import Dataset

from imbtorch._common.inputs import Key, as_inputs
from imbtorch._common.memo import Memo
from imbtorch._common.sequences import Sequences
from imbtorch._common.sklearn_private import (
    CallbackSupportMixin,
    InvalidParameterError,
    fit_context,
)
from imbtorch._common.training_length import TrainingLength
from imbtorch._common.versions import VersionStampMixin
from imbtorch._data.class_counts import ClassCounts
from imbtorch._data.dataset_rows import DatasetRows
from imbtorch._data.datasets_as_rows import DatasetStream, as_rows
from imbtorch._fit.argument_advice import refuse_arguments
from imbtorch._fit.fit import PreparedFit, Stackable, prepare_fit
from imbtorch._fit.input_tables import (
    fitted_by_input,
    nested_parameters,
    with_nested_parameters,
)
from imbtorch._fit.length import groups_of_folds, prepare_with_length
from imbtorch._fit.new_rows import features_to_predict
from imbtorch._fit.parameter_names import check_names
from imbtorch._fit.parameters import NetParameters
from imbtorch._fit.sources import ArraySource, ChunkSource, RowSource, StreamSource
from imbtorch._fit.table import is_for_tables
from imbtorch._fit.validation_rows import ValidationRows, chosen_rows, joined, refuse_validation
from imbtorch._fit.value_advice import advice_on_values, refuse_boolean_threads
from imbtorch.features import FeatureEncoder, get_features
from imbtorch.features._display import diagram
from imbtorch.features._encoder import behind_encoder
from imbtorch.losses import get_loss
from imbtorch.modules import get_module
from imbtorch.samplers import get_sampler
from imbtorch.training.checkpoint import Checkpoint
from imbtorch.training.data.features import ChosenFeatures, Features
from imbtorch.training.distributed import refuse_company
from imbtorch.training.loop import train_one_by_one
from imbtorch.training.parameter_groups import check_groups
from imbtorch.training.prediction import predict_chunks, refuse_outputs
from imbtorch.training.single.auxiliary import check_aux_loss
from imbtorch.training.skorch_callbacks import check_callbacks, refuse_to_copy

__all__ = ["BaseNetEstimator", "explains_arguments"]

Method = TypeVar("Method", bound=Callable[..., Any])


def explains_arguments(method: Method) -> Method:
    """Let a constructor or ``fit`` say what an argument of another library is called here.

    The signature stays the one that is written: scikit-learn, editors and the documentation read
    it through ``functools.wraps``.
    """
    known = signature(method).parameters.keys()

    @wraps(method)
    def explained(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.keys() <= known:
            refuse_arguments(type(self), method.__name__, kwargs.keys() - known)
        return method(self, *args, **kwargs)

    return cast(Method, explained)


class NamedComponentsMixin:
    """Make ``loss__gamma`` work when ``loss="focal"`` is a string.

    A string is shorthand for the named object with its defaults, and so is a class of modules for
    its builder. ``get_params(deep=True)`` lists that object's parameters; setting one of them
    replaces the string, or the class, by the object. Place it before ``BaseEstimator`` in the
    bases.
    """

    # parameter name -> function that turns a registered name, or a class, into an object
    _components: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this estimator and, if ``deep``, of its components.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include ``<component>__<parameter>`` entries.

        Returns
        -------
        dict
            Parameter names mapped to their values.
        """
        params: dict[str, Any] = super().get_params(deep=deep)  # type: ignore[misc] # BaseEstimator
        if not deep:
            return params
        params |= nested_parameters(params.get("features"))
        for key, resolve in self._components.items():
            if _is_short(key, params.get(key)):
                try:
                    component = resolve(params[key])
                except (ValueError, TypeError):
                    continue  # an unknown name is reported by fit, not while printing
                if not hasattr(component, "get_params"):
                    continue
                nested = component.get_params(deep=True)
                params.update({f"{key}__{name}": value for name, value in nested.items()})
        return params

    def set_params(self, **params: Any) -> Any:
        """Set parameters of this estimator and of its components.

        Parameters
        ----------
        **params : dict
            ``name=value`` or ``component__name=value``. A component given by name is replaced by
            the named object when one of its parameters is set.

        Returns
        -------
        estimator instance
            The estimator itself.

        Raises
        ------
        ValueError
            If a name is unknown, or a value has no such parameters.
        """
        features = params.get("features", getattr(self, "features", None))
        if isinstance(features, dict):
            params = with_nested_parameters(features, params)
        check_names(self, params)
        for key, resolve in self._components.items():
            component = params.get(key, getattr(self, key))
            if not any(name.startswith(f"{key}__") for name in params):
                continue
            written_out = resolve(component) if _is_short(key, component) else component
            if not hasattr(written_out, "set_params"):
                raise ValueError(
                    f"{key}={component!r} has no parameters to set; to use {key}__<parameter>, "
                    f"give an imbtorch object or a name as {key!r}."
                )
            if written_out is not component:
                params[key] = written_out
        return super().set_params(**params)  # type: ignore[misc] # BaseEstimator


def _is_short(key: str, component: Any) -> bool:
    """Return whether a value stands for an object with parameters: a name, or a module class."""
    return isinstance(component, str) or (key == "module" and isinstance(component, type))


def _may_be_inputs(X: Any) -> bool:
    """Return whether ``X`` may be several inputs, or sequences of unequal length."""
    if isinstance(X, np.ndarray):
        return bool(X.dtype.kind == "O")
    return isinstance(X, Mapping | tuple | list | Sequences) or bool(getattr(X, "is_nested", False))


class BaseNetEstimator(
    NamedComponentsMixin, CallbackSupportMixin, VersionStampMixin, Stackable, NetParameters
):
    """Base of the classifier and the regressor: how they fit, and what they show of their net."""

    _components: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "features": get_features,
        "loss": get_loss,
        "module": get_module,
        "sampler": get_sampler,
    }

    # -- training ------------------------------------------------------------------------------

    @fit_context
    def _prepare_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        rows: NDArray[Any] | None = None,
        memo: Memo | None = None,
        validation: ValidationRows | None = None,
        class_counts: ClassCounts | Mapping[Any, float] | None = None,
        resume: bool = False,
    ) -> PreparedFit:
        """Validate the parameters, and prepare a fit up to the training."""
        if memo is not None and self.data_parallel:
            refuse_company()
        if _may_be_inputs(X):
            X = as_inputs(X) if memo is None else memo.once(as_inputs, (X,))
        if isinstance(X, Dataset | DatasetRows) or class_counts is not None:
            X, y, sample_weight = self._read_dataset(X, y, sample_weight, class_counts, memo)
        checkpoint = self._checkpoint(resume=resume)
        source: RowSource
        if validation is None and self.validation is not None:
            validation = chosen_rows(self.validation, None, y)
        if validation is not None and self.validation_fraction is not None:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} draws validation rows, but they "
                "are named already (X_val, validation= or folds). Use validation_fraction=None."
            )
        if self.max_epochs == "auto":
            groups = groups_of_folds(validation, X)
            return prepare_with_length(
                self, X, y, sample_weight, rows=rows, groups=groups, memo=memo, resume=resume
            )
        if isinstance(X, DatasetStream):
            refuse_validation(validation)
            source = StreamSource(X)
        else:
            source = ArraySource(X, y, sample_weight, rows, memo, validation)
        source.resumed = self.warm_start and hasattr(self, "net_")
        return prepare_fit(self, source, checkpoint=checkpoint)

    def _read_dataset(
        self, X: Any, y: Any, sample_weight: Any, class_counts: Any, memo: Memo | None
    ) -> tuple[Any, Any, Any]:
        """Return the rows of a Dataset, their targets and weights."""
        given = (X, y, sample_weight, self.num_workers, class_counts, self.collate_fn)
        arguments = (*given, is_for_tables(self))
        return as_rows(*arguments) if memo is None else memo.once(as_rows, arguments)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        held_out: tuple[Any, Any, Any] = (None, None, None),
        groups: Any = None,
        class_counts: ClassCounts | Mapping[Any, float] | None = None,
        resume: bool = False,
    ) -> None:
        validation = None
        if self.validation is not None or groups is not None:
            validation = chosen_rows(self.validation, groups, y)
        if any(part is not None for part in held_out):
            if validation is not None:
                raise ValueError("Give X_val or validation=, not both.")
            X, y, sample_weight, validation = joined((X, y, sample_weight), held_out, self)
        with self._prepare_fit(
            X,
            y,
            sample_weight,
            validation=validation,
            class_counts=class_counts,
            resume=resume,
        ) as fit:
            train_one_by_one(fit.runs)
            interrupted = fit.publish()
        if interrupted:
            self._pass_on_interruption()

    def _validate_params(self) -> None:
        """Validate the parameters, before the data are looked at."""
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            given, allowed = self.get_params(deep=False), self._parameter_constraints
            advice = advice_on_values(given, allowed, str(error))
            raise InvalidParameterError(f"{error} {advice}".rstrip()) from None
        if isinstance(self.n_threads, bool):  # which counts as an integer
            refuse_boolean_threads(self.n_threads)
        if isinstance(self.sampler, type):
            name = self.sampler.__name__
            raise ValueError(f"sampler={name} is a class: give an object of it, {name}().")
        if self.callbacks is not None:
            check_callbacks(self.callbacks)
        if self.param_groups:
            check_groups(self.param_groups)
        if self.aux_loss is not None:
            check_aux_loss(self.aux_loss)

    def _fit_chunk(self, chunk: ChunkSource) -> None:
        self._validate_params()  # scikit-learn validates on the first call of partial_fit only
        chunk.resumed = hasattr(self, "net_")
        with prepare_fit(self, chunk) as fit:
            train_one_by_one(fit.runs)
            interrupted = fit.publish()
        if interrupted:
            self._pass_on_interruption()

    def _pass_on_interruption(self) -> None:
        """Raise KeyboardInterrupt again, now that the model of that moment is published."""
        if self.on_interrupt == "raise":
            raise KeyboardInterrupt
        warnings.warn(
            f"Training was interrupted in epoch {self.n_iter_}; the model of that moment is kept.",
            UserWarning,
            stacklevel=5,
        )

    def _checkpoint(self, *, resume: bool) -> Checkpoint | None:
        if self.checkpoint is not None:
            return Checkpoint(self.checkpoint, self.checkpoint_interval, resume=resume)
        if resume:
            raise ValueError(
                "resume=True continues the training in a folder; say which one, as in "
                f"{type(self).__name__}(checkpoint='folder')."
            )
        return None

    # -- the fitted net --------------------------------------------------------------------------

    @property
    def module_(self) -> nn.Module:
        """The trained module, on ``device_``; behind the encoder of a table, if there is one."""
        return behind_encoder(self.net_.encoder_, self.net_.module_)

    @property
    def features_(self) -> FeatureEncoder | dict[Key, FeatureEncoder] | None:
        """The fitted feature encoder, a transformer of scikit-learn; None where there is none.

        Of several inputs it is a dict with the encoder of each table that is encoded.
        """
        if self.net_.tables is not None:
            return fitted_by_input(self.features, self.net_.tables, self._part_names or {})
        if self.net_.encoder_ is None:
            return None
        features = self.features
        fitted = get_features(features) if isinstance(features, str) else clone(features)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(fitted, name, getattr(self, name))
        fitted.encoder_ = self.net_.encoder_
        return fitted

    @property
    def loss_(self) -> Any:
        """The loss as prepared for the training data."""
        return self.net_.criterion_

    @property
    def history_(self) -> Any:
        """Skorch's history: one record per epoch."""
        return self.net_.history_

    @property
    def n_iter_(self) -> int:
        """Number of epochs trained."""
        return len(self.net_.history_)

    @property
    def training_length_(self) -> TrainingLength:
        """What ``max_epochs="auto"`` has found: number of epochs, and the scores of the folds."""
        length = self.net_.length
        if length is None:
            raise AttributeError(
                "training_length_ belongs to fits with max_epochs='auto'; files do not hold it."
            )
        return length

    @property
    def n_epochs_(self) -> int:
        """Number of epochs that ``max_epochs="auto"`` has found."""
        return self.training_length_.n_epochs

    @property
    def device_(self) -> str:
        """Device on which the module lies."""
        return str(self.net_.device)

    def _linked_outputs(self, X: Any, link: Callable[[Tensor], Tensor]) -> NDArray[Any]:
        """Compute ``link(outputs)`` of the net for each row, ``(n, n_outputs)``.

        Raises
        ------
        ValueError
            If an output is NaN or infinite. Validation rows are let through: the training itself
            looks for what diverges.
        """
        net = self.net_
        is_checked = not isinstance(X, ChosenFeatures)
        features = self._features(X) if is_checked else X
        dtype = np.float64 if net.dtype == torch.float64 else np.float32
        result = np.empty((len(features), net.n_outputs), dtype=dtype)
        start, is_finite = 0, True
        for chunk in predict_chunks(net, features, link):
            values = chunk.cpu().numpy()
            result[start : start + len(chunk)] = values
            start += len(chunk)
            is_finite = is_finite and bool(np.isfinite(values).all())
        if is_checked and not is_finite:
            refuse_outputs(net, type(self.module_).__name__, features, result)
        return result

    def _features(self, X: Any) -> Features:
        """Validate rows to predict, and return them as the module gets them."""
        return features_to_predict(self, as_inputs(X) if _may_be_inputs(X) else X)

    def _sk_visual_block_(self) -> Any:
        """Show the columns of an encoded table by kind, where scikit-learn draws it in HTML.

        An error, such as that of an estimator which is not fitted, makes it draw a plain box.
        """
        encoder = self.net_.encoder_
        assert encoder is not None
        return diagram(encoder)

    def __sklearn_clone__(self) -> Any:
        """Return an unfitted copy; an error names the callback that cannot be copied."""
        try:
            return super().__sklearn_clone__()
        except Exception as error:
            refuse_to_copy(self.callbacks or (), error)
            raise

    def __sklearn_tags__(self) -> Any:
        """Say what is accepted: sparse and n-dimensional ``X``, and several targets per row."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        if is_for_tables(self):
            tags.input_tags.allow_nan = True
            tags.input_tags.string = tags.input_tags.categorical = True
        tags.target_tags.multi_output = True
        return tags
