"""
Losses for imbalanced data, and SMOTE
=====================================

Plain cross-entropy, class weights, the focal loss with its gamma searched, logit adjustment and
SMOTE: the same net with the same budget, on the same folds of two bundled data sets with rare
classes. ``make demo`` runs the same comparison on more data, card fraud among them;
``imbtorch compare my.csv --target label`` runs one on a table of yours.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay
from sklearn.model_selection import StratifiedKFold

from imbtorch import compare_strategies
from imbtorch.compare import default_strategies
from imbtorch.features import TableFeatures

quick = "--quick" in sys.argv  # little data and few epochs

# %%
# Two data sets with a rare class
# -------------------------------
# Both come with scikit-learn. Only some rows of one class are kept: 19 malignant tumours, 33 images
# of an 8.


def thinned(X, y, rare, n_kept):
    """Keep this number of random rows of the rare class, and all others."""
    kept = np.random.default_rng(0).permutation(np.flatnonzero(y == rare))[:n_kept]
    rows = np.sort(np.concatenate([np.flatnonzero(y != rare), kept]))
    return X[rows], y[rows]


tumours = load_breast_cancer()
images, digits = load_digits(return_X_y=True)
kinds = tumours.target_names[tumours.target]
DATA = {  # features, labels, the rare label
    "Breast tumours": (*thinned(tumours.data, kinds, "malignant", 19), "malignant"),
    "Digits, 8 or not": (*thinned(images, np.where(digits == 8, "8", "other"), "8", 33), "8"),
}
for name, (X, y, rare) in DATA.items():
    print(f"{name}: {len(y):,} rows, {X.shape[1]} features, {np.mean(y == rare):.1%} {rare}")

# %%
# The contestants
# ---------------
# Most come from :func:`imbtorch.compare.default_strategies`. SMOTE stands before the net, as a step
# of imbalanced-learn's Pipeline, or inside it, as its parameter ``sampler``: then the net knows how
# SMOTE changed the class frequencies. The search for gamma,
# :class:`~imbtorch.model_selection.StackedGridSearchCV`, trains its candidates on all folds in one
# pass.

TAKEN = ("cross-entropy", "balanced weights", "focal, gamma searched", "logit adjustment")
epochs = 2 if quick else "auto"  # folds of the training rows find the number


def contestants(X, y):
    """Return the strategies by name; the first one does nothing about the imbalance."""
    # perceptrons, which take a quarter of the time of the default net
    ready = default_strategies(y, X=X, module="mlp", max_epochs=epochs, random_state=0)
    inside = ready["SMOTE"]
    net, neighbors = inside["classify"], inside["classify"].sampler.k_neighbors
    before = make_pipeline(
        TableFeatures(embedding_size=None),
        SMOTE(k_neighbors=neighbors, random_state=0),
        # scaled once, before SMOTE
        clone(net).set_params(sampler=None, features=TableFeatures(scaling=None)),
    )
    found = {name: ready[name] for name in TAKEN}
    return {**found, "SMOTE before the net": before, "SMOTE inside the net": inside}


# %%
# The same folds for all
# ----------------------
# :func:`imbtorch.compare_strategies` cross-validates every strategy, and says which differences
# are more than noise. ``print(comparison)`` shows more columns. Brier scores are those of the
# probabilities as trained, and restated by ``target_prior="train"``. A net behind SMOTE in a
# pipeline never sees the frequencies of the data, so that both are the same there.

COLUMNS = ["average_precision", "average_precision_se", "balanced_accuracy", "brier"]
comparisons = {}
for name, (X, y, _) in DATA.items():
    folds = StratifiedKFold(2 if quick else 5, shuffle=True, random_state=0)
    found = compare_strategies(X, y, strategies=contestants(X, y), cv=folds)
    comparisons[name] = found
    gammas = [chosen["gamma"] for chosen in found.folds["chosen"] if "gamma" in chosen]
    print(f"Average precision and more, {name}")
    print(found.table[[*COLUMNS, "brier_train_prior"]].round(3).to_string())
    print("gamma found in each fold:", ", ".join(f"{gamma:g}" for gamma in gammas))
    print(found.recommendation, end="\n\n")

# %%
# Ranking
# -------
# Precision against recall of the rare class, over the test rows of all folds. Curves that
# coincide show as stripes.


def pooled(folds, field):
    """Join what was predicted for the test rows of all folds."""
    return np.concatenate([getattr(fold, field) for fold in folds])


fig, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
for ax, (name, found) in zip(axes, comparisons.items(), strict=True):
    for k, (strategy, folds) in enumerate(found.predictions.items()):
        is_rare = pooled(folds, "truth") == 1
        display = PrecisionRecallDisplay.from_predictions(
            is_rare, pooled(folds, "scores"), ax=ax, name=strategy
        )
        display.line_.set_linewidth(5 - 0.8 * k)
    ax.set(title=name, xlabel="recall", ylabel="precision")
    ax.legend(fontsize=8, loc="lower left")

# %%
# Decisions
# ---------
# These are the decisions of the nets as they were trained, at probability 1/2.

fig, grid = plt.subplots(2, 6, figsize=(13, 5), layout="constrained")
for row, (name, found) in zip(grid, comparisons.items(), strict=True):
    for ax, (strategy, folds) in zip(row, found.predictions.items(), strict=True):
        ConfusionMatrixDisplay.from_predictions(
            pooled(folds, "truth"), pooled(folds, "predicted"), ax=ax, colorbar=False,
            normalize="true", values_format=".0%", cmap="Blues",
        )  # fmt: skip
        ax.set(title=strategy.replace(" the ", "\nthe "), xlabel="", ylabel="")
        ax.grid(visible=False)
    row[0].set_ylabel(f"{name}\ntruth")

# %%
# With so few rare rows, the strategies differ less in ranking than the folds do. What differs is
# where they decide: plain cross-entropy misses more of the rare class and raises fewer false
# alarms. Another threshold for its probabilities has the same effect. Of the remedies, logit
# adjustment needs no parameters and no further rows.

plt.show()
