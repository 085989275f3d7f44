"""Write fitted estimators to files, and load them without running code from the files."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier

from imbtorch._common.log import logger
from imbtorch._common.versions import changed_versions
from imbtorch._publish.model_file import (
    FROZEN,
    SCALED,
    THRESHOLD,
    TUNED,
    Decision,
    Restorer,
    refusing,
    write_model,
)
from imbtorch._safe_file import printable, read_file
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.ensemble import NetEnsembleClassifier, NetEnsembleRegressor
from imbtorch.exceptions import FileFormatError
from imbtorch.model_selection import ScaledClassifierCV, TunedDecisionClassifierCV
from imbtorch.portfolio import NetPortfolioClassifier, NetPortfolioRegressor
from imbtorch.regressor import ImbalancedNetRegressor
from imbtorch.training.devices import resolve_device

__all__ = ["load", "save"]

_ESTIMATORS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        ImbalancedNetClassifier,
        ImbalancedNetRegressor,
        NetEnsembleClassifier,
        NetEnsembleRegressor,
        NetPortfolioClassifier,
        NetPortfolioRegressor,
    )
}

_DECISIONS: dict[type, Decision] = {
    TunedDecisionClassifierCV: TUNED,
    ScaledClassifierCV: SCALED,
    FixedThresholdClassifier: THRESHOLD,
    FrozenEstimator: FROZEN,
}


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator, and the decision around it, to a file that is safe to load.

    It does what the method ``save`` of the estimators does, and also writes the meta-estimators
    that turn their probabilities into decisions: thresholds, offsets and scales are in the file.

    Parameters
    ----------
    model : estimator
        A fitted :class:`ImbalancedNetClassifier`, :class:`NetEnsembleClassifier` or
        :class:`NetPortfolioClassifier`, or the regressor of one of these names; or a
        :class:`~imbtorch.model_selection.TunedDecisionClassifierCV`, a
        :class:`~imbtorch.model_selection.ScaledClassifierCV`, or scikit-learn's
        ``FixedThresholdClassifier`` or ``FrozenEstimator`` around one of these.
    path : str or os.PathLike
        Name of the file, with any extension; other programs recognise ``.safetensors``.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the model is not fitted.
    ValueError
        If the model is another estimator, such as a pipeline or a search, or a parameter is code.
        The message says which one it is, and what to do.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : Read the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import imbtorch
    >>> from imbtorch.model_selection import TunedDecisionClassifierCV
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(1000, weights=[0.9], random_state=0)
    >>> net = imbtorch.ImbalancedNetClassifier(max_epochs=5, random_state=0)
    >>> tuned = TunedDecisionClassifierCV(net, scoring="f1", cv=3).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "decision.safetensors"
    ...     imbtorch.save(tuned, path)
    ...     again = imbtorch.load(path)
    >>> type(again).__name__, bool((again.predict(X) == tuned.predict(X)).all())
    ('TunedDecisionClassifierCV', True)
    """
    write_model(model, path, _DECISIONS)


def load(
    path: str | os.PathLike[str], *, module: Any = None, device: str | torch.device = "cpu"
) -> Any:
    """Load an estimator that :func:`save`, or its method ``save``, has written.

    Loading is safe even if the file comes from an unknown source: it runs no code from the file,
    imports nothing and opens no other file. If the file is damaged or manipulated, an error is
    raised before an estimator is built.

    Parameters
    ----------
    path : str or os.PathLike
        Name of the file.
    module : str, builder, callable, torch.nn.Module class or instance, optional
        The module that the estimator was given, if it is your own: the file holds only its
        parameters, buffers and extra state. An instance is copied.
    device : str or torch.device, default="cpu"
        Device of the loaded net, independent of the device that it was trained on. ``"auto"``
        chooses the first available one of cuda, mps and cpu.

    Returns
    -------
    estimator
        The fitted estimator, or the meta-estimator around it. Its predictions are those of the
        saved one; ``partial_fit`` and ``warm_start`` continue with a new optimizer.

    Raises
    ------
    FileFormatError
        If the file is damaged or manipulated, or has a newer format.
    FileNotFoundError
        If there is no such file.
    OSError
        If the file cannot be opened, or no file can have this name.
    ValueError
        If ``module`` is missing or does not fit the weights, buffers or extra state in the file,
        or the device is not available.

    Warns
    -----
    UserWarning
        If the file was written with another major or minor version of imbtorch, torch,
        scikit-learn, numpy or skorch, or by a version that did not save buffers with
        ``persistent=False`` and the module has such buffers.

    See Also
    --------
    save : Write such a file.

    Notes
    -----
    The checksum in the file finds damage. It does not prove who made the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import imbtorch
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> class Net(torch.nn.Sequential):
    ...     def __init__(self, n_outputs):
    ...         super().__init__(torch.nn.Linear(4, n_outputs))
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = imbtorch.ImbalancedNetClassifier(Net, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "iris.safetensors"
    ...     clf.save(path)
    ...     again = imbtorch.load(path, module=Net)
    >>> bool((again.predict(X) == clf.predict(X)).all())
    True
    """
    place = resolve_device(device, torch.float32)
    with read_file(path) as file:
        with refusing():
            document, made_with = _model_of(file.document)
        restorer = Restorer(document, file.layout, _ESTIMATORS, _DECISIONS, module, place)
        tensors = file.tensors(into=restorer.into())
    estimator = restorer.restore(tensors)
    logger.debug("%s loaded from %s", type(estimator).__name__, os.fspath(path))
    if restorer.lacking:
        warnings.warn(
            f"{os.fspath(path)!r} lacks the buffers {', '.join(restorer.lacking[:5])}, which are "
            "registered with persistent=False: the version of imbtorch that wrote it did not save "
            "them. They have the values of a new module. If the training changed them, "
            "predictions differ; save the fitted estimator again with this version.",
            UserWarning,
            stacklevel=2,
        )
    changed = changed_versions(made_with)
    if changed:
        warnings.warn(
            f"{os.fspath(path)!r} was written with {', '.join(changed)}. Predictions may differ; "
            "compare some predictions, or fit again with the installed versions.",
            UserWarning,
            stacklevel=2,
        )
    return estimator


def _model_of(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Split the document into the model and the versions that made it."""
    kind, made_with = document.pop("kind", None), document.pop("versions", None)
    if kind == "checkpoint":
        raise FileFormatError(
            "the file is the checkpoint of a training, not a model. fit continues the training in "
            "its folder: ImbalancedNetClassifier(checkpoint=folder).fit(X, y, resume=True), with "
            "the parameters and data of that training; then save the fitted estimator."
        )
    if kind != "model":
        raise FileFormatError(f"the file must hold a model, but its kind is {str(kind)[:80]!r}.")
    known = isinstance(made_with, dict) and len(made_with) < 20
    if not known or not all(isinstance(text, str) for text in made_with.values()):
        raise FileFormatError("the file does not list the versions that made it.")
    return document, {printable(k, 40): printable(text, 40) for k, text in made_with.items()}
