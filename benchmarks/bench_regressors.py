"""Which net a regressor should be by default: module and waves, on tables with one target.

Three made tables, and columns of real ones as the target of the others. Mean squared error in units
of the variance of the target, the mean of two times three folds::

    python benchmarks/bench_regressors.py
    python benchmarks/bench_regressors.py --models "TabM, waves (default)" portfolio
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from board_peers import one_thread
from common import PLAIN_MLP, data_folder
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, make_friedman1, make_friedman2, make_friedman3
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import RepeatedKFold

from imbtorch import ImbalancedNetRegressor, NetPortfolioRegressor

MAX_ROWS = 3_000
BOOSTING, PORTFOLIO = "HistGradientBoosting", "portfolio"
Table = tuple[NDArray[np.float64], NDArray[np.float64]]

LAYER = {"module__normalization": "layer"}
WAVES = {"features__numeric_embedding": "periodic"}
NETS: dict[str, Mapping[str, Any]] = {
    "MLP": PLAIN_MLP,
    "MLP, waves": {**PLAIN_MLP, **WAVES},
    "MLP, layer": {**PLAIN_MLP, **LAYER},
    "MLP, layer, waves": {**PLAIN_MLP, **LAYER, **WAVES},
    "TabM": {"features__numeric_embedding": None},
    "TabM, waves (default)": {},
    "TabM, waves, 40 epochs": {"max_epochs": 40},
}


def column(file: str, target: int) -> Table:
    """Return the rows of a shared file, with one of its columns as the target of the others."""
    frame = pd.read_csv(data_folder() / file, header=None).apply(pd.to_numeric, errors="coerce")
    frame = frame.dropna(axis=1, how="all").dropna()  # words, such as the classes, become gaps
    frame = frame.sample(min(len(frame), MAX_ROWS), random_state=0)
    name = frame.columns[target]
    return frame.drop(columns=name).to_numpy(float), frame[name].to_numpy(float)


TABLES: dict[str, Callable[[], Table]] = {
    "friedman 1": partial(make_friedman1, 2000, noise=1, random_state=0),
    "friedman 2": partial(make_friedman2, 2000, noise=50, random_state=0),
    "friedman 3": partial(make_friedman3, 2000, noise=0.1, random_state=0),
    "diabetes": partial(load_diabetes, return_X_y=True),
    "housing": partial(column, "housing.csv", -1),
    "phoneme": partial(column, "phoneme.csv", 1),
    "mammography": partial(column, "mammography.csv", 1),
}


def run(model: Any, X: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Cross-validate a regressor; return its mean error and the seconds of a fit."""
    errors, start = [], time.process_time()
    folds = RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)
    for train, test in folds.split(X):
        model.fit(X[train], y[train])
        errors.append(mean_squared_error(y[test], np.ravel(model.predict(X[test]))))
    return float(np.mean(errors)) / y.var(), (time.process_time() - start) / len(errors)


def models() -> dict[str, Any]:
    """Return all regressors by name."""
    nets = {name: ImbalancedNetRegressor(random_state=0) for name in NETS}
    for name, params in NETS.items():
        nets[name].set_params(**params)
    return {
        **nets,
        PORTFOLIO: NetPortfolioRegressor(ImbalancedNetRegressor(), random_state=0),
        BOOSTING: HistGradientBoostingRegressor(random_state=0),
    }


def main() -> None:
    """Print the errors of all nets on all tables that are found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = models()
    parser.add_argument("--models", nargs="+", choices=list(every), default=list(every))
    chosen = {name: every[name] for name in parser.parse_args().models}
    warnings.filterwarnings("ignore")
    errors, seconds = {}, {}
    with one_thread():
        for table, load in TABLES.items():
            try:
                X, y = load()
            except FileNotFoundError as error:
                print(f"{table}: left out, {error.filename} was not found", flush=True)
                continue
            found = {name: run(model, X, y) for name, model in chosen.items()}
            errors[table] = {name: error for name, (error, _) in found.items()}
            seconds[table] = {name: second for name, (_, second) in found.items()}
    table_of_errors = pd.DataFrame(errors)
    ranks = table_of_errors.rank().mean(axis=1)
    more = {"mean rank": ranks, "seconds": pd.DataFrame(seconds).median(axis=1)}
    print(table_of_errors.assign(**more).round(3).to_string())


if __name__ == "__main__":
    main()
