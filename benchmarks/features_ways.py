"""What the feature table asks of a package, and the parts that a package may answer with.

A package is a :class:`Peer`. Its methods return how the package is used for a feature, as a
:class:`Way`, or raise :class:`Answered` where there is nothing to try. ``features.py`` tries it.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

Array = NDArray[Any]
N_FEATURES, HIDDEN, BATCH_SIZE, EPOCHS, LR = 4, 16, 16, 12, 0.003


class Answered(Exception):
    """Raised where nothing has to be tried, with a mark of the table and a reason."""

    def __init__(self, reason: str, mark: str = "no") -> None:
        super().__init__(mark, reason)


@dataclass
class Way:
    """A model, the arguments of its ``fit``, and the work that is left to the user, if any."""

    model: Any
    fit: dict[str, Any] = field(default_factory=dict)
    by_hand: str = ""


class Peer:
    """A package; these methods find features by the names of parameters."""

    package = ""  # name of the distribution, for the version
    grid: ClassVar[dict[str, list[Any]]] = {"lr": [1e-5, LR]}  # a parameter that a search varies
    gammas: ClassVar[dict[str, list[Any]]] = {}  # the parameter that is the gamma of the focal loss
    repair: ClassVar[
        dict[str, Any]
    ] = {}  # parameters that make the probabilities of a custom loss valid
    stacked = ("no", "read: nothing in its source trains several nets as one")

    def version(self) -> str:
        """Return the version that is installed."""
        return importlib.metadata.version(self.package)

    def plain(self, n_classes: int = 2, epochs: int = EPOCHS) -> Way:
        """Build a small net; ``n_classes`` is for packages that do not see it from the data."""
        raise NotImplementedError

    def for_checks(self) -> Way:
        """Build the net for scikit-learn's common checks, which trains long enough to learn."""
        return self.plain(epochs=20)

    def weighted(self, y: Array) -> Way:
        """Balance the classes by weights; ``y`` with columns has several labels per row."""
        way = self.plain(max(2, len(np.unique(y))))
        if "class_weight" in way.model.get_params():
            way.model.set_params(class_weight="balanced")
            return way
        if "class_weight" in signature(way.model.fit).parameters:
            by_hand = "an argument of fit: no search reaches it"
            return Way(way.model, {**way.fit, "class_weight": "balanced"}, by_hand)
        raise Answered("no class_weight")

    def focal(self) -> Way:
        """Train on the focal loss."""
        way = self.plain()
        if "loss" not in way.model.get_params():
            raise Answered("no parameter for a loss")
        way.model.set_params(loss="focal")
        return way

    def with_module(self, module: type[nn.Module]) -> Way:
        """Train a module of the user, which takes the numbers of inputs and outputs."""
        raise Answered("no parameter for a module")

    def corrected(self, y: Array) -> Way:
        """Balance by weights, but predict probabilities for the class frequencies of the data."""
        names = [name for name in self.plain().model.get_params() if "prior" in name]
        raise Answered(f"no such parameter{names or ''}")

    def sampled(self, y: Array) -> Way:
        """Draw balanced batches instead of weighting them."""
        raise Answered("no parameter for a sampler")

    def save(self, model: Any, path: Path) -> str:
        """Write a file without pickle; return what the user must do to read it, if anything."""
        raise Answered("pickle or joblib")
