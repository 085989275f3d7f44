"""The versions that made a model, stamped on its pickles and files."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import sklearn
import torch

from imbtorch._version import __version__

__all__ = ["VersionStampMixin", "changed_versions", "versions"]

_SKORCH = version("skorch")  # looked up once: loading a file of ours opens no other


def versions() -> dict[str, str]:
    """Versions of what a fitted model depends on, by name of the package.

    Returns
    -------
    dict of str to str
        Of this package, torch, scikit-learn, numpy and skorch.
    """
    return {
        "imbtorch": __version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "skorch": _SKORCH,
    }


def changed_versions(made_with: dict[str, str]) -> list[str]:
    """Describe the packages of which another minor version is here.

    Parameters
    ----------
    made_with : dict of str to str
        As :func:`versions` returned it elsewhere.

    Returns
    -------
    list of str
        Such as ``"torch 2.6.0 (here 2.13.0)"``.
    """
    here = versions()
    return [
        f"{name} {made} (here {here.get(name)})"
        for name, made in made_with.items()
        if made.split(".")[:2] != here.get(name, "").split(".")[:2]
    ]


class VersionStampMixin:
    """Stamp pickles with the versions that made them. Place it before ``BaseEstimator``."""

    def __getstate__(self) -> dict[str, Any]:
        """Stamp the state with the versions that made it."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {**state, "_versions": versions()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state; warn where another minor version made it."""
        changed = changed_versions(state.pop("_versions", {}))
        super().__setstate__(state)  # type: ignore[misc]
        if changed:
            warnings.warn(
                f"This {type(self).__name__} was pickled with {', '.join(changed)}. Predictions "
                "may differ or fail; fit it again with the versions that are here.",
                UserWarning,
                stacklevel=2,
            )
