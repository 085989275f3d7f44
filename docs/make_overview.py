"""Redraw the picture at the top of docs/index.md: python docs/make_overview.py"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from PIL import Image
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import load_digits, make_classification
from sklearn.metrics import recall_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import ImbalancedNetClassifier
from imbtorch.datasets import make_long_tailed

PICTURE = Path(__file__).resolve().parent / "images" / "overview.png"
BLUE, ORANGE = (
    "#0072B2",
    "#D55E00",
)  # of Okabe and Ito's palette, for readers with a colour vision deficiency
BEFORE = {"color": ORANGE, "marker": "s", "linestyle": "--", "markersize": 5}
AFTER = {"color": BLUE, "marker": "o", "linestyle": "-", "markersize": 5}


def reliability(ax: Axes) -> None:
    """Draw probabilities of the default loss: for balanced classes, and restated for the data."""
    X, y = make_classification(
        120_000, n_informative=6, weights=[0.97], class_sep=1.2, n_clusters_per_class=3,
        random_state=0,
    )  # fmt: skip
    # many test rows, so that the share in each bin is hardly a matter of chance
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.75, stratify=y, random_state=0)
    net = ImbalancedNetClassifier(random_state=0)
    model = make_pipeline(StandardScaler(), net).fit(X, y)
    ax.plot([0, 1], [0, 1], color="0.5", linestyle=":", linewidth=1)
    for name, prior, look in (
        ("default loss, as trained", None, BEFORE),
        ('same net, target_prior="train"', "train", AFTER),
    ):
        model.set_params(imbalancednetclassifier__target_prior=prior)  # without refitting
        p = model.predict_proba(X_test)[:, 1]
        CalibrationDisplay.from_predictions(
            y_test, p, n_bins=7, ax=ax, name=name, ref_line=False, **look
        )
    ax.set(xlabel="predicted probability of the rare class", ylabel="observed share", aspect="auto")
    ax.set(ylim=(-0.05, 1.22), yticks=np.linspace(0, 1, 6))  # room for the legend
    ax.set_title("Probabilities: restated without refitting")
    ax.legend(loc="upper left", frameon=False)


def recalls(ax: Axes) -> None:
    """Draw the recall of each digit where some are rare, by plain and by adjusted loss."""
    X, y = load_digits(return_X_y=True)
    X = X + np.random.default_rng(0).normal(
        scale=5, size=X.shape
    )  # without noise the digits are too easy
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
    X, y = make_long_tailed(X, y, imbalance_ratio=25, random_state=0)
    for loss, look in (("cross_entropy", BEFORE), ("logit_adjusted", AFTER)):
        found = []
        for seed in range(5):
            net = ImbalancedNetClassifier(loss=loss, max_epochs=30, random_state=seed)
            predicted = make_pipeline(StandardScaler(), net).fit(X, y).predict(X_test)
            found.append(recall_score(y_test, predicted, average=None))
        ax.plot(np.mean(found, axis=0), label=f'loss="{loss}"', **look)
    ax.set_xticks(range(10), [f"{digit}\n{count}" for digit, count in enumerate(np.bincount(y))])
    ax.set(xlabel="digit, and its training images", ylabel="recall", ylim=(0, 1.02))
    ax.set_title("Long tail: rare classes are found")
    ax.legend(loc="lower left", frameon=False)


def main() -> None:
    """Draw both panels."""
    mpl.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
    reliability(left)
    recalls(right)
    for ax in (left, right):
        ax.grid(color="0.9")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110)
    Image.open(buffer).convert("RGB").quantize(64).save(PICTURE, optimize=True)  # a third as large
    print(f"{PICTURE.name}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
