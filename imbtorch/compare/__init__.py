"""Compare remedies for imbalance on one data set."""

from __future__ import annotations

from imbtorch.compare._compare import compare_strategies
from imbtorch.compare._result import StrategyComparison
from imbtorch.compare._run import ComparisonRun
from imbtorch.compare._strategies import default_strategies

__all__ = ["ComparisonRun", "StrategyComparison", "compare_strategies", "default_strategies"]
