"""
Class frequencies that drift
============================

A classifier is trained in spring, when one payment in thirty is a fraud. In autumn it is one in
eight, and nobody has labelled anything yet. The new frequencies are estimated month by month from
the scores alone, with intervals; probabilities, decisions and budgets follow. In the last month
something else changes, and the estimate says that it is not to be trusted.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import brier_score_loss

from imbtorch import ImbalancedNetClassifier
from imbtorch.datasets import make_payments
from imbtorch.model_selection import cross_fit
from imbtorch.priors import PriorShiftClassifier, prior_interval

quick = "--quick" in sys.argv  # little data and few epochs

# %%
# Training, and eight months
# --------------------------
# Any classifier will do; here the nets of five folds are trained as one stack. In month 9 the
# payments themselves are changed: amounts are written in another currency.

n_train, n_month = (3000, 800) if quick else (6000, 2500)
X, y = make_payments(n_train + 14_000, fraud_share=0.03, random_state=0)
X_later, y_later = X[n_train:].reset_index(drop=True), y[n_train:].to_numpy()
X, y = X[:n_train], y[:n_train].to_numpy()
net = ImbalancedNetClassifier(target_prior="train", max_epochs=4 if quick else 15, random_state=0)
folds = cross_fit(net, X, y, cv=5, random_state=0)


def month(share, seed):
    """Return payments of which about this share are frauds, and their labels."""
    rng = np.random.default_rng(seed)
    n_frauds = rng.binomial(n_month, share)
    parts = [
        rng.choice(np.flatnonzero(y_later == label), size, replace=False)
        for label, size in ((0, n_month - n_frauds), (1, n_frauds))
    ]
    rows = np.concatenate(parts)
    return X_later.iloc[rows].reset_index(drop=True), y_later[rows]


months = [
    month(share, j) for j, share in enumerate([0.03, 0.03, 0.04, 0.06, 0.08, 0.1, 0.12, 0.12])
]
X_odd, y_odd = month(0.12, 8)
X_odd["amount"] *= 100
X_odd["hour"] //= 4
months.append((X_odd, y_odd))

# %%
# Estimates
# ---------
# The predictions of each model are compared with the out-of-fold predictions, which are those of
# single models, too.

found = []
print(f"{'month':<7}{'true':>7}{'estimate':>10}{'interval':>17}{'p-value':>9}")
for number, (X_month, y_month) in enumerate(months, start=1):
    each = np.stack([model.predict_proba(X_month) for model in folds.estimators_])
    one = prior_interval(each, folds.oof_predict_proba_, y, random_state=0)
    found.append(one)
    print(
        f"{number:<7}{y_month.mean():>7.3f}{one.prior[1]:>10.3f}"
        f"{one.low[1]:>9.3f} - {one.high[1]:.3f}{one.pvalue:>9.3f}"
    )

# %%
# The p-value of the last month is small: no mixture of frauds and genuine payments, as they were in
# training, has such scores. Its estimate is worthless, whatever its interval says.

numbers = np.arange(1, 10)
low, middle, high = np.array([[one.low[1], one.prior[1], one.high[1]] for one in found]).T
shares = [y_month.mean() for _, y_month in months]
fig, (top, bottom) = plt.subplots(
    2, 1, figsize=(7, 5.5), sharex=True, gridspec_kw={"height_ratios": [2, 1]}
)
ends = [middle - low, high - middle]
top.errorbar(numbers, middle, ends, fmt="o", color="#0072B2", label="estimate, 90% interval")
top.plot(numbers, shares, "s--", color="#D55E00", mfc="none", label="true share")
top.axhline(y.mean(), color="0.5", linestyle=":", label="training")
top.set(ylabel="share of frauds", ylim=(0, 0.22))
above = f"estimate {middle[-1]:.2f},\nnot to be trusted"
top.annotate(above, (9, 0.22), (9, 0.17), ha="center", arrowprops={"arrowstyle": "->"})
top.legend(loc="upper left")
bottom.semilogy(numbers, [one.pvalue for one in found], "D", color="black")
bottom.axhline(0.01, color="#CC79A7", linestyle="--")
bottom.set(xlabel="month", ylabel="p-value of the fit", ylim=(1e-3, 1.5))

# %%
# What follows from them
# ----------------------
# ``PriorShiftClassifier`` restates the probabilities; a missed fraud costs as much as ten alarms,
# so that payments with a probability above 1/11 are flagged. And the number of payments that have
# to be looked at to find 80% of the frauds follows from the shares above a threshold.

COST = 10
clf = PriorShiftClassifier(FrozenEstimator(folds)).fit(X, y)
oof = folds.oof_predict_proba_[:, 1]
threshold = np.quantile(oof[y == 1], 0.2)
rate = np.array([(oof[y == label] >= threshold).mean() for label in (0, 1)])
scores = {"as trained": [], "restated": []}
budget = []
names = ("Brier, as trained", "restated", "cost, as trained", "restated", "budget")
print("month" + "".join(f"{name:>19}" for name in names))
for number, ((X_month, y_month), one) in enumerate(zip(months[:8], found, strict=False), start=1):
    for name, target in (("as trained", "train"), ("restated", one.prior)):
        p = clf.set_params(target_prior=target).predict_proba(X_month)[:, 1]
        flagged = p > 1 / (1 + COST)
        cost = np.mean((flagged > y_month) + COST * (flagged < y_month))
        scores[name].append((brier_score_loss(y_month, p), 1000 * cost))
    budget.append(1000 * rate @ one.prior)
    (brier, cost), (brier_new, cost_new) = scores["as trained"][-1], scores["restated"][-1]
    values = f"{brier:>19.4f}{brier_new:>19.4f}{cost:>19.0f}{cost_new:>19.0f}{budget[-1]:>19.0f}"
    print(f"{number:<5}{values}")

# %%
# Without labels and without training, the probabilities stay right and the decisions cheap.

fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.4))
for name, marker, colour in (("as trained", "s", "#D55E00"), ("restated", "o", "#0072B2")):
    for ax, values in zip(axes, np.array(scores[name]).T, strict=False):
        ax.plot(numbers[:8], values, marker=marker, color=colour, label=name)
axes[2].plot(numbers[:8], budget, marker="^", color="#009E73")
for ax, title in zip(
    axes, ("Brier score", "cost of 1,000 payments", "alarms in 1,000 to find 80%"), strict=True
):
    ax.set(xlabel="month", title=title, ylim=(0, None))
axes[0].legend(loc="upper left")

plt.show()
