"""scikit-learn's callbacks (1.9 and later), told about each epoch of a fit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from imbtorch.training.callbacks import Monitor

__all__ = ["EpochCallbacks"]

Record = dict[str, Any]


class EpochCallbacks(Monitor):
    """Tell scikit-learn's callbacks about each epoch.

    Parameters
    ----------
    estimator : estimator instance
        Being fitted.
    attributes : callable() -> dict
        Fitted attributes as of now, for callbacks that want a fitted estimator.
    X, y : array-like
        Training data.
    metadata : dict
        ``sample_weight``, where given.
    """

    single_net_because = "scikit-learn callbacks look at a single fit"
    runs_callbacks = True

    def __init__(
        self, estimator: Any, attributes: Callable[[], Record], X: Any, y: Any, metadata: Any
    ) -> None:
        self.estimator, self.attributes = estimator, attributes
        self.data = {"X": X, "y": y, "metadata": metadata}

    def begin(self, net: Any, epochs: int, n_rows: int) -> None:
        """Open the task of the whole fit."""
        self.fit = self.estimator._init_callback_context(max_subtasks=epochs)
        self.fit.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def epoch_begin(self, net: Any) -> None:
        """Open the task of one epoch."""
        self.epoch = self.fit.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def epoch_end(self, net: Any, record: dict[str, Any]) -> bool:
        """Close the task of the epoch; a callback may ask to stop."""
        return bool(
            self.epoch.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=lambda: copy.deepcopy(self.attributes()),
                **self.data,
            )
        )

    def end(self, net: Any, completed: bool) -> None:
        """Close the task of the whole fit, unless an error cut it short."""
        if not completed:
            return
        self.fit.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=self.attributes, **self.data
        )
