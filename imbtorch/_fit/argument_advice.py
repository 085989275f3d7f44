"""Say what an argument of another library is called here; asked only where one is unknown."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from inspect import signature
from typing import Any, NoReturn

from sklearn.base import is_regressor

from imbtorch._common.registry import Registry
from imbtorch.features._base import FEATURES
from imbtorch.losses._base import LOSSES
from imbtorch.losses.regression._base import REGRESSION_LOSSES
from imbtorch.modules._build import MODULES
from imbtorch.samplers._base import SAMPLERS

__all__ = ["advice_on_argument", "refuse_arguments"]

# name here -> names for the same in scikit-learn, Keras, skorch, Lightning and boosting libraries
_NAMES_ELSEWHERE = {
    "accumulate": "accumulate_grad_batches gradient_accumulation_steps",
    "batch_size": "batch minibatch_size",
    "callbacks": "callback",
    "categorical_features": "cat_cols cat_features categorical_columns categorical_feature",
    "checkpoint": "checkpoint_dir ckpt_path",
    "class_weight": "class_weights is_unbalance pos_weight scale_pos_weight",
    "device": "accelerator cuda gpu use_cuda",
    "dropout": "dropout_rate",
    "gradient_clipping": "clipnorm grad_clip gradient_clip_val max_grad_norm",
    "hidden_sizes": "hidden hidden_dims hidden_layer_sizes hidden_layers hidden_units layers",
    "loss": "criterion loss_fn loss_func loss_function objective",
    "lr": "eta learning_rate learning_rate_init",
    "lr_schedule": "learning_rate_schedule lr_scheduler scheduler",
    "max_epochs": "epochs iterations max_iter n_epochs n_iter nb_epoch num_boost_round num_epochs",
    "module": "model net network",
    "n_estimators": "n_members num_members",
    "num_workers": "n_workers workers",
    "optimizer": "solver",
    "patience": "early_stopping_patience early_stopping_rounds n_iter_no_change",
    "precision": "amp fp16 mixed_precision",
    "random_state": "random_seed seed",
    "sample_weight": "sample_weights weight weights",
    "sampler": "oversample oversampling resample resampling",
    "scoring": "eval_metric metric metrics",
    "sharpness": "rho sam",
    "target_prior": "class_prior prior priors",
    "time_limit": "max_time time_budget",
    "validation_fraction": "val_size validation_size validation_split",
    "verbose": "verbosity",
    "weight_decay": "decay l2 l2_regularization reg_lambda",
    "X_val": "eval_set val_data valid_set validation_data X_valid",
    "y_val": "y_valid",
}
_CALLED_HERE = {
    elsewhere: name for name, names in _NAMES_ELSEWHERE.items() for elsewhere in names.split()
}
_IN_USE = {
    "X_val": "X_val=X_val, y_val=y_val",
    "y_val": "X_val=X_val, y_val=y_val",
    "patience": "early_stopping=True, patience=5",
    "class_weight": "class_weight={0: 1.0, 1: 9.0}",
}
_KNOWN_BEST = ("FocalLoss", "MLP", "TabM", "TableFeatures")


def refuse_arguments(cls: type, method: str, unknown: Iterable[str]) -> NoReturn:
    """Raise TypeError for an argument that a constructor or a method does not have.

    Parameters
    ----------
    cls : type
        Class of the estimator.
    method : str
        Name of the method, such as ``"__init__"`` or ``"fit"``.
    unknown : iterable of str
        Arguments that the method does not have.

    Raises
    ------
    TypeError
        Always. The message says what the argument is called here and where it belongs, if that is
        known.
    """
    name = next(iter(unknown))
    advice = advice_on_argument(cls, name, method)
    raise TypeError(
        f"{cls.__name__}.{method}() got an unexpected keyword argument {name!r}. {advice}".rstrip()
    )


def advice_on_argument(cls: type[Any], name: str, method: str = "__init__") -> str:
    """Say what an argument of another library is called here.

    Parameters
    ----------
    cls : type
        Class of the estimator.
    name : str
        Name of the argument.
    method : str, default="__init__"
        Method that was given the argument.

    Returns
    -------
    str
        A sentence with an example; empty if nothing is known.

    Examples
    --------
    >>> from imbtorch import ImbalancedNetClassifier
    >>> from imbtorch._fit.argument_advice import advice_on_argument
    >>> advice_on_argument(ImbalancedNetClassifier, "epochs")
    'Its name here is max_epochs: ImbalancedNetClassifier(max_epochs=...).'
    """
    here = _CALLED_HERE.get(name.lower(), name)
    own = list(signature(cls).parameters)
    of_fit = list(signature(cls.fit).parameters)[1:]
    if method == "fit" and here in of_fit:
        return f"Its name here is {here}: fit(X, y, {_shown(here)})."
    if here in own:
        if method != "__init__":
            return f"It is a parameter of the estimator: {cls.__name__}({_shown(here)})."
        return f"Its name here is {here}: {cls.__name__}({_shown(here)})."
    if here in of_fit:
        return f"It is an argument of fit: fit(X, y, {_shown(here)})."
    nets = type(cls()._base) if hasattr(cls, "_base") else None
    if nets is not None and here in ("X_val", "y_val"):
        return f"Rows are held out by folds of X and y: {cls.__name__}(cv=...)."
    if nets is not None and here in signature(nets).parameters:
        of_nets = f"{cls.__name__}({nets.__name__}({_shown(here)}))"
        return f"It is a parameter of the nets, which are the first argument: {of_nets}."
    return _advice_on_component(nets or cls, here) or _nearest(
        name, own if method == "__init__" else of_fit
    )


def _shown(name: str) -> str:
    return _IN_USE.get(name, f"{name}=...")


def _advice_on_component(cls: type, name: str) -> str:
    """Say which losses, modules, samplers or encoders have a parameter of this name."""
    registries: dict[str, Registry[Any]] = {
        "loss": REGRESSION_LOSSES if is_regressor(cls()) else LOSSES,
        "module": MODULES,
        "features": FEATURES,
        "sampler": SAMPLERS,
    }
    for key, registry in registries.items():
        having = {
            known.__name__ for known in registry.values() if name in signature(known).parameters
        }
        if having and key in signature(cls).parameters:
            first, *others = sorted(having, key=lambda found: (found not in _KNOWN_BEST, found))
            also = f" {', '.join(others)} have it, too." if len(others) > 1 else ""
            return f"It is a parameter of the {key}: {key}={first}({name}=...).{also}"
    return ""


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name.lower(), known, n=1)
    return f"Did you mean {near[0]!r}?" if near else ""
