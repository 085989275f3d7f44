"""Write the files of a release, which later versions must read: run this once for each release.

python -m tests.persistence.golden.make
"""

from pathlib import Path

import numpy as np
import pandas as pd

import imbtorch
from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
)
from imbtorch.features import TableFeatures
from imbtorch.model_selection import TunedDecisionClassifierCV

FOLDER = Path(__file__).resolve().parent


def rows():
    """Rows without a random generator, whose numbers may change between versions."""
    return np.sin(np.arange(60 * 4) ** 1.5).reshape(60, 4).astype(np.float32)


def frame():
    """The same rows as a table with gaps, and few and many categories."""
    X = rows()
    numbers = np.where(X[:, :1] > 0.9, np.nan, X[:, :2])
    kinds = np.array(["a", "b", "c", None], dtype=object)[np.arange(60) % 4]
    places = np.array([f"place {i % 40}" for i in range(60)])
    return pd.DataFrame({"x": numbers[:, 0], "y": numbers[:, 1], "kind": kinds, "place": places})


def rows_of(name):
    """The rows whose predictions are kept for the file of this name."""
    return frame() if name in ("table", "decision") else rows()


def models():
    """Fitted models, each with the name of its file and what it should return."""
    X, table = rows(), frame()
    kind = np.where(X[:, 0] > 0.8, "rare", "common")
    tags = np.stack([X[:, 0] > 0.7, X[:, 1] > 0.2], axis=1).astype(int)
    plain = {"max_epochs": 3, "random_state": 0}
    focal = ImbalancedNetClassifier(
        MLP((4,)), loss="focal", class_weight="balanced", target_prior="train", **plain
    )
    members = ImbalancedNetClassifier(MLP((3,)), loss="cross_entropy", max_epochs=2)
    return {
        "classifier": (focal.fit(X, kind), "predict_proba"),
        "labels": (
            ImbalancedNetClassifier(MLP((4,)), loss="asymmetric", **plain).fit(X, tags),
            "predict_proba",
        ),
        "regressor": (
            ImbalancedNetRegressor(MLP((4,)), loss="huber", density_weight="lds", **plain).fit(
                X, 100 + 30 * X[:, 0]
            ),
            "predict",
        ),
        "ensemble": (
            NetEnsembleClassifier(members, n_estimators=2, random_state=0).fit(X, kind),
            "predict_proba",
        ),
        "table": (
            ImbalancedNetClassifier(
                MLP((4,)), features=TableFeatures(scaling="robust", fill="median"), **plain
            ).fit(table, kind),
            "predict_proba",
        ),
        "decision": (
            TunedDecisionClassifierCV(
                ImbalancedNetClassifier(MLP((4,)), loss="hinge", **plain),
                cost_matrix=[[0, 1], [5, 0]],
                cv=2,
            ).fit(table, X[:, 0] > 0.8),
            "predict",
        ),
    }


if __name__ == "__main__":
    release = FOLDER / imbtorch.__version__
    release.mkdir()
    for name, (model, method) in models().items():
        imbtorch.save(model, release / f"{name}.safetensors")
        np.save(release / f"{name}.npy", getattr(model, method)(rows_of(name)))
