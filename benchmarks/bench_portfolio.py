"""What a portfolio costs, beside single nets::

    python benchmarks/bench_portfolio.py
    python benchmarks/bench_portfolio.py --rows 20000

Costs are processor seconds of one thread.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import pandas as pd
import torch
from sklearn.datasets import make_classification

from imbtorch import ImbalancedNetClassifier, NetPortfolioClassifier


def seconds(estimator: Any, X: Any, y: Any) -> float:
    """Return the processor seconds of a fit."""
    start = time.process_time()
    estimator.fit(X, y)
    return time.process_time() - start


def main() -> None:
    """Measure, and print the leaderboard."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--columns", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    X, y = make_classification(
        args.rows, args.columns, n_informative=8, weights=[0.95], flip_y=0.02, random_state=0
    )
    net = ImbalancedNetClassifier(target_prior="train", random_state=0)
    seconds(NetPortfolioClassifier(net, recipes={"plain": {}}), X[:500], y[:500])  # imports
    portfolio = NetPortfolioClassifier(net, random_state=0)
    found = {
        "net, 20 epochs": seconds(net, X, y),
        "net, length found": seconds(net.set_params(max_epochs="auto"), X, y),
        "portfolio": seconds(portfolio, X, y),
    }
    for name, value in found.items():
        print(f"{name:18} {value:6.2f} s, {value / found['net, 20 epochs']:5.1f} times the first")
    print(pd.DataFrame(portfolio.leaderboard_).to_string())
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
