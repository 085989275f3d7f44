"""Plot loss, validation score and learning rate of a training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imbtorch._common.training_length import TrainingLength
from imbtorch.plotting._style import COLOURS, add_grid, as_axes, check_matplotlib, panels
from imbtorch.plotting._unwrap import check_fitted, innermost

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TrainingCurveDisplay"]

Floats = NDArray[np.float64]
_LABELS = {
    "train_loss": "training loss",
    "valid_score": "validation score",
    "fold_score": "score of the folds",
    "lr": "learning rate",
}
_HEIGHTS = {"train_loss": 3, "valid_score": 3, "fold_score": 3, "lr": 1.4}


class TrainingCurveDisplay:
    """Plot of training loss, validation score and learning rate against the epoch.

    Create a display with :meth:`from_estimator`.

    Parameters
    ----------
    curves : dict of str to ndarray of shape (n_members, n_epochs)
        Recorded values: ``"train_loss"``, and ``"valid_score"`` and ``"lr"`` if they were recorded.
        NaN after the last epoch of a member.
    best_epochs : ndarray of shape (n_members,), or None
        Epoch, counted from 1, with the best validation score; the last one of equal scores. None
        without validation scores.
    kept : bool, default=False
        Whether the weights of the best epoch were kept, as early stopping does.
    score_name : str, default=""
        Name of the validation score.
    length : TrainingLength or None, default=None
        ``training_length_`` of an estimator with ``max_epochs="auto"``: adds a panel with the mean
        score of the folds, which found the number of epochs.

    Attributes
    ----------
    lines_ : dict of str to Line2D
        The curve of each panel; for several members their mean, up to the last epoch that at least
        half of them have.
    bands_ : dict of str to PolyCollection
        Bands from the smallest to the largest value of several members; empty for one member.
    best_line_ : list of Line2D
        Vertical lines at the best epoch of a single net, one per panel; empty for several nets.
    best_points_ : Line2D or None
        The best epoch of each member, in the panel of the validation score.
    length_line_, length_band_ : Line2D and PolyCollection, or None
        Mean score of the folds, and the standard error of its difference to the best epoch.
    ax_ : Axes or ndarray of Axes
        Axes of the panels, from top to bottom.
    figure_ : Figure
        The figure of the Axes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import ImbalancedNetClassifier
    >>> from imbtorch.plotting import TrainingCurveDisplay
    >>> X, y = make_classification(1000, weights=[0.9], random_state=0)
    >>> clf = ImbalancedNetClassifier(max_epochs=5, validation_fraction=0.2, random_state=0)
    >>> display = TrainingCurveDisplay.from_estimator(clf.fit(X, y))
    >>> sorted(display.lines_)
    ['lr', 'train_loss', 'valid_score']
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        curves: dict[str, Floats],
        best_epochs: NDArray[np.intp] | None = None,
        *,
        kept: bool = False,
        score_name: str = "",
        length: TrainingLength | None = None,
    ) -> None:
        self.curves = curves
        self.best_epochs = best_epochs
        self.kept = kept
        self.score_name = score_name
        self.length = length

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> TrainingCurveDisplay:
        """Draw the ``history_`` of a fitted estimator.

        Parameters
        ----------
        estimator : estimator, or sequence of estimators
            Fitted imbtorch estimator, or a pipeline or search around one. An ensemble or a
            sequence is drawn as the mean of its members with a band of their range.
        ax : Axes, sequence of Axes or None, default=None
            Axes to draw on: one Axes per panel, or one that is divided; None creates a figure.

        Returns
        -------
        TrainingCurveDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If an estimator is not fitted.
        ValueError
            If an estimator has no history, or a history without epochs.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        nets = _nets(estimator)
        histories = [_history(net) for net in nets]
        # only values that all members recorded in all epochs
        recorded = [n for n in _LABELS if all(n in row for rows in histories for row in rows)]
        curves = {name: _as_matrix(histories, name) for name in recorded}
        scores = curves.get("valid_score")
        best = None if scores is None else _last_best(scores)
        kept = all(getattr(net, "early_stopping", False) for net in nets)
        length = getattr(nets[0], "training_length_", None) if len(nets) == 1 else None
        name = _score_name(nets[0])
        return cls(curves, best, kept=kept, score_name=name, length=length).plot(ax=ax)

    def plot(self, ax: Any = None) -> TrainingCurveDisplay:
        """Draw the panels, one below the other.

        Parameters
        ----------
        ax : Axes, sequence of Axes or None, default=None
            Axes to draw on: one Axes per panel, or one that is divided; None creates a figure.

        Returns
        -------
        TrainingCurveDisplay
            The display.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        from matplotlib.ticker import MaxNLocator

        names = [n for n in _LABELS if n in self.curves or (n == "fold_score" and self.length)]
        heights = [_HEIGHTS[name] for name in names]
        axes = panels(ax, len(heights), figsize=(6.4, 0.4 + 0.75 * sum(heights)), heights=heights)
        self.lines_: dict[str, Any] = {}
        self.bands_: dict[str, Any] = {}
        self.best_line_: list[Any] = []
        self.best_points_: Any = None
        self.length_line_: Any = None
        self.length_band_: Any = None
        for panel, name in zip(axes, names, strict=True):
            if name == "fold_score":
                self._draw_length(panel)
            else:
                self._draw(panel, name, self.curves[name])
            add_grid(panel)
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        if "valid_score" in self.curves:
            self._mark_best(axes, axes[names.index("valid_score")])
        if len(next(iter(self.curves.values()))) > 1 or self.best_epochs is not None:
            place = names.index("valid_score") if self.best_epochs is not None else 0
            # above the panel, where the legend covers no data and takes no width
            axes[place].legend(
                loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize="small"
            )
        self.ax_, self.figure_ = as_axes(axes), axes[0].figure
        return self

    def _draw(self, panel: Axes, name: str, curve: Floats) -> None:
        epochs = np.arange(1, curve.shape[1] + 1)
        several = len(curve) > 1
        colour = COLOURS[list(_LABELS).index(name)]
        marker = "o" if len(epochs) <= 30 else None
        label = f"mean of {len(curve)} nets" if several else None
        # a mean over less than half of the members would be misleading
        curve = np.where(np.isnan(curve).mean(axis=0) <= 0.5, curve, np.nan)
        recorded = ~np.isnan(curve).all(axis=0)  # not every epoch of a long training is scored
        epochs, curve = epochs[recorded], curve[:, recorded]
        values = np.ma.masked_invalid(curve)
        mean = values.mean(axis=0).filled(np.nan)
        (self.lines_[name],) = panel.plot(
            epochs, mean, color=colour, label=label, marker=marker, ms=3
        )
        if several:
            low, high = values.min(axis=0), values.max(axis=0)
            self.bands_[name] = panel.fill_between(
                epochs, low, high, color=colour, alpha=0.25, linewidth=0, label="their range"
            )
        label = _LABELS[name]
        if name == "valid_score" and self.score_name:
            label += f"\n({self.score_name})"
        panel.set_ylabel(label)

    def _draw_length(self, panel: Axes) -> None:
        length = self.length
        assert length is not None
        colour = COLOURS[list(_LABELS).index("fold_score")]
        mean, error = length.mean_score, length.score_error
        n_folds = len(length.scores)
        (self.length_line_,) = panel.plot(
            length.epochs, mean, color=colour, marker="o", ms=3, label=f"mean of {n_folds} folds"
        )
        self.length_band_ = panel.fill_between(
            length.epochs,
            mean - error,
            mean + error,
            color=colour,
            alpha=0.25,
            linewidth=0,
            label="standard error of the difference to the best",
        )
        best = length.best_epoch
        panel.axvline(best, color="0.4", ls=":", lw=1.2, zorder=1, label=f"best epoch, {best}")
        panel.set_ylabel(
            _LABELS["fold_score"] + (f"\n({self.score_name})" if self.score_name else "")
        )
        panel.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize="small"
        )

    def _mark_best(self, axes: list[Axes], panel: Axes) -> None:
        assert self.best_epochs is not None
        scores = self.curves["valid_score"]
        best = scores[np.arange(len(scores)), self.best_epochs - 1]
        what = "best epoch" if len(scores) > 1 else f"best epoch, {self.best_epochs[0]}"
        (self.best_points_,) = panel.plot(
            self.best_epochs,
            best,
            color="black",
            linestyle="none",
            marker="*",
            markersize=9,
            label=what + (" (its weights were kept)" if self.kept else ""),
        )
        if len(scores) == 1:
            mark: dict[str, Any] = {"color": "0.4", "linestyle": ":", "linewidth": 1.2, "zorder": 1}
            self.best_line_ = [axis.axvline(self.best_epochs[0], **mark) for axis in axes]


