"""Write the files of a release, which later versions must read: run this once for each release.

python -m tests.persistence.golden.make
"""

from pathlib import Path

import numpy as np

import imbtorch
from imbtorch import (
    MLP,
    BalancedNetEnsembleClassifier,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
)

FOLDER = Path(__file__).resolve().parent


def rows():
    """Rows without a random generator, whose numbers may change between versions."""
    return np.sin(np.arange(60 * 4) ** 1.5).reshape(60, 4).astype(np.float32)


def models():
    """Fitted models, each with the name of its file and what it should return."""
    X = rows()
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
            BalancedNetEnsembleClassifier(members, n_estimators=2, random_state=0).fit(X, kind),
            "predict_proba",
        ),
    }


if __name__ == "__main__":
    release = FOLDER / imbtorch.__version__
    release.mkdir()
    for name, (model, method) in models().items():
        model.save(release / f"{name}.safetensors")
        np.save(release / f"{name}.npy", getattr(model, method)(rows()))
