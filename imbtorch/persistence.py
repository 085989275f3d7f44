"""Load fitted estimators from files without running code from the files."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch

from imbtorch._common.versions import changed_versions
from imbtorch._publish.model_file import Restorer, refusing
from imbtorch._safe_file import printable, read_file
from imbtorch.classifier import ImbalancedNetClassifier
from imbtorch.ensemble import BalancedNetEnsembleClassifier
from imbtorch.exceptions import FileFormatError
from imbtorch.regressor import ImbalancedNetRegressor
from imbtorch.training.net import resolve_device

__all__ = ["load"]

_ESTIMATORS: dict[str, type] = {
    cls.__name__: cls
    for cls in (ImbalancedNetClassifier, ImbalancedNetRegressor, BalancedNetEnsembleClassifier)
}


def load(
    path: str | os.PathLike[str], *, module: Any = None, device: str | torch.device = "cpu"
) -> Any:
    """Load an estimator that ``save`` has written.

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
    ImbalancedNetClassifier, ImbalancedNetRegressor or BalancedNetEnsembleClassifier
        The fitted estimator. Its predictions are those of the saved estimator; ``partial_fit`` and
        ``warm_start`` continue with a new optimizer.

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
    ImbalancedNetClassifier.save : Write such a file.

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
        restorer = Restorer(document, file.layout, _ESTIMATORS, module, place)
        tensors = file.tensors(into=restorer.into())
    estimator = restorer.restore(tensors)
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
    if kind != "model":
        raise FileFormatError(f"the file must hold a model, but its kind is {str(kind)[:80]!r}.")
    known = isinstance(made_with, dict) and len(made_with) < 20
    if not known or not all(isinstance(text, str) for text in made_with.values()):
        raise FileFormatError("the file does not list the versions that made it.")
    return document, {printable(k, 40): printable(text, 40) for k, text in made_with.items()}
