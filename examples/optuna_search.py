"""Search with Optuna: each trial is scored fold by fold, and stopped early if it is worse.

::

    python examples/optuna_search.py --trials 20

A search over a grid needs none of this: see StackedGridSearchCV. Optuna is useful where there are
many continuous parameters, and where several machines work on one study through a storage
(``optuna.create_study(storage=...)``).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from data_sets import one_digit
from sklearn.base import clone
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import MLP, ImbalancedNetClassifier


def suggested(trial: optuna.Trial) -> dict[str, Any]:
    """Return the parameters of the net that a trial suggests."""
    return {
        "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
        "loss__gamma": trial.suggest_float("loss__gamma", 0, 4),
        "class_weight": trial.suggest_categorical("class_weight", [None, "sqrt", "balanced"]),
        "module__hidden_sizes": (trial.suggest_int("width", 8, 64, log=True),),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Search over nets for one rare digit.")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args(argv)

    data = one_digit()
    net = ImbalancedNetClassifier(MLP(), loss="focal", max_epochs=args.epochs, random_state=0)
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(data.X, data.y))

    def objective(trial: optuna.Trial) -> float:
        model = make_pipeline(StandardScaler(), clone(net).set_params(**suggested(trial)))
        scores = []
        for step, (train, test) in enumerate(folds):
            model.fit(data.X[train], data.y[train])
            decision = model.decision_function(data.X[test])
            scores.append(average_precision_score(data.y[test], decision))
            trial.report(float(np.mean(scores)), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(scores))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )
    study.optimize(objective, n_trials=args.trials)

    pruned = sum(trial.state is optuna.trial.TrialState.PRUNED for trial in study.trials)
    print(f"{data.name}: {data.summary}")
    print(f"{len(study.trials)} trials, {pruned} stopped early")
    print(f"best average precision {study.best_value:.3f} with")
    for name, value in study.best_params.items():
        print(f"  {name} = {value:.4g}" if isinstance(value, float) else f"  {name} = {value}")


if __name__ == "__main__":
    main()
