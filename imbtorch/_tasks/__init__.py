"""The three tasks of a net: classes, labels and values.

Each file holds one task, which knows everything that depends on the kind of the targets, and its
balance: how much the rows of one fit weigh, and the loss that is prepared for them.
"""

from __future__ import annotations

from imbtorch._tasks.base import Balance, ClassificationTask, RowWeights, Task
from imbtorch._tasks.classes import ClassBalance, Classes
from imbtorch._tasks.labels import LabelBalance, Labels
from imbtorch._tasks.values import FormerScale, ValueBalance, Values

__all__ = [
    "Balance",
    "ClassBalance",
    "ClassificationTask",
    "Classes",
    "FormerScale",
    "LabelBalance",
    "Labels",
    "RowWeights",
    "Task",
    "ValueBalance",
    "Values",
]
