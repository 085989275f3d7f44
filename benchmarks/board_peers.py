"""The peers of the board: usual classifiers of tables, with the defaults of their libraries.

Each function takes a seed and returns a classifier that is not fitted. Its features are a DataFrame
of numbers and categories with gaps, as ``board_data`` returns it. Categories and gaps are left to
the library where it knows them; else gaps are imputed beside an indicator, and categories one-hot
encoded. All run on one thread within ``one_thread``.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from imblearn.ensemble import BalancedRandomForestClassifier
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

__all__ = ["PEERS", "CatBoostOnFrames", "installed_peers", "one_thread", "tuned"]

Peer = Callable[[int], Any]
NUMBERS = make_column_selector(dtype_include="number")
WORDS = make_column_selector(dtype_include="category")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numpy, the OpenMP of scikit-learn, and torch use one thread each within this block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def lightgbm(seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_jobs=1, random_state=seed, verbose=-1)


def xgboost(seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(enable_categorical=True, n_jobs=1, random_state=seed)


class CatBoostOnFrames(ClassifierMixin, BaseEstimator):
    """CatBoost with the columns of dtype ``category`` as its categories.

    CatBoost must be told which columns these are, and takes no gaps in them; a gap becomes a word.

    Parameters
    ----------
    random_state : int, default=0
        Seed.
    """

    def __init__(self, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, X: pd.DataFrame, y: NDArray[np.int64]) -> CatBoostOnFrames:
        """Fit the trees."""
        from catboost import CatBoostClassifier

        self.model_ = CatBoostClassifier(
            cat_features=WORDS(X),
            random_seed=self.random_state,
            thread_count=1,
            verbose=False,
            allow_writing_files=False,
        )
        self.model_.fit(self._without_gaps_in_words(X), y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Return the probability of each class for each row."""
        return self.model_.predict_proba(self._without_gaps_in_words(X), thread_count=1)

    def predict(self, X: pd.DataFrame) -> NDArray[np.int64]:
        """Return the more probable class of each row."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    @staticmethod
    def _without_gaps_in_words(X: pd.DataFrame) -> pd.DataFrame:
        return X.assign(**{name: X[name].astype(object).fillna("(gap)") for name in WORDS(X)})


def hist_gradient_boosting(seed: int) -> Any:
    return HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=seed)


def _all_numbers(scaled: bool = False) -> ColumnTransformer:
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    numbers = make_pipeline(imputer, StandardScaler()) if scaled else imputer
    words = OneHotEncoder(handle_unknown="ignore")  # a gap is one more category
    return ColumnTransformer([("numbers", numbers, NUMBERS), ("words", words, WORDS)])


def random_forest(seed: int) -> Pipeline:
    return make_pipeline(_all_numbers(), RandomForestClassifier(random_state=seed))


def balanced_random_forest(seed: int) -> Pipeline:
    return make_pipeline(_all_numbers(), BalancedRandomForestClassifier(random_state=seed))


def logistic_regression(seed: int) -> Pipeline:
    return make_pipeline(_all_numbers(scaled=True), LogisticRegression(random_state=seed))


def mlp(seed: int) -> Pipeline:
    return make_pipeline(_all_numbers(scaled=True), MLPClassifier(random_state=seed))


def _imputed_only() -> ColumnTransformer:
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    steps = [("numbers", imputer, NUMBERS), ("words", "passthrough", WORDS)]
    return ColumnTransformer(steps, verbose_feature_names_out=False).set_output(transform="pandas")


def realmlp(seed: int) -> Pipeline:
    from pytabkit import RealMLP_TD_Classifier

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # else six lines for each fit
    net = RealMLP_TD_Classifier(device="cpu", n_threads=1, random_state=seed)
    return make_pipeline(_imputed_only(), net)


def realmlp_log_loss(seed: int) -> Pipeline:
    """Return RealMLP as its authors advise for AUC and log-loss, instead of for accuracy."""
    return realmlp(seed).set_params(
        realmlp_td_classifier__val_metric_name="cross_entropy",
        realmlp_td_classifier__use_ls=False,
    )


def tabm(seed: int) -> Pipeline:
    """Return TabM, whose training stops by the wrong decisions about the validation rows."""
    from pytabkit import TabM_D_Classifier

    net = TabM_D_Classifier(device="cpu", n_threads=1, random_state=seed)
    return make_pipeline(_imputed_only(), net)


def tabm_auc(seed: int) -> Pipeline:
    """Return TabM whose training stops by the ROC AUC of the validation rows.

    Where few rows are positive, the wrong decisions do not become fewer for many epochs, and the
    training stops at once. The log-loss cannot take their place, as it does for RealMLP: pytabkit
    1.7.3 hands probabilities to its measure of the log-loss, which takes logits.
    """
    return tabm(seed).set_params(tabm_d_classifier__val_metric_name="1-auc_ovr")


PEERS: dict[str, Peer] = {
    "LightGBM": lightgbm,
    "XGBoost": xgboost,
    "CatBoost": CatBoostOnFrames,
    "HistGradientBoosting": hist_gradient_boosting,
    "random forest": random_forest,
    "balanced random forest": balanced_random_forest,
    "logistic regression": logistic_regression,
    "MLP (scikit-learn)": mlp,
    "RealMLP": realmlp,
    "RealMLP (log-loss)": realmlp_log_loss,
    "TabM": tabm,
    "TabM (AUC)": tabm_auc,
}
NEEDS = {
    "LightGBM": "lightgbm",
    "XGBoost": "xgboost",
    "CatBoost": "catboost",
    **{name: "pytabkit" for name in PEERS if name.startswith(("RealMLP", "TabM"))},
}


def installed_peers() -> dict[str, Peer]:
    """Return the peers whose library is installed; print a line for each other one."""
    peers = dict(PEERS)
    for name, module in NEEDS.items():
        if importlib.util.find_spec(module) is None:
            print(f"{name} is left out: {module} is not installed (requirements-board.txt).")
            del peers[name]
    return peers


def tuned(peer: Peer, n_folds: int = 5) -> Peer:
    """Return the peer with its threshold tuned for balanced accuracy, and fitted again on all rows.

    Parameters
    ----------
    peer : callable
        Function that takes a seed and returns a classifier.
    n_folds : int, default=5
        Folds of the training rows that choose the threshold. A fold without positives has no
        balanced accuracy, so that few positives need fewer folds.
    """

    def with_threshold(seed: int) -> TunedThresholdClassifierCV:
        return TunedThresholdClassifierCV(
            peer(seed), scoring="balanced_accuracy", cv=n_folds, refit=True, random_state=seed
        )

    return with_threshold
