"""
Decisions that keep a promise
=============================

"We can look at fifty payments in a thousand." "Of the alarms six in ten must be right." "Find seven
frauds in ten, and be nine in ten sure of it." Each is a decision about the same probabilities, and
none needs further training: nets are trained once, on the folds of a cross-validation, and their
out-of-fold predictions are used for everything.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import precision_recall_curve, precision_score, recall_score

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.datasets import make_payments
from imbtorch.model_selection import TunedDecisionClassifierCV

quick = "--quick" in sys.argv  # little data and few epochs

# %%
# One training
# ------------
# A table of card payments with text and gaps, 3% of them frauds. The nets of all folds are trained
# as one stack; each keeps the epoch that is best on its own fold.

n_train, n_new = (2000, 2000) if quick else (6000, 6000)
X, y = make_payments(n_train + n_new, fraud_share=0.03, random_state=0)
y = y.to_numpy()
X_new, y_new, X, y = X[n_train:], y[n_train:], X[:n_train], y[:n_train]
net = ImbalancedNetClassifier(target_prior="train", max_epochs=4 if quick else 15)
folds = NetEnsembleClassifier(net, 5, subset="folds", random_state=0).fit(X, y)
print(f"{n_train:,} payments to learn from, {y.sum()} frauds among them")

# %%
# Four promises
# -------------
# The promise goes into ``constraint``. Without ``confidence`` it holds on the rows it was tuned on,
# and on new rows about every second time.

PROMISES = {
    "precision>=0.6": {"constraint": "precision>=0.6"},
    "recall>=0.7": {"constraint": "recall>=0.7"},
    "recall>=0.7, confidence 0.9": {"constraint": "recall>=0.7", "confidence": 0.9},
    "50 alarms in 1,000": {"constraint": "alarms<=50", "per": 1000},
}
decisions = {"most probable class": folds.predict(X_new)}
for name, promise in PROMISES.items():
    tuned = TunedDecisionClassifierCV(folds, cv="oof", **promise)
    try:
        decisions[name] = tuned.fit(X, y).predict(X_new)
    except ValueError as reason:  # with few rows not everything can be promised
        print(f"{name}: {reason}")
print(f"{'on new payments':<30}{'alarms':>8}{'precision':>11}{'recall':>8}")
for name, flagged in decisions.items():
    precision = precision_score(y_new, flagged, zero_division=0)
    print(f"{name:<30}{flagged.sum():>8}{precision:>11.3f}{recall_score(y_new, flagged):>8.3f}")

# %%
# All are points of one curve. The thresholds were tuned on predictions of single models. Their
# mean, which predicts here, is less extreme: the promised precision is kept with a margin, and with
# fewer alarms than it allows.

precision, recall, _ = precision_recall_curve(y_new, folds.predict_proba(X_new)[:, 1])
fig, ax = plt.subplots(figsize=(6.5, 4.5))
ax.plot(recall[:-1], precision[:-1], color="0.6", label="all thresholds")
for (name, flagged), marker in zip(decisions.items(), "osD^v", strict=False):
    place = recall_score(y_new, flagged), precision_score(y_new, flagged, zero_division=0)
    ax.plot(*place, marker, markersize=8, label=name)
ax.set(xlabel="recall on new payments", ylabel="precision on new payments", ylim=(0, 1.02))
ax.legend(loc="lower left")

# %%
# How often does a promise hold?
# ------------------------------
# A fitted net is tuned on random halves of rows that it has not seen (``cv="prefit"``), and tested
# on the other halves. Without ``confidence`` about half of the recalls are below the promise; with
# it few are, and fewer alarms are right.

model = folds.estimators_[0]
rng, kept = np.random.default_rng(0), {}
proba = model.predict_proba(X_new)[:, 1]
for confidence in (None, 0.9):
    tuned = TunedDecisionClassifierCV(
        model, constraint="recall>=0.6", confidence=confidence, cv="prefit"
    )
    recalls = []
    for _ in range(20 if quick else 100):
        half = rng.permutation(len(y_new)) < len(y_new) // 2
        threshold = tuned.fit(X_new[half], y_new[half]).thresholds_[0]
        recalls.append(np.mean(proba[~half & (y_new == 1)] >= threshold))
    kept[confidence] = np.array(recalls)
    share = np.mean(kept[confidence] >= 0.6)
    print(f"confidence {confidence}: a recall of 0.6 is kept in {share:.0%} of the halves")

fig, ax = plt.subplots(figsize=(6.5, 3.5))
bins = np.linspace(0.3, 1, 29)
for (confidence, recalls), colour in zip(kept.items(), ("#E69F00", "#0072B2"), strict=True):
    name = "without confidence" if confidence is None else f"confidence {confidence}"
    ax.hist(recalls, bins, color=colour, alpha=0.6, label=name)
ax.axvline(0.6, color="black", linestyle="--", label="promised")
ax.set(xlabel="recall on the other half", ylabel="number of halves")
ax.legend()

# %%
# The confidence is about the recall of the whole population. The half on which it is measured here
# varies, too, so that the share may be a little below 90%.
#
# Sets instead of a decision
# --------------------------
# Where a wrong answer is worse than none, ``predict_set`` returns the classes that cannot be ruled
# out. Each class has its own quantile: the rare class is covered as often as the frequent one.

alphas = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
covered, both = [], []
for alpha in alphas:
    sets = folds.predict_set(X_new, alpha=alpha)
    covered.append([sets[y_new == c, c].mean() for c in (0, 1)])
    both.append(sets.all(axis=1).mean())
    print(
        f"alpha {alpha:.2f}: genuine covered {covered[-1][0]:.3f}, frauds {covered[-1][1]:.3f}, "
        f"undecided {both[-1]:.1%}"
    )

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
left.plot(1 - alphas, 1 - alphas, color="0.6", linestyle=":", label="1 - alpha")
for c, marker, name in ((0, "o", "genuine"), (1, "s", "frauds")):
    left.plot(1 - alphas, np.array(covered)[:, c], marker=marker, label=name)
left.set(xlabel="1 - alpha", ylabel="share of rows whose set has their class")
left.legend()
right.plot(1 - alphas, both, color="#D55E00", marker="D")
right.set(xlabel="1 - alpha", ylabel="share of rows with both classes", ylim=(0, None))

# %%
# The guarantee has a price, which is paid in undecided rows. More frauds to learn from, or a better
# model, lower it.

plt.show()
