"""
Costs of each row
=================

A missed fraud costs its amount, an alarm costs ten minutes. A single threshold treats a payment of
five like one of five thousand. Here the costs of each payment decide, around a net and around
gradient boosting, and are compared with single thresholds and with training by costs.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from imbtorch import ImbalancedNetClassifier
from imbtorch.datasets import make_payments
from imbtorch.model_selection import TunedDecisionClassifierCV, cross_fit

quick = "--quick" in sys.argv  # little data and few epochs

# %%
# Costs
# -----
# The first axis is the payment, the second the truth, the third the decision. An alarm costs 10,
# right or wrong. Amounts are in cents.

ALARM = 10


def costs_of(X):
    """Return the costs of payments, of shape (n, 2, 2)."""
    costs = np.zeros((len(X), 2, 2))
    costs[:, :, 1] = ALARM
    costs[:, 1, 0] = X["amount"] / 100
    return costs


def paid(X, y, flagged):
    """Return what decisions cost for 1,000 payments."""
    return 1000 * costs_of(X)[np.arange(len(y)), y, np.asarray(flagged, dtype=int)].mean()


# %%
# Two classifiers, five ways to decide
# ------------------------------------
# ``cross_fit`` trains a classifier on each fold, and predicts the rows that it has not seen. "Best
# threshold" is the one that costs least on the test payments themselves, which nobody knows.

text = ["shop", "country", "card"]
as_codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
boosting = make_pipeline(
    make_column_transformer((as_codes, text), remainder="passthrough"),
    HistGradientBoostingClassifier(max_iter=40, learning_rate=0.1, random_state=0),
)
net = ImbalancedNetClassifier(
    loss="cross_entropy", target_prior="train", max_epochs=4 if quick else 15, random_state=0
)
CLASSIFIERS = {"net": net, "gradient boosting": boosting}
WEIGHTS = {
    "net": "sample_weight",
    "gradient boosting": "histgradientboostingclassifier__sample_weight",
}

n_train = 2000 if quick else 6000
results, curves = {}, {}
for seed in range(2 if quick else 3):
    X, y = make_payments(2 * n_train, fraud_share=0.03, random_state=seed)
    y = y.to_numpy()
    X_new, y_new, X, y = X[n_train:], y[n_train:], X[:n_train], y[:n_train]
    mean = X["amount"][y == 1].mean() / 100
    for name, classifier in CLASSIFIERS.items():
        folds = cross_fit(classifier, X, y, cv=3, random_state=seed)
        proba = folds.predict_proba(X_new)[:, 1]
        by_row = TunedDecisionClassifierCV(folds, cv="oof").fit(X, y, costs=costs_of)
        matrix = [[0, ALARM], [mean, ALARM]]
        by_matrix = TunedDecisionClassifierCV(folds, cost_matrix=matrix, cv="oof").fit(X, y)
        thresholds = np.geomspace(0.005, 0.95, 100)
        curve = [paid(X_new, y_new, proba >= threshold) for threshold in thresholds]
        weights = np.where(y == 1, np.maximum(X["amount"] / 100 - ALARM, 0), ALARM)
        ready = {WEIGHTS[name]: weights / weights.mean()}
        weighted = clone(classifier).fit(X, y, **ready)
        curves.setdefault(name, (thresholds, curve, paid(X_new, y_new, by_row.predict(X_new))))
        found = {
            "most probable class": paid(X_new, y_new, proba > 0.5),
            "one cost matrix": paid(X_new, y_new, by_matrix.predict(X_new)),
            "best threshold": min(curve),
            "training by costs": paid(X_new, y_new, weighted.predict(X_new)),
            "costs of each row": paid(X_new, y_new, by_row.predict(X_new)),
        }
        for way, cost in found.items():
            results.setdefault(way, {}).setdefault(name, []).append(cost)

print(f"{'cost of 1,000 payments':<24}" + "".join(f"{name:>20}" for name in CLASSIFIERS))
for way, costs in results.items():
    print(f"{way:<24}" + "".join(f"{np.mean(costs[name]):>20.0f}" for name in CLASSIFIERS))

# %%
# The costs of single thresholds on the payments of the first seed:

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
for ax, (name, (thresholds, curve, cost)) in zip(axes, curves.items(), strict=True):
    ax.semilogx(thresholds, curve, color="#0072B2", label="one threshold for all")
    ax.axhline(cost, color="#D55E00", linestyle="--", label="costs of each row")
    ax.set(xlabel="threshold", title=name, ylim=(0, None))
axes[0].set_ylabel("cost of 1,000 payments")
axes[0].legend(loc="lower left")

# %%
# Savings against the best single threshold, for each seed. Costs of each row save most around the
# net. Around gradient boosting, whose probabilities are less well calibrated with so few frauds,
# they save less. A single matrix needs no hindsight, and pays for it. Training by costs varies from
# seed to seed; it is the way where the costs are not known when the decision is made.

fig, ax = plt.subplots(figsize=(7.5, 3.8))
COLOURS = ("#D55E00", "#0072B2")
ways = [way for way in results if way not in {"best threshold", "most probable class"}]
for j, (name, marker, colour) in enumerate(zip(CLASSIFIERS, "os", COLOURS, strict=True)):
    best = np.array(results["best threshold"][name])
    for i, way in enumerate(ways):
        saving = 100 * (1 - np.array(results[way][name]) / best)
        places = np.full(len(saving), i + 0.2 * j - 0.1)
        ax.plot(places, saving, marker, color=colour, label=name if i == 0 else None)
ax.axhline(0, color="black", linewidth=1)
ax.set_xticks(range(len(ways)), ways)
ax.set_xlim(-0.5, len(ways) - 0.5)
ax.set_ylabel("saved against the best threshold, %")
ax.legend(loc="lower right")

plt.show()
