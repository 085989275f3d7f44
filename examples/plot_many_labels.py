"""
Many rare labels, and ``pos_weight`` without arithmetic
=======================================================

The data are the tags of bibtex: 7,395 bibliography entries as 1,836 sparse words, with 159 tags,
most of which are on one entry in a hundred. In torch one computes ``pos_weight`` for each of them
by hand. Here ``class_weight="balanced"`` does it for each label. X and Y stay sparse. Synthetic
data are used where these are not found.
"""

import os
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import sparse
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import average_precision_score, f1_score
from sklearn.model_selection import train_test_split

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.losses import BCELoss

quick = "--quick" in sys.argv  # little data and few epochs

# %%
# Data
# ----
# The environment variable ``IMBTORCH_DATA`` names the folder of the data.

folder = Path(os.environ.get("IMBTORCH_DATA", "."))
if (folder / "bibtex.npz").is_file():
    name = "bibtex"
    with np.load(folder / "bibtex.npz") as data:
        X, Y = (
            sparse.csr_array(
                (
                    np.ones(len(data[f"{part}_indices"]), dtype=np.float32),
                    data[f"{part}_indices"],
                    data[f"{part}_indptr"],
                ),
                shape=tuple(data[f"{part}_shape"]),
            )
            for part in "XY"
        )
else:
    name = "synthetic tags"
    X, Y = make_multilabel_classification(
        3000, 400, n_classes=60, n_labels=2, sparse=True, random_state=0
    )
    X, Y = sparse.csr_array(X, dtype=np.float32), sparse.csr_array(Y)
train, test = train_test_split(np.arange(X.shape[0]), test_size=0.3, random_state=0)
if quick:
    train = train[:1000]
truth = Y[test].toarray()
n_train = np.asarray(Y[train].sum(axis=0)).ravel().astype(int)  # rows with each label
print(f"{name}: {X.shape[0]:,} rows, {X.shape[1]:,} features, {Y.shape[1]} labels;", end=" ")
print(f"half of the labels have fewer than {np.median(n_train) / len(train):.1%} of the rows")

# %%
# The same numbers
# ----------------
# torch's recipe is negatives / positives of each label. The estimator's ``class_weight_`` holds a
# weight for the absence and one for the presence of each label; their ratio is that number. So is
# the factor that ``BCELoss("balanced")`` takes from the counts.


def fit(**parameters):
    """Train a net with one hidden layer."""
    return ImbalancedNetClassifier(
        MLP((256,)), max_epochs=2 if quick else 15, batch_size=128, random_state=0, **parameters
    ).fit(X[train], Y[train])


present = n_train > 0  # a label that no row has cannot be balanced
by_hand = (len(train) - n_train[present]) / n_train[present]

balanced = fit(loss="bce", class_weight="balanced")
ratio = balanced.class_weight_[present, 1] / balanced.class_weight_[present, 0]
factor = (
    BCELoss("balanced")
    .prepare(np.column_stack([len(train) - n_train, n_train]))
    .positive_factor.numpy()[present]
)
print(f"{'rows with the label':<22}{'by hand':>10}{'class_weight':>14}{'BCELoss':>10}")
order = np.argsort(n_train[present])
for label in order[np.linspace(0, len(order) - 1, 5).astype(int)]:
    print(
        f"{n_train[present][label]:<22}{by_hand[label]:>10.3f}{ratio[label]:>14.3f}"
        f"{factor[label]:>10.3f}"
    )
largest = max(np.abs(ratio / by_hand - 1).max(), np.abs(factor / by_hand - 1).max())
print(f"largest relative difference over all labels: {largest:.1e}")

# %%
# With these weights, the loss is torch's, on any logits:

logits = torch.randn(8, len(by_hand), generator=torch.Generator().manual_seed(0))
labels = torch.from_numpy(Y[train[:8]].toarray()[:, present]).float()
pos_weight = torch.from_numpy(by_hand).float()
print(f"torch    {torch.nn.BCEWithLogitsLoss(pos_weight=pos_weight)(logits, labels):.6f}")
print(f"imbtorch {BCELoss(pos_weight)(logits, labels):.6f}")

# %%
# Both ways train nearly the same net. ``pos_weight`` leaves the absence of a label at weight 1, so
# that a rare label has up to twice the weight of one that half of the rows have; with
# ``class_weight="balanced"`` every label has the same weight.
#
# What the weights change
# -----------------------
# mAP is the average precision, averaged over labels. F1 micro gives all decisions the same weight,
# F1 macro all labels.

STRATEGIES = {
    "BCE": {"loss": "bce"},
    'class_weight="balanced"': {"loss": "bce", "class_weight": "balanced"},
    "pos_weight, balanced": {"loss": BCELoss("balanced")},
    "pos_weight, square root": {"loss": BCELoss("sqrt")},
    "asymmetric": {"loss": "asymmetric"},
    "distribution-balanced": {"loss": "distribution_balanced"},
}
usable = truth.any(axis=0)  # average precision needs a positive
precision = {}
print(f"{'':<26}{'mAP':>8}{'F1 micro':>10}{'F1 macro':>10}{'labels per row':>14}{'seconds':>9}")
for strategy, parameters in STRATEGIES.items():
    begin = time.perf_counter()
    net = fit(**parameters)
    seconds = time.perf_counter() - begin
    scores, predicted = net.decision_function(X[test]), net.predict(X[test])
    precision[strategy] = average_precision_score(truth[:, usable], scores[:, usable], average=None)
    micro, macro = (
        f1_score(truth, predicted, average=average, zero_division=0)
        for average in ("micro", "macro")
    )
    print(
        f"{strategy:<26}{precision[strategy].mean():>8.3f}{micro:>10.3f}{macro:>10.3f}"
        f"{predicted.sum(axis=1).mean():>14.2f}{seconds:>9.1f}"
    )
print(f"In truth a row has {truth.sum(axis=1).mean():.2f} labels.")

# %%
# On bibtex no loss ranks better than plain BCE: weights change decisions. BCE predicts half as many
# labels as there are, balanced weights predict twice as many, and their square root comes near the
# truth and has the best F1 micro. The asymmetric loss has the best F1 macro. Rare labels are not
# the difficult ones here. The distribution-balanced loss needs more training: with 20 epochs and
# ``batch_size="auto"``, its mAP was 0.360 and that of BCE 0.350.

edges = np.quantile(n_train[usable], [0, 0.25, 0.5, 0.75, 1])
group = np.searchsorted(edges[1:-1], n_train[usable], side="left")
ticks = [
    f"{n_train[usable][group == g].min()}-{n_train[usable][group == g].max()}"
    for g in np.unique(group)
]
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
left.scatter(n_train[usable], precision["BCE"], s=16, color="#0072B2", alpha=0.7)
left.set_xscale("log")
left.set_xticks([30, 100, 300], ["30", "100", "300"])
left.minorticks_off()
left.set(xlabel="training rows with the label", ylabel="average precision", ylim=(0, 1.03))
left.set_title("each label, BCE", fontsize=11)
for (strategy, values), marker in zip(precision.items(), "os^vDP", strict=True):
    means = [values[group == g].mean() for g in np.unique(group)]
    right.plot(range(len(means)), means, marker=marker, label=strategy)
right.set_xticks(range(len(ticks)), ticks)
right.set(xlabel="training rows with the label, quarters of the labels")
right.set(ylabel="mean average precision", ylim=(0, 0.6))
right.set_title("mean of the labels in each quarter", fontsize=11)
right.legend(fontsize=9)

plt.show()
