"""Plots in the style of scikit-learn's displays. They need the extra ``plot``.

Each display has class methods that compute and draw (``from_estimator``, ``from_predictions``),
takes ``ax=``, keeps computed values and drawn objects as attributes, and can be drawn again with
``plot``. matplotlib is imported when something is drawn; its settings are not changed.
"""

from imbtorch.plotting._class_recall import ClassRecallDisplay
from imbtorch.plotting._leaderboard import LeaderboardDisplay
from imbtorch.plotting._loss_shape import LossCurve, LossShapeDisplay
from imbtorch.plotting._prior_shift import PriorShiftDisplay, Reliability
from imbtorch.plotting._search import SearchDisplay
from imbtorch.plotting._threshold import ThresholdDisplay
from imbtorch.plotting._training_curve import TrainingCurveDisplay

__all__ = [
    "ClassRecallDisplay",
    "LeaderboardDisplay",
    "LossCurve",
    "LossShapeDisplay",
    "PriorShiftDisplay",
    "Reliability",
    "SearchDisplay",
    "ThresholdDisplay",
    "TrainingCurveDisplay",
]
