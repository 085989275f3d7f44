"""Record the package versions that made a model in its pickles and files."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import sklearn
import torch

from imbtorch._version import __version__

__all__ = ["VersionStampMixin", "changed_versions", "versions"]

_SKORCH = version("skorch")  # read at import, so that loading a model opens no other file


def versions() -> dict[str, str]:
    """Return the versions of the packages that a fitted model depends on.

    Returns
    -------
    dict of str to str
        Versions of imbtorch, torch, scikit-learn, numpy and skorch, by name of the package.
    """
    return {
        "imbtorch": __version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "skorch": _SKORCH,
    }


def changed_versions(made_with: dict[str, str]) -> list[str]:
    """Describe the packages that are installed here in another major or minor version.

    Parameters
    ----------
    made_with : dict of str to str
        Versions that :func:`versions` returned when the model was made.

    Returns
    -------
    list of str
        Descriptions such as ``"torch 2.6.0 (here 2.13.0)"``.
    """
    here = versions()
    return [
        f"{name} {made} (here {here.get(name)})"
        for name, made in made_with.items()
        if made.split(".")[:2] != here.get(name, "").split(".")[:2]
    ]


class VersionStampMixin:
    """Record package versions in pickles. Place this class before ``BaseEstimator``."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the present package versions."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment] # a dict
        return {**state, "_versions": versions()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state; warn if other major or minor versions made it."""
        changed = changed_versions(state.pop("_versions", {}))
        super().__setstate__(state)  # type: ignore[misc] # of the next base
        if changed:
            warnings.warn(
                f"This {type(self).__name__} was pickled with {', '.join(changed)}. Predictions "
                "may differ or fail; fit it again with the installed versions.",
                UserWarning,
                stacklevel=2,
            )