def _nets(estimator: Any) -> list[Any]:
    if isinstance(estimator, Sequence):
        if not estimator:
            raise ValueError("the sequence of estimators is empty; give at least one.")
        return [net for one in estimator for net in _nets(one)]
    check_fitted(estimator)
    net = innermost(estimator)
    return list(net.estimators_) if hasattr(net, "estimators_") else [net]


def _history(net: Any) -> Any:
    history = getattr(net, "history_", None)
    if history is None:
        raise ValueError(
            f"{type(net).__name__} has no history_; expected an imbtorch estimator, or a pipeline "
            "or search around one."
        )
    if len(history) == 0 or "train_loss" not in history[0]:
        raise ValueError(f"history_ of {type(net).__name__} holds no epoch with a train_loss.")
    return history


def _as_matrix(histories: list[Any], name: str) -> Floats:
    matrix = np.full((len(histories), max(map(len, histories))), np.nan)
    for line, history in zip(matrix, histories, strict=True):
        line[: len(history)] = [record[name] for record in history]
    return matrix


def _last_best(scores: Floats) -> NDArray[np.intp]:
    """Return the epochs, from 1, that early stopping keeps: the last with the best score."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    best: NDArray[np.intp] = scores.shape[1] - filled[:, ::-1].argmax(axis=1)
    return best


def _score_name(net: Any) -> str:
    scoring = getattr(net, "scoring", None)
    if isinstance(scoring, str):
        return scoring.replace("_", " ")
    if scoring is not None:
        return ""
    return "average precision" if hasattr(net, "classes_") else "minus mean squared error"
